import json
import shutil
import zipfile
from pathlib import Path

import polars as pl
import pytest

from components.data_load.gather import gather
from components.data_load.options import LoadOptions
from components.shared.errors import ConfigError, FormatError, SourceError
from components.shared.formats import tree
from components.shared.formats.base import Parsed
from components.shared.ledger import Action, Rule

MULTIFORMAT = Path(__file__).resolve().parents[4] / "shared" / "data" / "odmetrics_multiformat"
VOC = """<annotation><filename>{name}</filename><size><width>40</width><height>24</height><depth>3</depth></size>
<object><name>dog</name><bndbox><xmin>1</xmin><ymin>2</ymin><xmax>9</xmax><ymax>8</ymax></bndbox></object></annotation>"""


def coco(root: Path, images: dict[str, bytes], category: str = "cat") -> Path:
    (root / "images").mkdir(parents=True)
    for name, data in images.items():
        (root / "images" / name).write_bytes(data)
    records = [{"id": n, "file_name": name, "width": 40, "height": 24} for n, name in enumerate(images)]
    boxes = [{"id": n, "image_id": n, "category_id": 1, "bbox": [1, 2, 3, 4]} for n in range(len(images))]
    content = {"images": records, "annotations": boxes, "categories": [{"id": 1, "name": category}]}
    (root / "instances.json").write_text(json.dumps(content))
    return root


def voc(root: Path, images: dict[str, bytes]) -> Path:
    for folder in ("JPEGImages", "Annotations"):
        (root / folder).mkdir(parents=True)
    for name, data in images.items():
        (root / "JPEGImages" / name).write_bytes(data)
        (root / "Annotations" / name).with_suffix(".xml").write_text(VOC.format(name=name))
    return root


def read(source: str | Path, work: Path, **options: object) -> Parsed:
    return gather(LoadOptions(source=str(source), **options), work).parsed  # type: ignore[arg-type]


@pytest.mark.parametrize("write", [json.dumps, "\n".join, lambda sources: "\n".join(["", *sources, "  "])])
def test_several_sources_are_merged_in_order(tmp_path: Path, write: object) -> None:
    sources = [str(coco(tmp_path / "a", {"1.jpg": b"1"})), str(voc(tmp_path / "b", {"2.jpg": b"2"}))]
    gathered = gather(LoadOptions(source=write(sources)), tmp_path / "work")  # type: ignore[operator]
    assert gathered.formats == "coco and voc"
    assert gathered.parsed.classes == ("cat", "dog")
    assert gathered.parsed.images.height == 2


def test_a_folder_of_several_data_sets_of_other_formats_is_read_whole(tmp_path: Path) -> None:
    root = tmp_path / "sites"
    coco(root / "north", {"1.jpg": b"1", "2.jpg": b"2"})
    voc(root / "south", {"3.jpg": b"3"})
    gathered = gather(LoadOptions(source=str(root)), tmp_path / "work")
    assert gathered.formats == "coco and voc"
    assert (gathered.parsed.images.height, gathered.parsed.annotations.height) == (3, 3)
    packed = shutil.make_archive(str(tmp_path / "packed"), "zip", root)
    again = read(packed, tmp_path / "again")
    assert again.images.get_column("name").to_list() == gathered.parsed.images.get_column("name").to_list()


def test_data_sets_of_one_folder_with_one_name_for_two_images_are_named(tmp_path: Path) -> None:
    root = tmp_path / "sites"
    coco(root / "north", {"1.jpg": b"1"})
    voc(root / "south", {"1.jpg": b"other"})
    with pytest.raises(SourceError, match=r"sites/north' and .*sites/south' have different images"):
        read(root, tmp_path / "work")
    last = read(root, tmp_path / "last", name_conflicts="last")
    assert Path(last.images.item(0, "path")).read_bytes() == b"other"
    assert [entry.rule for entry in last.ledger] == [Rule.NAME_CONFLICT]


def test_one_data_set_with_its_labels_in_two_formats_is_not_taken_for_two(tmp_path: Path) -> None:
    root = coco(tmp_path / "both", {"1.jpg": b"1"})
    (root / "labels").mkdir()
    (root / "labels" / "1.txt").write_text("0 0.5 0.5 0.5 0.5\n")
    (root / "classes.txt").write_text("cat\n")
    with pytest.raises(FormatError, match="parameter format"):
        read(root, tmp_path / "work")
    assert read(root, tmp_path / "coco", format="coco").images.height == 1


def test_a_ymir_set_is_one_data_set_and_its_folder_is_listed_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "set"
    for folder in ("images", "gt", "pred"):
        (root / folder).mkdir(parents=True)
        (root / folder / "a.jpg").with_suffix(".jpg" if folder == "images" else ".xml").write_text(
            VOC.format(name="a.jpg")
        )
    listed: list[Path] = []
    look = tree._scan
    monkeypatch.setattr(tree, "_scan", lambda folder: listed.append(folder) or look(folder))
    gathered = gather(LoadOptions(source=str(root)), tmp_path / "work")
    assert gathered.formats == "ymir"
    assert gathered.parsed.annotations["kind"].to_list() == ["ground_truth", "prediction"]
    assert listed == [root]


