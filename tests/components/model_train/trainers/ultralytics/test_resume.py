"""An interrupted training ends as the uninterrupted one, bit for bit; a broken snapshot is refused."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from components.model_train.trainers.base import Start, TrainingJob, TrainingRun
from components.model_train.trainers.ultralytics.snapshot import read_snapshot
from components.model_train.trainers.ultralytics.trainer import UltralyticsTrainer
from components.shared.detection.environment import prepare_environment
from components.shared.detection.ultralytics_runtime import UltralyticsRuntime, load_state
from components.shared.errors import CheckpointError

prepare_environment(2)
import torch  # noqa: E402 - after the environment is prepared

pytestmark = pytest.mark.xdist_group("training")
ROOT = Path(__file__).parents[5]
Job = Callable[..., TrainingJob]
CASES: dict[str, dict[str, Any]] = {
    "adamw": {"close_mosaic": 2},
    "adamw without cached images": {"close_mosaic": 1, "options": {"cache": False}},
    "sgd in a long warm-up": {"optimizer": "SGD", "lr0": 0.01, "warmup_epochs": 2.5, "options": {"cos_lr": True}},
    "musgd gathering two batches": {"optimizer": "MuSGD", "lr0": 0.01, "batch": 2, "options": {"nbs": 6}},
    "rmsprop at many sizes, mixed up": {"optimizer": "RMSProp", "options": {"multi_scale": 0.5, "mixup": 0.5}},
    "batches of like shape": {"options": {"rect": True}},
    "nadam, frozen, weighed": {"optimizer": "NAdam", "freeze": 2, "options": {"cls_pw": 0.5, "weight_decay": 0.01}},
}
RESUMED = {"adamw": (1, 2, 3), "sgd in a long warm-up": (1, 3), "musgd gathering two batches": (1, 3)}


def assert_same_weights(one: TrainingRun, other: TrainingRun) -> None:
    assert one.best_epoch == other.best_epoch
    for name in ("weights/best.pt", "weights/last.pt"):
        former, latter = load_state(one.files[name]), load_state(other.files[name])
        assert former.keys() == latter.keys()
        assert [key for key in former if not torch.equal(former[key], latter[key])] == []
    assert {name: sha256(path.read_bytes()).hexdigest() for name, path in one.files.items()} == {
        name: sha256(path.read_bytes()).hexdigest() for name, path in other.files.items()
    }


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_a_training_interrupted_after_any_epoch_ends_with_the_same_weights(
    make_job: Job, listener: Any, tmp_path: Path, name: str
) -> None:
    settings = {"epochs": 4, "batch": 3, **CASES[name]}
    whole = UltralyticsTrainer().train(make_job("whole", **settings), listener(tmp_path / "snapshots"))
    for epoch in RESUMED.get(name, (2,)):
        watch = listener()
        job = make_job(f"from{epoch}", resume=tmp_path / "snapshots" / str(epoch), **settings)
        resumed = UltralyticsTrainer().train(job, watch)
        assert [done.number for done in watch.epochs] == list(range(epoch + 1, 5))
        assert_same_weights(whole, resumed)
        assert whole.untrained is not None
        assert resumed.untrained is not None
        assert whole.untrained.read_bytes() == resumed.untrained.read_bytes()


@pytest.mark.slow
def test_an_rtdetr_interrupted_ends_with_the_same_weights(
    make_job: Job, listener: Any, tiny_rtdetr: Path, tmp_path: Path
) -> None:
    settings: dict[str, Any] = {"epochs": 3, "start": Start("ultralytics", str(tiny_rtdetr))}
    watch = listener(tmp_path / "snapshots")
    whole = UltralyticsTrainer().train(make_job("whole", **settings), watch)
    resumed = UltralyticsTrainer().train(make_job("again", resume=tmp_path / "snapshots/1", **settings), listener())
    assert_same_weights(whole, resumed)
    assert {"train/giou_loss", "train/cls_loss", "train/l1_loss"} <= set(watch.epochs[0].values)
    runtime = UltralyticsRuntime(resumed.files["weights/best.pt"], imgsz=64, device="cpu")
    assert runtime.names == ("bar", "block")
    assert runtime.predict(np.zeros((64, 64, 3), np.uint8), conf=0.9, iou=0.5, max_det=5).shape[1] == 6


@pytest.mark.slow
def test_a_head_whose_loss_shifts_with_the_epochs_resumes_the_same(
    make_job: Job, listener: Any, tiny: Path, tmp_path: Path
) -> None:
    path = tmp_path / "tiny26.yaml"
    path.write_text(tiny.read_text() + "end2end: True\nreg_max: 1\n")
    settings: dict[str, Any] = {"epochs": 3, "start": Start("ultralytics", str(path))}
    watch = listener(tmp_path / "snapshots")
    whole = UltralyticsTrainer().train(make_job("whole", **settings), watch)
    assert read_snapshot(tmp_path / "snapshots" / "2").state["criterion_updates"] == 2
    resumed = UltralyticsTrainer().train(make_job("again", resume=tmp_path / "snapshots/2", **settings), listener())
    assert_same_weights(whole, resumed)
    assert "train/l1_loss" in watch.epochs[0].values


@pytest.mark.slow
def test_the_best_weights_of_an_earlier_attempt_are_kept(
    make_job: Job, listener: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ultralytics.models.yolo.detect import DetectionValidator  # noqa: PLC0415 - after the environment is prepared

    fitness = iter([0.2, 0.6, 0.6, 0.1, 0.3, 0.1, 0.3])
    original = DetectionValidator.get_stats
    monkeypatch.setattr(DetectionValidator, "get_stats", lambda self: {**original(self), "fitness": next(fitness)})
    whole = UltralyticsTrainer().train(make_job("whole", epochs=5), listener(tmp_path / "snapshots"))
    resumed = UltralyticsTrainer().train(make_job("again", epochs=5, resume=tmp_path / "snapshots/3"), listener())
    assert whole.best_epoch == 3
    assert_same_weights(whole, resumed)


KILLED = """
import os, pickle, signal, sys
from pathlib import Path
from components.model_train.trainers.ultralytics.trainer import UltralyticsTrainer

