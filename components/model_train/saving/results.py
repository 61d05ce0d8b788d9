"""A finished training's result as a checkpoint's files, and back."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from components.model_train.trainers.base import TrainingRun
from components.shared.errors import CheckpointError, in_one_line

RUN = "run.json"
MODEL = "model"
UNTRAINED = "untrained"
BATCHES = "batches"


class _Run(BaseModel):
    """``TrainingRun`` without places: its files lie in ``model/`` under their names in the model folder."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    files: tuple[str, ...]
    weights: str
    last: str
    best_epoch: int
    libraries: dict[str, str]
    untrained: str


def result_files(run: TrainingRun, batches: Path, scratch: Path) -> dict[str, Path]:
    """The files of a result by their names in the checkpoint; ``scratch`` receives the one that names the others."""
    untrained = f"{UNTRAINED}/{run.untrained.name}" if run.untrained else ""
    content = _Run(
        files=tuple(sorted(run.files)),
        weights=run.weights,
        last=run.last,
        best_epoch=run.best_epoch,
        libraries=dict(run.libraries),
        untrained=untrained,
    )
    path = scratch / RUN
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content.model_dump_json(), encoding="utf-8")
    files = {RUN: path, **{f"{MODEL}/{name}": source for name, source in run.files.items()}}
    if run.untrained:
        files[untrained] = run.untrained
    return files | folder_files(batches, BATCHES)


def read_result(folder: Path) -> TrainingRun:
    """The result whose files lie in ``folder``.

    Raises:
        CheckpointError: it is none; says only what is wrong.
    """
    try:
        content = _Run.model_validate_json((folder / RUN).read_bytes())
    except (OSError, ValidationError) as error:
        raise CheckpointError(f"{RUN} cannot be read: {in_one_line(error, most=200)}.") from error
    present = folder_files(folder)
    needed = {f"{MODEL}/{name}" for name in (*content.files, content.weights, content.last)}
    missing = sorted((needed | ({content.untrained} - {""})) - set(present))
    if missing:
        raise CheckpointError(f"{RUN} names {missing[0]!r}, which it does not hold")
    return TrainingRun(
        files={name: present[f"{MODEL}/{name}"] for name in content.files},
        weights=content.weights,
        last=content.last,
        best_epoch=content.best_epoch,
        libraries=content.libraries,
        untrained=present[content.untrained] if content.untrained else None,
    )


def folder_files(folder: Path, prefix: str = "") -> dict[str, Path]:
    """The files below ``folder`` by posix path, behind ``prefix`` and a slash where one is given."""
    base = f"{prefix}/" if prefix else ""
    return {f"{base}{path.relative_to(folder).as_posix()}": path for path in folder.rglob("*") if path.is_file()}
