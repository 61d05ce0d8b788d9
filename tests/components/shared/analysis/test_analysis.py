"""Figures, flags and pages about real images in a file store."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from components.shared.analysis import figures
from components.shared.analysis.examples import Example, draw_examples, drawn, readable
from components.shared.analysis.flags import find_flags
from components.shared.analysis.part import Part, parts_of, parts_of_splits
from components.shared.analysis.report import write_comparison
from components.shared.dataset import ANNOTATIONS, IMAGES, Dataset
from components.shared.images import encode_jpeg
from components.shared.shards import ShardWriter
from components.shared.store import Store, open_store

WIDE, HIGH = 100, 80


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(f"file://{tmp_path}/store")


def make(
    images: Sequence[dict[str, Any]], boxes: Sequence[dict[str, Any]], classes: Sequence[str] = ("cat", "dog")
) -> Dataset:
    """Images of 100 x 80 and cats of 10 x 10 at (10, 10) on the first one; each record says only what differs."""
    image = {**dict.fromkeys(IMAGES), "width": WIDE, "height": HIGH, "bytes": 1000, "orientation": 1}
    box = {
        **dict.fromkeys(ANNOTATIONS),
        "image_id": 0,
        "category": "cat",
        "x": 10.0,
        "y": 10.0,
        "width": 10.0,
        "height": 10.0,
        "kind": "ground_truth",
    }
    named = [
        {**image, "image_id": place, "name": f"{place}.jpg", "sha256": f"{place:064x}", **own}
        for place, own in enumerate(images)
    ]
    numbered = [{**box, "annotation_id": place, **own} for place, own in enumerate(boxes)]
    return Dataset(
        "small", tuple(classes), pl.DataFrame(named, schema=IMAGES), pl.DataFrame(numbered, schema=ANNOTATIONS)
    )


def stored(dataset: Dataset, store: Store) -> Dataset:
    """The dataset with a picture in the store for each image."""
    digests = []
    with ShardWriter(store) as writer:
        for place in range(dataset.images.height):
            data = encode_jpeg(np.full((HIGH, WIDE, 3), 20 * place + 30, dtype=np.uint8))
            digests.append((hashlib.sha256(data).hexdigest(), len(data)))
            writer.add(data, digests[-1][0])
        writer.finish()
    columns = {
        "sha256": [digest for digest, _ in digests],
        "bytes": [size for _, size in digests],
        "shard": [writer.locations[digest].shard for digest, _ in digests],
        "offset": [writer.locations[digest].offset for digest, _ in digests],
    }
    images = dataset.images.with_columns(
        pl.Series(name, values, dtype=IMAGES[name]) for name, values in columns.items()
    )
    return Dataset(dataset.name, dataset.classes, images, dataset.annotations, shards=writer.shards)


def titles(dataset: Dataset) -> list[str]:
    return [flag.title for flag in find_flags(parts_of(dataset))]


def test_a_dataset_without_splits_is_one_part() -> None:
    (part,) = parts_of(make([{}, {}], [{}]))
    assert (part.name, part.boxes_per_image.get_column("boxes").to_list()) == ("all images", [1, 0])


def test_splits_and_predictions_are_parts_of_their_own() -> None:
    dataset = make([{"split": "val"}, {"split": "train"}], [{}, {"kind": "prediction", "score": 0.5}])
    parts = parts_of(dataset, name="shop")
    assert [part.name for part in parts] == ["shop val", "shop predictions"]
    assert [part.boxes.height for part in parts] == [1, 1]
    assert parts[1].predicted


def test_the_parts_of_prepared_splits_are_named_after_them() -> None:
    train, val = make([{}], [{}]), make([{}], [{}, {"kind": "prediction"}])
    assert [part.name for part in parts_of_splits({"train": train, "val": val})] == ["train", "val", "predictions"]


def test_measures_are_in_pixels_and_in_shares_of_the_image() -> None:
    (part,) = parts_of(make([{}], [{"width": 40.0, "height": 10.0}, {"width": float("nan")}, {"height": 0.0}]))
    assert part.measures.row(0) == pytest.approx((20.0, (400 / 8000) ** 0.5, 4.0, 0.3, 15 / 80))
    assert part.measures.height == 1


def test_boxes_of_missing_images_are_measured_by_the_declared_size() -> None:
    gone = {"sha256": None, "width": 0, "height": 0, "declared_width": 200, "declared_height": 100}
    (part,) = parts_of(make([gone], [{}]))
    assert part.column("across").tolist() == pytest.approx([15 / 200])


def test_classes_are_counted_by_boxes_and_by_images() -> None:
    (part,) = parts_of(make([{}, {}], [{}, {"x": 50.0}, {"image_id": 1}]))
    assert part.class_counts.rows() == [("cat", 3, 2), ("dog", 0, 0)]


@pytest.mark.parametrize(
    ("boxes", "title"),
    [
        ([{"width": 0.0}], "boxes without area"),
        ([{"x": 95.0}], "boxes beyond their image"),
        ([{"height": 3.0}], "boxes under 4 pixels"),
        ([{"x": 0.0, "y": 0.0, "width": 100.0, "height": 80.0}], "boxes over 95% of their image"),
        ([{"width": 80.0, "height": 5.0}], "boxes 10 times as long as wide"),
        ([{}, {"x": 10.5}], "boxes drawn twice"),
    ],
)
def test_suspicious_boxes_are_flagged(boxes: list[dict[str, Any]], title: str) -> None:
    assert title in titles(make([{}], boxes))
    assert title not in titles(make([{}], [{}]))


@pytest.mark.parametrize(
    ("image", "title"),
    [
        ({"brightness": 0.02}, "dark images"),
        ({"brightness": 0.97}, "bright images"),
        ({"contrast": 0.01}, "flat images"),
        ({"sharpness": 1.0}, "blurred images"),
    ],
)
def test_images_of_poor_quality_are_flagged(image: dict[str, Any], title: str) -> None:
    good = {"brightness": 0.5, "contrast": 0.2, "sharpness": 400.0}
    assert title in titles(make([good, good | image], [{}]))
    assert title not in titles(make([good], [{}]))


def test_absent_few_and_rare_classes_are_flagged() -> None:
    boxes = [{"x": float(place)} for place in range(30)]
    flags = {flag.title: flag.detail for flag in find_flags(parts_of(make([{}], [*boxes, {"category": "dog"}], "abc")))}
    assert flags["classes without a box"].startswith("a (0), b (0), c (0):")
    named = make([{}], [*boxes, {"category": "dog"}], ("cat", "dog"))
    flags = {flag.title: flag.detail for flag in find_flags(parts_of(named))}
    assert flags["classes with fewer than 500 objects"].startswith("dog (1), cat (30):")
    assert flags["rare classes"].startswith("dog (1):")


def test_a_rare_number_of_boxes_an_image_is_flagged() -> None:
    crowd = [{"image_id": 0, "x": float(place)} for place in range(5)]
    assert "few images with 4 to 10 boxes" in titles(
        make([{}] * 12, [*crowd, *({"image_id": i} for i in range(1, 12))])
    )


def test_flags_come_with_images_that_show_them(store: Store) -> None:
    dataset = stored(make([{}, {}], [{}, {"image_id": 1, "x": 95.0}]), store)
    flag = next(flag for flag in find_flags(parts_of(dataset)) if flag.title == "boxes beyond their image")
    assert [example.caption for example in flag.examples] == ["1.jpg"]
    (shown,) = draw_examples(flag.examples, store)
    assert shown.width > shown.height  # with a margin for what lies beyond


def test_an_image_on_two_examples_is_drawn_twice(store: Store) -> None:
    dataset = stored(make([{}, {}], [{}]), store)
    rows = list(readable(dataset.images).iter_rows(named=True))
    examples = [Example(rows[place], drawn(dataset.annotations), str(place)) for place in (1, 0, 1)]
    assert [picture.caption for picture in draw_examples(examples, store)] == ["1", "0", "1"]


def test_look_alikes_in_two_splits_are_flagged_with_both_pictures(store: Store) -> None:
    near = [{"split": "train", "phash": 0xF0F0F0F0}, {"split": "val", "phash": 0xF0F0F0F1}]
    far = [{"split": "train", "phash": 0x0F0F0F0F}, {"split": "val", "phash": 0xFFFF0000}]
    dataset = stored(make([*near, *far], [{}, {"image_id": 1}]), store)
    flag = next(flag for flag in find_flags(parts_of(dataset)) if flag.title.startswith("look-alikes"))
    assert flag.detail.startswith("2 of 4 images")
    assert [example.caption for example in flag.examples] == ["train: 0.jpg", "val: 1.jpg"]
    apart = stored(make(far, [{}]), store)
    assert not any(title.startswith("look-alikes") for title in titles(apart))


def test_the_same_picture_in_one_split_is_no_look_alike_of_another(store: Store) -> None:
    same = [{"split": "train", "phash": 0xF0F0F0F0}] * 2
    dataset = stored(make([*same, {"split": "val", "phash": 0x0F0F0F0F}], [{}]), store)
    assert not any(title.startswith("look-alikes") for title in titles(dataset))


def test_classes_appear_together_where_one_image_shows_both() -> None:
    dataset = make([{}, {}], [{}, {"category": "dog"}, {"image_id": 1}, {"image_id": 1}])
    chart = figures.together_chart(parts_of(dataset))
    assert chart is not None
    assert chart.data.rows == (("dog", "cat", 1),)
    assert figures.together_chart(parts_of(make([{}], [{}]))) is None


def test_many_classes_show_the_largest_and_the_smallest() -> None:
    classes = [f"class {place:02d}" for place in range(50)]
    boxes = [{"category": name} for place, name in enumerate(classes) for _ in range(50 - place)]
    chart = figures.class_chart(parts_of(make([{}], boxes, classes)))
    shown = [row[0] for row in chart.data.rows]
    assert (shown[0], shown[19], shown[20], shown[-1], len(shown)) == (
        "class 00",
        "class 19",
        "class 40",
        "class 49",
        30,
    )


def test_the_centre_map_counts_centres() -> None:
    (chart,) = figures.centre_maps(parts_of(make([{}], [{}, {}, {"x": 85.0, "y": 65.0}])))
    assert chart.data.rows[0] == (5, 4, 2.0)
    assert "(2) lie left, top" in chart.description


def test_images_without_quality_columns_still_have_their_sizes_shown() -> None:
    charts = figures.image_charts(parts_of(make([{}], [{}])))
    assert [chart.title for chart in charts] == [
        "How large are the images?",
        "Are images wide or tall?",
        "How large are the files?",
    ]


def test_several_datasets_stand_side_by_side(store: Store, tmp_path: Path) -> None:
    one = stored(make([{"split": "train"}, {"split": "val"}], [{}, {"image_id": 1, "category": "dog"}]), store)
    two = stored(make([{}, {}, {}], [{"category": "<b>yak"}], ["<b>yak"]), store)
    page = tmp_path / "page.html"
    write_comparison(page, {"first": one, "second": two}, store)
    text = page.read_text()
    for wanted in ("first train", "first val", "second", "Images in more than one", one.version, "&lt;b&gt;yak"):
        assert wanted in text
    assert "<b>yak" not in text


def test_a_dataset_without_any_box_or_image_file_has_a_report(store: Store, tmp_path: Path) -> None:
    gone = {"sha256": None, "width": 0, "height": 0}
    for name, dataset in {"boxless": make([{}], []), "gone": make([gone], [{}])}.items():
        write_comparison(tmp_path / f"{name}.html", {name: dataset}, store)
        assert (tmp_path / f"{name}.html").stat().st_size > 10_000


def test_a_part_of_unknown_classes_is_counted_without_them() -> None:
    dataset = make([{}], [{"category": None}, {}])
    part = Part("all", dataset.classes, dataset.images, dataset.annotations)
    assert part.class_counts.rows() == [("cat", 1, 1), ("dog", 0, 0)]
