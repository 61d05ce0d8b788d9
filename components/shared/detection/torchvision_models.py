"""Detection models of torchvision, and small ones of its parts, built without a download; each box gets one label."""

from functools import partial
from types import MethodType
from typing import Any

from components.shared.errors import ConfigError

_SMALL = ("retinanet_mobilenet_v3_small_fpn",)
ARCHITECTURES = (
    "fasterrcnn_resnet50_fpn_v2",
    "fasterrcnn_resnet50_fpn",
    "fasterrcnn_mobilenet_v3_large_fpn",
    "fasterrcnn_mobilenet_v3_large_320_fpn",
    "retinanet_resnet50_fpn_v2",
    "retinanet_resnet50_fpn",
    *_SMALL,
)
_CANDIDATES = 1000  # boxes a level, best first, that go into the suppression
_LEAST_EDGE = 0.01  # pixels; what is narrower is no box


def build_model(architecture: str, class_count: int, imgsz: int) -> Any:  # noqa: ANN401 - torchvision is untyped here
    """A model with random weights, in training mode.

    Args:
        architecture: one of ``ARCHITECTURES``.
        class_count: classes to tell apart, without the background.
        imgsz: longest edge in pixels its input is scaled to, up or down.

    Raises:
        ConfigError: there is no such architecture.
    """
    if architecture not in ARCHITECTURES:
        raise ConfigError(f"There is no torchvision model {architecture!r}: use {', '.join(ARCHITECTURES)}.")
    if architecture in _SMALL:
        model = _small_retinanet(class_count, imgsz)
    else:
        from torchvision.models import detection  # noqa: PLC0415 - shared modules load without torch

        build = getattr(detection, architecture)
        count = class_count + 1 if architecture.startswith("fasterrcnn") else class_count
        model = build(
            weights=None, weights_backbone=None, progress=False, num_classes=count, min_size=imgsz, max_size=imgsz
        )
    _label_once(model)
    return model


def first_label(model: Any) -> int:  # noqa: ANN401 - same
    """The label by which a model is taught its first class: 1 where 0 is the background."""
    return 1 if hasattr(model, "roi_heads") else 0


def set_limits(model: Any, *, conf: float, iou: float, max_det: int) -> None:  # noqa: ANN401 - same
    """What a prediction returns: at most ``max_det`` boxes above ``conf``, of a class none overlapping over ``iou``."""
    part = getattr(model, "roi_heads", model)
    part.score_thresh, part.nms_thresh, part.detections_per_img = conf, iou, max_det


def set_size(model: Any, imgsz: int) -> None:  # noqa: ANN401 - same
    """Scale the longest edge of the input to ``imgsz`` pixels."""
    model.transform.min_size, model.transform.max_size = (imgsz,), imgsz


def _small_retinanet(class_count: int, imgsz: int) -> Any:  # noqa: ANN401 - same
    """MobileNetV3-small below four pyramid levels (strides 8 to 64) and a narrow head: 2 million weights."""
    from torch import nn  # noqa: PLC0415 - shared modules load without torch
    from torchvision.models import mobilenet_v3_small  # noqa: PLC0415 - same
    from torchvision.models.detection import RetinaNet  # noqa: PLC0415 - same
    from torchvision.models.detection.anchor_utils import AnchorGenerator  # noqa: PLC0415 - same
    from torchvision.models.detection.backbone_utils import BackboneWithFPN  # noqa: PLC0415 - same
    from torchvision.models.detection.retinanet import RetinaNetHead  # noqa: PLC0415 - same

    # The library's momentum of 0.01 suits a million steps; a short training needs its statistics sooner.
    body = mobilenet_v3_small(weights=None, norm_layer=partial(nn.BatchNorm2d, eps=0.001, momentum=0.05)).features
    levels = {"3": "0", "8": "1", "12": "2"}
    channels = [body[int(layer)].out_channels for layer in levels]
    backbone = BackboneWithFPN(body, levels, channels, out_channels=96)
    anchors = AnchorGenerator(
        sizes=tuple(
            (stride * 3, int(stride * 3 * 2 ** (1 / 3)), int(stride * 3 * 2 ** (2 / 3))) for stride in (8, 16, 32, 64)
        ),
        aspect_ratios=((0.5, 1.0, 2.0),) * 4,
    )
    head = RetinaNetHead(
        backbone.out_channels,
        anchors.num_anchors_per_location()[0],
        class_count,
        norm_layer=partial(nn.GroupNorm, 16),
    )
    return RetinaNet(backbone, class_count, min_size=imgsz, max_size=imgsz, anchor_generator=anchors, head=head)


