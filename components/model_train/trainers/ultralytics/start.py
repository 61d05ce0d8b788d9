"""What an ultralytics training starts from: a model YAML, weights, or weights in the architecture of a YAML."""

import errno
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.model_train.trainers.base import Start
from components.model_train.trainers.ultralytics.names import architecture_path
from components.model_train.trainers.ultralytics.transfer import (
    MisfitError,
    TransferNote,
    architecture_of,
    is_rtdetr,
    transfer,
)
from components.shared.detection.environment import prepare_environment
from components.shared.detection.ultralytics_runtime import neutral_path, without_links
from components.shared.documents import parse_yaml
from components.shared.errors import ConfigError, in_one_line

logger = logging.getLogger(__name__)
YAML = (".yaml", ".yml")
SAVED_BY_TORCH = (b"PK", b"\x80")  # a zip since torch 1.6, a pickle before
_RGB = 3


@dataclass(frozen=True)
class Beginning:
    """A model ready to train.

    Attributes:
        model: the library's ``YOLO`` or ``RTDETR``; its ``train`` begins with what is in it.
        note: what it took over from weights; ``None``: it begins from scratch.
    """

    model: Any
    note: TransferNote | None = None


@dataclass(frozen=True)
class Learned:
    """What a weights file tells of itself: its classes by id, and what it was made for."""

    classes: tuple[str, ...]
    architecture: str


def begin(start: Start, classes: tuple[str, ...], *, seed: int = 0) -> Beginning:
    """What a training begins with, and what that took over from weights.

    From scratch, the library makes the first weights itself, seeded by its own ``seed``. From weights, they are all in
    the model that comes back: the library's ``get_model`` copies each of its tensors. Its class head has the weights'
    hidden width, which may differ from what its YAML says.

    Args:
        start: an architecture, weights, or both.
        classes: the classes to learn, by class id.
        seed: of what begins at random beside weights; the same seed gives the same numbers.

    Raises:
        ConfigError: there is no such model, it is not a detector, or architecture and weights do not belong together.
    """
    if start.weights is None:
        path = architecture_path(start.architecture)
        model = _open(path, start.architecture)
        model.ckpt, model.overrides["pretrained"] = {"model": model.model}, False  # train() reads the YAML no more
        model.model.yaml["yaml_file"] = path.name
        logger.info("from scratch: %s, to learn %d classes", start.architecture, len(classes))
        return Beginning(model)
    model = _open(start.weights, start.origin or str(start.weights))
    source = model.model
    blueprint = _blueprint(architecture_path(start.architecture)) if start.architecture else source.yaml
    known = start.classes if len(start.classes) == len(_names(source)) else _names(source)
    try:
        network, note = transfer(source, blueprint, known, classes, seed=seed)
    except MisfitError as error:
        raise ConfigError(_misfit(start, error.note)) from error
    except Exception as error:  # a checkpoint may say anything of itself
        raise ConfigError(_unusable(start.origin or str(start.weights), error)) from error
    network.args, network.task = model.model.args, "detect"
    model.model, model.ckpt = network, {"model": network}
    model.overrides = {"model": model.overrides["model"], "task": "detect"}
    logger.info("from %s: %s", start.origin or start.weights, note)
    return Beginning(model, note)


def read_weights(path: Path, *, shown: str = "") -> Learned:
    """What a weights file can tell apart; no code in it is run.

    Raises:
        ConfigError: it holds no detector of the library, or holds code; ``shown`` is how the message calls it.
    """
    network = _open(path, shown or str(path)).model
    return Learned(_names(network), architecture_of(network))


def check_architecture(name: str) -> Path:
    """The model YAML of a name or a path, only when it is a detector's; see ``architecture_path``.

    Raises:
        ConfigError: there is none, or it is no detector's.
    """
    path = architecture_path(name)
    _open(path, name)
    return path