class Killed:
    def __init__(self, folder, epoch): self.folder, self.epoch = folder, epoch
    def begun(self, **numbers): pass
    def batch_seen(self, *shown): pass
    def batch_done(self, *told, **more): pass
    def epoch_done(self, epoch, snapshot):
        snapshot.write(self.folder / str(epoch.number))
        if epoch.number == self.epoch:
            os.kill(os.getpid(), signal.SIGKILL)
        return False

job = pickle.loads(Path(sys.argv[1]).read_bytes())
UltralyticsTrainer().train(job, Killed(Path(sys.argv[2]), int(sys.argv[3])))
"""


def train_elsewhere(job: TrainingJob, folder: Path, killed_at: int) -> int:
    import pickle  # noqa: PLC0415 - a job of our own, to a process of our own

    (folder / "job").write_bytes(pickle.dumps(job))
    command = [sys.executable, "-c", KILLED, str(folder / "job"), str(folder / "snapshots"), str(killed_at)]
    return subprocess.run(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False, timeout=300).returncode


@pytest.mark.slow
def test_a_killed_process_and_another_one_after_it_end_with_the_same_weights(
    make_job: Job, listener: Any, tmp_path: Path
) -> None:
    settings = {"epochs": 3, "batch": 3, "close_mosaic": 1, "options": {"cache": False}}
    whole = UltralyticsTrainer().train(make_job("whole", **settings), listener())
    assert train_elsewhere(make_job("killed", **settings), tmp_path, killed_at=1) == -signal.SIGKILL
    again = make_job("again", resume=tmp_path / "snapshots/1", **settings)
    assert train_elsewhere(again, tmp_path, killed_at=2) == -signal.SIGKILL
    resumed = UltralyticsTrainer().train(make_job("end", resume=tmp_path / "snapshots/2", **settings), listener())
    assert_same_weights(whole, resumed)


@pytest.mark.slow
def test_whoever_watches_may_draw_random_numbers(make_job: Job, listener: Any) -> None:
    import random  # noqa: PLC0415 - only here

    class Drawing(listener):  # type: ignore[misc]
        def epoch_done(self, *told: Any) -> bool:
            random.random()
            torch.rand(3)
            return bool(super().epoch_done(*told))

    assert_same_weights(
        UltralyticsTrainer().train(make_job("quiet"), listener()),
        UltralyticsTrainer().train(make_job("drawing"), Drawing()),
    )


@pytest.mark.slow
def test_a_training_whose_batch_did_not_fit_goes_on_with_half_of_it(
    make_job: Job, listener: Any, tmp_path: Path
) -> None:
    settings = {"epochs": 3, "options": {"cache": False}}
    UltralyticsTrainer().train(make_job("whole", batch=4, **settings), listener(tmp_path / "snapshots"))
    watch = listener()
    UltralyticsTrainer().train(make_job("half", batch=2, resume=tmp_path / "snapshots/1", **settings), watch)
    assert watch.begins == [{"images": 8, "batch": 2, "batches": 4, "first_epoch": 2}]
    assert [epoch.number for epoch in watch.epochs] == [2, 3]


@pytest.mark.slow
def test_as_many_as_fit_stays_what_it_was(make_job: Job, listener: Any, tmp_path: Path) -> None:
    UltralyticsTrainer().train(make_job("whole", batch=3), listener(tmp_path / "snapshots"))
    watch = listener()
    UltralyticsTrainer().train(make_job("again", batch=-1, resume=tmp_path / "snapshots/1"), watch)
    assert watch.begins[0]["batch"] == 3


@pytest.mark.slow
def test_a_snapshot_of_the_last_epoch_gives_its_files_without_training(
    make_job: Job, listener: Any, tmp_path: Path
) -> None:
    whole = UltralyticsTrainer().train(make_job("whole"), listener(tmp_path / "snapshots"))
    watch = listener()
    ended = UltralyticsTrainer().train(make_job("ended", resume=tmp_path / "snapshots" / "2"), watch)
    assert watch.begins == watch.epochs == []
    assert_same_weights(whole, ended)


@pytest.fixture(scope="module")
def snapshot(module_files: Any, tiny: Path, parameters: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The snapshot of the first epoch of a training of two."""

    class Once:
        def begun(self, **_: int) -> None: ...
        def batch_seen(self, *_: Any) -> None: ...
        def batch_done(self, *_: Any, **__: Any) -> None: ...
        def epoch_done(self, epoch: Any, state: Any) -> bool:
            if epoch.number == 1:
                state.write(folder / "snapshot")
            return True

    folder = tmp_path_factory.mktemp("once")
    job = TrainingJob(
        train=module_files[0],
        val=module_files[1],
        classes=("bar", "block"),
        parameters=parameters(imgsz=64),
        start=Start("ultralytics", str(tiny)),
        work=folder / "work",
    )
    UltralyticsTrainer().train(job, Once())
    return folder / "snapshot"


