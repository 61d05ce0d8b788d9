"""One process of a training that a launcher starts on one or several nodes, from datasets to a model in the store.

``torchrun -m components.model_train.worker --train cats@3f2a9c --val cats@77ab01 --store s3://... --output PREFIX``:
rank 0 finds the checkpoint, looks after the training and uploads the model; the others learn with it. A second
attempt, after too large a batch for one, needs new processes: the launcher's restart, or a person.

Proved here: two processes of one machine under ``torchrun``, and two that take each other for two nodes, on the CPU.
Not proved here: GPUs, and nodes that do not share a disk.
"""

import argparse
import dataclasses
import difflib
import json
import logging
import os
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from components.model_train.care import Care
from components.model_train.model_folder import Outputs
from components.model_train.plan import Plan
from components.model_train.ranks import meeting
from components.model_train.ranks.assignment import Assignment, read_assignment
from components.model_train.ranks.rank import Told, follow
from components.model_train.saving.checkpoints import Checkpoints
from components.model_train.saving.saver import SNAPSHOT
from components.model_train.settings import read_settings
from components.model_train.story import Story
from components.model_train.train import Place, make_plan, train_model
from components.model_train.trainers.base import Hyperparameters
from components.model_train.watching.verdict import is_over
from components.shared import dataset_reference, dataset_store
from components.shared.dataset import Dataset
from components.shared.detection.manifest import MANIFEST
from components.shared.errors import ConfigError, PipelineError, TrainingError
from components.shared.presets import UNSET
from components.shared.progress import Announce, silent
from components.shared.splits import check_splits
from components.shared.step import RUN_ID, UNNAMED, run_step
from components.shared.store import Store, open_store

logger = logging.getLogger(__name__)

