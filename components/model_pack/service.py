"""The HTTP service of a packed model: an image in, boxes in absolute pixels out; it runs from inside the bento."""

import logging
from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Any

import bentoml
import numpy as np
from bentoml.exceptions import BentoMLException, InvalidArgument
from bentoml.validators import ContentType
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from components.model_pack.uploads import MAX_UPLOAD, UploadGuard
from components.shared.archive import MODEL, ArchiveManifest, load_archive_manifest
from components.shared.detection import detector
from components.shared.detection.detector import Detections, Detector
from components.shared.errors import ArchiveError, InputError
from components.shared.images import decode

MAX_PIXELS = 100_000_000
DEFAULT_CONF = 0.25
DEFAULT_IOU = 0.7
HERE = Path(__file__).resolve().parent
logger = logging.getLogger(__name__)


class Box(BaseModel):
    """One object: left, top, width and height in pixels of the upright image, how sure the model is, and its class."""

    model_config = ConfigDict(serialize_by_alias=True)

    x: float
    y: float
    width: float
    height: float
    score: float
    class_name: str = Field(serialization_alias="class")
    class_id: int


class Prediction(BaseModel):
    """What ``/predict`` answers: which model looked, the upright image's size in pixels, and its boxes, best first."""

    model: str
    width: int
    height: int
    boxes: list[Box]


def summary(manifest: ArchiveManifest) -> dict[str, Any]:
    """What ``/model`` answers."""
    return manifest.model_dump(mode="json", exclude={"source_files", "bento_files"})


async def describe(request: Request) -> JSONResponse:
    """``GET /model``: the manifest without its lists of files."""
    del request
    return JSONResponse(summary(load_archive_manifest(HERE)))


def read_image(path: Path) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """The uploaded image, RGB and upright; a ``4xx`` error when it is none or too large."""
    if path.stat().st_size > MAX_UPLOAD:
        raise too_large(f"The image has {path.stat().st_size} bytes; the limit is {MAX_UPLOAD}.")
    data = path.read_bytes()
    try:
        with Image.open(path) as image:
            if image.width * image.height > MAX_PIXELS:
                raise too_large(f"The image has {image.width} x {image.height} pixels; the limit is {MAX_PIXELS}.")
        return decode(data)
    except Image.DecompressionBombError as error:
        raise too_large(f"The image has more than the limit of {MAX_PIXELS} pixels.") from error
    except (InputError, OSError, ValueError, SyntaxError, ModuleNotFoundError) as error:
        raise InvalidArgument("The upload is not an image that can be decoded: send a JPEG, PNG or WebP.") from error


def too_large(message: str) -> BentoMLException:
    """The error that answers 413."""
    return BentoMLException(message, error_code=HTTPStatus.REQUEST_ENTITY_TOO_LARGE)


@bentoml.service(name="detector", workers=1, traffic={"timeout": 60, "max_concurrency": 16})
@bentoml.asgi_app(Starlette(routes=[Route("/model", describe)]), path="/")
class DetectorService:
    """Finds objects in images with the model of this bento; the first prediction is made before it reports ready."""

    def __init__(self) -> None:
        self.manifest = load_archive_manifest(HERE)
        code = Path(detector.__file__).resolve()
        if not code.is_relative_to(HERE):
            raise ArchiveError(f"The code {str(code)!r} was not packed with the model: serve from the bento's folder.")
        self.detector = Detector(HERE / MODEL, device="auto")
        self.detector.predict([np.full((64, 64, 3), 114, dtype=np.uint8)])
        logger.info("%s is ready", self.manifest.tag)

    @bentoml.api(route="/predict")  # type: ignore[untyped-decorator]
    def predict(
        self,
        image: Annotated[Path, ContentType("image/*")],
        conf: Annotated[float, Field(ge=0.0, le=1.0)] = DEFAULT_CONF,
        iou: Annotated[float, Field(ge=0.0, le=1.0)] = DEFAULT_IOU,
    ) -> Prediction:
        """Detect objects in one image.

        Args:
            image: the encoded image, as a multipart file field; EXIF orientation is applied.
            conf: lowest score a box may have.
            iou: two boxes of one class that overlap more than this are one object.
        """
        pixels = read_image(image)
        (found,) = self.detector.predict([pixels], conf=conf, iou=iou)
        return Prediction(
            model=self.manifest.tag,
            width=pixels.shape[1],
            height=pixels.shape[0],
            boxes=boxes_of(found, self.detector.classes),
        )


def boxes_of(found: Detections, classes: tuple[str, ...]) -> list[Box]:
    """Detections as the service words them."""
    return [
        Box(
            x=left,
            y=top,
            width=right - left,
            height=bottom - top,
            score=score,
            class_name=classes[label],
            class_id=label,
        )
        for (left, top, right, bottom), score, label in zip(
            found.boxes.tolist(), found.scores.tolist(), found.labels.tolist(), strict=True
        )
    ]


DetectorService.add_asgi_middleware(UploadGuard)  # type: ignore[attr-defined]
