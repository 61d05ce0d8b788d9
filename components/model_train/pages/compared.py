"""What a model finds on a few validation images before its training and after it."""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
from PIL import Image

from components.shared.boxes import corners_to_size
from components.shared.dataset import Dataset
from components.shared.detection.frameworks import find_framework
from components.shared.detection.match import ALONE, match_boxes
from components.shared.errors import InputError, PipelineError
from components.shared.images import decode

THRESHOLD = 0.25  # lowest score of a prediction that is shown
OVERLAP = 0.5  # IoU from which a prediction counts as right
IMAGES = 6
EDGE = 480  # longest of a kept image, in pixels
_MANY = 8  # boxes above which an image is too crowded to look at
_CANDIDATES = 2000  # images that are looked at for their classes
_MOST_BOXES = 100  # predictions of an image
_SUPPRESSION = 0.7  # IoU above which two predictions of a class are one
_STRIDE = 32  # image sizes of detectors are multiples of this

logger = logging.getLogger(__name__)

Pixels = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Found:
    """Boxes of one image.

    Attributes:
        boxes: float64 ``(N, 4)`` left, top, width, height in pixels of the image shown.
        names: ``N`` class names.
        scores: float64 ``(N,)``, best first; 1 for ground truth.
        right: bool ``(N,)``: it is an object of this class (IoU 0.5 or more), and the first prediction of it.
        known: bool ``(N,)``: its class is one the data set has.
    """

    boxes: Floats
    names: tuple[str, ...]
    scores: Floats
    right: npt.NDArray[np.bool_]
    known: npt.NDArray[np.bool_]


@dataclass(frozen=True)
class BeforeAfter:
    """A validation image with its ground truth and what the start and the trained weights find in it.

    Attributes:
        name: the image's name in the data set.
        pixels: RGB ``(height, width, 3)``, no edge above ``EDGE``.
        truth: what is annotated.
        before: found with the start weights; ``None`` when there are none.
        after: found with the trained weights.
    """

    name: str
    pixels: Pixels
    truth: Found
    before: Found | None
    after: Found


@dataclass(frozen=True)
class _Predicted:
    """Boxes found in one image, in its pixels, best first."""

    boxes: Floats
    names: tuple[str, ...]
    scores: Floats


@dataclass(frozen=True)
class _Scene:
    """A chosen image at its full size, and what is annotated in it."""

    name: str
    pixels: Pixels
    boxes: Floats
    names: tuple[str, ...]

    @property
    def factor(self) -> float:
        return float(min(1.0, EDGE / max(self.pixels.shape[:2])))

    def shown(self) -> Pixels:
        small = Image.fromarray(self.pixels)
        small.thumbnail((EDGE, EDGE), Image.Resampling.LANCZOS, reducing_gap=2.0)
        return np.asarray(small).copy()

    def truth(self) -> Found:
        every = np.ones(len(self.boxes), dtype=np.bool_)
        return Found(self.boxes * self.factor, self.names, every.astype(np.float64), every, every)

    def judge(self, found: _Predicted, classes: Sequence[str]) -> Found:
        index = {name: number for number, name in enumerate(classes)}
        labels = np.array([index.get(name, ALONE) for name in found.names], dtype=np.int64)
        truths = np.array([index.get(name, len(index)) for name in self.names], dtype=np.int64)
        matches = match_boxes(
            found.boxes, found.scores, self.boxes, labels=labels, truth_labels=truths, threshold=OVERLAP
        )
        return Found(found.boxes * self.factor, found.names, found.scores, matches.partner != ALONE, labels != ALONE)


