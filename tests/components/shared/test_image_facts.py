"""A perceptual hash that knows a picture again, and measures that follow what a person sees."""

import hashlib
from io import BytesIO
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from components.shared import image_facts as module
from components.shared.image_facts import image_facts, measures_sharpness
from components.shared.images import decode

DATA = Path(__file__).parents[4] / "shared" / "data"
SMALL = 4  # bits in which two versions of one picture may differ


def encoded(image: Image.Image, kind: str = "JPEG", **options: object) -> bytes:
    buffer = BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def distance(one: bytes, other: bytes) -> int:
    first, second = image_facts(one).phash, image_facts(other).phash
    assert first is not None
    assert second is not None
    return (first ^ second).bit_count()


def real_images(count: int) -> list[bytes]:
    folder = DATA / "coco128_yolo" / "images" / "train2017"
    if not folder.is_dir():
        pytest.skip("the public data set 'coco128_yolo' is not beside the repository")
    return [path.read_bytes() for path in sorted(folder.iterdir())[:count]]


def scene(width: int = 320, height: int = 240) -> Image.Image:
    """A drawing without any symmetry."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[: height // 3] = (90, 140, 220)
    pixels[height // 2 :, : width // 4] = (200, 60, 30)
    pixels[height // 4 : height // 2, width // 2 : width * 5 // 6] = (20, 180, 90)
    return Image.fromarray(pixels)


@pytest.mark.slow
def test_a_real_picture_keeps_its_hash_when_it_is_compressed_again_or_halved() -> None:
    for data in real_images(40):
        picture = Image.fromarray(decode(data))
        half = picture.resize((picture.width // 2, picture.height // 2), Image.Resampling.LANCZOS)
        assert distance(data, encoded(picture, quality=40)) <= SMALL
        assert distance(data, encoded(half, quality=90)) <= SMALL
        assert distance(data, encoded(half, quality=40)) <= SMALL
        assert distance(data, encoded(picture, "PNG", compress_level=1)) <= SMALL


def test_different_real_pictures_are_far_apart() -> None:
    hashes = [image_facts(data).phash or 0 for data in real_images(128)]
    distances = [(one ^ other).bit_count() for one, other in combinations(hashes, 2)]
    assert min(distances) > 8
    assert np.mean(distances) == pytest.approx(32, abs=1)


def test_a_decode_at_full_size_gives_nearly_the_same_hash_and_tone() -> None:
    for data in real_images(20):
        quick, thorough = image_facts(data), image_facts(data, sharpness=True)
        assert ((quick.phash or 0) ^ (thorough.phash or 0)).bit_count() <= 2
        assert quick.brightness == pytest.approx(thorough.brightness, abs=0.005)
        assert quick.contrast == pytest.approx(thorough.contrast, abs=0.005)


@pytest.mark.parametrize("grey", [0, 128, 255])
@pytest.mark.parametrize("noise", [0.0, 1.0, 5.0])
def test_a_uniform_image_has_the_hash_0_whatever_its_noise(grey: int, noise: float) -> None:
    pixels = np.random.default_rng(grey).normal(grey, noise, (240, 320, 3)).clip(0, 255).astype(np.uint8)
    for kind in ("JPEG", "PNG"):
        assert image_facts(encoded(Image.fromarray(pixels), kind)).phash == 0


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("size", [(320, 240), (331, 257)])
def test_an_image_stored_turned_has_the_hash_of_what_a_person_sees(orientation: int, size: tuple[int, int]) -> None:
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    picture = scene(*size)
    stored = picture if orientation == 1 else picture.transpose(undo[orientation])
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(stored, exif=exif, quality=95)
    assert np.abs(decode(data).astype(int) - np.asarray(picture).astype(int)).mean() < 3
    facts = image_facts(data)
    assert (facts.probe.width, facts.probe.height, facts.probe.orientation) == (*size, orientation)
    assert distance(data, encoded(picture, quality=95)) <= 1


@pytest.mark.parametrize("size", [(1, 1), (3, 2), (31, 33), (2000, 12), (12, 2000)])
def test_an_image_of_any_shape_has_a_hash(size: tuple[int, int]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0]), dtype=np.uint8)
    for kind in ("JPEG", "PNG"):
        facts = image_facts(encoded(Image.fromarray(pixels), kind), sharpness=True)
        assert facts.phash is not None
        assert facts.sharpness is not None


def test_brightness_and_contrast_follow_the_grey_values() -> None:
    black, white = Image.new("RGB", (64, 64)), Image.new("RGB", (64, 64), "white")
    halves = Image.new("L", (64, 64))
    halves.paste(255, (0, 0, 32, 64))
    found = [image_facts(encoded(image, "PNG")) for image in (black, white, halves)]
    assert [facts.brightness for facts in found] == pytest.approx([0, 1, 0.5])
    assert [facts.contrast for facts in found] == pytest.approx([0, 0, 0.5])


def test_a_blurred_picture_is_less_sharp_and_unasked_sharpness_is_not_measured() -> None:
    picture = scene()
    sharp = image_facts(encoded(picture, "PNG"), sharpness=True).sharpness
    blurred = image_facts(encoded(picture.filter(ImageFilter.GaussianBlur(3)), "PNG"), sharpness=True).sharpness
    assert sharp is not None
    assert blurred is not None
    assert blurred < sharp / 4
    assert image_facts(encoded(picture)).sharpness is None


def test_sharpness_is_the_variance_of_the_laplacian() -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (40, 50), dtype=np.uint8)
    wide = np.pad(pixels.astype(int), 1, mode="reflect")
    laplacian = wide[:-2, 1:-1] + wide[2:, 1:-1] + wide[1:-1, :-2] + wide[1:-1, 2:] - 4 * wide[1:-1, 1:-1]
    found = image_facts(encoded(Image.fromarray(pixels), "PNG"), sharpness=True).sharpness
    assert found == pytest.approx(laplacian.var(), rel=1e-9)


def test_what_is_no_image_has_no_measures() -> None:
    facts = image_facts(b"<html>", sharpness=True)
    assert (facts.phash, facts.brightness, facts.contrast, facts.sharpness) == (None, None, None, None)
    assert facts.probe.problem == "it is not an image of a known format"


def test_sharpness_is_sampled_by_content_and_taken_of_all_images_when_there_are_few() -> None:
    digests = [f"{number:064x}" for number in np.random.default_rng(0).integers(0, 2**62, 20_000)]
    digests = [hashlib.sha256(digest.encode()).hexdigest() for digest in digests]
    chosen = [digest for digest in digests if measures_sharpness(digest, len(digests))]
    assert len(chosen) == pytest.approx(len(digests) / module.SHARE, rel=0.15)
    assert all(measures_sharpness(digest, module.SAMPLE) for digest in digests)
    assert all(measures_sharpness("f" * 64, count) for count in (1, 10, module.SAMPLE))
