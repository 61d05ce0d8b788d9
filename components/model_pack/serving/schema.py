"""The shapes of what the service answers, published in its OpenAPI document and in ``prediction.schema.json``."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from pydantic.json_schema import models_json_schema

from components.model_pack.serving.predictor import Prediction

SCHEMA = "prediction.schema.json"
_DIALECT = "https://json-schema.org/draft/2020-12/schema"


class Box(BaseModel):
    """One object: where it is in pixels of the upright image, how sure the model is, and its class."""

    model_config = ConfigDict(serialize_by_alias=True)

    x: float = Field(description="left edge")
    y: float = Field(description="top edge")
    width: float = Field(gt=0)
    height: float = Field(gt=0)
    score: float = Field(ge=0, le=1, description="how sure the model is")
    class_name: str = Field(serialization_alias="class", description="name of the class")
    class_id: int = Field(ge=0, description="index of the class in /model")


class ImagePrediction(BaseModel):
    """What was found in one image: the model's tag, the upright image's size in pixels, and its boxes, best first."""

    model: str = Field(description="name:version")
    width: int = Field(ge=1)
    height: int = Field(ge=1)
    boxes: list[Box]


class Predictions(BaseModel):
    """What was found in several images, in the order they were sent."""

    model: str = Field(description="name:version")
    predictions: list[ImagePrediction]


class Problem(BaseModel):
    """Why a request was not served, in one sentence."""

    error: str


def answer_of(prediction: Prediction, tag: str) -> ImagePrediction:
    """A prediction as the service words it."""
    found = prediction.found
    boxes = [
        Box.model_construct(
            x=left,
            y=top,
            width=right - left,
            height=bottom - top,
            score=score,
            class_name=prediction.classes[label],
            class_id=label,
        )
        for (left, top, right, bottom), score, label in zip(
            found.boxes.tolist(), found.scores.tolist(), found.labels.tolist(), strict=True
        )
    ]
    return ImagePrediction(model=tag, width=prediction.width, height=prediction.height, boxes=boxes)


def definitions(prefix: str = "#/$defs/") -> dict[str, Any]:
    """The JSON schema of each shape by name, which refer to each other below ``prefix``."""
    models = (ImagePrediction, Predictions, Problem)
    _, schema = models_json_schema(
        [(model, "serialization") for model in models], ref_template=f"{prefix}{{model}}", by_alias=True
    )
    return dict(schema["$defs"])


def prediction_schema() -> dict[str, Any]:
    """The JSON schema of what ``POST /predict`` answers with 200."""
    found = definitions()
    found.pop("Problem")
    return {
        "$schema": _DIALECT,
        "title": "What POST /predict answers",
        "oneOf": [{"$ref": "#/$defs/ImagePrediction"}, {"$ref": "#/$defs/Predictions"}],
        "$defs": found,
    }
