"""The preparation in a few lines of Markdown, for places that show no HTML."""

from pathlib import Path

from components.data_prep.outcome import Prepared
from components.data_prep.split import SPLITS
from components.shared.files import write_atomically


def write_overview(path: Path, prepared: Prepared) -> None:
    """Write the Markdown overview: the splits, and what was repaired, rejected and left out by rule."""
    counts = prepared.counts
    lines = [
        f"# {prepared.train.name}, prepared",
        "",
        "| split | images | boxes | without boxes |",
        "|---|--:|--:|--:|",
    ]
    for split in SPLITS:
        numbers = (f"{counts[f'{split}_{kind}']:,.0f}" for kind in ("images", "boxes", "negatives"))
        lines.append(f"| {split} | {' | '.join(numbers)} |")
    with write_atomically(path) as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")
