"""The training report: did it learn, when was it best, did it overfit, and what can it do now?"""

import math
import statistics
from collections.abc import Sequence
from pathlib import Path

from components.model_train.pages.charts import Curves, epochs_of, loss_names, loss_titles
from components.model_train.pages.gallery import (
    LEGEND_COMPARED,
    LEGEND_SEEN,
    batch_pictures,
    columns,
    compared_pictures,
    tally,
)
from components.model_train.pages.pictures import Pictures
from components.model_train.pages.words import ended, gaps, score, verdict
from components.model_train.story import Epoch, Story
from components.model_train.trainers.base import TrainingRun
from components.shared.dataset import Dataset
from components.shared.detection.manifest import ModelManifest
from components.shared.report.index import duration
from components.shared.report.page import Level, Number, Report

LEAD_SEEN = "The first batches, augmented and scaled as they went into the model. The boxes must lie on the objects."
MOST_CLASSES = 100  # named in the report
_GB = 1e9
_NAMES = {"precision": "precision", "recall": "recall", "map50": "mAP50", "map50_95": "mAP50-95", "lr": "learning rate"}
_PACE = {"images_per_second": "images/s", "gpu_memory": "GPU memory, GB"}


def write_report(
    path: Path,
    run: TrainingRun,
    story: Story,
    manifest: ModelManifest,
    train: Dataset,
    val: Dataset,
    pictures: Pictures,
) -> None:
    """Write the report of a training as one HTML file of at most 5 MB.

    Args:
        path: the file.
        run: what the trainer left; its best epoch is marked.
        story: epochs, attempts, warnings.
        manifest: the trained model's.
        train: what it was trained on.
        val: what it was validated on after each epoch.
        pictures: what it saw and what it can do now; any part may be empty.
    """
    start = str(manifest.parameters.get("started_from") or "")
    model = str(manifest.parameters.get("model") or start or manifest.framework)
    report = Report("Training report", subtitle=f"{model.rpartition('/')[2]} on {train.name}")
    report.verdict(*verdict(story, run.best_epoch, manifest.parameters.get("epochs", "?")))
    report.numbers(_numbers(run, story, manifest, train, val))
    _add_curves(report, run, story)
    _add_course(report, story)
    _add_pictures(report, pictures, start)
    _add_epochs(report, epochs_of(story))
    report.section("What it rests on")
    report.facts(_facts(manifest, start))
    report.write(path)


def _numbers(run: TrainingRun, story: Story, manifest: ModelManifest, train: Dataset, val: Dataset) -> list[Number]:
    epochs = epochs_of(story)
    best = next((epoch.values for epoch in epochs if epoch.number == run.best_epoch), {})
    done = epochs[-1].number if epochs else 0
    asked = f"of {manifest.parameters.get('epochs', '?')} asked for"
    numbers = [
        Number("mAP50 (validation)", score(best.get("map50", math.nan)), f"in epoch {run.best_epoch}, the best one"),
        Number("mAP50-95 (validation)", score(best.get("map50_95", math.nan)), f"in epoch {run.best_epoch}"),
        Number("Epochs", str(done), f"{asked}, stopped early" if story.stopped else asked),
        _time(epochs, story),
        *_pace(epochs),
        Number("Images", f"{train.images.height:,}", f"{val.images.height:,} for validation"),
    ]
    if story.overfitting is not None:
        noticed = f"noticed in epoch {story.overfitting.noticed_epoch}"
        note = f"{noticed}, stopped" if story.overfitting.stopped else noticed
        numbers.insert(3, Number("Overfitting since", f"epoch {story.overfitting.best_epoch}", note, Level.WARN))
    return numbers


def _time(epochs: Sequence[Epoch], story: Story) -> Number:
    if not epochs:
        return Number("Training time", duration(None))
    parts = [f"{duration(epochs[-1].seconds / epochs[-1].number)} an epoch"]
    parts += [f"{len(story.attempts)} attempts"] if len(story.attempts) > 1 else []
    note = ", ".join(parts)
    if story.estimate is not None:
        foretold = duration(story.estimate.hours * 3600), duration(story.estimate.seconds_per_epoch)
        note = f"{note}. Estimated: {foretold[0]}, {foretold[1]} an epoch"
    return Number("Training time", duration(epochs[-1].seconds), note)


def _pace(epochs: Sequence[Epoch]) -> list[Number]:
    """Images a second and peak GPU memory, where they are known."""
    speeds, memory = _known(epochs, "images_per_second"), _known(epochs, "gpu_memory")
    if not speeds:
        return []
    note = f"; {max(memory) / _GB:.1f} GB of GPU memory at most" if memory else ""
    return [Number("Images a second", f"{statistics.median(speeds):.3g}", f"median of the epochs{note}")]


