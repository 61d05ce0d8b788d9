import json
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from components.shared.errors import ConfigError, FormatError
from components.shared.formats import groundtruth
from components.shared.formats.base import PARSED_ANNOTATIONS, PARSED_IMAGES, Parsed, ReadOptions
from components.shared.formats.registry import read_source
from components.shared.ledger import Action, Rule

MakeTree = Callable[[dict[str, str | bytes]], Path]

FIRST, SECOND, THIRD = "2020-01-01T00:00:00.000001", "2020-02-01T00:00:00", "2020-03-01T00:00:00Z"
BOX = {"class_id": 0, "left": 1, "top": 2, "width": 3, "height": 4}


def label(*boxes: object, name: str = "cats", classes: object = None, date: str = FIRST, **more: object) -> object:
    return {
        name: {"image_size": [{"width": 20, "height": 10, "depth": 3}], "annotations": list(boxes)},
        f"{name}-metadata": {
            "objects": [{"confidence": 0.5}] * len(boxes),
            "class-map": {"0": "cat", "1": "dog"} if classes is None else classes,
            "type": "groundtruth/object-detection",
            "human-annotated": "yes",
            "creation-date": date,
            "job-name": name,
            **more,
        },
    }


def verified(result: str, date: str) -> object:
    metadata = {
        "type": "groundtruth/label-verification",
        "class-name": result,
        "creation-date": date,
        "worker-feedback": [{"comment": "too wide"}],
    }
    return {"verify-cats": "1", "verify-cats-metadata": metadata}


def line(reference: str = "s3://bucket/images/a.jpg", *parts: object, **more: object) -> str:
    record: dict[str, object] = {"source-ref": reference}
    for part in parts or (label(BOX),):
        record |= part  # type: ignore[arg-type]
    return json.dumps(record | more)


def boxes_of(parsed: Parsed) -> list[tuple[object, ...]]:
    return parsed.annotations.select("category", "x", "y", "width", "height").rows()


def test_a_small_manifest_is_read(make_tree: MakeTree) -> None:
    root = make_tree({"output.manifest": line() + "\n", "images/a.jpg": ""})
    chosen, parsed = read_source(root)
    assert chosen.name == "groundtruth"
    assert (parsed.images.schema, parsed.annotations.schema) == (PARSED_IMAGES, PARSED_ANNOTATIONS)
    found = (0, "a.jpg", str(root / "images/a.jpg"), 20, 10, None, "output.manifest:1", None, None)
    assert parsed.images.row(0) == found
    assert boxes_of(parsed) == [("cat", 1.0, 2.0, 3.0, 4.0)]
    assert parsed.annotations.select("score", "kind", "attributes").row(0) == (
        None,
        "ground_truth",
        '{"confidence":0.5}',
    )
    assert parsed.classes == ("cat", "dog")
    assert parsed.ledger == ()


def test_the_example_of_the_documentation_is_read(make_tree: MakeTree) -> None:
    text = (
        '{"source-ref":"s3://AWSDOC-EXAMPLE-BUCKET/example_image.png","bounding-box":{"image_size":[{"width":500,'
        '"height":400,"depth":3}],"annotations":[{"class_id":0,"left":111,"top":134,"width":61,"height":128},'
        '{"class_id":5,"left":161,"top":250,"width":30,"height":30},{"class_id":5,"left":20,"top":20,"width":30,'
        '"height":30}]},"bounding-box-metadata":{"objects":[{"confidence":0.8},{"confidence":0.9},{"confidence":0.9}],'
        '"class-map":{"0":"dog","5":"bone"},"type":"groundtruth/object-detection","human-annotated":"yes",'
        '"creation-date":"2018-10-18T22:18:13.527256","job-name":"identify-dogs-and-toys"}}'
    )
    parsed = groundtruth.read(make_tree({"output.manifest": text}))
    assert parsed.classes == ("dog", "bone")
    assert [row[0] for row in boxes_of(parsed)] == ["dog", "bone", "bone"]
    assert parsed.images.select("path", "uri").row(0) == (None, "s3://AWSDOC-EXAMPLE-BUCKET/example_image.png")


