"""torchvision's compiled box suppression without its Python package, whose import takes seconds for unused parts."""

import importlib.util
from pathlib import Path
from typing import Any


def use_compiled_suppression() -> None:
    """Make ultralytics suppress overlapping boxes with torchvision's compiled operator, always the same one.

    The library would choose between that operator and a slow one of its own by whether torchvision happens to be
    imported; importing it brings in torch's compiler, 3 s and more on two cores. Where the compiled file is not found,
    torchvision is imported after all.
    """
    import torch  # noqa: PLC0415 - shared modules load without torch
    from ultralytics.utils.nms import TorchNMS  # noqa: PLC0415 - same

    for library in _compiled_libraries():
        torch.ops.load_library(str(library))
    if not _has_operator(torch.ops.torchvision):
        import torchvision  # noqa: F401, PLC0415 - loads the operator
    TorchNMS.nms = staticmethod(torch.ops.torchvision.nms)


def _compiled_libraries() -> list[Path]:
    found = importlib.util.find_spec("torchvision")
    folders = (found.submodule_search_locations or []) if found else []
    return [library for folder in folders for library in sorted(Path(folder).glob("_C*.so"))]


def _has_operator(namespace: Any) -> bool:  # noqa: ANN401 - torch is untyped here
    try:
        return bool(namespace.nms)
    except (AttributeError, RuntimeError):
        return False
