"""The service's OpenAPI document: every route, its parameters, its answers and its refusals."""

from typing import Any

from components.model_pack.serving.limits import Limits
from components.model_pack.serving.schema import definitions
from components.shared.archive import ArchiveManifest

_REFUSALS = {
    "400": "The upload is no image, or the form or its parameters cannot be read.",
    "413": "The upload is too large: bytes, pixels or number of images.",
    "415": "The content type is not one of those below.",
    "422": "A parameter is out of its bounds or not known.",
    "504": "The request was not served in time.",
    "503": "The service is busy: send the request again after the seconds in Retry-After.",
}
_JSON = "application/json"
_RAW_KINDS = ("image/jpeg", "image/png", "image/webp", "application/octet-stream")


def openapi_document(manifest: ArchiveManifest, limits: Limits) -> dict[str, Any]:
    """An OpenAPI 3.1 document of the service of this model."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": f"The object detector {manifest.name}",
            "version": manifest.version,
            "description": (
                f"Finds objects of {len(manifest.classes)} classes; boxes are in pixels of the upright image. "
                f"An image may have {limits.max_bytes} bytes and {limits.max_pixels} pixels, a request "
                f"{limits.max_files} images and {limits.max_request_bytes} bytes."
            ),
        },
        "paths": _paths(manifest),
        "components": {"schemas": definitions("#/components/schemas/")},
    }


def _paths(manifest: ArchiveManifest) -> dict[str, Any]:
    parameters = _parameters(manifest)
    single = {"$ref": "#/components/schemas/ImagePrediction"}
    several = {"$ref": "#/components/schemas/Predictions"}
    found = {
        "description": "One image's boxes, or several images' in their order.",
        "content": _as_json(single, several),
    }
    binary = {"schema": {"type": "string", "format": "binary"}}
    drawn = {"description": "The image, boxes drawn.", "content": {"image/jpeg": binary, "image/png": binary}}
    refused = {"406": _problem("Accept asks for neither JPEG nor PNG.")}
    return {
        "/predict": {"post": _operation("predict", "Find objects in images", manifest, parameters, {"200": found})},
        "/predict/image": {
            "post": _operation("drawImage", "The image, boxes drawn", manifest, parameters, {"200": drawn, **refused})
        },
        "/model": {"get": _get("model", "What the model is and how it predicts", _JSON)},
        "/livez": {"get": _get("livez", "Whether the process answers", "text/plain")},
        "/healthz": {"get": _get("healthz", "The same", "text/plain")},
        "/readyz": {"get": _get("readyz", "Whether the model has made its first prediction", "text/plain")},
        "/metrics": {"get": _get("metrics", "Statistics for Prometheus", "text/plain")},
        "/openapi.json": {"get": _get("openapi", "This document", _JSON)},
        "/docs": {"get": _get("docs", "This document, for reading and trying out", "text/html")},
        "/": {"get": _get("page", "A page to try the model on", "text/html")},
    }


def _operation(
    name: str, summary: str, manifest: ArchiveManifest, parameters: dict[str, Any], answers: dict[str, Any]
) -> dict[str, Any]:
    """A ``POST`` that takes images."""
    file = {"type": "string", "format": "binary"}
    images = {"type": "array", "items": file, "minItems": 1} if name == "predict" else file
    form = {"type": "object", "properties": {"image": images, **parameters}, "required": ["image"]}
    raw = {kind: {"schema": file} for kind in _RAW_KINDS}
    listed = [{"name": key, "in": "query", "schema": value} for key, value in parameters.items()]
    return {
        "operationId": name,
        "summary": summary,
        "description": f"{summary} with {manifest.tag}. Parameters are form fields or query parameters.",
        "parameters": listed,
        "requestBody": {"required": True, "content": {"multipart/form-data": {"schema": form}, **raw}},
        "responses": {**answers, **{code: _problem(said) for code, said in _REFUSALS.items()}},
    }


def _parameters(manifest: ArchiveManifest) -> dict[str, Any]:
    inference = manifest.inference
    share = {"type": "number", "minimum": 0, "maximum": 1}
    names = ", ".join(manifest.classes[:5])
    return {
        "conf": {**share, "description": "Lowest score of a box; without it each class has its own, see /model."},
        "iou": {
            **share,
            "default": inference.iou,
            "description": "Two boxes of one class that overlap more than this are one object.",
        },
        "classes": {"type": "string", "description": f"Only these classes, names separated by commas: {names}, ..."},
        "tile": {
            "type": "integer",
            "minimum": 0,
            "default": inference.tile,
            "description": "Cut larger images into tiles of this edge in pixels; 0: never.",
        },
    }


def _get(name: str, summary: str, kind: str) -> dict[str, Any]:
    schema = {"type": "object"} if kind == _JSON else {"type": "string"}
    answer = {"description": summary, "content": {kind: {"schema": schema}}}
    return {"operationId": name, "summary": summary, "responses": {"200": answer}}


def _as_json(*schemas: dict[str, Any]) -> dict[str, Any]:
    return {_JSON: {"schema": {"oneOf": list(schemas)}}}


def _problem(said: str) -> dict[str, Any]:
    return {"description": said, "content": {_JSON: {"schema": {"$ref": "#/components/schemas/Problem"}}}}