def test_the_cats_come_out_whole(real_data: Callable[[str], Path]) -> None:
    chosen, parsed = read_source(real_data("groundtruth_cats"))
    assert (chosen.name, parsed.classes) == ("groundtruth", ("Cat",))
    assert (parsed.images.height, parsed.annotations.height) == (4, 4)
    assert parsed.images["path"].null_count() == 0
    assert parsed.annotations["image_id"].unique().sort().to_list() == [1, 2, 3]
    assert parsed.ledger == ()


def test_the_logos_come_out_whole_without_their_images(real_data: Callable[[str], Path]) -> None:
    chosen, parsed = read_source(real_data("groundtruth_logos"))
    assert (chosen.name, parsed.classes) == ("groundtruth", ("BCBS",))
    assert (parsed.images.height, parsed.annotations.height) == (470, 492)
    assert parsed.images["path"].null_count() == 470
    assert parsed.images["uri"].str.starts_with("s3://bcbs-logo-training-images/").all()
    assert 470 - parsed.annotations["image_id"].n_unique() == 42
    assert parsed.ledger == ()


@pytest.mark.parametrize("name", ["output.manifest", "deep/er/train.jsonl", "x.ndjson"])
@pytest.mark.parametrize("attribute", ["bounding-box", "größe", "a-metadata", "x y"])
def test_the_label_is_found_by_its_type_under_any_name(make_tree: MakeTree, name: str, attribute: str) -> None:
    text = line("s3://b/a.jpg", label(BOX, name=attribute))
    root = make_tree({name: f"\ufeff{text}\r\n\r\n  \r\n", "b.jpg": ""})
    assert boxes_of(read_source(root)[1]) == [("cat", 1.0, 2.0, 3.0, 4.0)]


def test_an_escaped_slash_is_a_slash(make_tree: MakeTree) -> None:
    root = make_tree({"a.manifest": line().replace("/", "\\/")})
    assert groundtruth.detect(root)
    assert groundtruth.read(root).annotations.height == 1


def test_an_input_manifest_is_no_data_set(make_tree: MakeTree) -> None:
    root = make_tree({"input.manifest": json.dumps({"source-ref": "s3://b/a.jpg"}), "a.jpg": ""})
    assert not groundtruth.detect(root)
    with pytest.raises(FormatError, match=r"no manifest with bounding boxes: .* 1 \.manifest file"):
        groundtruth.read(root)


def test_an_adjustment_wins_line_by_line_unless_a_label_is_asked_for(make_tree: MakeTree) -> None:
    adjusted = label(BOX | {"left": 9}, name="adjusted", date=SECOND, **{"adjustment-status": "adjusted"})
    lines = [line("s3://b/a.jpg", label(BOX), adjusted), line("s3://b/b.jpg", label(BOX))]
    root = make_tree({"a.manifest": "\n".join(lines)})
    assert [row[1] for row in boxes_of(groundtruth.read(root))] == [9.0, 1.0]
    parsed = groundtruth.read(root, ReadOptions(label_attribute="cats"))
    assert [row[1] for row in boxes_of(parsed)] == [1.0, 1.0]
    assert parsed.notes == {"label attributes": "cats", "label attributes not read": "adjusted"}
    parsed = groundtruth.read(root, ReadOptions(label_attribute="adjusted"))
    assert [row[1] for row in boxes_of(parsed)] == [9.0]
    assert parsed.images.height == 2
    assert [(entry.image, entry.action) for entry in parsed.ledger] == [("b.jpg", Action.KEPT)]


