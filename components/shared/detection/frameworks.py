"""The frameworks a model can be of: each is one module beside this one, named ``<framework>_runtime.py``."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from components.shared.errors import ArchiveError

Pixels = npt.NDArray[np.uint8]
Rows = npt.NDArray[np.float64]  # (N, 6): left, top, right, bottom, score, label
_SUFFIX = "_runtime"
_NO_FRAMEWORKS = frozenset({"engine"})  # the runtime of converted models, whatever framework they are from


class Runtime(Protocol):
    """What a framework offers the detector."""

    names: tuple[str, ...]

    def predict(self, image: Pixels, *, conf: float, iou: float, max_det: int) -> Rows:
        """Boxes in one RGB image of shape ``(height, width, 3)``, in its pixels; a box has one label, its best."""


@dataclass(frozen=True)
class Framework:
    """What the steps after training need to know of a training library.

    Attributes:
        name: as ``ModelManifest.framework`` says it.
        open_runtime: weights file, longest edge in pixels, device -> a runtime; raises ``ArchiveError`` where the file
            cannot be loaded and ``ConfigError`` where there is no such device.
        load_state: weights file -> every tensor of the model by name, as stored; raises ``ArchiveError``.
        code: files below ``components/`` that the runtime needs, besides those every packed model has.
        requirements: likewise, distributions.
        licences: sentences on what passing such a model on means.
    """

    name: str
    open_runtime: Callable[[Path, int, str], Runtime]
    load_state: Callable[[Path], dict[str, Any]]
    code: tuple[str, ...]
    requirements: tuple[str, ...]
    licences: tuple[str, ...]


def known_frameworks() -> tuple[str, ...]:
    """Names of the frameworks whose runtimes are here; a packed model brings its own one only."""
    found = Path(__file__).parent.glob(f"*{_SUFFIX}.py")
    return tuple(sorted({path.stem.removesuffix(_SUFFIX) for path in found} - _NO_FRAMEWORKS))


def find_framework(name: str) -> Framework:
    """The framework of that name; its library is not imported yet.

    Raises:
        ArchiveError: there is none.
    """
    known = known_frameworks()
    if name not in known:
        raise ArchiveError(f"No runtime is known for a model of framework {name!r}: use {' or '.join(known)}.")
    framework: Framework = importlib.import_module(f"{__package__}.{name}{_SUFFIX}").FRAMEWORK
    return framework
