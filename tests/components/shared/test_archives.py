import gzip
import io
import os
import stat
import struct
import tarfile
import tracemalloc
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from components.shared.archives import Limits, extract
from components.shared.errors import SourceError, UnsafeInputError

CONTENT = {"set/images/a b.jpg": b"image", "set/labels/a b.txt": b"0 0.5 0.5 1 1\n", "ü.txt": b""}


def make_zip(path: Path, members: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def make_tar(path: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w" if path.suffix == ".tar" else "w:gz") as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def add_tar_member(path: Path, **fields: object) -> Path:
    with tarfile.open(path, "w") as archive:
        info = tarfile.TarInfo("member")
        for name, value in fields.items():
            setattr(info, name, value)
        archive.addfile(info)
    return path


def make(path: Path, members: dict[str, bytes]) -> Path:
    return make_zip(path, members) if path.suffix == ".zip" else make_tar(path, members)


def files_below(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def refuse(archive: Path, tmp_path: Path, kind: type[Exception], match: str, limits: Limits | None = None) -> None:
    """The archive is refused, nothing is left in the destination, nothing has appeared beside it."""
    home = tmp_path / "home"
    before = {path for path in tmp_path.rglob("*") if path != home}
    with pytest.raises(kind, match=match) as caught:
        extract(archive, home / "destination", limits or Limits())
    assert "\n" not in str(caught.value)
    assert not (home / "destination").exists()
    assert {path for path in tmp_path.rglob("*") if path != home} == before


@pytest.fixture(params=["a.zip", "a.tar", "a.tar.gz", "A.TGZ"])
def archive_name(request: pytest.FixtureRequest) -> str:
    return request.param


def test_every_kind_of_archive_is_unpacked(tmp_path: Path, archive_name: str) -> None:
    archive = make(tmp_path / archive_name, CONTENT)
    destination = extract(archive, tmp_path / "out")
    assert destination == tmp_path / "out"
    assert files_below(destination) == CONTENT


def test_what_macos_adds_is_left_out(tmp_path: Path, archive_name: str) -> None:
    extras = {"__MACOSX/._a.jpg": b"x", "set/.DS_Store": b"x", "set/a.jpg": b"y"}
    assert files_below(extract(make(tmp_path / archive_name, extras), tmp_path / "out")) == {"set/a.jpg": b"y"}


def test_an_existing_empty_folder_is_filled_and_stays_when_the_archive_is_refused(tmp_path: Path) -> None:
    destination = tmp_path / "out"
    destination.mkdir()
    with pytest.raises(UnsafeInputError):
        extract(make_zip(tmp_path / "bad.zip", {"good": b"1", "../evil": b"1"}), destination)
    assert list(destination.iterdir()) == []
    extract(make_zip(tmp_path / "good.zip", {"good": b"1"}), destination)
    assert files_below(destination) == {"good": b"1"}


def test_a_folder_that_holds_something_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("1")
    with pytest.raises(SourceError, match="not an empty folder"):
        extract(make_zip(tmp_path / "a.zip", CONTENT), tmp_path / "out")
    assert files_below(tmp_path / "out") == {"mine": b"1"}


@pytest.mark.parametrize(
    "name",
    ["../evil", "a/../../evil", "/evil", "//evil", "C:/evil", "..\\evil", "a\\..\\..\\evil", "\\evil", "C:\\evil"],
)
def test_a_member_that_would_leave_the_destination_is_refused(tmp_path: Path, archive_name: str, name: str) -> None:
    archive = make(tmp_path / archive_name, {"good": b"1", name: b"1"})
    refuse(archive, tmp_path, UnsafeInputError, "evil.* (absolute path|climbs out)")


def test_backslashes_of_a_windows_zip_separate_folders(tmp_path: Path) -> None:
    destination = extract(make_zip(tmp_path / "a.zip", {"images\\a.jpg": b"1"}), tmp_path / "out")
    assert files_below(destination) == {"images/a.jpg": b"1"}


def test_utf8_names_that_a_zip_does_not_declare_come_out_right(tmp_path: Path) -> None:
    archive = make_zip(tmp_path / "a.zip", {"über.jpg": b"1"})
    data = bytearray(archive.read_bytes())
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        place = data.index(signature) + offset
        data[place : place + 2] = b"\0\0"
    archive.write_bytes(data)
    assert files_below(extract(archive, tmp_path / "out")) == {"über.jpg": b"1"}


@pytest.mark.parametrize(
    "fields",
    [
        {"type": tarfile.SYMTYPE, "linkname": "/etc/passwd"},
        {"type": tarfile.LNKTYPE, "linkname": "/etc/passwd"},
        {"type": tarfile.CHRTYPE, "devmajor": 1, "devminor": 3},
        {"type": tarfile.BLKTYPE},
        {"type": tarfile.FIFOTYPE},
    ],
)
def test_links_and_devices_in_a_tar_are_refused(tmp_path: Path, fields: dict[str, object]) -> None:
    archive = add_tar_member(tmp_path / "a.tar", **fields)
    refuse(archive, tmp_path, UnsafeInputError, "'member' of 'a.tar' is a link, a device")


def test_links_in_a_zip_are_refused(tmp_path: Path) -> None:
    info = zipfile.ZipInfo("link")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(info, "/etc/passwd")
    refuse(tmp_path / "a.zip", tmp_path, UnsafeInputError, "'link' of 'a.zip' is a link")


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("suffix", [".zip", ".tar"])
def test_a_member_that_comes_twice_is_refused(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    if suffix == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("a.jpg", b"1")
            archive.writestr("./a.jpg", b"2")
    else:
        make_tar(path, {"a.jpg": b"1", "./a.jpg": b"2"})
    refuse(path, tmp_path, UnsafeInputError, "'./a.jpg' twice")


def test_names_that_differ_in_case_are_two_files(tmp_path: Path) -> None:
    assert len(files_below(extract(make_zip(tmp_path / "a.zip", {"a": b"1", "A": b"2"}), tmp_path / "out"))) == 2


@pytest.mark.parametrize("names", [("a", "a/b"), ("a/b", "a")])
def test_a_file_that_is_also_a_folder_is_refused(tmp_path: Path, archive_name: str, names: tuple[str, ...]) -> None:
    archive = make(tmp_path / archive_name, dict.fromkeys(names, b"1"))
    refuse(archive, tmp_path, (UnsafeInputError, SourceError), "a")


def test_a_nul_in_a_name_is_refused(tmp_path: Path) -> None:
    archive = make_zip(tmp_path / "a.zip", {"a.jpgX.exe": b"1"})
    archive.write_bytes(archive.read_bytes().replace(b"a.jpgX.exe", b"a.jpg\0.exe"))
    refuse(archive, tmp_path, UnsafeInputError, "NUL")


def test_an_encrypted_member_is_refused(tmp_path: Path) -> None:
    archive = make_zip(tmp_path / "a.zip", {"secret": b"1"})
    data = bytearray(archive.read_bytes())
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(signature) + offset] |= 1
    archive.write_bytes(data)
    refuse(archive, tmp_path, SourceError, "'secret' of 'a.zip' is encrypted")


def test_too_many_members_are_refused(tmp_path: Path, archive_name: str) -> None:
    archive = make(tmp_path / archive_name, CONTENT)
    refuse(archive, tmp_path, UnsafeInputError, "more than 2 members", Limits(members=2))


def crowded_zip(path: Path, count: int, *, size: int | None = None, zip64: bool = False) -> Path:
    """A zip that is nothing but the directory of ``count`` members without names."""
    entry = b"PK\x01\x02" + bytes(42)
    size = len(entry) * count if size is None else size
    with path.open("wb") as handle:
        for _ in range(count // 1000):
            handle.write(entry * 1000)
        start = handle.tell()
        if zip64:
            handle.write(struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, count, count, size, 0))
            handle.write(struct.pack("<4sLQL", b"PK\x06\x07", 0, start, 1))
        short = (0xFFFF, 0xFFFF, 0xFFFFFFFF) if zip64 else (count % 65536, count % 65536, size)
        handle.write(struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, *short, 0, 0))
    return path


@pytest.mark.parametrize("zip64", [False, True])
def test_a_zip_of_too_many_members_is_refused_before_its_directory_fills_the_memory(
    tmp_path: Path, *, zip64: bool
) -> None:
    archive = crowded_zip(tmp_path / "a.zip", 200_000, zip64=zip64)
    tracemalloc.start()
    try:
        refuse(archive, tmp_path, UnsafeInputError, "'a.zip' has more than 199999 members", Limits(members=199_999))
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


def test_a_zip_with_a_directory_of_gigabytes_is_refused(tmp_path: Path) -> None:
    archive = tmp_path / "a.zip"
    with archive.open("wb") as handle:
        handle.seek(3 << 30)  # a hole, no bytes on the disk
        handle.write(struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 9, 9, 3 << 30, 0, 0))
    refuse(archive, tmp_path, UnsafeInputError, "has a directory of 3221225472 bytes")


def test_too_many_bytes_are_refused(tmp_path: Path, archive_name: str) -> None:
    archive = make(tmp_path / archive_name, {"a": b"1" * 60, "b": b"1" * 60})
    refuse(archive, tmp_path, UnsafeInputError, "more than 100 bytes at 'b'", Limits(total_bytes=100))


def test_more_bytes_than_the_disk_has_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = make_zip(tmp_path / "a.zip", CONTENT)
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=0))
    refuse(archive, tmp_path, SourceError, "make room")