@pytest.mark.parametrize(
    ("dates", "expected"),
    [
        ((FIRST, SECOND), 2.0),
        ((SECOND, FIRST), 1.0),
        ((THIRD, SECOND), 1.0),
        (("2020-01-01T05:00:00+06:00", "2020-01-01T00:00:00Z"), 2.0),
        (("soon", FIRST), 2.0),
        (("", ""), 2.0),
    ],
)
def test_the_newest_label_wins(make_tree: MakeTree, dates: tuple[str, str], expected: float) -> None:
    parts = [label(BOX | {"left": i + 1}, name=f"job{i}", date=date) for i, date in enumerate(dates)]
    assert boxes_of(groundtruth.read(make_tree({"a.manifest": line("s3://b/a.jpg", *parts)})))[0][1] == expected


def test_an_unknown_label_names_those_there_are(make_tree: MakeTree) -> None:
    root = make_tree({"a.manifest": line("s3://b/a.jpg", label(BOX), label(BOX, name="dogs"))})
    with pytest.raises(ConfigError, match=r"No line has the label attribute 'birds'.*'cats', 'dogs'"):
        groundtruth.read(root, ReadOptions(label_attribute="birds"))


def test_class_maps_are_united_in_the_order_of_their_ids(make_tree: MakeTree) -> None:
    lines = [
        line("s3://b/a.jpg", label(BOX | {"class_id": 7}, classes={"7": "zebra"})),
        line("s3://b/b.jpg", label(BOX | {"class_id": "2"}, classes={})),
        line("s3://b/c.jpg", label(BOX | {"class_id": 2}, classes={"2": "1", "10": "ant"})),
        line("s3://b/d.jpg", label(BOX | {"class_id": 5}, classes={})),
    ]
    parsed = groundtruth.read(make_tree({"a.manifest": "\n".join(lines)}))
    assert parsed.classes == ("1", "zebra", "ant")
    assert [row[0] for row in boxes_of(parsed)] == ["zebra", "1", "1", None]
    assert json.loads(parsed.annotations["attributes"][3]) == {"class_id": 5, "confidence": 0.5}


def test_class_maps_that_disagree_are_refused_with_both_lines(make_tree: MakeTree) -> None:
    lines = [line("s3://b/a.jpg"), "", line("s3://b/b.jpg", label(BOX, classes={"0": "horse"}))]
    with pytest.raises(FormatError, match=r"'cat' in a\.manifest:1 but 'horse' in a\.manifest:3"):
        groundtruth.read(make_tree({"a.manifest": "\n".join(lines)}))


def test_a_conflict_in_a_label_that_is_not_read_does_not_matter(make_tree: MakeTree) -> None:
    lines = [
        line(f"s3://b/{name}.jpg", label(BOX), label(BOX, name="old", classes={"0": name}, date="2001-01-01"))
        for name in "ab"
    ]
    assert groundtruth.read(make_tree({"a.manifest": "\n".join(lines)})).classes == ("cat", "dog")


def test_an_image_verified_as_bad_is_rejected_with_the_workers_words(make_tree: MakeTree) -> None:
    lines = [
        line("s3://b/a.jpg", label(BOX, BOX, date=FIRST), verified("Bad", SECOND)),
        line("s3://b/b.jpg", label(BOX, date=FIRST), verified("good", SECOND)),
    ]
    parsed = groundtruth.read(make_tree({"a.manifest": "\n".join(lines), "a.jpg": "", "b.jpg": ""}))
    assert parsed.images["name"].to_list() == ["b.jpg"]
    (entry,) = parsed.ledger
    assert (entry.image, entry.rule, entry.action) == ("a.jpg", Rule.VERIFIED_BAD, Action.REJECTED)
    assert "a.manifest:1: 'cats' was verified as bad (too wide); it has 2 boxes" in entry.detail


def test_boxes_adjusted_after_they_were_called_bad_stay(make_tree: MakeTree) -> None:
    adjusted = label(BOX, name="adjusted", date=THIRD)
    text = line("s3://b/a.jpg", label(BOX), verified("bad", SECOND), adjusted)
    assert groundtruth.read(make_tree({"a.manifest": text})).annotations.height == 1


