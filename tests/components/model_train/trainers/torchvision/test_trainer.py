"""The torchvision trainer's own promises: options that reach the model, memory, several processes, odd data."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from components.model_train.trainers.base import LARGEST_BATCH, Hyperparameters, Start, TrainingJob
from components.model_train.trainers.torchvision.batch import Lessons, fitting
from components.model_train.trainers.torchvision.data import Examples
from components.model_train.trainers.torchvision.failures import explained
from components.model_train.trainers.torchvision.optim import Average, Frozen, learning_rate, make_optimizer
from components.model_train.trainers.torchvision.ranks import Ranks
from components.model_train.trainers.torchvision.trainer import TorchvisionTrainer
from components.model_train.trainers.torchvision.validate import Validation
from components.shared.detection.torchvision_models import build_model
from components.shared.detection.torchvision_runtime import TorchvisionRuntime, load_state
from components.shared.errors import ConfigError, DivergedError, OutOfMemoryError, TrainingError
from components.shared.materialise import MaterialisedDataset, materialise
from components.shared.store import open_store

pytestmark = pytest.mark.xdist_group("trainers")
REPOSITORY = Path(__file__).parents[5]
SMALL, RCNN = "retinanet_mobilenet_v3_small_fpn", "fasterrcnn_mobilenet_v3_large_320_fpn"
ASKED = Hyperparameters(
    model=SMALL,
    epochs=1,
    batch=4,
    imgsz=64,
    lr0=0.002,
    optimizer="AdamW",
    warmup_epochs=0.0,
    close_mosaic=0,
    freeze=0,
    device="cpu",
    seed=0,
)


class Listener:
    """A watch that keeps the epochs and the beginning."""

    def __init__(self) -> None:
        self.epochs: list[Any] = []
        self.begin: dict[str, int] = {}

    def begun(self, **named: int) -> None:
        self.begin = named

    def batch_seen(self, *_: object) -> None: ...

    def batch_done(self, *_: object, **__: object) -> None: ...

    def epoch_done(self, epoch: Any, _snapshot: object) -> bool:
        self.epochs.append(epoch)
        return False


@pytest.fixture(scope="module")
def data(module_splits: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[MaterialisedDataset, ...]:
    root, store = tmp_path_factory.mktemp("data"), open_store(module_splits.store)
    return tuple(materialise(part, store, root / part.split) for part in (module_splits.train, module_splits.val))


@pytest.fixture
def job(data: tuple[MaterialisedDataset, ...], tmp_path: Path) -> Callable[..., TrainingJob]:
    def made(**changes: Any) -> TrainingJob:
        parameters = replace(ASKED, **changes)
        return TrainingJob(*data, data[0].classes, parameters, Start("torchvision", parameters.model), tmp_path)

    return made


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        {"multi_scale": 0.5, "mosaic": 1.0, "degrees": 10.0, "cos_lr": True},
        {"amp": "bf16", "workers": 2, "deterministic": False, "iou": 0.5, "max_det": 5, "momentum": 0.8},
    ],
)
def test_its_options_are_taken(job: Callable[..., TrainingJob], options: Mapping[str, Any]) -> None:
    watch = Listener()
    run = TorchvisionTrainer().train(job(options=options), watch)
    assert len(watch.epochs) == 1
    assert run.files[run.weights].is_file()


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["SGD", "Adam", "Adamax", "NAdam", "RAdam", "RMSProp", "auto"])
def test_every_optimiser_takes_steps(optimizer: str) -> None:
    model = torch.nn.Conv2d(3, 3, 1)
    before = model.weight.detach().clone()
    stepping = make_optimizer(model, replace(ASKED, optimizer=optimizer))
    model(torch.ones(1, 3, 4, 4)).sum().backward()
    stepping.step()
    assert not model.weight.equal(before)


def test_an_optimiser_only_the_other_library_has_is_refused() -> None:
    with pytest.raises(ConfigError, match="'MuSGD'"):
        make_optimizer(torch.nn.Conv2d(3, 3, 1), replace(ASKED, optimizer="MuSGD"))


def test_the_learning_rate_rises_over_the_warm_up_and_falls_to_its_last_share() -> None:
    asked = replace(ASKED, epochs=10, lr0=0.1, warmup_epochs=2.0, options={"lrf": 0.1})
    rates = [learning_rate(asked, epoch, batch, 5) for epoch in range(1, 11) for batch in range(1, 6)]
    assert rates[0] == pytest.approx(0.1 / 10)
    assert rates[:10] == sorted(rates[:10])
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[-1] == pytest.approx(0.1 * (0.1 + 0.9 * 0.1))
    cosine = replace(asked, options={"lrf": 0.1, "cos_lr": True})
    assert learning_rate(cosine, 6, 5, 5) == pytest.approx(0.1 * (0.1 + 0.9 * 0.5))


@pytest.mark.slow
def test_frozen_layers_stay_as_they_are_statistics_too(job: Callable[..., TrainingJob]) -> None:
    run = TorchvisionTrainer().train(job(freeze=3), Listener())
    assert run.untrained is not None
    before, after = load_state(run.untrained), load_state(run.files[run.last])
    frozen = [name for name in before if name.startswith(tuple(f"backbone.body.{layer}." for layer in range(3)))]
    assert len(frozen) > 20
    assert all(after[name].equal(before[name]) for name in frozen)
    assert not after["backbone.body.3.block.0.0.weight"].equal(before["backbone.body.3.block.0.0.weight"])


def test_more_layers_than_there_are_cannot_be_frozen() -> None:
    model = build_model(SMALL, 2, 64)
    with pytest.raises(ConfigError, match="freeze=99"):
        Frozen(model, 99)


def test_the_average_follows_fast_at_first_and_slowly_later() -> None:
    model = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.zeros_(model.weight)
    average = Average(model)
    torch.nn.init.ones_(model.weight)
    average.update(model)
    assert float(average.model.weight) > 0.99
    average.updates = 1_000_000
    torch.nn.init.zeros_(model.weight)
    before = float(average.model.weight)
    average.update(model)
    assert 0.999 * before < float(average.model.weight) < before


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp:118] DefaultCPUAllocator: can't allocate memory: you tried 9 bytes"
        ),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate(handle)"),
        MemoryError(),
    ],
)
def test_a_full_memory_is_said_so_with_the_batch(error: Exception) -> None:
    with (
        pytest.raises(OutOfMemoryError, match=r"batch=64 does not fit.*epoch 1, batch 2"),
        explained("epoch 1, batch 2", 64),
    ):
        raise error


def test_another_fault_is_one_sentence_but_passes_as_it_is_among_several_processes() -> None:
    with pytest.raises(TrainingError, match=r"epoch 1.*sizes differ"), explained("epoch 1", 4):
        raise RuntimeError("sizes differ")
    with pytest.raises(RuntimeError, match="closed by peer"), explained("epoch 1", 4, alone=False):
        raise RuntimeError("Connection closed by peer")


@pytest.mark.slow
@pytest.mark.parametrize("place", ["torchvision.training", "torchvision.validate"])
def test_memory_that_runs_out_while_it_learns_or_validates_is_out_of_memory(
    job: Callable[..., TrainingJob], monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    monkeypatch.setattr(f"components.model_train.trainers.{place}.to_targets", full)
    with pytest.raises(OutOfMemoryError, match=r"batch=4 does not fit.*epoch 1"):
        TorchvisionTrainer().train(job(), Listener())


def test_the_largest_batch_is_where_a_line_through_the_measurements_meets_the_memory() -> None:
    assert fitting([1, 2, 4], [100.0, 150.0, 250.0], 1050.0, limit=64) == 20
    assert fitting([1, 2, 4], [100.0, 150.0, 250.0], 1050.0, limit=8) == 8
    assert fitting([1, 2], [100.0, 200.0], 10.0, limit=8) == 1
    assert fitting([1], [100.0], 1e9, limit=8) == 1
    assert fitting([1, 2], [100.0, 100.0], 1e9, limit=8) == 8


@pytest.mark.slow
def test_as_many_images_as_fit_a_gpu_are_eight_where_there_is_none(job: Callable[..., TrainingJob]) -> None:
    watch = Listener()
    TorchvisionTrainer().train(job(batch=LARGEST_BATCH), watch)
    assert watch.begin["batch"] == 8


def test_a_repeated_image_is_shown_as_often_as_told(data: tuple[MaterialisedDataset, ...]) -> None:
    first = min(data[0].paths)
    examples = Examples(replace(data[0], repeats={first: 3}), 64)
    assert len(examples) == data[0].image_count + 2
    for number in range(3):
        np.testing.assert_array_equal(examples[number].pixels, examples[0].pixels)


def test_labels_become_corners_in_the_scaled_images_pixels(
    tmp_path: Path, data: tuple[MaterialisedDataset, ...]
) -> None:
    label = tmp_path / "00000000.txt"
    label.write_text("1 0.5 0.5 0.25 0.5\n0 0.25 0.25 0.5 0.5\n")
    image_id = min(data[0].paths)
    path = tmp_path / "00000000.jpg"
    path.write_bytes(data[0].paths[image_id].read_bytes())
    only = replace(data[0], labels=tmp_path, paths={0: path}, repeats={})
    example = Examples(only, 128)[0]
    assert example.pixels.shape == (128, 128, 3)
    np.testing.assert_allclose(example.boxes, [[48, 32, 80, 96], [0, 0, 64, 64]])
    np.testing.assert_array_equal(example.labels, [1, 0])
    for broken in ("0 1 2\n", "0 nan 0.5 0.1 0.1\n", "a b c d e\n"):
        label.write_text(broken)
        with pytest.raises(TrainingError, match=r"00000000\.txt"):
            Examples(only, 128)


def test_a_batch_shared_by_processes_is_the_batch_of_one(data: tuple[MaterialisedDataset, ...]) -> None:
    examples = Examples(data[0], 64)
    whole = list(Lessons(examples, ASKED, 64, Ranks(), 0).epoch(1, 4))
    shares = [list(Lessons(examples, ASKED, 64, Ranks(rank, 2, rank), threads=1).epoch(1, 4)) for rank in (0, 1)]
    for number, (_, together) in enumerate(whole):
        for place, example in enumerate(together):
            apart = shares[place % 2][number][1][place // 2]
            np.testing.assert_array_equal(apart.pixels, example.pixels)
            np.testing.assert_array_equal(apart.boxes, example.boxes)


@pytest.mark.parametrize("architecture", [SMALL, pytest.param(RCNN, marks=pytest.mark.slow)])
def test_validation_finds_what_the_runtime_finds_and_changes_nothing(
    data: tuple[MaterialisedDataset, ...], architecture: str, tmp_path: Path
) -> None:
    from components.shared.detection.torchvision_runtime import TorchvisionWeights  # noqa: PLC0415 - beside its use

    torch.manual_seed(1)
    model = build_model(architecture, 2, 64).eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    validation = Validation(Examples(data[1], 64), 2, Ranks(), {})
    state = torch.random.get_rng_state()
    values = validation.values(model, 3)
    assert torch.random.get_rng_state().equal(state)
    assert values == validation.values(model, 3)
    assert all(tensor.equal(before[name]) for name, tensor in model.state_dict().items())
    assert not model.training
    assert {"precision", "recall", "map50", "map50_95"} <= set(values)
    losses = [name for name in values if name.startswith("val/")]
    assert len(losses) == (2 if architecture == SMALL else 4)
    TorchvisionWeights(architecture, ("a", "b"), 64, model.state_dict()).save(tmp_path / "best.pt")
    runtime = TorchvisionRuntime(tmp_path / "best.pt", imgsz=64, device="cpu")
    example = Examples(data[1], 64)[1]
    rows = runtime.predict(example.pixels, conf=0.001, iou=0.7, max_det=300)
    from components.model_train.trainers.torchvision.validate import _look  # noqa: PLC0415 - looks inside

    (found,), _ = _look(model, [example], torch.device("cpu"))
    np.testing.assert_array_equal(found, rows)


@pytest.mark.slow
@pytest.mark.parametrize("model", [SMALL, RCNN])
def test_a_loss_that_is_no_number_reaches_the_watch_before_anything_breaks(
    job: Callable[..., TrainingJob], model: str
) -> None:
    class Strict(Listener):
        def batch_done(self, epoch: int, batch: int, losses: Mapping[str, float], **_: object) -> None:
            if not all(np.isfinite(value) for value in losses.values()):
                raise DivergedError(f"epoch {epoch}, batch {batch}")

    with pytest.raises(DivergedError, match="epoch"):
        TorchvisionTrainer().train(job(model=model, optimizer="SGD", lr0=1e12, epochs=20), Strict())


def run_ranks(job_file: Path, ranks: int = 2) -> list[dict[str, Any]]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    shared = {"WORLD_SIZE": str(ranks), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "GLOO_SOCKET_IFNAME": "lo"}
    script = Path(__file__).with_name("torchvision_rank.py")
    running = [
        subprocess.Popen(
            [sys.executable, str(script), str(job_file)],
            env=os.environ | shared | {"RANK": str(rank), "LOCAL_RANK": str(rank), "PYTHONPATH": str(REPOSITORY)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(ranks)
    ]
    ended = [process.communicate(timeout=300)[1] for process in running]
    assert [process.returncode for process in running] == [0] * ranks, "\n".join(ended)[-3000:]
    return [json.loads((job_file.parent / f"rank-{rank}.json").read_text()) for rank in range(ranks)]


def write_job(folder: Path, data: tuple[MaterialisedDataset, ...], **asked: Any) -> Path:
    folder.mkdir(parents=True)
    parts = [
        {
            "directory": str(part.directory),
            "images": str(part.images),
            "labels": str(part.labels),
            "classes": part.classes,
            "image_count": part.image_count,
            "annotation_count": part.annotation_count,
            "paths": {number: str(path) for number, path in part.paths.items()},
        }
        for part in data
    ]
    path = folder / "job.json"
    path.write_text(json.dumps({"data": parts, "work": str(folder), "asked": asked}))
    return path


@pytest.mark.slow
def test_two_processes_learn_one_model_and_go_on_from_a_checkpoint_to_the_same_weights(
    data: tuple[MaterialisedDataset, ...], tmp_path: Path
) -> None:
    first, second = run_ranks(write_job(tmp_path / "whole", data, epochs=2))
    assert first["epochs"] == [1, 2]
    assert first["weights"] == second["weights"]  # of the model in memory, by digest
    assert first["begun"] == second["begun"] == {"images": 8, "batch": 4, "batches": 2, "first_epoch": 1}
    stopped, also = run_ranks(write_job(tmp_path / "stopped", data, epochs=2, stop_after=1))
    assert stopped["epochs"] == also["epochs"] == [1]
    resumed, _ = run_ranks(
        write_job(tmp_path / "resumed", data, epochs=2, resume=str(tmp_path / "stopped" / "epoch-1"))
    )
    assert resumed["epochs"] == [2]
    whole, again = (load_state(tmp_path / name / "last.pt") for name in ("whole", "resumed"))
    assert all(whole[name].equal(again[name]) for name in whole)


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"WORLD_SIZE": "2"}, "RANK"),
        ({"WORLD_SIZE": "x"}, "WORLD_SIZE"),
        ({"WORLD_SIZE": "2", "RANK": "2", "LOCAL_RANK": "0"}, "RANK=2"),
    ],
)
def test_a_launcher_that_says_too_little_is_refused(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], words: str
) -> None:
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    assert Ranks.from_environment() == Ranks()
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(TrainingError, match=words):
        Ranks.from_environment()
