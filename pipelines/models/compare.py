"""``models compare``: what two versions differ in, and which finds more."""

import argparse
from collections.abc import Mapping
from dataclasses import dataclass

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from components.shared.model_catalogue import current_quality
from components.shared.model_lineage import Quality
from components.shared.registry import SHORT, ModelRecord
from components.shared.store import Store
from pipelines.dataset_commands.output import Answer, line, names
from pipelines.models.look import MAIN_METRICS, find, gate_text

_SAME = 1e-9
_Pairs = dict[str, tuple[object, object]]


@dataclass(frozen=True)
class _Side:
    record: ModelRecord
    quality: Quality | None

    @property
    def metrics(self) -> Mapping[str, float]:
        return self.quality.metrics if self.quality else self.record.lineage.evaluation

    @property
    def average_precision(self) -> Mapping[str, float]:
        return self.quality.average_precision if self.quality else {}


def compare_models(options: argparse.Namespace, store: Store) -> Answer:
    """Metrics, classes, data, parameters and libraries of two versions."""
    records = [find(store, text) for text in (options.before, options.after)]
    a, b = (_Side(record, current_quality(store, record)) for record in records)
    lineages = (a.record.lineage, b.record.lineage)
    added, removed = _classes(a, b), _classes(b, a)
    metrics, by_class = _union(a.metrics, b.metrics), _union(a.average_precision, b.average_precision)
    data = _differing(lineages[0].datasets, lineages[1].datasets)
    parameters = _differing(lineages[0].parameters, lineages[1].parameters)
    libraries = _differing(lineages[0].libraries, lineages[1].libraries)

    def show(console: Console) -> None:
        for label, side in (("A", a), ("B", b)):
            line(console, label, f"{side.record}, gate {gate_text(side.quality.gate if side.quality else None)}")
        line(console, "classes", _classes_text(added, removed))
        if not _same_test(a, b):
            line(console, "careful", "they were measured on different test images, so their numbers do not compare")
        _show_numbers(console, "metric", _ordered(metrics))
        _show_numbers(console, "AP50-95 of class", by_class)
        for title, pairs in (("data", _short(data)), ("parameter", parameters), ("library", libraries)):
            _show_pairs(console, title, pairs)

    answer = {
        "store": store.uri,
        "a": {"name": a.record.name, "version": a.record.version},
        "b": {"name": b.record.name, "version": b.record.version},
        "classes": {"added": list(added), "removed": list(removed)},
        "same_test_data": _same_test(a, b),
        "metrics": metrics,
        "average_precision": by_class,
        "datasets": data,
        "parameters": parameters,
        "libraries": libraries,
    }
    return Answer(answer, show)


def _classes(before: _Side, after: _Side) -> tuple[str, ...]:
    """Classes that the second has and the first does not."""
    known = set(before.record.archive.classes)
    return tuple(name for name in after.record.archive.classes if name not in known)


def _classes_text(added: tuple[str, ...], removed: tuple[str, ...]) -> str:
    parts = [f"{what}: {names(found)}" for what, found in (("added", added), ("removed", removed)) if found]
    return "; ".join(parts) or "the same"


def _same_test(a: _Side, b: _Side) -> bool:
    """Whether both were measured on the same test data, as far as that is known."""
    versions = {
        side.quality.facts.get("dataset version") or side.record.lineage.datasets.get("test")
        if side.quality
        else side.record.lineage.datasets.get("test")
        for side in (a, b)
    }
    return len(versions) == 1


def _union(a: Mapping[str, float], b: Mapping[str, float]) -> dict[str, tuple[float | None, float | None]]:
    return {name: (a.get(name), b.get(name)) for name in [*a, *(name for name in b if name not in a)]}


def _ordered(pairs: dict[str, tuple[float | None, float | None]]) -> dict[str, tuple[float | None, float | None]]:
    first = [name for name in MAIN_METRICS if name in pairs]
    return {name: pairs[name] for name in [*first, *(name for name in sorted(pairs) if name not in first)]}


def _differing(a: Mapping[str, object], b: Mapping[str, object]) -> _Pairs:
    return {name: (a.get(name), b.get(name)) for name in sorted({*a, *b}) if a.get(name) != b.get(name)}


def _short(versions: _Pairs) -> _Pairs:
    return {split: (str(a or "-")[:SHORT], str(b or "-")[:SHORT]) for split, (a, b) in versions.items()}


def _show_numbers(console: Console, title: str, pairs: Mapping[str, tuple[float | None, float | None]]) -> None:
    if not pairs:
        return
    table = Table(title, "A", "B", "B - A")
    for column in table.columns[1:]:
        column.justify = "right"
    for name, (before, after) in pairs.items():
        change = "" if before is None or after is None else _change(after - before)
        table.add_row(escape(name), _number(before), _number(after), change)
    console.print(table)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


def _change(value: float) -> str:
    return "=" if abs(value) < _SAME else f"{value:+.4g}"


def _show_pairs(console: Console, title: str, pairs: _Pairs) -> None:
    if not pairs:
        line(console, title, "no difference")
        return
    table = Table(title, "A", "B")
    for name, values in pairs.items():
        table.add_row(escape(name), *("-" if value is None else escape(str(value)) for value in values))
    console.print(table)