def test_lines_without_boxes_are_images_without_boxes(make_tree: MakeTree) -> None:
    lines = [
        line("s3://b/a.jpg"),
        line("s3://b/b.jpg", label(classes={})),
        line("s3://b/c.jpg", {"note": "x"}),
        line("s3://b/d.jpg", {"cats-metadata": {"failure-reason": "ClientError: too slow"}}),
    ]
    parsed = groundtruth.read(make_tree({"a.manifest": "\n".join(lines)}))
    assert parsed.images["name"].to_list() == ["a.jpg", "b.jpg", "c.jpg", "d.jpg"]
    assert parsed.annotations["image_id"].to_list() == [0]
    assert {entry.action for entry in parsed.ledger} == {Action.KEPT}
    assert [entry.image for entry in parsed.ledger] == ["c.jpg", "d.jpg", "d.jpg"]
    assert "cats: ClientError: too slow" in parsed.ledger[1].detail


def test_fields_of_the_users_own_and_other_jobs_become_tags(make_tree: MakeTree) -> None:
    kind = {"kind": 0, "kind-metadata": {"type": "groundtruth/image-classification", "class-name": "indoor"}}
    text = line("s3://b/a.jpg", label(BOX, **{"human-annotated": "no"}), kind, camera="7", floor=2, tags={"a": "b"})
    parsed = groundtruth.read(make_tree({"a.manifest": text}))
    expected = {"a": "b", "camera": "7", "floor": "2", "human-annotated": "no", "kind": "indoor"}
    assert json.loads(parsed.images["tags"][0]) == expected
    assert parsed.annotations["kind"].to_list() == ["ground_truth"]


@pytest.mark.parametrize(
    "bad",
    [
        {"class_id": 0, "left": 1, "top": 2, "width": 3},
        BOX | {"left": "1"},
        BOX | {"left": True},
        BOX | {"class_id": None},
        BOX | {"class_id": 1.5},
        "box",
        None,
        [1, 2, 3, 4],
    ],
)
def test_an_annotation_that_is_none_goes_to_the_ledger_and_the_others_stay(make_tree: MakeTree, bad: object) -> None:
    parsed = groundtruth.read(make_tree({"a.manifest": line("s3://b/a.jpg", label(BOX, bad, BOX))}))
    assert parsed.annotations.height == 2
    (entry,) = parsed.ledger
    assert (entry.image, entry.rule, entry.annotation) == ("a.manifest:1", Rule.MALFORMED, "1")


def test_odd_numbers_are_left_to_validation(make_tree: MakeTree) -> None:
    text = line("s3://b/a.jpg", label(BOX | {"left": -5, "width": float("nan")}, BOX | {"top": 10**400}))
    parsed = groundtruth.read(make_tree({"a.manifest": text}))
    assert parsed.annotations["x"].to_list() == [-5.0, 1.0]
    assert parsed.annotations.select(pl.col("width", "y").is_finite()).rows() == [(False, True), (True, False)]


@pytest.mark.parametrize(
    ("broken", "says"),
    [
        ("{", "a.manifest:2' is not valid JSON"),
        ("[]", "a.manifest:2' is no JSON object"),
        ("[" * 200 + "]" * 200, "nests lists"),
        (json.dumps({"source": "some text"}), "a.manifest:2: it describes text"),
        (json.dumps({"x": 1}), "a.manifest:2: it has no source-ref"),
        (json.dumps({"source-ref": 5}), "a.manifest:2: it has no source-ref"),
        ('{"source-ref": "s3://b/c.jpg", "x": "\udcff"}', "a.manifest:2' is not UTF-8"),
    ],
)
def test_a_broken_line_goes_to_the_ledger_with_its_place(make_tree: MakeTree, broken: str, says: str) -> None:
    text = f"{line('s3://b/a.jpg')}\n{broken}\n{line('s3://b/b.jpg')}"
    parsed = groundtruth.read(make_tree({"a.manifest": text.encode("utf-8", "surrogateescape")}))
    assert parsed.images["name"].to_list() == ["a.jpg", "b.jpg"]
    (entry,) = parsed.ledger
    assert (entry.image, entry.rule, entry.action) == ("a.manifest:2", Rule.MALFORMED, Action.REJECTED)
    assert says in entry.detail


