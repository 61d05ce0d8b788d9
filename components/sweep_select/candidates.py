"""The models of a sweep, each with the setting it was trained with and how it learned."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from components.shared.detection.manifest import ModelManifest, load_manifest
from components.shared.errors import TrainingError
from components.shared.sweep import curve_from_text, describe_setting, plain_setting, read_failure, setting_id

SCORE = "map50_95"


@dataclass(frozen=True)
class Trained:
    """A model as it arrives: its folder and what the training said of it (``setting``, ``seconds``, ``curve``)."""

    folder: Path
    facts: Mapping[str, object]


@dataclass(frozen=True)
class Candidate:
    """One setting and what came of it.

    Attributes:
        setting: the parameters that differ.
        folder: the model folder.
        manifest: the model's; ``None`` when the setting gave no model.
        failure: why it gave none, else empty.
        seconds: spent training; NaN when that is not known.
        curve: epoch and validation mAP50-95 after it, in order; empty when it is not known.
    """

    setting: Mapping[str, object]
    folder: Path
    manifest: ModelManifest | None
    failure: str = ""
    seconds: float = math.nan
    curve: tuple[tuple[int, float], ...] = ()

    @property
    def name(self) -> str:
        """The setting in words."""
        return describe_setting(self.setting)

    @property
    def score(self) -> float:
        """Validation mAP50-95 of its best epoch; NaN when it has none."""
        return self.metric(SCORE)

    def metric(self, name: str) -> float:
        """A validation metric of its best epoch; NaN when it has none."""
        return self.manifest.metrics.get(name, math.nan) if self.manifest else math.nan


def read_candidates(models: Sequence[Trained], settings: Sequence[Mapping[str, object]]) -> list[Candidate]:
    """The models in the order of the settings they were trained with.

    Raises:
        TrainingError: a setting has no model, or a model no setting.
        ArchiveError: a folder holds no model.
    """
    by_id = {str(model.facts.get("setting")): model for model in models}
    known = {setting_id(setting) for setting in settings}
    if len(models) != len(settings) or set(by_id) != known:
        missing = [describe_setting(each) for each in settings if setting_id(each) not in by_id]
        detail = f"nothing came of {missing[0]!r}" if missing else "one of them belongs to no setting"
        raise TrainingError(
            f"{len(models)} models came of {len(settings)} settings, and {detail}: run the sweep again."
        )
    return [_read(by_id[setting_id(setting)], plain_setting(setting)) for setting in settings]


def _read(model: Trained, setting: Mapping[str, object]) -> Candidate:
    failure = read_failure(model.folder)
    if failure:
        return Candidate(setting, model.folder, None, failure)
    seconds = model.facts.get("seconds")
    return Candidate(
        setting,
        model.folder,
        load_manifest(model.folder),
        seconds=float(seconds) if isinstance(seconds, int | float) else math.nan,
        curve=tuple(curve_from_text(str(model.facts.get("curve", "")))),
    )
