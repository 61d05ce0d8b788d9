import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest

from components.shared.errors import FormatError, UnsafeInputError
from components.shared.formats import coco
from components.shared.formats.base import PARSED_ANNOTATIONS, PARSED_IMAGES
from components.shared.ledger import Action, Rule

MakeTree = Callable[[dict[str, str | bytes]], Path]

CATEGORIES = [{"id": 1, "name": "cat"}, {"id": 7, "name": "dog"}]


def document(
    images: list[object], annotations: list[object], categories: list[object] | None = None, **more: object
) -> str:
    content = {"images": images, "annotations": annotations, "categories": categories or CATEGORIES, **more}
    return json.dumps(content)


def image(number: object = 1, name: object = "a.jpg", **more: object) -> dict[str, object]:
    return {"id": number, "file_name": name, "width": 20, "height": 10, **more}


def box(image_id: object = 1, **more: object) -> dict[str, object]:
    return {"id": 5, "image_id": image_id, "category_id": 1, "bbox": [1, 2, 3.5, 4], "iscrowd": 0, **more}


def only_file(content: str) -> dict[str, str]:
    return {"annotations/instances.json": content, "images/a.jpg": ""}


def test_a_small_data_set_is_read_as_it_stands(make_tree: MakeTree) -> None:
    root = make_tree(only_file(document([image()], [box(), box(category_id=7, iscrowd=1)])))
    assert coco.detect(root)
    parsed = coco.read(root)
    assert parsed.images.schema == PARSED_IMAGES
    assert parsed.annotations.schema == PARSED_ANNOTATIONS
    assert parsed.classes == ("cat", "dog")
    assert parsed.images.row(0) == (0, "a.jpg", str(root / "images/a.jpg"), 20, 10, None, "1", None, None)
    assert parsed.annotations["category"].to_list() == ["cat", "dog"]
    assert parsed.annotations.select("x", "y", "width", "height").row(0) == (1.0, 2.0, 3.5, 4.0)
    assert parsed.annotations["crowd"].to_list() == [False, True]
    assert parsed.annotations["kind"].to_list() == ["ground_truth"] * 2
    assert parsed.annotations["source_id"].to_list() == ["5", "5"]
    assert parsed.ledger == ()


def test_nothing_is_clipped_or_dropped(make_tree: MakeTree) -> None:
    boxes = [[-5, -5, 1000, 1000], [0, 0, 0, 0], [3, 3, -1, -1], [math.nan, math.inf, 1, 1]]
    parsed = coco.read(make_tree(only_file(document([image()], [box(bbox=b) for b in boxes]))))
    found = parsed.annotations.select("x", "y", "width", "height").rows()
    assert found[:3] == [tuple(map(float, b)) for b in boxes[:3]]
    assert math.isnan(found[3][0])
    assert found[3][1] == math.inf


@pytest.mark.parametrize("bad", [None, [], [1, 2, 3], [1, 2, 3, 4, 5], "1,2,3,4", [1, 2, 3, "4"], [1, 2, 3, None], {}])
def test_a_bbox_that_is_not_four_numbers_goes_to_the_ledger(make_tree: MakeTree, bad: object) -> None:
    parsed = coco.read(make_tree(only_file(document([image()], [box(), box(bbox=bad)]))))
    assert parsed.annotations.height == 1
    (entry,) = parsed.ledger
    assert (entry.rule, entry.action, entry.annotation) == (Rule.MALFORMED, Action.REJECTED, "5")


@pytest.mark.parametrize("bad", [None, 5, "x", [], box(score="high"), box(score=True)])
def test_an_annotation_that_is_none_goes_to_the_ledger(make_tree: MakeTree, bad: object) -> None:
    parsed = coco.read(make_tree(only_file(document([image()], [bad]))))
    assert parsed.annotations.height == 0
    assert [entry.rule for entry in parsed.ledger] == [Rule.MALFORMED]


def test_an_annotation_of_an_unknown_image_goes_to_the_ledger(make_tree: MakeTree) -> None:
    records = [box(99), box(None), box([1]), box("x")]
    parsed = coco.read(make_tree(only_file(document([image(2)], records))))
    assert parsed.annotations.height == 0
    assert [entry.rule for entry in parsed.ledger] == [Rule.MISSING_IMAGE] * 4
    assert "99" in parsed.ledger[0].detail