def test_a_line_without_an_end_is_read_in_bounds(make_tree: MakeTree, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("components.shared.formats.groundtruth_lines.LINE_LIMIT", 2000)
    text = "\n".join([line("s3://b/a.jpg"), '{"x": "' + "y" * 10_000, line("s3://b/b.jpg")])
    parsed = groundtruth.read(make_tree({"a.manifest": text}))
    assert parsed.images["name"].to_list() == ["a.jpg", "b.jpg"]
    assert "'a.manifest:2' is longer than 2000 bytes" in parsed.ledger[0].detail


@pytest.mark.parametrize(
    "unsafe",
    ["../a.jpg", "/etc/passwd", "file:///etc/passwd", "s3://b/../../a.jpg", "s3://b/", "gopher://x/a.jpg", "a\nb.jpg"],
)
def test_an_unsafe_address_goes_to_the_ledger(make_tree: MakeTree, unsafe: str) -> None:
    parsed = groundtruth.read(make_tree({"x/a.manifest": f"{line(unsafe)}\n{line('b.jpg')}", "x/b.jpg": ""}))
    assert parsed.images["name"].to_list() == ["b.jpg"]
    assert [(entry.rule, entry.action) for entry in parsed.ledger] == [(Rule.UNSAFE_NAME, Action.REJECTED)]
    assert "a.manifest:1: source-ref" in parsed.ledger[0].detail


@pytest.mark.parametrize(
    ("given", "files", "expected"),
    [
        ("s3://b/x/a.jpg", ["a.jpg"], "a.jpg"),
        ("s3://b/x/a.jpg", ["images/a.jpg"], "images/a.jpg"),
        ("s3://b/x/a.jpg", ["y/a.jpg", "x/a.jpg"], "x/a.jpg"),
        ("s3://b/x/a.jpg", ["y/a.jpg", "z/a.jpg"], None),
        ("s3://b/x/a.jpg", ["y/x/a.jpg", "x/a.jpg.png"], "y/x/a.jpg"),
        ("s3://b/x/u\u0308.jpg", ["x/\u00fc.jpg"], "x/\u00fc.jpg"),
        ("s3://b/a b.c.jpg", ["a b.c.jpg"], "a b.c.jpg"),
        ("https://host/x/a%20b.jpg?key=1", ["x/a b.jpg"], "x/a b.jpg"),
        ("images/a.jpg", ["images/a.jpg"], "images/a.jpg"),
        ("images\\a.jpg", ["images/a.jpg"], "images/a.jpg"),
        ("s3://b/x/a.jpg", ["a.JPG"], None),
        ("s3://b/x/a.jpg", [], None),
    ],
)
def test_an_image_is_found_by_the_end_of_its_address(
    make_tree: MakeTree, given: str, files: list[str], expected: str | None
) -> None:
    root = make_tree({"output.manifest": line(given)} | dict.fromkeys(files, ""))
    parsed = groundtruth.read(root)
    assert parsed.images["path"].to_list() == [str(root / expected) if expected else None]
    assert (parsed.images["uri"][0] is None) == (expected is not None)


def test_two_addresses_never_share_a_file(make_tree: MakeTree) -> None:
    text = "\n".join([line("s3://b/x/a.jpg"), line("s3://b/y/a.jpg"), line("s3://b/x/c.jpg"), line("s3://b/y/c.jpg")])
    root = make_tree({"output.manifest": text, "images/a.jpg": "", "x/c.jpg": ""})
    parsed = groundtruth.read(root)
    assert parsed.images["path"].to_list() == [None, None, str(root / "x/c.jpg"), None]
    assert parsed.images["name"].to_list() == ["x/a.jpg", "y/a.jpg", "x/c.jpg", "y/c.jpg"]


def test_channels_give_the_split_and_look_in_their_own_folder(make_tree: MakeTree) -> None:
    files = {"train.manifest": line("s3://b/a.jpg"), "validation/out.manifest": line("s3://b/v/a.jpg")}
    root = make_tree(files | {"train/a.jpg": "", "validation/a.jpg": ""})
    parsed = groundtruth.read(root)
    expected = [("train", str(root / "train/a.jpg")), ("val", str(root / "validation/a.jpg"))]
    assert parsed.images.select("split", "path").rows() == expected


def test_manifests_of_unfinished_steps_do_not_count_twice(make_tree: MakeTree) -> None:
    files = {f"job/manifests/{step}/output.manifest": line() for step in ("output", "intermediate/1")}
    parsed = groundtruth.read(make_tree(files))
    assert (parsed.annotations.height, parsed.ledger) == (1, ())


def test_two_lines_about_one_image_are_joined_and_recorded(make_tree: MakeTree) -> None:
    parsed = groundtruth.read(make_tree({"a.manifest": f"{line()}\n{line()}"}))
    assert parsed.annotations["image_id"].to_list() == [0, 0]
    assert [(entry.rule, entry.action) for entry in parsed.ledger] == [(Rule.DUPLICATE_IMAGE_ID, Action.FIXED)]
    assert "a.manifest:2 is about the image of a.manifest:1" in parsed.ledger[0].detail


@pytest.mark.parametrize(
    ("base", "uri"),
    [("s3://b/set/", "s3://b/set/x/a.jpg"), ("https://h/set", "https://h/set/x/a.jpg"), (None, None)],
)
def test_a_base_completes_relative_addresses(make_tree: MakeTree, base: str | None, uri: str | None) -> None:
    parsed = groundtruth.read(make_tree({"a.manifest": line("x/a.jpg")}), ReadOptions(image_base=base))
    assert parsed.images.select("name", "uri").row(0) == ("x/a.jpg", uri)


@pytest.mark.parametrize("base", ["s3://bucket/prefix", "s3://bucket/prefix/", "https://h.example/p", None])
@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("s3://other/x.jpg", "x.jpg"),
        ("s3://other/x//y.jpg", "x/y.jpg"),
        ("s3://bucket/prefixed/x.jpg", "prefixed/x.jpg"),
        ("https://h.example/other/x.jpg", "other/x.jpg"),
    ],
)
def test_an_address_outside_the_base_is_named_by_its_path(
    make_tree: MakeTree, base: str | None, address: str, name: str
) -> None:
    parsed = groundtruth.read(make_tree({"a.manifest": line(address)}), ReadOptions(image_base=base))
    assert parsed.images.select("name", "uri").row(0) == (name, address)


