"""Choose the best model of a sweep and hand on exactly its files."""

import logging
import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from components.shared.detection.manifest import MANIFEST, ModelManifest, load_manifest, verify_files
from components.shared.errors import ArchiveError, TrainingError
from components.shared.files import write_atomically
from components.shared.progress import Notify, silent
from components.shared.sweep import leave_failure, read_failure, setting_id
from components.sweep_select.candidates import Candidate, Trained, read_candidates
from components.sweep_select.report import write_report

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Selection:
    """The candidates in the order of their settings, and the best of them.

    Attributes:
        candidates: all of them.
        winner: the one with the highest validation mAP50-95; of equal ones the first.
        manifest: the winner's.
        margin: how much higher than the next best; NaN when no other setting has a score.
        start: the manifest of what the winner started from; ``None`` where that is not kept.
    """

    candidates: tuple[Candidate, ...]
    winner: Candidate
    manifest: ModelManifest
    margin: float
    start: ModelManifest | None = None

    @property
    def metrics(self) -> dict[str, float]:
        """The winner's validation metrics, and numbers of the sweep; finite ones only."""
        numbers = {
            **self.manifest.metrics,
            "margin": self.margin,
            "settings": len(self.candidates),
            "settings_failed": sum(1 for each in self.candidates if each.failure),
        }
        return {name: value for name, value in numbers.items() if math.isfinite(value)}


def select_model(
    models: Sequence[Trained],
    settings: Sequence[Mapping[str, object]],
    model_dir: Path,
    report: Path,
    *,
    starts: Sequence[Trained] = (),
    start_dir: Path | None = None,
    notify: Notify = silent,
) -> Selection:
    """Choose the model with the best validation mAP50-95, copy its folder and write the comparison.

    Args:
        models: one a setting, in any order.
        settings: the parameters that differ, one mapping a training.
        model_dir: receives the winner's files, byte for byte.
        report: receives the HTML report.
        starts: what each of them started from, in any order.
        start_dir: receives what the winner started from, or the reason why that is not there.
        notify: hears how far it is.

    Raises:
        TrainingError: no setting gave a model with a score, or models and settings do not fit together.
        ArchiveError: the winner's folder is not what its manifest says.
    """
    notify(0.0, f"comparing {len(settings)} settings")
    selection = choose(read_candidates(models, settings))
    winner = selection.winner
    logger.info("%s wins with a validation mAP50-95 of %.4f", winner.name, winner.score)
    notify(0.3, f"keeping the model of {winner.name}")
    _copy(winner.folder, selection.manifest, model_dir)
    if start_dir is not None:
        selection = replace(selection, start=_keep_start(starts, winner, start_dir))
    write_report(report, selection.candidates, winner, selection.margin)
    return selection


def choose(candidates: Sequence[Candidate]) -> Selection:
    """The candidate with the highest score; of equal ones the first, so that the order of the settings decides.

    Raises:
        TrainingError: none has a score.
    """
    scored = [(each.score, each, each.manifest) for each in candidates if each.manifest and math.isfinite(each.score)]
    if not scored:
        reasons = "; ".join(f"{each.name}: {each.failure or 'it has no mAP50-95'}" for each in candidates)
        raise TrainingError(f"None of the {len(candidates)} settings gave a model that can be compared: {reasons}")
    score, winner, manifest = max(scored, key=lambda one: one[0])  # the first of equal ones
    others = [other for other, each, _ in scored if each is not winner]
    return Selection(tuple(candidates), winner, manifest, score - max(others) if others else math.nan)


def _keep_start(starts: Sequence[Trained], winner: Candidate, start_dir: Path) -> ModelManifest | None:
    """Copy what the winner started from; it only serves a comparison, so the choice does not fail for it."""
    try:
        found = _start_of(winner, starts)
        manifest = load_manifest(found)
        _copy(found, manifest, start_dir)
    except ArchiveError as error:
        logger.warning("What the winner started from is not handed on: %s", error)
        shutil.rmtree(start_dir, ignore_errors=True)
        leave_failure(start_dir, str(error))
        return None
    return manifest


def _start_of(winner: Candidate, starts: Sequence[Trained]) -> Path:
    mark = setting_id(winner.setting)
    found = next((each.folder for each in starts if each.facts.get("setting") == mark), None)
    if found is None:
        raise ArchiveError(f"No start weights belong to the setting {winner.name!r}.")
    if failure := read_failure(found):
        raise ArchiveError(failure)
    return found


def _copy(source: Path, manifest: ModelManifest, model_dir: Path) -> None:
    """Every file as the manifest says, and the manifest last."""
    verify_files(source, manifest)
    shutil.rmtree(model_dir, ignore_errors=True)  # what an earlier, killed attempt left is no part of this model
    for name in manifest.files:
        target = model_dir / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / name, target)
    with write_atomically(model_dir / MANIFEST) as temporary:
        shutil.copyfile(source / MANIFEST, temporary)
