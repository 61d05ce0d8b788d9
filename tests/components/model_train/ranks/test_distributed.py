import importlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from textwrap import dedent

import pytest

from components.model_train.care import Care
from components.model_train.conduct import conduct
from components.model_train.plan import Outcome, Plan
from components.model_train.ranks import distributed, processes, rank
from components.model_train.ranks.assignment import Assignment, read_assignment
from components.model_train.ranks.distributed import check_ranks, run_ranks
from components.model_train.ranks.failure import Failure, the_error
from components.model_train.ranks.processes import Ending
from components.model_train.ranks.rank import Quiet
from components.model_train.story import Attempt, Epoch, Story
from components.model_train.trainers.base import Hyperparameters, Start, Trainer, TrainingJob, TrainingRun
from components.shared.errors import (
    CheckpointError,
    ConfigError,
    DivergedError,
    OutOfMemoryError,
    PipelineError,
    PreemptedError,
    TrainingError,
)
from components.shared.materialise import MaterialisedDataset
from components.shared.progress import Reporter, read_progress, silent
from components.shared.store import open_store

HERE = Path(__file__).parent
STAND_IN = "stand_in_trainer:StandIn"
MakePlan = Callable[..., Plan]


@pytest.fixture
def make_plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MakePlan:
    """Plans for the stand-in trainer in two processes, with changed hyperparameters; its processes can import it."""
    monkeypatch.setenv("PYTHONPATH", str(HERE))
    monkeypatch.setattr(processes, "SETTLE", 2.0)
    return lambda **changes: plan_in(tmp_path, **changes)


def plan_in(folder: Path, **changes: object) -> Plan:
    images, labels = folder / "images", folder / "labels"
    paths = {7: images / "00000007.jpg", 11: images / "00000011.png"}
    data = MaterialisedDataset(folder, images, labels, ("bar", "block"), 2, 3, paths=paths, repeats={7: 2, 11: 1})
    parameters = Hyperparameters(
        model="yolo11n.yaml",
        epochs=3,
        batch=4,
        imgsz=32,
        lr0=0.01,
        optimizer="SGD",
        warmup_epochs=0.0,
        close_mosaic=0,
        freeze=0,
        device="cpu",
        seed=0,
        gpus=2,
    )
    work = folder / "work"
    work.mkdir(exist_ok=True)
    job = TrainingJob(
        train=data,
        val=data,
        classes=("bar", "block"),
        parameters=replace(parameters, **changes),  # type: ignore[arg-type]
        start=Start(framework="ultralytics", architecture="yolo11n.yaml"),
        work=work,
    )
    care = Care(checkpoint_minutes=0.0, grace_seconds=20.0)
    return Plan(job=job, care=care, store=(folder / "store").as_uri(), key="k" * 64, run_id="run-1")


def run(plan: Plan, story: Story | None = None) -> Outcome:
    return run_ranks(plan, story or Story(), silent, lambda _: None, trainer=STAND_IN)


def stand_in() -> Trainer:
    trainer: Trainer = importlib.import_module("stand_in_trainer").StandIn()
    return trainer


def failing(how: str, *, rank: int = 0, epoch: int = 2, seconds: float = 0.0) -> dict[str, object]:
    return {"fail": how, "fail_rank": rank, "fail_epoch": epoch, "seconds": seconds}


def test_an_assignment_survives_the_round_trip_through_its_file(make_plan: MakePlan) -> None:
    options = {"cos_lr": True, "nbs": 64, "mosaic": 1.0, "scale": 0.5, "auto_augment": "randaugment"}
    plan = make_plan(options=options)
    epoch = Epoch(number=1, seconds=1.5, values={"train/box_loss": 0.5, "map50": float("nan")})
    story = Story(epochs=[epoch], attempts=[Attempt(first_epoch=1, end="out of memory")], notes=["One."])

    again = read_assignment(Assignment(plan, story, STAND_IN, plan.job.work / "ranks").save())

    assert again.plan == plan
    assert list(again.plan.job.train.paths) == [7, 11]
    assert all(isinstance(path, Path) for path in again.plan.job.train.paths.values())
    assert {name: type(value) for name, value in again.plan.job.parameters.options.items()} == {
        name: type(value) for name, value in options.items()
    }
    assert again.story.attempts == story.attempts
    assert again.story.epochs[0].values["map50"] != again.story.epochs[0].values["map50"]


