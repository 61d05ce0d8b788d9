"""The training report's curves: losses of training against validation, metrics, learning rate and pace."""

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from components.model_train.story import Epoch, Story
from components.shared.measures import is_loss, loss_name
from components.shared.report.charts import Chart, Mark, Series, Span, line_chart

_GB = 1e9
_OUTLIER = 4.0  # times what nine of ten losses keep below: higher ones are cut off
_TOTALS = frozenset({"", "loss", "total", "total_loss"})  # a trainer's own sum
_MEANINGS = {
    "box": "Box loss",
    "bbox": "Box loss",
    "box_reg": "Box loss",
    "bbox_regression": "Box loss",
    "cls": "Class loss",
    "class": "Class loss",
    "classifier": "Class loss",
    "classification": "Class loss",
    "dfl": "Edge loss (DFL)",
    "giou": "Overlap loss (GIoU)",
    "iou": "Overlap loss (IoU)",
    "l1": "Corner loss (L1)",
    "obj": "Objectness loss",
    "objectness": "Objectness loss of proposals",
    "rpn_box_reg": "Box loss of proposals",
    "rpn_box": "Box loss of proposals",
    "rpn_cls": "Objectness loss of proposals",
    "bbox_ctrness": "Centredness loss",
}


class Curves:
    """Charts over a training's epochs, each with the same marks.

    Args:
        story: the training.
        best_epoch: the epoch whose weights are kept.
    """

    def __init__(self, story: Story, best_epoch: int) -> None:
        self._epochs = epochs_of(story)
        numbers = {epoch.number for epoch in self._epochs}
        resumed = [attempt.first_epoch for attempt in story.attempts[1:] if attempt.first_epoch > 1]
        self._marks = [Mark(best_epoch, "best mAP")] if best_epoch in numbers else []
        self._marks += [Mark(epoch, "resumed", thin=True) for epoch in resumed if epoch in numbers]
        self._turn: list[Mark] = []
        self._spans: list[Span] = []
        turned = story.overfitting
        if turned is not None:
            label = f"overfitting noticed, epochs {turned.best_epoch} to {turned.noticed_epoch}"
            self._turn = [Mark(turned.best_epoch, "validation loss turns")]
            self._spans = [Span(turned.best_epoch, turned.noticed_epoch, label)]

    def losses(self) -> list[Chart]:
        """The totals, where there are several losses, and each loss."""
        train, val = loss_names(self._epochs, "train"), loss_names(self._epochs, "val")
        names = list(dict.fromkeys([*train, *val]))
        titles = loss_titles(names)
        charts = [self._total(train, val)] if len(names) > 1 and not _TOTALS & set(names) else []
        return charts + [
            self._loss(titles[name], {split: self._values(f"{split}/{name}") for split in ("train", "val")})
            for name in names
        ]

    def metrics(self) -> list[Chart]:
        """Average precision, precision and recall, and the learning rate."""
        scores = {"map50": "mAP50", "map50_95": "mAP50-95"}
        rates = {"precision": "precision", "recall": "recall"}
        charts = [
            self._shares("Is it still getting better?", scores, "average precision, 0 to 1"),
            self._shares("Precision and recall", rates, "share, 0 to 1"),
        ]
        rate = [Series("learning rate", self._numbers, self._values("lr"))]
        return [*charts, self._chart("Learning rate", rate, "step size of the optimiser", bounds=_from_zero(rate))]

    def pace(self) -> list[Chart]:
        """Images a second and, where it was measured, GPU memory."""
        speed = [Series("images a second", self._numbers, self._values("images_per_second"))]
        memory = [Series("GPU memory", self._numbers, [_scaled(v, _GB) for v in self._values("gpu_memory")])]
        charts = [("Speed", speed, "images a second"), ("GPU memory", memory, "gigabytes, peak")]
        return [
            self._chart(title, series, unit, bounds=_from_zero(series))
            for title, series, unit in charts
            if any(value for value in _finite(series))
        ]

    @property
    def _numbers(self) -> list[float]:
        return [float(epoch.number) for epoch in self._epochs]

    def _values(self, name: str) -> list[float | None]:
        return [epoch.values.get(name) for epoch in self._epochs]

    def _total(self, train: Sequence[str], val: Sequence[str]) -> Chart:
        both = [name for name in train if name in val] or list(train) or list(val)
        sums = {
            split: [math.fsum(epoch.values.get(f"{split}/{name}", math.nan) for name in both) for epoch in self._epochs]
            for split in ("train", "val")
        }
        return self._loss("All losses together", sums)

    def _loss(self, title: str, values: Mapping[str, Sequence[float | None]]) -> Chart:
        said = {"train": "training", "val": "validation"}
        series = [Series(said[split], self._numbers, list(numbers)) for split, numbers in values.items()]
        shown = [one for one in series if _finite([one])] or series[:1]
        top = _cut(_finite(shown))
        if top is not None:
            highest = max(_finite(shown))
            title = f"{title} (cut off above {top:.3g}, highest {highest:.3g})"
        bounds = None if top is None else (0.0, top)
        return self._chart(title, shown, "loss", bounds=bounds, spans=self._spans, turn=self._turn)

    def _shares(self, title: str, names: Mapping[str, str], unit: str) -> Chart:
        series = [Series(label, self._numbers, self._values(name)) for name, label in names.items()]
        return self._chart(title, series, unit, bounds=(0.0, 1.0))

    def _chart(
        self,
        title: str,
        series: Sequence[Series],
        unit: str,
        *,
        bounds: tuple[float, float] | None,
        spans: Sequence[Span] = (),
        turn: Sequence[Mark] = (),
    ) -> Chart:
        marks = [*self._marks, *turn]
        ends = (self._numbers[0], self._numbers[-1]) if self._numbers else None
        return line_chart(
            title,
            series,
            x_label="epoch",
            y_label=unit,
            marks=marks,
            spans=spans,
            y_range=bounds,
            x_range=ends,
        )


