"""The engines that run a converted model: one module each, whose library is imported when it is opened."""

import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from components.shared.detection.contract import RuntimeSpec
from components.shared.errors import ArchiveError

__all__ = ["Engine", "engine_code", "engine_requirements", "known_engines", "open_engine"]

_PREPARING = ("numpy", "opencv-python-headless", "pydantic")


class Engine(Protocol):
    """What an engine offers the runtime."""

    def run(self, tensor: npt.NDArray[np.float32]) -> tuple[npt.NDArray[Any], ...]:
        """The model's outputs, in its order, for a tensor ``(N, 3, height, width)``."""


@dataclass(frozen=True)
class _Kind:
    module: str
    opener: str
    requirements: tuple[str, ...]


_KINDS = {
    "torchscript": _Kind("torchscript_engine", "TorchScriptEngine", ("torch", "torchvision")),
    "onnx": _Kind("onnx_engine", "OnnxEngine", ("onnxruntime",)),
    "onnx-int8": _Kind("onnx_engine", "OnnxEngine", ("onnxruntime",)),
    "openvino": _Kind("openvino_engine", "OpenVinoEngine", ("openvino",)),
    "openvino-bf16": _Kind("openvino_engine", "OpenVinoEngine", ("openvino",)),
    "tensorrt": _Kind("tensorrt_engine", "TensorRtEngine", ("tensorrt", "torch")),
}


def known_engines() -> tuple[str, ...]:
    """Names of the runtimes that an engine here can open."""
    return tuple(_KINDS)


def engine_requirements(runtime: str) -> tuple[str, ...]:
    """Distributions that predicting with a runtime needs."""
    return (*_PREPARING, *_kind(runtime).requirements)


def engine_code(runtime: str) -> tuple[str, ...]:
    """Files below ``components/`` that predicting with a runtime needs, besides those every packed model has."""
    detection = ("contract", "engine_runtime", "postprocess", "preprocess")
    engines = ("__init__", "libraries", _kind(runtime).module)
    return (
        *(f"shared/detection/{name}.py" for name in detection),
        *(f"shared/detection/engines/{name}.py" for name in engines),
    )


def open_engine(spec: RuntimeSpec, folder: Path, *, device: str = "cpu", threads: int = 1) -> Engine:
    """The engine of a runtime's folder, with its model loaded.

    Args:
        spec: what ``runtime.json`` in the folder says.
        folder: where its files are.
        device: ``cpu``, ``cuda``, ``cuda:N`` or ``auto`` for a GPU where the engine has one.
        threads: CPU threads of one prediction.

    Raises:
        ArchiveError: no engine runs such files, or they cannot be loaded.
        ConfigError: the engine's library or the device is not here.
    """
    kind = _kind(spec.runtime)
    opener: Any = getattr(importlib.import_module(f"{__package__}.{kind.module}"), kind.opener)
    options = {"precision": spec.precision} if kind.module == "openvino_engine" else {}
    engine: Engine = opener(folder / spec.model, device=device, threads=threads, **options)
    return engine


def _kind(runtime: str) -> _Kind:
    if runtime not in _KINDS:
        raise ArchiveError(f"No engine runs a model of the runtime {runtime!r}: use {' or '.join(_KINDS)}.")
    return _KINDS[runtime]
