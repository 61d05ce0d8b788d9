"""Predict with an ultralytics checkpoint, offline and one image at a time."""

import re
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from components.shared.detection.devices import resolve_device
from components.shared.detection.environment import limit_threads, prepare_environment, usable_cpus
from components.shared.detection.frameworks import Framework
from components.shared.detection.suppression import use_compiled_suppression
from components.shared.errors import ArchiveError

_LINKS = "neutral-link-"


class UltralyticsRuntime:
    """A checkpoint as ultralytics writes it, loaded in its safe mode (only known layer classes, no code).

    Args:
        weights: the ``.pt`` file.
        imgsz: longest edge in pixels an image is scaled to.
        device: ``cpu``, ``cuda``, ``cuda:N`` or ``auto``.

    Raises:
        ArchiveError: the file cannot be loaded or is no detector.
        ConfigError: the device does not exist.
    """

    def __init__(self, weights: Path, *, imgsz: int, device: str) -> None:
        prepare_environment()
        import torch  # noqa: PLC0415 - shared modules load without torch
        from ultralytics import YOLO  # noqa: PLC0415 - after the environment is prepared
        from ultralytics.nn import tasks  # noqa: PLC0415 - same

        tasks.SAFE_LOAD = True  # the variable alone is too late when somebody imported the library before
        limit_threads(usable_cpus())
        use_compiled_suppression()
        self._predictor = _unwarmed_predictor()
        self._device = resolve_device(device)  # a name would have the library choose threads and devices itself
        self._imgsz = imgsz
        if not weights.is_file():  # the library would look for it elsewhere
            raise ArchiveError(f"The weights {str(weights)!r} are missing.")
        try:
            with neutral_path(weights) as path:
                self._model = YOLO(str(path), task="detect")
            kind = self._model.task
            names = self._model.names
        except Exception as error:
            raise ArchiveError(_unusable(weights, error)) from error
        if kind != "detect" or not isinstance(self._model.model, torch.nn.Module):
            raise ArchiveError(f"The weights {str(weights)!r} are for the task {kind!r}: a detector is needed.")
        self.names = tuple(str(names[index]) for index in sorted(names))

    def predict(
        self, image: npt.NDArray[np.uint8], *, conf: float, iou: float, max_det: int
    ) -> npt.NDArray[np.float64]:
        """Boxes in one RGB image: float64 ``(N, 6)`` left, top, right, bottom, score, label, in the image's pixels.

        The image is padded to the smallest rectangle of whole strides (``rect``), and boxes of one class that overlap
        by more than ``iou`` are suppressed; a box has one label, its best.
        """
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            (result,) = self._model.predict(
                [np.ascontiguousarray(image[:, :, ::-1])],
                predictor=self._predictor,
                imgsz=self._imgsz,
                conf=conf,
                iou=iou,
                max_det=max_det,
                device=self._device,
                rect=True,
                agnostic_nms=False,
                save=False,
                verbose=False,
            )
        rows: npt.NDArray[np.float64] = result.boxes.data.cpu().numpy().astype(np.float64)
        return rows


def _unwarmed_predictor() -> type[Any]:
    """The library's predictor without the warm-up that imports torchvision; the first image is the warm-up."""
    from ultralytics.models.yolo.detect import DetectionPredictor  # noqa: PLC0415 - after the environment is prepared

    class UnwarmedPredictor(DetectionPredictor):  # type: ignore[misc]
        def __init__(self, *args: Any, **named: Any) -> None:  # noqa: ANN401 - the library's own arguments
            super().__init__(*args, **named)
            self.done_warmup = True

    return UnwarmedPredictor


def load_state(weights: Path) -> dict[str, Any]:
    """Every tensor in a checkpoint's model by name, as stored (the averaged weights where there are any).

    The file is read in the safe mode: only known layer classes, no code.

    Raises:
        ArchiveError: the file cannot be loaded or holds no model.
    """
    prepare_environment()
    from ultralytics.nn.tasks import torch_safe_load  # noqa: PLC0415 - after the environment is prepared

    if not weights.is_file():
        raise ArchiveError(f"The weights {str(weights)!r} are missing.")
    try:
        with neutral_path(weights) as path:
            checkpoint, _ = torch_safe_load(str(path), safe_only=True)
        model = checkpoint.get("ema") or checkpoint["model"]
        return dict(model.state_dict())
    except Exception as error:
        raise ArchiveError(_unusable(weights, error)) from error


def _unusable(weights: Path, error: Exception) -> str:
    return f"The weights {str(weights)!r} cannot be loaded: {without_links(str(error))}"


@contextmanager
def neutral_path(path: Path) -> Iterator[Path]:
    """A path to the same file that ultralytics takes as it is; one to no file stays.

    The library drops apostrophes and outer spaces from paths, downloads other weights in place of a file named
    ``yolov5n.pt`` or ``yolov3.pt``, and reads a model's scale from its YAML's name, which is therefore kept.
    """
    if not path.is_file():
        yield path  # one of the library's own
        return
    with tempfile.TemporaryDirectory(prefix=_LINKS) as folder:
        link = Path(folder) / ("weights.pt" if path.suffix == ".pt" else path.name.replace("'", ""))
        link.symlink_to(path.resolve())
        yield link


def without_links(message: str) -> str:
    """A message of the library without the folders of ``neutral_path``."""
    return re.sub(rf"\S*/{_LINKS}\w+/", "", message)


FRAMEWORK = Framework(
    name="ultralytics",
    open_runtime=lambda weights, imgsz, device: UltralyticsRuntime(weights, imgsz=imgsz, device=device),
    load_state=load_state,
    code=(
        "shared/detection/devices.py",
        "shared/detection/environment.py",
        "shared/detection/suppression.py",
        "shared/detection/ultralytics_runtime.py",
    ),
    requirements=("torch", "torchvision", "ultralytics"),
    licences=(
        "The ultralytics library is AGPL-3.0; Ultralytics claims the same licence for weights trained with it.",
        "Whoever distributes this archive or offers it over a network must offer the source or hold another licence.",
    ),
)
