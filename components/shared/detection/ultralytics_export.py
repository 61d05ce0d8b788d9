"""Turn an ultralytics checkpoint into files that other engines run, without the library's own exporter."""

import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from components.shared.detection.contract import InputContract, Layout, OutputContract, RuntimeSpec
from components.shared.detection.conversion import Conversion, convert, write_onnx, write_torchscript
from components.shared.detection.environment import limit_threads, prepare_environment, usable_cpus
from components.shared.detection.frameworks import Pixels
from components.shared.detection.ultralytics_runtime import neutral_path, without_links
from components.shared.errors import ArchiveError, in_one_line

_LEAST_STRIDE = 32
_LAYOUTS: dict[str, Layout] = {"Detect": "yolo", "v10Detect": "yolo", "RTDETRDecoder": "detr"}
_ATTENTION = ("Attention", "AAttn", "PSA", "TransformerEncoderLayer", "AIFI")


@dataclass(frozen=True)
class _Network:
    """A checkpoint's network, fused and ready to be traced."""

    module: Any
    head: Any
    classes: tuple[str, ...]
    layout: Layout
    stride: int


def export(weights: Path, folder: Path, runtime: str, *, imgsz: int, images: Iterable[Pixels] = ()) -> RuntimeSpec:
    """Convert a checkpoint and describe what came of it; the same weights and images give the same bytes.

    YOLO models take images of any whole strides and any number; RT-DETR takes squares of ``imgsz``. A model with a
    second, NMS-free head is converted with the head that ``predict`` uses by default.

    Args:
        weights: the ``.pt`` file, loaded in the library's safe mode.
        folder: where the files and ``runtime.json`` go; nothing is written elsewhere but what goes away again.
        runtime: one of ``conversion.CONVERTIBLE``.
        imgsz: longest edge in pixels; rounded up to whole strides as ultralytics does.
        images: RGB images to calibrate ``onnx-int8`` with.

    Raises:
        ArchiveError: the checkpoint cannot be loaded or converted to that runtime.
        ConfigError: a library is missing or there are no images to calibrate with.
    """
    with _quiet():
        network = _load(weights)
        contract = _input_contract(network, imgsz)
        conversion = Conversion(
            runtime=runtime,
            input=contract,
            output=OutputContract(layout=network.layout),
            classes=network.classes,
            fragile=_fragile_parts(network),
        )
        return convert(conversion, folder, images, write=lambda path: _write(network, contract, path, weights))


def _load(weights: Path) -> _Network:
    """The network as ``predict`` would use it, with its normalisation folded into the convolutions."""
    prepare_environment()
    from ultralytics.nn import tasks  # noqa: PLC0415 - after the environment is prepared

    tasks.SAFE_LOAD = True  # the variable alone is too late when somebody imported the library before
    limit_threads(usable_cpus())
    if not weights.is_file():
        raise ArchiveError(f"The weights {str(weights)!r} are missing.")
    try:
        with neutral_path(weights) as path:
            module, _ = tasks.load_checkpoint(str(path), device="cpu")
        kind, head = module.task, module.model[-1]
    except Exception as error:
        reason = without_links(in_one_line(error, most=200))
        raise ArchiveError(f"The weights {str(weights)!r} cannot be loaded: {reason}.") from error
    if kind != "detect" or type(head).__name__ not in _LAYOUTS:
        raise ArchiveError(
            f"A model for the task {kind!r} with the head {type(head).__name__!r} cannot be converted: "
            f"use one of {', '.join(_LAYOUTS)}, or no conversion."
        )
    return _prepared(module, head)


def _prepared(module: Any, head: Any) -> _Network:  # noqa: ANN401 - ultralytics is untyped here
    layout = _LAYOUTS[type(head).__name__]
    if layout == "yolo":
        module.end2end = False  # a checkpoint fused to its other head keeps that one
        layout = "end2end" if module.end2end else "yolo"
    module = module.fuse(verbose=False).eval().float()
    for parameter in module.parameters():
        parameter.requires_grad = False
    head.export, head.format = True, "onnx"
    for layer in module.modules():
        if hasattr(layer, "forward_split"):
            layer.forward = layer.forward_split
    names = tuple(str(module.names[index]) for index in sorted(module.names))
    return _Network(module, head, names, layout, max(int(max(module.stride)), _LEAST_STRIDE))


def _input_contract(network: _Network, imgsz: int) -> InputContract:
    edge = -(-imgsz // network.stride) * network.stride
    if network.layout == "detr":
        return InputContract(imgsz=edge, stride=network.stride, fit="stretch", square=True)
    return InputContract(imgsz=edge, stride=network.stride)


def _write(network: _Network, contract: InputContract, path: Path, weights: Path) -> None:
    """The network as ``.onnx`` or ``.torchscript``, by the path's suffix."""
    import torch  # noqa: PLC0415 - shared modules load without torch

    edge = contract.imgsz
    example = torch.zeros(1, 3, edge, edge)
    fixed = contract.fit == "stretch"
    network.head.dynamic, network.head.shape = not fixed, None
    if not fixed:
        network.head.max_det = min(300, sum((edge // int(stride)) ** 2 for stride in network.module.stride))
    try:
        if path.suffix == ".torchscript":
            write_torchscript(network.module, example, path)
        else:
            write_onnx(network.module, example, path, outputs=("output0",), fixed_size=fixed)
    except Exception as error:  # tracing runs any of the library's code
        reason = in_one_line(error, most=200)
        raise ArchiveError(f"The weights {str(weights)!r} cannot be converted: {reason}.") from error


def _fragile_parts(network: _Network) -> tuple[str, ...]:
    """Prefixes of the ONNX nodes that lose too much in eight bits: the head and layers with attention."""
    layers = list(network.module.model)
    attending = [
        index
        for index, layer in enumerate(layers[:-1])
        if any(type(part).__name__.startswith(_ATTENTION) for part in layer.modules())
    ]
    return tuple(f"/model.{index}/" for index in (*attending, len(layers) - 1))


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the tracer's warnings, which are about shapes that we check afterwards."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        yield
