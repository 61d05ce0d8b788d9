"""The edge cases that public data has and converters get wrong, through reading, loading and preparing."""

import io
import json
import unicodedata
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from PIL import Image

from components.data_load.load import load
from components.data_load.options import LoadOptions
from components.data_prep.outcome import PrepareOptions
from components.data_prep.prepare import prepare
from components.shared.dataset import Dataset
from components.shared.formats.registry import FORMATS
from components.shared.images import decode

pytestmark = pytest.mark.slow

Box = tuple[str, float, float, float, float]
Boxes = Mapping[str, list[Box]]
Load = Callable[..., Dataset]

FOUR = ["coco", "yolo", "voc", "labelstudio"]
SIZE = (40, 20)


def picture(seed: int = 0, size: tuple[int, int] = SIZE, orientation: int = 1) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    buffer = io.BytesIO()
    Image.new("RGB", size, (seed * 37 % 256, 90, 160)).save(buffer, "PNG", exif=exif)
    return buffer.getvalue()


def coco(boxes: Boxes, size: tuple[int, int]) -> dict[str, str]:
    classes = sorted({box[0] for found in boxes.values() for box in found}) or ["cat"]
    images = [{"id": i, "file_name": name, "width": size[0], "height": size[1]} for i, name in enumerate(boxes)]
    annotations = [
        {"id": i * 100 + j, "image_id": i, "category_id": classes.index(box[0]), "bbox": list(box[1:])}
        for i, found in enumerate(boxes.values()) for j, box in enumerate(found)
    ]  # fmt: skip
    categories = [{"id": i, "name": name} for i, name in enumerate(classes)]
    document = {"images": images, "annotations": annotations, "categories": categories}
    return {"annotations.json": json.dumps(document, ensure_ascii=False, indent=1)}


def yolo(boxes: Boxes, size: tuple[int, int]) -> dict[str, str]:
    classes = sorted({box[0] for found in boxes.values() for box in found}) or ["cat"]
    files = {"classes.txt": "".join(f"{name}\n" for name in classes)}
    for name, found in boxes.items():
        lines = [
            f"{classes.index(c)} {(x + w / 2) / size[0]} {(y + h / 2) / size[1]} {w / size[0]} {h / size[1]}\n"
            for c, x, y, w, h in found
        ]
        files[f"labels/{name.rpartition('.')[0]}.txt"] = "".join(lines)
    return files


def voc(boxes: Boxes, size: tuple[int, int]) -> dict[str, str]:
    files = {}
    for name, found in boxes.items():
        objects = "".join(
            f"<object><name>{c}</name><bndbox><xmin>{x}</xmin><ymin>{y}</ymin><xmax>{x + w}</xmax>\n"
            f"<ymax>{y + h}</ymax></bndbox></object>\n" for c, x, y, w, h in found
        )  # fmt: skip
        frame = f"<size><width>{size[0]}</width><height>{size[1]}</height><depth>3</depth></size>"
        document = f"<annotation>\n<filename>{name.rpartition('/')[2]}</filename>{frame}\n{objects}</annotation>\n"
        files[f"Annotations/{name.rpartition('.')[0]}.xml"] = document
    return files


def labelstudio(boxes: Boxes, size: tuple[int, int]) -> dict[str, str]:
    tasks = []
    for i, (name, found) in enumerate(boxes.items()):
        results = [
            {"id": str(j), "type": "rectanglelabels", "to_name": "image", "from_name": "label",
             "original_width": size[0], "original_height": size[1],
             "value": {"x": x / size[0] * 100, "y": y / size[1] * 100, "width": w / size[0] * 100,
                       "height": h / size[1] * 100, "rotation": 0, "rectanglelabels": [c]}}
            for j, (c, x, y, w, h) in enumerate(found)
        ]  # fmt: skip
        data = {"image": f"/data/local-files/?d=images/{name}"}
        tasks.append({"id": i, "data": data, "annotations": [{"id": i, "result": results}]})
    return {"tasks.json": json.dumps(tasks, ensure_ascii=False, indent=1)}


