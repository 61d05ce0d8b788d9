"""The model beside the champion, on painted images with detectors that say what they are told."""

import runpy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from components.model_eval.basis import Basis
from components.model_eval.champion import Champion, seek_champion
from components.model_eval.evaluate import Contest, EvaluateOptions, Evaluation, Outputs, evaluate_with
from components.model_eval.evaluation import ChampionSeen, ChampionState
from components.model_eval.predict import Contestant
from components.model_eval.quality_document import QualityDocument
from components.shared.alias_history import Why, move_noted
from components.shared.archive import load_archive_manifest
from components.shared.errors import StoreError
from components.shared.registry import CHAMPION
from components.shared.store import Store, open_store

PUBLISHING = Path(__file__).parents[1] / "model_publish" / "small_archive.py"
SMALL: dict[str, Any] = runpy.run_path(str(PUBLISHING))
VERSION = "c" * 64


@dataclass
class Duel:
    """Evaluates one table of detections beside another as the champion's."""

    oracle: Any
    images: Any
    folder: Path

    def __call__(
        self,
        case: Any,
        theirs: pl.DataFrame | None,
        *,
        champion_classes: tuple[str, ...] | None = None,
        start: pl.DataFrame | None = None,
        **options: float,
    ) -> Evaluation:
        classes = case.dataset.classes
        champion = Champion()
        if theirs is not None:
            known = champion_classes or classes
            seen = ChampionSeen(ChampionState.COMPARED, VERSION)
            champion = Champion(seen, "shapes@cccccccccccc", "shapes:c", known, Contestant(self.oracle(theirs, known)))
        contest = Contest(
            Contestant(self.oracle(case.detections, classes)),
            champion,
            None if start is None else Contestant(self.oracle(start, classes)),
        )
        outputs = Outputs(self.folder / "predictions", self.folder / "report.html")
        asked = EvaluateOptions(min_map50=0.0, **{"champion_margin": 0.05, **options})
        return evaluate_with(case.dataset, contest, self.images, Basis({}), outputs, asked)

    def document(self) -> QualityDocument:
        return QualityDocument.model_validate_json((self.folder / "predictions" / "quality.json").read_bytes())


@pytest.fixture
def duel(oracle: Any, painted_images: Any, tmp_path: Path) -> Duel:
    return Duel(oracle, painted_images, tmp_path)


def test_a_model_like_the_champion_passes_and_the_two_are_compared_image_by_image(duel: Duel, random_set: Any) -> None:
    case = random_set(1, images=30)

    evaluation = duel(case, case.detections)

    found = evaluation.champion
    assert found is not None
    assert evaluation.passed
    assert (found.ours, found.difference.value, found.difference.low) == (found.theirs, 0.0, 0.0)
    assert found.ours == pytest.approx(evaluation.metrics["map50_95"])
    assert found.per_class.columns == ["category", "ours", "theirs"]
    assert "on the same 30 images (shapes@cccccccccccc)" in evaluation.reasons[-1]
    part = duel.document().champion
    assert (part.state, part.version, part.ours) == (ChampionState.COMPARED, VERSION, found.ours)


def test_a_model_that_is_worse_by_more_than_the_margin_does_not_pass(duel: Duel, random_set: Any) -> None:
    case = random_set(1, images=30)
    worse = case.detections.filter(pl.col("image_id") % 2 == 0)
    champion = case.detections
    object.__setattr__(case, "detections", worse)

    strict, lenient = duel(case, champion), duel(case, champion, champion_margin=1.0)

    assert not strict.passed
    assert "whose lower end is below the -0.05 the gate allows" in strict.reasons[0]
    assert strict.champion is not None
    assert strict.champion.difference.value == pytest.approx(strict.champion.ours - strict.champion.theirs)
    assert lenient.passed


def test_a_champion_of_other_classes_is_compared_on_the_common_ones(duel: Duel, random_set: Any) -> None:
    case = random_set(2, images=30, classes=3)
    theirs = case.detections.filter(pl.col("category") != "class 2")

    evaluation = duel(case, theirs, champion_classes=("class 1", "class 0", "dragon"))

    found = evaluation.champion
    assert found is not None
    assert found.classes == ("class 0", "class 1")
    assert found.left_out == ("class 2", "dragon")
    assert found.difference.value == 0.0
    assert "compared on the 2 classes that both have, without 'class 2', 'dragon'" in evaluation.reasons[-1]
    mean = evaluation.per_class.filter(pl.col("category") != "class 2").get_column("ap50_95").mean()
    assert found.ours == pytest.approx(mean)


def test_without_a_common_class_nothing_is_compared_and_the_gate_does_not_ask(
    duel: Duel, random_set: Any, detections: Any
) -> None:
    evaluation = duel(random_set(2), detections([]), champion_classes=("dragon",))

    assert evaluation.passed
    assert evaluation.champion is None
    assert "no class in common" in evaluation.demands[-1].sentence
    assert duel.document().champion.state is ChampionState.INCOMPARABLE