def changed(snapshot: Path, folder: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """A snapshot with another state in it, well sealed."""
    read = read_snapshot(snapshot)
    change(dict_of := dict(read.state))
    type(read)(dict_of).write(folder)
    return folder


def test_a_snapshot_is_readable_as_tensors_and_plain_values_only(snapshot: Path) -> None:
    state = torch.load(snapshot / "training.pt", weights_only=True)
    assert state["epoch"] == 1
    assert sorted(path.name for path in snapshot.iterdir()) == ["training.json", "training.pt"]


def test_the_weights_and_their_average_are_kept_in_full_precision(snapshot: Path) -> None:
    state = read_snapshot(snapshot).state
    for name in ("model", "average"):
        kinds = {tensor.dtype for tensor in state[name].values()}
        assert kinds == {torch.float32, torch.int64}


def test_a_cut_snapshot_is_refused(snapshot: Path, tmp_path: Path) -> None:
    for name in ("training.pt", "training.json"):
        (tmp_path / name).write_bytes((snapshot / name).read_bytes())
    whole = (tmp_path / "training.pt").read_bytes()
    (tmp_path / "training.pt").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CheckpointError, match="was cut or changed after it was written"):
        read_snapshot(tmp_path)


def test_a_snapshot_with_one_flipped_bit_is_refused(snapshot: Path, tmp_path: Path) -> None:
    content = bytearray((snapshot / "training.pt").read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "training.pt").write_bytes(content)
    (tmp_path / "training.json").write_bytes((snapshot / "training.json").read_bytes())
    with pytest.raises(CheckpointError, match="was cut or changed"):
        read_snapshot(tmp_path)


