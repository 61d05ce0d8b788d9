"""OpenVINO models, or ONNX ones through OpenVINO, on the CPU."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from components.shared.detection.contract import Precision
from components.shared.detection.engines.libraries import cuda_index, import_library, loading
from components.shared.errors import ConfigError


class OpenVinoEngine:
    """An ``.xml`` with its ``.bin``, or an ``.onnx`` file, compiled for this CPU.

    Args:
        model: the file.
        device: ``cpu`` or ``auto``; OpenVINO knows no CUDA.
        threads: CPU threads of one prediction.
        precision: ``f32`` gives the same numbers as the original; ``bf16`` is faster where the CPU has it; ``auto``
            takes what is fastest here.

    Raises:
        ArchiveError: the file cannot be loaded.
        ConfigError: OpenVINO or the device is not here.
    """

    def __init__(self, model: Path, *, device: str = "cpu", threads: int = 1, precision: Precision = "f32") -> None:
        if cuda_index(device) is not None:
            raise ConfigError(f"OpenVINO does not run on the device {device!r}: use 'cpu' or 'auto'.")
        library = import_library("openvino")
        options: dict[str, Any] = {
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": "1",
            "INFERENCE_NUM_THREADS": threads,
            "ENABLE_CPU_PINNING": False,  # several services may share the same cores
        }
        if precision != "auto":
            options["INFERENCE_PRECISION_HINT"] = precision
        with loading(model):
            compiled = library.Core().compile_model(str(model), "CPU", options)
            self._request = compiled.create_infer_request()
            self._outputs = len(compiled.outputs)

    def run(self, tensor: npt.NDArray[np.float32]) -> tuple[npt.NDArray[Any], ...]:
        """The outputs for a tensor ``(N, 3, height, width)``; they are copies and stay as they are."""
        self._request.infer([tensor], share_inputs=True)
        return tuple(self._request.get_output_tensor(index).data.copy() for index in range(self._outputs))
