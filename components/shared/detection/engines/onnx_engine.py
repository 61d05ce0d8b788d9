"""ONNX models through ONNX Runtime, on the CPU or a CUDA GPU."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from components.shared.detection.engines.libraries import cuda_index, import_library, loading
from components.shared.errors import ConfigError

_CUDA = "CUDAExecutionProvider"
_CPU = "CPUExecutionProvider"
_ERRORS_ONLY = 3
_WRONG = ["PadFusion"]  # gives a pool the padding it would ignore, where zeros before it counted (YOLOv3-tiny)


class OnnxEngine:
    """A session on an ``.onnx`` file with one input.

    Args:
        model: the file.
        device: ``cpu``, ``cuda``, ``cuda:N`` or ``auto``.
        threads: CPU threads of one prediction.

    Raises:
        ArchiveError: the file cannot be loaded.
        ConfigError: ONNX Runtime or the device is not here.
    """

    def __init__(self, model: Path, *, device: str = "cpu", threads: int = 1) -> None:
        library = import_library("onnxruntime")
        options = library.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = _ERRORS_ONLY
        options.add_session_config_entry(
            "session.intra_op.allow_spinning", "0"
        )  # it doubles the CPU time of two threads
        providers = _providers(device, library.get_available_providers())
        with loading(model):
            self._session = library.InferenceSession(
                str(model), options, providers=providers, disabled_optimizers=_WRONG
            )
            self._input = self._session.get_inputs()[0].name

    def run(self, tensor: npt.NDArray[np.float32]) -> tuple[npt.NDArray[Any], ...]:
        """The outputs for a tensor ``(N, 3, height, width)``."""
        return tuple(self._session.run(None, {self._input: tensor}))


def _providers(device: str, available: list[str]) -> list[Any]:
    index = cuda_index(device)
    if index is None and not (device == "auto" and _CUDA in available):
        return [_CPU]
    if _CUDA not in available:
        raise ConfigError(f"This ONNX Runtime has no CUDA for the device {device!r}: use 'cpu' or 'auto'.")
    return [(_CUDA, {"device_id": index or 0}), _CPU]
