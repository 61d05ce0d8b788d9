"""TensorRT plans on the GPU they were built for; torch lends the memory."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from components.shared.detection.engines.libraries import cuda_index, import_library, loading
from components.shared.errors import ArchiveError, ConfigError


class TensorRtEngine:
    """A serialised plan with one input; no test covers it where there is no GPU.

    Args:
        model: the ``.engine`` file; a plan runs code of the library, so only one of our own may be opened.
        device: ``cuda``, ``cuda:N`` or ``auto``.
        threads: not used.

    Raises:
        ArchiveError: the plan cannot be loaded, as when another version or GPU built it.
        ConfigError: TensorRT, torch or the GPU is not here.
    """

    def __init__(self, model: Path, *, device: str = "auto", threads: int = 1) -> None:  # noqa: ARG002 - engines are opened alike
        if device == "cpu":
            raise ConfigError("TensorRT does not run on the device 'cpu': use 'cuda' or 'auto'.")
        library = import_library("tensorrt")
        self._torch = import_library("torch")
        index = cuda_index(device) or 0
        if index >= self._torch.cuda.device_count():
            raise ConfigError(f"The device {device!r} is not here: TensorRT needs an NVIDIA GPU.")
        self._device = self._torch.device("cuda", index)
        with loading(model), self._torch.cuda.device(self._device):
            plan = library.Runtime(library.Logger(library.Logger.ERROR)).deserialize_cuda_engine(model.read_bytes())
            if plan is None:
                raise ArchiveError(f"The plan {str(model)!r} was built by another TensorRT or for another GPU.")
            self._plan, self._context = plan, plan.create_execution_context()
        names = [plan.get_tensor_name(index) for index in range(plan.num_io_tensors)]
        inputs = [name for name in names if plan.get_tensor_mode(name) == library.TensorIOMode.INPUT]
        self._input, self._outputs = inputs[0], [name for name in names if name not in inputs]

    def run(self, tensor: npt.NDArray[np.float32]) -> tuple[npt.NDArray[Any], ...]:
        """The outputs for a tensor ``(N, 3, height, width)``."""
        torch = self._torch
        given = torch.from_numpy(tensor).to(self._device)
        self._context.set_input_shape(self._input, tuple(given.shape))
        self._context.set_tensor_address(self._input, given.data_ptr())
        shapes = [tuple(self._context.get_tensor_shape(name)) for name in self._outputs]
        outputs = [torch.empty(shape, dtype=torch.float32, device=self._device) for shape in shapes]
        for name, output in zip(self._outputs, outputs, strict=True):
            self._context.set_tensor_address(name, output.data_ptr())
        stream = torch.cuda.current_stream(self._device)
        self._context.execute_async_v3(stream.cuda_stream)
        stream.synchronize()
        return tuple(output.cpu().numpy() for output in outputs)