def test_an_assignment_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "assignment.json").write_text("{}")

    with pytest.raises(TrainingError, match="does not say what to train"):
        read_assignment(tmp_path / "assignment.json")


@pytest.mark.slow
def test_two_processes_train_and_rank_0_tells_the_result(
    make_plan: MakePlan, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    plan, story = make_plan(), Story()

    outcome = run(plan, story)

    assert outcome.run.best_epoch == 3
    assert outcome.run.files["weights/best.pt"].read_text() == "weights"
    assert [epoch.number for epoch in outcome.story.epochs] == [1, 2, 3]
    assert story.epochs == outcome.story.epochs
    seen = [json.loads((tmp_path / "work" / f"seen-{rank}.json").read_text()) for rank in (0, 1)]
    assert [rank["LOCAL_RANK"] for rank in seen] == ["0", "1"]
    assert {rank["WORLD_SIZE"] for rank in seen} == {"2"}
    log = capfd.readouterr().err.splitlines()
    assert any(line.endswith("INFO    rank 0 begins") for line in log)
    assert any(line.startswith("rank 1: ") and line.endswith("rank 1 warns") for line in log)
    assert not any("rank 1 begins" in line for line in log)


ERRORS = [
    ("diverged", 0, DivergedError, "The loss is no number."),
    ("diverged", 1, DivergedError, "The loss is no number."),
    ("checkpoint", 1, CheckpointError, "It is another training's."),
    ("config", 0, ConfigError, "lr0 cannot be used."),
    ("batch", 1, OutOfMemoryError, "batch=4 does not fit."),
    (
        "defect",
        1,
        TrainingError,
        r"rank 1 of 2 failed with ValueError \(no such tensor\); its last lines were: .*warns",
    ),
    ("kill", 0, TrainingError, "rank 0 of 2 was killed by SIGKILL"),
    ("kill", 1, TrainingError, r"rank 1 of 2 was killed by SIGKILL.*last lines were: .*rank 1 warns"),
    ("nothing", 0, TrainingError, "Rank 0 of 2 ended without a result"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("how", "rank", "kind", "message"), ERRORS)
def test_a_failed_rank_ends_all_with_its_error(
    how: str, rank: int, kind: type[PipelineError], message: str, make_plan: MakePlan
) -> None:
    begun = time.monotonic()

    with pytest.raises(kind, match=message) as raised:
        run(make_plan(epochs=1000, options=failing(how, rank=rank, seconds=0.2)))

    assert type(raised.value) is kind
    assert time.monotonic() - begun < 40


@pytest.mark.slow
def test_rank_0_writes_the_steps_progress_and_hands_it_back(make_plan: MakePlan) -> None:
    plan = make_plan(options={"seconds": 0.7})
    reporter = Reporter(open_store(plan.store), "run-1", "model_train")
    reporter.start()
    begun = reporter.current.started

    run_ranks(plan, Story(), reporter.notify, lambda _: None, trainer=STAND_IN)

    written = read_progress(open_store(plan.store), "run-1", "model_train")
    assert written is not None
    assert (written.started, written.metrics["map50"]) == (begun, 0.5)
    assert reporter.current.metrics["map50"] == 0.5
    assert reporter.current.share > 0.9


@pytest.mark.slow
def test_the_story_so_far_survives_a_failure(make_plan: MakePlan) -> None:
    story = Story()

    with pytest.raises(DivergedError):
        run(make_plan(options=failing("diverged", epoch=3)), story)

    assert [epoch.number for epoch in story.epochs] == [1, 2]


@pytest.mark.slow
def test_a_port_that_was_taken_meanwhile_costs_one_more_try(make_plan: MakePlan) -> None:
    outcome = run(make_plan(options=failing("port", epoch=1)))

    assert outcome.run.best_epoch == 3


@pytest.mark.slow
def test_a_batch_that_does_not_fit_is_halved_for_all_ranks(
    make_plan: MakePlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(HERE))

    outcome = conduct(make_plan(options=failing("batch", rank=1, seconds=2.5)), silent, trainer=stand_in())

    assert [(attempt.batch, attempt.end) for attempt in outcome.story.attempts][-1] == (2, "finished")
    assert [epoch.number for epoch in outcome.story.epochs] == [1, 2, 3]


@pytest.mark.slow
def test_a_training_killed_with_a_rank_goes_on_from_its_checkpoint(
    make_plan: MakePlan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(HERE))
    killed = make_plan(options=failing("kill", rank=1, epoch=3, seconds=3.0))
    with pytest.raises(TrainingError, match="SIGKILL"):
        conduct(killed, silent, trainer=stand_in())
    for mark in (tmp_path / "work").glob("epoch-*"):
        mark.unlink()

    outcome = conduct(make_plan(), silent, trainer=stand_in())

    assert [epoch.number for epoch in outcome.story.epochs] == [1, 2, 3]
    assert not (tmp_path / "work" / "epoch-1-1").exists()


PARENT = """
import logging, os, sys
from pathlib import Path
sys.path.insert(0, {here!r})
from test_distributed import plan_in, run
from components.shared.errors import PipelineError
logging.basicConfig(level=logging.INFO)
plan = plan_in(Path({folder!r}), epochs=1000, options={{"seconds": 0.2}})
try:
    run(plan)
except PipelineError as error:
    print(type(error).__name__, error)
    sys.exit(error.exit_code)
"""


def start(folder: Path) -> subprocess.Popen[str]:
    """A process like the step's, at the head of its own process group, with the training some epochs on."""
    script = dedent(PARENT).format(here=str(HERE), folder=str(folder))
    environment = {**os.environ, "PYTHONPATH": str(HERE)}
    parent = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, start_new_session=True, env=environment
    )
    deadline = time.monotonic() + 60
    while not all((folder / "work" / f"epoch-{rank}-3").exists() for rank in (0, 1)):
        assert time.monotonic() < deadline
        assert parent.poll() is None
        time.sleep(0.05)
    return parent


@pytest.mark.slow
@pytest.mark.parametrize("whole_group", [False, True])
def test_told_to_end_it_saves_and_says_so(whole_group: bool, tmp_path: Path) -> None:
    parent = start(tmp_path)

    (os.killpg if whole_group else os.kill)(parent.pid, signal.SIGTERM)
    out, _ = parent.communicate(timeout=30)

    assert parent.returncode == PreemptedError.exit_code
    assert "PreemptedError Told to end in epoch" in out
    assert list(open_store((tmp_path / "store").as_uri()).list("checkpoints/"))


def terminate_as_rank_0_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    """SIGTERM to this process after the ranks ended and before what they left is read."""
    read = distributed.read_failures

    def told(folder: Path, ranks: int) -> list[Failure]:
        signal.raise_signal(signal.SIGTERM)
        return read(folder, ranks)

    monkeypatch.setattr(distributed, "read_failures", told)


@pytest.mark.slow
def test_told_to_end_when_the_ranks_are_done_it_keeps_the_result_first(
    make_plan: MakePlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminate_as_rank_0_is_done(monkeypatch)
    kept: list[Outcome] = []

    outcome = run_ranks(make_plan(), Story(), silent, kept.append, trainer=STAND_IN)

    assert kept == [outcome]


def test_told_to_end_as_its_outcome_is_saved_rank_0_comes_to_its_regular_end(
    make_plan: MakePlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, told = make_plan(), rank.Told(raising=True)
    assignment = Assignment(plan, Story(), "", plan.job.work / "ranks")
    assignment.folder.mkdir()
    done = Outcome(TrainingRun({}, "", "", best_epoch=1), Story(), plan.job.work)

    def attempt(*arguments: object) -> None:
        keep: Callable[[Outcome], None] = arguments[-1]  # type: ignore[assignment]
        keep(done)
        told(signal.SIGTERM, None)

    monkeypatch.setattr(rank, "attempt", attempt)
    monkeypatch.setattr(rank, "trainer_of", lambda _: None)

    rank._lead(assignment, told)

    assert assignment.outcome.exists()
    assert assignment.progress.exists()


@pytest.mark.slow
def test_no_training_goes_on_when_the_step_was_killed(tmp_path: Path) -> None:
    parent = start(tmp_path)

    parent.kill()
    parent.communicate(timeout=30)
    time.sleep(2.0)
    before = sorted(path.name for path in (tmp_path / "work").glob("epoch-*"))
    time.sleep(1.0)

    assert sorted(path.name for path in (tmp_path / "work").glob("epoch-*")) == before


@pytest.mark.parametrize(
    ("batch", "gpus", "near"), [(10, 4, "batch=8 or batch=12"), (3, 4, "batch=4"), (7, 2, "batch=6 or batch=8")]
)
def test_a_batch_that_cannot_be_shared_is_refused_with_the_near_ones(
    batch: int, gpus: int, near: str, make_plan: MakePlan
) -> None:
    with pytest.raises(ConfigError, match=f"over gpus={gpus}: use {near}."):
        check_ranks(make_plan(batch=batch, gpus=gpus).job.parameters)


@pytest.mark.parametrize(("device", "needed"), [("auto", 2), ("0", 2), ("1", 3)])
def test_more_gpus_than_there_are_is_refused_with_both_numbers(
    device: str, needed: int, make_plan: MakePlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)

    with pytest.raises(TrainingError, match=f"needs {needed} GPUs and 1 are visible"):
        check_ranks(make_plan(device=device).job.parameters)


def test_the_cpus_are_shared_out_among_the_ranks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distributed, "usable_cpus", lambda: 7)

    environment = distributed._environment(1, 3, 29500)

    assert (environment["OMP_NUM_THREADS"], environment["LOCAL_RANK"], environment["MASTER_PORT"]) == (
        "2",
        "1",
        "29500",
    )


def test_what_only_missed_its_peer_is_not_the_reason() -> None:
    endings = [Ending(0, 1, 2.0, ()), Ending(1, -9, 3.0, ("epoch 4",))]
    missed = Failure(rank=0, kind="TrainingError", message="stopped: Connection closed by peer [127.0.0.1]:1")

    error = the_error([missed], endings, told=False)

    assert "rank 1 of 2 was killed by SIGKILL" in str(error)
    assert "epoch 4" in str(error)


def test_the_rank_that_failed_first_is_the_reason() -> None:
    endings = [Ending(0, -6, 9.0, ()), Ending(1, 1, 2.0, ())]
    failed = Failure(rank=1, kind="ValueError", message="no such tensor")

    assert "rank 1 of 2 failed with ValueError" in str(the_error([failed], endings, told=False))


def test_an_error_with_the_name_of_a_builtin_or_a_module_is_not_taken_for_ours() -> None:
    for kind in ("ValueError", "__name__", "__doc__", "Exception"):
        error = Failure(rank=0, kind=kind, message="x").error(2, ())
        assert type(error) is TrainingError


def test_a_process_without_a_rank_is_refused_in_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv("RANK", raising=False)

    assert distributed.main([str(tmp_path / "assignment.json")]) == 2
    assert "start it with torchrun" in caplog.text


def test_ranks_that_watch_nothing_else_still_refuse_losses_that_are_none() -> None:
    with pytest.raises(DivergedError, match="train/box_loss is nan in epoch 1, batch 2"):
        Quiet().batch_done(1, 2, {"train/box_loss": float("nan")})


@pytest.mark.slow
def test_ranks_can_be_run_from_a_thread(make_plan: MakePlan) -> None:
    outcomes: list[Outcome] = []
    thread = threading.Thread(target=lambda: outcomes.append(run(make_plan())))

    thread.start()
    thread.join(60)

    assert outcomes
