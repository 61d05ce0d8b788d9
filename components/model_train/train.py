"""Train a detector on a prepared dataset and leave a model folder that proves what is in it."""

import logging
import tempfile
from dataclasses import dataclass
from pathlib import Path

from components.model_train.care import Care
from components.model_train.conduct import Outcome, Plan, conduct
from components.model_train.model_folder import Outputs, collect_model, collect_start
from components.model_train.pages.pictures import FirstBatches, Pictures, before_and_after
from components.model_train.pages.report import write_report
from components.model_train.ranks.distributed import check_ranks
from components.model_train.saving.preemption import exit_as_preemption
from components.model_train.saving.training_key import training_key
from components.model_train.start import find_start
from components.model_train.story import Story
from components.model_train.trainers.base import Hyperparameters, Trainer, TrainingJob
from components.shared.dataset import Dataset
from components.shared.detection.devices import resolve_device
from components.shared.detection.layers import check_freeze
from components.shared.detection.manifest import ModelManifest
from components.shared.errors import PipelineError
from components.shared.materialise import ImageOptions, materialise
from components.shared.progress import Announce, silent
from components.shared.splits import check_splits, keep_test_image
from components.shared.step import run_name
from components.shared.store import Store, open_store

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Trained:
    """A trained model: its manifest, how the training went, and what it started from where that is kept."""

    manifest: ModelManifest
    story: Story
    start: ModelManifest | None = None


@dataclass(frozen=True)
class Place:
    """Where a training tells how it goes: the pipeline run and this step's name in it."""

    run_id: str = ""
    step: str = "model_train"


@exit_as_preemption()
def train_model(
    splits: tuple[Path, Path],
    store_uri: str,
    settings: tuple[Hyperparameters, Care],
    outputs: Outputs,
    *,
    place: Place | None = None,
    notify: Announce = silent,
    trainer: Trainer | None = None,
) -> Trained:
    """Train on one dataset, validate on another, and leave model, start weights and report.

    Where the store holds a checkpoint of the same training, it goes on from there.

    Args:
        splits: the dataset to train on and the one to validate on (their four files each).
        store_uri: where the images of both and the checkpoints lie.
        settings: what decides the weights, and how the training is looked after.
        outputs: where they go.
        place: the run and step it belongs to; from the environment when not given.
        notify: hears how far it is.
        trainer: the training library; when not given, the one the model asks for.

    Raises:
        ConfigError: the model or a hyperparameter cannot be used.
        PreemptedError: it was told to end before it was done.
        TrainingError: the data cannot be trained on, or the training failed.
    """
    train, val = (Dataset.load(folder) for folder in splits)
    parameters, care = settings
    check_splits(train, val)
    store = open_store(store_uri)
    with tempfile.TemporaryDirectory(prefix="model-train-") as scratch:
        work = Path(scratch)
        plan = make_plan(train, val, store, parameters, care, place or _own_place(), work, notify)
        test_image = work / "kept" / keep_test_image(val, store, work / "kept")  # the store may be gone afterwards
        outcome = conduct(plan, notify, trainer=trainer)
        notify(0.99, "writing the report")
        manifest = collect_model(outcome, plan, test_image, outputs.model)
        start = collect_start(outcome, outputs.model, outputs.start) if outputs.start else None
        pictures = _pictures(outcome, plan, val)
    write_report(outputs.report, outcome.run, outcome.story, manifest, train, val, pictures)
    return Trained(manifest, outcome.story, start)


def _own_place() -> Place:
    return Place(run_id=run_name())


def make_plan(
    train: Dataset,
    val: Dataset,
    store: Store,
    parameters: Hyperparameters,
    care: Care,
    place: Place,
    work: Path,
    notify: Announce,
) -> Plan:
    """Find what to start from, write images and labels to disk, and name the training."""
    check_ranks(parameters)
    resolve_device(parameters.device)  # refuses a GPU that is not here
    start = find_start(parameters, store, train.name, work / "start")
    check_freeze(parameters.freeze, str(start.weights or start.architecture), shown=start.origin)
    notify(0.0, "writing images and labels")
    images = ImageOptions(longest_edge=parameters.longest_edge, format=parameters.image_format)
    job = TrainingJob(
        train=materialise(train, store, work / "train", options=images),
        val=materialise(val, store, work / "val", options=images),
        classes=train.classes,
        parameters=parameters,
        start=start,
        work=work,
    )
    versions = {"train": train.version, "val": val.version}
    return Plan(
        job=job,
        care=care,
        store=store.uri,
        key=training_key(versions, parameters, start),
        run_id=place.run_id,
        step=place.step,
        name=train.name,
        versions=versions,
    )


def _pictures(outcome: Outcome, plan: Plan, val: Dataset) -> Pictures:
    """What the model saw and what it can do now; a picture that cannot be made is left out."""
    run, job = outcome.run, plan.job
    try:
        compared = before_and_after(
            run.untrained,
            run.files[run.weights],
            framework=job.start.framework,
            classes=job.classes,
            imgsz=job.parameters.imgsz,
            dataset=val,
            images=job.val.paths,
            device=job.parameters.device,
        )
    except PipelineError as error:
        logger.warning("The report shows no predictions: %s", error)
        compared = []
    return Pictures(batches=FirstBatches.load(outcome.batches), compared=compared)
