"""Images that declare gigapixels, that are cut short, that are something else, or that would run a program."""

import io
import struct
import zlib
from collections.abc import Callable

from hostile_case import HARMLESS, Case, picture, tree
from PIL import Image

PROBLEM = "unreadable image"


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _png(width: int, height: int, *, rows: int, depth: int = 1, colour: int = 0, extra: bytes = b"") -> bytes:
    """A PNG of zeros that declares a size and holds ``rows`` of its rows."""
    line = bytes(1 + (width * depth * (3 if colour == 2 else 1) + 7) // 8)
    packer = zlib.compressobj(9)
    packed = b"".join(packer.compress(line) for _ in range(rows)) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + extra + _chunk(b"IDAT", packed) + _chunk(b"IEND", b"")


def _packed(kind: bytes) -> bytes:
    """A chunk whose sixty kilobytes unpack to sixty megabytes."""
    return _chunk(kind, b"x\0\0" + zlib.compress(bytes(60 << 20), 9))


def _animation(frames: int) -> bytes:
    buffer = io.BytesIO()
    pages = [Image.new("P", (16, 16), i % 200) for i in range(frames)]
    pages[0].save(buffer, "GIF", save_all=True, append_images=pages[1:], duration=1, optimize=False)
    return buffer.getvalue()


def _gif(width: int, height: int) -> bytes:
    data = bytearray(picture("GIF"))
    data[6:10] = struct.pack("<HH", width, height)
    place = data.index(b",\0\0\0\0")
    data[place + 5 : place + 9] = struct.pack("<HH", width, height)
    return bytes(data)


def _bmp(width: int, height: int) -> bytes:
    data = bytearray(picture("BMP"))
    data[18:26] = struct.pack("<ii", width, height)
    return bytes(data)


def _jpeg(width: int, height: int) -> bytes:
    data = bytearray(picture("JPEG"))
    place = data.index(b"\xff\xc0") + 5
    data[place : place + 4] = struct.pack(">HH", height, width)
    return bytes(data)


def _tiff(tag: int, value: int) -> bytes:
    """A small TIFF in which one field says something else."""
    data = bytearray(picture("TIFF"))
    start, count = struct.unpack("<I", data[4:8])[0], 0
    count = struct.unpack("<H", data[start : start + 2])[0]
    for i in range(count):
        place = start + 2 + 12 * i
        if struct.unpack("<H", data[place : place + 2])[0] == tag:
            data[place + 2 : place + 12] = struct.pack("<HII", 4, 1, value)
    return bytes(data)


def _image(name: str, data: bytes | Callable[[], bytes], rule: str = PROBLEM, file: str = "bad.jpg") -> Case:
    return Case(name, tree({f"images/{file}": data}), file if rule is PROBLEM else "", None, rule)


EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(%pipe%touch CANARY) (w) file\nshowpage\n"
SVG = b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><svg>&x;</svg>'

CASES = (
    _image("a PNG of 48 kB that decodes to gigabytes", lambda: _png(46_000, 46_000, rows=200)),
    _image("a PNG that decodes to a gigapixel and is whole", lambda: _png(20_000, 20_000, rows=20_000, depth=8)),
    _image(
        "a PNG below the limit of pixels that decodes to half a gigabyte",
        lambda: _png(13_000, 13_000, rows=13_000, depth=8, colour=2),
    ),
    _image("a PNG that declares more than there are numbers", lambda: _png(2**31 - 1, 2**31 - 1, rows=0)),
    _image("a PNG with a text bomb", lambda: _png(9, 9, rows=9, extra=_packed(b"zTXt"))),
    _image("a PNG with a profile bomb", lambda: _png(9, 9, rows=9, extra=_packed(b"iCCP"))),
    _image("a GIF that declares gigapixels", _gif(65_535, 65_535)),
    _image("a BMP that declares gigapixels", _bmp(60_000, 60_000)),
    _image("a BMP with a negative size", _bmp(-32, -24)),
    _image("a JPEG that declares gigapixels", _jpeg(65_500, 65_500)),
    _image("a TIFF that declares gigapixels", _tiff(256, 1 << 30)),
    _image("a TIFF whose strips lie elsewhere", _tiff(273, 1 << 30)),
    _image("a GIF of five thousand frames", lambda: _animation(5000), HARMLESS, "bad.gif"),
    _image("a JPEG cut in half", picture(size=(640, 480))[:20_000]),
    _image("a PNG cut in half", picture("PNG", (640, 480))[:20_000]),
    _image("an empty image", b""),
    _image("a web page for an image", b"<html><script>alert(1)</script></html>"),
    _image("a program for an image", b"\x7fELF" + bytes(200)),
    _image("a vector image with an entity", SVG),
    _image("PostScript that runs a program", EPS),
    _image("a GIF that is also a script", b"GIF89a/*" + picture("GIF")[8:] + b"*/=1;alert(1)//", HARMLESS, "bad.gif"),
    _image("a JPEG that is also a zip", picture() + b"PK\x05\x06" + bytes(18), HARMLESS),
    _image("a PNG called JPEG", picture("PNG"), HARMLESS),
    _image("noise for an image", bytes(range(256)) * 40),
)
