"""Pixels of unusual images: what a person sees in them is what a model gets."""

from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from components.shared.images import decode, probe

RAMP = np.linspace(0.0, 1.0, 64 * 48).reshape(48, 64)


def encoded(pixels: np.ndarray, kind: str) -> bytes:
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("pixels", "kind"),
    [
        ((RAMP * 65535).astype(np.uint16), "PNG"),
        ((RAMP * 65535).astype(np.int32), "TIFF"),
        ((RAMP * 255).astype(np.float32), "TIFF"),
        (RAMP.astype(np.float32), "TIFF"),
    ],
)
def test_a_deep_grey_image_keeps_its_range(pixels: np.ndarray, kind: str) -> None:
    found = decode(encoded(pixels, kind))
    assert found.shape == (48, 64, 3)
    assert np.abs(found[:, :, 0].astype(float) - RAMP * 255).max() <= 1


def test_a_dark_16_bit_image_stays_dark_as_the_trainer_sees_it(tmp_path: Path) -> None:
    data = encoded((RAMP * 200).astype(np.uint16), "PNG")
    (tmp_path / "dark.png").write_bytes(data)
    np.testing.assert_array_equal(decode(data), cv2.imread(str(tmp_path / "dark.png")))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK"])
def test_every_mode_of_colour_gives_what_the_trainer_reads(tmp_path: Path, mode: str) -> None:
    colours = np.stack([RAMP * 255, RAMP[::-1] * 255, np.full_like(RAMP, 90)], axis=2).astype(np.uint8)
    path = tmp_path / ("image.jpg" if mode == "CMYK" else "image.png")
    Image.fromarray(colours).convert(mode).save(path)
    assert probe(path.read_bytes()).problem is None
    trained_on = cv2.imread(str(path))[:, :, ::-1].astype(int)
    assert np.abs(decode(path.read_bytes()).astype(int) - trained_on).max() <= 1