WRITE = {"coco": coco, "yolo": yolo, "voc": voc, "labelstudio": labelstudio}


def build(
    root: Path,
    kind: str,
    boxes: Boxes,
    *,
    pictures: Mapping[str, bytes] | None = None,
    declared: tuple[int, int] = SIZE,
    dress: Callable[[str], bytes] = str.encode,
) -> Path:
    """A source of one format; ``dress`` makes the bytes of its text files, ``declared`` is the size they give."""
    images = pictures or {name: picture(i) for i, name in enumerate(boxes)}
    files: dict[str, bytes] = {f"images/{name}": data for name, data in images.items()}
    files |= {name: dress(text) for name, text in WRITE[kind](boxes, declared).items()}
    for name, data in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return root


@pytest.fixture
def loaded(tmp_path: Path) -> Load:
    def run(source: Path, kind: str = "auto", name: str = "set") -> Dataset:
        options = LoadOptions(source=str(source), format=kind, name=name)
        store = (tmp_path / "store").as_uri()
        return load(options, store, tmp_path / "dataset", tmp_path / "report.html").dataset

    return run


def boxes_of(dataset: Dataset) -> dict[str, list[Box]]:
    names = dict(dataset.images.select("image_id", "name").rows())
    found: dict[str, list[Box]] = {name: [] for name in names.values()}
    for row in dataset.annotations.select("image_id", "category", "x", "y", "width", "height").rows():
        found[names[row[0]]].append((row[1], *(round(side, 4) for side in row[2:])))
    return {name: sorted(rows) for name, rows in sorted(found.items())}


def prepared(dataset: Dataset, **options: Any) -> dict[str, list[Box]]:
    parts = prepare(dataset, PrepareOptions(max_rejected_share=1.0, **options)).splits.values()
    return dict(sorted(item for part in parts for item in boxes_of(part).items()))


def padding(count: int = 8) -> dict[str, list[Box]]:
    """More images, so that there is enough to split."""
    return {f"more{i}.png": [("cat", 1.0, 1.0, 8.0, 8.0)] for i in range(count)}


def test_voc_corners_are_edges_and_ymirs_are_pixels(tmp_path: Path, loaded: Load) -> None:
    root = build(tmp_path / "voc", "voc", {"a.png": [("cat", 4, 3, 11, 7)]})
    assert boxes_of(loaded(root)) == {"a.png": [("cat", 4.0, 3.0, 11.0, 7.0)]}
    ymir = build(tmp_path / "ymir", "voc", {"a.png": [("cat", 4, 3, 11, 7)]})
    path = ymir / "Annotations" / "a.xml"
    path.write_text(path.read_text().replace("</bndbox>", "</bndbox><box_quality>0.5</box_quality>"))
    assert boxes_of(loaded(ymir, "voc")) == {"a.png": [("cat", 4.0, 3.0, 12.0, 8.0)]}


# The same box in a picture of 40 x 20 pixels that EXIF shows as 20 x 40 (orientation 6: turned right).
RAW, UPRIGHT = ("cat", 30.0, 2.0, 8.0, 6.0), ("cat", 12.0, 30.0, 6.0, 8.0)


@pytest.mark.parametrize("kind", FOUR)
def test_boxes_drawn_after_exif_rotation_stay(kind: str, tmp_path: Path, loaded: Load) -> None:
    boxes = {name: [UPRIGHT] for name in ("a.png", *padding())}
    pictures = {name: picture(i, orientation=6) for i, name in enumerate(boxes)}
    dataset = loaded(build(tmp_path / "set", kind, boxes, pictures=pictures, declared=(20, 40)))
    assert dataset.images.select("width", "height", "orientation").row(0) == (20, 40, 6)
    assert boxes_of(dataset)["a.png"] == [UPRIGHT]
    assert prepared(dataset)["a.png"] == [UPRIGHT]


