"""What the training library is told."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from components.model_train.trainers.base import TrainingJob
from components.model_train.trainers.ultralytics.data import write_data_yaml
from components.model_train.trainers.ultralytics.options import choose_device, cpu_batch, library_arguments
from components.model_train.trainers.ultralytics.ranks import Group
from components.shared.detection.environment import prepare_environment
from components.shared.errors import ConfigError, TrainingError

prepare_environment(2)
import torch  # noqa: E402 - after the environment is prepared

Job = Callable[..., TrainingJob]


def told(job: TrainingJob, *, batch: int = 4, group: Group | None = None, device: str = "cpu") -> dict[str, Any]:
    return library_arguments(job, data=Path("data.yaml"), device=device, group=group or Group(), batch=batch)


def test_a_gpu_that_is_not_there_is_refused() -> None:
    count = torch.cuda.device_count()
    with pytest.raises(TrainingError, match=f"asks for GPU {count}, this machine shows {count}: use auto or cpu"):
        choose_device(str(count))


def test_auto_takes_the_gpu_where_there_is_one() -> None:
    assert choose_device("auto") == ("0" if torch.cuda.is_available() else "cpu")
    assert choose_device("cpu") == "cpu"


def test_each_process_takes_the_gpu_after_the_one_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    assert [choose_device("1", rank) for rank in range(3)] == ["1", "2", "3"]
    with pytest.raises(TrainingError, match="asks for GPU 4, this machine shows 4"):
        choose_device("1", 3)


@pytest.mark.parametrize("device", ["cuda", "0,1", "", "-1", "gpu0", "²"])
def test_what_is_no_device_is_refused(device: str) -> None:
    with pytest.raises(ConfigError, match="is no device: use auto, cpu or the number of a GPU"):
        choose_device(device)


@pytest.mark.parametrize(("optimizer", "momentum", "bias"), [("AdamW", 0.9, 0.0), ("SGD", 0.937, 0.1)])
def test_the_adam_family_begins_gently(make_job: Job, optimizer: str, momentum: float, bias: float) -> None:
    arguments = told(make_job(optimizer=optimizer))
    assert (arguments["momentum"], arguments["warmup_bias_lr"]) == (momentum, bias)
    assert told(make_job(optimizer=optimizer, options={"momentum": 0.5}))["momentum"] == 0.5


def test_a_batch_is_a_step_unless_told_otherwise(make_job: Job) -> None:
    assert told(make_job(), batch=6)["nbs"] == 6
    assert told(make_job(options={"nbs": 64}), batch=6)["nbs"] == 64


def test_the_library_never_stops_saves_or_draws_by_itself(make_job: Job) -> None:
    given = {"patience": 5, "time": 1.0, "resume": True, "plots": True, "save_period": 1, "val": False, "epochs": 99}
    arguments = told(make_job(options=given))
    assert {name: arguments[name] for name in given} == {
        "patience": 0,
        "time": None,
        "resume": False,
        "plots": False,
        "save_period": -1,
        "val": True,
        "epochs": 2,
    }


def test_mosaic_is_open_in_one_epoch_at_least(make_job: Job) -> None:
    assert told(make_job(epochs=3, close_mosaic=10))["close_mosaic"] == 2
    assert told(make_job(epochs=1, close_mosaic=10))["close_mosaic"] == 0


def test_many_large_images_are_not_kept_in_memory(make_job: Job) -> None:
    job = make_job()
    large = replace(job, train=replace(job.train, repeats=dict.fromkeys(job.train.paths, 100_000)))
    assert told(job)["cache"] == "ram"
    assert told(large)["cache"] is False
    assert told(make_job(options={"cache": "disk"}))["cache"] == "disk"


@pytest.mark.parametrize(("processes", "batch"), [(1, 16), (3, 15), (32, 32)])
def test_as_many_as_fit_is_a_number_all_processes_can_share(processes: int, batch: int) -> None:
    assert cpu_batch(Group(size=processes)) == batch


def test_processes_share_the_batch_and_the_cpus(make_job: Job) -> None:
    pair = Group(rank=1, local_rank=1, size=2, local_size=2)
    assert told(make_job(), batch=6, group=pair)["batch"] == 6
    assert told(make_job(), batch=6, group=pair, device="0")["workers"] >= 1
    with pytest.raises(ConfigError, match="batch=5 cannot be shared by gpus=2: use a multiple of 2"):
        told(make_job(), batch=5, group=pair)


def test_the_data_file_holds_known_keys_only_and_any_class_name(module_files: Any, tmp_path: Path) -> None:
    classes = ("yes", "1", "größe: x", "{a}")
    path = write_data_yaml(tmp_path / "new" / "data.yaml", *module_files, classes)
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert set(content) == {"path", "train", "val", "nc", "names"}
    assert content["names"] == dict(enumerate(classes))
    assert (content["train"], content["val"]) == (str(module_files[0].images), str(module_files[1].images))
    assert [file.name for file in path.parent.iterdir()] == ["data.yaml"]
