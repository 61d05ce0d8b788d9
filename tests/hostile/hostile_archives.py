"""Archives that try to write elsewhere, or to fill the disk or the memory."""

import gzip
import io
import stat
import struct
import tarfile
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

from hostile_case import HONEST, Case

_MEGABYTE = 1 << 20
UNSAFE, SOURCE = "UnsafeInputError", "SourceError"
_ZEROS = bytes(_MEGABYTE)


def _zip(*members: tuple[str | zipfile.ZipInfo, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in HONEST.items():
            archive.writestr(name, content)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a name that is there twice is meant to be
            for info, data in members:
                archive.writestr(info, data)
    return buffer.getvalue()


def _zipped(name: str) -> Callable[[Path, Path], Path]:
    return _file("a.zip", lambda outside: _zip((name.replace("OUTSIDE", str(outside)), b"evil")))


def _file(name: str, content: Callable[[Path], bytes]) -> Callable[[Path, Path], Path]:
    def make(folder: Path, outside: Path) -> Path:
        (folder / name).write_bytes(content(outside))
        return folder / name

    return make


def _zip_link(outside: Path) -> bytes:
    info = zipfile.ZipInfo("images/link.jpg")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return _zip((info, str(outside / "secret.jpg").encode()))


def _zip_with_nul(_outside: Path) -> bytes:
    return _zip(("images/evilX.jpg", b"x")).replace(b"evilX", b"evil\0")


def _zip_bomb(_outside: Path) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("images/bomb.bmp", "w") as handle:
        for _ in range(60):
            handle.write(_ZEROS)
    return buffer.getvalue()


def _zip_that_lies(_outside: Path) -> bytes:
    """Its directory says ten bytes, its member is larger."""
    data = _zip(("images/liar.bmp", bytes(5000)))
    return data.replace(struct.pack("<L", 5000), struct.pack("<L", 10))


def _zip_of_millions(_outside: Path) -> bytes:
    """Nothing but a directory: a hundred megabytes that would be gigabytes of objects."""
    directory = (b"PK\x01\x02" + bytes(42)) * 2_000_001
    return directory + struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 0, 0, len(directory), 0, 0)


def _zip_with_one_body(_outside: Path) -> bytes:
    """Many members that share the bytes of one, as the better zip bombs do."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("kernel", bytes(9 * _MEGABYTE))
        kernel = archive.infolist()[0]
        for i in range(5000):
            info = zipfile.ZipInfo(f"images/{i:06}.bmp")
            info.compress_type, info.CRC = kernel.compress_type, kernel.CRC
            info.compress_size, info.file_size = kernel.compress_size, kernel.file_size
            info.header_offset = kernel.header_offset
            archive.filelist.append(info)
            archive.NameToInfo[info.filename] = info
    return buffer.getvalue()


def _nested(levels: int) -> Callable[[Path], bytes]:
    def build(_outside: Path) -> bytes:
        data = _zip(("images/deep.bmp", bytes(9 * _MEGABYTE)))
        for level in range(levels):
            buffer = io.BytesIO()
            with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
                archive.writestr(f"level{level}.zip", data)
            data = buffer.getvalue()
        return data

    return build


def _tar(*members: tuple[tarfile.TarInfo, bytes | None]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in HONEST.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
        for info, extra in members:
            archive.addfile(info, None if extra is None else io.BytesIO(extra))
    return buffer.getvalue()


def _member(name: str, kind: bytes = tarfile.REGTYPE, target: str = "", size: int = 4) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, target, size if kind == tarfile.REGTYPE else 0
    return info


def _tarred(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> Callable[[Path, Path], Path]:
    def build(outside: Path) -> bytes:
        info = _member(name.replace("OUTSIDE", str(outside)), kind, target.replace("OUTSIDE", str(outside)))
        return _tar((info, b"evil" if kind == tarfile.REGTYPE else None))

    return _file("a.tar", build)


def _tar_through_link(outside: Path) -> bytes:
    return _tar((_member("door", tarfile.SYMTYPE, str(outside)), None), (_member("door/evil.jpg"), b"evil"))


def _tar_with_nul(_outside: Path) -> bytes:
    info = _member("images/x.jpg")
    info.pax_headers = {"path": "images/evil\0.jpg"}
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        archive.addfile(info, io.BytesIO(b"evil"))
    return buffer.getvalue()


def _gzip_bomb(_outside: Path) -> bytes:
    head = _member("images/bomb.bmp", size=3000 * _MEGABYTE).tobuf()
    buffer = io.BytesIO()
    with gzip.GzipFile(fileobj=buffer, mode="wb", compresslevel=1) as handle:
        handle.write(head)
        for _ in range(100):
            handle.write(_ZEROS)
    return buffer.getvalue()


def _tar_with_a_huge_header(_outside: Path) -> bytes:
    info = tarfile.TarInfo("././@PaxHeader")
    info.type, info.size = tarfile.XHDTYPE, 1 << 40
    return info.tobuf() + bytes(4096)


def _tar_with_a_huge_file(_outside: Path) -> bytes:
    return _member("images/huge.bmp", size=1 << 50).tobuf() + bytes(4096)


CASES = (
    Case("a zip member that climbs", _zipped("../../evil.jpg"), "../../evil.jpg", UNSAFE),
    Case("a zip member that climbs inside", _zipped("images/../../evil.jpg"), "images/../../evil.jpg", UNSAFE),
    Case("a zip member with an absolute path", _zipped("OUTSIDE/evil.jpg"), "evil.jpg", UNSAFE),
    Case("a zip member with backslashes", _zipped("..\\..\\evil.jpg"), "evil.jpg", UNSAFE),
    Case("a zip member on a drive", _zipped("C:\\evil.jpg"), "evil.jpg", UNSAFE),
    Case("a zip member on a share", _zipped("\\\\host\\share\\evil.jpg"), "evil.jpg", UNSAFE),
    Case(
        "a zip member that is there twice",
        _file("a.zip", lambda _: _zip(("images/good.jpg", b"x"))),
        "good.jpg",
        UNSAFE,
    ),
    Case("a zip member that is a link", _file("a.zip", _zip_link), "images/link.jpg", UNSAFE),
    Case("a zip member with a NUL", _file("a.zip", _zip_with_nul), "evil", UNSAFE),
    Case("a zip member below a file", _zipped("images/good.jpg/evil.jpg"), "images/good.jpg/evil.jpg", UNSAFE),
    Case("a zip bomb", _file("a.zip", _zip_bomb), "a.zip", UNSAFE),
    Case("a zip of two million empty members", _file("a.zip", _zip_of_millions), "a.zip", UNSAFE),
    Case("a zip bomb of overlapping members", _file("a.zip", _zip_with_one_body), "a.zip", UNSAFE),
    Case("a zip that lies about a size", _file("a.zip", _zip_that_lies), "a.zip", SOURCE),
    Case("a zip cut short", _file("a.zip", lambda _: _zip()[:-30]), "a.zip", SOURCE),
    Case(
        "a zip with a broken body",
        _file("a.zip", lambda _: _zip().replace(b"\x9c", b"\x9d").replace(b"\x55", b"\x54")),
        "a.zip",
        SOURCE,
    ),
    Case("zips nested ten deep", _file("a.zip", _nested(10)), ".zip", UNSAFE),
    Case("a tar member that climbs", _tarred("../../evil.jpg"), "../../evil.jpg", UNSAFE),
    Case("a tar member with an absolute path", _tarred("OUTSIDE/evil.jpg"), "evil.jpg", UNSAFE),
    Case("a tar member with backslashes", _tarred("..\\..\\evil.jpg"), "evil.jpg", UNSAFE),
    Case(
        "a symbolic link out of a tar", _tarred("images/l.jpg", tarfile.SYMTYPE, "OUTSIDE/secret.jpg"), "l.jpg", UNSAFE
    ),
    Case("a hard link out of a tar", _tarred("images/l.jpg", tarfile.LNKTYPE, "OUTSIDE/secret.jpg"), "l.jpg", UNSAFE),
    Case("a tar that writes through its own link", _file("a.tar", _tar_through_link), "door", UNSAFE),
    Case("a device in a tar", _tarred("images/d.jpg", tarfile.CHRTYPE), "d.jpg", UNSAFE),
    Case("a pipe in a tar", _tarred("images/p.jpg", tarfile.FIFOTYPE), "p.jpg", UNSAFE),
    Case("a tar member that is there twice", _tarred("images/good.jpg"), "good.jpg", UNSAFE),
    Case("a tar member with a NUL", _file("a.tar", _tar_with_nul), "evil", UNSAFE),
    Case("a tar with a header of a terabyte", _file("a.tar", _tar_with_a_huge_header), "a.tar", SOURCE),
    Case("a tar with a file of a petabyte", _file("a.tar", _tar_with_a_huge_file), "huge.bmp"),
    Case("a gzip bomb", _file("a.tar.gz", _gzip_bomb), "", UNSAFE),
    Case("a tar cut short", _file("a.tar", lambda _: _tar()[:700]), "a.tar", SOURCE),
    Case("noise for an archive", _file("a.zip", lambda _: bytes(range(256)) * 9), "a.zip", SOURCE),
)
