"""Measure a packed model on the test split: predict, keep the predictions, judge them and report."""

import logging
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from components.model_eval.basis import Basis, champion_facts, describe_basis
from components.model_eval.champion import Champion, compare_with_champion, seek_champion
from components.model_eval.contest import open_contestant, single_device
from components.model_eval.evaluation import EvaluateOptions, Evaluation
from components.model_eval.examples import draw_examples
from components.model_eval.export import write_predictions, write_quality
from components.model_eval.markdown import write_overview
from components.model_eval.predict import CHAMPION, MODEL, START, Contestant, Images, Predicted, predict_images
from components.model_eval.quality import evaluate_predictions
from components.model_eval.report import write_report
from components.model_eval.start import compare_with_start, open_start
from components.shared.archive import open_archive
from components.shared.dataset import Dataset
from components.shared.detection.manifest import load_manifest
from components.shared.evaluation.outcomes import usable_images
from components.shared.progress import Notify, silent
from components.shared.runtime_table import RuntimeTable, load_runtime_table
from components.shared.shards import ImageReader
from components.shared.store import open_store

__all__ = [
    "Contest",
    "EvaluateOptions",
    "Evaluation",
    "Inputs",
    "Outputs",
    "confusion_for_kfp",
    "evaluate",
    "evaluate_with",
]

logger = logging.getLogger(__name__)
_PREDICTING = 0.85  # share of the step that predicting takes


@dataclass(frozen=True)
class Inputs:
    """What is evaluated.

    Attributes:
        test: folder of the test dataset.
        archive: folder of the packed model.
        store: where the images and the published models lie.
        start: folder of the model the training started from.
    """

    test: Path
    archive: Path
    store: str
    start: Path | None = None


@dataclass(frozen=True)
class Outputs:
    """Where an evaluation goes.

    Attributes:
        predictions: folder of the predictions, the ground truth and the numbers (see ``export``).
        report: the Model Quality Report, an HTML file.
        overview: the report in short, a Markdown file.
    """

    predictions: Path
    report: Path
    overview: Path | None = None


@dataclass(frozen=True)
class Contest:
    """Who predicts.

    Attributes:
        model: the packed model.
        champion: what it is compared with.
        start: what its training started from.
        runtimes: how the archive's runtimes compare.
    """

    model: Contestant
    champion: Champion = field(default_factory=Champion)
    start: Contestant | None = None
    runtimes: RuntimeTable | None = None

    @property
    def contestants(self) -> dict[str, Contestant]:
        """Those that can predict, the model first."""
        named = {MODEL: self.model, CHAMPION: self.champion.contestant, START: self.start}
        return {name: contestant for name, contestant in named.items() if contestant is not None}


def evaluate(inputs: Inputs, outputs: Outputs, options: EvaluateOptions, notify: Notify = silent) -> Evaluation:
    """Evaluate the model in the archive as it is served, beside the champion and what its training started from.

    Args:
        inputs: what is evaluated.
        outputs: where the evaluation goes.
        options: the gate, the seed and the device.
        notify: hears how far it is.

    Raises:
        ArchiveError: the archive is broken or not what it claims to be.
        FormatError: the dataset is not one of ours.
        InputError: an image cannot be decoded.
        StoreError: the store failed.
        ConfigError: an option or the device is wrong.
    """
    dataset = Dataset.load(inputs.test)
    device = single_device(options.device)
    store = open_store(inputs.store)
    with tempfile.TemporaryDirectory(prefix="model-eval-") as work:
        notify(0.0, "opening the archive")
        archive = open_archive(inputs.archive, Path(work) / MODEL)
        model = open_contestant(archive, device)
        champion = seek_champion(store, archive.manifest, Path(work) / CHAMPION, device, margin=options.champion_margin)
        start = open_start(inputs.start, model.inference, device)
        contest = Contest(model, champion, start, load_runtime_table(inputs.archive))
        basis = describe_basis(dataset, archive.manifest, load_manifest(archive.model), model, device, options)
        return evaluate_with(dataset, contest, ImageReader(store), basis, outputs, options, notify)


def evaluate_with(
    dataset: Dataset,
    contest: Contest,
    reader: Images,
    basis: Basis,
    outputs: Outputs,
    options: EvaluateOptions,
    notify: Notify = silent,
) -> Evaluation:
    """Evaluate any detector on any source of images; ``basis`` says what both are."""
    images = usable_images(dataset)
    predicted = predict_images(
        contest.contestants,
        reader,
        images,
        options.conf,
        lambda share, message: notify(share * _PREDICTING, message),
    )
    notify(_PREDICTING, "computing the metrics")
    evaluation = _measure(dataset, contest, predicted, options)
    evaluation = replace(evaluation, digest=write_predictions(evaluation, images, outputs.predictions))
    notify(0.95, "drawing the report")
    facts = basis.facts | champion_facts(contest.champion, dataset.version)
    facts["resamples of the intervals"] = f"{evaluation.diagnosis.intervals.resamples}"
    write_report(evaluation, draw_examples(evaluation, reader, images), facts, outputs.report)
    if outputs.overview is not None:
        write_overview(evaluation, facts, outputs.overview)
    write_quality(evaluation, Basis(facts, basis.training), outputs.predictions)
    for reason in evaluation.reasons:
        logger.info("%s", reason)
    notify(1.0, evaluation.reasons[0])
    return evaluation


def _measure(
    dataset: Dataset, contest: Contest, predicted: Mapping[str, Predicted], options: EvaluateOptions
) -> Evaluation:
    own, how = predicted[MODEL], contest.model.inference
    classes = contest.model.detector.classes
    ids = usable_images(dataset).get_column("image_id").to_list()
    options = replace(options, iou=how.iou, max_det=how.max_det)
    alone = evaluate_predictions(dataset, own.detections, classes, options, own.latencies, how)
    beside = compare_with_champion(alone, contest.champion, predicted.get(CHAMPION), ids, classes)
    whole = compare_with_start(beside, predicted.get(START), ids, dataset.classes)
    return replace(whole, runtimes=contest.runtimes)


def confusion_for_kfp(evaluation: Evaluation) -> tuple[list[str], list[list[int]]]:
    """Labels, the background last, and the square matrix, as ``ClassificationMetrics.log_confusion_matrix`` takes them.

    Rows are what is there, columns what was predicted.
    """
    return list(evaluation.confusion.labels), [list(row) for row in evaluation.confusion.matrix]
