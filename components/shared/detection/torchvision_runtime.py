"""Predict with a torchvision detector, and the file its weights lie in; nothing here knows another training library.

The file is ``torch.save`` of a mapping: ``format`` 1, ``architecture``, ``classes``, ``imgsz`` and ``state``, the
model's tensors by name. It is read in the mode that knows tensors and plain values only.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from components.shared.cpus import usable_cpus
from components.shared.detection.devices import resolve_device
from components.shared.detection.frameworks import Framework, Pixels, Rows
from components.shared.detection.torchvision_models import ARCHITECTURES, build_model, set_limits
from components.shared.errors import ArchiveError, in_one_line

FORMAT = 1


@dataclass(frozen=True)
class TorchvisionWeights:
    """A model's weights and what is needed to build it.

    Attributes:
        architecture: one of ``ARCHITECTURES``.
        classes: class names; the index is the class id.
        imgsz: longest edge in pixels an image is scaled to.
        state: tensors by name.
    """

    architecture: str
    classes: tuple[str, ...]
    imgsz: int
    state: Mapping[str, Any]

    def save(self, path: Path) -> None:
        """Write the file; the same weights give the same bytes."""
        import torch  # noqa: PLC0415 - shared modules load without torch

        state = {name: tensor.detach().cpu() for name, tensor in self.state.items()}
        content = {"format": FORMAT, "architecture": self.architecture, "classes": list(self.classes)}
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:  # given a path, torch writes the file's name into it
            torch.save({**content, "imgsz": self.imgsz, "state": state}, file)

    def build(self) -> Any:  # noqa: ANN401 - torchvision is untyped here
        """The model with these weights, ready to predict; raises ``ArchiveError`` where they do not fit."""
        model = build_model(self.architecture, len(self.classes), self.imgsz)
        try:
            model.load_state_dict(self.state)
        except RuntimeError as error:
            reason = in_one_line(error, most=200)
            raise ArchiveError(f"The weights do not fit a {self.architecture!r}: {reason}.") from error
        return model.eval()


def load_weights(path: Path) -> TorchvisionWeights:
    """Read a weights file, on the CPU.

    Raises:
        ArchiveError: it is missing, broken, or none of ours.
    """
    import torch  # noqa: PLC0415 - shared modules load without torch

    if not path.is_file():
        raise ArchiveError(f"The weights {str(path)!r} are missing.")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises anything from IndexError to UnpicklingError here
        reason = in_one_line(error, most=160)
        raise ArchiveError(f"The weights {str(path)!r} cannot be loaded: {reason}.") from error
    problem = _problem(content)
    if problem:
        raise ArchiveError(f"{str(path)!r} is no weights file of a torchvision training: {problem}.")
    return TorchvisionWeights(
        content["architecture"], tuple(content["classes"]), content["imgsz"], dict(content["state"])
    )


def load_state(path: Path) -> dict[str, Any]:
    """Every tensor of a weights file by name; raises as ``load_weights`` does."""
    return dict(load_weights(path).state)


def fit_longest(image: Pixels, edge: int) -> Pixels:
    """The image scaled, up or down, so that its longest edge has ``edge`` pixels."""
    import cv2  # noqa: PLC0415 - only who predicts or trains needs it

    height, width = image.shape[:2]
    longest = max(height, width)
    if longest == edge:
        return image
    how = cv2.INTER_AREA if longest > edge else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, fitted_size(width, height, edge), interpolation=how), dtype=np.uint8)


def fitted_size(width: int, height: int, edge: int) -> tuple[int, int]:
    """Width and height after ``fit_longest``."""
    longest = max(height, width)
    return max(1, round(width * edge / longest)), max(1, round(height * edge / longest))


def to_tensor(image: Pixels) -> Any:  # noqa: ANN401 - torch is untyped here
    """RGB ``(height, width, 3)`` as the float tensor ``(3, height, width)`` in 0..1 that the models take."""
    import torch  # noqa: PLC0415 - shared modules load without torch

    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))).float() / 255


def to_rows(result: Mapping[str, Any]) -> Rows:
    """A model's answer for one image, in the pixels of what it was given."""
    boxes, scores, labels = (result[name].detach().cpu().numpy() for name in ("boxes", "scores", "labels"))
    return np.concatenate([boxes, scores[:, None], labels[:, None]], axis=1, dtype=np.float64)


