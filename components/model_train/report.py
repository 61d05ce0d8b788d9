"""The training report: did it learn, when was it best, and would more epochs help?"""

import math
from pathlib import Path

from components.model_train.trainers.base import TrainingRun
from components.shared.dataset import Dataset
from components.shared.detection.manifest import ModelManifest
from components.shared.report.charts import Chart, Mark, Series, line_chart
from components.shared.report.page import Level, Number, Report

WEAK, GOOD = 0.3, 0.6  # validation mAP50 below which a person should look closer, and above which it learned well


def write_report(path: Path, run: TrainingRun, manifest: ModelManifest, train: Dataset, val: Dataset) -> None:
    """Write the HTML report of a training run."""
    best = next(epoch for epoch in run.epochs if epoch.number == run.best_epoch)
    map50 = best.values.get("map50", math.nan)
    report = Report("Training report", subtitle=f"{manifest.parameters['model']} on {train.name}")
    report.verdict(*_verdict(map50, run))
    report.numbers(
        [
            Number("mAP50 (validation)", _show(map50), note=f"epoch {run.best_epoch}"),
            Number("mAP50-95 (validation)", _show(best.values.get("map50_95", math.nan))),
            Number("Epochs", str(len(run.epochs)), note=f"of {manifest.parameters['epochs']} asked for"),
            Number("Training time", f"{run.epochs[-1].seconds:.0f} s", note=_pace(run)),
            Number("Images", f"{train.images.height}", note=f"{val.images.height} for validation"),
        ]
    )
    marks = [Mark(x=run.best_epoch, label="best")]
    report.section("Losses", "A training loss that falls while the validation loss rises means overfitting.")
    report.charts([_losses(run, loss, marks) for loss in _loss_names(run)])
    report.section("Metrics", "Measured on the validation split after each epoch.")
    report.charts(
        [
            _curves(
                "Is it still getting better?",
                run,
                {"map50": "mAP50", "map50_95": "mAP50-95"},
                "average precision",
                marks,
            ),
            _curves("Precision and recall", run, {"precision": "precision", "recall": "recall"}, "share", marks),
            _curves("Learning rate", run, {"lr": "learning rate"}, "learning rate", marks, bounded=False),
        ]
    )
    report.section("Every epoch")
    names = list(run.epochs[-1].values)
    rows = [[epoch.number, *(epoch.values.get(name, math.nan) for name in names)] for epoch in run.epochs]
    report.table(["epoch", *names], rows, caption="Losses, metrics and learning rate by epoch", folded=True)
    report.section("What it rests on")
    report.facts(
        {
            "classes": ", ".join(manifest.classes),
            "training data": manifest.datasets["train"],
            "validation data": manifest.datasets["val"],
            "model digest": manifest.digest,
            **{f"parameter {name}": str(value) for name, value in manifest.parameters.items()},
            **{f"library {name}": version for name, version in manifest.libraries.items()},
        }
    )
    report.write(path)


def _verdict(map50: float, run: TrainingRun) -> tuple[str, Level]:
    late = run.best_epoch >= len(run.epochs) - 1
    hint = " The best epoch is the last one or next to it: more epochs may help." if late else ""
    if not math.isfinite(map50) or map50 < WEAK:
        return f"It has hardly learned: mAP50 {_show(map50)} on the validation split.{hint}", Level.BAD
    if map50 < GOOD:
        return f"It has begun to learn: mAP50 {_show(map50)} on the validation split.{hint}", Level.WARN
    return f"It has learned: mAP50 {_show(map50)} on the validation split.{hint}", Level.GOOD


def _loss_names(run: TrainingRun) -> list[str]:
    return [name.removeprefix("train/") for name in run.epochs[-1].values if name.startswith("train/")]


def _losses(run: TrainingRun, loss: str, marks: list[Mark]) -> Chart:
    names = {f"train/{loss}": "training", f"val/{loss}": "validation"}
    return _curves(f"{loss.replace('_', ' ').capitalize()}", run, names, "loss", marks, bounded=False)


def _curves(
    title: str, run: TrainingRun, names: dict[str, str], y_label: str, marks: list[Mark], *, bounded: bool = True
) -> Chart:
    epochs = [float(epoch.number) for epoch in run.epochs]
    series = [
        Series(name=label, x=epochs, y=[epoch.values.get(name) for epoch in run.epochs])
        for name, label in names.items()
    ]
    limits = (0.0, 1.0) if bounded else None
    return line_chart(title, series, x_label="epoch", y_label=y_label, marks=marks, y_range=limits)


def _pace(run: TrainingRun) -> str:
    return f"{run.epochs[-1].seconds / len(run.epochs):.1f} s an epoch"


def _show(value: float) -> str:
    return f"{value:.3f}" if math.isfinite(value) else "not a number"
