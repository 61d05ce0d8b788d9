"""Write what an executor finds in ``/in``: images, boxes, the lists of both splits, and its configuration."""

import logging
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from PIL import Image

from components.executor_train import contract
from components.executor_train.annotations import StagedImage, annotation_files, annotation_name, staged
from components.executor_train.contract import IN
from components.executor_train.pretrained import find_pretrained
from components.executor_train.settings import ExecutorSettings, make_config, make_env, make_task_id, to_yaml
from components.executor_train.staging_tar import StagingTar, staging_tar
from components.shared.dataset import Dataset
from components.shared.files import sha256_file
from components.shared.formats.writing import iterate_images
from components.shared.image_files import scaled_size
from components.shared.images import decode
from components.shared.materialise import AS_THEY_ARE, ImageOptions, MaterialisedDataset, materialise
from components.shared.progress import Announce, silent
from components.shared.splits import check_splits
from components.shared.store import open_store

_READ_BY_ALL = frozenset({".jpg", ".png", ".bmp"})
_QUALITY = 95

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Staged:
    """What was staged: counts, and the sha256 of the tar."""

    digest: str
    task_id: str
    train_images: int
    val_images: int
    boxes: int


@dataclass(frozen=True)
class _Split:
    """One split: its images as files, and which of them the dataset asks to be turned upright."""

    images: tuple[StagedImage, ...]
    paths: Mapping[str, Path]  # by name
    repeats: Mapping[str, int]
    turned: frozenset[str]


def stage_data(
    splits: tuple[Path, Path],
    store_uri: str,
    settings: ExecutorSettings,
    target: Path,
    *,
    pretrained: str = "",
    images: ImageOptions = AS_THEY_ARE,
    notify: Announce = silent,
) -> Staged:
    """Write a tar with the folders ``in`` and ``out`` as the executor's contract wants them.

    Args:
        splits: folders of the datasets to train on and to validate on.
        store_uri: where the images lie.
        settings: what a person chose.
        target: receives the tar, uncompressed; the same data and settings give the same bytes.
        pretrained: see ``find_pretrained``.
        images: how images are written.
        notify: hears how far it is.

    Raises:
        ConfigError: ``pretrained`` cannot be used.
        TrainingError: a split is empty, the classes differ, or both hold the same image.
        InputError: an image cannot be decoded.
        StoreError: the store failed or the disk is full.
    """
    train, val = (Dataset.load(folder) for folder in splits)
    check_splits(train, val)
    store = open_store(store_uri)
    with tempfile.TemporaryDirectory(prefix="executor-stage-") as scratch:
        work = Path(scratch)
        weights = find_pretrained(pretrained, work / "pretrained")
        versions = {"train": train.version, "val": val.version}
        task_id = make_task_id(settings, versions, [f"{name} {sha256_file(path)}" for name, path in weights.items()])
        parts = []
        for number, dataset in enumerate((train, val)):
            name = ("train", "val")[number]
            notify(0.05 + 0.4 * number, f"fetching the images of {name}")
            files = materialise(dataset, store, work / name, options=images)
            parts.append(_split(name, dataset, files, images.longest_edge))
        notify(0.85, "packing")
        with staging_tar(target) as tar:
            inside = [f"{IN}/{contract.MODELS}/{name}" for name in weights]
            config = make_config(settings, task_id=task_id, classes=train.classes, pretrained=inside)
            _add_papers(tar, config, make_env(task_id))
            for name, path in weights.items():
                tar.file(f"in/{contract.MODELS}/{name}", path)
            _add_data(tar, parts, train.classes, settings.annotation_format)
    boxes = sum(len(each.image.annotations) for part in parts for each in part.images)
    return Staged(sha256_file(target), task_id, len(parts[0].images), len(parts[1].images), boxes)


def _split(name: str, dataset: Dataset, files: MaterialisedDataset, longest_edge: int) -> _Split:
    """The split's images under names that are unique in both splits, as executors put all into one folder."""
    turned = set(dataset.images.filter(dataset.images.get_column("orientation") > 1).get_column("image_id"))
    images, paths, repeats, upright, crowds = [], {}, {}, set(), 0
    for image in iterate_images(dataset):
        path = files.paths[image.image_id]
        suffix = path.suffix if path.suffix in _READ_BY_ALL else ".png"
        label = f"{name}-{image.image_id:08d}{suffix}"
        crowds += sum(item.crowd for item in image.annotations)
        images.append(staged(label, image, scaled_size(image.width, image.height, longest_edge)))
        paths[label], repeats[label] = path, files.repeats.get(image.image_id, 1)
        upright |= {label} if image.image_id in turned else set()
    if crowds:
        logger.info(
            "%s: %d crowd regions are left out, the formats of the executor have no place for them", name, crowds
        )
    return _Split(tuple(images), paths, repeats, frozenset(upright))


def _add_papers(tar: StagingTar, config: Mapping[str, object], env: Mapping[str, object]) -> None:
    """Everything but the data; folders too, as an executor may expect them."""
    inside = (contract.ANNOTATIONS, contract.ASSETS, contract.MODELS)
    outside = (contract.MODELS, contract.TENSORBOARD)
    for name in ("in", *(f"in/{each}" for each in inside), "out", *(f"out/{each}" for each in outside)):
        tar.folder(name)
    tar.bytes(f"in/{contract.ENV}", to_yaml(env))
    tar.bytes(f"in/{contract.CONFIG}", to_yaml(config))


def _add_data(tar: StagingTar, parts: Sequence[_Split], classes: Sequence[str], annotation_format: str) -> None:
    for part, index in zip(parts, (contract.TRAIN_INDEX, contract.VAL_INDEX), strict=True):
        lines = [_line(image.name, annotation_format) * part.repeats[image.name] for image in part.images]
        tar.bytes(f"in/{index}", "".join(lines).encode())
    images = [image for part in parts for image in part.images]
    for name, content in annotation_files(images, classes, annotation_format):
        tar.bytes(f"in/{contract.ANNOTATIONS}/{name}", content)
    for part in parts:
        for label, path in part.paths.items():
            place = f"in/{contract.ASSETS}/{label}"
            if path.suffix not in _READ_BY_ALL or label in part.turned:
                tar.bytes(place, _plain(path, label))
            else:
                tar.file(place, path)


def _line(label: str, annotation_format: str) -> str:
    annotation = annotation_name(label, annotation_format)
    return f"{IN}/{contract.ASSETS}/{label}\t{IN}/{contract.ANNOTATIONS}/{annotation}\n"


def _plain(path: Path, label: str) -> bytes:
    """The image upright, so that a reader which ignores EXIF sees the boxes where they are, in a format all read."""
    buffer = BytesIO()
    image = Image.fromarray(decode(path.read_bytes()))
    if label.endswith(".jpg"):
        image.save(buffer, "JPEG", quality=_QUALITY, subsampling=0)
    else:
        image.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()
