"""The models that ultralytics knows by name: YAMLs, which it brings, and official weights, which it downloads."""

import difflib
import logging
import os
import re
import tempfile
from pathlib import Path

from components.shared.detection.environment import prepare_environment
from components.shared.errors import ConfigError, TrainingError, in_one_line

logger = logging.getLogger(__name__)
_OTHER_TASK = re.compile(r"-(cls|seg|sem|pose|obb|depth|reid)\b|^(yoloe|yolo_nas|sam|FastSAM|mobile)|-world")


def architecture_path(name: str) -> Path:
    """The model YAML of a name, or of a path; one of the library's own is given back as it is.

    Raises:
        ConfigError: there is none, with near names.
    """
    prepare_environment()
    from ultralytics.utils import ROOT  # noqa: PLC0415 - heavy

    path = Path(name).expanduser()
    if path.is_file():
        return path
    if path.name == name and _is_library_model(name):  # anything else, an address too, the library would go and fetch
        return path
    known = sorted(file.name for file in (ROOT / "cfg" / "models").rglob("*.yaml"))
    near = difflib.get_close_matches(path.name, known, n=3, cutoff=0.5)
    raise ConfigError(f"There is no model {name!r}. Near it: {', '.join(near) or ', '.join(known[:5])}.")


def official_names() -> tuple[str, ...]:
    """The official weights of detectors, sorted."""
    prepare_environment()
    from ultralytics.utils.downloads import GITHUB_ASSETS_NAMES  # noqa: PLC0415 - heavy

    return tuple(sorted(name for name in GITHUB_ASSETS_NAMES if name.endswith(".pt") and not _OTHER_TASK.search(name)))


def official_weights(name: str) -> Path:
    """Official weights by name, from the cache or downloaded into it.

    Raises:
        ConfigError: no official weights of a detector have that name.
        TrainingError: they cannot be downloaded.
    """
    prepare_environment()
    from ultralytics.utils.downloads import attempt_download_asset  # noqa: PLC0415 - heavy

    known = official_names()
    if name not in known:
        raise ConfigError(_no_weights(name, known))
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
        reason = in_one_line(error).removeprefix("❌").strip()
        raise TrainingError(
            f"The official weights {name!r} cannot be downloaded ({reason[:160]}): "
            f"put the file at {str(target)!r}, give a path to weights, or train from scratch with "
            f"model={_yaml_of(name)!r}."
        ) from error
    return target


def _no_weights(name: str, known: tuple[str, ...]) -> str:
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.7)
    hint = f" Near it: {', '.join(near)}." if near else ""
    return f"There are no weights at {name!r}, and no official weights of a detector have that name.{hint}"


def _yaml_of(name: str) -> str:
    """The model YAML that official weights were made with; ``yolov5nu.pt`` with ``yolov5n.yaml``."""
    stem = Path(name).stem.partition("-oiv7")[0].partition("-objv1")[0].partition("-distill")[0]
    return f"{stem.removesuffix('u')}.yaml"


def _is_library_model(name: str) -> bool:
    from ultralytics.nn.tasks import yaml_model_load  # noqa: PLC0415 - heavy

    try:
        yaml_model_load(name)
    except OSError:
        return False
    return True
