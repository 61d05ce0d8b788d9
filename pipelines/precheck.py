"""What a run on this machine would refuse only after its data is prepared: models and devices, looked at first."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from components.shared.archive import BENTO
from components.shared.detection.manifest import MANIFEST, load_manifest
from components.shared.errors import ArchiveError, ConfigError
from components.shared.presets import with_preset

WEIGHTS, ARCHIVE = ".pt", ".bento"
_BEGINNINGS = {
    WEIGHTS: ((b"PK\x03\x04", b"\x80"), "no file that torch saved"),  # a zip since torch 1.6, a pickle before
    ARCHIVE: ((b"\xfd7zXZ\x00",), "no packed model"),
}
_LOOKED_AT = 16  # bytes


def absolute_paths(values: Mapping[str, object]) -> dict[str, str]:
    """Those of ``model`` and ``start_from`` that are there, paths as they are from anywhere.

    Raises:
        ConfigError: a path leads nowhere, or to what is no model.
    """
    return {name: _absolute(name, str(values[name])) for name in ("model", "start_from") if name in values}


def check_training(values: Mapping[str, Any]) -> None:
    """Refuse a GPU that is not here, and to freeze more layers than the model has; without either, nothing is loaded.

    Args:
        values: the parameters of one training.

    Raises:
        ConfigError: this machine or the model has fewer.
    """
    if str(values["device"]).isdigit():
        from components.shared.detection.devices import resolve_device  # noqa: PLC0415 - loads torch, which is slow

        resolve_device(str(values["device"]))
    if values["freeze"]:
        from components.shared.detection.layers import check_freeze  # noqa: PLC0415 - same

        filled = with_preset(values["preset"], {"model": values["model"]})
        named = values["model"] or not values["start_from"]
        check_freeze(values["freeze"], str(filled["model"] if named else values["start_from"]))


def _absolute(parameter: str, value: str) -> str:
    """A path as it is from anywhere; names and addresses as they are."""
    path = Path(value).expanduser()
    if value and path.is_file():
        _check_file(parameter, value, path)
        return str(path.resolve())
    if value and path.is_dir() and (parameter == "start_from" or path.suffix):
        _check_folder(parameter, value, path)
        return str(path.resolve())
    if path.name != value and not value.startswith("s3://"):
        raise ConfigError(f"{parameter}={value!r}: there is no such file.")
    return value


def _check_file(parameter: str, value: str, path: Path) -> None:
    beginnings, no_model = _BEGINNINGS.get(path.suffix, ((), ""))
    try:
        with path.open("rb") as file:
            first = file.read(_LOOKED_AT)
    except OSError as error:
        raise ConfigError(f"{parameter}={value!r} cannot be read: {error.strerror}.") from error
    if beginnings and not first.startswith(beginnings):
        said = f"it begins with {first!r}" if first else "it is empty"
        raise ConfigError(f"{parameter}={value!r} is {no_model}, {said}: give the file as the training left it.")
    if parameter == "start_from" and not beginnings:
        raise ConfigError(f"start_from={value!r} is no weights file: give one that ends in {WEIGHTS} or {ARCHIVE}.")


def _check_folder(parameter: str, value: str, folder: Path) -> None:
    """A model folder, or one with a packed model: it has everything, but only ``start_from`` may be one."""
    if parameter != "start_from":
        raise ConfigError(f"{parameter}={value!r} is a folder: give a file, or a model folder as start_from.")
    if (folder / BENTO).is_file():
        _check_file(parameter, value, folder / BENTO)
        return
    if not (folder / MANIFEST).is_file():
        raise ConfigError(f"start_from={value!r}: the folder holds no model, neither a {MANIFEST} nor a {BENTO}.")
    try:
        weights = folder / load_manifest(folder).weights
    except ArchiveError as error:
        raise ConfigError(f"start_from={value!r}: {error}") from error
    if not weights.is_file():
        raise ConfigError(f"start_from={value!r}: its weights {weights.name!r} are missing, copy the folder again.")
    if weights.suffix == WEIGHTS:
        _check_file(parameter, value, weights)
