"""The same training has the same name, and whatever decides its weights gives it another."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from components.model_train.saving import training_key as module
from components.model_train.saving.training_key import CODE, training_key
from components.model_train.trainers.base import Hyperparameters, Start

MakeParameters = Callable[..., Hyperparameters]
VERSIONS = {"train": "a" * 64, "val": "b" * 64}
START = Start("ultralytics", "yolo11n.yaml")

OTHER = {
    "epochs": 3,
    "batch": 5,
    "imgsz": 64,
    "lr0": 0.003,
    "optimizer": "SGD",
    "warmup_epochs": 2.0,
    "close_mosaic": 1,
    "freeze": 2,
    "seed": 1,
    "gpus": 2,
    "longest_edge": 100,
    "image_format": "png",
    "options": {"hsv_h": 0.1},
}
NO_MATTER = {"device": "0", "model": "/elsewhere/yolo11n.yaml", "start_from": "champion"}


def test_a_key_is_64_hex_digits_and_stays_the_same(parameters: MakeParameters) -> None:
    key = training_key(VERSIONS, parameters(), START)
    assert len(key) == 64
    assert int(key, 16) >= 0
    assert training_key(dict(reversed(VERSIONS.items())), parameters(), START) == key


@pytest.mark.parametrize("name", OTHER)
def test_every_hyperparameter_that_decides_weights_gives_another_key(parameters: MakeParameters, name: str) -> None:
    changed = parameters(**{name: OTHER[name]})
    assert training_key(VERSIONS, changed, START) != training_key(VERSIONS, parameters(), START)


@pytest.mark.parametrize("name", NO_MATTER)
def test_where_it_trains_and_words_for_its_start_do_not_matter(parameters: MakeParameters, name: str) -> None:
    changed = parameters(**{name: NO_MATTER[name]})
    assert training_key(VERSIONS, changed, START) == training_key(VERSIONS, parameters(), START)


def test_every_hyperparameter_was_thought_of() -> None:
    assert {field.name for field in dataclasses.fields(Hyperparameters)} == OTHER.keys() | NO_MATTER.keys()


def test_equal_numbers_give_one_key(parameters: MakeParameters) -> None:
    one, other = parameters(lr0=1.0, options={"mosaic": 1}), parameters(lr0=1, options={"mosaic": 1.0})
    assert training_key(VERSIONS, one, START) == training_key(VERSIONS, other, START)


def test_the_order_of_options_does_not_matter(parameters: MakeParameters) -> None:
    one, other = parameters(options={"a": 1, "b": 2}), parameters(options={"b": 2, "a": 1})
    assert training_key(VERSIONS, one, START) == training_key(VERSIONS, other, START)


@pytest.mark.parametrize(
    "start",
    [
        Start("torchvision", "yolo11n.yaml"),
        Start("ultralytics", "yolo11s.yaml"),
        Start("ultralytics", "yolo11n.yaml", sha256="c" * 64),
    ],
)
def test_another_start_gives_another_key(parameters: MakeParameters, start: Start) -> None:
    assert training_key(VERSIONS, parameters(), start) != training_key(VERSIONS, parameters(), START)


def test_the_folder_of_weights_does_not_matter_their_bytes_do(parameters: MakeParameters) -> None:
    here = Start("ultralytics", "", Path("/here/a.pt"), "official a.pt", "c" * 64, ("cat",))
    there = Start("ultralytics", "", Path("/there/b.pt"), "champion of cats", "c" * 64)
    assert training_key(VERSIONS, parameters(), here) == training_key(VERSIONS, parameters(), there)


@pytest.mark.parametrize("versions", [{**VERSIONS, "val": "c" * 64}, {**VERSIONS, "train": "c" * 64}])
def test_other_data_gives_another_key(parameters: MakeParameters, versions: dict[str, str]) -> None:
    assert training_key(versions, parameters(), START) != training_key(VERSIONS, parameters(), START)


def test_another_version_of_a_library_gives_another_key(
    parameters: MakeParameters, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = training_key(VERSIONS, parameters(), START)
    version: Callable[[str], str] = module._version

    def newer(name: str) -> str:
        return "99" if name == "torch" else version(name)

    monkeypatch.setattr(module, "_version", newer)
    assert training_key(VERSIONS, parameters(), START) != before


def test_other_code_gives_another_key(parameters: MakeParameters, monkeypatch: pytest.MonkeyPatch) -> None:
    before = training_key(VERSIONS, parameters(), START)
    monkeypatch.setattr(module, "_code_digest", lambda: "0" * 64)
    assert training_key(VERSIONS, parameters(), START) != before


def test_all_the_code_it_counts_is_there() -> None:
    root: Any = Path(module.__file__).parents[2]
    assert all(list(root.glob(pattern)) for pattern in CODE)


def test_a_library_that_is_not_installed_is_no_error() -> None:
    assert module._version("no-such-library-anywhere") == ""
