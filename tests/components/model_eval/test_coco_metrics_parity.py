import json
import logging
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from components.shared.evaluation import coco_metrics as front
from components.shared.evaluation import coco_referee
from components.shared.evaluation.coco_metrics import SUMMARY, CocoMetrics, coco_metrics
from components.shared.evaluation.outcomes import sort_detections

DATA = Path(__file__).parents[4] / "shared" / "data"
PARITY = 1e-6
BOX = ("x", "y", "width", "height")


@dataclass(frozen=True)
class Tables:
    detections: pl.DataFrame
    truths: pl.DataFrame
    image_ids: list[int]
    classes: list[str]


def both(case: Tables) -> tuple[CocoMetrics, CocoMetrics]:
    arguments = (case.detections, case.truths, case.image_ids, case.classes)
    return coco_metrics(*arguments), coco_referee.coco_metrics(*arguments)


def assert_parity(case: Tables) -> CocoMetrics:
    ours, theirs = both(case)
    assert ours.summary == pytest.approx(theirs.summary, abs=PARITY)
    assert_frame_equal(ours.by_class, theirs.by_class, abs_tol=PARITY, rel_tol=0)
    return ours


@dataclass(frozen=True)
class Recipe:
    """How a random set is made; every field shrinks towards the plainest set."""

    seed: int
    images: int
    classes: int
    truths: int
    detections: int
    ties: bool  # scores of one decimal, boxes on a coarse grid: equal scores, equal IoU, sides of exactly 32 and 96
    crowd: float
    outlines: bool  # areas below those of the boxes
    strangers: bool  # classes that only the ground truth, only the detections or only the list has
    sparse: bool  # image ids up to 2**32 - 1, in no order

    def make(self) -> Tables:
        random = np.random.default_rng(self.seed)
        ids = self._image_ids(random)
        known = [f"class {index}" for index in range(self.classes)]
        shown = max(1, self.classes - 1) if self.strangers else self.classes
        boxes = self._boxes(random, self.truths)
        truths = pl.DataFrame(
            {
                "image_id": random.choice(ids[: max(1, len(ids) // 2)], self.truths),
                "category": [known[label] for label in random.integers(0, shown, self.truths)],
                **dict(zip(BOX, boxes.T, strict=True)),
                "area": boxes[:, 2:].prod(axis=1) * (random.uniform(0.1, 1, self.truths) if self.outlines else 1),
                "ignore": random.random(self.truths) < self.crowd,
            },
            schema_overrides={"image_id": pl.UInt32, "category": pl.String},
        )
        detections = self._detections(random, truths, ids, [*known, "stranger"] if self.strangers else known)
        return Tables(detections, truths.sort("image_id", maintain_order=True), ids, known)

    def _image_ids(self, random: np.random.Generator) -> list[int]:
        if not self.sparse:
            return list(range(self.images))
        return [*{int(number) for number in random.integers(0, 2**32 - 1, self.images)}, 2**32 - 1]

    def _boxes(self, random: np.random.Generator, count: int) -> np.ndarray:
        corners = random.uniform(0, 300, (count, 2))
        sides = np.exp(random.uniform(np.log(4), np.log(250), (count, 2)))
        boxes = np.concatenate([corners, sides], axis=1)
        return np.maximum(np.round(boxes / 16) * 16, (0, 0, 16, 16)) if self.ties else boxes

    def _detections(
        self, random: np.random.Generator, truths: pl.DataFrame, ids: list[int], names: list[str]
    ) -> pl.DataFrame:
        """Half lie around a ground truth box of their image, the others anywhere."""
        boxes, images = self._boxes(random, self.detections), random.choice(ids, self.detections)
        labels = [names[label] for label in random.integers(0, len(names), self.detections)]
        for number in np.flatnonzero(random.random(self.detections) < 0.5) if truths.height else []:
            image, label, *box = truths.row(int(random.integers(truths.height)))[:6]
            images[number], labels[number] = image, label
            shift = random.choice([-16, 0, 0, 16], 4) if self.ties else random.normal(0, 0.1, 4) * box[2]
            boxes[number] = np.maximum(np.array(box) + shift, (0, 0, 1, 1))
        scores = random.beta(1, 3, self.detections)
        columns = {
            "image_id": images,
            "category": labels,
            "score": scores.round(1) if self.ties else scores,
            **dict(zip(BOX, boxes.T, strict=True)),
        }
        schema = {"image_id": pl.UInt32, "category": pl.String}
        return sort_detections(pl.DataFrame(columns, schema_overrides=schema))


RECIPES = st.builds(
    Recipe,
    seed=st.integers(0, 2**32 - 1),
    images=st.integers(1, 8),
    classes=st.integers(1, 4),
    truths=st.integers(0, 40),
    detections=st.integers(0, 250),
    ties=st.booleans(),
    crowd=st.sampled_from([0.0, 0.2, 1.0]),
    outlines=st.booleans(),
    strangers=st.booleans(),
    sparse=st.booleans(),
)
PLAIN = Recipe(0, 3, 2, 20, 60, ties=False, crowd=0.0, outlines=False, strangers=False, sparse=False)


@given(RECIPES)
@example(PLAIN)
def test_the_engine_gives_the_numbers_of_pycocotools_for_random_sets(recipe: Recipe) -> None:
    assert_parity(recipe.make())


def test_many_detections_of_one_class_on_one_image_are_cut_as_pycocotools_cuts_them() -> None:
    recipe = Recipe(7, 2, 1, 60, 900, ties=True, crowd=0.1, outlines=True, strangers=False, sparse=False)

    metrics = assert_parity(recipe.make())

    assert 0 < metrics.summary["ar_1"] < metrics.summary["ar_10"] < metrics.summary["ar_100"]


@pytest.mark.slow
def test_a_set_large_enough_for_the_engine_to_share_the_work_out_gives_the_same_numbers() -> None:
    recipe = Recipe(11, 200, 20, 1500, 8000, ties=True, crowd=0.05, outlines=True, strangers=True, sparse=True)

    metrics = assert_parity(recipe.make())

    assert set(metrics.summary) == set(SUMMARY)


@pytest.mark.parametrize("truths", [0, 20])
def test_zero_detections_are_no_crash(truths: int) -> None:
    recipe = Recipe(3, 4, 2, truths, 0, ties=False, crowd=0.0, outlines=False, strangers=False, sparse=False)

    metrics = assert_parity(recipe.make())

    assert set(metrics.summary.values()) == ({0.0} if truths else set())


def test_a_score_that_is_no_number_ranks_last_as_with_pycocotools() -> None:
    case = PLAIN.make()
    scores = pl.Series("score", [float("nan"), float("inf"), *case.detections.get_column("score")[2:]])

    assert_parity(Tables(case.detections.with_columns(scores), case.truths, case.image_ids, case.classes))


@pytest.mark.parametrize(
    ("column", "value"), [*((name, float("inf")) for name in BOX), ("x", -20.0), ("y", -20.0), ("width", 0.0)]
)
def test_odd_boxes_of_a_model_count_as_with_pycocotools(column: str, value: float) -> None:
    assert_parity(with_broken(PLAIN.make(), column, value))


@pytest.mark.parametrize(("column", "value"), [*((name, float("nan")) for name in BOX), ("width", -1), ("height", -1)])
def test_a_box_that_is_none_finds_nothing(column: str, value: float) -> None:
    case = PLAIN.make()
    broken, empty = with_broken(case, column, value), with_broken(case, "width", 0.0)

    assert both(broken)[0].summary == pytest.approx(both(empty)[1].summary, abs=PARITY)


def with_broken(case: Tables, column: str, value: float) -> Tables:
    broken = pl.when(pl.int_range(pl.len()) % 3 == 0).then(value).otherwise(column).alias(column)
    return Tables(case.detections.with_columns(broken), case.truths, case.image_ids, case.classes)


def test_rows_of_images_that_were_not_looked_at_do_not_count(capfd: pytest.CaptureFixture[str]) -> None:
    case = PLAIN.make()
    less = Tables(case.detections, case.truths, case.image_ids[:-2], case.classes)

    assert_parity(less)

    assert capfd.readouterr() == ("", "")


def test_images_named_twice_count_once() -> None:
    case = PLAIN.make()
    twice = coco_metrics(case.detections, case.truths, [*case.image_ids, *reversed(case.image_ids)], case.classes)

    assert twice.summary == both(case)[0].summary


@pytest.mark.parametrize(("image_ids", "classes"), [([], ["class 0"]), ([0], [])])
def test_without_images_or_classes_there_is_nothing_to_say(image_ids: list[int], classes: list[str]) -> None:
    case = PLAIN.make()
    for metrics in both(Tables(case.detections, case.truths, image_ids, classes)):
        assert not metrics.summary
        assert metrics.by_class.is_empty()


def test_pycocotools_takes_over_where_the_engine_cannot_be_imported(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    case, expected = PLAIN.make(), both(PLAIN.make())[1]
    monkeypatch.setitem(sys.modules, "hotcoco", None)
    monkeypatch.delitem(sys.modules, "components.shared.evaluation.coco_engine", raising=False)
    monkeypatch.delattr("components.shared.evaluation.coco_engine", raising=False)
    front._engine.cache_clear()
    try:
        with caplog.at_level(logging.WARNING):
            found = [coco_metrics(case.detections, case.truths, case.image_ids, case.classes) for _ in range(2)]
    finally:
        front._engine.cache_clear()

    assert [one.summary for one in found] == [expected.summary] * 2
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "pycocotools" in caplog.text


def test_the_engine_is_the_fast_one_here() -> None:
    assert front._engine().__module__ == "components.shared.evaluation.coco_engine"


def test_the_engine_agrees_on_real_boxes_with_crowds_and_outlines() -> None:
    source = DATA / "coco_tiny" / "annotations" / "instances_val2017.json"
    if not source.is_file():
        pytest.skip(f"{source.parents[1]} is not here")
    parsed = json.loads(source.read_text())
    names = {category["id"]: category["name"] for category in parsed["categories"]}
    rows = [
        (a["image_id"], names[a["category_id"]], *a["bbox"], a["area"], a["iscrowd"]) for a in parsed["annotations"]
    ]
    truths = pl.DataFrame(rows, schema=["image_id", "category", *BOX, "area", "ignore"], orient="row")
    images = [image["id"] for image in parsed["images"]]
    case = Tables(
        perturbed(truths, 5), truths.with_columns(pl.col("ignore").cast(pl.Boolean)), images, [*names.values()]
    )

    metrics = assert_parity(case)

    assert case.truths.get_column("ignore").sum() > 5
    assert set(metrics.summary) == set(SUMMARY)


@pytest.mark.slow
def test_the_engine_agrees_on_real_yolo_labels() -> None:
    labels = DATA / "coco128_yolo" / "labels"
    if not labels.is_dir():
        pytest.skip(f"{labels} is not here")
    rows = []
    for image_id, file in enumerate(sorted(labels.rglob("*.txt"))):
        for line in file.read_text().splitlines():
            label, x, y, width, height = map(float, line.split())
            sides = (width * 640, height * 640)
            corner = (x * 640 - sides[0] / 2, y * 640 - sides[1] / 2)
            rows.append((image_id, f"class {label:.0f}", *corner, *sides, sides[0] * sides[1], False))
    truths = pl.DataFrame(rows, schema=["image_id", "category", *BOX, "area", "ignore"], orient="row")

    metrics = assert_parity(Tables(perturbed(truths, 9), truths, list(range(260)), [f"class {n}" for n in range(80)]))

    assert metrics.summary["map50"] > 0.2


def perturbed(truths: pl.DataFrame, seed: int) -> pl.DataFrame:
    """Three detections for each box: moved a little, moved more, and of a neighbour's class."""
    random = np.random.default_rng(seed)
    parts = []
    for spread in (0.04, 0.15, 0.3):
        boxes = truths.select(BOX).to_numpy()
        sides = np.tile(boxes[:, 2:], 2)
        moved = np.maximum(boxes + random.normal(0, spread, boxes.shape) * sides, (0, 0, 1, 1))
        columns = [pl.Series(name, values) for name, values in zip(BOX, moved.T, strict=True)]
        scores = pl.Series("score", random.beta(2, 2, truths.height).round(2))
        parts.append(truths.select("image_id", "category").with_columns(scores, *columns))
    parts[2] = parts[2].with_columns(pl.col("category").shift(1, fill_value=pl.col("category").first()))
    return sort_detections(pl.concat(parts).select("image_id", "category", "score", *BOX))
