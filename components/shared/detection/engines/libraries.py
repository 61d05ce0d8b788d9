"""What the engines share: importing a library or saying that it is missing, and failing in one sentence."""

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from components.shared.errors import ArchiveError, ConfigError, in_one_line


def import_library(name: str) -> Any:  # noqa: ANN401 - the libraries are untyped here
    """The module of that name.

    Raises:
        ConfigError: it is not installed, or broken.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ConfigError(
            f"The library {name!r} cannot be imported ({in_one_line(error, most=160)}): "
            "install it or choose another runtime."
        ) from error


@contextmanager
def loading(model: Path) -> Iterator[None]:
    """Turn whatever a library raises while it loads a model into an ``ArchiveError`` that names the file."""
    if not model.is_file():
        raise ArchiveError(f"The model {str(model)!r} is missing.")
    try:
        yield
    except (ArchiveError, ConfigError):
        raise
    except Exception as error:  # the libraries raise types of their own, RuntimeError and ValueError
        reason = in_one_line(error, most=200)
        raise ArchiveError(f"The model {str(model)!r} cannot be loaded: {reason}.") from error


def cuda_index(device: str) -> int | None:
    """The GPU that ``cuda``, ``cuda:N`` or ``N`` means; ``None`` for ``cpu`` and ``auto``.

    Raises:
        ConfigError: it is no word for a device.
    """
    if device in {"", "cpu", "auto"}:
        return None
    number = device.removeprefix("cuda").removeprefix(":") or "0"
    if not number.isdecimal():
        raise ConfigError(f"There is no device {device!r}: use 'cpu', 'cuda', 'cuda:1' or 'auto'.")
    return int(number)