def test_a_champion_that_cannot_predict_shuts_the_gate_and_a_start_that_cannot_does_not(
    duel: Duel, random_set: Any, detections: Any, found: Any
) -> None:
    case = random_set(3)
    broken = detections([found(image, "of no class", 0.9, (0.0, 0.0, 5.0, 5.0)) for image in range(12)])

    evaluation = duel(case, broken, start=broken)

    assert not evaluation.passed
    assert "The champion shapes@cccccccccccc cannot be compared with" in evaluation.reasons[0]
    assert evaluation.champion_seen == ChampionSeen(ChampionState.FAILED, VERSION, evaluation.reasons[0])
    assert evaluation.start is None


def test_what_the_start_weights_find_is_kept_and_measured_on_the_same_images(duel: Duel, random_set: Any) -> None:
    case = random_set(3, images=20)
    start = case.detections.filter(pl.col("image_id") < 10)

    evaluation = duel(case, None, start=start)

    assert evaluation.start is not None
    assert 0 < evaluation.start.map50_95 < evaluation.metrics["map50_95"]
    assert evaluation.metrics["start_map50"] == evaluation.start.map50
    assert evaluation.start.predictions.height == start.height
    assert duel.document().start is not None


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store((tmp_path / "store").as_uri())


Publish = Callable[[str], Path]


@pytest.fixture
def published(store: Store, tmp_path: Path) -> Publish:
    """A published archive of files that are no weights."""
    publish = pytest.importorskip("components.model_publish.publish").publish

    def make(content: str) -> Path:
        archive = SMALL["make_archive"](tmp_path / content, content)
        judged = SMALL["make_predictions"](tmp_path / f"{content}-judged")
        publish(archive, judged, store.uri, passed=True, proof={"tensors_compared": 1.0})
        return archive

    return make


def seek(store: Store, archive: Path, work: Path, margin: float = 0.05) -> ChampionSeen:
    return seek_champion(store, load_archive_manifest(archive), work, "cpu", margin=margin).seen


def test_no_champion_is_said_and_passes(store: Store, tmp_path: Path) -> None:
    archive = SMALL["make_archive"](tmp_path / "archive")

    seen = seek(store, archive, tmp_path / "work")

    assert seen == ChampionSeen(ChampionState.NONE, "", "The model 'shapes' has no champion yet to compare with.")


def test_the_champion_itself_is_not_compared_with_itself(store: Store, published: Publish, tmp_path: Path) -> None:
    archive = published("one")

    seen = seek(store, archive, tmp_path / "work")

    assert (seen.state, seen.version) == (ChampionState.SAME, load_archive_manifest(archive).content_digest)


@pytest.mark.parametrize("damage", ["weights", "bytes", "archive", "record"])
def test_a_champion_that_is_broken_is_told_and_not_passed_over(
    store: Store, published: Publish, tmp_path: Path, damage: str
) -> None:
    champion = published("one")
    version = load_archive_manifest(champion).content_digest
    mine = SMALL["make_archive"](tmp_path / "two", "two")
    (bento,) = (entry.key for entry in store.list("models/") if entry.key.endswith(".bento"))
    if damage == "bytes":
        store.write(bento, b"damaged")
    elif damage == "archive":
        store.delete(bento)
    elif damage == "record":
        store.write(f"models/shapes/versions/{version}/model.json", b"{}")

    seen = seek(store, mine, tmp_path / "work")

    assert (seen.state, seen.version) == (ChampionState.FAILED, version)
    assert f"The champion shapes@{version[:12]} cannot be compared with (" in seen.sentence
    assert "set champion_margin to -1" in seen.sentence


def test_a_champion_that_was_removed_from_the_store_is_told(store: Store, tmp_path: Path) -> None:
    move_noted(store, "models/shapes", CHAMPION, VERSION, why=Why.PROMOTE)

    seen = seek(store, SMALL["make_archive"](tmp_path / "two", "two"), tmp_path / "work")

    assert (seen.state, seen.version) == (ChampionState.FAILED, VERSION)


def test_a_negative_margin_looks_for_nothing(store: Store, published: Publish, tmp_path: Path) -> None:
    published("one")
    assert seek(store, SMALL["make_archive"](tmp_path / "two", "two"), tmp_path / "work", -1.0) == ChampionSeen()


def test_a_store_that_fails_is_an_error_and_no_verdict(
    published: Publish, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, store: Store
) -> None:
    archive = published("one")

    def fail(*_: object) -> None:
        raise StoreError("The store does not answer.")

    monkeypatch.setattr(type(store), "read_tagged", fail)
    with pytest.raises(StoreError, match="does not answer"):
        seek(store, archive, tmp_path / "work")