def test_a_second_image_with_the_same_id_goes_to_the_ledger(make_tree: MakeTree) -> None:
    files = only_file(document([image(), image(1, "b.jpg")], [box()])) | {"images/b.jpg": ""}
    parsed = coco.read(make_tree(files))
    assert parsed.images["name"].to_list() == ["a.jpg"]
    (entry,) = parsed.ledger
    assert (entry.image, entry.rule, entry.action) == ("b.jpg", Rule.DUPLICATE_IMAGE_ID, Action.REJECTED)


def test_a_file_listed_under_two_ids_is_one_image_with_all_annotations(make_tree: MakeTree) -> None:
    parsed = coco.read(make_tree(only_file(document([image(1), image(2)], [box(1), box(2)]))))
    assert parsed.images.height == 1
    assert parsed.annotations["image_id"].to_list() == [0, 0]
    assert [(entry.rule, entry.action) for entry in parsed.ledger] == [(Rule.DUPLICATE_IMAGE_ID, Action.FIXED)]


@pytest.mark.parametrize(
    "name", ["/etc/passwd", "../a.jpg", "images/../../a.jpg", "http://x/a.jpg", "a\n.jpg", "\ud800"]
)
def test_an_unsafe_file_name_is_rejected_with_its_annotations(make_tree: MakeTree, name: str) -> None:
    parsed = coco.read(make_tree(only_file(document([image(1, name), image(2)], [box(1), box(2)]))))
    assert parsed.images["name"].to_list() == ["a.jpg"]
    assert parsed.annotations.height == 1
    assert [entry.rule for entry in parsed.ledger] == [Rule.UNSAFE_NAME] * 2


def test_an_unknown_category_keeps_its_number(make_tree: MakeTree) -> None:
    parsed = coco.read(make_tree(only_file(document([image()], [box(category_id=99)]))))
    assert parsed.annotations["category"].to_list() == [None]
    assert json.loads(parsed.annotations["attributes"][0]) == {"category_id": 99}


def test_a_score_makes_a_prediction(make_tree: MakeTree) -> None:
    records = [box(score=0.5), box(confidence=1), box(score=None)]
    parsed = coco.read(make_tree(only_file(document([image()], records))))
    assert parsed.annotations["score"].to_list() == [0.5, 1.0, None]
    assert parsed.annotations["kind"].to_list() == ["prediction", "prediction", "ground_truth"]


def test_what_else_an_annotation_holds_stays_in_attributes(make_tree: MakeTree) -> None:
    rle = {"counts": [1, 2], "size": [10, 20]}
    records = [
        box(segmentation=[[1, 2, 3, 4, 5, 6]], area=3.25),
        box(segmentation=rle, area=14.0),
        box(segmentation=[], area=14),
        box(attributes={"weight": math.nan}, difficult=1),
    ]
    parsed = coco.read(make_tree(only_file(document([image()], records))))
    attributes = [None if text is None else json.loads(text) for text in parsed.annotations["attributes"]]
    assert attributes[0] == {"area": 3.25, "segmentation": [[1, 2, 3, 4, 5, 6]]}
    assert attributes[1] == {"segmentation": rle}
    assert attributes[2] is None
    assert attributes[3] == {"attributes": {"weight": None}}
    assert parsed.annotations["difficult"].to_list() == [False, False, False, True]


def test_ids_written_once_as_text_and_once_as_numbers_are_the_same(make_tree: MakeTree) -> None:
    parsed = coco.read(make_tree(only_file(document([image("1")], [box(1), box(1.0, category_id="1")]))))
    assert parsed.annotations["category"].to_list() == ["cat", "cat"]
    assert parsed.ledger == ()