def test_a_broken_data_set_beside_two_good_ones_is_not_dropped(tmp_path: Path) -> None:
    root = tmp_path / "sites"
    coco(root / "a", {"1.jpg": b"1"})
    voc(root / "b", {"2.jpg": b"2"})
    broken = coco(root / "c", {"3.jpg": b"3"})
    text = (broken / "instances.json").read_text()
    (broken / "instances.json").write_text(text[:-9])
    with pytest.raises(FormatError, match=r"instances\.json"):
        read(root, tmp_path / "work")


def test_the_error_of_an_archive_names_the_source_and_no_scratch_folder(tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.txt").write_text("buy milk")
    packed = shutil.make_archive(str(tmp_path / "packed"), "zip", tmp_path / "notes")
    with pytest.raises(FormatError) as caught:
        read(packed, tmp_path / "work")
    assert repr(packed) in str(caught.value)
    assert str(tmp_path / "work") not in str(caught.value)


def test_progress_of_several_sources_never_goes_back(tmp_path: Path) -> None:
    sources = [str(coco(tmp_path / name, {f"{name}.jpg": name.encode()})) for name in "abc"]
    heard: list[float] = []
    gather(LoadOptions(source=json.dumps(sources)), tmp_path / "work", lambda share, _: heard.append(share))
    assert heard == sorted(heard)
    assert heard[-1] == 1.0


def test_a_bad_source_among_good_ones_is_found_before_anything_is_fetched(tmp_path: Path) -> None:
    good = str(coco(tmp_path / "a", {"1.jpg": b"1"}))
    heard: list[str] = []
    for bad, error in ((str(tmp_path / "none"), SourceError), ("postgresql://h/db", SourceError), (good, SourceError)):
        with pytest.raises(error):
            gather(LoadOptions(source=json.dumps([good, bad])), tmp_path / "work", lambda _, text: heard.append(text))
    with pytest.raises(ConfigError, match="no format"):
        read(good, tmp_path / "work", format="cocoo")
    assert not [text for text in heard if "nothing" in text]


def test_two_formats_of_one_data_set_given_as_two_sources_unite_their_boxes(tmp_path: Path) -> None:
    if not MULTIFORMAT.is_dir():
        pytest.skip("the public data set 'odmetrics_multiformat' is not beside the repository")
    sources = []
    for name in ("pascalvoc_format", "coco_format_v1"):
        root = shutil.copytree(MULTIFORMAT / "gts" / name, tmp_path / name)
        shutil.copytree(MULTIFORMAT / "images", root / "images", dirs_exist_ok=True)
        sources.append(str(root))
    parsed = read(json.dumps(sources), tmp_path / "work")
    assert (parsed.images.height, parsed.annotations.height, len(parsed.classes)) == (100, 2 * 273, 20)
    box = ["image_id", "category", "x", "y", "width", "height"]
    assert parsed.annotations.group_by(box).len().filter(pl.col("len") % 2 == 1).is_empty()


def test_options_that_fit_no_source_are_refused(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "file").write_text("x")
    source = str(tmp_path / "data")
    with pytest.raises(ConfigError, match="name_conflicts is 'frist'; use one of stop, first, last"):
        gather(LoadOptions(source, name_conflicts="frist"), tmp_path / "work")
    with pytest.raises(SourceError, match=r"sql_query is given, but .* is no database"):
        gather(LoadOptions(source, sql_query="select 1"), tmp_path / "work")


def test_an_empty_archive_is_named_as_the_person_named_it(tmp_path: Path) -> None:
    archive = tmp_path / "cats.zip"
    zipfile.ZipFile(archive, "w").close()
    with pytest.raises(SourceError) as refused:
        gather(LoadOptions(str(archive)), tmp_path / "work")
    assert str(refused.value) == f"The archive {str(archive)!r} is empty: pack images and annotations into it."


def test_images_that_no_annotation_file_names_have_a_ledger_row(tmp_path: Path) -> None:
    root = coco(tmp_path / "a", {"1.jpg": b"1"})
    for name in ("2.jpg", "3.jpg"):
        (root / "images" / name).write_bytes(b"2")
    (entry,) = read(root, tmp_path / "work").ledger
    assert (entry.image, entry.rule, entry.action) == ("images/2.jpg", Rule.UNLISTED_IMAGE, Action.LEFT_OUT)
    assert entry.before == {"folder": "images", "images": 2}


def test_a_dataset_of_our_own_store_is_no_coco_file(tmp_path: Path) -> None:
    root = coco(tmp_path / "a", {"1.jpg": b"1"})
    home = root / "store" / "datasets" / "x"
    home.mkdir(parents=True)
    tables = {"images": "0" * 64, "annotations": "0" * 64}
    manifest = {"schema_version": 2, "image_count": 1, "annotation_count": 1, "tables": tables}
    (home / "dataset.json").write_text(json.dumps(manifest))
    assert read(root, tmp_path / "work").ledger == ()
    with pytest.raises(FormatError, match="no annotations this can read"):
        read(root / "store", tmp_path / "work")
