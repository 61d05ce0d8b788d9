import json
import tempfile
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.shared.dataset import ANNOTATIONS, IMAGES, Dataset, content_version
from components.shared.documents import parse_xml
from components.shared.errors import FormatError, InputError
from components.shared.formats import voc, ymir
from components.shared.formats.base import PARSED_ANNOTATIONS, PARSED_IMAGES, Parsed
from components.shared.formats.registry import detect, read_source
from components.shared.ledger import Action, Rule

MakeTree = Callable[[dict[str, str | bytes]], Path]

ASSET = """<annotation><filename>2007_000032.jpg</filename>
<size><width>500</width><height>281</height><depth>3</depth></size><segmented>1</segmented>
 <image_quality>0.95</image_quality><cks><weather>sunny</weather><theme>blue sky</theme></cks>
 <object><name>aeroplane</name><pose>Frontal</pose><truncated>0</truncated><difficult>0</difficult>
  <bndbox><xmin>104</xmin><ymin>78</ymin><xmax>375</xmax><ymax>183</ymax><rotate_angle>0.22</rotate_angle></bndbox>
  <confidence>0.5</confidence><box_quality>0.62</box_quality><tags><color>white</color></tags></object></annotation>"""
META = """eval_class_names:
    - person
    - cat
    - airplane
model:
    mAP: 0.6
    class_names:
        - person
        - cat
        - airplane
        - unknown-cat
executor_config:
    stage_name: default
"""
CORNERS = "<xmin>1</xmin><ymin>2</ymin><xmax>5</xmax><ymax>8</ymax>"


def xml(name: str = "cat", *, more: str = "<box_quality>-1</box_quality>", head: str = "") -> str:
    thing = f"<object><name>{name}</name><bndbox>{CORNERS}</bndbox>{more}</object>" if name else ""
    return f"<annotation><filename>a.jpg</filename>{head}{thing}</annotation>"


def boxes_of(parsed: Parsed) -> list[tuple[object, ...]]:
    return parsed.annotations.select("category", "x", "y", "width", "height").rows()


@pytest.mark.parametrize("images", ["images", "JPEGImages", "Images", "a/b/jpegimages"])
def test_the_asset_of_ymirs_own_tests_is_read(make_tree: MakeTree, images: str) -> None:
    base = images.rpartition("/")[0]
    folder = f"{base}/gt" if base else "gt"
    root = make_tree({f"{folder}/2007_000032.xml": ASSET, f"{images}/2007_000032.jpg": "", "readme.md": "x"})
    chosen, parsed = read_source(root)
    assert chosen.name == "ymir"
    assert (parsed.images.schema, parsed.annotations.schema) == (PARSED_IMAGES, PARSED_ANNOTATIONS)
    assert parsed.images.select("name", "declared_width", "declared_height").row(0) == ("2007_000032.jpg", 500, 281)
    tags = {"image_quality": "0.95", "theme": "blue sky", "weather": "sunny"}
    assert json.loads(parsed.images["tags"][0]) == tags
    assert boxes_of(parsed) == [("aeroplane", 104.0, 78.0, 272.0, 106.0)]
    assert parsed.annotations.select("kind", "score").row(0) == ("ground_truth", None)
    assert json.loads(parsed.annotations["attributes"][0]) == {
        "box_quality": "0.62", "confidence": 0.5, "pose": "Frontal", "rotate_angle": "0.22",
        "tags": {"color": "white"},
    }  # fmt: skip
    assert parsed.ledger == ()


def test_what_lies_in_pred_is_a_prediction_with_and_without_a_score(make_tree: MakeTree) -> None:
    files = {
        "images/a.jpg": "",
        "gt/a.xml": xml(),
        "pred/a.xml": xml("dog", more="<confidence>0.25</confidence>"),
        "images/b.jpg": "",
        "pred/b.xml": xml("cat", more="", head="<cks><x>1</x></cks>"),
    }
    parsed = read_source(make_tree(files))[1]
    rows = parsed.annotations.select("image_id", "category", "kind", "score").rows()
    assert rows == [(0, "cat", "ground_truth", None), (0, "dog", "prediction", 0.25), (1, "cat", "prediction", None)]
    assert parsed.images.select("name", "tags").rows() == [("a.jpg", None), ("b.jpg", '{"x":"1"}')]
    assert parsed.ledger == ()


def test_tags_of_both_folders_are_united_and_those_of_the_ground_truth_win(make_tree: MakeTree) -> None:
    files = {
        "images/a.jpg": "",
        "gt/a.xml": xml(head="<cks><x>1</x></cks>"),
        "pred/a.xml": xml(head="<cks><x>2</x><y>3</y></cks>"),
    }
    assert ymir.read(make_tree(files)).images["tags"].to_list() == ['{"x":"1","y":"3"}']