@pytest.mark.parametrize("seal", [None, b"", b"[]", b"{}", b'{"format": 99, "bytes": 1, "sha256": ""}', b"[" * 9999])
def test_a_folder_without_a_good_seal_is_no_snapshot(snapshot: Path, tmp_path: Path, seal: bytes | None) -> None:
    (tmp_path / "training.pt").write_bytes((snapshot / "training.pt").read_bytes())
    if seal is not None:
        (tmp_path / "training.json").write_bytes(seal)
    with pytest.raises(CheckpointError, match=r"is incomplete or of another trainer|has format 99"):
        read_snapshot(tmp_path)


class Bomb:
    """Unpickling it leaves a file behind."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, ...]:
        return os.system, (f"touch '{self.mark}'",)


def test_code_in_a_snapshot_is_refused_and_not_run(snapshot: Path, tmp_path: Path) -> None:
    def plant(state: dict[str, Any]) -> None:
        state["metrics"] = Bomb(tmp_path / "executed")

    with pytest.raises(CheckpointError, match="cannot be read"):
        read_snapshot(changed(snapshot, tmp_path / "bomb", plant))
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda state: state.pop("optimizer"), "lacks 'optimizer'"),
        (lambda state: state.update(model=[]), "has a 'model' that is a list"),
        (lambda state: state.update(epoch=0), "says epoch 0"),
    ],
    ids=["a part missing", "another type", "no epoch"],
)
def test_a_state_that_makes_no_sense_is_refused(
    snapshot: Path, tmp_path: Path, change: Callable[[dict[str, Any]], None], reason: str
) -> None:
    with pytest.raises(CheckpointError, match=reason):
        read_snapshot(changed(snapshot, tmp_path / "odd", change))


def other_shape(state: dict[str, Any]) -> None:
    name = next(iter(state["model"]))
    state["model"] = {**state["model"], name: torch.zeros(1)}


def odd_optimizer(state: dict[str, Any]) -> None:
    first = state["optimizer"]["state"][0]
    state["optimizer"]["state"][0] = {name: torch.zeros(2, 2) for name in first}


DAMAGES: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "other shapes": (other_shape, "are of another model: 'model.0.conv.weight' has the shape"),
    "no weights": (lambda state: state.update(average={}), "averaged weights are of another model"),
    "other classes": (lambda state: state.update(classes=["cat"]), r"learned the classes \['cat'\], this training has"),
    "another optimizer": (lambda state: state.update(optimizer_kind="SGD"), "with the optimizer 'SGD'"),
    "odd optimizer": (odd_optimizer, "cannot be put back"),
    "no groups": (lambda state: state["optimizer"].update(param_groups=[]), "cannot be put back"),
    "odd random states": (lambda state: state.update(random={"python": [3, [1], None]}), "cannot be put back"),
    "odd order": (lambda state: state.update(loader=torch.zeros(3)), "cannot be put back"),
    "odd best": (lambda state: state.update(best={"epoch": 1}), "cannot be put back"),
}


@pytest.mark.slow
@pytest.mark.parametrize(("change", "reason"), DAMAGES.values(), ids=DAMAGES)
def test_a_state_that_does_not_fit_is_refused_with_a_sentence(
    make_job: Job, listener: Any, snapshot: Path, tmp_path: Path, change: Any, reason: str
) -> None:
    job = make_job(resume=changed(snapshot, tmp_path / "odd", change))
    with pytest.raises(CheckpointError, match=reason) as caught:
        UltralyticsTrainer().train(job, listener())
    assert str(caught.value).endswith("train with resume=never.")


@pytest.mark.slow
def test_a_snapshot_of_another_architecture_is_refused(
    make_job: Job, listener: Any, snapshot: Path, tiny: Path, tmp_path: Path
) -> None:
    (tmp_path / "wider.yaml").write_text(tiny.read_text().replace("0.125", "0.25"))
    job = make_job(resume=snapshot, start=Start("ultralytics", str(tmp_path / "wider.yaml")))
    with pytest.raises(CheckpointError, match=r"of another model: .* has the shape"):
        UltralyticsTrainer().train(job, listener())


def test_the_seal_tells_the_size(snapshot: Path) -> None:
    seal = json.loads((snapshot / "training.json").read_text())
    assert seal["bytes"] == (snapshot / "training.pt").stat().st_size