def _open(path: Path, shown: str) -> Any:  # noqa: ANN401 - ultralytics ships no types
    """The library's model of a YAML or weights file, only when that is a detector; no code in it is run."""
    prepare_environment()
    from ultralytics import RTDETR, YOLO  # noqa: PLC0415 - heavy, and only after the environment is set
    from ultralytics.nn import tasks  # noqa: PLC0415 - same

    tasks.SAFE_LOAD = True  # the variable alone is too late when somebody imported the library before
    try:
        with neutral_path(path) as readable:
            if path.suffix in YAML and path.is_file():
                parse_yaml(path.read_bytes(), path.name)
            elif path.is_file():
                _look_at_first_bytes(path)
            described = path.suffix in YAML and is_rtdetr(tasks.yaml_model_load(str(readable)))
            model = RTDETR(str(readable)) if described else YOLO(str(readable))
        model.overrides["model"] = str(path)
        fused, channels = model.model.is_fused(), model.model.yaml.get("channels", _RGB)
        names, count = _names(model.model), getattr(model.model.model[-1], "nc", None)
    except Exception as error:  # the library and torch raise anything from KeyError to UnpicklingError here
        raise ConfigError(_unusable(shown, error)) from error
    if model.task != "detect":
        raise ConfigError(_wrong_task(shown, model.task))
    if hasattr(model.model, "set_classes"):
        raise ConfigError(f"{shown!r} finds what a text describes; this pipeline trains detectors of classes.")
    if channels != _RGB:
        raise ConfigError(f"{shown!r} looks at images of {channels!r} channels; this pipeline's have red, green, blue.")
    if len(names) != count:
        raise ConfigError(f"{shown!r} names {len(names)} classes and tells {count} apart: it is damaged.")
    if fused:
        raise ConfigError(f"{shown!r} was fused for inference, which no training undoes: give the weights before that.")
    return model


def _look_at_first_bytes(path: Path) -> None:
    """Refuse a text, a page of a web server or another file that torch would take for code of a pickle."""
    with path.open("rb") as file:
        first = file.read(16)
    if first and not first.startswith(SAVED_BY_TORCH):
        raise ConfigError(f"it begins with {first!r}, which is no file that torch saved")


def _names(network: Any) -> tuple[str, ...]:  # noqa: ANN401 - ultralytics ships no types
    names = network.names
    return tuple(str(names[index]) for index in (sorted(names) if isinstance(names, dict) else range(len(names))))


def _blueprint(path: Path) -> dict[str, Any]:
    from ultralytics.nn.tasks import yaml_model_load  # noqa: PLC0415 - heavy

    with neutral_path(path) as readable:
        content: dict[str, Any] = yaml_model_load(str(readable))
    return {**content, "yaml_file": path.name}


def _wrong_task(shown: str, task: str) -> str:
    return f"{shown!r} is made for the task {task!r}; this pipeline trains detectors."


def _unusable(shown: str, error: Exception) -> str:
    return f"{shown!r} cannot be loaded as a detection model: {_reason(error)}."


def _misfit(start: Start, note: TransferNote) -> str:
    fit = f"{note.tensors} of {note.total} tensors fit, and the weights are those of {note.architecture}"
    if not start.architecture:
        return f"The weights {start.origin or str(start.weights)!r} are not what their own description says: {fit}."
    return (
        f"model={start.architecture!r} and the weights {start.origin or str(start.weights)!r} do not belong together:"
        f" {fit}. Leave model empty to train what the weights are, or start_from to train from scratch."
    )


def _reason(error: Exception) -> str:
    """The first sentence of the library's message; what follows is advice on the library's own commands."""
    if isinstance(error, OSError) and error.errno == errno.EINVAL:
        return "the file is truncated or corrupted"  # torch looked for a zip's end before its beginning
    text = without_links(in_one_line(error)).removeprefix("ERROR ❌️ ")
    return text.split(". ", 1)[0]