def test_categories_are_united_by_name_in_the_order_of_their_ids(make_tree: MakeTree) -> None:
    root = make_tree(
        {
            "train.json": document(
                [image()], [box(category_id=3)], [{"id": 3, "name": "dog"}, {"id": 90, "name": "ant"}]
            ),
            "val.json": document(
                [image(1, "b.jpg")], [box(category_id=2)], [{"id": 2, "name": "dog"}, {"id": 3, "name": "cat"}]
            ),
        }
    )
    parsed = coco.read(root)
    assert parsed.classes == ("dog", "cat", "ant")
    assert parsed.annotations["category"].to_list() == ["dog", "dog"]
    assert parsed.images["split"].to_list() == ["train", "val"]


def test_malformed_categories_and_images_go_to_the_ledger(make_tree: MakeTree) -> None:
    categories = [{"id": 1, "name": "cat"}, {"id": 1, "name": "dog"}, {"name": "x"}, "y", {"id": 10**400, "name": "z"}]
    images = [image(), {"id": 2}, "x", image(3, 7), image(None)]
    parsed = coco.read(make_tree(only_file(document(images, [box()], categories))))
    assert parsed.classes == ("cat",)
    assert [entry.rule for entry in parsed.ledger] == [Rule.MALFORMED] * 8


def test_each_split_folder_may_have_its_own_file_and_equal_names(make_tree: MakeTree) -> None:
    files = {}
    for folder in ("train", "valid"):
        files[f"{folder}/_annotations.coco.json"] = document([image(0, "a.jpg"), image(1, f"{folder}.jpg")], [box(0)])
        files |= {f"{folder}/a.jpg": "", f"{folder}/{folder}.jpg": ""}
    parsed = coco.read(make_tree(files))
    assert parsed.images["name"].to_list() == ["train/a.jpg", "train.jpg", "valid/a.jpg", "valid.jpg"]
    assert parsed.images["split"].to_list() == ["train", "train", "val", "val"]
    assert parsed.images["path"].null_count() == 0


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("a.jpg", "a.jpg"),
        ("a.jpg", "images/a.jpg"),
        ("a.jpg", "train2017/a.jpg"),
        ("a.jpg", "images/train/a.jpg"),
        ("a.jpg", "annotations/a.jpg"),
        ("x/a.jpg", "images/x/a.jpg"),
        ("x\\a.jpg", "images/x/a.jpg"),
        ("./x/a.jpg", "images/x/a.jpg"),
        ("images/a.jpg", "images/a.jpg"),
        ("images/a.jpg", "images/images/a.jpg"),
        ("elsewhere/a.jpg", "pictures/deep/down/a.jpg"),
        ("u\u0308.jpg", "images/\u00fc.jpg"),
        ("\u00fc.jpg", "images/u\u0308.jpg"),
        ("A.JPG", "images/A.JPG"),
    ],
)
def test_images_are_found_where_people_put_them(make_tree: MakeTree, name: str, place: str) -> None:
    root = make_tree({"annotations/instances_train2017.json": document([image(1, name)], []), place: b"x"})
    parsed = coco.read(root)
    assert Path(parsed.images["path"][0]) == root / place
    assert parsed.images["split"][0] == "train"


def test_a_missing_image_keeps_its_row(make_tree: MakeTree) -> None:
    parsed = coco.read(make_tree(only_file(document([image(1, "gone.jpg")], [box()]))))
    assert parsed.images["path"].to_list() == [None]
    assert parsed.annotations.height == 1


def test_an_image_of_another_split_is_not_taken_for_a_missing_one(make_tree: MakeTree) -> None:
    root = make_tree({"annotations/instances_train.json": document([image()], []), "val/a.jpg": "", "train/b.jpg": ""})
    assert coco.read(root).images["path"].to_list() == [None]


def test_a_missing_image_is_not_taken_for_one_that_has_its_own_record(make_tree: MakeTree) -> None:
    content = document([image(1, "a.jpg"), image(2, "x/a.jpg"), image(3, "x/b.jpg")], [])
    parsed = coco.read(make_tree({"annotations/a.json": content, "images/x/a.jpg": "", "images/x/b.jpg": ""}))
    assert parsed.images["name"].to_list() == ["a.jpg", "x/a.jpg", "x/b.jpg"]
    assert parsed.images["path"].is_null().to_list() == [True, False, False]