def test_the_models_own_words_are_kept_as_notes(make_tree: MakeTree) -> None:
    parsed = ymir.read(make_tree({"images/a.jpg": "", "pred/a.xml": xml(), "pred/meta.yaml": META}))
    assert parsed.notes == {
        "pred/meta.yaml: eval_class_names": "person, cat, airplane",
        "pred/meta.yaml: model.mAP": "0.6",
        "pred/meta.yaml: model.class_names": "person, cat, airplane, unknown-cat",
        "pred/meta.yaml: executor_config.stage_name": "default",
    }
    assert parsed.classes == ("cat",)


@pytest.mark.parametrize("meta", ["[1, 2]", "a: &x 1\nb: *x", "{", "x: !!python/object:os.system 1"])
def test_an_invalid_meta_file_goes_to_the_ledger(make_tree: MakeTree, meta: str) -> None:
    parsed = ymir.read(make_tree({"images/a.jpg": "", "pred/a.xml": xml(), "pred/meta.yaml": meta}))
    assert parsed.annotations.height == 1
    assert [(entry.image, entry.rule) for entry in parsed.ledger] == [("pred/meta.yaml", Rule.MALFORMED)]


def test_labels_give_the_order_and_the_aliases(make_tree: MakeTree) -> None:
    labels = "labels:\n- {id: 0, name: zebra, aliases: [Horse, 1]}\n- {id: 1, name: no}\n- {id: 2}\nymir_version: 1\n"
    files = {f"gt/{i}.xml": xml(name) for i, name in enumerate(["horse", "ZEBRA", "1", "no", "ant", "HORSE"])}
    parsed = ymir.read(make_tree({"images/0.jpg": "", "labels.yaml": labels} | files))
    assert parsed.classes == ("zebra", "no", "ant")
    assert parsed.annotations["category"].to_list() == ["zebra", "zebra", "zebra", "no", "ant", "zebra"]
    fixed = [entry for entry in parsed.ledger if entry.rule == Rule.UNKNOWN_CATEGORY]
    assert [entry.before for entry in fixed] == [{"category": name} for name in ("1", "HORSE", "ZEBRA", "horse")]
    assert [entry.rule for entry in parsed.ledger if entry.action == Action.REJECTED] == [Rule.MALFORMED]


def test_images_alone_are_read_when_they_are_asked_for(make_tree: MakeTree, caplog: pytest.LogCaptureFixture) -> None:
    root = make_tree({"images/a.jpg": "", "images/b.png": ""})
    assert not ymir.detect(root)
    parsed = ymir.read(root)
    assert (parsed.images["name"].to_list(), parsed.annotations.height) == (["a.jpg", "b.png"], 0)
    assert "no folder 'gt'" in caplog.text


def test_a_source_without_ymirs_folders_is_refused(make_tree: MakeTree) -> None:
    with pytest.raises(FormatError, match="no folder 'images', 'gt' or 'pred'"):
        ymir.read(make_tree({"labels/a.xml": xml(), "pictures/a.jpg": ""}))


def test_annotations_whose_images_are_all_missing_are_read(make_tree: MakeTree) -> None:
    parsed = ymir.read(make_tree({"gt/a.xml": xml(), "pred/a.xml": xml()}))
    assert parsed.images.select("name", "path").rows() == [("a.jpg", None)]


def test_an_image_without_an_xml_has_no_objects(make_tree: MakeTree) -> None:
    parsed = ymir.read(make_tree({"images/a.jpg": "", "images/b.jpg": "", "gt/a.xml": xml()}))
    assert parsed.images["name"].to_list() == ["a.jpg", "b.jpg"]


def test_predictions_of_a_missing_image_go_to_the_same_image(make_tree: MakeTree) -> None:
    parsed = ymir.read(make_tree({"images/z.jpg": "", "gt/a.xml": xml(), "pred/a.xml": xml()}))
    assert parsed.images.select("name", "path").row(0) == ("a.jpg", None)
    assert parsed.annotations["image_id"].to_list() == [0, 0]
    assert parsed.ledger == ()


def test_a_prediction_does_not_steal_the_image_of_another_annotation(make_tree: MakeTree) -> None:
    wrong = xml().replace("a.jpg", "x/b.jpg")
    parsed = ymir.read(make_tree({"images/b.jpg": "", "gt/b.xml": xml(), "pred/x.xml": wrong}))
    assert parsed.images.select("name", pl.col("path").is_null()).rows() == [("b.jpg", False), ("x/b.jpg", True)]


