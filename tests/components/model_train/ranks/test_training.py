import importlib
from collections.abc import Callable
from pathlib import Path

import pytest

from components.model_train.care import Care
from components.model_train.conduct import conduct
from components.model_train.plan import Outcome, Plan
from components.model_train.train import Place, make_plan
from components.model_train.trainers.base import LARGEST_BATCH, Hyperparameters, Trainer
from components.shared.errors import PreemptedError, TrainingError
from components.shared.progress import silent
from components.shared.store import open_store

HERE = Path(__file__).parent
MODELS = {"Ultralytics": "yolo11n.yaml", "Torchvision": "fasterrcnn_mobilenet_v3_large_320_fpn"}
FOREVER = 1e-6  # hours after which an attempt ends, but not before it has learned an epoch

pytestmark = pytest.mark.slow
Train = Callable[..., Outcome]


@pytest.fixture(params=sorted(MODELS))
def trainer(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Trainer:
    """A real trainer whose two processes can import its witness."""
    monkeypatch.setenv("PYTHONPATH", str(HERE))
    monkeypatch.setenv("GOMP_SPINCOUNT", "1000")
    monkeypatch.syspath_prepend(str(HERE))
    chosen: Trainer = getattr(importlib.import_module("stand_in_witness"), request.param)()
    return chosen


@pytest.fixture
def plan(trainer: Trainer, make_splits: Callable[..., object], tmp_path: Path) -> Callable[..., Plan]:
    """Plans of one training on a dozen images, each in a folder of its own."""
    splits = make_splits()

    def make(folder: str, *, batch: int = 4, **care: object) -> Plan:
        parameters = Hyperparameters(
            model=MODELS[type(trainer).__name__],
            epochs=2,
            batch=batch,
            imgsz=64,
            lr0=0.01,
            optimizer="SGD",
            warmup_epochs=0.0,
            close_mosaic=0,
            freeze=0,
            device="cpu",
            seed=0,
            gpus=2,
        )
        work = tmp_path / folder
        work.mkdir()
        store = open_store(splits.store)  # type: ignore[attr-defined]
        watched = Care(checkpoint_minutes=0.0, **care)  # type: ignore[arg-type]
        train, val = splits.train, splits.val  # type: ignore[attr-defined]
        return make_plan(train, val, store, parameters, watched, Place(run_id=folder), work, silent)

    return make


def parameters_of(plan: Plan) -> list[str]:
    return [(plan.job.work / f"parameters-{rank}").read_text() for rank in (0, 1)]


def test_two_processes_end_with_the_same_parameters_also_when_interrupted(
    plan: Callable[..., Plan], trainer: Trainer
) -> None:
    whole = plan("whole", resume="never")
    outcome = conduct(whole, silent, trainer=trainer)

    assert [epoch.number for epoch in outcome.story.epochs] == [1, 2]
    assert outcome.run.files[outcome.run.weights].stat().st_size > 100_000
    first, second = parameters_of(whole)
    assert first == second

    for entry in list(open_store(whole.store).list("checkpoints/")):
        open_store(whole.store).delete(entry.key)
    with pytest.raises(PreemptedError, match="attempt_hours"):
        conduct(plan("interrupted", attempt_hours=FOREVER), silent, trainer=trainer)
    resumed = plan("resumed")
    outcome = conduct(resumed, silent, trainer=trainer)

    assert [(attempt.first_epoch, attempt.last_epoch) for attempt in outcome.story.attempts] == [(1, 1), (2, 2)]
    assert parameters_of(resumed) == [first, first]


def test_as_large_a_batch_as_fits_is_the_same_for_both_processes_and_shared_evenly(
    plan: Callable[..., Plan], trainer: Trainer
) -> None:
    with pytest.raises(PreemptedError, match="attempt_hours"):
        conduct(plan("first", batch=LARGEST_BATCH, attempt_hours=FOREVER), silent, trainer=trainer)
    second = plan("second", batch=LARGEST_BATCH)
    outcome = conduct(second, silent, trainer=trainer)

    batches = {attempt.batch for attempt in outcome.story.attempts}
    assert len(outcome.story.attempts) == 2
    assert len(batches) == 1
    assert batches.pop() in {8, 16}, "torchvision takes no more than there are images"
    first, other = parameters_of(second)
    assert first == other


@pytest.mark.parametrize("rank", [0, 1])
def test_a_rank_that_is_killed_ends_the_training_within_seconds(
    rank: int, plan: Callable[..., Plan], trainer: Trainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STAND_IN_DIES", str(rank))

    with pytest.raises(TrainingError, match=f"rank {rank} of 2 was killed by SIGKILL"):
        conduct(plan("killed"), silent, trainer=trainer)
