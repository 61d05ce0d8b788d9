"""The version is a function of the content: of all of it, and of nothing else."""

import polars as pl
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from components.shared import dataset_version
from components.shared.dataset import ANNOTATIONS, IMAGES, content_version

KNOWN = "f9b79fbcdb70c35c90588dc20653293d9ce84c4f81970ac7631104cec90bab73"
CLASSES = ("cat", "dog", "größe")

digests = st.sampled_from(["a" * 64, "b" * 64, None])
words = st.sampled_from(["", "x", "é", '{"a":"1"}']) | st.none()
numbers = st.sampled_from([None, 0.0, -0.0, 1.0, 1.5, float("nan"), float("inf"), float("-inf"), 1e305]) | st.floats()
flags = st.booleans() | st.none()
annotation = st.fixed_dictionaries(
    {
        "image_id": st.integers(0, 5),
        "category": st.sampled_from([*CLASSES, "emu", None]),
        **dict.fromkeys(("x", "y", "width", "height", "score"), numbers),
        **dict.fromkeys(("crowd", "difficult", "truncated"), flags),
        "kind": st.sampled_from(["ground_truth", "prediction"]),
        "attributes": words,
    }
)
image = st.fixed_dictionaries(
    {
        "sha256": digests,
        "width": st.integers(0, 2),
        "height": st.integers(0, 2),
        "split": st.sampled_from(["train", "val", None]),
        "tags": words,
    }
)
contents = st.tuples(st.lists(image, max_size=6), st.lists(annotation, max_size=12))
Content = tuple[list[dict[str, object]], list[dict[str, object]]]


def tables(content: Content) -> tuple[pl.DataFrame, pl.DataFrame]:
    images = [{"image_id": i, "name": f"{i}.jpg", **row} for i, row in enumerate(content[0])]
    rows = [row for row in content[1] if int(str(row["image_id"])) < len(images)]
    numbered = [{"annotation_id": i, **row} for i, row in enumerate(rows)]
    return pl.DataFrame(images, schema=IMAGES), pl.DataFrame(numbered, schema=ANNOTATIONS)


def version(images: pl.DataFrame, annotations: pl.DataFrame) -> str:
    return content_version(CLASSES, images, annotations)


@given(contents, st.randoms(use_true_random=False))
def test_row_order_and_ids_do_not_count(content: Content, random: object) -> None:
    images, annotations = tables(content)
    ids = list(range(10, 10 + images.height))
    random.shuffle(ids)  # type: ignore[attr-defined]
    renumber = pl.col("image_id").replace_strict(range(images.height), ids, default=99, return_dtype=pl.UInt32)
    other_images = images.with_columns(renumber, source_id=pl.lit("7")).sample(fraction=1, shuffle=True, seed=len(ids))
    others = annotations.with_columns(renumber, source_id=pl.lit("7"), annotation_id=pl.col("annotation_id") * 3)
    others = others.cast(ANNOTATIONS).sample(fraction=1, shuffle=True, seed=1)
    assert version(other_images, others) == version(images, annotations)


@given(contents, st.integers(1, 5))
def test_the_size_of_the_blocks_does_not_count(content: Content, block: int) -> None:
    images, annotations = tables(content)
    with pytest.MonkeyPatch.context() as patch:
        whole = version(images, annotations)
        patch.setattr(dataset_version, "_BLOCK", block)
        assert version(images, annotations) == whole


@given(contents)
def test_chunks_of_a_table_do_not_count(content: Content) -> None:
    images, annotations = tables(content)
    cut = pl.concat([annotations.head(1), annotations.slice(1)], rechunk=False)
    assert version(images, cut) == version(images, annotations)


def value(row: dict[str, object], name: str) -> object:
    """What counts of a field: rounded, and absent where that means the same."""
    found = row[name]
    if isinstance(found, float):
        return repr(round(found, 4) + 0.0)
    if name == "category":
        return found if found in CLASSES else None
    return found or ""