@pytest.mark.parametrize("broken", ["<annotation><object>", "<other/>", "<!DOCTYPE a [<!ENTITY b 'c'>]><annotation/>"])
def test_a_broken_file_goes_to_the_ledger_and_its_image_is_no_negative(make_tree: MakeTree, broken: str) -> None:
    files = {"images/a.jpg": "", "gt/a.xml": broken, "images/b.jpg": "", "gt/b.xml": xml()}
    parsed = ymir.read(make_tree(files))
    assert parsed.images["name"].to_list() == ["b.jpg"]
    assert [(entry.image, entry.rule) for entry in parsed.ledger] == [("images/a.jpg", Rule.MALFORMED)]


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"annotations/a.xml": xml(more="")}, "voc"),
        ({"Annotations/a.xml": xml(more="<confidence>0.5</confidence>")}, "voc"),
        ({"annotations/a.xml": xml(more="", head="<cks><x>1</x></cks>")}, "ymir"),
        ({"annotations/a.xml": xml()}, "ymir"),
        ({"gt/a.xml": xml(more="")}, "ymir"),
        ({"annotations/a.xml": xml(more=""), "pred/a.xml": xml(more="")}, "ymir"),
    ],
)
def test_layout_and_dialect_tell_ymir_from_voc(
    make_tree: MakeTree, files: dict[str, str | bytes], expected: str
) -> None:
    assert detect(make_tree(files | {"images/a.jpg": ""})).name == expected


@pytest.mark.parametrize("more", ["", "<box_quality>-1</box_quality>", "<tags><x>1</x></tags>"])
def test_both_readers_find_the_same_boxes_in_the_same_files(make_tree: MakeTree, more: str) -> None:
    root = make_tree({"annotations/a.xml": xml(more=more), "images/a.jpg": ""})
    assert boxes_of(ymir.read(root)) == boxes_of(voc.read(root))
    assert boxes_of(voc.read(root)) == [("cat", 1.0, 2.0, 4.0 + bool(more), 6.0 + bool(more))]


@pytest.mark.parametrize(
    ("corners", "expected"),
    [
        (("1.5", "2", "3,25", "2"), (1.5, 2.0, 2.75, 1.0)),
        (("0.1", "0", "0.3", "0"), (0.1, 0.0, 1.2, 1.0)),
        (("5", "5", "1", "4"), (5.0, 5.0, -3.0, 0.0)),
    ],
)
def test_inclusive_corners_are_converted_exactly(
    make_tree: MakeTree, corners: tuple[str, ...], expected: tuple[float, ...]
) -> None:
    text = xml()
    for old, new in zip(CORNERS.split("</")[:-1], corners, strict=True):
        text = text.replace(f"{old.rpartition('<')[2]}</", f"{old.rpartition('<')[2].split('>')[0]}>{new}</")
    parsed = ymir.read(make_tree({"gt/a.xml": text, "images/a.jpg": ""}))
    assert boxes_of(parsed)[0][1:] == expected


def dataset_of(
    images: list[dict[str, object]], annotations: list[dict[str, object]], classes: tuple[str, ...] = ("cat", "ant")
) -> Dataset:
    return Dataset(
        name="set",
        classes=classes,
        images=pl.DataFrame(images, schema=IMAGES) if images else pl.DataFrame(schema=IMAGES),
        annotations=pl.DataFrame(annotations, schema=ANNOTATIONS) if annotations else pl.DataFrame(schema=ANNOTATIONS),
    )


def test_what_is_written_is_ymirs_layout(tmp_path: Path) -> None:
    names = ["x/a.jpg", "x__a.png", "b.c.jpg"]
    images = [{"image_id": i, "name": n, "sha256": "0" * 64, "width": 9, "height": 8} for i, n in enumerate(names)]
    box = {"image_id": 0, "category": "cat", "x": 1.0, "y": 2.0, "width": 3.0, "height": 4.5}
    annotations = [
        box | {"annotation_id": 0, "kind": "ground_truth"},
        box | {"annotation_id": 1, "kind": "prediction", "score": 0.5},
    ]
    ymir.write(dataset_of(images, annotations), tmp_path, lambda _: b"x")
    files = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file())
    assert files == [
        "gt/b.c.xml", "gt/x__a-2.xml", "gt/x__a.xml", "images/b.c.jpg", "images/x__a-2.png", "images/x__a.jpg",
        "labels.yaml", "pred/meta.yaml", "pred/x__a.xml",
    ]  # fmt: skip
    root = parse_xml((tmp_path / "gt/x__a.xml").read_bytes(), "a")
    corners = [root.findtext(f"object/bndbox/{side}") for side in ("xmin", "ymin", "xmax", "ymax")]
    assert corners == ["1", "2", "3", "5.5"]
    assert root.findtext("object/confidence") == "-1.0"


