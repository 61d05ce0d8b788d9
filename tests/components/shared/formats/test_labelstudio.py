"""Label Studio: real exports, what annotators do, and how tasks name their images."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from components.shared.errors import FormatError, UnsafeInputError
from components.shared.formats.base import Parsed
from components.shared.formats.registry import FORMATS, detect

MakeTree = Callable[[dict[str, str | bytes]], Path]

FORMAT = FORMATS["labelstudio"]
CONFIG = """<View><Image name="image" value="$image"/><RectangleLabels name="label" toName="image">
<Label value="dog"/><Label value="cat"/></RectangleLabels></View>"""


def box(label: str = "cat", x: float = 10, number: str = "r1", **more: object) -> dict[str, object]:
    value = {"x": x, "y": 20, "width": 30, "height": 40, "rotation": 0, "rectanglelabels": [label]}
    return {"id": number, "type": "rectanglelabels", "from_name": "label", "to_name": "image", "value": value,
            "original_width": 20, "original_height": 10, "image_rotation": 0, **more}  # fmt: skip


def task(
    *annotations: dict[str, object], image: object = "a.jpg", number: int = 1, **more: object
) -> dict[str, object]:
    return {"id": number, "data": {"image": image}, "annotations": list(annotations), **more}


def annotation(*results: object, number: int = 1, **more: object) -> dict[str, object]:
    return {"id": number, "result": list(results), "was_cancelled": False, "ground_truth": False, **more}


def read(make_tree: MakeTree, *tasks: object, files: tuple[str, ...] = ("images/a.jpg",), config: str = "") -> Parsed:
    tree: dict[str, str | bytes] = {"tasks.json": json.dumps(list(tasks)), **dict.fromkeys(files, "")}
    root = make_tree(tree | ({"config.xml": config} if config else {}))
    assert detect(root) is FORMAT
    return FORMAT.read(root)


def boxes_of(parsed: Parsed) -> list[tuple[object, ...]]:
    return [
        (row[0], *(round(side, 6) for side in row[1:]))
        for row in parsed.annotations.select("category", "x", "y", "width", "height").rows()
    ]


def details(parsed: Parsed) -> list[tuple[str, str, str]]:
    return [(entry.rule.value, entry.action.value, entry.detail) for entry in parsed.ledger]


def test_a_real_export_by_two_annotators(tmp_path: Path, real_data: Callable[[str], Path]) -> None:
    for name in ("data.json", "label_config.xml"):
        shutil.copy(real_data("label_studio") / "export_yolo" / name, tmp_path)
    parsed = FORMAT.read(tmp_path)
    assert parsed.classes == ("parasites", "white")
    assert parsed.images.select("name", "declared_width", "declared_height").rows() == [
        ("image1", 2800, 2800), ("image2", 2800, 2800),
    ]  # fmt: skip
    assert parsed.annotations["category"].to_list() == ["parasites", "white", "white", "white"]
    assert parsed.annotations["x"][0] == pytest.approx(0.3788706739526412)
    assert details(parsed) == [
        ("duplicate annotation", "left out", "data.json: task 1: 2 results of annotation 1 gave way to annotation 2")
    ]


def test_real_rotated_boxes_become_their_upright_hulls(tmp_path: Path, real_data: Callable[[str], Path]) -> None:
    shutil.copy(real_data("label_studio") / "export_yolo" / "data_obb.json", tmp_path)
    parsed = FORMAT.read(tmp_path)
    assert parsed.annotations.height == 25
    first = parsed.annotations.row(0, named=True)
    # Corners worked out by hand: x, y is a corner after the turn by 328.3 degrees, in an image of 597 x 768.
    assert [first["x"], first["y"], first["width"], first["height"]] == pytest.approx(
        [0.105371, 0.717853, 0.217022, 0.146941], abs=1e-6
    )
    assert json.loads(first["attributes"]) == {"rotation": 328.33240366032834}


@pytest.mark.parametrize(
    ("name", "boxes", "images", "kept"),
    [
        ("export_yolo/data_polygons.json", 1, 1, "segmentation_relative"),
        ("export_json_min/data.json", 1, 1, "segmentation_relative"),
        ("export_json_min/data_repeater.json", 1, 3, "categories_0"),
    ],
)
def test_other_real_exports(
    name: str, boxes: int, images: int, kept: str, tmp_path: Path, real_data: Callable[[str], Path]
) -> None:
    shutil.copy(real_data("label_studio") / name, tmp_path)
    parsed = FORMAT.read(tmp_path)
    assert (parsed.annotations.height, parsed.images.height) == (boxes, images)
    assert kept in json.loads(parsed.annotations["attributes"][0])


def test_ninety_degrees_swap_the_sides_of_a_box_in_pixels(make_tree: MakeTree) -> None:
    turned = box()
    turned["value"] = {"x": 40, "y": 10, "width": 30, "height": 10, "rotation": 90, "rectanglelabels": ["cat"]}
    turned |= {"original_width": 1000, "original_height": 500}
    # 300 x 50 pixels at (400, 50), turned around that corner: 50 x 300 to its left and below.
    assert boxes_of(read(make_tree, task(annotation(turned)))) == [("cat", 0.35, 0.1, 0.05, 0.6)]


@pytest.mark.parametrize(
    ("one", "two", "wanted"),
    [
        ({"updated_at": "2024-01-01T00:00:00Z"}, {"updated_at": "2024-01-02T00:00:00Z"}, "dog"),
        ({"updated_at": "2024-01-02T01:00:00+03:00"}, {"updated_at": "2024-01-01T23:00:00Z"}, "dog"),
        ({"updated_at": "2024-01-03T00:00:00Z"}, {"created_at": "2024-01-02T00:00:00Z"}, "cat"),
        ({"ground_truth": True, "updated_at": "2024-01-01T00:00:00Z"}, {"updated_at": "2024-01-02T00:00:00Z"}, "cat"),
        ({}, {"was_cancelled": True, "updated_at": "2024-01-02T00:00:00Z"}, "cat"),
        ({}, {}, "dog"),
    ],
)
def test_one_annotation_of_a_task_counts(
    one: dict[str, object], two: dict[str, object], wanted: str, make_tree: MakeTree
) -> None:
    first, second = annotation(box("cat"), **one), annotation(box("dog"), number=2, **two)
    for order in ((first, second), (second, first)):
        parsed = read(make_tree, task(*order))
        assert parsed.annotations["category"].to_list() == [wanted]
        assert [entry.action.value for entry in parsed.ledger] == ["left out"]


def test_empty_answers_are_negatives_and_unanswered_tasks_are_not_labelled(make_tree: MakeTree) -> None:
    cancelled = annotation(was_cancelled=True)
    parsed = read(
        make_tree,
        task(annotation(), image="a.jpg"), task(image="b.jpg", number=2), task(cancelled, image="c.jpg", number=3),
        files=("a.jpg", "b.jpg", "c.jpg"),
    )  # fmt: skip
    assert parsed.images.select("name", "tags").rows() == [
        ("a.jpg", None), ("b.jpg", '{"labelled":"no"}'), ("c.jpg", '{"labelled":"no"}'),
    ]  # fmt: skip
    assert parsed.annotations.is_empty()


def test_the_newest_prediction_is_scored_and_not_ground_truth(make_tree: MakeTree) -> None:
    old = {"id": 1, "score": 0.1, "created_at": "2024-01-01T00:00:00Z", "result": [box("dog")]}
    new = {
        "id": 2,
        "score": 0.5,
        "created_at": "2024-02-01T00:00:00Z",
        "result": [box("cat", score=0.9), box("cat", number="r2")],
    }
    parsed = read(make_tree, task(annotation(box("dog")), predictions=[new, old]))
    rows = parsed.annotations.select("category", "kind", "score").rows()
    assert rows == [("dog", "ground_truth", None), ("cat", "prediction", 0.9), ("cat", "prediction", 0.5)]
    assert details(parsed)[0][2].endswith("1 results of annotation 1 gave way to annotation 2")


def test_classes_follow_the_configuration_and_the_rest_the_alphabet(make_tree: MakeTree) -> None:
    boxes = [box(name, number=name) for name in ("zebra", "cat", "ant", "1")]
    assert read(make_tree, task(annotation(*boxes)), config=CONFIG).classes == ("dog", "cat", "1", "ant", "zebra")
    assert read(make_tree, task(annotation(*boxes))).classes == ("dog", "cat", "1", "ant", "zebra")


def test_results_with_one_id_are_one_region(make_tree: MakeTree) -> None:
    shape = {"x": 10, "y": 20, "width": 30, "height": 40, "rotation": 0}
    common = {"id": "r1", "to_name": "image", "original_width": 20, "original_height": 10}
    results = [
        {**common, "type": "rectangle", "from_name": "box", "value": shape},
        {**common, "type": "labels", "from_name": "label", "value": {**shape, "labels": ["cat", "tabby"]}},
        {**common, "type": "choices", "from_name": "colour", "value": {**shape, "choices": ["red"]}},
        {"id": "w", "type": "choices", "from_name": "weather", "to_name": "image", "value": {"choices": ["rain"]}},
    ]
    parsed = read(make_tree, task(annotation(*results)))
    assert boxes_of(parsed) == [("cat", 0.1, 0.2, 0.3, 0.4)]
    assert json.loads(parsed.annotations["attributes"][0]) == {"colour": ["red"], "labels": ["tabby"]}
    assert parsed.images["tags"].to_list() == ['{"weather":"rain"}']


def test_what_is_no_box_goes_to_the_ledger(make_tree: MakeTree) -> None:
    shapes: list[dict[str, object]] = [
        {"format": "rle", "rle": [1, 2], "brushlabels": ["cat"]},
        {"x": 1, "y": 2, "width": 0.5, "keypointlabels": ["cat"]},
        {"points": [[1, 2], [3, 4]], "polygonlabels": ["cat"]},
        {"points": [[1, 2], [3, "x"], [5, 6]], "polygonlabels": ["cat"]},
        {"x": "1", "y": 2, "width": 3, "height": 4, "rectanglelabels": ["cat"]},
        {"x": 50, "y": 50, "radiusX": 10, "radiusY": 5, "rotation": 0, "ellipselabels": ["cat"]},
    ]
    parsed = read(
        make_tree, task(annotation(*({**box(number=str(i)), "value": shape} for i, shape in enumerate(shapes))))
    )
    assert boxes_of(parsed) == [("cat", 0.4, 0.45, 0.2, 0.1)]
    assert [text.split(": ", 3)[3] for _, _, text in details(parsed)] == [
        "it is no rectangle, polygon or ellipse: masks are not read",
        "it is no rectangle, polygon or ellipse",
        "its polygon has fewer than three corners",
        'its point [3, "x"] is no pair of numbers',
        "it is no rectangle, polygon or ellipse",
    ]


@pytest.mark.parametrize(
    ("reference", "files", "found"),
    [
        ("a.jpg", ["images/a.jpg"], "images/a.jpg"),
        ("/data/upload/29/8b3d1a2c-a.jpg", ["images/8b3d1a2c-a.jpg"], "images/8b3d1a2c-a.jpg"),
        ("/data/upload/29/8b3d1a2c-a.jpg", ["images/a.jpg"], "images/a.jpg"),
        ("/data/upload/29/8b3d1a2c-a%20b.jpg", ["a b.jpg"], "a b.jpg"),
        ("/data/local-files/?d=x%2Fy/a.jpg", ["y/a.jpg", "z/a.jpg"], "y/a.jpg"),
        ("s3://bucket/deep/x/a.jpg", ["x/a.jpg", "y/a.jpg"], "x/a.jpg"),
        ("https://host/x/a.jpg?sig=1#f", ["a.jpg"], "a.jpg"),
        ("C:\\fotos\\a.jpg", ["a.jpg"], "a.jpg"),
        ("sho\u0308n.jpg", ["sh\u00f6n.jpg"], "sh\u00f6n.jpg"),
        ("s3://bucket/q/a.jpg", ["x/a.jpg", "y/a.jpg"], None),
        ("/data/upload/1/b.jpg", ["a.jpg"], None),
    ],
)
def test_references_find_their_files(reference: str, files: list[str], found: str | None, make_tree: MakeTree) -> None:
    parsed = read(make_tree, task(annotation(box()), image=reference), files=tuple(files))
    path = parsed.images["path"][0]
    assert (path is None) == (found is None)
    assert found is None or path.endswith(f"/{found}")


def test_images_elsewhere_keep_their_address(make_tree: MakeTree) -> None:
    tasks = [
        task(image=place, number=i)
        for i, place in enumerate(("s3://b/x/a.jpg", "https://h/x/b.jpg", "/data/upload/1/c.jpg"))
    ]
    parsed = read(make_tree, *tasks, files=())
    assert parsed.images.select("name", "uri").rows() == [
        ("x/a.jpg", "s3://b/x/a.jpg"), ("x/b.jpg", "https://h/x/b.jpg"), ("1/c.jpg", None),
    ]  # fmt: skip


def test_a_name_that_two_references_share_is_not_guessed(make_tree: MakeTree) -> None:
    tasks = [task(image=f"s3://b/{folder}/a.jpg", number=i) for i, folder in enumerate("xy")]
    assert read(make_tree, *tasks, files=("images/a.jpg",)).images["path"].to_list() == [None, None]


def test_two_tasks_about_one_image_share_it(make_tree: MakeTree) -> None:
    parsed = read(make_tree, task(annotation(box("cat"))), task(annotation(box("dog")), number=2))
    assert parsed.images.height == 1
    assert parsed.annotations.height == 2
    assert [(rule, action) for rule, action, _ in details(parsed)] == [("duplicate image id", "fixed")]


@pytest.mark.parametrize("name", ["../../etc/passwd", "/data/local-files/?d=../../secret.jpg", "a\x00.jpg"])
def test_names_that_leave_the_source_are_recorded(name: str, make_tree: MakeTree) -> None:
    parsed = read(make_tree, task(annotation(box()), image=name), task(number=2))
    assert [rule for rule, _, _ in details(parsed)] == ["unsafe name"]
    assert parsed.images["name"].to_list() == ["a.jpg"]
    assert parsed.annotations.is_empty()


def test_json_min_has_a_row_an_annotation(make_tree: MakeTree) -> None:
    value = {
        "x": 10,
        "y": 20,
        "width": 30,
        "height": 40,
        "rotation": 0,
        "rectanglelabels": ["cat"],
        "original_width": 20,
        "original_height": 10,
    }
    common = {"id": 5, "image": "/data/upload/1/0123abcd-a.jpg", "annotator": 1, "lead_time": 3.5, "camera": "north"}
    rows = [
        {**common, "label": [value], "annotation_id": 1, "updated_at": "2024-01-01T00:00:00Z"},
        {
            **common,
            "label": [{**value, "rectanglelabels": ["dog"]}],
            "annotation_id": 2,
            "updated_at": "2024-01-02T00:00:00Z",
        },
        {**common, "id": 6, "image": "b.jpg", "annotation_id": 3},
    ]
    parsed = read(make_tree, *rows, files=("a.jpg", "b.jpg"))
    assert boxes_of(parsed) == [("dog", 0.1, 0.2, 0.3, 0.4)]
    assert parsed.images.select("name", "declared_width", "tags").rows() == [
        ("a.jpg", 20, '{"camera":"north"}'), ("b.jpg", None, '{"camera":"north"}'),
    ]  # fmt: skip


def test_files_of_a_target_storage_are_one_annotation_each(make_tree: MakeTree) -> None:
    one = {**annotation(box("cat")), "task": {"id": 1, "data": {"image": "a.jpg"}}}
    root = make_tree({"1": "x", "one.json": json.dumps(one), "a.jpg": ""})
    assert boxes_of(FORMAT.read(root)) == [("cat", 0.1, 0.2, 0.3, 0.4)]


def test_pages_of_one_task_are_images_of_their_own(make_tree: MakeTree) -> None:
    pages = ["a.jpg", "b.jpg"]
    parsed = read(make_tree, task(annotation(box(item_index=1)), image=pages), files=("a.jpg", "b.jpg"))
    assert parsed.images["name"].to_list() == pages
    assert parsed.annotations["image_id"].to_list() == [1]


def test_regions_of_an_unknown_image_are_recorded(make_tree: MakeTree) -> None:
    config = CONFIG.replace("<View>", '<View><Image name="other" value="$other"/>')
    data = task(annotation(box(to_name="nobody")), image="a.jpg")
    data["data"] = {"image": "a.jpg", "other": "b.jpg"}
    parsed = read(make_tree, data, files=("a.jpg", "b.jpg"), config=config)
    assert [text for _, _, text in details(parsed)] == [
        "tasks.json: task 1: region r1: its to_name 'nobody' is no image of the task"
    ]


def answered(annotations: str) -> str:
    return f'[{{"data": {{"image": "a.jpg"}}, "annotations": [{annotations}]}}]'


@pytest.mark.parametrize(
    "tasks",
    [
        "[1, null, [], {}]",
        '[{"data": []}, {"data": {"image": 7}}, {"data": {"image": "a.jpg"}, "annotations": 3, "predictions": {}}]',
        answered('1, {"result": 1}, {"result": [1, {"value": 2}, {"value": {"x": NaN}}]}'),
        answered('{"result": [{"value": {"x": 1e999, "y": -Infinity, "width": 1, "height": 1, "rotation": 1e308}}]}'),
        answered('{"result": [{"value": {"x": 1, "y": 1, "width": 1, "height": 1, "rectanglelabels": [{}, null]}}]}'),
        answered(
            '{"result": [{"original_width": 0, "score": true, "value": {"x": 1, "y": 1, "width": 1, "height": 1}}]}'
        ),
        answered('{"updated_at": "never", "id": [], "result": []}, {"id": {}}'),
        '[{"data": {"image": "http://[::1", "tags": [[]]}, "annotations": []}]',
        '[{"data": {"image": {"a": {"b": 1}}, "x": "\\ud800"}, "annotations": []}]',
    ],
)
def test_nonsense_is_survived(tasks: str, make_tree: MakeTree) -> None:
    root = make_tree({"t.json": f'[{tasks[1:-1]}, {{"data": {{"image": "z.jpg"}}, "annotations": []}}]', "a.jpg": ""})
    parsed = FORMAT.read(root)
    parsed.annotations.write_json()
    assert "z.jpg" in parsed.images["name"]


def test_too_deep_and_broken_documents_are_refused(make_tree: MakeTree) -> None:
    with pytest.raises(UnsafeInputError, match="deep"):
        FORMAT.read(make_tree({"t.json": '[{"data": ' + "[" * 200 + "]" * 200 + ', "annotations": []}]'}))
    with pytest.raises(FormatError, match="line 1"):
        FORMAT.read(make_tree({"t.json": '[{"data": {}, "annotations": [}]'}))


def test_coco_is_not_mistaken_for_label_studio(make_tree: MakeTree) -> None:
    coco = {
        "images": [{"id": 1, "file_name": "a.jpg"}],
        "annotations": [],
        "categories": [],
        "info": {"data": "result"},
    }
    root = make_tree({"instances.json": json.dumps(coco), "a.jpg": ""})
    assert not FORMAT.detect(root)
