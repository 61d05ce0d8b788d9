"""Augmentation keeps boxes on what they mark, and every choice is its seed's."""

from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pytest

from components.model_train.trainers.torchvision.augment import FILL, Augmentation, augment
from components.model_train.trainers.torchvision.data import Example, epoch_batches, prepared
from components.shared.hyperparameters_table import OPTIONS

NONE = Augmentation(0, 0, 0, 0, 0, 0, 0, 0, 0)


def block(left: int, top: int, right: int, bottom: int, width: int = 64, height: int = 64) -> Example:
    """A white block on black."""
    pixels = np.zeros((height, width, 3), dtype=np.uint8)
    pixels[top:bottom, left:right] = 255
    return Example(pixels, np.array([[left, top, right, bottom]], dtype=np.float64), np.array([1]))


def extent(pixels: Any) -> list[int]:
    """Left, top, right and bottom of what is white."""
    rows, columns = np.nonzero(pixels.min(axis=2) > 200)
    return [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]


def test_without_any_change_a_square_image_stays_as_it_is() -> None:
    example = block(10, 20, 30, 50)
    same = augment([example], 0, 64, NONE, (1,))
    np.testing.assert_array_equal(same.pixels, example.pixels)
    np.testing.assert_allclose(same.boxes, example.boxes)
    np.testing.assert_array_equal(same.labels, [1])


def test_another_shape_is_centred_on_a_neutral_square() -> None:
    wide = augment([block(10, 5, 30, 25, width=64, height=32)], 0, 64, NONE, (1,))
    assert wide.pixels.shape == (64, 64, 3)
    assert tuple(wide.pixels[0, 0]) == FILL
    np.testing.assert_allclose(wide.boxes, [[10, 21, 30, 41]])
    assert extent(wide.pixels) == [10, 21, 30, 41]


@pytest.mark.parametrize(("name", "box"), [("fliplr", [34, 20, 54, 50]), ("flipud", [10, 14, 30, 44])])
def test_a_mirrored_image_has_mirrored_boxes(name: str, box: list[int]) -> None:
    changed = augment([block(10, 20, 30, 50)], 0, 64, replace(NONE, **{name: 1.0}), (1,))
    np.testing.assert_allclose(changed.boxes, [box])
    assert extent(changed.pixels) == box


@pytest.mark.parametrize("seed", range(12))
def test_boxes_stay_on_what_they_mark(seed: int) -> None:
    how = Augmentation(hsv_h=0, hsv_s=0, hsv_v=0, translate=0.1, scale=0.5, fliplr=0.5, flipud=0.5)
    changed = augment([block(20, 22, 40, 46)], 0, 96, how, (seed,))
    np.testing.assert_allclose(changed.boxes[0], extent(changed.pixels), atol=2.0)


def test_a_turned_box_holds_what_was_in_it() -> None:
    for seed in range(6):
        changed = augment([block(20, 25, 44, 40)], 0, 64, replace(NONE, degrees=45), (seed,))
        left, top, right, bottom = extent(changed.pixels)
        box = changed.boxes[0]
        assert box[0] <= left + 2
        assert box[1] <= top + 2
        assert box[2] >= right - 2
        assert box[3] >= bottom - 2


def test_a_box_that_hardly_remains_is_left_out() -> None:
    how = replace(NONE, translate=0.5)
    kept = [len(augment([block(0, 0, 20, 20)], 0, 64, how, (seed,)).boxes) for seed in range(60)]
    assert set(kept) == {0, 1}


@pytest.mark.parametrize("seed", range(8))
def test_a_mosaic_has_boxes_of_several_images_inside_of_it(seed: int) -> None:
    examples = [block(5, 5, 50, 50), block(10, 10, 60, 30, height=40), block(2, 2, 12, 60), block(30, 1, 63, 63)]
    how = replace(Augmentation(), mosaic=1.0, hsv_v=0.0)
    changed = augment(examples, 0, 64, how, (seed,))
    assert changed.pixels.shape == (64, 64, 3)
    assert len(changed.boxes) == len(changed.labels)
    assert (changed.boxes >= 0).all()
    assert (changed.boxes <= 64).all()
    assert ((changed.boxes[:, 2:] - changed.boxes[:, :2]) > 2).all()