def epochs_of(story: Story) -> list[Epoch]:
    """The epochs in order, each once: of one that was learned again, the last."""
    found = {epoch.number: epoch for epoch in story.epochs}
    return [found[number] for number in sorted(found)]


def loss_names(epochs: Iterable[Epoch], split: str) -> list[str]:
    """Names of the losses of ``train`` or ``val``, without the split, in the order they appear."""
    found = (name for epoch in epochs for name in epoch.values if is_loss(name, split))
    return list(dict.fromkeys(name.partition("/")[2] for name in found))


def loss_titles(names: Sequence[str]) -> dict[str, str]:
    """What each loss is called in words, all different: ``box_loss`` and ``loss_box_reg`` are the ``Box loss``."""
    said = {name: _title(name) for name in names}
    many = {title for title in said.values() if list(said.values()).count(title) > 1}
    return {name: f"{title} ({name})" if title in many else title for name, title in said.items()}


def _title(name: str) -> str:
    if name in _TOTALS:
        return "All losses together"
    short = loss_name(f"train/{name}").lower()
    words = short.replace("_", " ").replace("-", " ").strip()
    return _MEANINGS.get(short) or f"{words[:1].upper()}{words[1:]} loss"


def _finite(series: Sequence[Series]) -> list[float]:
    return [value for one in series for value in one.y if value is not None and math.isfinite(value)]


def _scaled(value: float | None, unit: float) -> float | None:
    return None if value is None else value / unit


def _from_zero(series: Sequence[Series]) -> tuple[float, float] | None:
    """An axis from 0 to above the highest value, so that a steady pace looks steady."""
    highest = max(_finite(series), default=0.0)
    return (0.0, 1.08 * highest) if highest > 0 else None


def _cut(values: Sequence[float]) -> float | None:
    """Where to cut off a few values so high that the others would be a flat line; ``None``: nowhere."""
    if len(values) < 8 or min(values) < 0:  # noqa: PLR2004 - too few to call any of them an exception
        return None
    limit = _OUTLIER * float(np.quantile(values, 0.9))
    return 1.05 * max(value for value in values if value <= limit) if max(values) > limit > 0 else None
