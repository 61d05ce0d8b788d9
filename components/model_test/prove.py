"""Prove that the packed model is the trained one: by hash, by tensor, by prediction and over HTTP."""

import logging
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from components.model_test.claims import compare_claims
from components.model_test.evidence import Check, Proof, attempt, judge
from components.model_test.inference_files import compare_files
from components.model_test.load import judge_load, one_by_one, under_load
from components.model_test.options import ProofOptions
from components.model_test.predictions import Findings, compare_findings, predict, predict_something
from components.model_test.report import write_report
from components.model_test.runtimes import compare_runtime
from components.model_test.samples import Sample, all_samples, read_samples
from components.model_test.server import Server, log_tail, serve
from components.model_test.service import check_service
from components.model_test.story import Story, document
from components.model_test.tensors import compare_weights
from components.shared.archive import BENTO, OpenArchive, load_archive_manifest, open_archive
from components.shared.detection.inference import TORCH, Inference
from components.shared.detection.manifest import load_manifest, verify_files
from components.shared.errors import PipelineError
from components.shared.progress import Notify, silent

logger = logging.getLogger(__name__)
_FILES, _PREDICTIONS, _RUNTIMES, _SERVICE, _ASKING = 0.1, 0.2, 0.3, 0.6, 0.7  # shares of the step done


def run(
    model: Path, archive: Path, val: Path, store: str, options: ProofOptions, report: Path, notify: Notify = silent
) -> Proof:
    """The step: prove on images of the dataset ``val`` and those that ``prove`` adds."""
    images = read_samples(val, store, options.images)
    return prove(model, archive, images=images, report=report, options=options, notify=notify)


def prove(
    model: Path,
    archive: Path,
    *,
    images: Sequence[bytes],
    report: Path,
    options: ProofOptions | None = None,
    notify: Notify = silent,
) -> Proof:
    """Compare the trained model folder ``model`` with what ``archive`` packs and serves.

    Args:
        model: the folder the training step left.
        archive: the folder with ``model.bento`` and its manifest.
        images: encoded images to compare on, besides the model's test image, an empty, a noisy and a large one.
        report: the HTML file to write; it is written when the proof fails, too.
        options: how long the service is put under load, and how slow it may be; its ``images`` are not read here.
        notify: told how far it is.

    Raises:
        ArchiveError: the model folder or the archive is broken or not what its manifest says.
        ProofError: something differs; the message names the first thing that does.
        InputError: one of ``images`` cannot be decoded.
    """
    story = Story(options or ProofOptions())
    try:
        with tempfile.TemporaryDirectory(prefix="proof-") as work:
            notify(0.02, "unpacking the archive")
            story.manifest = load_archive_manifest(archive)
            opened = open_archive(archive, Path(work))
            story.archive_bytes = (archive / BENTO).stat().st_size
            samples = _samples(model, images, opened.manifest.inference)
            compare(story, model, archive, opened, samples, notify)
        story.proof = judge(opened.manifest.tag, story.checks, opened.manifest.content_digest)
    except PipelineError as error:
        story.failure = str(error)
        raise
    finally:
        written = document(story)
        write_report(story, written, report)
    logger.info("%s is the trained model", story.proof.tag)
    notify(1.0, "proved")
    return replace(story.proof, document=written)


def compare(
    story: Story, model: Path, archive: Path, opened: OpenArchive, samples: Sequence[Sample], notify: Notify
) -> None:
    """Make the comparisons of an opened archive; one that finds differences does not stop the next."""
    compare_inside(story, model, archive, opened, samples, notify)
    notify(_SERVICE, "starting the service")
    _compare_service(story, opened, notify)


def compare_inside(
    story: Story,
    model: Path,
    archive: Path,
    opened: OpenArchive,
    samples: Sequence[Sample],
    notify: Notify = silent,
) -> None:
    """Those comparisons that need no service: of files, claims, weights, predictions and converted models."""
    notify(_FILES, "comparing files and weights")
    recorded = story.options.recorded
    story.checks.append(compare_files(model, opened.model))
    story.checks.append(
        attempt("Archive", lambda: compare_claims(load_manifest(model), archive, opened, recorded=recorded))
    )
    story.checks.append(attempt("Weights", lambda: compare_weights(model, opened.model)))
    notify(_PREDICTIONS, "comparing predictions")
    trained = story.trained = predict_something(model, samples, opened.manifest.inference)
    story.checks.append(attempt("Predictions", lambda: _compare_packed(story, opened, trained)))
    for place, name in enumerate(opened.manifest.runtimes):
        share = _RUNTIMES + (_SERVICE - _RUNTIMES) * place / len(opened.manifest.runtimes)
        notify(share, f"comparing the runtime {name}")
        _compare_converted(story, name, model, opened, trained)


def _compare_packed(story: Story, opened: OpenArchive, trained: Findings) -> Check:
    story.packed = predict(opened.model, trained.samples, trained.asked)
    return compare_findings(trained, story.packed)


def _compare_converted(story: Story, name: str, model: Path, opened: OpenArchive, trained: Findings) -> None:
    def compare_one() -> Check:
        result, check = compare_runtime(name, model, opened, trained)
        story.runtimes.append(result)
        return check

    story.checks.append(attempt(f"Runtime {name}", compare_one))


def _compare_service(story: Story, opened: OpenArchive, notify: Notify) -> None:
    """Start the service and ask it, when what it runs could be loaded here."""
    story.served = opened.manifest.inference.runtime_for("cpu")
    found = _served(story)
    if found is None:
        story.checks.append(Check("Service", f"not started, what it serves does not load: {story.served}"))
        return
    work = opened.bento.parent

    def ask() -> Check:
        try:
            with serve(opened.bento, work) as server:
                notify(_ASKING, "asking the service")
                story.checks += check_service(found, server, opened.manifest)
                return _measure(story, server, found.samples)
        finally:
            story.log = log_tail(work)

    story.checks.append(attempt("Service", ask))


def _served(story: Story) -> Findings | None:
    """What the served runtime finds in process."""
    if story.served == TORCH:
        return story.packed
    return next((result.findings for result in story.runtimes if result.name == story.served), None)


def _measure(story: Story, server: Server, samples: Sequence[Sample]) -> Check:
    options = story.options
    story.single = one_by_one(server, samples)
    story.load = under_load(server, samples, options.load_seconds) if options.load_seconds else None
    check = judge_load(story.single, story.load, options.max_latency_ms)
    return replace(check, numbers={**check.numbers, "cold_start_seconds": server.cold_start_seconds})


def _samples(model: Path, images: Sequence[bytes], how: Inference) -> list[Sample]:
    trained = load_manifest(model)
    verify_files(model, trained)
    return all_samples((model / trained.test_image).read_bytes(), images, trained, how)
