"""A training as one setting of a sweep: what it tells the step that compares them, also when it gives no model."""

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from components.model_train.model_folder import Outputs, leave_no_start
from components.model_train.story import Epoch
from components.model_train.train import Trained
from components.shared.detection.manifest import ModelManifest
from components.shared.errors import DivergedError, OutOfMemoryError, TrainingError
from components.shared.report.page import Level, Report
from components.shared.sweep import curve_as_text, describe_setting, leave_failure, setting_id

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Told:
    """What goes beside the artifacts: facts on the model, its metrics, and facts on what it started from."""

    facts: Mapping[str, str | float]
    metrics: Mapping[str, float] = field(default_factory=dict)
    start_facts: Mapping[str, str | float] = field(default_factory=dict)


def train_setting(setting: Mapping[str, object], outputs: Outputs, train: Callable[[], Trained]) -> Told:
    """Train; a setting of a sweep that diverges or does not fit the memory leaves its failure in place of a model.

    The other settings go on, and the choice among them is made without it. Any other error ends the step.

    Args:
        setting: the parameters that differ in this training; empty when it belongs to no sweep.
        outputs: where ``train`` leaves what it makes.
        train: the training itself.

    Raises:
        TrainingError: the training failed, and not for what the setting says.
    """
    mark = {"setting": setting_id(setting)} if setting else {}
    try:
        trained = train()
    except (DivergedError, OutOfMemoryError) as error:
        if not setting:
            raise
        _leave(setting, error, outputs)
        failed = {**mark, "failed": str(error)}
        return Told(failed, start_facts=failed)
    manifest = trained.manifest
    facts: dict[str, str | float] = {**mark, "digest": manifest.digest, "framework": manifest.framework}
    course = _course(trained.story.epochs) if setting else {}
    return Told(facts | course, manifest.metrics, {**mark, **_start_facts(trained.start)})


def _start_facts(start: ModelManifest | None) -> dict[str, str]:
    return {"digest": start.digest, "framework": start.framework} if start else {"failed": "not kept"}


def _course(epochs: Sequence[Epoch]) -> dict[str, str | float]:
    """How the training went, as far as the comparison shows it."""
    curve = [(epoch.number, epoch.values.get("map50_95", math.nan)) for epoch in epochs]
    return {"seconds": round(epochs[-1].seconds, 1), "curve": curve_as_text(curve)} if epochs else {}


def _leave(setting: Mapping[str, object], error: TrainingError, outputs: Outputs) -> None:
    name = describe_setting(setting)
    logger.error("%s gave no model, the sweep goes on without it: %s", name, error)
    leave_failure(outputs.model, str(error))
    if outputs.start:
        leave_no_start(outputs.start, f"This setting gave no model to compare: {error}")
    page = Report("Training report", subtitle=name)
    page.verdict(f"This setting gave no model: {error}", Level.BAD)
    page.write(outputs.report)
