import numpy as np
import pytest
from PIL import Image

from components.model_pack.serving.draw import LEAST_EDGE, MOST_EDGE, choose_kind, colour_of, draw, encode
from components.model_pack.serving.limits import RefusedError
from components.model_pack.serving.predictor import Prediction
from components.shared.detection.detector import Detections

NAMES = ("circle", "a class with quite a long name indeed", "星")


def prediction(width: int, height: int, *boxes: tuple[float, float, float, float]) -> Prediction:
    found = Detections(
        boxes=np.array(boxes, dtype=np.float64).reshape(-1, 4),
        scores=np.linspace(0.9, 0.3, len(boxes)),
        labels=np.arange(len(boxes)) % len(NAMES),
    )
    return Prediction(width, height, found, NAMES, 0.0)


@pytest.mark.parametrize(
    ("size", "drawn"),
    [
        ((1, 1), (480, 480)),
        ((80, 60), (480, 360)),
        ((640, 480), (640, 480)),
        ((3, 4000), (3, 4000)),
        ((8192, 2), (MOST_EDGE, 1)),
    ],
)
def test_the_image_is_as_large_as_it_takes_to_read_it(size: tuple[int, int], drawn: tuple[int, int]) -> None:
    width, height = size
    pixels = np.full((height, width, 3), 90, np.uint8)
    boxes = [(0, 0, width, height), (width / 3, height / 3, width / 2, height / 2), (width - 0.1, 0, width, 0.1)]
    image = draw(pixels, prediction(width, height, *boxes))
    assert image.size == drawn
    assert max(image.size) >= LEAST_EDGE or max(size) >= LEAST_EDGE


def test_a_box_is_drawn_where_it_is_in_the_colour_of_its_class() -> None:
    image = np.asarray(draw(np.full((600, 800, 3), 90, np.uint8), prediction(800, 600, (100, 200, 300, 400))))
    assert tuple(image[300, 102]) == colour_of(0)
    assert tuple(image[300, 200]) == (90, 90, 90)
    chip = (image[150:200, 100:300] == colour_of(0)).all(axis=2)
    assert chip.sum() > 500


def test_neighbouring_classes_have_other_colours() -> None:
    assert len({colour_of(label) for label in range(200)}) == 200


def test_the_image_given_stays_as_it_is() -> None:
    pixels = np.full((600, 800, 3), 90, np.uint8)
    draw(pixels, prediction(800, 600, (0, 0, 800, 600)))
    assert (pixels == 90).all()


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("", "image/jpeg"),
        ("*/*", "image/jpeg"),
        ("image/avif,image/webp,image/png,image/svg+xml,image/*;q=0.8,*/*;q=0.5", "image/png"),
        ("image/png;q=0.5, image/jpeg", "image/jpeg"),
        ("image/jpeg;q=nonsense, image/png;q=0.1", "image/png"),
        ("IMAGE/PNG", "image/png"),
    ],
)
def test_the_kind_is_what_the_client_likes_best(accept: str, kind: str) -> None:
    assert choose_kind(accept) == kind
    magic = {"image/png": b"\x89PNG", "image/jpeg": b"\xff\xd8\xff\xe0"}
    assert encode(Image.new("RGB", (9, 9)), kind).startswith(magic[kind])


@pytest.mark.parametrize("accept", ["text/html", "image/webp", "image/*;q=0"])
def test_a_kind_that_is_not_drawn_is_refused(accept: str) -> None:
    with pytest.raises(RefusedError, match="Accept"):
        choose_kind(accept)
