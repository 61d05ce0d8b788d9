"""Encoded images: what they are, why they cannot be used, and their pixels the right way up."""

import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from threading import Lock

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError, features

from components.shared.errors import InputError, UnsafeInputError

MAX_PIXELS = 200_000_000
BOMB_BYTES = 128 << 20  # a decoded image above this must not be much larger than its file
BOMB_RATIO = 200  # bytes of a decoded image for each of its file; photographs stay below 100
LEAST_EDGE = 32  # pixels that the shorter side of a reduced image keeps, where it has them
SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif"})

# Pillow knows formats that run programs (EPS) or read further files; these only hold pixels.
FORMATS: tuple[str, ...] = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "JPEG2000", "PPM")
FORMATS += ("AVIF",) if features.check("avif") else ()
SWAPPED = frozenset({5, 6, 7, 8})  # EXIF orientations that swap the axes of what is stored,
UPSIDE_DOWN = frozenset({3, 4, 7, 8})  # then put its top at the bottom,
MIRRORED = frozenset({2, 3, 6, 7})  # then its left at the right
_EXIF_ORIENTATION = 0x0112
_ONE_BYTE = frozenset({"1", "L", "P"})  # modes with one byte a pixel in memory; the others have four
_LARGE = Lock()  # held while an image of more than BOMB_BYTES is decoded, so that threads do not do it all at once
# What Pillow raises on broken files, as fuzzing shows.
_BROKEN = (
    *(OSError, ValueError, SyntaxError, LookupError, TypeError, EOFError, ArithmeticError, AttributeError),
    *(RuntimeError, AssertionError, ImportError, MemoryError, struct.error, zlib.error),
)

Grey = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
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


@dataclass(frozen=True, slots=True)
class Look:
    """A look at an encoded image.

    Attributes:
        probe: what it is.
        grey: its grey values ``(height, width)`` at ``1 / factor`` of its size, as stored, not turned; the last row
            and column may reach beyond the image. ``None`` when it cannot be decoded.
        full: the same at full size, only when it was asked for.
        factor: 1, 2, 4 or 8.
    """

    probe: Probe
    grey: Grey | None = None
    full: Grey | None = None
    factor: int = 1


def probe(data: bytes) -> Probe:
    """Look at an encoded image: size, format, orientation, and whether all of it decodes."""
    return look_at(data).probe


def look_at(data: bytes, *, full: bool = False) -> Look:
    """Decode an image in grey, as far as it takes to see whether all of it decodes.

    A JPEG is read at a fraction of its size, which still reads all its bytes, so truncation shows at a fraction of
    the cost; ``full`` decodes it at its full size.
    """
    if not data:
        return Look(Probe(0, 0, None, 1, "the file is empty"))
    kind = None
    try:
        with _opened(data) as image:
            kind = _kind(image)
            width, height = image.size
            orientation = orientation_of(image)
            factor = _factor(width, height)
            pixels = _grey(image, 1 if full else factor)
            reduced = pixels.shape != (height, width) or factor == 1
            grey = pixels if reduced else np.asarray(Image.fromarray(pixels).reduce(factor))
    except (UnidentifiedImageError, ModuleNotFoundError):
        return Look(Probe(0, 0, None, 1, "it is not an image of a known format"))
    except _BROKEN as error:
        return Look(Probe(0, 0, kind, 1, str(error).strip() or type(error).__name__))
    except UnsafeInputError as error:
        return Look(Probe(0, 0, kind, 1, str(error)))
    if orientation in SWAPPED:
        width, height = height, width
    return Look(Probe(width, height, kind, orientation, None), grey, pixels if full else None, factor)


def decode(data: bytes) -> npt.NDArray[np.uint8]:
    """Pixels of an encoded image, RGB ``(height, width, 3)``, EXIF orientation applied.

    16-bit images are scaled to 8 bits, fractional ones from 0..1 where no pixel is above 1; transparency is dropped;
    of an animation the first frame is taken.

    Raises:
        InputError: the bytes are no image, truncated or too large.
    """
    try:
        with _opened(data) as image:
            ImageOps.exif_transpose(image, in_place=True)
            if _is_deep(image):
                grey = _eight_bits(np.asarray(image, dtype=np.float64), image.mode)
                return np.repeat(grey[:, :, None], 3, axis=2)
            return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))  # it would be copied otherwise
    except UnsafeInputError as error:
        raise UnsafeInputError(f"The image is not decoded: {error}.") from error
    except _BROKEN as error:
        raise InputError(f"The image cannot be decoded: {error}.") from error


def encode_jpeg(pixels: npt.NDArray[np.uint8], *, quality: int = 85) -> bytes:
    """RGB pixels ``(height, width, 3)`` as a JPEG."""
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def orientation_of(image: Image.Image) -> int:
    """EXIF orientation of an open image, 1 to 8; 1 where it says nothing or nonsense."""
    try:
        value = int(image.getexif().get(_EXIF_ORIENTATION, 1) or 1)
    except (TypeError, ValueError, SyntaxError, OSError):
        return 1
    return value if 1 <= value <= 8 else 1  # noqa: PLR2004 - EXIF knows eight orientations


@contextmanager
def _opened(data: bytes) -> Iterator[Image.Image]:
    """The image, not decoded yet; refused by its header when it is too large to decode."""
    try:
        opened = Image.open(BytesIO(data), formats=FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise UnsafeInputError(f"it has more than {MAX_PIXELS} pixels") from error
    with opened as image:
        pixels = image.width * image.height
        if pixels > MAX_PIXELS:
            raise UnsafeInputError(f"it has {image.width} x {image.height} pixels, more than {MAX_PIXELS}")
        decoded = pixels * (1 if image.mode in _ONE_BYTE else 4)
        if decoded <= BOMB_BYTES:
            yield image
            return
        if decoded > BOMB_RATIO * len(data):
            raise UnsafeInputError(
                f"its {len(data)} bytes claim to be {image.width} x {image.height} pixels, as a decompression bomb does"
            )
        with _LARGE:
            yield image


def _kind(image: Image.Image) -> str:
    kind = (image.format or "unknown").lower()
    return "jpeg" if kind == "mpo" else kind  # a JPEG with further pictures behind it


def _factor(width: int, height: int) -> int:
    return next((factor for factor in (8, 4, 2) if min(width, height) >= LEAST_EDGE * factor), 1)


def _grey(image: Image.Image, factor: int) -> Grey:
    """Grey values as stored: a JPEG at ``1 / factor`` of its size, the other formats know no short way."""
    image.draft("L", (image.width // factor, image.height // factor))
    image.load()
    if _is_deep(image):
        return _eight_bits(np.asarray(image, dtype=np.float32), image.mode)
    if image.mode == "CMYK":
        image = image.convert("RGB")
    return np.asarray(image if image.mode == "L" else image.convert("L"))


def _is_deep(image: Image.Image) -> bool:
    return image.mode.startswith("I") or image.mode == "F"


def _eight_bits(wide: npt.NDArray[np.floating], mode: str) -> Grey:
    wide = np.nan_to_num(wide)
    brightest = float(wide.max(initial=0))
    top = 1.0 if mode == "F" and brightest <= 1 else 255.0
    if mode.startswith("I;16") or brightest > 255:  # noqa: PLR2004 - largest 8-bit value
        top = 65535.0
    grey: Grey = np.clip(wide / top * 255.0, 0, 255).astype(np.uint8)
    return grey


ImageFile.LOAD_TRUNCATED_IMAGES = False
Image.MAX_IMAGE_PIXELS = MAX_PIXELS
