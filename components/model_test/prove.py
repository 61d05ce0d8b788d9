"""Prove that the packed model is the trained one: by hash, by tensor, by prediction and over HTTP."""

import logging
import tempfile
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

from PIL import Image

from components.model_test.evidence import Check, Proof, attempt, judge
from components.model_test.inference_files import compare_files
from components.model_test.options import ProofOptions
from components.model_test.predictions import (
    Sample,
    compare_findings,
    compare_service,
    predict,
    predict_something,
)
from components.model_test.report import Story, write_report
from components.model_test.samples import read_samples
from components.model_test.server import log_tail, serve
from components.model_test.tensors import compare_weights
from components.shared.archive import BENTO, OpenArchive, open_archive
from components.shared.detection.manifest import load_manifest, verify_files
from components.shared.errors import PipelineError
from components.shared.progress import Notify, silent

logger = logging.getLogger(__name__)
_GREY = (114, 114, 114)


def run(
    model: Path, archive: Path, val: Path, store: str, options: ProofOptions, report: Path, notify: Notify = silent
) -> Proof:
    """The step: prove on the test image, an empty one and images of the dataset ``val``."""
    return prove(model, archive, images=read_samples(val, store, options.images), report=report, notify=notify)


def prove(model: Path, archive: Path, *, images: Sequence[bytes], report: Path, notify: Notify = silent) -> Proof:
    """Compare the trained model folder ``model`` with what ``archive`` packs and serves.

    Args:
        model: the folder the training step left.
        archive: the folder with ``model.bento`` and its manifest.
        images: encoded images to compare on, besides the model's test image and an empty one.
        report: the HTML file to write; it is written when the proof fails, too.
        notify: told how far it is.

    Raises:
        ArchiveError: the model folder or the archive is broken or not what its manifest says.
        ProofError: something differs; the message names the first thing that does.
        InputError: one of ``images`` cannot be decoded.
    """
    story = Story()
    try:
        with tempfile.TemporaryDirectory(prefix="proof-") as work:
            samples = _samples(model, images)
            notify(0.05, "unpacking the archive")
            opened = open_archive(archive, Path(work))
            story.manifest, story.archive_bytes = opened.manifest, (archive / BENTO).stat().st_size
            compare(story, model, opened, samples, Path(work), notify)
        proof = judge(opened.manifest.tag, story.checks)
        story.proof = proof
    except PipelineError as error:
        story.failure = str(error)
        raise
    finally:
        write_report(story, report)
    logger.info("%s is the trained model", proof.tag)
    notify(1.0, "proved")
    return proof


def compare(
    story: Story, model: Path, opened: OpenArchive, samples: Sequence[Sample], work: Path, notify: Notify
) -> None:
    """Make the four comparisons of an opened archive; one that finds differences does not stop the next."""
    notify(0.1, "comparing files and weights")
    story.checks.append(compare_files(model, opened.model))
    story.checks.append(attempt("Weights", lambda: compare_weights(model, opened.model)))
    notify(0.3, "comparing predictions")
    trained = predict_something(model, samples)
    story.trained = trained

    def compare_predictions() -> Check:
        story.packed = predict(opened.model, samples, conf=trained.conf)
        return compare_findings(trained, story.packed)

    def compare_answers() -> Check:
        try:
            with serve(opened.bento, work) as server:
                notify(0.8, "asking the service")
                return compare_service(trained, server, opened.manifest)
        finally:
            story.log = log_tail(work)

    story.checks.append(attempt("Predictions", compare_predictions))
    notify(0.5, "starting the service")
    if story.packed is None:
        story.checks.append(Check("Service", "not started, the packed model does not load"))
    else:
        story.checks.append(attempt("Service", compare_answers))


def empty_image(imgsz: int) -> bytes:
    """A grey PNG, somewhat wider than high, with nothing in it."""
    buffer = BytesIO()
    Image.new("RGB", (imgsz, max(1, imgsz * 3 // 4)), _GREY).save(buffer, "PNG")
    return buffer.getvalue()


def _samples(model: Path, images: Sequence[bytes]) -> list[Sample]:
    trained = load_manifest(model)
    verify_files(model, trained)
    test_image = (model / trained.test_image).read_bytes()
    numbered = [(f"image {number}", encoded) for number, encoded in enumerate(images, start=1)]
    named = [("test image", test_image), *numbered, ("empty image", empty_image(trained.imgsz))]
    return [Sample.read(name, encoded) for name, encoded in named]