@st.composite
def datasets(draw: st.DrawFn) -> Dataset:
    classes = draw(st.lists(st.sampled_from(["1", "no", "a: b", "größe", "日本", "<b>&"]), min_size=1, unique=True))
    names = draw(st.lists(st.sampled_from(["a.png", "x/a.png", "u\u00fc.b.jpg", "train/c.gif", "d"]), min_size=1))
    images, annotations = [], []
    for image_id, name in enumerate(dict.fromkeys(names)):
        exists = draw(st.booleans())
        images.append({
            "image_id": image_id, "name": name, "sha256": f"{image_id:064x}" if exists or name == "d" else None,
            "width": 30, "height": 20, "split": draw(st.sampled_from(["train", "val", "test", None])),
            "tags": draw(st.sampled_from([None, '{"image_quality":"0.9","time":"night"}', '{"\\u00fcber":"<1>"}'])),
        })  # fmt: skip
        for _ in range(draw(st.integers(0, 3))):
            side = st.integers(-50, 500).map(float) | st.floats(-50, 500)
            predicted = draw(st.booleans())
            kept = [None, '{"box_quality":"0.5","rotate_angle":"0.25","tags":{"color":"red"}}', '{"pose":"Left"}']
            kept += [] if predicted else ['{"confidence":0.125}']
            annotations.append({
                "annotation_id": len(annotations), "image_id": image_id, "category": draw(st.sampled_from(classes)),
                "x": draw(side), "y": draw(side), "width": draw(side), "height": draw(side), "crowd": False,
                "difficult": draw(st.booleans()), "truncated": draw(st.booleans()),
                "score": draw(st.none() | st.floats(0, 1)) if predicted else None,
                "kind": "prediction" if predicted else "ground_truth", "attributes": draw(st.sampled_from(kept)),
            })  # fmt: skip
    return dataset_of(images, annotations, tuple(classes))


@given(dataset=datasets())
def test_what_is_written_comes_back_as_the_same_version(dataset: Dataset) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "set"
        ymir.write(dataset, root, lambda image_id: bytes([image_id]))
        if dataset.images["sha256"].null_count() < dataset.images.height:
            assert detect(root).name == "ymir"
            parsed = ymir.read(root)
            assert parsed.ledger == ()
            assert parsed.classes == dataset.classes
            digests = [
                None if path is None else f"{Path(path).read_bytes()[-1]:064x}" for path in parsed.images["path"]
            ]
            images = parsed.images.with_columns(
                pl.Series("sha256", digests, dtype=pl.String),
                pl.lit(30, dtype=pl.UInt32).alias("width"),
                pl.lit(20, dtype=pl.UInt32).alias("height"),
            )
            assert content_version(dataset.classes, images, parsed.annotations) == dataset.version


def test_a_tag_that_xml_cannot_name_is_left_out_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    images = [{"image_id": 0, "name": "a.jpg", "sha256": "0" * 64, "tags": '{"a b":"1","c":"2"}'}]
    ymir.write(dataset_of(images, []), tmp_path, lambda _: b"x")
    assert "'a b' was not written" in caplog.text
    assert ymir.read(tmp_path).images["tags"].to_list() == ['{"c":"2"}']


@given(
    st.lists(st.text(max_size=5), max_size=4),
    st.binary(max_size=60),
    st.text(max_size=40),
    st.recursive(
        st.none() | st.integers() | st.text(max_size=4),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
        max_leaves=6,
    ),
)
def test_whatever_the_files_hold_there_are_rows_ledger_entries_or_one_sentence(
    names: list[str], raw: bytes, text: str, document: object
) -> None:
    labels = json.dumps({"labels": [{"name": name, "aliases": names} for name in names] + [document]})
    files = {
        "images/a.jpg": b"x",
        "gt/a.xml": xml().encode(),
        "gt/b.xml": b"<annotation>" + raw,
        "pred/a.xml": raw,
        "pred/meta.yaml": text.encode("utf-8", "replace") if len(names) % 2 else json.dumps(document).encode(),
        "labels.yaml": raw if len(names) == 1 else labels.encode(),
    }
    with tempfile.TemporaryDirectory() as folder:
        for path, data in files.items():
            target = Path(folder) / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)
        try:
            parsed = ymir.read(Path(folder))
        except InputError as error:
            assert "\n" not in str(error)  # noqa: PT017 - any other error fails the test
            return
    assert parsed.annotations["category"].drop_nulls().is_in(list(parsed.classes)).all()