STEP = "model_train"
DEFAULTS: dict[str, object] = {
    **dataclasses.asdict(Care()),
    **UNSET,
    "preset": "quick",
    "start_from": "",
    "freeze": 0,
    "hyperparameters": {},
    "device": "auto",
    "seed": 0,
    "longest_edge": 0,
    "image_format": "keep",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """The command, as one rank: the exit code of its error, or 0."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)-7s %(message)s", stream=sys.stderr)
    rank = int(os.environ.get("RANK", "0"))
    os.environ[RUN_ID] = options.run_id
    try:
        parameters, care = _settings(options.settings)
        if rank:
            return _follow(options, parameters, care)
    except PipelineError as error:
        logger.error("%s", error)  # noqa: TRY400 - the sentence, not the traceback
        return error.exit_code
    run_step(STEP, options.store, _lead, options, parameters, care)
    return 0


def _settings(text: str) -> tuple[Hyperparameters, Care]:
    """Hyperparameters and care; there is one process a GPU, and the launcher knows how many."""
    try:
        given = json.loads(text)
    except ValueError as error:
        raise ConfigError(f"--settings {text!r} is no JSON: {error}.") from error
    if not isinstance(given, dict):
        raise ConfigError(f"--settings {text!r} must be a JSON object of parameters.")
    for name in given:
        if name not in DEFAULTS:
            near = difflib.get_close_matches(name, DEFAULTS, n=1)
            raise ConfigError(f"--settings has no parameter {name!r}{f': did you mean {near[0]!r}?' if near else '.'}")
    return read_settings({**DEFAULTS, **given, "gpus": int(os.environ.get("WORLD_SIZE", "1"))}, {})


def _lead(options: argparse.Namespace, parameters: Hyperparameters, care: Care, *, notify: Announce) -> None:
    """Rank 0: train, and leave the model in the store."""
    several = meeting.started_by_others()
    if several:
        meeting.meet()
    store = open_store(options.store)
    with tempfile.TemporaryDirectory(prefix="worker-") as scratch:
        folder = Path(scratch)
        train, val = _datasets(store, options)
        train.save(folder / "train")
        val.save(folder / "val")
        train_model(
            (folder / "train", folder / "val"),
            store.uri,
            (parameters, care),
            Outputs(folder / "model", folder / "report.html"),
            place=Place(run_id=options.run_id, step=STEP),
            notify=notify,
        )
        if several:
            meeting.announce_end()
        _upload(store, folder, options.output.strip("/"))


def _upload(store: Store, folder: Path, prefix: str) -> None:
    """The model's manifest comes last and goes first: where there is one, the model is whole."""
    model, manifest = folder / "model", f"{prefix}/model/{MANIFEST}"
    store.delete(manifest)
    for path in sorted(path for path in model.rglob("*") if path.is_file() and path != model / MANIFEST):
        store.upload(path, f"{prefix}/model/{path.relative_to(model).as_posix()}")
    store.upload(folder / "report.html", f"{prefix}/report.html")
    store.upload(model / MANIFEST, manifest)
    logger.info("The model is at %s/%s/model.", store.uri, prefix)


def _follow(options: argparse.Namespace, parameters: Hyperparameters, care: Care) -> int:
    """Any other rank: learn with rank 0."""
    logging.getLogger().setLevel(logging.WARNING)
    told = Told(raising=False)
    signal.signal(signal.SIGTERM, told)  # the launcher tells all of them; rank 0 ends the training, or the launcher
    meeting.meet()
    try:
        with tempfile.TemporaryDirectory(prefix="worker-") as scratch:
            if int(os.environ["LOCAL_RANK"]) == 0:
                _lead_node(options, parameters, care, Path(scratch))
            path = meeting.hear_node()
            if path is not None:
                follow(read_assignment(path))
    except Exception:
        told.hold(care.grace_seconds)
        raise
    return 0


def _lead_node(options: argparse.Namespace, parameters: Hyperparameters, care: Care, work: Path) -> None:
    """The first process of another node: get everything onto this node's disk."""
    store = open_store(options.store)
    train, val = _datasets(store, options)
    place = Place(run_id=options.run_id, step=STEP)
    plan = make_plan(train, val, store, parameters, care, place, work, silent)
    beginning = meeting.hear_beginning()
    if not beginning.key:
        meeting.tell_node(None)
        return
    begun = _begun(plan, beginning, store)
    meeting.tell_node(Assignment(begun, Story(), beginning.trainer, work / "ranks").save())


def _begun(plan: Plan, beginning: meeting.Beginning, store: Store) -> Plan:
    """The plan as rank 0 begins it."""
    if beginning.key != plan.key:
        raise TrainingError(
            "Rank 0 trains something else than this node: name dataset versions, which do not move as aliases do, and"
            " use one image on all nodes."
        )
    resume, over = None, False
    if beginning.epoch:
        own = plan.care.resume == "never"
        found = Checkpoints(store, plan.key, maker=plan.maker).newest(plan.job.work / "checkpoint", own=own)
        if found is None or found.checkpoint.epoch != beginning.epoch:
            raise TrainingError(f"Rank 0 goes on from epoch {beginning.epoch}, whose checkpoint is not in the store.")
        resume = found.folder / SNAPSHOT
        over = is_over(plan.care, found.checkpoint.story, plan.job.parameters.epochs)
    asked = dataclasses.replace(plan.job.parameters, batch=beginning.batch)
    return dataclasses.replace(plan, job=dataclasses.replace(plan.job, parameters=asked, resume=resume, over=over))


def _datasets(store: Store, options: argparse.Namespace) -> tuple[Dataset, Dataset]:
    found = [dataset_reference.find(store, text) for text in (options.train, options.val)]
    train, val = (dataset_store.read(store, reference.name, reference.version) for reference in found)
    check_splits(train, val)
    return train, val


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="torchrun -m components.model_train.worker",
        description="Train as one of several processes, from datasets in the store to a model there.",
    )
    add = parser.add_argument
    add("--train", required=True, metavar="REFERENCE", help="dataset version to train on, such as cats@3f2a9c")
    add("--val", required=True, metavar="REFERENCE", help="dataset version to validate on")
    add("--store", required=True, metavar="URI", help="store with the datasets, for checkpoints and the model")
    add("--output", required=True, metavar="PREFIX", help="where in the store the model and its report are left")
    add("--run-id", default=UNNAMED, help="name of the run, for progress and tracking (default: unnamed)")
    add("--settings", default="{}", metavar="JSON", help="the training's parameters by the pipeline's names")
    return parser


if __name__ == "__main__":
    sys.exit(main())
