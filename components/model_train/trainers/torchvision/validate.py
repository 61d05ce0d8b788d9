"""Losses and metrics of a torchvision model on the validation images, with the weights and the code that are served."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from components.model_train.trainers.torchvision.data import Example, Examples, to_targets
from components.model_train.trainers.torchvision.metrics import Judged, detection_metrics
from components.model_train.trainers.torchvision.ranks import Ranks
from components.shared.detection.torchvision_models import first_label, set_limits
from components.shared.detection.torchvision_runtime import to_rows

LEAST_SCORE = 0.001
LOSSES = {
    "classification": "cls_loss",
    "bbox_regression": "box_loss",
    "loss_classifier": "cls_loss",
    "loss_box_reg": "box_loss",
    "loss_objectness": "rpn_cls_loss",
    "loss_rpn_box_reg": "rpn_box_loss",
}
"""torchvision's names of losses, and ours."""


class Validation:
    """The validation images of this process, in batches of one shape, so that none sees another one's padding."""

    def __init__(self, examples: Examples, class_count: int, ranks: Ranks, options: Mapping[str, Any]) -> None:
        self._examples = examples
        self._class_count = class_count
        self._ranks = ranks
        self._iou = float(options.get("iou", 0.7))
        self._max_det = int(options.get("max_det", 300))

    def values(self, model: Any, batch: int) -> dict[str, float]:  # noqa: ANN401 - torchvision is untyped here
        """Mean losses (``val/...``), ``precision``, ``recall``, ``map50`` and ``map50_95``, over all processes.

        Args:
            model: what to look at; it is left ready to predict.
            batch: at most so many images at once.
        """
        import torch  # noqa: PLC0415 - heavy

        set_limits(model, conf=LEAST_SCORE, iou=self._iou, max_det=self._max_det)
        device = next(model.parameters()).device
        losses: dict[str, float] = {}
        judged: list[tuple[int, Judged]] = []
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(0)  # the models draw the boxes whose loss they take
            for indices in _same_shape(self._examples, batch)[self._ranks.rank :: self._ranks.world]:
                examples = [self._examples[index] for index in indices]
                found, lost = _look(model, examples, device)
                judged += [
                    (index, Judged(rows, example.boxes, example.labels))
                    for index, rows, example in zip(indices, found, examples, strict=True)
                ]
                for name, value in lost.items():
                    losses[name] = losses.get(name, 0.0) + value * len(indices)
        parts = self._ranks.gather((losses, judged))
        everything = sorted((one for _, part in parts for one in part), key=lambda one: one[0])
        metrics = detection_metrics([image for _, image in everything], self._class_count)
        names = [name for part, _ in parts for name in part]
        summed = {name: sum(part.get(name, 0.0) for part, _ in parts) for name in names}
        return {f"val/{name}": total / len(everything) for name, total in summed.items()} | metrics


def _look(model: Any, examples: Sequence[Example], device: Any) -> tuple[list[Any], dict[str, float]]:  # noqa: ANN401 - same
    """What the model finds in a batch, as rows, and its mean losses by our names."""
    import torch  # noqa: PLC0415 - heavy

    images, targets = to_targets(examples, device, first_label(model))
    with torch.no_grad(), _remembered(model.backbone):
        model.eval()
        found = [to_rows(result) for result in model(images)]
        _teach_without_learning(model)
        losses = model(images, targets)
        model.eval()
    return found, {LOSSES.get(name, name): float(value) for name, value in losses.items()}


def _teach_without_learning(model: Any) -> None:  # noqa: ANN401 - same
    """Training mode, in which the models give losses, without their normalisations moving."""
    from torch.nn.modules.batchnorm import _BatchNorm  # noqa: PLC0415 - heavy

    model.train()
    for part in model.modules():
        if isinstance(part, _BatchNorm):
            part.eval()


@contextmanager
def _remembered(backbone: Any) -> Iterator[None]:  # noqa: ANN401 - same
    """Let the backbone, most of the work, look at a batch once; the second look gets the same features."""
    forward = backbone.forward
    kept: list[Any] = []

    def once(images: Any) -> Any:  # noqa: ANN401 - same
        if not kept:
            kept.append(forward(images))
        return kept[0]

    backbone.forward = once
    try:
        yield
    finally:
        del backbone.forward


def _same_shape(examples: Examples, batch: int) -> list[list[int]]:
    by_shape: dict[tuple[int, int], list[int]] = {}
    for index in range(len(examples)):
        by_shape.setdefault(examples.shape(index), []).append(index)
    return [
        indices[start : start + batch]
        for _, indices in sorted(by_shape.items())
        for start in range(0, len(indices), batch)
    ]
