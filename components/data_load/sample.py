"""The built-in sample ``sample://workbench``: generated scenes of tools, written as a COCO data set on disk."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from components.data_load.sample_scene import Box, Scene, compose
from components.data_load.tools import TOOLS
from components.shared.errors import ConfigError
from components.shared.files import write_atomically
from components.shared.images import encode_jpeg
from components.shared.ledger import Action, Rule
from components.shared.progress import Notify, silent

FEWEST_IMAGES, MOST_IMAGES = 20, 100_000
SMALLEST_EDGE, LARGEST_EDGE = 96, 4096
ANNOTATIONS = "annotations/instances.json"

_DECK = (*TOOLS, "screwdriver", "screwdriver", "screwdriver")  # screwdrivers four times as frequent
_TOOLS_PER_IMAGE = (0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 5)
_JPEG_QUALITY = 88
_NO_SUCH_CATEGORY = 99
_KEPT_OF_TRUNCATED = 0.6  # share of the truncated JPEG's bytes that is left


@dataclass(frozen=True)
class PlantedDefect:
    """One thing that is wrong in the sample on purpose.

    Attributes:
        image: name of the image, as ``file_name`` gives it.
        rule: the rule that validation must find broken there.
        action: what validation must do about it.
        describe: what was planted, for people.
    """

    image: str
    rule: Rule
    action: Action
    describe: str


def image_name(index: int) -> str:
    """File name of the image at ``index`` (from 0)."""
    return f"workbench_{index + 1:06d}.jpg"


_NEGATIVE, _ZERO, _OUTSIDE, _TWICE, _UNKNOWN, _TRUNCATED = 2, 5, 8, 11, 14, 17
_NEEDS_TOOL = frozenset({_NEGATIVE, _ZERO, _OUTSIDE, _TWICE, _UNKNOWN})
_EMPTY = 19  # so that even the smallest sample has an image without tools

PLANTED: tuple[PlantedDefect, ...] = (
    PlantedDefect(image_name(_NEGATIVE), Rule.CLIPPED, Action.FIXED, "a box whose left edge is negative"),
    PlantedDefect(image_name(_ZERO), Rule.ZERO_AREA, Action.REJECTED, "a box without width"),
    PlantedDefect(image_name(_OUTSIDE), Rule.OUTSIDE, Action.REJECTED, "a box beside the image"),
    PlantedDefect(image_name(_TWICE), Rule.DUPLICATE_ANNOTATION, Action.REJECTED, "the same box twice"),
    PlantedDefect(image_name(_UNKNOWN), Rule.UNKNOWN_CATEGORY, Action.REJECTED, "a category id that does not exist"),
    PlantedDefect(image_name(_TRUNCATED), Rule.UNREADABLE_IMAGE, Action.REJECTED, "a JPEG file cut off in its middle"),
)


@dataclass(frozen=True)
class _Label:
    category: int
    box: Box


def write_sample(
    directory: Path, *, images: int = 240, edge: int = 320, seed: int = 0, notify: Notify = silent
) -> None:
    """Write the sample as a COCO data set: ``images/*.jpg`` and ``annotations/instances.json``.

    Equal arguments give equal bytes. Boxes are exact: left, top, width, height in pixels around what is visible of
    a tool, half-open; the defects of ``PLANTED`` are the only exceptions.

    Args:
        directory: where to; made when missing, files of the same name are replaced.
        images: number of images, 20 to 100,000; about one in 16 shows no tool.
        edge: width and height of each image in pixels, 96 to 4096.
        seed: where every random choice comes from, 0 or more.
        notify: told the share done and the number of images.

    Raises:
        ConfigError: a parameter is out of range.
    """
    _check("images", images, FEWEST_IMAGES, MOST_IMAGES)
    _check("edge", edge, SMALLEST_EDGE, LARGEST_EDGE)
    if seed < 0:
        raise ConfigError(f"The sample's seed is {seed!r}: give 0 or more.")
    folder = directory / "images"
    folder.mkdir(parents=True, exist_ok=True)
    labels = []
    for index, scene in enumerate(scenes(images=images, edge=edge, seed=seed)):
        data = encode_jpeg(scene.pixels, quality=_JPEG_QUALITY)
        if index == _TRUNCATED:
            data = data[: int(len(data) * _KEPT_OF_TRUNCATED)]
        (folder / image_name(index)).write_bytes(data)
        labels.append(_with_defect(index, _labels(scene), edge))
        notify((index + 1) / images, f"painted {index + 1} of {images} images")
    with write_atomically(directory / ANNOTATIONS) as temporary:
        temporary.write_text(json.dumps(_document(labels, edge), indent=1) + "\n", encoding="utf-8")


def scenes(*, images: int, edge: int, seed: int) -> Iterator[Scene]:
    """The sample's scenes in order, each from its own random stream, so that none depends on how many follow."""
    for index, tools in enumerate(islice(_plan(seed), images)):
        rng = np.random.default_rng((seed, 1, index))
        yield compose(rng, tools, edge, cut_left=index == _NEGATIVE)


def _check(name: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise ConfigError(f"The sample's {name} is {value!r}: give a number from {low} to {high}.")


def _plan(seed: int) -> Iterator[tuple[str, ...]]:
    """Which tools go into each image, for ever: dealt from shuffled decks, so that shares hold for any size."""
    rng = np.random.default_rng((seed, 0))
    hand: list[str] = []
    index = 0
    while True:
        for count in rng.permutation(_TOOLS_PER_IMAGE):
            wanted = 0 if index == _EMPTY else max(int(count), int(index in _NEEDS_TOOL))
            while len(hand) < wanted:
                hand.extend(str(tool) for tool in rng.permutation(_DECK))
            yield tuple(hand[:wanted])
            del hand[:wanted]
            index += 1


def _labels(scene: Scene) -> list[_Label]:
    return [_Label(TOOLS.index(tool) + 1, box) for tool, box in zip(scene.tools, scene.boxes(), strict=True)]


def _with_defect(index: int, labels: list[_Label], edge: int) -> list[_Label]:
    if index not in _NEEDS_TOOL:
        return labels
    first = labels[0]
    left, top, width, height = first.box
    past = edge / 32
    if index == _NEGATIVE:
        return [_Label(first.category, (left - past, top, width + past, height)), *labels[1:]]
    planted = {
        _ZERO: _Label(first.category, (left, top, 0.0, height)),
        _OUTSIDE: _Label(first.category, (edge + past, top, width, height)),
        _TWICE: first,
        _UNKNOWN: _Label(_NO_SUCH_CATEGORY, (past, past, edge / 4, edge / 4)),
    }
    return [*labels, planted[index]]


def _document(labels: list[list[_Label]], edge: int) -> dict[str, object]:
    flat = [(index + 1, label) for index, found in enumerate(labels) for label in found]
    return {
        "info": {"description": "Generated scenes of tools on a workbench, with planted defects", "version": "1"},
        "licenses": [{"id": 1, "name": "CC0 1.0", "url": "https://creativecommons.org/publicdomain/zero/1.0/"}],
        "categories": [
            {"id": number, "name": tool, "supercategory": "tool"} for number, tool in enumerate(TOOLS, start=1)
        ],
        "images": [
            {"id": index + 1, "file_name": image_name(index), "width": edge, "height": edge, "license": 1}
            for index in range(len(labels))
        ],
        "annotations": [
            {
                "id": number,
                "image_id": image,
                "category_id": label.category,
                "bbox": list(label.box),
                "area": label.box[2] * label.box[3],
                "iscrowd": 0,
            }
            for number, (image, label) in enumerate(flat, start=1)
        ],
    }
