import contextlib
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from components.model_eval.evaluation import EvaluateOptions
from components.model_eval.export import COCO_GROUND_TRUTH, COCO_RESULTS, write_predictions
from components.model_eval.quality import evaluate_predictions
from components.shared.evaluation.coco_metrics import SUMMARY, coco_metrics
from components.shared.evaluation.outcomes import sort_detections

DATA = Path(__file__).parents[4] / "shared" / "data"
REAL = {
    "sahi_aerial": ("sahi_aerial/coco_evaluate/dataset.json", "sahi_aerial/coco_evaluate/result.json"),
    "coco_eval_case": (
        "odmetrics_multiformat/coco_eval_case/gts/sampled_gts_bbox_area.json",
        "odmetrics_multiformat/coco_eval_case/cocoapi_results.json",
    ),
}


def by_pycocotools(ground_truth: Path, results: Path) -> dict[str, float]:
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(ground_truth))
        evaluation = COCOeval(truth, truth.loadRes(str(results)), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return {name: value for name, value in zip(SUMMARY, evaluation.stats.tolist(), strict=True) if value > -1}


@pytest.mark.parametrize("seed", range(6))
def test_the_metrics_are_those_pycocotools_gives_for_the_exported_files(
    random_set: Callable[..., Any], tmp_path: Path, seed: int
) -> None:
    case = random_set(seed, classes=1 + seed % 4)

    evaluation = evaluate_predictions(case.dataset, case.detections, case.dataset.classes, EvaluateOptions())
    write_predictions(evaluation, case.dataset.images, tmp_path)

    expected = by_pycocotools(tmp_path / COCO_GROUND_TRUTH, tmp_path / COCO_RESULTS)
    assert expected["map50"] > 0.1
    assert {name: evaluation.metrics[name] for name in expected} == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("name", REAL)
def test_the_metrics_are_those_pycocotools_gives_for_real_results(name: str) -> None:
    ground_truth, results = (DATA / path for path in REAL[name])
    if not ground_truth.is_file():
        pytest.skip(f"{ground_truth.parent} is not here")
    truth, found = json.loads(ground_truth.read_text()), json.loads(results.read_text())
    names = {category["id"]: category["name"] for category in truth["categories"]}

    metrics = coco_metrics(
        sort_detections(table(found, names, "score")),
        table(truth["annotations"], names, "area").with_columns(pl.lit(0).alias("ignore").cast(pl.Boolean)),
        sorted(image["id"] for image in truth["images"]),
        [names[key] for key in sorted(names)],
    )

    assert sum(annotation["iscrowd"] for annotation in truth["annotations"]) == 0
    assert metrics.summary == pytest.approx(by_pycocotools(ground_truth, results), abs=1e-9)


def table(rows: list[dict[str, Any]], names: dict[int, str], value: str) -> pl.DataFrame:
    boxes = np.array([row["bbox"] for row in rows], dtype=np.float64).T
    return pl.DataFrame(
        {
            "image_id": [row["image_id"] for row in rows],
            "category": [names[row["category_id"]] for row in rows],
            **dict(zip(("x", "y", "width", "height"), boxes, strict=True)),
            value: [float(row[value]) for row in rows],
        }
    )


def test_a_class_without_ground_truth_does_not_drag_the_mean_down(
    shapes: Any, truth: Any, detections: Any, found: Any
) -> None:
    box = (10.0, 10.0, 50.0, 50.0)
    dataset = shapes([truth(0, "cat", box)], ["cat", "dog"], 1)
    made = detections([found(0, "cat", 0.9, box), found(0, "dog", 0.8, box)])

    evaluation = evaluate_predictions(dataset, made, ("cat", "dog"), EvaluateOptions())

    assert evaluation.metrics["map50"] == pytest.approx(1.0)
    assert evaluation.per_class.get_column("ap50").to_list() == [pytest.approx(1.0), None]


def test_numbers_that_are_undefined_are_left_out(shapes: Any, truth: Any, detections: Any, found: Any) -> None:
    box = (10.0, 10.0, 50.0, 50.0)
    dataset = shapes([truth(0, "cat", box)], ["cat"], 1)

    evaluation = evaluate_predictions(dataset, detections([found(0, "cat", 0.9, box)]), ("cat",), EvaluateOptions())

    assert "map_medium" in evaluation.metrics
    assert not {"map_small", "map_large", "ar_small", "ar_large"} & set(evaluation.metrics)


def test_the_size_of_an_object_is_that_of_its_outline_when_the_source_gives_it(shapes: Any, truth: Any) -> None:
    box = (10.0, 10.0, 50.0, 50.0)
    dataset = shapes(
        [truth(0, "cat", box, attributes='{"area": 600}'), truth(1, "cat", box, attributes='{"area": 1040400}')],
        ["cat"],
        2,
    )

    evaluation = evaluate_predictions(dataset, random_nothing(), ("cat",), EvaluateOptions())

    assert evaluation.truths.get_column("area").to_list() == [600.0, 2500.0]
    assert {"map_small", "map_medium"} <= set(evaluation.metrics)


def random_nothing() -> pl.DataFrame:
    schema = {"image_id": pl.UInt32, "category": pl.String, "score": pl.Float64}
    return pl.DataFrame(schema={**schema, **dict.fromkeys(("x", "y", "width", "height"), pl.Float64)})


def test_nothing_is_printed(random_set: Callable[..., Any], capsys: pytest.CaptureFixture[str]) -> None:
    case = random_set(1)

    evaluate_predictions(case.dataset, case.detections, case.dataset.classes, EvaluateOptions())

    assert capsys.readouterr().out == ""
