import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from components.change_check.check import Checked, basis_of, check_change
from components.model_publish.publish import publish
from components.shared.model_lineage import CODE
from components.shared.registry import read_record
from components.shared.store import open_store

SMALL: dict[str, Any] = runpy.run_path(str(Path(__file__).parents[1] / "model_publish" / "small_archive.py"))
make_archive: Callable[..., Path] = SMALL["make_archive"]
make_predictions: Callable[..., Path] = SMALL["make_predictions"]
DATA = {"train": "a" * 64, "val": "b" * 64, "test": "c" * 64}
PARAMETERS: dict[str, object] = {"epochs": 3, "hyperparameters": {"mosaic": 0.5}, "runtimes": ["onnx"]}
PROOF = {"tensors_compared": 12.0}


@pytest.fixture
def store(tmp_path: Path) -> str:
    return (tmp_path / "store").as_uri()


def check(store: str, *, asked: bool = True, data: dict[str, str] = DATA, **parameters: object) -> Checked:
    return check_change(data, {**PARAMETERS, **parameters}, store, "shapes", only_if_changed=asked)


def crown(store: str, folder: Path, basis: str, content: str = "one") -> str:
    archive, predictions = folder / f"a-{content}-{basis[:4]}", folder / f"p-{content}-{basis[:4]}"
    made = make_archive(archive, content), make_predictions(predictions)
    return publish(*made, store, passed=True, proof=PROOF, basis=basis).version


def test_without_a_champion_there_is_something_to_do(store: str) -> None:
    assert check(store).changed


def test_what_the_champion_came_from_need_not_be_done_again(store: str, tmp_path: Path) -> None:
    version = crown(store, tmp_path, check(store).basis)
    checked = check(store)
    assert not checked.changed
    assert checked.reason == (
        f"Unchanged: the champion shapes@{version[:12]} came from the same data, parameters and code."
    )
    assert read_record(open_store(store), "shapes", version).lineage.basis == checked.basis


def test_a_run_that_was_asked_for_is_run(store: str, tmp_path: Path) -> None:
    crown(store, tmp_path, check(store).basis)
    assert check(store, asked=False).changed


def test_other_data_parameters_or_code_are_something_to_do(
    store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    crown(store, tmp_path, check(store).basis)
    assert check(store, data={**DATA, "test": "d" * 64}).changed
    assert check(store, epochs=4).changed
    monkeypatch.setenv(CODE, "another")
    assert check(store).changed


def test_data_of_unknown_content_is_something_to_do(store: str, tmp_path: Path) -> None:
    unknown = {**DATA, "val": ""}
    crown(store, tmp_path, basis_of(unknown, PARAMETERS))
    assert check(store, data=unknown).changed


def test_another_champion_is_something_to_do(store: str, tmp_path: Path) -> None:
    crown(store, tmp_path, check(store).basis)
    crown(store, tmp_path, "e" * 64, "two")
    assert check(store).changed


def test_the_same_model_made_again_from_something_else_counts_for_both(store: str, tmp_path: Path) -> None:
    """Its record is never rewritten, so it names the first only; a schedule would else never be unchanged again."""
    version = crown(store, tmp_path, "e" * 64)
    assert crown(store, tmp_path, check(store).basis) == version
    assert not check(store).changed


def test_a_number_is_the_same_with_and_without_its_point_zero() -> None:
    """kfp.local brings numbers of lists and mappings as floats, a cluster as they are."""
    there = {"epochs": 3.0, "hyperparameters": {"mosaic": 0.5, "nbs": 16.0}, "classes": [1.0, 2.0]}
    here = {"epochs": 3, "hyperparameters": {"nbs": 16, "mosaic": 0.5}, "classes": [1, 2]}
    assert basis_of(DATA, there) == basis_of(DATA, here)
