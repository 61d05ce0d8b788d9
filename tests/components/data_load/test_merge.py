import time
from pathlib import Path

import polars as pl
import pytest

from components.data_load.merge import Part, merge
from components.shared.errors import SourceError
from components.shared.formats.base import PARSED_ANNOTATIONS, PARSED_IMAGES, Parsed
from components.shared.ledger import Action, Rule


def part(label: str, images: list[dict[str, object]], boxes: int = 1, classes: tuple[str, ...] = ("cat",)) -> Part:
    """A data set of these images, each with ``boxes`` annotations whose x is the image's number."""
    rows = [{"image_id": number, **image} for number, image in enumerate(images)]
    frame = pl.DataFrame(rows, schema_overrides=PARSED_IMAGES)
    frame = frame.with_columns(
        pl.lit(None, kind).alias(n) for n, kind in PARSED_IMAGES.items() if n not in frame.columns
    )
    box = {"category": classes[0], "y": 0.0, "width": 5.0, "height": 5.0, "relative": False, "crowd": False}
    box |= {"difficult": False, "truncated": False, "kind": "ground_truth", "source_id": label}
    boxed = [{"image_id": number, "x": float(number), **box} for number in range(len(rows)) for _ in range(boxes)]
    annotations = pl.DataFrame(boxed, schema=PARSED_ANNOTATIONS)
    return Part(label, Parsed(classes, frame.select(PARSED_IMAGES.keys()).cast(PARSED_IMAGES), annotations))  # type: ignore[arg-type]


def file(folder: Path, name: str, data: bytes) -> dict[str, object]:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return {"name": path.name, "path": str(path)}


def boxes_of(parsed: Parsed) -> dict[str, int]:
    joined = parsed.annotations.join(parsed.images.select("image_id", "name"), on="image_id", how="left")
    return dict(joined.group_by("name").len().rows())


def test_classes_are_united_in_order_and_ids_count_on(tmp_path: Path) -> None:
    one = part("one", [file(tmp_path / "1", "a.jpg", b"a")], classes=("cat", "dog"))
    two = part("two", [file(tmp_path / "2", "b.jpg", b"b")], classes=("fox", "cat"))
    merged = merge([one, two])
    assert merged.classes == ("cat", "dog", "fox")
    assert merged.images.select("image_id", "name").rows() == [(0, "a.jpg"), (1, "b.jpg")]
    assert merged.annotations.select("image_id", "category").rows() == [(0, "cat"), (1, "fox")]
    assert merged.images.schema == pl.Schema(PARSED_IMAGES)
    assert merged.annotations.schema == pl.Schema(PARSED_ANNOTATIONS)


def test_one_name_with_the_same_bytes_is_one_image_with_all_annotations(tmp_path: Path) -> None:
    parts = [
        part("one", [file(tmp_path / "1", "x.jpg", b"x"), file(tmp_path / "1", "a.jpg", b"same")], boxes=2),
        part("two", [file(tmp_path / "2", "a.jpg", b"same")], boxes=3),
        part("three", [file(tmp_path / "3", "a.jpg", b"same")], boxes=0),
    ]
    merged = merge(parts)
    assert boxes_of(merged) == {"x.jpg": 2, "a.jpg": 5}
    assert merged.images.get_column("name").to_list() == ["x.jpg", "a.jpg"]
    assert merged.ledger == ()


def test_what_several_sources_say_of_one_image_is_put_together(tmp_path: Path) -> None:
    image = file(tmp_path, "a.jpg", b"a")
    one = part("one", [{**image, "split": "train", "declared_width": 4, "tags": '{"a":"1","b":"1"}'}])
    two = part("two", [{**image, "split": None, "declared_height": 3, "tags": '{"b":"2","c":"2"}'}])
    row = merge([one, two]).images.row(0, named=True)
    assert (row["split"], row["declared_width"], row["declared_height"]) == ("train", 4, 3)
    assert row["tags"] == '{"a":"1","b":"1","c":"2"}'
    three = part("three", [{**image, "split": "val"}])
    assert merge([one, two, three]).images.get_column("split").to_list() == [None]


