import os
from pathlib import Path

import pytest

from components.model_pack.serving import sizing
from components.model_pack.serving.limits import Limits, limits_of
from components.model_pack.serving.sizing import Sizing, gpu_is_visible, settle, sizing_of
from components.shared.errors import ConfigError


@pytest.fixture
def four_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sizing, "usable_cpus", lambda: 4)
    monkeypatch.setattr(sizing, "_NVIDIA", ())


@pytest.mark.usefixtures("four_cpus")
@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, Sizing(4, 1)),
        ({"DETECTOR_WORKERS": "2"}, Sizing(2, 2)),
        ({"DETECTOR_WORKERS": "8"}, Sizing(8, 1)),
        ({"DETECTOR_THREADS": "3"}, Sizing(4, 3)),
        ({"DETECTOR_DEVICE": "cuda"}, Sizing(1, 4)),
        ({"DETECTOR_DEVICE": "cpu", "DETECTOR_WORKERS": ""}, Sizing(4, 1)),
    ],
)
def test_there_is_a_process_a_cpu_unless_told_otherwise(environment: dict[str, str], expected: Sizing) -> None:
    assert sizing_of(environment) == expected


@pytest.mark.usefixtures("four_cpus")
def test_what_is_settled_stays_whoever_asks() -> None:
    environment = {"DETECTOR_WORKERS": "2"}
    assert settle(environment) == sizing_of(environment) == Sizing(2, 2)
    assert environment["PIPELINE_CPUS"] == "2"


@pytest.mark.parametrize("value", ["0", "-1", "many", "1.5"])
def test_a_number_that_is_none_is_refused_by_its_value(value: str) -> None:
    for variable in ("DETECTOR_WORKERS", "DETECTOR_THREADS"):
        with pytest.raises(ConfigError, match=f"{variable} is '{value}'"):
            sizing_of({variable: value})
    with pytest.raises(ConfigError, match="DETECTOR_MAX_PIXELS"):
        limits_of({"DETECTOR_MAX_PIXELS": value})


def test_a_gpu_is_there_when_its_device_is_and_is_not_hidden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "nvidia0").touch()
    monkeypatch.setattr(sizing, "_NVIDIA", (tmp_path / "nvidia0",))
    assert gpu_is_visible({})
    assert gpu_is_visible({"CUDA_VISIBLE_DEVICES": "0"})
    assert not gpu_is_visible({"CUDA_VISIBLE_DEVICES": ""})
    assert not gpu_is_visible({"CUDA_VISIBLE_DEVICES": "-1"})
    monkeypatch.setattr(sizing.importlib.util, "find_spec", lambda _: None)
    assert not gpu_is_visible({})


def test_limits_are_read_from_the_environment() -> None:
    changed = limits_of({"DETECTOR_MAX_FILES": "2", **os.environ})
    assert (changed.max_files, changed.max_pixels) == (2, Limits.max_pixels)
