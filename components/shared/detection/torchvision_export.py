"""Turn a torchvision detector of ours into ONNX, OpenVINO or eight-bit files, as far as they can be traced."""

import warnings
from collections.abc import Iterable
from pathlib import Path
from types import MethodType
from typing import Any

from components.shared.detection.contract import InputContract, OutputContract, RuntimeSpec
from components.shared.detection.conversion import Conversion, convert, write_onnx
from components.shared.detection.frameworks import Pixels
from components.shared.detection.torchvision_models import first_label
from components.shared.detection.torchvision_runtime import TorchvisionWeights, load_weights
from components.shared.errors import ArchiveError, in_one_line

_CANDIDATES = 1000  # boxes a level, best first, that leave the graph
_STRIDE = 32
_OUTPUTS = ("boxes", "scores", "labels")
_FRAGILE = ("/head/", "/rpn/", "/roi_heads/")


def export(weights: Path, folder: Path, runtime: str, *, imgsz: int, images: Iterable[Pixels] = ()) -> RuntimeSpec:
    """Convert a weights file and describe what came of it; the same weights and images give the same bytes.

    The model takes one image of any size whose longest edge is ``imgsz``; the suppression of overlaps is left out of
    the graph, so that its limits are still the caller's.

    Args:
        weights: the file that our torchvision training wrote.
        folder: where the files and ``runtime.json`` go.
        runtime: ``onnx``, ``onnx-int8`` or, for a RetinaNet, ``openvino`` or ``openvino-bf16``.
        imgsz: longest edge in pixels an image is scaled to.
        images: RGB images to calibrate ``onnx-int8`` with.

    Raises:
        ArchiveError: the weights cannot be loaded or converted to that runtime.
        ConfigError: a library is missing or there are no images to calibrate with.
    """
    if runtime == "torchscript":
        raise ArchiveError("A torchvision model cannot be converted to 'torchscript': use 'onnx' or 'openvino'.")
    loaded = load_weights(weights)
    if runtime.startswith("openvino") and loaded.architecture.startswith("fasterrcnn"):
        raise ArchiveError(
            f"A {loaded.architecture!r} cannot be converted to {runtime!r}, whose files differ each time: use 'onnx'."
        )
    conversion = Conversion(
        runtime=runtime,
        input=InputContract(imgsz=imgsz, stride=_STRIDE, fit="longest"),
        output=OutputContract(layout="boxes"),
        classes=loaded.classes,
        fragile=tuple(f"/model{part}" for part in _FRAGILE),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tracer's, about shapes that stay free all the same
        return convert(conversion, folder, images, write=lambda path: _write(loaded, imgsz, path, weights))


def _write(loaded: TorchvisionWeights, imgsz: int, path: Path, weights: Path) -> None:
    import torch  # noqa: PLC0415 - shared modules load without torch

    model = TorchvisionWeights(loaded.architecture, loaded.classes, imgsz, loaded.state).build()
    example = torch.rand(1, 3, imgsz, max(1, imgsz * 3 // 4), generator=torch.Generator().manual_seed(0))
    try:
        write_onnx(_traceable(model), example, path, outputs=_OUTPUTS, batched=False)
    except Exception as error:  # tracing runs any of the library's code
        reason = in_one_line(error, most=200)
        raise ArchiveError(
            f"The {loaded.architecture!r} in {str(weights)!r} cannot be converted to ONNX: {reason}."
        ) from error


def _traceable(model: Any) -> Any:  # noqa: ANN401 - torchvision is untyped here
    """The model as a module from one image's tensor to its boxes, scores and labels before suppression."""
    from torch import nn  # noqa: PLC0415 - shared modules load without torch

    if first_label(model):
        model.roi_heads.postprocess_detections = MethodType(_rcnn_candidates, model.roi_heads)
    else:
        model.postprocess_detections = MethodType(_retinanet_candidates, model)
    model.transform.resize = lambda image, target: (image, target)  # it has its size already

    class Traceable(nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, images: Any) -> tuple[Any, ...]:  # noqa: ANN401 - torch is untyped here
            (found,) = self.model([images[0]])
            return tuple(found[name] for name in _OUTPUTS)

    return Traceable().eval()


def _rcnn_candidates(
    heads: Any,  # noqa: ANN401 - torchvision is untyped here
    logits: Any,  # noqa: ANN401 - same
    regression: Any,  # noqa: ANN401 - same
    proposals: Any,  # noqa: ANN401 - same
    image_shapes: Any,  # noqa: ANN401, ARG001 - same; clipping is left to who reads the boxes
) -> tuple[list[Any], list[Any], list[Any]]:
    """Each proposal of one image with its best label, in place of ``RoIHeads.postprocess_detections``."""
    import torch  # noqa: PLC0415 - shared modules load without torch

    places = heads.box_coder.decode(regression, proposals)
    best, labels = torch.softmax(logits, -1)[:, 1:].max(dim=1)
    own = places.gather(1, (labels + 1)[:, None, None].expand(-1, 1, 4))[:, 0]
    return [own], [best], [labels]


def _retinanet_candidates(
    model: Any,  # noqa: ANN401 - same
    head_outputs: dict[str, list[Any]],
    anchors: list[list[Any]],
    image_shapes: Any,  # noqa: ANN401, ARG001 - same; clipping is left to who reads the boxes
) -> list[dict[str, Any]]:
    """The best places of each level of one image, in place of ``RetinaNet.postprocess_detections``."""
    import torch  # noqa: PLC0415 - shared modules load without torch
    from torchvision.models.detection import _utils as tracing  # noqa: PLC0415 - same

    levels = zip(head_outputs["cls_logits"], head_outputs["bbox_regression"], anchors[0], strict=True)
    found = []
    for logits, regression, places in levels:
        best, label = torch.sigmoid(logits[0]).max(dim=1)
        count = tracing._topk_min(best, _CANDIDATES, 0)  # noqa: SLF001 - keeps the count free in the graph
        top = best.topk(count).indices
        found.append((model.box_coder.decode_single(regression[0][top], places[top]), best[top], label[top]))
    boxes, scores, labels = (torch.cat(parts) for parts in zip(*found, strict=True))
    return [{"boxes": boxes, "scores": scores, "labels": labels}]
