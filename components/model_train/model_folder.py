"""The folders a training leaves: the trained model, and the weights it started from as a model of the same kind."""

import logging
import math
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from components.model_train.plan import Outcome, Plan
from components.shared.detection.manifest import ModelManifest, load_manifest, verify_files
from components.shared.errors import ArchiveError, in_one_line
from components.shared.files import sha256_tree
from components.shared.sweep import leave_failure

logger = logging.getLogger(__name__)

PACE = frozenset({"images_per_second", "gpu_memory"})  # says something of the machine, nothing of the model
START = "weights/start"  # of the start folder, before the suffix


@dataclass(frozen=True)
class Outputs:
    """Where a training leaves what it made.

    Attributes:
        model: a model folder: weights, a test image and the manifest.
        report: the HTML report.
        start: a model folder with the weights before the first step; ``None``: nobody asks for them.
    """

    model: Path
    report: Path
    start: Path | None = None


def collect_model(outcome: Outcome, plan: Plan, test_image: Path, folder: Path) -> ModelManifest:
    """Fill the model folder; the manifest is written last."""
    run, story, parameters = outcome.run, outcome.story, plan.job.parameters
    best = next(epoch for epoch in story.epochs if epoch.number == run.best_epoch)
    metrics = {name: value for name, value in best.values.items() if math.isfinite(value) and name not in PACE}
    asked = {name: value for name, value in asdict(parameters).items() if name != "options"}
    _fill(folder, {**run.files, test_image.name: test_image})
    manifest = ModelManifest(
        name=plan.name,
        framework=plan.job.start.framework,
        weights=run.weights,
        last=run.last,
        test_image=test_image.name,
        classes=plan.job.classes,
        imgsz=-(-parameters.imgsz // 32) * 32,
        parameters={**asked, **parameters.options, "started_from": plan.job.start.origin},
        datasets=dict(plan.versions),
        libraries=dict(run.libraries),
        metrics={**metrics, "best_epoch": run.best_epoch, "epochs": len(story.epochs)},
        files=sha256_tree(folder),
    )
    manifest.save(folder)
    return manifest


def collect_start(outcome: Outcome, model: Path, folder: Path) -> ModelManifest | None:
    """Fill the start folder: the weights before the first step, with this training's classes and input size.

    It only serves a comparison, so a training does not fail for it: where it cannot be written, a failure mark says
    why (see ``shared.sweep.read_failure``).

    Args:
        outcome: the training's.
        model: the model folder, which is whole.
        folder: receives weights, test image and manifest.
    """
    try:
        manifest = _start_manifest(outcome, load_manifest(model), model, folder)
        manifest.save(folder)
        verify_files(folder, manifest)
    except (ArchiveError, OSError) as error:
        leave_no_start(folder, f"The weights the training started from are not kept: {in_one_line(error, most=300)}.")
        return None
    return manifest


def leave_no_start(folder: Path, reason: str) -> None:
    """Say in the start folder, and in the log, why there are no weights."""
    logger.warning("%s", reason)
    try:
        shutil.rmtree(folder, ignore_errors=True)
        leave_failure(folder, reason)
    except OSError as error:
        logger.warning("Not even that can be written to %r: %s", str(folder), error)


def _start_manifest(outcome: Outcome, trained: ModelManifest, model: Path, folder: Path) -> ModelManifest:
    untrained = outcome.run.untrained
    if untrained is None:
        raise ArchiveError("The training library left none.")
    weights = f"{START}{untrained.suffix}"
    _fill(folder, {weights: untrained, trained.test_image: model / trained.test_image})
    kept = ("model", "start_from", "started_from", "seed")
    parameters = {name: value for name, value in trained.parameters.items() if name in kept}
    changes = {
        "weights": weights,
        "last": weights,
        "parameters": parameters,
        "datasets": {},
        "metrics": {},
        "files": sha256_tree(folder),
    }
    return trained.model_copy(update=changes)


def _fill(folder: Path, files: Mapping[str, Path]) -> None:
    """Nothing but these files; what an earlier, killed attempt left is no part of a model."""
    shutil.rmtree(folder, ignore_errors=True)
    for name, source in files.items():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
