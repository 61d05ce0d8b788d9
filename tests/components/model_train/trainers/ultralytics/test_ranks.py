"""Two processes on a CPU that train one model, and what the library must not change under them."""

import json
import os
import pickle
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from components.model_train.trainers.base import TrainingJob
from components.model_train.trainers.ultralytics.random import random_states, seed_epoch
from components.model_train.trainers.ultralytics.ranks import Group, joined, this_group, told_by_leader, wait_for_all
from components.model_train.trainers.ultralytics.trainer import UltralyticsTrainer
from components.shared.detection.environment import prepare_environment
from components.shared.detection.ultralytics_runtime import UltralyticsRuntime, load_state
from components.shared.errors import TrainingError

prepare_environment(2)
import torch  # noqa: E402 - after the environment is prepared

pytestmark = pytest.mark.xdist_group("training")
ROOT = Path(__file__).parents[5]
PROCESS = """
import json, os, pickle, sys
from pathlib import Path
from components.model_train.trainers.ultralytics.trainer import UltralyticsTrainer

class Told:
    def __init__(self, folder): self.folder, self.heard = folder, []
    def begun(self, **numbers): self.heard.append(["begun", numbers])
    def batch_seen(self, *shown): self.heard.append(["seen"])
    def batch_done(self, *told, **more): self.heard.append(["batch", *told])
    def epoch_done(self, epoch, snapshot):
        self.heard.append(["epoch", epoch.number, epoch.values])
        snapshot.write(self.folder / str(epoch.number))
        return epoch.number == 3

for number, job in enumerate(pickle.loads(Path(sys.argv[1]).read_bytes())):
    os.environ["MASTER_PORT"] = sys.argv[3 + number]
    watch = Told(Path(sys.argv[2]) / f"snapshots{number}")
    run = UltralyticsTrainer().train(job, watch)
    files = {name: str(path) for name, path in run.files.items()}
    print("RUN", json.dumps({"heard": watch.heard, "best": run.best_epoch, "files": files}), flush=True)
"""


@dataclass(frozen=True)
class Told:
    """What one process's watch heard of a training, and what that training left."""

    heard: list[Any]
    best: int
    files: dict[str, str]

    def of(self, kind: str) -> list[Any]:
        return [told[1:] for told in self.heard if told[0] == kind]


def free_ports(count: int) -> list[str]:
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [str(probe.getsockname()[1]) for probe in probes]


def train_together(jobs: list[TrainingJob], folder: Path) -> list[list[Told]]:
    """Two processes train the jobs one after the other: what each process heard of each job."""
    (folder / "jobs").write_bytes(pickle.dumps(jobs))
    shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "PYTHONPATH": str(ROOT)}
    ports = free_ports(len(jobs))  # the leader of the next group may not yet have left the last one's
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PROCESS, str(folder / "jobs"), str(folder), *ports],
            env={**os.environ, **shared, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    told = []
    try:
        for process in processes:
            output, errors = process.communicate(timeout=300)
            assert process.returncode == 0, errors[-3000:]
            lines = [line for line in output.splitlines() if line.startswith("RUN ")]
            told.append([Told(**json.loads(line.removeprefix("RUN "))) for line in lines])
    finally:
        for process in processes:
            process.kill()
    return told


@pytest.mark.slow
@pytest.mark.parametrize("cache", [True, False], ids=["cached images", "images read each time"])
def test_two_processes_train_one_model_and_resume_it_the_same(make_job: Any, tmp_path: Path, cache: bool) -> None:
    settings = {"epochs": 5, "close_mosaic": 3, "options": {"cache": cache}}
    jobs = [make_job("whole", **settings), make_job("again", resume=tmp_path / "snapshots0" / "1", **settings)]
    (whole, again), other = train_together(jobs, tmp_path)
    assert whole.of("begun") == [[{"images": 8, "batch": 4, "batches": 2, "first_epoch": 1}]]
    assert again.of("begun") == [[{"images": 8, "batch": 4, "batches": 2, "first_epoch": 2}]]
    assert [told[0] for told in whole.of("epoch")] == [1, 2, 3]  # the leader's watch ends it for both
    assert [told[0] for told in again.of("epoch")] == [2, 3]
    assert "val/box_loss" in whole.of("epoch")[0][1]
    for mine, theirs in zip((whole, again), other, strict=True):
        assert theirs.heard == []
        assert (theirs.best, theirs.files) == (mine.best, mine.files)
    for name in ("weights/best.pt", "weights/last.pt"):
        one, two = load_state(Path(whole.files[name])), load_state(Path(again.files[name]))
        assert [key for key in one if not torch.equal(one[key], two[key])] == []
    runtime = UltralyticsRuntime(Path(whole.files["weights/best.pt"]), imgsz=64, device="cpu")
    assert runtime.names == ("bar", "block")


@pytest.mark.slow
def test_a_snapshot_of_one_process_is_taken_up_by_two(make_job: Any, listener: Any, tmp_path: Path) -> None:
    UltralyticsTrainer().train(make_job("alone", epochs=2), listener(tmp_path / "alone-snapshots"))
    (leader,), _ = train_together([make_job("pair", resume=tmp_path / "alone-snapshots/1")], tmp_path)
    assert [told[0] for told in leader.of("epoch")] == [2]


def test_a_process_on_its_own_is_a_group_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WORLD_SIZE", "RANK", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    group = this_group()
    assert (group.leads, group.many) == (True, False)
    with joined(group, "cpu"):
        wait_for_all(group)
        assert told_by_leader(group, 5) == 5
    assert not torch.distributed.is_initialized()


def test_the_environment_says_which_process_this_is(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"WORLD_SIZE": "4", "RANK": "3", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    assert this_group() == Group(rank=3, local_rank=1, size=4, local_size=2)


@pytest.mark.parametrize(
    "variables",
    [{"WORLD_SIZE": "two"}, {"WORLD_SIZE": "2"}, {"WORLD_SIZE": "2", "RANK": "2", "LOCAL_RANK": "0"}],
    ids=["no number", "no rank", "beyond the group"],
)
def test_an_environment_that_contradicts_itself_is_refused(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]
) -> None:
    for name in ("RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(TrainingError, match="RANK"):
        this_group()


def drawn() -> list[Any]:
    states = random_states()
    return [states["python"], states["numpy"][1].tolist(), states["torch"].tolist()]


def test_an_epochs_random_numbers_follow_from_seed_epoch_and_rank() -> None:
    seen: Callable[[int, int, int], list[Any]] = lambda *key: [seed_epoch(*key), *drawn()]  # noqa: E731 - one line each
    first = seen(0, 1, 0)
    assert seen(0, 1, 0) == first
    for other in ((1, 1, 0), (0, 2, 0), (0, 1, 1)):
        assert all(mine != theirs for mine, theirs in zip(seen(*other), first, strict=True))


def test_the_library_is_the_version_whose_loop_this_was_written_for() -> None:
    import inspect  # noqa: PLC0415 - only here

    import ultralytics  # noqa: PLC0415 - after the environment is prepared
    from ultralytics.engine.trainer import BaseTrainer  # noqa: PLC0415 - same

    assert ultralytics.__version__ == "8.4.190"
    loop = inspect.getsource(BaseTrainer._do_train)
    for leaned_on in ("self._setup_ddp()", "self._oom_retries >= 3", "self._handle_nan_recovery(epoch)"):
        assert leaned_on in loop
    setup = inspect.getsource(BaseTrainer._setup_train)
    assert "nn.parallel.DistributedDataParallel(" in setup
    assert "self.resume_training(ckpt)" in setup