@pytest.mark.parametrize("kind", ["coco", "voc"])
def test_boxes_drawn_before_exif_rotation_are_turned(kind: str, tmp_path: Path, loaded: Load) -> None:
    boxes = {name: [RAW] for name in ("a.png", *padding())}
    pictures = {name: picture(i, orientation=6) for i, name in enumerate(boxes)}
    dataset = loaded(build(tmp_path / "set", kind, boxes, pictures=pictures, declared=(40, 20)))
    assert prepared(dataset)["a.png"] == [UPRIGHT]


def test_label_studio_boxes_are_right_whatever_size_it_noted(tmp_path: Path, loaded: Load) -> None:
    boxes = {name: [UPRIGHT] for name in ("a.png", *padding())}
    pictures = {name: picture(i, orientation=6) for i, name in enumerate(boxes)}
    root = build(tmp_path / "set", "labelstudio", boxes, pictures=pictures, declared=(20, 40))
    text = (root / "tasks.json").read_text()
    swapped = text.replace('"original_width": 20', '"original_width": 40').replace(
        '"original_height": 40', '"original_height": 20'
    )
    (root / "tasks.json").write_text(swapped)
    assert swapped != text
    dataset = loaded(root)
    assert boxes_of(dataset)["a.png"] == [UPRIGHT]
    assert prepared(dataset)["a.png"] == [UPRIGHT]


@pytest.mark.parametrize("kind", FOUR)
def test_dotted_and_colliding_names_keep_their_own_boxes(kind: str, tmp_path: Path, loaded: Load) -> None:
    names = ["a.png", "a.b.png", "a.b.c.png", "x/a.png", "y/a.png", "x/a.b.png", "2024.01.02-cam.1.png"]
    boxes = {name: [("cat", float(i), 1.0, 5.0, 5.0)] for i, name in enumerate(names)}
    assert boxes_of(loaded(build(tmp_path / "set", kind, boxes))) == dict(sorted(boxes.items()))


@pytest.mark.parametrize("kind", ["coco", "voc", "labelstudio"])
def test_names_that_differ_in_their_suffix_keep_their_own_boxes(kind: str, tmp_path: Path, loaded: Load) -> None:
    boxes: Boxes = {"a.png": [("cat", 1.0, 1.0, 5.0, 5.0)], "a.jpg": [("cat", 2.0, 1.0, 5.0, 5.0)]}
    root = build(tmp_path / "set", kind, boxes)
    if kind == "voc":  # one stem can have one file; that of the other is named after the whole name
        document = voc({"a.png": boxes["a.png"]}, SIZE)["Annotations/a.xml"]
        (root / "Annotations" / "a.png.xml").write_text(document)
    assert boxes_of(loaded(root)) == dict(sorted(boxes.items()))


@pytest.mark.parametrize(("in_text", "on_disk"), [("NFC", "NFD"), ("NFD", "NFC"), ("NFD", "NFD")])
@pytest.mark.parametrize("kind", FOUR)
def test_unicode_names_meet_in_either_form(kind: str, in_text: Any, on_disk: Any, tmp_path: Path, loaded: Load) -> None:
    name = "größe/é 日本.png"
    boxes: Boxes = {unicodedata.normalize(in_text, name): [("größe", 1.0, 1.0, 5.0, 5.0)]}
    pictures = {unicodedata.normalize(on_disk, name): picture()}
    dataset = loaded(build(tmp_path / "set", kind, boxes, pictures=pictures))
    assert dataset.images["sha256"].null_count() == 0
    assert boxes_of(dataset) == {unicodedata.normalize("NFC", name): [("größe", 1.0, 1.0, 5.0, 5.0)]}


@pytest.mark.parametrize("kind", FOUR)
def test_folders_below_a_wrapping_folder_are_found(kind: str, tmp_path: Path, loaded: Load) -> None:
    boxes: Boxes = {"deep/er/a.png": [("cat", 1.0, 1.0, 5.0, 5.0)], "deep/b.png": []}
    build(tmp_path / "set" / "wrap" / "again", kind, boxes)
    assert boxes_of(loaded(tmp_path / "set")) == {"deep/b.png": [], "deep/er/a.png": boxes["deep/er/a.png"]}


