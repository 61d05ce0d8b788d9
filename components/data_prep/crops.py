"""Tiles cut out of encoded images: each parent is decoded once, on all cores, in bounded memory."""

import hashlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from typing import TypeAlias

from PIL import Image

from components.shared.cpus import usable_cpus
from components.shared.errors import InputError
from components.shared.image_facts import ImageFacts, image_facts
from components.shared.images import MIRRORED, SWAPPED, UPSIDE_DOWN, decode, orientation_of

LARGE = 16_000_000  # pixels; larger parents are decoded one at a time, their tiles encoded side by side
QUALITY = 95  # of JPEG tiles, without chroma subsampling: a second loss that no detector sees
PNG_LEVEL = 3  # three times as fast as the default and hardly larger

Rectangle: TypeAlias = tuple[int, int, int, int]  # left, top, width, height in the oriented image
_Turn: TypeAlias = Image.Transpose


@dataclass(frozen=True, slots=True)
class Crop:
    """A tile as an encoded image: its bytes and how many, their sha256 and what a look at it told."""

    data: bytes
    size: int
    digest: str
    facts: ImageFacts


@dataclass(frozen=True, slots=True)
class Parent:
    """An encoded image and the tiles wanted of it.

    Attributes:
        name: for messages.
        data: the encoded image.
        pixels: how many it has.
        jpeg: whether its tiles shall be JPEGs too; else they are PNGs.
        rectangles: the tiles.
    """

    name: str
    data: bytes
    pixels: int
    jpeg: bool
    rectangles: Sequence[Rectangle]


def cut(parents: Iterable[Parent], sharp: Callable[[str], bool]) -> Iterator[Crop]:
    """The tiles of all parents, in order.

    Args:
        parents: read as they are needed.
        sharp: whether the sharpness of the tile with this digest shall be measured.

    Raises:
        InputError: a parent cannot be decoded.
    """
    threads = usable_cpus()
    waiting: deque[Future[list[Crop]]] = deque()
    with ThreadPoolExecutor(threads, thread_name_prefix="tiles") as pool:
        for parent in parents:
            if parent.pixels <= LARGE:
                waiting.append(pool.submit(_cut_one, parent, sharp))
            while waiting and (parent.pixels > LARGE or len(waiting) > threads):
                yield from waiting.popleft().result()
            if parent.pixels > LARGE:
                yield from _cut_large(parent, sharp, pool, threads)
        while waiting:
            yield from waiting.popleft().result()


def _cut_one(parent: Parent, sharp: Callable[[str], bool]) -> list[Crop]:
    return [_encode(tile, parent, sharp) for tile in _pieces(parent)]


def _cut_large(parent: Parent, sharp: Callable[[str], bool], pool: ThreadPoolExecutor, threads: int) -> Iterator[Crop]:
    waiting: deque[Future[Crop]] = deque()
    for tile in _pieces(parent):
        waiting.append(pool.submit(_encode, tile, parent, sharp))
        if len(waiting) > 2 * threads:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _pieces(parent: Parent) -> Iterator[Image.Image]:
    """The pixels of each tile, upright, grey or RGB as ``decode`` gives them."""
    try:
        with Image.open(BytesIO(parent.data)) as image:
            if image.mode.startswith("I") or image.mode == "F":
                # How deep pixels become 8 bits depends on the whole image.
                whole, orientation = Image.fromarray(decode(parent.data)), 1
            else:
                image.load()
                whole, orientation = image, orientation_of(image)
            turns = _turns(orientation)
            for rectangle in parent.rectangles:
                piece = whole.crop(_stored(rectangle, orientation, whole.size))
                for turn in turns:
                    piece = piece.transpose(turn)
                yield piece if piece.mode in {"L", "RGB"} else piece.convert("L" if piece.mode == "1" else "RGB")
    except (OSError, ValueError, SyntaxError) as error:
        raise InputError(f"The image {parent.name!r} cannot be cut into tiles: {error}.") from error


def _turns(orientation: int) -> list[_Turn]:
    """What puts stored pixels upright, in this order."""
    turns = {_Turn.TRANSPOSE: SWAPPED, _Turn.FLIP_TOP_BOTTOM: UPSIDE_DOWN, _Turn.FLIP_LEFT_RIGHT: MIRRORED}
    return [turn for turn, orientations in turns.items() if orientation in orientations]


def _stored(rectangle: Rectangle, orientation: int, size: tuple[int, int]) -> Rectangle:
    """Left, top, right and bottom, in the image as it is stored, of a rectangle of the upright one."""
    left, top, width, height = rectangle
    across, down = size[::-1] if orientation in SWAPPED else size
    if orientation in MIRRORED:
        left = across - left - width
    if orientation in UPSIDE_DOWN:
        top = down - top - height
    if orientation in SWAPPED:
        left, top, width, height = top, left, height, width
    return left, top, left + width, top + height


def _encode(tile: Image.Image, parent: Parent, sharp: Callable[[str], bool]) -> Crop:
    buffer = BytesIO()
    if parent.jpeg:
        tile.save(buffer, "JPEG", quality=QUALITY, subsampling=0)
    else:
        tile.save(buffer, "PNG", compress_level=PNG_LEVEL)
    data = buffer.getvalue()
    digest = hashlib.sha256(data).hexdigest()
    return Crop(data, len(data), digest, image_facts(data, sharpness=sharp(digest)))
