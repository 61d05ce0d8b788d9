"""What the service lets in: how much of it at once, and how it says no."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO

import numpy as np
import numpy.typing as npt
from PIL import Image

from components.model_pack.serving.sizing import DEFAULT_SECONDS, number
from components.shared.errors import InputError
from components.shared.images import FORMATS, decode

_PREFIX = "DETECTOR_"


class RefusedError(Exception):
    """A request that is not served: its HTTP status, a word for the statistics, and one sentence for the sender."""

    def __init__(self, status: int, reason: str, message: str, *, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason
        self.headers = dict(headers or {})

    @property
    def body(self) -> dict[str, str]:
        """What is answered: ``{"error": sentence}``."""
        return {"error": str(self)}


@dataclass(frozen=True)
class Limits:
    """Bounds of a request and of a worker; each is read from ``DETECTOR_<NAME>``, such as ``DETECTOR_MAX_PIXELS``.

    Attributes:
        max_bytes: of an encoded image.
        max_request_bytes: of a whole request, with all its images.
        max_pixels: of a decoded image.
        max_files: images of one request.
        max_tiles: pieces an image may be cut into.
        max_waiting: requests of one worker whose images may wait for a prediction.
        max_buffered_bytes: uploads of one worker that may be in memory at once.
        max_seconds: from the first byte of a request to its answer.
    """

    max_bytes: int = 50_000_000
    max_request_bytes: int = 100_000_000
    max_pixels: int = 100_000_000
    max_files: int = 32
    max_tiles: int = 400
    max_waiting: int = 32
    max_buffered_bytes: int = 400_000_000
    max_seconds: int = DEFAULT_SECONDS


def limits_of(environment: Mapping[str, str] = os.environ) -> Limits:
    """The limits as the environment sets them.

    Raises:
        ConfigError: one is no whole number above zero.
    """
    set_here = {name: number(environment, _PREFIX + name.upper()) for name in Limits.__dataclass_fields__}
    return Limits(**{name: value for name, value in set_here.items() if value})


def read_image(data: bytes, limits: Limits) -> npt.NDArray[np.uint8]:
    """Pixels of an uploaded image, RGB ``(height, width, 3)`` and upright.

    Raises:
        RefusedError: 400 when it is no image or not whole, 413 when it is too large.
    """
    if len(data) > limits.max_bytes:
        raise RefusedError(413, "bytes", f"The image has {len(data)} bytes; the limit is {limits.max_bytes}.")
    width, height = _size(data)
    if width * height > limits.max_pixels:
        message = f"The image has {width} x {height} pixels; the limit is {limits.max_pixels} pixels."
        raise RefusedError(413, "pixels", message)
    try:
        return decode(data)
    except InputError as error:
        raise _undecodable() from error


def _size(data: bytes) -> tuple[int, int]:
    """What the image's header says, before anything is decoded."""
    try:
        with Image.open(BytesIO(data), formats=FORMATS) as image:
            return image.size
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise RefusedError(413, "pixels", "The image has far too many pixels.") from error
    except Exception as error:  # a broken header may raise anything
        raise _undecodable() from error


def _undecodable() -> RefusedError:
    return RefusedError(400, "image", "The upload is not an image that can be decoded: send a JPEG, PNG or WebP.")
