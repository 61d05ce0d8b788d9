"""The proof as a page: the verdict, what each check compared, and the test image as both models see it."""

from dataclasses import dataclass, field
from pathlib import Path

from components.model_test.boxes import TOLERANCE, Found
from components.model_test.evidence import Check, Proof
from components.model_test.predictions import PROOF_CONF, SERVICE_CONF, Findings
from components.shared.archive import ArchiveManifest
from components.shared.report.draw import DrawnBox, Style, draw_boxes, picture
from components.shared.report.page import Level, Number, Picture, Report
from components.shared.report.tables import Linked

_SHOWN_DIFFERENCES = 50
_SHOWN_BOXES = 10


@dataclass
class Story:
    """What is known so far; the report tells it wherever the proof ended.

    Attributes:
        checks: the comparisons that were made.
        manifest: the archive's, once it was opened.
        archive_bytes: size of ``model.bento``.
        trained: what the trained model finds.
        packed: what the packed one finds.
        proof: the outcome, when all is the same.
        failure: the sentence it failed with.
        log: the end of what the service wrote.
    """

    checks: list[Check] = field(default_factory=list)
    manifest: ArchiveManifest | None = None
    archive_bytes: int = 0
    trained: Findings | None = None
    packed: Findings | None = None
    proof: Proof | None = None
    failure: str = "The proof did not come to an end."
    log: str = ""


def write_report(story: Story, path: Path) -> None:
    """Write the page to ``path``."""
    tag = story.manifest.tag if story.manifest else "an archive that could not be opened"
    report = Report("Is the packed model the trained one?", subtitle=tag)
    _verdict(story, report)
    if story.proof:
        report.numbers(_tiles(story.proof.numbers, story.archive_bytes))
    _checks(story.checks, report)
    _pictures(story, report)
    if story.manifest:
        _facts(story.manifest, report)
    if story.log:
        report.section("The service's log", "Its last lines.")
        report.text(story.log)
    report.write(path)


def _verdict(story: Story, report: Report) -> None:
    if story.proof is None:
        report.verdict(story.failure, Level.BAD)
    elif not story.proof.numbers.get("boxes_compared"):
        report.verdict(
            "The files and weights are the same, but the model finds no box in any image, so nothing was compared.",
            Level.WARN,
        )
    elif story.trained and story.trained.conf < PROOF_CONF:
        report.verdict(
            f"The packed model is the trained one; it finds nothing above {PROOF_CONF}, so all scores were compared.",
            Level.WARN,
        )
    else:
        report.verdict("The packed model is the trained one, in files, weights, predictions and service.", Level.GOOD)


def _tiles(numbers: dict[str, float], archive_bytes: int) -> list[Number]:
    boxes = int(numbers["boxes_compared"] + numbers["http_boxes_compared"])
    largest = max(numbers["max_score_difference"], numbers["http_max_score_difference"])
    return [
        Number("Tensors, bit for bit", f"{int(numbers['tensors_compared'])}"),
        Number("Boxes compared", f"{boxes}", note=f"{int(numbers['http_boxes_compared'])} of them over HTTP"),
        Number("Largest score difference", f"{largest:.2g}", note=f"allowed: {TOLERANCE:g}, relative"),
        Number("Service ready after", f"{numbers['cold_start_seconds']:.1f} s", note="process start to /readyz"),
        Number(
            "Answer, median",
            f"{numbers['latency_p50_ms']:.0f} ms",
            note=f"95 % within {numbers['latency_p95_ms']:.0f} ms",
        ),
        Number("Archive", f"{archive_bytes / 1e6:.1f} MB"),
    ]


def _checks(checks: list[Check], report: Report) -> None:
    report.section("Checks", "Each compares the folder the training left with what was packed.")
    rows: list[list[str | int | float | Linked | None]] = [
        [check.title, check.compared, _result(check)] for check in checks
    ]
    report.table(["Check", "Compared", "Result"], rows, sortable=False)
    differences = [(check.title, text) for check in checks for text in check.differences]
    if differences:
        shown = differences[:_SHOWN_DIFFERENCES]
        caption = f"The first {len(shown)} of {len(differences)} differences"
        report.table(["Check", "Difference"], shown, caption=caption, sortable=False)


def _result(check: Check) -> Linked:
    if check.differences:
        return Linked(f"{len(check.differences)} differences", level=Level.BAD)
    return Linked("the same", level=Level.GOOD) if check.numbers else Linked("not made", level=Level.WARN)


def _pictures(story: Story, report: Report) -> None:
    if story.trained is None:
        return
    report.section("The test image", f"Boxes from a score of {SERVICE_CONF} up, or the best {_SHOWN_BOXES} if none is.")
    shown = [_drawn(story.trained, "trained")] + ([_drawn(story.packed, "packed")] if story.packed else [])
    report.gallery(shown)


def _drawn(findings: Findings, which: str) -> Picture:
    found, sample = findings.found[0], findings.samples[0]
    boxes = _drawn_boxes(found)
    return picture(draw_boxes(sample.pixels, boxes), caption=f"The {which} model: {len(boxes)} boxes")


def _drawn_boxes(found: Found) -> list[DrawnBox]:
    sure = int((found.scores >= SERVICE_CONF).sum()) or _SHOWN_BOXES
    rows = zip(found.boxes[:sure].tolist(), found.scores.tolist(), found.names, strict=False)
    return [
        DrawnBox(left, top, right - left, bottom - top, f"{name} {score:.2f}", Style.PREDICTION)
        for (left, top, right, bottom), score, name in rows
    ]


def _facts(manifest: ArchiveManifest, report: Report) -> None:
    report.section("The archive")
    report.facts(
        {
            "Tag": manifest.tag,
            "Content digest": manifest.content_digest,
            "Model digest": manifest.model_digest,
            "Classes": ", ".join(manifest.classes),
            "Image size": f"{manifest.imgsz} pixels",
            "Libraries": ", ".join(manifest.requirements),
            "Licences": " ".join(manifest.licences),
        }
    )