@pytest.mark.parametrize("name", ["a.zip", "a.tgz"])
def test_a_bomb_is_refused(tmp_path: Path, name: str) -> None:
    archive = make(tmp_path / name, {"zeros": bytes(30_000_000)})
    assert archive.stat().st_size < 100_000
    refuse(archive, tmp_path, UnsafeInputError, "unpacks to")


def test_many_small_members_that_make_a_bomb_are_refused(tmp_path: Path) -> None:
    archive = make_zip(tmp_path / "a.zip", {f"{i}": bytes(9_000_000) for i in range(3)})
    refuse(archive, tmp_path, UnsafeInputError, "more than 200 times its size")


def test_small_files_may_pack_well(tmp_path: Path) -> None:
    assert files_below(extract(make_zip(tmp_path / "a.zip", {"a": bytes(1_000_000)}), tmp_path / "out"))


def test_a_giant_tar_header_is_refused_before_it_fills_the_memory(tmp_path: Path) -> None:
    info = tarfile.TarInfo("././@PaxHeader")
    info.type, info.size = tarfile.XHDTYPE, 1 << 40
    (tmp_path / "a.tar").write_bytes(info.tobuf(tarfile.GNU_FORMAT) + bytes(2048))
    refuse(tmp_path / "a.tar", tmp_path, UnsafeInputError, "header of")


