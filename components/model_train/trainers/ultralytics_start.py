"""What an ultralytics training starts from: a model YAML, a weights file, or official weights by name."""

import difflib
import logging
import os
import tempfile
from pathlib import Path
from typing import Any

from components.shared.detection.ultralytics_runtime import plain_path
from components.shared.errors import ConfigError, TrainingError

logger = logging.getLogger(__name__)


def start_model(name: str, classes: tuple[str, ...]) -> Any:  # noqa: ANN401 - ultralytics ships no types
    """A ``YOLO`` ready to train.

    Args:
        name: ``yolo11n.yaml`` (from scratch), a path to weights, or official weights such as ``yolo11n.pt``.
        classes: the classes to learn, for messages.

    Raises:
        ConfigError: there is no such model, or it is not a detector.
        TrainingError: official weights cannot be downloaded.
    """
    from ultralytics import YOLO  # noqa: PLC0415 - heavy, and only after the environment is set
    from ultralytics.nn import tasks  # noqa: PLC0415 - same

    tasks.SAFE_LOAD = True  # the variable alone is too late when somebody imported the library before
    path = _model_yaml(name) if name.endswith((".yaml", ".yml")) else _weights(name)
    try:
        with plain_path(path) as readable:
            model = YOLO(str(readable))
    except Exception as error:  # the library and torch raise anything from KeyError to UnpicklingError here
        raise ConfigError(f"model={name!r} cannot be loaded as a detection model: {_reason(error)}.") from error
    if model.task != "detect":
        raise ConfigError(f"model={name!r} is made for the task {model.task!r}; this pipeline trains detectors.")
    logger.info("start from %s to learn %d classes", name, len(classes))
    return model


def _reason(error: Exception) -> str:
    """The first sentence of the library's message; what follows is advice on the library's own commands."""
    text = " ".join(str(error).split()).removeprefix("ERROR ❌️ ")
    return text.split(". ", 1)[0].rstrip(".") or type(error).__name__


def _model_yaml(name: str) -> Path:
    from ultralytics.utils import ROOT  # noqa: PLC0415 - heavy

    path = Path(name).expanduser()
    if path.is_file():
        return path
    if path.name == name and _is_library_model(name):  # anything else, an address too, the library would go and fetch
        return path
    known = sorted(file.name for file in (ROOT / "cfg" / "models").rglob("*.yaml"))
    near = difflib.get_close_matches(path.name, known, n=3, cutoff=0.5)
    raise ConfigError(f"There is no model {name!r}. Near it: {', '.join(near) or ', '.join(known[:5])}.")


def _is_library_model(name: str) -> bool:
    from ultralytics.nn.tasks import yaml_model_load  # noqa: PLC0415 - heavy

    try:
        yaml_model_load(name)
    except OSError:
        return False
    return True


def _weights(name: str) -> Path:
    from ultralytics.utils.downloads import GITHUB_ASSETS_NAMES, attempt_download_asset  # noqa: PLC0415 - heavy

    path = Path(name).expanduser()
    if path.is_file():
        return path
    if path.name != name or name not in GITHUB_ASSETS_NAMES:
        raise ConfigError(f"There are no weights at {name!r}, and no official weights have that name.")
    cache = Path(os.environ.get("PIPELINE_CACHE", Path.home() / ".cache" / "detection-pipeline")) / "weights"
    cache.mkdir(parents=True, exist_ok=True)
    target = cache / name
    if target.is_file():
        return target
    logger.info("downloading %s", name)
    try:
        with tempfile.TemporaryDirectory(prefix="download-", dir=cache) as scratch:  # a cut download must not stay
            attempt_download_asset(str(Path(scratch) / name))
            (Path(scratch) / name).replace(target)
    except (OSError, RuntimeError) as error:
        raise TrainingError(
            f"The official weights {name!r} cannot be downloaded ({' '.join(str(error).split())[:160]}): "
            f"put the file at {str(target)!r}, give a path to weights, or train from scratch with "
            f"model={Path(name).stem + '.yaml'!r}."
        ) from error
    return target