@pytest.mark.parametrize("kind", FOUR)
def test_what_macs_leave_in_archives_is_no_data(kind: str, tmp_path: Path, loaded: Load) -> None:
    boxes: Boxes = {"x/a.png": [("cat", 1.0, 1.0, 5.0, 5.0)]}
    root = build(tmp_path / "set", kind, boxes)
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        for path in sorted(root.rglob("*")):
            if path.is_file():
                name = path.relative_to(root).as_posix()
                archive.write(path, f"set/{name}")
                folder, _, last = name.rpartition("/")
                archive.writestr(f"__MACOSX/set/{folder}/._{last}", b"\x00\x05\x16\x07Mac OS X")
        archive.writestr("set/.DS_Store", b"\x00\x00\x00\x01Bud1")
    dataset = loaded(tmp_path / "set.zip")
    assert boxes_of(dataset) == boxes
    assert dataset.ledger.is_empty()


@pytest.mark.parametrize("kind", FOUR)
def test_the_same_picture_twice_loses_no_box_in_silence(kind: str, tmp_path: Path, loaded: Load) -> None:
    first, second = ("cat", 1.0, 1.0, 5.0, 5.0), ("cat", 20.0, 10.0, 6.0, 6.0)
    boxes = {"a.png": [first], "b.png": [second], **padding()}
    pictures = {name: picture(i + 5) for i, name in enumerate(boxes)} | {"a.png": picture(), "b.png": picture()}
    dataset = loaded(build(tmp_path / "set", kind, boxes, pictures=pictures))
    assert boxes_of(dataset)["a.png"] == [first]
    assert boxes_of(dataset)["b.png"] == [second]
    outcome = prepare(dataset, PrepareOptions(max_rejected_share=1.0))
    kept = [
        box for part in outcome.splits.values() for name in ("a.png", "b.png") for box in boxes_of(part).get(name, [])
    ]
    told = pl.concat(part.ledger for part in outcome.splits.values()).filter(pl.col("rule") == "duplicate image")
    assert set(kept) == {first, second} or (len(kept) == 1 and told.height >= 1)
    splits = {split for split, part in outcome.splits.items() if {"a.png", "b.png"} & set(part.images["name"])}
    assert len(splits) == 1


def test_a_second_image_with_one_id_is_recorded(tmp_path: Path, loaded: Load) -> None:
    root = build(tmp_path / "set", "coco", {"a.png": [("cat", 1.0, 1.0, 5.0, 5.0)], "b.png": []})
    document = json.loads((root / "annotations.json").read_text())
    document["images"][1]["id"] = 0
    document["annotations"].append({**document["annotations"][0], "bbox": [2, 2, 6, 6]})
    (root / "annotations.json").write_text(json.dumps(document))
    dataset = loaded(root)
    assert boxes_of(dataset)["a.png"] == [("cat", 1.0, 1.0, 5.0, 5.0), ("cat", 2.0, 2.0, 6.0, 6.0)]
    assert dataset.ledger["rule"].to_list() == ["duplicate image id", "unlisted image"]
    assert dataset.annotations["annotation_id"].is_unique().all()


@pytest.mark.parametrize("kind", FOUR)
def test_images_without_objects_stay(kind: str, tmp_path: Path, loaded: Load) -> None:
    boxes: Boxes = {"a.png": [("cat", 1.0, 1.0, 5.0, 5.0)], "empty.png": [], **padding()}
    dataset = loaded(build(tmp_path / "set", kind, boxes))
    assert boxes_of(dataset)["empty.png"] == []
    assert prepared(dataset)["empty.png"] == []
    assert dataset.ledger.is_empty()