def key(row: dict[str, object], names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(str(value(row, name)) for name in names)


def counted(content: Content) -> object:
    """The content as a plain structure: what two equal versions must agree in."""
    names = tuple(ANNOTATIONS.names()[2:12]) + ("kind", "attributes")
    found = []
    for i, row in enumerate(content[0]):
        head = (str(row["sha256"] or f"{i}.jpg"), *key(row, ("width", "height", "split", "tags")))
        found.append((head, sorted(key(item, names) for item in content[1] if item["image_id"] == i)))
    return sorted(found)


plain_numbers = st.sampled_from([None, 0.0, 1.0, 1.5, 2.25, float("nan"), float("inf")])
plain_annotation = st.fixed_dictionaries(
    {
        "image_id": st.integers(0, 2),
        "category": st.sampled_from(["cat", "dog", None]),
        **dict.fromkeys(("x", "y", "width", "height", "score"), plain_numbers),
        **dict.fromkeys(("crowd", "difficult", "truncated"), st.booleans()),
        "kind": st.sampled_from(["ground_truth", "prediction"]),
        "attributes": st.sampled_from([None, "{}"]),
    }
)


@given(st.lists(image, min_size=1, max_size=3), st.lists(plain_annotation, max_size=4), st.data())
def test_two_contents_have_one_version_only_when_they_are_equal(
    images: list[dict[str, object]], annotations: list[dict[str, object]], data: st.DataObject
) -> None:
    other = [dict(row) for row in annotations]
    for row in other:
        for name in data.draw(st.lists(st.sampled_from(sorted(row)), max_size=2)):
            row[name] = data.draw(st.sampled_from([item[name] for item in annotations] + [row[name]]))
    left, right = (images, annotations), (images, data.draw(st.permutations(other)))
    assume(all(int(str(row["image_id"])) < len(images) for row in annotations))
    assert (version(*tables(left)) == version(*tables(right))) == (counted(left) == counted(right))


IMAGE = {
    "image_id": 1,
    "name": "a.jpg",
    "sha256": "a" * 64,
    "width": 5,
    "height": 6,
    "split": "val",
    "tags": '{"a":"b"}',
}
BOX = {
    "annotation_id": 1, "image_id": 1, "category": "cat", "x": 1.0, "y": 2.0, "width": 3.0, "height": 4.0,
    "crowd": False, "difficult": False, "truncated": False, "score": 0.5, "kind": "prediction", "attributes": None,
}  # fmt: skip
CHANGES: list[tuple[str, object]] = [
    ("category", "dog"), ("category", None), ("x", 1.0002), ("y", 2.0002), ("width", 3.0002), ("height", 4.0002),
    ("x", None), ("x", float("nan")), ("x", float("inf")), ("x", -1.0), ("crowd", True), ("difficult", True),
    ("truncated", True), ("score", 0.5002), ("score", None), ("score", 0.0), ("kind", "ground_truth"),
    ("attributes", "{}"),
]  # fmt: skip
IMAGE_CHANGES: list[tuple[str, object]] = [
    ("sha256", "b" * 64), ("sha256", None), ("width", 6), ("height", 5), ("split", "train"), ("split", None),
    ("tags", None), ("tags", '{"a":"c"}'),
]  # fmt: skip


def single(image_change: dict[str, object], box_change: dict[str, object]) -> str:
    images = pl.DataFrame([IMAGE | image_change], schema=IMAGES)
    return version(images, pl.DataFrame([BOX | box_change], schema=ANNOTATIONS))


@pytest.mark.parametrize(("name", "changed"), CHANGES)
def test_each_field_of_an_annotation_counts(name: str, changed: object) -> None:
    assert single({}, {name: changed}) != single({}, {})


@pytest.mark.parametrize(("name", "changed"), IMAGE_CHANGES)
def test_each_field_of_an_image_counts(name: str, changed: object) -> None:
    assert single({name: changed}, {}) != single({}, {})


def test_the_name_of_a_missing_image_counts() -> None:
    assert single({"sha256": None}, {}) != single({"sha256": None, "name": "b.jpg"}, {})
    assert single({}, {}) == single({"name": "b.jpg"}, {})


def test_less_than_a_ten_thousandth_does_not_count() -> None:
    assert single({}, {"x": 1.00004, "score": 0.49999}) == single({}, {})


def test_null_zero_and_not_a_number_are_three_things() -> None:
    assert len({single({}, {"score": score}) for score in (None, 0.0, float("nan"), float("inf"), -1.0)}) == 5
    assert single({}, {"score": -0.0}) == single({}, {"score": 0.0})


def test_texts_do_not_run_into_each_other() -> None:
    assert single({"split": "ab", "tags": "c"}, {}) != single({"split": "a", "tags": "bc"}, {})
    assert single({}, {"kind": "ab", "attributes": "c"}) != single({}, {"kind": "a", "attributes": "bc"})


@pytest.mark.parametrize("classes", [(), ("cat",), ("cat", "dog"), ("dog", "cat"), ('cat", "dog',)])
def test_the_classes_and_their_order_count(classes: tuple[str, ...]) -> None:
    images, annotations = pl.DataFrame([IMAGE], schema=IMAGES), pl.DataFrame([BOX], schema=ANNOTATIONS)
    assert content_version(classes, images, annotations) != content_version(CLASSES, images, annotations)


@pytest.mark.parametrize("swap", [True, False])
def test_of_two_images_with_one_content_each_keeps_its_own_boxes(swap: bool) -> None:
    images = pl.DataFrame([IMAGE, IMAGE | {"image_id": 2}], schema=IMAGES)

    def boxes(*image_ids: int) -> pl.DataFrame:
        rows = [BOX | {"image_id": number, "x": float(i)} for i, number in enumerate(image_ids)]
        return pl.DataFrame(rows, schema=ANNOTATIONS)

    apart = version(images, boxes(2, 1) if swap else boxes(1, 2))
    assert apart == version(images.reverse(), boxes(1, 2))
    assert apart != version(images, boxes(1, 1))


def test_a_known_content_keeps_its_version() -> None:
    """Other machines, releases of the libraries and orders must give this; change it only with SCHEMA_VERSION."""
    assert single({}, {}) == KNOWN
