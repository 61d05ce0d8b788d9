import json
from pathlib import Path
from typing import Any

import pytest

from components.model_eval import quality_document
from components.model_eval.basis import Basis
from components.model_eval.evaluation import EvaluateOptions
from components.model_eval.export import write_quality
from components.model_eval.quality import evaluate_predictions
from components.model_eval.quality_document import SCHEMA, QualityDocument, quality_schema
from components.shared.model_lineage import Quality

PUBLISHED = Path(quality_document.__file__).with_name(SCHEMA)
REGENERATE = (
    "python -c 'from pathlib import Path; from components.model_eval.quality_document import *; "
    'Path("components/model_eval", SCHEMA).write_text(quality_schema())\''
)


def test_the_published_schema_is_that_of_the_code() -> None:
    assert PUBLISHED.read_text(encoding="utf-8") == quality_schema(), f"run: {REGENERATE}"


@pytest.mark.parametrize("left", ["everything", "no detections", "no ground truth"])
def test_what_is_written_is_what_the_schema_says(
    random_set: Any, shapes: Any, detections: Any, tmp_path: Path, left: str
) -> None:
    case = random_set(5, images=20)
    dataset = shapes([], case.dataset.classes, 20) if left == "no ground truth" else case.dataset
    made = detections([]) if left == "no detections" else case.detections
    options = EvaluateOptions(class_gates={"class 0": 0.5, "klass 1": 0.5}, slice_gates={"size:small": 0.1})
    evaluation = evaluate_predictions(dataset, made, case.dataset.classes, options)

    write_quality(evaluation, Basis({"model": "shapes:1"}), tmp_path)

    text = (tmp_path / "quality.json").read_text(encoding="utf-8")
    assert "NaN" not in text
    assert set(json.loads(text)) == set(json.loads(PUBLISHED.read_text(encoding="utf-8"))["properties"])
    read = QualityDocument.model_validate_json(text)
    assert read.metrics == evaluation.metrics
    assert [row.category for row in read.per_class] == evaluation.per_class.get_column("category").to_list()
    assert read.confusion.matrix == evaluation.confusion.matrix
    assert [demand.sentence for demand in read.demands] == [demand.sentence for demand in evaluation.demands]


def test_the_registry_reads_the_document(random_set: Any, tmp_path: Path) -> None:
    case = random_set(5, images=20)
    evaluation = evaluate_predictions(case.dataset, case.detections, case.dataset.classes, EvaluateOptions())

    write_quality(evaluation, Basis({"model digest": "d" * 64}), tmp_path)

    quality = Quality.model_validate_json((tmp_path / "quality.json").read_bytes())
    assert (quality.passed, quality.reasons) == (evaluation.passed, evaluation.reasons)
    assert quality.metrics == evaluation.metrics
    assert quality.facts == {"model digest": "d" * 64}
    assert set(quality.average_precision) == set(case.dataset.classes)
