"""The preparation in a page of Markdown, for places that show no HTML."""

import dataclasses
import html
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import polars as pl

from components.data_prep.advice import ADVICE
from components.data_prep.outcome import Prepared, PrepareOptions
from components.data_prep.split import SPLITS
from components.data_prep.statistics import class_table, flags
from components.shared.files import write_atomically
from components.shared.ledger import Rule

SHOWN_CLASSES = 30
SHOWN_BALANCE = 10
LONGEST = 120  # characters of a name or a value
LONGEST_FLAG = 600
_SPECIAL = re.compile(r"([\\`*_\[\]|~#{}$])")


def write_overview(path: Path, prepared: Prepared, options: PrepareOptions) -> None:
    """Write the Markdown overview: verdict, splits, broken rules, classes, balance, flags and options."""
    with write_atomically(path) as temporary:
        temporary.write_text(overview(prepared, options), encoding="utf-8")


def overview(prepared: Prepared, options: PrepareOptions) -> str:
    """The Markdown text; names that come from outside are escaped."""
    sections = [
        f"# {plain(prepared.train.name)}, prepared\n\n{_verdict(prepared)}",
        _splits(prepared),
        _rules(prepared),
        _flags(prepared, options),
        _classes(prepared),
        _balance(prepared.audit.balance),
        _repeats(prepared.audit.repeats),
        _options(options),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def plain(value: object, longest: int = LONGEST) -> str:
    """A text on one line, of at most ``longest`` characters, in which Markdown and HTML mean nothing."""
    text = " ".join(str(value).split())
    shown = "".join(sign if sign.isprintable() else "?" for sign in text)
    cut = shown if len(shown) <= longest else f"{shown[: longest - 3]}..."
    escaped = _SPECIAL.sub(r"\\\1", html.escape(cut, quote=False))
    return escaped.replace("://", "&#58;//")  # no link by itself


def _verdict(prepared: Prepared) -> str:
    counts = prepared.counts
    total = counts["found_images"] + counts["found_annotations"]
    ready = f"**{counts['images']:,.0f} images with {counts['boxes']:,.0f} boxes are ready**"
    if not counts["fixed"] and not counts["rejected"]:
        return f"{ready}: none of {total:,.0f} images and annotations had to be repaired or rejected."
    return (
        f"{ready}: of {total:,.0f} images and annotations {counts['fixed']:,.0f} were repaired and "
        f"{counts['rejected']:,.0f} rejected ({counts['rejected_share']:.2%} of the images or of the annotations)."
    )


def _splits(prepared: Prepared) -> str:
    kinds = ("images", "boxes", "positives", "negatives")
    counts = prepared.counts
    rows = [[split, *(f"{counts[f'{split}_{kind}']:,.0f}" for kind in kinds)] for split in SPLITS]
    rows.append(["all", *(f"{counts[kind]:,.0f}" for kind in kinds)])
    return (
        _table("Splits", ["split", "images", "boxes", "with boxes", "without"], rows)
        + f"\n\n{plain(prepared.audit.method)}"
    )


def _rules(prepared: Prepared) -> str:
    ledger = prepared.audit.ledger
    left_out = prepared.audit.left_out
    other = (
        f"{sum(left_out.values()):,} annotations of {len(left_out)} other classes were left out." if left_out else ""
    )
    if ledger.is_empty():
        return f"## Rules\n\nEvery record kept every rule. {other}".rstrip()
    summary = ledger.group_by("rule", "action").agg(count=pl.len()).sort("count", "rule", descending=[True, False])
    rows = [[rule, action, f"{count:,}", ADVICE[Rule(rule)][0]] for rule, action, count in summary.iter_rows()]
    table = _table("Rules", ["rule", "action", "records", "what it means"], rows, left=(0, 1, 3))
    return f"{table}\n\n{other}".rstrip()


def _flags(prepared: Prepared, options: PrepareOptions) -> str:
    found = [f"{flag.title}: {flag.detail}" if flag.detail else flag.title for flag in flags(prepared, options)]
    lines = [f"- {plain(flag, LONGEST_FLAG)}" for flag in found]
    return "\n".join(["## What to look at", "", *lines]) if lines else ""


def _classes(prepared: Prepared) -> str:
    table = class_table(prepared).with_row_index("id")
    total = pl.sum_horizontal(f"{split}_boxes" for split in SPLITS)
    shown = table.sort(total, descending=True, maintain_order=True).head(SHOWN_CLASSES)
    numbers = [f"{split}_{kind}" for kind in ("boxes", "images") for split in SPLITS]
    rows = [
        [plain(name), str(place), *(f"{value:,}" for value in values)]
        for name, place, *values in shown.select("class", "id", *numbers).iter_rows()
    ]
    title = f"Classes, the {SHOWN_CLASSES} largest of {table.height}" if table.height > SHOWN_CLASSES else "Classes"
    return _table(title, ["class", "id", *(name.replace("_", " ") for name in numbers)], rows)


def _balance(shares: pl.DataFrame | None) -> str:
    if shares is None:
        return ""
    largest = shares.sort("boxes_before", descending=True, maintain_order=True).head(SHOWN_BALANCE)
    rows = [
        [plain(name), f"{before:,}", f"{share:.1%}", f"{after:,}", f"{new:.1%}"]
        for name, before, share, after, new in largest.iter_rows()
    ]
    return _table("Training boxes before and after max_class_share", ["class", "before", "", "after", ""], rows)


def _repeats(repeats: pl.DataFrame | None) -> str:
    if repeats is None:
        return ""
    rare = repeats.filter(pl.col("factor") > 1).sort("factor", descending=True, maintain_order=True).head(SHOWN_BALANCE)
    rows = [
        [plain(name), f"{factor:.2f}", f"{before:.2%}", f"{after:.2%}"]
        for name, factor, before, after in rare.iter_rows()
    ]
    header = ["class", "factor", "of the images", "of the images shown"]
    return _table("Rare classes shown more often", header, rows) if rows else ""


def _options(options: PrepareOptions) -> str:
    changed = [
        [plain(field.name), plain(value)] for field, value, default in _with_defaults(options) if value != default
    ]
    if not changed:
        return "## Options\n\nAll options have their defaults."
    return _table("Options that are not the default", ["option", "value"], changed, left=(0, 1))


def _with_defaults(options: PrepareOptions) -> Iterable[tuple[dataclasses.Field[object], object, object]]:
    default = PrepareOptions()
    for field in dataclasses.fields(PrepareOptions):
        yield field, getattr(options, field.name), getattr(default, field.name)


def _table(title: str, header: Sequence[str], rows: Iterable[Sequence[str]], left: Sequence[int] = (0,)) -> str:
    """A Markdown table; the columns in ``left`` are text, the others numbers. The cells are escaped already."""
    rule = "|".join("---" if place in left else "--:" for place in range(len(header)))
    lines = [f"| {' | '.join(cells)} |" for cells in (header, *rows)]
    return "\n".join([f"## {title}", "", lines[0], f"|{rule}|", *lines[1:]])
