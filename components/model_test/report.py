"""The proof as a page: the verdict, what each check compared, and every image as both models see it."""

from pathlib import Path

from components.model_test.evidence import Check
from components.model_test.limits import EXACT
from components.model_test.predictions import PROOF_CONF
from components.model_test.report_pictures import add_pictures
from components.model_test.report_service import add_runtimes, add_speed
from components.model_test.story import Story
from components.shared.archive import ArchiveManifest
from components.shared.files import write_atomically
from components.shared.report.page import Level, Number, Report
from components.shared.report.tables import Linked

EMBEDDED = "proof"  # id of the element that holds the JSON
_SHOWN_DIFFERENCES = 50
_CATCHES = (
    ("A file missing, added or changed", "the archive's manifest (before anything else), Files"),
    ("One bit of a weight, every digest written anew", "Files, Weights"),
    ("One bit of a converted model's weight", "its runtime: the trained weights are converted again and compared"),
    ("Class names or their order", "Files, the runtime's own description, the service's /model"),
    ("Another input size", "Files, the runtime's input contract, Predictions"),
    ("Thresholds or tiles in inference.json alone", "the archive's manifest"),
    ("Thresholds or tiles in both, after packing", "Archive: the digest noted at packing"),
    ("A service that does not keep to its thresholds or tiles", "Service, its own thresholds"),
    ("Service code", "Archive where the same release packed it; the service's answers always"),
    ("A library's version", "Archive: requirements against what runs here"),
)


def write_report(story: Story, document: str, path: Path) -> None:
    """Write the page to ``path``, with ``document`` (the proof as JSON) in it for programs."""
    tag = story.manifest.tag if story.manifest else "an archive that could not be opened"
    report = Report("Is the packed model the trained one?", subtitle=tag)
    report.verdict(*_verdict(story))
    if story.proof:
        report.numbers(_tiles(story))
    _checks(story.checks, report)
    add_runtimes(story, report)
    add_speed(story, report)
    add_pictures(story, report)
    report.section("What would have been found", "Each kind of difference is planted in a test of this step.")
    report.table(["Difference", "Found by"], _CATCHES, caption="Differences and checks", folded=True, sortable=False)
    if story.manifest:
        _facts(story.manifest, report)
    if story.log:
        report.section("The service's log", "Its last lines.")
        report.text(story.log)
    page = _embedded(report.html(), document).encode("utf-8", "replace")
    with write_atomically(path) as temporary:
        temporary.write_bytes(page)


def _embedded(page: str, document: str) -> str:
    """The page with the JSON in an inert element that no text in it can end."""
    safe = document.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
    element = f'<script type="application/json" id="{EMBEDDED}">\n{safe}</script>\n'
    before, end, after = page.rpartition("</body>")
    return f"{before}{element}{end}{after}"


def _verdict(story: Story) -> tuple[str, Level]:
    if story.proof is None:
        return story.failure, Level.BAD
    unproved = [result.name for result in story.runtimes if result.problem]
    if not story.proof.numbers.get("boxes_compared"):
        return (
            "The files and weights are the same, but the model finds no box in any image, so nothing was compared.",
            Level.WARN,
        )
    if story.trained and story.trained.conf < PROOF_CONF:
        return (
            f"The packed model is the trained one; it finds nothing above {PROOF_CONF}, so all scores were compared.",
            Level.WARN,
        )
    if unproved:
        return f"The packed model is the trained one, but nothing here can run {' or '.join(unproved)}.", Level.WARN
    return "The packed model is the trained one, in files, weights, predictions and service.", Level.GOOD


def _tiles(story: Story) -> list[Number]:
    numbers = story.numbers
    boxes = int(numbers["boxes_compared"] + numbers["http_boxes_compared"] + sum(r.boxes for r in story.runtimes))
    largest = max(numbers["max_score_difference"], numbers["http_max_score_difference"])
    tiles = [
        Number("Tensors, bit for bit", f"{int(numbers['tensors_compared'])}"),
        Number("Boxes compared", f"{boxes:,}", note=f"{int(numbers['http_boxes_compared']):,} of them over HTTP"),
        Number("Largest score difference", f"{largest:.2g}", note=f"allowed: {EXACT.relative:g}, relative"),
        Number("Service ready after", f"{numbers['cold_start_seconds']:.1f} s", note="process start to /readyz"),
        Number(
            "Answer, median",
            f"{numbers['latency_p50_ms']:.0f} ms",
            note=f"one client; 95 % within {numbers['latency_p95_ms']:.0f} ms",
        ),
    ]
    if story.load:
        load = story.load
        note = f"{load.clients} clients; 95 % within {load.p95:.0f} ms"
        tiles.append(Number("Under load", f"{load.per_second:.1f} images/s", note=note))
    return [*tiles, Number("Archive", f"{story.archive_bytes / 1e6:.1f} MB")]


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
        count = len(check.differences)
        return Linked(f"{count} difference{'s' if count > 1 else ''}", level=Level.BAD)
    return Linked("the same", level=Level.GOOD) if check.numbers else Linked("not made", level=Level.WARN)


def _facts(manifest: ArchiveManifest, report: Report) -> None:
    how = manifest.inference
    own = ", ".join(f"{name} {value:g}" for name, value in sorted(how.class_confidence.items()))
    tiles = f"{how.tile} pixels, {how.tile_overlap:g} shared, merged by {how.tile_merge}" if how.tile else "none"
    report.section("The archive")
    report.facts(
        {
            "Tag": manifest.tag,
            "Content digest": manifest.content_digest,
            "Model digest": manifest.model_digest,
            "Packed by": manifest.code or "not known",
            "Classes": ", ".join(manifest.classes),
            "Image size": f"{manifest.imgsz} pixels",
            "Runtimes": ", ".join(manifest.runtime_names),
            "Serves": ", ".join(f"{runtime} on {device}" for device, runtime in sorted(how.runtimes.items())),
            "Lowest scores": f"{how.confidence:g}" + (f"; {own}" if own else ""),
            "Overlap, boxes": f"above {how.iou:g} one object, at most {how.max_det} boxes",
            "Tiles": tiles,
            "Libraries": ", ".join(manifest.requirements),
            "Licences": " ".join(manifest.licences),
        }
    )