def test_an_archive_cut_short_anywhere_is_refused(tmp_path: Path, archive_name: str) -> None:
    whole = make(tmp_path / archive_name, {f"{i}.jpg": os.urandom(1500) for i in range(4)}).read_bytes()
    data_end = 4 * 2048 if archive_name == "a.tar" else len(whole) - 1
    (tmp_path / archive_name).unlink()
    for length in {0, 1, 100, 512, 2048, 4096, data_end // 2, data_end}:
        cut = tmp_path / archive_name
        cut.write_bytes(whole[:length])
        refuse(cut, tmp_path, SourceError, "damaged or cut short|cannot be unpacked")


def test_flipped_bytes_in_a_zip_or_gzip_are_noticed(tmp_path: Path) -> None:
    for name in ("a.zip", "a.tgz"):
        archive = make(tmp_path / name, {"a.jpg": os.urandom(5000)})
        data = bytearray(archive.read_bytes())
        data[len(data) // 2] ^= 0xFF
        archive.write_bytes(data)
        refuse(archive, tmp_path, SourceError, "damaged or cut short")


def test_a_broken_header_in_a_tar_is_not_taken_for_its_end(tmp_path: Path) -> None:
    archive = make_tar(tmp_path / "a.tar", {"a": b"1" * 600, "b": b"2", "c": b"3"})
    data = bytearray(archive.read_bytes())
    data[1536 + 148 : 1536 + 156] = b"garbage!"
    archive.write_bytes(data)
    refuse(archive, tmp_path, SourceError, "damaged or cut short")


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.tgz"])
def test_a_file_that_is_no_archive_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"this is no archive" * 100)
    refuse(tmp_path / name, tmp_path, SourceError, "damaged or cut short|cannot be unpacked")


def test_an_unknown_suffix_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    (tmp_path / "a.rar").write_bytes(b"x")
    refuse(tmp_path / "a.rar", tmp_path, SourceError, r"\.zip, \.tar, \.tar\.gz, \.tgz")


def test_a_missing_archive_is_named(tmp_path: Path) -> None:
    refuse(tmp_path / "gone.zip", tmp_path, SourceError, "gone.zip.* does not exist")


def test_two_tars_in_one_file_are_refused_rather_than_half_read(tmp_path: Path) -> None:
    first, second = make_tar(tmp_path / "a.tar", {"a": b"1"}), make_tar(tmp_path / "b.tar", {"b": b"1"})
    first.write_bytes(first.read_bytes() + second.read_bytes())
    refuse(first, tmp_path, SourceError, "goes on after its end mark")


def test_concatenated_gzip_members_are_one_archive(tmp_path: Path) -> None:
    plain = make_tar(tmp_path / "a.tar", CONTENT).read_bytes()
    (tmp_path / "b.tgz").write_bytes(gzip.compress(plain[:700]) + gzip.compress(plain[700:]))
    assert files_below(extract(tmp_path / "b.tgz", tmp_path / "out")) == CONTENT