def _add_curves(report: Report, run: TrainingRun, story: Story) -> None:
    curves, epochs = Curves(story, run.best_epoch), epochs_of(story)
    lead = "Measured on the validation split after each epoch; the weights of the best one (mAP50-95) are kept."
    report.section("Did it learn?", f"{lead} {gaps(epochs, 'metrics')}".strip())
    report.charts(curves.metrics())
    lead = "A training loss that falls while the validation loss rises means overfitting."
    if not loss_names(epochs, "val"):
        lead = "This trainer measures no loss on the validation split, so overfitting shows in mAP alone."
    report.section("Did it overfit?", f"{lead} {gaps(epochs, 'losses')}".strip())
    if story.overfitting is not None:
        report.text(story.overfitting.reason)
    report.charts(curves.losses())
    pace = curves.pace()
    if pace:
        report.section("How fast was it?")
        report.charts(pace)


def _add_course(report: Report, story: Story) -> None:
    """Warnings and interruptions; nothing where there were none."""
    if not story.notes and len(story.attempts) < 2:  # noqa: PLR2004 - one attempt says nothing of its own
        return
    report.section("What happened on the way")
    if story.notes:
        report.points(story.notes)
    if len(story.attempts) > 1:
        rows = [
            [
                number,
                one.first_epoch,
                one.last_epoch or None,
                one.batch or None,
                ended(one, last=one is story.attempts[-1]),
            ]
            for number, one in enumerate(story.attempts, start=1)
        ]
        report.table(["attempt", "first epoch", "last epoch", "images a batch", "how it ended"], rows, sortable=False)


def _add_pictures(report: Report, pictures: Pictures, start: str) -> None:
    seen, compared = batch_pictures(pictures.batches), pictures.compared
    report.section("What did the model see?", LEAD_SEEN if seen else "")
    report.gallery(seen, caption=LEGEND_SEEN if seen else "", empty="The first batches of this training were not kept.")
    known = columns(compared) > 2  # noqa: PLR2004 - a row without the start weights
    parts = ["Validation images with many classes and objects." if compared else ""]
    began = f"from {start}; classes those weights do not know begin at random" if start else "with random weights"
    parts += [f"Before: the model as it began, {began}. After: the best epoch." if known else "", tally(compared)]
    report.section("What can it do now?", " ".join(part for part in parts if part))
    report.gallery(
        compared_pictures(compared),
        caption=LEGEND_COMPARED if compared else "",
        empty="No predictions could be made for this report.",
        columns=columns(compared),
    )


def _add_epochs(report: Report, epochs: Sequence[Epoch]) -> None:
    report.section("Every epoch")
    names = list(dict.fromkeys(name for epoch in epochs for name in epoch.values))
    rows = [[epoch.number, epoch.seconds, *(_cell(epoch, name) for name in names)] for epoch in epochs]
    titles = [_column(name, epochs) for name in names]
    report.table(["epoch", "seconds so far", *titles], rows, caption="Losses, metrics and pace by epoch", folded=True)


def _column(name: str, epochs: Sequence[Epoch]) -> str:
    split, slash, loss = name.partition("/")
    if not slash:
        return _NAMES.get(name) or _PACE.get(name) or name
    said = loss_titles(loss_names(epochs, split)).get(loss, loss)
    return f"{said}, {'training' if split == 'train' else 'validation'}"


def _cell(epoch: Epoch, name: str) -> float:
    value = epoch.values.get(name, math.nan)
    return value / _GB if name == "gpu_memory" else value


def _known(epochs: Sequence[Epoch], name: str) -> list[float]:
    values = (epoch.values.get(name, math.nan) for epoch in epochs)
    return [value for value in values if math.isfinite(value) and value > 0]


def _facts(manifest: ModelManifest, start: str) -> dict[str, str]:
    classes = manifest.classes
    more = f" and {len(classes) - MOST_CLASSES:,} more" if len(classes) > MOST_CLASSES else ""
    return {
        f"classes ({len(classes):,})": ", ".join(classes[:MOST_CLASSES]) + more,
        "training data": manifest.datasets.get("train", "unknown"),
        "validation data": manifest.datasets.get("val", "unknown"),
        "started from": start or "random weights",
        "trainer": manifest.framework,
        "model digest": manifest.digest,
        **{
            f"parameter {name}": str(value)
            for name, value in manifest.parameters.items()
            if name != "started_from" and value not in ("", None)
        },
        **{f"library {name}": version for name, version in manifest.libraries.items()},
    }
