import gzip
import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from components.data_load.unpack import settle, suffix_of, unpack, unpack_beside
from components.shared.errors import SourceError, UnsafeInputError


def zipped(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def tarred(files: dict[str, bytes], mode: str = "w:gz") -> bytes:
    """The same bytes at any time: they are part of test names, on which parallel workers must agree."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return gzip.compress(buffer.getvalue(), mtime=0) if mode == "w:gz" else buffer.getvalue()


def unpacked(tmp_path: Path, data: bytes, name: str = "data.zip") -> list[str]:
    (tmp_path / name).write_bytes(data)
    root = unpack(tmp_path / name, tmp_path / "out")
    return sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())


def test_archives_side_by_side_are_all_unpacked_beside_each_other(tmp_path: Path) -> None:
    data = zipped({
        "coco/train2017.zip": zipped({"train2017/a.jpg": b"a"}),
        "coco/val2017.tar.gz": tarred({"val2017/b.jpg": b"b"}),
        "coco/annotations_trainval2017.zip": zipped({"annotations/instances_val2017.json": b"{}"}),
        "coco/README.md": b"read me",
        "__MACOSX/coco/._train2017.zip": b"\0",
    })  # fmt: skip
    assert unpacked(tmp_path, data) == [
        *("coco/README.md", "coco/annotations/instances_val2017.json"),
        *("coco/train2017/a.jpg", "coco/val2017/b.jpg"),
    ]


def test_archives_whose_top_folders_are_called_the_same_do_not_mix(tmp_path: Path) -> None:
    inner = {"images/1.jpg": b"1", "labels/1.txt": b""}
    data = zipped({"train.zip": zipped(inner), "val.zip": zipped(inner)})
    assert unpacked(tmp_path, data) == [f"{split}/{name}" for split in ("train", "val") for name in inner]


def test_one_folder_in_two_archives_goes_below_the_second_ones_name(tmp_path: Path) -> None:
    data = zipped({"a.zip": zipped({"data/1.jpg": b"1"}), "b.zip": zipped({"data/1.jpg": b"2"})})
    assert unpacked(tmp_path, data) == ["b/data/1.jpg", "data/1.jpg"]


def test_an_archive_in_an_archive_in_an_archive_is_entered_and_no_further(tmp_path: Path) -> None:
    twice = zipped({"outer.tar": tarred({"inner.zip": zipped({"images/a.jpg": b"a"})}, "w")})
    assert unpacked(tmp_path, twice) == ["outer/images/a.jpg"]
    (tmp_path / "deep").mkdir()
    with pytest.raises(UnsafeInputError, match="more than 2 deep"):
        unpacked(tmp_path / "deep", zipped({"more.zip": zipped({"most.zip": twice})}))


def test_an_archive_among_images_stays_as_it_is(tmp_path: Path) -> None:
    data = zipped({"images/a.jpg": b"a", "models.zip": zipped({"x": b"x"})})
    assert unpacked(tmp_path, data) == ["images/a.jpg", "models.zip"]


def test_a_bomb_of_nested_archives_is_stopped_by_the_sum_of_all_levels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("components.data_load.unpack._LEAST", 1_000_000)
    part = zipped({"zeros": bytes(400_000)})
    data = zipped({f"{number}.zip": part for number in range(400)})
    monkeypatch.setattr("components.data_load.unpack._RATIO", 2)
    with pytest.raises(UnsafeInputError, match="unpacks to more than"):
        unpacked(tmp_path, data)


def test_a_hostile_member_of_an_inner_archive_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnsafeInputError, match="climbs out"):
        unpacked(tmp_path, zipped({"inner.zip": zipped({"../../../escaped": b"x"})}))
    assert not (tmp_path / "escaped").exists()


def test_a_folder_of_archives_is_unpacked_elsewhere_and_left_alone(tmp_path: Path) -> None:
    source = tmp_path / "downloads"
    source.mkdir()
    (source / "val2017.zip").write_bytes(zipped({"val2017/a.jpg": b"a"}))
    (source / "annotations.zip").write_bytes(zipped({"annotations/instances_val2017.json": b"{}"}))
    root = unpack_beside(source, tmp_path / "out")
    assert (root / "val2017" / "a.jpg").read_bytes() == b"a"
    assert sorted(path.name for path in source.iterdir()) == ["annotations.zip", "val2017.zip"]
    (source / "more.jpg").write_bytes(b"b")
    assert unpack_beside(source, tmp_path / "other") == source


@pytest.mark.parametrize(
    ("data", "suffix"),
    [
        (zipped({"a": b"a"}), ".zip"),
        (tarred({"a": b"a"}), ".tar.gz"),
        (tarred({"a": b"a"}, "w"), ".tar"),
        (b"{}", None),
        (b"", None),
    ],
)
def test_an_archive_is_known_by_its_bytes(tmp_path: Path, data: bytes, suffix: str | None) -> None:
    (tmp_path / "file").write_bytes(data)
    assert suffix_of(tmp_path / "file") == suffix


@pytest.mark.parametrize(
    ("address", "data", "media_type", "name"),
    [
        ("https://h/get?id=3", zipped({"a": b"a"}), "application/octet-stream", "get.zip"),
        ("https://h/cats.tgz", tarred({"a": b"a"}), "", "cats.tgz"),
        ("https://h/cats.zip", tarred({"a": b"a"}), "application/zip", "cats.zip.tar.gz"),
        ("https://h/", zipped({"a": b"a"}), "", "source.zip"),
        ("https://h/%2e%2e%2f.a%00b.json", b'{"images": []}', "text/html", None),
        ("https://h/..%2f.a%00b.json", b'{"images": []}', "", "_.a_b.json"),
        ("https://h/output.manifest", b'{"source-ref": 1}\n', "", "output.manifest"),
        ("https://h/instances", b"\xef\xbb\xbf\n [1]", "", "instances.json"),
        ("https://h/boxes.csv", b"image,label\n", "text/csv", "boxes.csv"),
        ("https://h/cats.zip", b"<!DOCTYPE HTML><html>", "", None),
        ("https://h/cats.zip", b"  <html><body>Sign in", "text/plain", None),
        ("https://h/cats.zip", b"", "", None),
        ("https://h/cats.zip", b"MZ\x90", "", None),
    ],
)
def test_a_download_is_named_by_what_it_is(
    tmp_path: Path, address: str, data: bytes, media_type: str, name: str | None
) -> None:
    (tmp_path / "file").write_bytes(data)
    if name is None:
        with pytest.raises(SourceError, match=r"web page|is empty|neither an archive"):
            settle(tmp_path / "file", address, media_type, address)
    else:
        assert settle(tmp_path / "file", address, media_type, address).name == name