def test_names_that_contain_an_image_folder_are_not_mixed_up(make_tree: MakeTree) -> None:
    root = make_tree(
        {
            "annotations/x.json": document([image(1, "a.jpg"), image(2, "images/a.jpg")], []),
            "images/a.jpg": "",
            "images/images/a.jpg": "",
        }
    )
    assert coco.read(root).images["path"].to_list() == [str(root / "images/a.jpg"), str(root / "images/images/a.jpg")]


def test_keypoints_of_the_same_images_do_not_count_twice(make_tree: MakeTree) -> None:
    content = document([image()], [box()])
    files = {"annotations/instances_val.json": content, "annotations/person_keypoints_val.json": content}
    assert coco.read(make_tree(files)).annotations.height == 1


def test_a_bom_and_blanks_before_the_document_are_fine(make_tree: MakeTree) -> None:
    assert (
        coco.read(make_tree({"a.json": b"\xef\xbb\xbf \n" + document([image()], [box()]).encode()})).images.height == 1
    )


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_a_file_in_another_encoding_is_recognised(make_tree: MakeTree, encoding: str) -> None:
    predictions = json.dumps([box(score=0.5)])
    content = {"a.json": document([image()], [box()]), "results.json": predictions}
    root = make_tree({name: text.encode(encoding) for name, text in content.items()} | {"images/a.jpg": ""})
    assert coco.detect(root)
    assert coco.read(root).annotations["kind"].to_list() == ["ground_truth", "prediction"]


def test_half_a_surrogate_pair_in_a_name_goes_to_the_ledger(make_tree: MakeTree) -> None:
    categories = [*CATEGORIES, {"id": 9, "name": "\ud800"}]
    images = [image(), image(2, "\udc00.jpg")]
    parsed = coco.read(make_tree(only_file(document(images, [box(), box(category_id=9)], categories))))
    assert (parsed.classes, parsed.images["name"].to_list()) == (("cat", "dog"), ["a.jpg"])
    assert parsed.annotations["category"].to_list() == ["cat", None]
    assert [(entry.image, entry.rule) for entry in parsed.ledger] == [
        ("annotations/instances.json", Rule.UNSAFE_NAME),
        ("\\udc00.jpg", Rule.UNSAFE_NAME),
    ]


def test_other_json_files_do_not_disturb(make_tree: MakeTree) -> None:
    files = {"a.json": document([image()], [box()]), "b.json": "[1]", "c.json": '{"images": 1, "annotations": 2}'}
    assert coco.read(make_tree(files | {"d.json": "", "e.json": "{"})).images.height == 1


def test_a_file_without_categories_is_no_coco(make_tree: MakeTree) -> None:
    root = make_tree({"a.json": '{"images": [], "annotations": []}'})
    with pytest.raises(FormatError, match="images, annotations, categories"):
        coco.read(root)


def test_broken_json_is_named_with_its_line(make_tree: MakeTree) -> None:
    root = make_tree({"x/a.json": '{"images": [],\n"annotations": [}'})
    with pytest.raises(FormatError, match=r"'x/a.json'.*line 2|'a.json'.*line 2"):
        coco.read(root)


def test_json_nested_to_harm_is_refused(make_tree: MakeTree) -> None:
    root = make_tree({"a.json": '{"images": [], "annotations": ' + "[" * 100_000})
    with pytest.raises(UnsafeInputError, match="deep"):
        coco.read(root)


def test_coco_tiny_comes_out_whole(real_data: Callable[[str], Path]) -> None:
    parsed = coco.read(real_data("coco_tiny"))
    assert (parsed.images.height, parsed.annotations.height, len(parsed.classes)) == (80, 815, 80)
    assert parsed.annotations["crowd"].sum() == 11
    assert parsed.classes[0] == "person"
    assert parsed.classes[-1] == "toothbrush"
    assert parsed.images["path"].null_count() == 0
    assert parsed.images["split"].unique().to_list() == ["val"]
    assert parsed.ledger == ()


def result(image_id: object = 1, score: object = 0.5, **more: object) -> dict[str, object]:
    return {"image_id": image_id, "category_id": 7, "bbox": [1.5, 2, 3, 4], "score": score, **more}


