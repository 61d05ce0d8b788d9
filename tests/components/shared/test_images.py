"""Pixels of unusual images: what a person sees in them is what a model gets."""

import struct
import subprocess
import sys
import zipfile
import zlib
from functools import cache
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from components.shared import images
from components.shared.errors import InputError, UnsafeInputError
from components.shared.images import decode, probe

RAMP = np.linspace(0.0, 1.0, 64 * 48).reshape(48, 64)


COLOURS = np.stack([RAMP * 255, RAMP[::-1] * 255, np.full_like(RAMP, 90)], axis=2).astype(np.uint8)
ROOT = Path(__file__).parents[3]


def encoded(pixels: np.ndarray, kind: str, **options: object) -> bytes:
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png(width: int, height: int, body: bytes, *extra: bytes, depth: int = 8, colour: int = 0) -> bytes:
    """A PNG with that header, whatever its body is."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    chunks = (header, *extra, chunk(b"IDAT", body), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


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
    path = tmp_path / ("image.jpg" if mode == "CMYK" else "image.png")
    Image.fromarray(COLOURS).convert(mode).save(path)
    assert probe(path.read_bytes()).problem is None
    trained_on = cv2.imread(str(path))[:, :, ::-1].astype(int)
    assert np.abs(decode(path.read_bytes()).astype(int) - trained_on).max() <= 1


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_of_an_animation_the_first_frame_counts(kind: str) -> None:
    frames = [Image.new("RGB", (32, 24), colour) for colour in ("red", "green", "blue")]
    buffer = BytesIO()
    options: dict[str, object] = {"lossless": True} if kind == "WEBP" else {}
    frames[0].save(buffer, kind, save_all=True, append_images=frames[1:], duration=50, **options)
    assert (probe(buffer.getvalue()).width, probe(buffer.getvalue()).problem) == (32, None)
    assert decode(buffer.getvalue())[5, 5].tolist() == [255, 0, 0]


def test_a_picture_with_further_pictures_behind_it_is_a_jpeg(tmp_path: Path) -> None:
    frames = [Image.fromarray(COLOURS), Image.new("RGB", (64, 48), "blue")]
    frames[0].save(tmp_path / "stereo.mpo", "MPO", save_all=True, append_images=frames[1:], quality=95)
    data = (tmp_path / "stereo.mpo").read_bytes()
    assert (probe(data).format, probe(data).problem) == ("jpeg", None)
    assert np.abs(decode(data).astype(int) - COLOURS).mean() < 4


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP", "TIFF", "GIF", "WEBP"])
def test_a_cut_image_is_found_wherever_it_is_cut(kind: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (300, 400, 3), dtype=np.uint8)
    whole = encoded(pixels, kind)
    assert probe(whole).problem is None
    for share in (0.2, 0.5, 0.9):
        cut = whole[: int(len(whole) * share)]
        assert probe(cut).problem
        assert (probe(cut).width, probe(cut).height) == (0, 0)
        with pytest.raises(InputError, match="cannot be decoded"):
            decode(cut)


@pytest.mark.parametrize(
    "data",
    [
        *(
            b"<html><body>404 Not Found</body></html>",
            b"%PDF-1.7",
            b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
        ),
        *(b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"PK\x03\x04", b"\0" * 5000, b"\xff\xd8\xff", b"GIF89a"),
        b"BM" + b"\0" * 60,
    ],
)
def test_what_is_no_image_is_called_so_whatever_its_name(data: bytes) -> None:
    assert probe(data).problem
    with pytest.raises(InputError):
        decode(data)


def test_an_empty_file_is_called_empty() -> None:
    assert probe(b"").problem == "the file is empty"


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP"])
def test_an_image_with_an_archive_behind_it_is_that_image(kind: str) -> None:
    appended = BytesIO()
    with zipfile.ZipFile(appended, "w") as archive:
        archive.writestr("payload.exe", b"MZ" * 500)
    whole = encoded(COLOURS, kind)
    assert probe(whole + appended.getvalue()) == probe(whole)
    np.testing.assert_array_equal(decode(whole + appended.getvalue()), decode(whole))


@cache
def bombs() -> dict[str, bytes]:
    """Small files that ask for very much memory or time."""
    zeros = zlib.compress(bytes(48 << 20), 9)  # 48 kB
    text = zlib.compress(b"a" * (80 << 20), 9)
    rows = zlib.compress(bytes(49 * 65))
    jpeg, gif = encoded(COLOURS, "JPEG"), encoded(COLOURS, "GIF")
    exif = b"\xff\xe1" + struct.pack(">H", 65_000) + b"Exif\0\0" + bytes(65_000 - 8)
    frame = gif[gif.index(b"\x2c\0\0\0\0") : -1]
    return {
        "gigapixels": png(65_000, 65_000, zeros),
        "one bit": png(20_000, 20_000, zeros, depth=1),
        "just below the pixel limit": png(14_000, 14_000, zeros, colour=2),
        "text": png(64, 48, rows, chunk(b"zTXt", b"Comment\0\0" + text)),
        "profile": png(64, 48, rows, chunk(b"iCCP", b"icc\0\0" + text)),
        "exif": jpeg[:2] + exif * 300 + jpeg[2:],
        "frames": gif[:-1] + frame * 5_000 + b";",
        "wide gif": gif.replace(b"\x40\0\x30\0", b"\xff\xff\xff\xff"),
        "jpeg": jpeg.replace(b"\0\x30\0\x40", b"\xff\xdc\xff\xdc"),  # 65,500 x 65,500 in the frame header
    }


BOMBS = ("gigapixels", "one bit", "just below the pixel limit", "text", "profile", "exif", "frames", "wide gif", "jpeg")
LOOK = """
import re, sys, time
from pathlib import Path
from components.shared.image_facts import image_facts
data = Path(sys.argv[1]).read_bytes()
began = time.process_time()
problem = image_facts(data, sharpness=True).probe.problem
peak = int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
print(time.process_time() - began, peak / 1024, problem)
"""


@pytest.mark.slow
@pytest.mark.parametrize("kind", BOMBS)
def test_a_bomb_costs_neither_memory_nor_time(tmp_path: Path, kind: str) -> None:
    (tmp_path / "bomb").write_bytes(bombs()[kind])
    command = [sys.executable, "-c", LOOK, str(tmp_path / "bomb")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    seconds, megabytes, problem = done.stdout.strip().split(" ", 2)
    assert float(seconds) < 5
    assert float(megabytes) < 256
    assert (problem == "None") == (kind in {"exif", "frames"})


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize(
    "kind",
    [
        pytest.param("gigapixels", marks=pytest.mark.slow),
        "one bit",
        pytest.param("just below the pixel limit", marks=pytest.mark.slow),
        "jpeg",
    ],
)
def test_a_bomb_is_not_decoded_later_either(kind: str) -> None:
    with pytest.raises(UnsafeInputError, match="pixels"):
        decode(bombs()[kind])


def test_a_large_photograph_is_no_bomb(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "BOMB_BYTES", 1000)
    noise = np.random.default_rng(0).integers(0, 256, (480, 640, 3), dtype=np.uint8)
    assert probe(encoded(noise, "JPEG", quality=30)).problem is None
    assert "bomb" in str(probe(encoded(np.zeros_like(noise), "PNG")).problem)
