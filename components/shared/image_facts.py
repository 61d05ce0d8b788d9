"""What is measured on an image while it is loaded: perceptual hash, brightness, contrast and sharpness."""

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
import numpy.typing as npt

from components.shared.images import MIRRORED, SWAPPED, UPSIDE_DOWN, Grey, Look, Probe, look_at

SAMPLE = 200  # images whose sharpness is measured at least, since that takes a decode at full size
SHARE = 50  # of larger sets one in so many

_BITS = 64
_WAVES = 11  # frequencies in each direction; the diagonals up to the eleventh hold 64 pairs and two
_FLOOR = 0.25  # grey levels; a weaker wave is noise, and its sign would be random
_RANK = np.add.outer(np.arange(_WAVES), np.arange(_WAVES)) * _WAVES + np.arange(_WAVES)
_LOWEST = np.argsort(_RANK, axis=None, kind="stable")[1 : _BITS + 1]  # diagonal by diagonal, without the mean


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """What a look at an encoded image told.

    Attributes:
        probe: what it is.
        phash: its perceptual hash, 64 bits; ``None``, as the rest, when it cannot be decoded.
        brightness: mean grey value, 0 black to 1 white.
        contrast: standard deviation of the grey values at about an eighth of its size, 0 to 0.5.
        sharpness: variance of the Laplacian of the grey values 0..255 at full size; ``None`` when not asked for.
    """

    probe: Probe
    phash: int | None = None
    brightness: float | None = None
    contrast: float | None = None
    sharpness: float | None = None


def image_facts(data: bytes, *, sharpness: bool = False) -> ImageFacts:
    """Decode an image once, at a fraction of its size unless its sharpness is asked for, and measure it."""
    look = look_at(data, full=sharpness)
    if look.grey is None:
        return ImageFacts(look.probe)
    mean, deviation = cv2.meanStdDev(look.grey)
    return ImageFacts(
        look.probe,
        perceptual_hash(look),
        float(mean[0, 0]) / 255.0,
        float(deviation[0, 0]) / 255.0,
        None if look.full is None else laplacian_variance(look.full),
    )


def perceptual_hash(look: Look) -> int | None:
    """64 bits that stay nearly the same when an image is scaled or compressed again; ``None`` without pixels.

    Each bit is the sign of one of the 64 lowest frequencies of the two-dimensional cosine transform of the oriented
    image, its mean left out; waves weaker than a quarter of a grey level count as 0, so that the hash of a uniform
    image is 0 and no noise. Two hashes of one picture differ in few bits, those of two pictures in about half.
    """
    if look.grey is None:
        return None
    orientation = look.probe.orientation
    width, height = look.probe.width, look.probe.height
    if orientation in SWAPPED:
        width, height = height, width
    rows, columns = look.grey.shape
    down, across = _cosines(rows, height / look.factor), _cosines(columns, width / look.factor)
    waves = down @ look.grey.astype(np.float32) @ across.T
    # Turning an image by its EXIF tag swaps its axes and mirrors it, and a mirror changes the sign of each odd wave.
    if orientation in SWAPPED:
        waves = waves.T.copy()
    if orientation in UPSIDE_DOWN:
        waves[1::2] *= -1
    if orientation in MIRRORED:
        waves[:, 1::2] *= -1
    return int.from_bytes(np.packbits(waves.ravel()[_LOWEST] > _FLOOR).tobytes(), "big")


@lru_cache(maxsize=1024)
def _cosines(pixels: int, extent: float) -> npt.NDArray[np.float32]:
    """Weights ``(_WAVES, pixels)`` that give the amplitudes of cosines over ``extent`` pixels, exactly over each."""
    edges = np.minimum(np.arange(pixels + 1), extent) / extent
    frequencies = np.pi * np.arange(1, _WAVES)[:, None]
    weights = np.diff(np.sin(frequencies * edges) / frequencies, axis=1)
    weights = np.concatenate([np.diff(edges)[None], weights])
    scaled: npt.NDArray[np.float32] = (2.0 * weights).astype(np.float32)
    return scaled


def laplacian_variance(grey: Grey) -> float:
    """Variance of the Laplacian of grey values 0..255: low for a blurred image, high for a sharp or a noisy one."""
    waves = cv2.Laplacian(grey, cv2.CV_16S)
    mean = float(cv2.sumElems(waves)[0]) / int(waves.size)
    squares = float(cv2.norm(waves, cv2.NORM_L2SQR))
    return squares / int(waves.size) - mean * mean


def measures_sharpness(digest: str, images: int) -> bool:
    """Whether the image with this sha256 is one of those whose sharpness is measured.

    These are about ``SAMPLE`` of ``images``, or one in ``SHARE`` where that is more.
    """
    return int(digest[:12], 16) * images < max(SAMPLE, images // SHARE) << 48


cv2.setNumThreads(1)  # images are looked at side by side already
