"""Where a published model comes from and how it was judged: what its record keeps of training and evaluation."""

import hashlib
import importlib.metadata
import math
from functools import cache
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from components.shared.errors import CorruptionError
from components.shared.store import Store

QUALITY = "quality.json"
CODE = "PIPELINE_CODE"  # digest of the steps' code and images, as it was compiled in; empty: that of the code here
_PROJECT = "kubeflow-detection-pipeline"
_CODE_SUFFIXES = frozenset({".py", ".j2"})
_SHOWN_DIGITS = 12
_EVALUATION_PARTS = 7  # models/<name>/versions/<version>/evaluations/<evaluation>/quality.json


class Gate(BaseModel):
    """What the quality gate said: whether the model passed, and why not."""

    model_config = ConfigDict(frozen=True)

    passed: bool
    reasons: tuple[str, ...] = ()


class Lineage(BaseModel):
    """What a model was made from and measured on; whatever is not known is empty.

    Attributes:
        run: the pipeline run that published it.
        basis: digest of the data, parameters and code it came from, for schedules that run only when these change.
        code: release and digest of this project's code that published it.
        framework: the trainer that made the weights.
        datasets: versions of the datasets by split (``train``, ``val`` and ``test``).
        parameters: what the training was asked for.
        libraries: versions of the libraries that matter for the weights.
        training: best validation metrics of the training.
        evaluation: metrics of the packed model on the test split.
        evaluation_id: the folder below ``evaluations/`` that holds the whole evaluation.
        gate: the quality gate; ``None`` in records of earlier releases.
    """

    model_config = ConfigDict(frozen=True)

    run: str = ""
    basis: str = ""
    code: str = ""
    framework: str = ""
    datasets: dict[str, str] = Field(default_factory=dict)
    parameters: dict[str, str | int | float | bool | None] = Field(default_factory=dict)
    libraries: dict[str, str] = Field(default_factory=dict)
    training: dict[str, float] = Field(default_factory=dict)
    evaluation: dict[str, float] = Field(default_factory=dict)
    evaluation_id: str = ""
    gate: Gate | None = None


class ChampionThen(BaseModel):
    """The champion when a model was evaluated: what came of comparing with it, and which one it was."""

    model_config = ConfigDict(frozen=True)

    state: str
    version: str = ""


class Quality(BaseModel):
    """The parts of an evaluation's ``quality.json`` that the registry reads; others may be added to it freely.

    Attributes:
        passed: the quality gate.
        reasons: why it did not pass.
        metrics: finite numbers by name; ``map50`` and ``map50_95`` among them.
        facts: what was evaluated on what: ``model``, ``model digest``, ``dataset``, ``dataset version``, ``split``.
        per_class: a row for each class: ``category``, ``ap50_95``, ``ap50`` and more.
        champion: which champion the evaluation saw; ``None`` in those of earlier releases.
    """

    model_config = ConfigDict(frozen=True)

    passed: bool
    reasons: tuple[str, ...] = ()
    metrics: dict[str, float] = Field(default_factory=dict)
    facts: dict[str, object] = Field(default_factory=dict)
    per_class: tuple[dict[str, object], ...] = ()
    champion: ChampionThen | None = None

    @field_validator("metrics", mode="before")
    @classmethod
    def _numbers(cls, found: object) -> object:
        """Finite numbers only: an evaluation may say more of a metric, or that it is not defined."""
        if not isinstance(found, dict):
            return found
        plain = {name: value for name, value in found.items() if type(value) in {int, float}}
        return {name: value for name, value in plain.items() if math.isfinite(value)}

    @property
    def gate(self) -> Gate:
        """Whether the model passed, and why not."""
        return Gate(passed=self.passed, reasons=self.reasons)

    @property
    def average_precision(self) -> dict[str, float]:
        """Average precision over IoU 0.5 to 0.95 by class; classes without ground truth are left out."""
        rows = ((row.get("category"), row.get("ap50_95")) for row in self.per_class)
        return {name: float(value) for name, value in rows if isinstance(name, str) and isinstance(value, int | float)}


def newest_quality(store: Store, version_key: str) -> Quality | None:
    """The newest kept evaluation of the version below ``version_key``; ``None`` when none has a ``quality.json``.

    Raises:
        CorruptionError: it cannot be read.
    """
    entries = store.list(f"{version_key}/evaluations/")
    kept = [e for e in entries if e.key.endswith(f"/{QUALITY}") and len(e.key.split("/")) == _EVALUATION_PARTS]
    if not kept:
        return None
    key = max(kept, key=lambda entry: (entry.modified, entry.key)).key
    try:
        return Quality.model_validate_json(store.read(key))
    except ValidationError as error:
        detail = error.errors()[0]["msg"]
        raise CorruptionError(
            f"{key!r} in {store.uri!r} is no evaluation ({detail}): publish the model again."
        ) from error


@cache
def code_version() -> str:
    """The release and the beginning of a sha256 over this project's component code: ``0.1.0+3f2a...``."""
    root = Path(__file__).resolve().parents[1]
    total = hashlib.sha256()
    for path in sorted(path for path in root.rglob("*") if path.suffix in _CODE_SUFFIXES):
        total.update(f"{path.relative_to(root).as_posix()}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return f"{_release()}+{total.hexdigest()[:_SHOWN_DIGITS]}"


def _release() -> str:
    try:
        return importlib.metadata.version(_PROJECT)
    except importlib.metadata.PackageNotFoundError:  # run from a clone that is not installed
        return "0"
