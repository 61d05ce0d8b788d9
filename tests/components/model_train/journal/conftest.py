import math
from collections.abc import Callable
from pathlib import Path

import pytest

from components.model_train.journal import Journal
from components.model_train.story import Epoch
from components.shared.store import Store, open_store

MakeJournal = Callable[..., Journal]


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setattr("components.model_train.journal.CLOSING", 60.0)  # on a busy machine a first import takes long


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store((tmp_path / "store").as_uri())


@pytest.fixture
def make_epoch() -> Callable[..., Epoch]:
    def make(number: int, *, seconds: float | None = None, **values: float) -> Epoch:
        told = {"train/box_loss": 1.0 / number, "val/box_loss": math.nan, "map50": 0.1 * number, "lr": 0.002}
        told |= {"precision": 0.5, "images_per_second": 143.0, "gpu_memory": 3.2e9}
        return Epoch(number=number, seconds=10.0 * number if seconds is None else seconds, values=told | values)

    return make


@pytest.fixture
def make_journal(store: Store, tmp_path: Path) -> MakeJournal:
    count = 0

    def make(run_id: str = "r1", keep: Store = store, **changes: object) -> Journal:
        nonlocal count
        count += 1
        facts: dict[str, object] = {
            "name": "cats",
            "parameters": {"epochs": 9, "model": "yolo11n.yaml", "options": {"mosaic": 0.5, "hsv_h": math.nan}},
            "total_epochs": 9,
            "folder": tmp_path / f"tensorboard{count}",
        }
        return Journal(keep, run_id, "model_train", **(facts | changes))  # type: ignore[arg-type]

    return make
