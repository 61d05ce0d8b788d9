"""``datasets diff`` and ``datasets report``: what changed between versions, and versions side by side."""

import argparse
from dataclasses import asdict

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from components.shared import dataset_store
from components.shared.dataset_diff import ClassChange, DatasetDiff, compare
from components.shared.dataset_reference import Reference, find
from components.shared.errors import ConfigError
from components.shared.store import Store
from pipelines.dataset_commands.output import Answer, line, names

_SHOWN = 30  # classes of a table


def diff_datasets(options: argparse.Namespace, store: Store) -> Answer:
    """Images, boxes and classes that were added, removed or changed, and how far distributions moved."""
    before, after = find(store, options.before), find(store, options.after)
    datasets = [dataset_store.read(store, each.name, each.version) for each in (before, after)]
    found = compare(*datasets)

    def show(console: Console) -> None:
        line(
            console,
            "before",
            f"{before}: {datasets[0].images.height:,} images, {datasets[0].annotations.height:,} boxes",
        )
        line(
            console, "after", f"{after}: {datasets[1].images.height:,} images, {datasets[1].annotations.height:,} boxes"
        )
        if before.version == after.version:
            line(console, "result", "the same version")
            return
        _show_images(console, found)
        _show_boxes(console, found)
        _show_classes(console, found)
        console.print(_shift_table(found))

    data = {"before": asdict(before), "after": asdict(after), "same": before.version == after.version}
    return Answer({"store": store.uri, **data, **asdict(found)}, show)


def report_datasets(options: argparse.Namespace, store: Store) -> Answer:
    """An HTML page that shows versions side by side."""
    # Drawing needs modules that the other commands do without.
    from components.shared.analysis.report import write_comparison  # noqa: PLC0415

    references = [find(store, text) for text in options.datasets]
    datasets = {
        label: dataset_store.read(store, each.name, each.version)
        for label, each in zip(_labels(references), references, strict=True)
    }
    try:
        write_comparison(options.output, datasets, store)
    except OSError as error:
        raise ConfigError(f"The page {str(options.output)!r} cannot be written: {error.strerror}.") from error
    data = {"store": store.uri, "datasets": [asdict(each) for each in references], "report": str(options.output)}
    return Answer(data, lambda console: line(console, "report", options.output))


def _labels(references: list[Reference]) -> list[str]:
    """A name for each that is short, and its own."""
    several = len({each.name for each in references}) < len(references)
    labels = [str(each) if several else each.name for each in references]
    return [label if labels.count(label) == 1 else f"{label} ({place + 1})" for place, label in enumerate(labels)]


def _show_images(console: Console, found: DatasetDiff) -> None:
    line(console, "images", f"{found.unchanged:,} unchanged")
    for label, kind in (("added", found.added), ("removed", found.removed), ("changed", found.changed)):
        if kind:
            line(console, f"  {label}", f"{len(kind):,}: {names(kind)}")
    if found.renamed:
        moves = tuple(f"{old} -> {new}" for old, new in found.renamed)
        line(console, "  renamed", f"{len(moves):,}: {names(moves, 4)}")
    if found.relabelled:
        line(console, "  other split, tags or size", f" {len(found.relabelled):,}: {names(found.relabelled)}")


def _show_boxes(console: Console, found: DatasetDiff) -> None:
    boxes = found.boxes
    line(console, "boxes", f"{boxes.unchanged:,} unchanged, {boxes.added:,} added, {boxes.removed:,} removed")
    if boxes.changed:
        detail = f"{boxes.moved:,} moved or resized, {boxes.reclassified:,} of another class"
        line(console, "  changed", f"{boxes.changed:,}: {detail}")
    if boxes.images:
        line(console, "  on", f"{boxes.images:,} images that both have")


def _show_classes(console: Console, found: DatasetDiff) -> None:
    for label, kind in (("classes +", found.classes_added), ("classes -", found.classes_removed)):
        if kind:
            line(console, label, names(kind, 20))
    if found.classes_moved:
        line(console, "classes", "stand in another order: their ids differ")
    moved = sorted(found.classes, key=lambda each: -abs(each.boxes_after - each.boxes_before))
    moved = [each for each in moved if _counts(each)[0] != _counts(each)[1]]
    if not moved:
        line(console, "classes", f"{len(found.classes)} with the same counts")
        return
    table = Table("class", "boxes before", "after", "change", "images before", "after")
    for column in table.columns[1:]:
        column.justify = "right"
    for each in moved[:_SHOWN]:
        numbers = (each.boxes_before, each.boxes_after, each.images_before, each.images_after)
        old, new, old_images, new_images = (f"{number:,}" for number in numbers)
        change = f"{each.boxes_after - each.boxes_before:+,}"
        table.add_row(escape(each.name), old, new, change, old_images, new_images)
    console.print(table)
    if len(moved) > _SHOWN:
        line(console, "", f"and {len(moved) - _SHOWN} more classes with other counts: see --json")


def _counts(change: ClassChange) -> tuple[tuple[int, int], tuple[int, int]]:
    return (change.boxes_before, change.images_before), (change.boxes_after, change.images_after)


def _shift_table(found: DatasetDiff) -> Table:
    table = Table("distribution", "Jensen-Shannon distance", "of that chance", "verdict")
    for each in found.shifts:
        shown = "-" if each.distance is None else f"{each.distance:.3f}"
        table.add_row(each.what, shown, f"{each.chance:.3f}", each.verdict)
    return table
