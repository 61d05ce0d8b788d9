"""How many of a model's layers can be frozen, so that too many are refused before any data is prepared."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from components.shared.detection.environment import prepare_environment
from components.shared.detection.torchvision_models import ARCHITECTURES, build_model
from components.shared.detection.torchvision_runtime import load_weights
from components.shared.detection.ultralytics_runtime import load_state
from components.shared.documents import parse_yaml
from components.shared.errors import ArchiveError, ConfigError, InputError

_YAML = (".yaml", ".yml")
_SMALLEST = 32  # pixels: counting layers needs no more


def check_freeze(freeze: int, model: str, *, shown: str = "") -> None:
    """Refuse to freeze more layers than a model has beside its head; what cannot be counted here passes.

    Args:
        freeze: how many of the first layers are to stay as they are.
        model: name of a torchvision model, name or path of a model YAML, path of weights, or official weights by name.
        shown: what the message calls the model, when not by that.

    Raises:
        ConfigError: it has fewer.
    """
    most = count_layers(model) if freeze else None
    if most is not None and freeze > most:
        raise ConfigError(
            f"freeze={freeze}, but {shown or model!r} has only {most} layers that can be frozen: use 0 to {most}."
        )


def count_layers(model: str) -> int | None:
    """How many layers of a model come before its head (torchvision: are in its backbone); ``None``: nobody knows."""
    if model in ARCHITECTURES:
        return sum(1 for _ in backbone_layers(build_model(model, 1, _SMALLEST)))
    path = Path(model)
    try:
        if path.suffix in _YAML:
            return _described(path)
        return _learned(path) if path.is_file() else _described(Path(path.with_suffix(".yaml").name))
    except (ArchiveError, InputError, OSError):
        return None  # whoever opens it says what is wrong


def backbone_layers(model: Any) -> Iterator[list[Any]]:  # noqa: ANN401 - torchvision is untyped here
    """A torchvision detector's backbone: its parts that have weights; a normalisation belongs to the part before it."""
    layers: list[list[Any]] = []
    for name, part in model.backbone.body.named_children():
        if not any(True for _ in part.parameters()):
            continue
        if layers and name.startswith("bn"):
            layers[-1].append(part)
        else:
            layers.append([part])
    yield from layers


def _described(path: Path) -> int | None:
    """By an ultralytics model YAML, a file or one of the library's own."""
    if path.is_file():
        content = parse_yaml(path.read_bytes(), path.name)
    elif path.name == str(path):
        prepare_environment()
        from ultralytics.nn.tasks import yaml_model_load  # noqa: PLC0415 - shared modules load without ultralytics

        content = yaml_model_load(path.name)
    else:
        return None
    parts = [content.get(name) for name in ("backbone", "head")] if isinstance(content, dict) else []
    layers = sum(len(part) for part in parts if isinstance(part, list))
    return layers - 1 if layers else None


def _learned(path: Path) -> int | None:
    """By a weights file of either trainer."""
    try:
        return count_layers(load_weights(path).architecture)
    except ArchiveError:
        parts = [name.split(".") for name in load_state(path)]
    numbers = [int(part[1]) for part in parts if len(part) > 1 and part[0] == "model" and part[1].isdigit()]
    return max(numbers, default=0) or None