def test_a_results_file_beside_the_data_set_gives_predictions(make_tree: MakeTree) -> None:
    files = only_file(document([image()], [box()])) | {
        "results/detections.json": json.dumps([result(), result(score=1)])
    }
    parsed = coco.read(make_tree(files))
    assert parsed.annotations["kind"].to_list() == ["ground_truth", "prediction", "prediction"]
    assert parsed.annotations["score"].to_list() == [None, 0.5, 1.0]
    assert parsed.annotations["category"].to_list() == ["cat", "dog", "dog"]
    assert parsed.annotations["image_id"].to_list() == [0, 0, 0]
    assert parsed.annotations.row(1)[2:6] == (1.5, 2.0, 3.0, 4.0)
    assert parsed.ledger == ()


def test_results_that_cannot_be_used_go_to_the_ledger(make_tree: MakeTree) -> None:
    results = [result(), result(99), result(score=None), result(bbox=[1]), 5]
    parsed = coco.read(make_tree(only_file(document([image()], [])) | {"r.json": json.dumps(results)}))
    assert parsed.annotations.height == 1
    assert [entry.rule for entry in parsed.ledger] == [Rule.MISSING_IMAGE] + [Rule.MALFORMED] * 3
    assert [entry.image for entry in parsed.ledger] == ["r.json"] * 4
    assert parsed.ledger[1].annotation == "[2]"
    assert "annotations/instances.json" in parsed.ledger[0].detail


def test_results_belong_to_the_data_set_that_has_their_images(make_tree: MakeTree) -> None:
    files = {
        "annotations/instances_train.json": document([image(1, "a.jpg"), image(2, "b.jpg")], []),
        "annotations/instances_val.json": document([image(1, "c.jpg"), image(3, "d.jpg")], []),
        "results_val.json": json.dumps([result(1)]),
        "more.json": json.dumps([result(2)]),
        "x/results_train.json": json.dumps([result(3)]),
    }
    parsed = coco.read(make_tree(files))
    names = parsed.annotations.join(parsed.images, on="image_id", maintain_order="left")["name"].to_list()
    assert sorted(names) == ["b.jpg", "c.jpg", "d.jpg"]


def test_results_without_a_data_set_are_no_coco(make_tree: MakeTree) -> None:
    root = make_tree({"results.json": json.dumps([result()]), "a.jpg": ""})
    assert not coco.detect(root)
    with pytest.raises(FormatError, match="images, annotations, categories"):
        coco.read(root)


@pytest.mark.parametrize(
    "order",
    [("annotations", "categories", "images"), ("categories", "annotations", "images"), ("images", "annotations")],
)
@pytest.mark.parametrize("indent", [None, 1])
def test_the_order_of_the_lists_does_not_matter(
    make_tree: MakeTree, order: tuple[str, ...], indent: int | None
) -> None:
    lists = json.loads(document([image()], [box(), box(category_id=7)]))
    content = {key: lists[key] for key in order} | {"info": {"a": [1, {"b": "]"}]}} | lists
    parsed = coco.read(make_tree(only_file(json.dumps(content, indent=indent))))
    assert parsed.annotations["category"].to_list() == ["cat", "dog"]
    assert parsed.annotations["image_id"].to_list() == [0, 0]


def test_annotations_of_many_blocks_come_out_in_their_order(make_tree: MakeTree) -> None:
    records = [box(1 + number % 3, id=number, bbox=[number, 0, 1, 1], note="x" * 100) for number in range(12_000)]
    names = [image(number, f"{number}.jpg") for number in (1, 2, 3)]
    parsed = coco.read(make_tree({"a.json": document(names, records), "1.jpg": ""}))
    assert parsed.annotations["source_id"].to_list() == [str(number) for number in range(12_000)]
    assert parsed.annotations["x"].to_list() == list(map(float, range(12_000)))


def test_a_broken_member_nobody_reads_is_still_an_error(make_tree: MakeTree) -> None:
    content = document([image()], [box()])[:-1] + ',\n"info": {"a": tru}}'
    with pytest.raises(FormatError, match=r"line 2"):
        coco.read(make_tree({"a.json": content}))