def set_threads(threads: int) -> None:
    """Use this many CPU threads in torch; where it is not loaded yet, waiting ones will give their core away soon."""
    os.environ.setdefault("GOMP_SPINCOUNT", "4000")
    import torch  # noqa: PLC0415 - shared modules load without torch

    torch.set_num_threads(threads)


class TorchvisionRuntime:
    """A weights file ready to predict.

    Args:
        weights: the file.
        imgsz: longest edge in pixels an image is scaled to.
        device: ``cpu``, ``cuda``, ``cuda:N`` or ``auto``.

    Raises:
        ArchiveError: the file cannot be loaded.
        ConfigError: the device does not exist.
    """

    def __init__(self, weights: Path, *, imgsz: int, device: str) -> None:
        set_threads(usable_cpus())
        loaded = load_weights(weights)
        self._device = resolve_device(device)
        self._imgsz = imgsz
        self._model = TorchvisionWeights(loaded.architecture, loaded.classes, imgsz, loaded.state).build()
        self._model.to(self._device)
        self.names = loaded.classes

    def predict(
        self, image: npt.NDArray[np.uint8], *, conf: float, iou: float, max_det: int
    ) -> npt.NDArray[np.float64]:
        """Boxes in one RGB image: float64 ``(N, 6)`` left, top, right, bottom, score, label, in the image's pixels.

        Boxes of one class that overlap by more than ``iou`` are suppressed; a box has one label, its best.
        """
        import torch  # noqa: PLC0415 - shared modules load without torch

        scaled = fit_longest(image, self._imgsz)
        set_limits(self._model, conf=conf, iou=iou, max_det=max_det)
        with torch.inference_mode():
            (result,) = self._model([to_tensor(scaled).to(self._device)])
        rows = to_rows(result)
        rows[:, 0:4:2] *= image.shape[1] / scaled.shape[1]
        rows[:, 1:4:2] *= image.shape[0] / scaled.shape[0]
        return rows


def _problem(content: object) -> str:
    """What is wrong with a file's content; empty when nothing is."""
    import torch  # noqa: PLC0415 - shared modules load without torch

    if not isinstance(content, dict) or content.get("format") != FORMAT:
        return f"it does not say format {FORMAT}"
    architecture, classes, imgsz, state = (content.get(key) for key in ("architecture", "classes", "imgsz", "state"))
    if not isinstance(architecture, str) or architecture not in ARCHITECTURES:
        return f"its architecture {architecture!r} is unknown"
    if not isinstance(classes, list) or not classes or not all(isinstance(name, str) for name in classes):
        return "its classes are no list of names"
    if not isinstance(imgsz, int) or isinstance(imgsz, bool) or imgsz < 1:
        return f"its imgsz {imgsz!r} is no number of pixels"
    if not isinstance(state, dict) or not all(isinstance(tensor, torch.Tensor) for tensor in state.values()):
        return "its state is no mapping of tensors"
    return ""


FRAMEWORK = Framework(
    name="torchvision",
    open_runtime=lambda weights, imgsz, device: TorchvisionRuntime(weights, imgsz=imgsz, device=device),
    load_state=load_state,
    code=(
        "shared/detection/devices.py",
        "shared/detection/torchvision_models.py",
        "shared/detection/torchvision_runtime.py",
    ),
    requirements=("torch", "torchvision"),
    licences=(
        "PyTorch and torchvision are BSD-3-Clause; that licence says nothing of weights trained with them.",
        "No code under the AGPL is in this archive, nor among the libraries it requires.",
    ),
)