def before_and_after(
    untrained: Path | None,
    trained: Path,
    *,
    framework: str,
    classes: Sequence[str],
    imgsz: int,
    dataset: Dataset,
    images: Mapping[int, Path],
    device: str = "auto",
) -> list[BeforeAfter]:
    """Predict on up to six images of ``dataset`` with the start weights and the trained ones.

    Always the same images of a data set: those that show most classes and boxes, without being crowded.

    Args:
        untrained: weights before the first step, whatever classes they know; ``None``: there are none.
        trained: weights after the training.
        framework: ``ultralytics`` or ``torchvision``.
        classes: what the trained weights can tell apart.
        imgsz: longest edge the model sees, in pixels.
        dataset: whose ground truth is shown.
        images: image id -> file, the right way up; it may be smaller than the data set says.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:1``.

    Returns:
        One entry an image; none, with a line in the log, when the trained weights cannot be used.
    """
    scenes = _scenes(dataset, images)
    if not scenes:
        return []
    run = partial(_predict, framework=framework, imgsz=-(-imgsz // _STRIDE) * _STRIDE, device=device)
    after = run(trained, scenes)
    if after is None:
        return []
    earlier = run(untrained, scenes) if untrained else None
    before: Sequence[_Predicted | None] = [None] * len(scenes) if earlier is None else earlier
    return [
        BeforeAfter(
            name=scene.name,
            pixels=scene.shown(),
            truth=scene.truth(),
            before=None if untaught is None else scene.judge(untaught, classes),
            after=scene.judge(taught, classes),
        )
        for scene, untaught, taught in zip(scenes, before, after, strict=True)
    ]


def choose_images(dataset: Dataset, available: Sequence[int], most: int = IMAGES) -> list[int]:
    """Ids of images to show: each adds classes the others lack, then boxes; crowded ones come last."""
    boxes = _objects(dataset).filter(pl.col("image_id").is_in(pl.Series(available, dtype=pl.UInt32).implode()))
    images = boxes.group_by("image_id").agg(pl.col("category").unique(maintain_order=True).sort(), count=pl.len())
    named = images.join(dataset.images.select("image_id", "name"), on="image_id")
    crowded = pl.col("count") > _MANY
    order = [crowded, -pl.col("category").list.len().cast(pl.Int64), -pl.col("count").cast(pl.Int64), "name"]
    candidates = named.sort(order).head(_CANDIDATES).select("image_id", "category", "count").rows()
    chosen: list[int] = []
    covered: Counter[str] = Counter()
    while candidates and len(chosen) < most:
        best = max(candidates, key=lambda row: (row[2] <= _MANY, sum(1 / (1 + covered[name]) for name in row[1])))
        candidates.remove(best)
        covered.update(best[1])
        chosen.append(best[0])
    return chosen


def _objects(dataset: Dataset) -> pl.DataFrame:
    """Annotations a model can be asked to find: no crowds, finite, of a class the data set has."""
    sides = pl.col("x", "y", "width", "height")
    whole = pl.all_horizontal(sides.is_finite()) & (pl.col("width") > 0) & (pl.col("height") > 0)
    known = pl.col("category").is_in(list(dataset.classes))
    return dataset.ground_truth().filter(~pl.col("crowd").fill_null(value=False) & whole & known)


def _scenes(dataset: Dataset, images: Mapping[int, Path]) -> list[_Scene]:
    """The chosen images and their boxes; one that cannot be read is left out."""
    rows = dataset.images.select("image_id", "name", "width").rows()
    facts = {image_id: (name, width) for image_id, name, width in rows}
    objects = _objects(dataset)
    scenes = []
    for image_id in choose_images(dataset, list(images)):
        name, width = facts[image_id]
        try:
            pixels = decode(images[image_id].read_bytes())
        except (OSError, InputError) as error:
            logger.warning("The report does not show the image %r: %s", name, error)
            continue
        mine = objects.filter(pl.col("image_id") == image_id)
        boxes = mine.select("x", "y", "width", "height").to_numpy().astype(np.float64)
        scale = pixels.shape[1] / width if width else 1.0
        scenes.append(_Scene(str(name), pixels, boxes * scale, tuple(mine.get_column("category"))))
    return scenes


def _predict(
    weights: Path, scenes: Sequence[_Scene], *, framework: str, imgsz: int, device: str
) -> list[_Predicted] | None:
    """What the weights find in each scene; ``None``, with a line in the log, when they cannot be used."""
    try:
        runtime = find_framework(framework).open_runtime(weights, imgsz, device)
        found = []
        for scene in scenes:
            rows = runtime.predict(scene.pixels, conf=THRESHOLD, iou=_SUPPRESSION, max_det=_MOST_BOXES)
            rows = rows[np.isfinite(rows).all(axis=1) & (rows[:, 4] >= THRESHOLD)]
            rows = rows[np.argsort(-rows[:, 4], kind="stable")]
            names = tuple(runtime.names[int(label)] for label in rows[:, 5])
            found.append(_Predicted(corners_to_size(rows[:, :4]), names, rows[:, 4]))
    except (PipelineError, RuntimeError, ValueError, OSError) as error:  # a training that is done fails for no picture
        logger.warning("The report does not show what %r finds: %s", weights.name, error)
        return None
    return found
