"""Encoded images: what they are, why they cannot be used, and their pixels the right way up."""

from dataclasses import dataclass
from io import BytesIO

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError

from components.shared.errors import InputError

MAX_PIXELS = 400_000_000
SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif"})
_SWAPPED = frozenset({5, 6, 7, 8})  # EXIF orientations that turn the image by 90 degrees
_EXIF_ORIENTATION = 0x0112


@dataclass(frozen=True)
class Probe:
    """What an encoded image is.

    Attributes:
        width: pixels after EXIF orientation, 0 when it cannot be decoded.
        height: likewise.
        format: ``jpeg``, ``png``, ...; ``None`` when it is no image.
        orientation: EXIF orientation, 1 to 8.
        problem: why it cannot be used, or ``None``.
    """

    width: int
    height: int
    format: str | None
    orientation: int
    problem: str | None


def probe(data: bytes) -> Probe:
    """Look at an encoded image: size, format, orientation, and whether all of it decodes."""
    if not data:
        return Probe(0, 0, None, 1, "the file is empty")
    try:
        with Image.open(BytesIO(data)) as image:
            width, height = image.size
            kind = (image.format or "unknown").lower()
            if width * height > MAX_PIXELS:
                return Probe(0, 0, kind, 1, f"{width} x {height} pixels are more than {MAX_PIXELS}")
            orientation = int(image.getexif().get(_EXIF_ORIENTATION, 1) or 1)
            # At an eighth of its size a JPEG still reads all its bytes, so truncation shows at a fraction of the cost.
            image.draft(None, (max(1, width // 8), max(1, height // 8)))
            image.load()
    except (UnidentifiedImageError, ModuleNotFoundError):
        return Probe(0, 0, None, 1, "it is not an image of a known format")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        return Probe(0, 0, None, 1, str(error).strip() or type(error).__name__)
    if not 1 <= orientation <= 8:  # noqa: PLR2004 - EXIF knows eight orientations
        orientation = 1
    if orientation in _SWAPPED:
        width, height = height, width
    return Probe(width, height, kind, orientation, None)


def decode(data: bytes) -> npt.NDArray[np.uint8]:
    """Pixels of an encoded image, RGB ``(height, width, 3)``, EXIF orientation applied.

    16-bit images are scaled to 8 bits, fractional ones from 0..1 where no pixel is above 1; transparency is dropped;
    of an animation the first frame is taken.

    Raises:
        InputError: the bytes are no image, truncated or too large.
    """
    try:
        with Image.open(BytesIO(data)) as image:
            if image.width * image.height > MAX_PIXELS:
                raise InputError(f"The image has {image.width} x {image.height} pixels; the limit is {MAX_PIXELS}.")
            upright = ImageOps.exif_transpose(image)
            if upright.mode.startswith("I") or upright.mode == "F":
                grey = _eight_bits(np.asarray(upright, dtype=np.float64), upright.mode)
                return np.repeat(grey[:, :, None], 3, axis=2)
            return np.asarray(upright.convert("RGB"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError, ModuleNotFoundError) as error:
        raise InputError(f"The image cannot be decoded: {error}.") from error


def _eight_bits(wide: npt.NDArray[np.float64], mode: str) -> npt.NDArray[np.uint8]:
    brightest = float(np.nan_to_num(wide).max(initial=0))
    top = 1.0 if mode == "F" and brightest <= 1 else 255.0
    if mode.startswith("I;16") or brightest > 255:  # noqa: PLR2004 - largest 8-bit value
        top = 65535.0
    grey: npt.NDArray[np.uint8] = np.clip(np.nan_to_num(wide) / top * 255.0, 0, 255).astype(np.uint8)
    return grey


def encode_jpeg(pixels: npt.NDArray[np.uint8], *, quality: int = 85) -> bytes:
    """RGB pixels ``(height, width, 3)`` as a JPEG."""
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


ImageFile.LOAD_TRUNCATED_IMAGES = False
