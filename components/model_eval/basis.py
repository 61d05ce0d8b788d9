"""What an evaluation rests on: versions, digests, the device and how the model predicts."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from components.model_eval.champion import Champion
from components.model_eval.evaluation import EvaluateOptions
from components.model_eval.predict import Contestant
from components.shared.archive import ArchiveManifest
from components.shared.dataset import Dataset
from components.shared.detection.inference import Inference
from components.shared.detection.manifest import ModelManifest
from components.shared.model_lineage import code_version

_SHOWN = 16  # digits of a dataset's version


@dataclass(frozen=True)
class Basis:
    """What an evaluation rests on.

    Attributes:
        facts: in words, for the report.
        training: what the model's own manifest says of its training; ``None`` when that is not known.
    """

    facts: dict[str, str] = field(default_factory=dict)
    training: ModelManifest | None = None


def describe_basis(
    dataset: Dataset,
    manifest: ArchiveManifest,
    training: ModelManifest,
    model: Contestant,
    device: str,
    options: EvaluateOptions,
) -> Basis:
    """What the evaluation of an archive rests on.

    Args:
        dataset: the test set.
        manifest: of the archive.
        training: of the model inside.
        model: what predicts.
        device: on what.
        options: of the evaluation.
    """
    facts = {
        "model": manifest.tag,
        "model digest": manifest.model_digest,
        "archive digest": manifest.content_digest,
        "framework": training.framework,
        "dataset": dataset.name,
        "dataset version": dataset.version,
        "split": dataset.split or "whole dataset",
        **{f"{split} version": version for split, version in training.datasets.items()},
        "evaluated by": code_version(),
        "packed by": manifest.code or "not recorded",
        "seed": f"{options.seed}",
        "libraries": _listed(training.libraries),
        "parameters": _listed(training.parameters),
    }
    return Basis(facts | _served(model, device), training)


def champion_facts(champion: Champion, test_version: str) -> dict[str, str]:
    """Which champion the model was compared with, and whether its own test set was the same; empty without one."""
    if not champion.seen.version:
        return {}
    known = champion.test_version
    if not known:
        measured = "not recorded; some of these images may have been in its training set"
    elif known == test_version:
        measured = "the same version as here"
    else:
        measured = f"another version ({known[:_SHOWN]}); some of these images may have been in its training set"
    return {"champion": champion.name or champion.seen.version, "champion's own test set": measured}


def _served(model: Contestant, device: str) -> dict[str, str]:
    how = model.inference
    return {
        "device": device,
        "runtime": model.runtime,
        "tiles": _tiles(how),
        "serving thresholds": _thresholds(how),
        "overlap of predictions suppressed": f"IoU > {how.iou:g}",
        "most predictions an image": f"{how.max_det}",
    }


def _tiles(how: Inference) -> str:
    if not how.tile:
        return "none: images are predicted whole"
    return f"{how.tile} px, overlap {how.tile_overlap:g}, merged by {how.tile_merge}"


def _thresholds(how: Inference) -> str:
    if not how.class_confidence:
        return f"{how.confidence:g}"
    values = how.class_confidence.values()
    return f"{how.confidence:g}; {len(values)} classes have their own, from {min(values):g} to {max(values):g}"


def _listed(values: Mapping[str, object]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items()) or "not recorded"
