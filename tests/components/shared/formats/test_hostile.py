"""Whatever stands in a source, a reader gives rows, ledger entries or one sentence, never another error."""

import json
import tempfile
from pathlib import Path
from xml.sax.saxutils import escape

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.shared.errors import InputError
from components.shared.formats.registry import FORMATS, read_source
from components.shared.ledger import to_table

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just(10**400)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
ids = st.sampled_from([0, 1, 1.0, "1", True, None, "a"]) | values
boxes = st.lists(st.floats() | st.integers(), min_size=4, max_size=4) | values
texts = st.sampled_from(["a.jpg", "../a.jpg", "x/a.jpg", "\ud800", "a\x00"]) | values
images = st.fixed_dictionaries({}, optional={"id": ids, "file_name": texts, "width": values, "height": values}) | values
annotations = values | st.fixed_dictionaries(
    {"image_id": ids, "bbox": boxes},
    optional={
        "id": values,
        "category_id": ids,
        "iscrowd": values,
        "score": values,
        "segmentation": values,
        "area": values,
    },
)
categories = st.fixed_dictionaries({"id": ids, "name": texts}) | values
lines = st.lists(
    st.sampled_from(["0", "1", "-1", "0.5", "1e400", "nan", "x", "0,5", ""]) | st.text(max_size=3), max_size=9
)
box_sides = ("class_id", "left", "top", "width", "height")
odd_boxes = values | st.fixed_dictionaries({}, optional={side: values | st.integers(0, 9) for side in box_sides})
metadata = values | st.fixed_dictionaries(
    {"type": st.sampled_from(["groundtruth/object-detection", "groundtruth/label-verification"]) | values},
    optional={"class-map": values | st.dictionaries(st.sampled_from("0129a"), values), "creation-date": values,
              "objects": values, "class-name": values, "worker-feedback": values, "failure-reason": values},
)  # fmt: skip
records = values | st.fixed_dictionaries(
    {"source-ref": st.sampled_from(["a.jpg", "s3://b/a.jpg", "s3://[/x", "https://[::1", "\ud800"]) | values},
    optional={"a": values | st.fixed_dictionaries({"annotations": st.lists(odd_boxes) | values, "image_size": values}),
              "a-metadata": metadata, "b": values, "b-metadata": metadata, "tags": values},
)  # fmt: skip
LABELLED = {
    "source-ref": "images/a.jpg",
    "cats": {"image_size": [{"width": 20, "height": 10, "depth": 3}], "annotations": [dict.fromkeys(box_sides, 1)]},
    "cats-metadata": {"type": "groundtruth/object-detection", "class-map": {"1": "dog"}},
}


def read_all(files: dict[str, bytes], name: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for path, data in files.items():
            target = Path(folder) / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)
        for candidate in FORMATS.values():
            assert candidate.detect(Path(folder)) in {True, False}
        for format_name in (name, "auto"):
            try:
                parsed = read_source(Path(folder), format_name)[1]
            except InputError as error:
                assert "\n" not in str(error)  # noqa: PT017 - any other error fails the test
                continue
            to_table(parsed.ledger)
            assert parsed.images["name"].n_unique() == parsed.images.height
            assert parsed.annotations["category"].drop_nulls().is_in(list(parsed.classes)).all()
            assert parsed.annotations["image_id"].is_in(parsed.images["image_id"].implode()).all()
            for text in parsed.annotations["attributes"].drop_nulls():
                assert isinstance(json.loads(text, parse_constant=pytest.fail), dict)


@given(st.lists(images, max_size=4), st.lists(annotations, max_size=4), st.lists(categories, max_size=4))
def test_any_coco_document(
    some_images: list[object], some_annotations: list[object], some_categories: list[object]
) -> None:
    content = {"images": some_images, "annotations": some_annotations, "categories": some_categories}
    read_all({"a.json": json.dumps(content).encode(), "a.jpg": b"x", "x/a.jpg": b"x"}, "coco")


@given(st.lists(lines, max_size=4), st.binary(max_size=50), st.text(max_size=40))
def test_any_yolo_label_list_and_yaml(some_lines: list[list[str]], raw: bytes, names: tuple[str, ...]) -> None:
    label = "\n".join(" ".join(line) for line in some_lines).encode("utf-8", "replace")
    files = {"images/a.jpg": b"x", "images/b.jpg": b"x", "labels/a.txt": label, "labels/b.txt": raw}
    read_all(files, "yolo")
    read_all(files | {"data.yaml": f"names: {names}\n".encode("utf-8", "replace")}, "yolo")
    read_all(files | {"classes.txt": raw, "train.txt": raw + b"\nimages/a.jpg", "obj.data": raw}, "yolo")


@given(
    st.lists(st.lists(st.text(max_size=4), min_size=6, max_size=6), max_size=3),
    st.text(max_size=8),
    st.binary(max_size=60),
)
def test_any_voc_file(objects: list[list[str]], filename: str, raw: bytes) -> None:
    tags = ("xmin", "ymin", "xmax", "ymax", "extra", "difficult")
    bodies = [
        "".join(f"<{tag}>{escape(text)}</{tag}>" for tag, text in zip(tags, texts_of, strict=True))
        for texts_of in objects
    ]
    things = "".join(f"<object><name>a</name><bndbox>{body}</bndbox></object>" for body in bodies)
    document = f"<annotation><filename>{escape(filename)}</filename>{things}</annotation>".encode("utf-8", "replace")
    read_all(
        {"a.xml": document, "a.jpg": b"x", "b.xml": document, "c.xml": b"<annotation>" + raw, "c.jpg": b"x"}, "voc"
    )


@given(st.lists(records, max_size=4), st.binary(max_size=40))
def test_any_manifest(some: list[object], raw: bytes) -> None:
    written = [json.dumps(item).encode() for item in (LABELLED, *some)]
    read_all({"a.manifest": b"\n".join([*written, raw])}, "groundtruth")
