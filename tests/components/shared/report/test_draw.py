import base64
import math
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from components.shared.report.draw import DrawnBox, Style, crop_around, describe, draw_boxes, picture

NAN, INF = math.nan, math.inf


def grey(height: int = 120, width: int = 300) -> np.ndarray:
    return np.full((height, width, 3), 90, np.uint8)


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((1000, 2000), (240, 480)),
        ((120, 300), (120, 300)),
        ((10, 20), (120, 240)),
        ((1, 5000), (1, 480)),
        ((1, 1), (240, 240)),
    ],
)
def test_images_are_scaled_to_a_size_that_can_be_looked_at(shape: tuple[int, int], expected: tuple[int, int]) -> None:
    assert draw_boxes(grey(*shape), [DrawnBox(0, 0, 1, 1, "a")]).shape == (*expected, 3)


def test_the_longest_edge_is_kept_even_below_the_smallest_size() -> None:
    assert draw_boxes(grey(50, 100), [], max_edge=80).shape == (40, 80, 3)


def test_drawing_leaves_the_pixels_it_was_given_untouched() -> None:
    pixels = grey()
    pixels.flags.writeable = False
    drawn = draw_boxes(pixels, [DrawnBox(20, 20, 50, 50, "cat", Style.FALSE)])
    assert (pixels == 90).all()
    assert not np.shares_memory(pixels, drawn)
    assert (drawn != 90).any()


def test_a_box_is_drawn_where_it_is() -> None:
    changed = (draw_boxes(grey(), [DrawnBox(40, 30, 100, 50)]) != 90).any(axis=2)
    rows, columns = np.flatnonzero(changed.any(axis=1)), np.flatnonzero(changed.any(axis=0))
    assert (rows[0], rows[-1], columns[0], columns[-1]) == (28, 81, 38, 141)
    assert not changed[35:75, 45:135].any()


@pytest.mark.parametrize(
    "box",
    [
        DrawnBox(NAN, 0, 10, 10, "x"),
        DrawnBox(0, 0, INF, 10, "x"),
        DrawnBox(10, 10, 0, 10, "x"),
        DrawnBox(10, 10, -5, 10, "x"),
        DrawnBox(400, 10, 10, 10, "x"),
        DrawnBox(10, -50, 10, 20, "x"),
    ],
)
def test_a_box_that_cannot_be_seen_is_skipped(box: DrawnBox) -> None:
    assert (draw_boxes(grey(), [box]) == 90).all()


def test_of_a_box_that_leaves_the_image_the_visible_part_is_drawn() -> None:
    drawn = draw_boxes(grey(), [DrawnBox(-1e9, 50, 2e9, 1e9)])
    assert (drawn[50, 150] != 90).any()
    assert (drawn[118, 150] != 90).any()


@pytest.mark.parametrize("style", list(Style))
def test_styles_differ_without_their_colours(style: Style) -> None:
    def luminous(one: Style) -> np.ndarray:
        return draw_boxes(grey(), [DrawnBox(40, 30, 100, 50, style=one)]).max(axis=2) > 150

    assert all((luminous(style) != luminous(other)).sum() > 40 for other in Style if other is not style)


@pytest.mark.parametrize("label", ["person 0.93", "人 🐈 ñ", "a\nb\x00\ud800", "long " * 100, "   "])
def test_any_label_can_be_written(label: str) -> None:
    assert draw_boxes(grey(), [DrawnBox(250, 0, 50, 20, label)]).shape == (120, 300, 3)


def test_a_label_in_the_corner_lies_within_the_frame() -> None:
    bare = draw_boxes(grey(), [DrawnBox(290, 110, 10, 10)])
    labelled = draw_boxes(grey(), [DrawnBox(290, 110, 10, 10, "bicycle")])
    changed = np.flatnonzero((bare != labelled).any(axis=(0, 2)))
    assert changed[-1] - changed[0] > 35


def test_labels_of_the_same_box_do_not_hide_each_other() -> None:
    one = draw_boxes(grey(), [DrawnBox(40, 40, 100, 40, "cat")])
    both = draw_boxes(grey(), [DrawnBox(40, 40, 100, 40, "cat"), DrawnBox(40, 40, 100, 40, "dog", Style.PREDICTION)])
    chip = (slice(22, 37), slice(41, 60))
    assert (one[chip] == both[chip]).all()


def test_a_crop_shows_the_box_with_its_margin_and_says_where_it_starts() -> None:
    pixels = np.arange(200 * 300 * 3, dtype=np.uint32).astype(np.uint8).reshape(200, 300, 3)
    crop, x, y = crop_around(pixels, DrawnBox(100, 80, 40, 20), margin=1.0)
    assert (crop.shape, x, y) == ((60, 120, 3), 60, 60)
    assert (crop == pixels[60:120, 60:180]).all()
    assert not np.shares_memory(crop, pixels)


@pytest.mark.parametrize("box", [DrawnBox(NAN, 0, 1, 1), DrawnBox(9e9, 0, 5, 5), DrawnBox(-1e9, -1e9, 2, 2)])
def test_a_crop_around_nothing_is_the_whole_image(box: DrawnBox) -> None:
    crop, x, y = crop_around(grey(), box)
    assert (crop.shape, x, y) == ((120, 300, 3), 0, 0)


def test_a_crop_at_the_border_stays_within_the_image() -> None:
    crop, x, y = crop_around(grey(), DrawnBox(-10, 100, 30, 80))
    assert (crop.shape, x, y) == ((100, 50, 3), 0, 20)


def test_a_picture_is_a_jpeg_of_the_same_size() -> None:
    made = picture(grey(), caption="grey", tags=("a",))
    head, data = made.data_uri.split(",")
    assert head == "data:image/jpeg;base64"
    with Image.open(BytesIO(base64.b64decode(data))) as image:
        assert image.size == (made.width, made.height) == (300, 120)


def test_a_legend_names_each_style_once() -> None:
    assert (
        describe([Style.TRUTH, Style.MISSED, Style.TRUTH])
        == "solid green: annotated · dotted amber: annotated but missed"
    )
