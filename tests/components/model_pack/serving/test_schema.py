import json
from pathlib import Path

import numpy as np

from components.model_pack.pack import CODE, PACKAGE
from components.model_pack.serving import schema
from components.model_pack.serving.predictor import Prediction
from components.model_pack.serving.schema import SCHEMA, Predictions, answer_of, prediction_schema
from components.shared.detection.detector import Detections

SERVING = Path(schema.__file__).parent


def test_the_published_file_is_what_is_answered() -> None:
    assert json.loads((SERVING / SCHEMA).read_text(encoding="utf-8")) == prediction_schema()


def test_an_answer_has_the_names_of_the_schema() -> None:
    found = Detections(np.array([[1.0, 2.0, 4.0, 8.0]]), np.array([0.5]), np.array([1]))
    answer = answer_of(Prediction(10, 20, found, ("a", "b"), 0.0), "m:1")
    box = {"x": 1.0, "y": 2.0, "width": 3.0, "height": 6.0, "score": 0.5, "class": "b", "class_id": 1}
    assert json.loads(answer.model_dump_json()) == {"model": "m:1", "width": 10, "height": 20, "boxes": [box]}
    several = json.loads(Predictions(model="m:1", predictions=[answer]).model_dump_json())
    assert several["predictions"][0]["boxes"] == [box]


def test_every_file_of_the_service_is_packed() -> None:
    files = {path.relative_to(PACKAGE).as_posix() for path in SERVING.rglob("*") if path.suffix != ".pyc"}
    unpacked = {name for name in files - set(CODE) if (PACKAGE / name).is_file()}
    assert unpacked <= {
        "model_pack/serving/grpc_inference.proto",
        "model_pack/serving/grpc_inference_pb2.pyi",
    }