def test_an_address_beside_a_folder_as_base_is_named_by_its_path(make_tree: MakeTree, tmp_path: Path) -> None:
    root = make_tree({"a.manifest": line("s3://other/x/y.jpg")})
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "z.jpg").touch()
    parsed = groundtruth.read(root, ReadOptions(image_base=str(tmp_path / "pictures")))
    assert parsed.images["name"].to_list() == ["x/y.jpg"]


@pytest.mark.parametrize("base", ["s3://bucket/prefix", "s3://bucket/prefix/"])
def test_an_address_below_the_base_is_named_by_what_is_below_it(make_tree: MakeTree, base: str) -> None:
    address = "s3://bucket/prefix/x//y.jpg"
    parsed = groundtruth.read(make_tree({"a.manifest": line(address)}), ReadOptions(image_base=base))
    assert parsed.images.select("name", "uri").row(0) == ("x/y.jpg", address)


def test_a_folder_as_base_holds_the_images(make_tree: MakeTree, tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "a.jpg").write_bytes(b"x")
    root = make_tree({"a.manifest": line("s3://b/x/a.jpg")})
    parsed = groundtruth.read(root, ReadOptions(image_base=str(tmp_path / "pictures")))
    assert parsed.images["path"].to_list() == [str(tmp_path / "pictures" / "a.jpg")]
