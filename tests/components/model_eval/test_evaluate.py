import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from components.model_eval.basis import Basis
from components.model_eval.evaluate import (
    Contest,
    EvaluateOptions,
    Evaluation,
    Outputs,
    confusion_for_kfp,
    evaluate_with,
)
from components.model_eval.export import COCO_GROUND_TRUTH, COCO_RESULTS, GROUND_TRUTH, PREDICTIONS, QUALITY
from components.model_eval.predict import Contestant
from components.shared.detection.inference import Inference
from components.shared.errors import InputError

BASIS = Basis({"model": "shapes:0123456789abcdef", "dataset": "shapes"})
Evaluate = Callable[..., Evaluation]


@pytest.fixture
def evaluate_case(oracle: Any, painted_images: Any, tmp_path: Path) -> Evaluate:
    def evaluate(case: Any, **options: float) -> Evaluation:
        detector = oracle(case.detections, case.dataset.classes)
        outputs = Outputs(tmp_path / "predictions", tmp_path / "report.html", tmp_path / "overview.md")
        contest = Contest(Contestant(detector, Inference(confidence=0.5)))
        return evaluate_with(case.dataset, contest, painted_images, BASIS, outputs, EvaluateOptions(**options))

    return evaluate


def test_everything_the_report_rests_on_is_kept(evaluate_case: Evaluate, random_set: Any, tmp_path: Path) -> None:
    evaluation = evaluate_case(random_set(3))

    kept = tmp_path / "predictions"
    names = {PREDICTIONS, GROUND_TRUTH, COCO_RESULTS, COCO_GROUND_TRUTH, QUALITY}
    assert {path.name for path in kept.iterdir()} == names
    assert pl.read_parquet(kept / PREDICTIONS).drop("error").equals(evaluation.predictions)
    assert pl.read_parquet(kept / GROUND_TRUTH).drop("error").equals(evaluation.truths)


def test_the_tables_say_of_every_box_what_became_of_it_and_why(
    evaluate_case: Evaluate, random_set: Any, tmp_path: Path
) -> None:
    evaluate_case(random_set(3, images=30))

    predictions, truths = (pl.read_parquet(tmp_path / "predictions" / name) for name in (PREDICTIONS, GROUND_TRUTH))
    wrong = pl.col("outcome") == "FP"
    assert set(predictions.get_column("outcome")) == {"TP", "FP", "ignored"}
    assert predictions.filter(wrong).get_column("error").null_count() == 0
    assert predictions.filter(~wrong).get_column("error").drop_nulls().is_empty()
    assert predictions.get_column("iou").null_count() == 0
    assert set(truths.get_column("outcome")) == {"MTP", "FN", "ignored"}
    missed = pl.col("outcome") == "FN"
    assert truths.filter(missed).get_column("error").null_count() == 0
    assert truths.filter(~missed).get_column("error").drop_nulls().is_empty()


def test_coco_files_hold_every_box_to_the_last_digit(evaluate_case: Evaluate, random_set: Any, tmp_path: Path) -> None:
    evaluation = evaluate_case(random_set(4))

    results = json.loads((tmp_path / "predictions" / COCO_RESULTS).read_text())
    truth = json.loads((tmp_path / "predictions" / COCO_GROUND_TRUTH).read_text())
    columns = ("x", "y", "width", "height")
    assert [tuple(row["bbox"]) for row in results] == evaluation.predictions.select(columns).rows()
    assert [row["score"] for row in results] == evaluation.predictions.get_column("score").to_list()
    assert [tuple(row["bbox"]) for row in truth["annotations"]] == evaluation.truths.select(columns).rows()
    assert min(row["id"] for row in truth["annotations"]) == 1
    names = {category["id"]: category["name"] for category in truth["categories"]}
    assert [names[row["category_id"]] for row in results] == evaluation.predictions.get_column("category").to_list()


def test_the_same_predictions_have_the_same_digest_whatever_the_latency(
    evaluate_case: Evaluate, random_set: Any
) -> None:
    first, second, other = (evaluate_case(random_set(seed)) for seed in (5, 5, 6))

    assert first.digest == second.digest
    assert len(first.digest) == 64
    assert first.digest != other.digest


def test_kfp_gets_a_square_matrix_with_the_background_last(evaluate_case: Evaluate, random_set: Any) -> None:
    labels, matrix = confusion_for_kfp(evaluate_case(random_set(2, classes=3)))

    assert labels == ["class 0", "class 1", "class 2", "background"]
    assert [len(row) for row in matrix] == [4] * 4
    assert all(isinstance(count, int) for row in matrix for count in row)


def test_latency_is_measured_without_the_first_image(evaluate_case: Evaluate, random_set: Any) -> None:
    metrics = evaluate_case(random_set(2)).metrics

    assert 0 < metrics["latency_ms_p50"] <= metrics["latency_ms_p95"]


def test_progress_grows_to_the_end(oracle: Any, painted_images: Any, random_set: Any, tmp_path: Path) -> None:
    case, heard = random_set(1), []

    evaluate_with(
        case.dataset,
        Contest(Contestant(oracle(case.detections, case.dataset.classes))),
        painted_images,
        BASIS,
        Outputs(tmp_path, tmp_path / "report.html"),
        EvaluateOptions(),
        lambda share, message: heard.append((share, message)),
    )

    shares = [share for share, _ in heard]
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    assert "predicted 1 of 12 images" in heard[0][1]


def test_an_image_that_does_not_decode_is_named(oracle: Any, random_set: Any, tmp_path: Path) -> None:
    class Broken:
        def read_many(self, images: pl.DataFrame) -> Any:
            yield images.item(0, "image_id"), b"not an image"

    case = random_set(1)

    with pytest.raises(InputError, match=r"'images/000\.jpg'"):
        evaluate_with(
            case.dataset,
            Contest(Contestant(oracle(case.detections, case.dataset.classes))),
            Broken(),
            BASIS,
            Outputs(tmp_path, tmp_path / "report.html"),
            EvaluateOptions(),
        )


@pytest.mark.parametrize("classes", [1, pytest.param(80, marks=pytest.mark.slow)])
def test_the_report_is_one_page_below_five_megabytes(
    evaluate_case: Evaluate, random_set: Any, tmp_path: Path, classes: int
) -> None:
    evaluation = evaluate_case(random_set(7, classes=classes, images=60))

    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert len(page.encode()) < 5_000_000
    assert "Model Quality Report" in page
    assert evaluation.reasons[0].split(",")[0] in page
    assert page.count("data:image/jpeg") > 20
    assert "shapes:0123456789abcdef" in page


@pytest.mark.parametrize("left", ["no detections", "no ground truth", "no images"])
def test_the_report_is_written_when_there_is_nothing_to_show(
    evaluate_case: Evaluate, random_set: Any, shapes: Any, detections: Any, tmp_path: Path, left: str
) -> None:
    case = random_set(1)
    if left == "no detections":
        object.__setattr__(case, "detections", detections([]))
    elif left == "no ground truth":
        object.__setattr__(case, "dataset", shapes([], case.dataset.classes, 12))
    else:
        object.__setattr__(case, "dataset", shapes([], case.dataset.classes, 0))

    evaluation = evaluate_case(case)

    assert not evaluation.passed
    assert evaluation.reasons[0] in (tmp_path / "report.html").read_text(encoding="utf-8")
