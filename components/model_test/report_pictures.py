"""The part of the proof's page that shows the images: what the trained model finds, and what is served."""

from components.model_test.boxes import Found
from components.model_test.limits import CONFIDENT
from components.model_test.predictions import Findings
from components.model_test.story import Story
from components.shared.detection.inference import TORCH
from components.shared.report.draw import DrawnBox, Style, draw_boxes, picture
from components.shared.report.page import Picture, Report

_MOST = 12  # images shown
_FEW = 10  # boxes shown of an image without a confident one


def add_pictures(story: Story, report: Report) -> None:
    """Each image as the trained model and the one that is served see it, side by side."""
    if story.trained is None:
        return
    pairs = [("trained", story.trained)]
    served = _served(story)
    if served is not None:
        pairs.append((f"served: {story.served or TORCH}", served))
    count = len(story.trained.samples)
    shown = sorted(range(count), key=lambda place: 0 < place <= count - _MOST)[:_MOST]  # keeps the first and the last
    report.section(
        "Images",
        f"Boxes from a score of {CONFIDENT} up, or the best {_FEW} where none is"
        + (f"; {len(shown)} of {count} images." if len(shown) < count else "."),
    )
    pictures = [_drawn(findings, place, which) for place in sorted(shown) for which, findings in pairs]
    report.gallery(pictures, columns=len(pairs))


def _served(story: Story) -> Findings | None:
    if story.served in {"", TORCH}:
        return story.packed
    return next((result.findings for result in story.runtimes if result.name == story.served), None)


def _drawn(findings: Findings, place: int, which: str) -> Picture:
    found, sample = findings.found[place], findings.samples[place]
    boxes = _boxes(found)
    height, width = sample.pixels.shape[:2]
    caption = f"{sample.name}, {width} x {height}, {which}: {len(boxes)} boxes"
    return picture(draw_boxes(sample.pixels, boxes), caption=caption)


def _boxes(found: Found) -> list[DrawnBox]:
    sure = int((found.scores >= CONFIDENT).sum()) or _FEW
    rows = zip(found.boxes[:sure].tolist(), found.scores.tolist(), found.names, strict=False)
    return [
        DrawnBox(left, top, right - left, bottom - top, f"{name} {score:.2f}", Style.PREDICTION)
        for (left, top, right, bottom), score, name in rows
    ]