@pytest.mark.parametrize(
    "label",
    ["1", "null", *(pytest.param(each, marks=pytest.mark.slow) for each in ("007", "1e3", "3.0", "true", "NaN", "no"))],
)
@pytest.mark.parametrize("kind", FOUR)
def test_class_names_that_look_like_something_else_stay_names(
    kind: str, label: str, tmp_path: Path, loaded: Load
) -> None:
    dataset = loaded(build(tmp_path / "set", kind, {"a.png": [(label, 1.0, 1.0, 5.0, 5.0)]}))
    assert dataset.classes == (label,)
    assert dataset.annotations["category"].to_list() == [label]
    FORMATS["yolo"].write(dataset, tmp_path / "again", lambda _: picture())
    assert FORMATS["yolo"].read(tmp_path / "again").classes == (label,)


def windows(text: str) -> bytes:
    return b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode()


@pytest.mark.parametrize("kind", FOUR)
def test_windows_line_ends_and_byte_order_marks_change_nothing(kind: str, tmp_path: Path, loaded: Load) -> None:
    boxes: Boxes = {"a.png": [("cat", 1.0, 1.0, 5.0, 5.0), ("größe", 2.0, 2.0, 5.0, 5.0)], "b.png": []}
    plain = loaded(build(tmp_path / "plain", kind, boxes))
    dressed = loaded(build(tmp_path / "dressed", kind, boxes, dress=windows), name="other")
    assert dressed.classes == ("cat", "größe")
    assert dressed.version == plain.version
    assert dressed.ledger.is_empty()


@pytest.mark.parametrize("kind", ["yolo", "voc"])
def test_decimal_commas_are_read(kind: str, tmp_path: Path, loaded: Load) -> None:
    boxes: Boxes = {"a.png": [("cat", 1.5, 1.25, 5.5, 5.75)]}

    def commas(text: str) -> bytes:
        return text.replace(".png", "#png").replace(".", ",").replace("#png", ".png").encode()

    root = build(tmp_path / "set", kind, boxes, dress=commas)
    assert boxes_of(loaded(root)) == boxes


def encoded(mode: str, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image = Image.new("L", SIZE, 200).convert("I;16" if mode == "I;16" else mode)
    image.save(buffer, kind, **options)
    return buffer.getvalue()


ENCODINGS = {
    "16-bit png": ("a.png", encoded("I;16", "PNG")),
    "16-bit tiff": ("a.tif", encoded("I;16", "TIFF")),
    "grey jpeg": ("a.jpg", encoded("L", "JPEG")),
    "bitmap png": ("a.png", encoded("1", "PNG")),
    "palette png": ("a.png", encoded("P", "PNG")),
    "transparent png": ("a.png", encoded("RGBA", "PNG")),
    "grey and alpha png": ("a.png", encoded("LA", "PNG")),
    "cmyk jpeg": ("a.jpg", encoded("CMYK", "JPEG")),
    "cmyk tiff": ("a.tif", encoded("CMYK", "TIFF")),
    "animated gif": ("a.gif", encoded("P", "GIF", save_all=True, append_images=[Image.new("P", SIZE, 3)])),
    "animated webp": ("a.webp", encoded("RGB", "WEBP", save_all=True, append_images=[Image.new("RGB", SIZE)])),
    "animated png": ("a.png", encoded("RGB", "PNG", save_all=True, append_images=[Image.new("RGB", SIZE)])),
}


@pytest.mark.parametrize("name", ENCODINGS)
def test_every_kind_of_pixel_is_an_image(name: str, tmp_path: Path, loaded: Load) -> None:
    file, data = ENCODINGS[name]
    boxes: Boxes = {file: [("cat", 1.0, 1.0, 5.0, 5.0)], **padding(3)}
    pictures = {other: picture(i) for i, other in enumerate(padding(3))} | {file: data}
    dataset = loaded(build(tmp_path / "set", "coco", boxes, pictures=pictures))
    row = dataset.images.filter(pl.col("name") == file).row(0, named=True)
    assert (row["width"], row["height"], row["problem"]) == (*SIZE, None)
    pixels = decode(data)
    assert pixels.shape == (20, 40, 3)
    assert file in prepared(dataset)
