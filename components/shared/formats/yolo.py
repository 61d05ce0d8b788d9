"""YOLO: one text file an image, one line an object: ``class x y width height``, centre and size as shares of the image.

Described at https://docs.ultralytics.com/datasets/detect/ and, for Darknet, at https://github.com/AlexeyAB/darknet.
Read are ``images/train`` beside ``labels/train``, ``train/images`` beside ``train/labels``, one ``images`` and one
``labels`` folder, labels beside their images, and lists of image paths. Where a ``data.yaml`` or ``obj.data`` lists
images, only those belong to the data set; an image listed for two splits has none. Class names come from there, else
from ``classes.txt``; a source without names gets its class indices as names ("0", "1", ...).

A line may also hold a sixth column, the score of a prediction, or a polygon, which becomes its bounding box and is
kept in the attribute ``segmentation_relative``. A missing or empty label file is an image without objects. An index
without a name gives no category and the attribute ``class``. An image's name is its path below the image folder.
"""

import logging
from pathlib import Path

import polars as pl
import yaml

from components.shared.dataset import Dataset
from components.shared.files import write_atomically
from components.shared.formats.base import Format, ReadImage
from components.shared.formats.names import join
from components.shared.formats.tree import detector
from components.shared.formats.writing import Annotation, WrittenImage, iterate_images, number_for, write_image
from components.shared.formats.yolo_reader import read, recognise

logger = logging.getLogger(__name__)

_SPLITS = ("train", "val", "test")
_UNSPLIT = "unsplit"


detect = detector(recognise)


def write(dataset: Dataset, directory: Path, read_image: ReadImage) -> None:
    """Write ``data.yaml``, ``images/<split>`` and ``labels/<split>``.

    Images without a split go to ``images/unsplit`` (``images`` when no image has one), which ``data.yaml`` lists for
    training and validation both. Two images that would share a label file, ``a.jpg`` and ``a.png``, are told apart
    by a number. An image without a file or a size is left out with a warning: its boxes have no meaning here.

    Raises:
        UnsafeInputError: an image's name would leave ``directory``.
    """
    splits = _splits_written(dataset)
    index = {name: position for position, name in enumerate(dataset.classes)}
    taken: set[Path] = set()
    for image in iterate_images(dataset):
        if not (image.exists and image.width and image.height):
            logger.warning("%r was not written: YOLO needs its file and its size.", image.name)
            continue
        folder = directory / "images" / _folder(image.split, splits)
        path, label = _free_paths(directory, folder / image.file_name, taken)
        write_image(image, path, read_image)
        label.parent.mkdir(parents=True, exist_ok=True)
        lines = [line for item in image.annotations if (line := _line(item, image, index))]
        label.write_text("".join(f"{line}\n" for line in lines), encoding="ascii")
    with write_atomically(directory / "data.yaml") as temporary:
        content = yaml.safe_dump(_configuration(dataset.classes, splits), sort_keys=False, allow_unicode=True)
        temporary.write_text(content, encoding="utf-8")


def _splits_written(dataset: Dataset) -> set[str | None]:
    """Splits of the images that have what YOLO needs; a configuration must not list folders that nothing is in."""
    sized = [(pl.col(side) > 0) | (pl.col(f"declared_{side}").fill_null(0) > 0) for side in ("width", "height")]
    return set(dataset.images.filter(pl.col("sha256").is_not_null(), *sized).get_column("split"))


def _folder(split: str | None, splits: set[str | None]) -> str:
    return split or ("" if splits == {None} else _UNSPLIT)


def _free_paths(directory: Path, path: Path, taken: set[Path]) -> tuple[Path, Path]:
    """The image's path and its label's, the last ``images`` folder made ``labels`` as trainers do."""
    stem, number = path.stem, 1
    while True:
        parts = list(path.relative_to(directory).with_suffix(".txt").parts)
        last = max(position for position, part in enumerate(parts[:-1]) if part == "images")
        label = directory.joinpath(*parts[:last], "labels", *parts[last + 1 :])
        if label not in taken:
            taken.add(label)
            return path, label
        number += 1
        path = path.with_name(f"{stem}-{number}{path.suffix}")


def _line(item: Annotation, image: WrittenImage, index: dict[str, int]) -> str | None:
    """A label line; numbers have the digits that bring them back exactly."""
    known = index.get(item.category) if item.category is not None else None
    number = item.attributes.get("class") if known is None else known
    if not isinstance(number, int):
        logger.warning("An annotation of %r has no class and was not written.", image.name)
        return None
    x, y, width, height = item.box
    across, wide = _shares(x, width, image.width)
    down, high = _shares(y, height, image.height)
    columns = [across, down, wide, high] + ([] if item.score is None else [item.score])
    return " ".join([str(number), *(repr(float(value)) for value in columns)])


def _shares(start: float, length: float, size: int) -> tuple[float, float]:
    """Centre and length as shares of the image that a reader turns into the same pixels again."""
    share = number_for(length, length / size, lambda value: value * size)
    centre = number_for(start, (start + length / 2) / size, lambda value: (value - share / 2) * size)
    return centre, share


def _configuration(classes: tuple[str, ...], splits: set[str | None]) -> dict[str, object]:
    listed: dict[str, object] = {"path": "."}
    unsplit = [join("images", _folder(None, splits)).rstrip("/")] if None in splits or not splits else []
    for split in _SPLITS:
        folders = [f"images/{split}"] if split in splits else []
        folders += unsplit if split != "test" else []
        if folders:
            listed[split] = folders if len(folders) > 1 else folders[0]
    return {**listed, "names": dict(enumerate(classes))}


FORMAT = Format(
    name="yolo",
    describe="images and a .txt file each with lines 'class x y width height'",
    detect=detect,
    read=read,
    write=write,
)