def _label_once(model: Any) -> None:  # noqa: ANN401 - same
    """Let a model give each place it looks at its best label only, counted from 0, where it would give every label."""
    if hasattr(model, "roi_heads"):
        model.roi_heads.postprocess_detections = MethodType(_rcnn_detections, model.roi_heads)
    else:
        model.postprocess_detections = MethodType(_retinanet_detections, model)


def _rcnn_detections(
    heads: Any,  # noqa: ANN401 - same
    logits: Any,  # noqa: ANN401 - same
    regression: Any,  # noqa: ANN401 - same
    proposals: Any,  # noqa: ANN401 - same
    image_shapes: list[tuple[int, int]],
) -> tuple[list[Any], list[Any], list[Any]]:
    """In place of ``RoIHeads.postprocess_detections``."""
    import torch  # noqa: PLC0415 - shared modules load without torch

    counts = [len(each) for each in proposals]
    places = heads.box_coder.decode(regression, proposals).split(counts)
    found = []
    for boxes, scores, shape in zip(places, torch.softmax(logits, -1).split(counts), image_shapes, strict=True):
        best, labels = scores[:, 1:].max(dim=1)
        own = boxes[torch.arange(len(boxes), device=boxes.device), labels + 1]
        found.append(_suppressed(heads, own, best, labels, shape))
    boxes, scores, labels = ([one[part] for one in found] for part in range(3))
    return boxes, scores, labels


def _retinanet_detections(
    model: Any,  # noqa: ANN401 - same
    head_outputs: dict[str, list[Any]],
    anchors: list[list[Any]],
    image_shapes: list[tuple[int, int]],
) -> list[dict[str, Any]]:
    """In place of ``RetinaNet.postprocess_detections``."""
    import torch  # noqa: PLC0415 - shared modules load without torch

    found = []
    for index, shape in enumerate(image_shapes):
        boxes, scores, labels = [], [], []
        levels = zip(head_outputs["cls_logits"], head_outputs["bbox_regression"], anchors[index], strict=True)
        for logits, regression, places in levels:
            best, label = torch.sigmoid(logits[index]).max(dim=1)
            top = torch.sort(best, descending=True, stable=True).indices[:_CANDIDATES]
            top = top[best[top] > model.score_thresh]
            boxes.append(model.box_coder.decode_single(regression[index][top], places[top]))
            scores.append(best[top])
            labels.append(label[top])
        kept = _suppressed(model, torch.cat(boxes), torch.cat(scores), torch.cat(labels), shape)
        found.append(dict(zip(("boxes", "scores", "labels"), kept, strict=True)))
    return found


def _suppressed(
    limits: Any,  # noqa: ANN401 - same
    boxes: Any,  # noqa: ANN401 - same
    scores: Any,  # noqa: ANN401 - same
    labels: Any,  # noqa: ANN401 - same
    shape: tuple[int, int],
) -> tuple[Any, Any, Any]:
    """Boxes, scores and labels after clipping to the image, the threshold, suppression by class and the cap."""
    from torchvision.ops import boxes as operations  # noqa: PLC0415 - shared modules load without torch

    boxes = operations.clip_boxes_to_image(boxes, shape)
    width, height = (boxes[:, 2:] - boxes[:, :2]).unbind(1)
    good = (scores > limits.score_thresh) & (width >= _LEAST_EDGE) & (height >= _LEAST_EDGE)
    boxes, scores, labels = boxes[good], scores[good], labels[good]
    kept = operations.batched_nms(boxes.float(), scores.float(), labels, limits.nms_thresh)[: limits.detections_per_img]
    return boxes[kept], scores[kept], labels[kept]