def test_an_image_without_boxes_stays_without() -> None:
    empty = Example(np.full((30, 64, 3), 90, np.uint8), np.empty((0, 4)), np.empty(0, dtype=np.int64))
    changed = augment([empty], 0, 64, replace(Augmentation(), degrees=10.0, mosaic=0.5), (3,))
    assert changed.boxes.shape == (0, 4)
    assert changed.labels.shape == (0,)


def test_the_seed_decides_every_choice() -> None:
    example = block(10, 20, 30, 50)
    first, again, other = (augment([example], 0, 64, Augmentation(), (7, 1, number)) for number in (1, 1, 2))
    np.testing.assert_array_equal(first.pixels, again.pixels)
    np.testing.assert_array_equal(first.boxes, again.boxes)
    assert not np.array_equal(first.pixels, other.pixels)


def test_colours_change_and_boxes_do_not() -> None:
    example = block(10, 20, 30, 50)
    grey = replace(example, pixels=np.full((64, 64, 3), (200, 40, 60), np.uint8))
    changed = augment([grey], 0, 64, replace(NONE, hsv_h=0.1, hsv_s=0.5, hsv_v=0.5), (2,))
    assert not np.array_equal(changed.pixels, grey.pixels)
    np.testing.assert_allclose(changed.boxes, grey.boxes)


@pytest.mark.parametrize(
    ("count", "batch", "ranks"), [(8, 4, 1), (9, 4, 1), (10, 4, 2), (3, 16, 2), (1, 1, 1), (7, 6, 3)]
)
def test_an_epoch_shows_every_image_and_no_process_goes_short(count: int, batch: int, ranks: int) -> None:
    batches = epoch_batches(count, batch, seed=0, epoch=1, ranks=ranks)
    assert set(np.concatenate(batches).tolist()) == set(range(count))
    assert len(batches) == -(-count // batch)
    assert all(len(part) % ranks == 0 for part in batches)
    if batch > 1:
        assert all(len(part) >= 2 for part in batches)


def test_the_order_is_the_seeds_and_the_epochs() -> None:
    orders = [epoch_batches(50, 50, seed=seed, epoch=epoch)[0].tolist() for seed, epoch in ((0, 1), (0, 2), (1, 1))]
    assert orders[0] == epoch_batches(50, 50, seed=0, epoch=1)[0].tolist()
    assert orders[0] != orders[1]
    assert orders[0] != orders[2]


@pytest.mark.parametrize("threads", [0, 1, 3])
def test_batches_come_in_order_however_many_threads_prepare_them(threads: int) -> None:
    assert list(prepared(lambda number: number * number, 20, threads)) == [number * number for number in range(20)]
    assert list(prepared(lambda number: number, 0, threads)) == []


@pytest.mark.parametrize("threads", [0, 2])
def test_an_image_that_cannot_be_prepared_is_an_error_when_its_turn_comes(threads: int) -> None:
    def make(number: int) -> float:
        return 1 / (2 - number)

    batches = prepared(make, 5, threads)
    assert [next(batches), next(batches)] == [0.5, 1.0]
    with pytest.raises(ZeroDivisionError):
        next(batches)


def test_the_table_of_hyperparameters_states_the_defaults_that_are_used() -> None:
    told = {name: option for name, option in OPTIONS.items() if option.torchvision}
    used = asdict(Augmentation.of({}))
    stated = {
        name: told[name].default if told[name].torchvision_default is None else told[name].torchvision_default
        for name in used
    }
    assert stated == used
