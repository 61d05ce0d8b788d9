"""Eight-bit ONNX models: static quantisation with ranges measured on images of the data set."""

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from components.shared.detection.contract import InputContract
from components.shared.detection.engines.libraries import import_library
from components.shared.detection.frameworks import Pixels
from components.shared.detection.preprocess import prepare


def quantise(model: Path, images: Iterable[Pixels], *, contract: InputContract, fragile: tuple[str, ...]) -> Path:
    """An ONNX model with weights of eight signed and activations of eight unsigned bits, beside the one given.

    Args:
        model: the ``.onnx`` file; it is left alone, but for the name of the result.
        images: RGB images whose activations give the ranges.
        contract: what the model takes.
        fragile: prefixes of the nodes that stay in full precision.
    """
    onnx, tools = import_library("onnx"), import_library("onnxruntime.quantization")
    preprocess = import_library("onnxruntime.quantization.shape_inference").quant_pre_process
    prepared, target = model.with_name("prepared.onnx"), model.with_name("quantised.onnx")
    with _silent():
        preprocess(str(model), str(prepared), skip_symbolic_shape=True)
        nodes = [node.name for node in onnx.load(str(prepared)).graph.node]
        tools.quantize_static(
            str(prepared),
            str(target),
            _reader(tools.CalibrationDataReader, images, contract),
            quant_format=tools.QuantFormat.QDQ,
            activation_type=tools.QuantType.QUInt8,
            weight_type=tools.QuantType.QInt8,
            per_channel=True,
            nodes_to_exclude=[name for name in nodes if name.startswith(fragile)] if fragile else [],
            calibrate_method=tools.CalibrationMethod.MinMax,
        )
    target.replace(model)
    return model


def _reader(base: type[Any], images: Iterable[Pixels], contract: InputContract) -> Any:  # noqa: ANN401 - untyped here
    """The tensors of the images, one a call, as the calibration asks for them."""

    class Reader(base):  # type: ignore[misc]
        def __init__(self) -> None:
            self._left = _tensors(images, contract)

        def get_next(self) -> dict[str, npt.NDArray[np.float32]] | None:
            return next(self._left, None)

    return Reader()


def _tensors(images: Iterable[Pixels], contract: InputContract) -> Iterator[dict[str, npt.NDArray[np.float32]]]:
    for image in images:
        yield {"images": prepare(image, contract)[0]}


@contextmanager
def _silent() -> Iterator[None]:
    """Without the tool's advice to prepare the model, which was done."""
    root = logging.getLogger()
    before = root.level
    root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        root.setLevel(before)
