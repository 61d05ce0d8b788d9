"""What a torchvision training starts from: random weights, a weights file of ours, or torchvision's official ones."""

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.model_train.trainers.base import Start
from components.model_train.trainers.class_names import match_classes
from components.shared.detection.torchvision_models import ARCHITECTURES, build_model
from components.shared.detection.torchvision_runtime import TorchvisionWeights, load_weights
from components.shared.errors import ArchiveError, ConfigError, TrainingError, in_one_line
from components.shared.files import write_atomically

logger = logging.getLogger(__name__)
OFFICIAL = "coco"  # what ``start_from`` calls the weights torchvision trained on COCO
_BACKGROUND = "__background__"


@dataclass(frozen=True)
class Beginning:
    """A model to train, in training mode on the CPU, its architecture, and what it took over from weights, in words."""

    model: Any
    architecture: str
    note: str = ""


def start_model(start: Start, classes: tuple[str, ...], *, imgsz: int, seed: int) -> Beginning:
    """The model a training begins with, in training mode; the same seed gives the same numbers.

    Rows of the class head are taken over by class name (letter for letter, else without regard to case); those of new
    classes begin at random, as does a model without weights.

    Raises:
        ConfigError: there is no such architecture, or the weights are another architecture's or none.
    """
    import torch  # noqa: PLC0415 - heavy

    known = _read(start) if start.weights else None
    architecture = start.architecture or (known.architecture if known else "")
    if known and known.architecture != architecture:
        raise ConfigError(
            f"The weights {start.origin or str(start.weights)!r} are those of {known.architecture!r}, which do not fit "
            f"model={architecture!r}: leave model empty, or start from weights of that architecture."
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = build_model(architecture, len(classes), imgsz)
    if known:
        names = start.classes if len(start.classes) == len(known.classes) else known.classes
        found = take_over(model, known.state, match_classes(names, classes), len(known.classes))
        note = f"Started from {start.origin or str(start.weights)}: {found} of {len(classes)} classes by name."
    else:
        note = ""
    logger.info("%s", note or f"from scratch: {architecture}, to learn {len(classes)} classes")
    return Beginning(model, architecture, note)


def official_weights(architecture: str, cache: Path | None = None) -> Path:
    """A weights file like ours with what torchvision learned on COCO; downloaded where it is not there yet.

    Args:
        architecture: one of ``ARCHITECTURES`` that torchvision trained.
        cache: folder that keeps it; by default in ``$PIPELINE_CACHE`` or ``~/.cache``.

    Raises:
        ConfigError: torchvision has no such weights.
        TrainingError: they cannot be downloaded.
    """
    from torchvision import models  # noqa: PLC0415 - heavy

    if architecture not in ARCHITECTURES or not hasattr(models.detection, architecture):
        able = [name for name in ARCHITECTURES if hasattr(models.detection, name)]
        raise ConfigError(f"torchvision has no weights of {architecture!r}; it has those of {', '.join(able)}.")
    official = models.get_model_weights(architecture).DEFAULT
    folder = cache or Path(os.environ.get("PIPELINE_CACHE", Path.home() / ".cache" / "detection-pipeline")) / "weights"
    target = folder / f"{architecture}_{OFFICIAL}.pt"
    if target.is_file():
        return target
    try:
        state = official.get_state_dict(progress=False, check_hash=True)
    except (OSError, RuntimeError) as error:
        raise TrainingError(
            f"torchvision's weights of {architecture!r} cannot be downloaded from {official.url!r} "
            f"({in_one_line(error, most=120)}): put a weights file at {str(target)!r}, or train from scratch."
        ) from error
    classes = tuple(official.meta["categories"])
    if architecture.startswith("fasterrcnn"):
        classes = classes[classes[0] == _BACKGROUND :]  # the background has a row of its own in that head
    with write_atomically(target) as temporary:
        TorchvisionWeights(architecture, classes, 800, state).save(temporary)
    return target


def take_over(model: Any, state: Mapping[str, Any], rows: Sequence[int | None], known: int) -> int:  # noqa: ANN401
    """Copy ``state`` into the model, class ``rows[i]`` of its ``known`` classes as class ``i``; how many classes fit.

    Raises:
        ConfigError: a tensor is missing or has another shape.
    """
    for name, own in model.state_dict().items():
        if name.endswith("num_batches_tracked"):
            continue  # weights trained with frozen statistics have none
        given = state.get(name)
        groups = _class_groups(name, known, len(rows))
        if given is None or not _fits(given, own, groups):
            raise ConfigError(f"The start weights do not fit: their tensor {name!r} is missing or of another shape.")
        if groups is None:
            own.copy_(given)
            continue
        before, after, inner = groups
        old, new = (
            tensor.view(-1, count, inner, *tensor.shape[1:]) for tensor, count in ((given, before), (own, after))
        )
        background = after - len(rows)
        new[:, :background] = old[:, :background]
        for index, row in enumerate(rows):
            if row is not None:
                new[:, background + index] = old[:, background + row]
    return sum(row is not None for row in rows)


def _class_groups(name: str, known: int, wanted: int) -> tuple[int, int, int] | None:
    """How the first axis of a class tensor divides: classes before and after, and values of a class side by side."""
    if ".classification_head.cls_logits." in name:
        return known, wanted, 1
    if ".box_predictor.cls_score." in name:
        return known + 1, wanted + 1, 1
    if ".box_predictor.bbox_pred." in name:
        return known + 1, wanted + 1, 4
    return None


def _fits(given: Any, own: Any, groups: tuple[int, int, int] | None) -> bool:  # noqa: ANN401 - torch is untyped here
    if groups is None:
        return bool(given.shape == own.shape)
    before, after, inner = groups
    places = own.shape[0] // (after * inner)
    return bool(given.shape == (places * before * inner, *own.shape[1:]))


def _read(start: Start) -> TorchvisionWeights:
    try:
        return load_weights(Path(start.weights or ""))
    except ArchiveError as error:
        raise ConfigError(
            f"A torchvision training cannot start from {start.origin or str(start.weights)!r}: {error}"
        ) from error
