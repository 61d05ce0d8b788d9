"""TorchScript models through torch, without the training library."""

import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from components.shared.detection.engines.libraries import cuda_index, import_library, loading
from components.shared.errors import ConfigError

_SPIN = "4000"  # waiting loops of an OpenMP thread before it gives its core away


class TorchScriptEngine:
    """A ``.torchscript`` file on the CPU or a GPU.

    Args:
        model: the file.
        device: ``cpu``, ``cuda``, ``cuda:N`` or ``auto``.
        threads: CPU threads of torch, in the whole process.

    Raises:
        ArchiveError: the file cannot be loaded.
        ConfigError: torch or the device is not here.
    """

    def __init__(self, model: Path, *, device: str = "cpu", threads: int = 1) -> None:
        os.environ.setdefault("GOMP_SPINCOUNT", _SPIN)
        self._torch = import_library("torch")
        self._torch.set_num_threads(threads)
        self._device = _device(self._torch, device)
        with loading(model), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch would rather have another format
            self._model = self._torch.jit.load(str(model), map_location=self._device).eval()

    def run(self, tensor: npt.NDArray[np.float32]) -> tuple[npt.NDArray[Any], ...]:
        """The outputs for a tensor ``(N, 3, height, width)``."""
        with self._torch.inference_mode():
            found = self._model(self._torch.from_numpy(tensor).to(self._device))
        outputs = found if isinstance(found, (tuple, list)) else (found,)
        return tuple(each.detach().cpu().numpy() for each in outputs)


def _device(torch: Any, device: str) -> Any:  # noqa: ANN401 - torch is untyped here
    index = cuda_index(device)
    if index is None:
        return torch.device("cuda" if device == "auto" and torch.cuda.is_available() else "cpu")
    if index >= torch.cuda.device_count():
        raise ConfigError(f"The device {device!r} is not here ({torch.cuda.device_count()} GPUs): use 'cpu' or 'auto'.")
    return torch.device("cuda", index)
