"""From an image to the tensor a model takes, pixel for pixel as the training library prepares it."""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from components.shared.detection.contract import InputContract
from components.shared.detection.frameworks import Pixels

Tensor = npt.NDArray[np.float32]
_ROUNDING = 0.1  # an odd pixel of padding goes to the right and the bottom


@dataclass(frozen=True)
class Placement:
    """Where an image lies in the tensor: ``tensor = image * scale + offset``, in pixels of each.

    Attributes:
        scale_x: pixels of the tensor for one of the image, across.
        scale_y: likewise, down.
        left: first column of the image in the tensor.
        top: first row.
        width: of the image.
        height: of the image.
        tensor_width: of the tensor.
        tensor_height: of the tensor.
    """

    scale_x: float
    scale_y: float
    left: int
    top: int
    width: int
    height: int
    tensor_width: int
    tensor_height: int

    def to_image(self, boxes: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
        """Corners ``(N, 4)`` in the tensor's pixels as corners in the image's, clipped to it."""
        offset = [self.left, self.top] * 2
        scale = [self.scale_x, self.scale_y] * 2
        return np.clip((boxes.astype(np.float64) - offset) / scale, 0.0, [self.width, self.height] * 2)


def prepare(image: Pixels, contract: InputContract) -> tuple[Tensor, Placement]:
    """The tensor ``(1, 3, height, width)`` of an RGB image ``(height, width, 3)``, and where the image lies in it."""
    canvas, placement = place(image, contract)
    return to_tensor(canvas, contract.scale), placement


def place(image: Pixels, contract: InputContract) -> tuple[Pixels, Placement]:
    """The image scaled and padded as the contract says, still uint8 ``(height, width, 3)``, and where it lies."""
    height, width = image.shape[:2]
    if contract.fit == "letterbox":
        return _letterboxed(image, contract)
    if contract.fit == "longest":
        canvas = _fit_longest(image, contract.imgsz)
    elif contract.fit == "stretch":
        canvas = _resized(image, contract.imgsz, contract.imgsz)
    else:
        canvas = image
    down, across = canvas.shape[:2]
    return canvas, Placement(across / width, down / height, 0, 0, width, height, across, down)


def to_tensor(canvas: Pixels, scale: float) -> Tensor:
    """uint8 ``(height, width, 3)`` as float32 ``(1, 3, height, width)``; 1/255 is divided by, as torch does."""
    tensor = np.empty((1, 3, *canvas.shape[:2]), dtype=np.float32)
    divisor = np.float32(round(1 / scale, 6))
    for channel, plane in enumerate(cv2.split(canvas)):
        np.divide(plane, divisor, out=tensor[0, channel], dtype=np.float32)
    return tensor


def _letterboxed(image: Pixels, contract: InputContract) -> tuple[Pixels, Placement]:
    height, width = image.shape[:2]
    edge = contract.imgsz
    ratio = min(edge / height, edge / width)
    inner_width, inner_height = max(round(width * ratio), 1), max(round(height * ratio), 1)
    across, down = edge - inner_width, edge - inner_height
    if not contract.square:
        across, down = across % contract.stride, down % contract.stride
    top, bottom = round(down / 2 - _ROUNDING), round(down / 2 + _ROUNDING)
    left, right = round(across / 2 - _ROUNDING), round(across / 2 + _ROUNDING)
    scaled = _resized(image, inner_width, inner_height)
    value = (contract.pad,) * 3
    canvas = cv2.copyMakeBorder(scaled, top, bottom, left, right, cv2.BORDER_CONSTANT, value=value)
    placement = Placement(
        scale_x=inner_width / width,
        scale_y=inner_height / height,
        left=left,
        top=top,
        width=width,
        height=height,
        tensor_width=inner_width + left + right,
        tensor_height=inner_height + top + bottom,
    )
    return np.asarray(canvas, dtype=np.uint8), placement


def _fit_longest(image: Pixels, edge: int) -> Pixels:
    height, width = image.shape[:2]
    longest = max(height, width)
    how = cv2.INTER_AREA if longest > edge else cv2.INTER_LINEAR
    return _resized(image, max(1, round(width * edge / longest)), max(1, round(height * edge / longest)), how)


def _resized(image: Pixels, width: int, height: int, how: int = cv2.INTER_LINEAR) -> Pixels:
    if image.shape[:2] == (height, width):
        return image
    return np.asarray(cv2.resize(image, (width, height), interpolation=how), dtype=np.uint8)