@pytest.mark.parametrize("other", [b"other!", b"longer than the first"])
def test_one_name_with_other_bytes_stops_naming_both_sources(tmp_path: Path, other: bytes) -> None:
    one = part("s3://one", [file(tmp_path / "1", "a.jpg", b"first!")])
    two = part("/two", [file(tmp_path / "2", "a.jpg", other)])
    with pytest.raises(
        SourceError, match=r"'s3://one' and '/two' have different images of the name 'a\.jpg'"
    ) as caught:
        merge([one, two])
    assert "name_conflicts" in str(caught.value)


@pytest.mark.parametrize(("rule", "kept"), [("first", b"first!"), ("last", b"third!")])
def test_first_and_last_keep_one_image_and_record_the_others(tmp_path: Path, rule: str, kept: bytes) -> None:
    parts = [
        part(str(n), [file(tmp_path / str(n), "a.jpg", data), file(tmp_path / str(n), f"{n}.jpg", b"own")], boxes=n)
        for n, data in enumerate((b"first!", b"second", b"third!", b"third!" if rule == "last" else b"first!"), start=1)
    ]
    merged = merge(parts, rule)
    path = merged.images.filter(pl.col("name") == "a.jpg").item(0, "path")
    assert Path(path).read_bytes() == kept
    assert boxes_of(merged) == {"a.jpg": 7 if rule == "last" else 5, "1.jpg": 1, "2.jpg": 2, "3.jpg": 3, "4.jpg": 4}
    assert merged.annotations.get_column("image_id").is_in(merged.images.get_column("image_id").implode()).all()
    out = [(entry.image, entry.rule, entry.action, entry.before) for entry in merged.ledger]
    lost = (1, 2) if rule == "last" else (2, 3)
    assert out == [("a.jpg", Rule.NAME_CONFLICT, Action.LEFT_OUT, {"source": str(n), "annotations": n}) for n in lost]


def test_remote_images_are_told_apart_by_their_addresses(tmp_path: Path) -> None:
    one = part("one", [{"name": "a.jpg", "uri": "s3://b/a.jpg"}])
    same = part("two", [{"name": "a.jpg", "uri": "s3://b/a.jpg"}])
    other = part("three", [{"name": "a.jpg", "uri": "s3://other/a.jpg"}])
    on_disk = part("four", [file(tmp_path, "a.jpg", b"a")])
    assert boxes_of(merge([one, same])) == {"a.jpg": 2}
    for second in (other, on_disk):
        with pytest.raises(SourceError, match="different images"):
            merge([one, second])


def test_a_missing_image_is_kept_beside_its_namesakes(tmp_path: Path) -> None:
    one = part("/data/one/", [{"name": "a.jpg"}])
    two = part("/data/two", [file(tmp_path, "a.jpg", b"a")])
    three = part("/more/two", [{"name": "a.jpg"}, {"name": "only.jpg"}])
    names = merge([one, two, three]).images.get_column("name").to_list()
    assert names == ["one/a.jpg", "a.jpg", "two-3/a.jpg", "only.jpg"]


def test_one_data_set_is_given_back_as_it_is(tmp_path: Path) -> None:
    one = part("one", [file(tmp_path, "a.jpg", b"a")])
    assert merge([one]) is one.parsed


def test_files_are_opened_only_where_names_and_sizes_are_equal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []

    def digest(path: Path) -> str:
        opened.append(path.name)
        return path.read_bytes().hex()

    monkeypatch.setattr("components.data_load.merge.sha256_file", digest)
    one = [file(tmp_path / "1", name, data) for name, data in (("a.jpg", b"a"), ("b.jpg", b"bb"), ("c.jpg", b"c"))]
    two = [file(tmp_path / "2", name, data) for name, data in (("a.jpg", b"a"), ("b.jpg", b"b"), ("d.jpg", b"c"))]
    merge([part("one", one), part("two", two)], "first")
    assert opened == ["a.jpg", "a.jpg"]


def test_a_hundred_thousand_boxes_are_merged_in_a_second_or_two() -> None:
    images = [{"name": f"{n}.jpg", "uri": f"s3://b/{n}.jpg"} for n in range(10_000)]
    parts = [part("one", images, boxes=5), part("two", images, boxes=5)]
    started = time.monotonic()
    merged = merge(parts)
    assert time.monotonic() - started < 5
    assert (merged.images.height, merged.annotations.height) == (10_000, 100_000)
