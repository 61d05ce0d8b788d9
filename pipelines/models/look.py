"""``models list`` and ``models show``: what is published, where it comes from and how good it is."""

import argparse
from collections.abc import Mapping

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from components.shared.alias_history import Move, read_moves
from components.shared.model_catalogue import PublishedVersion, current_quality, published_at, published_versions
from components.shared.model_lineage import Gate, Lineage
from components.shared.registry import (
    CHAMPION,
    SHORT,
    ModelRecord,
    find_champion,
    find_model,
    model_key,
    model_versions,
)
from components.shared.store import Store
from pipelines.dataset_commands.output import Answer, line, moment

MAIN_METRICS = ("map50", "map50_95")
_MOVES = 5  # of the champion, that people are shown


def find(store: Store, text: str) -> ModelRecord:
    """The version that a person means; a name alone is its champion.

    Raises:
        ConfigError: there is no such version; near names are suggested.
    """
    return find_model(store, text, text if "@" in text else CHAMPION)


def list_models(options: argparse.Namespace, store: Store) -> Answer:
    """Each version of each model, the newest first."""
    if options.name is not None and not model_versions(store, options.name):
        find_model(store, options.name, CHAMPION)  # refuses it, with the near name
    entries = published_versions(store, options.name)

    def show(console: Console) -> None:
        if not entries:
            line(console, "store", f"{store.uri} holds no model yet")
            return
        table = Table("model", "version", "", "published", "mAP50", "mAP50-95", "gate", "trained on")
        for column in table.columns[4:6]:
            column.justify = "right"
        for place, entry in enumerate(entries):
            fresh = place == 0 or entries[place - 1].name != entry.name
            table.add_row(escape(entry.name) if fresh else "", *_cells(entry))
        console.print(table)

    return Answer({"store": store.uri, "models": [_entry_data(entry) for entry in entries]}, show)


def show_model(options: argparse.Namespace, store: Store) -> Answer:
    """One version: where it comes from, how it was judged and what is in it."""
    record = find(store, options.model)
    quality = current_quality(store, record)
    gate = quality.gate if quality else record.lineage.gate
    metrics = quality.metrics if quality else record.lineage.evaluation
    published = published_at(store, record)
    champion = find_champion(store, record.name)
    moves = read_moves(store, model_key(record.name), CHAMPION)

    def show(console: Console) -> None:
        line(console, "model", record.name + (" (the champion)" if champion == record.version else ""))
        line(console, "version", record.version)
        line(console, "published", moment(published))
        line(console, "gate", gate_text(gate))
        line(console, "evaluation", numbers(metrics))
        _show_lineage(console, record.lineage)
        _show_archive(console, record)
        for move in reversed(moves[-_MOVES:]):
            line(console, "champion", move_text(move))

    data = {
        "store": store.uri,
        **record.model_dump(mode="json"),
        "published": published,
        "champion": champion == record.version,
        "gate": gate.model_dump(mode="json") if gate else None,
        "evaluation": metrics,
        "average_precision": quality.average_precision if quality else {},
        "moves": [move.model_dump(mode="json") | {"moved": move.moved} for move in moves],
    }
    return Answer(data, show)


def gate_text(gate: Gate | None) -> str:
    """What the quality gate said, for people."""
    if gate is None:
        return "not known: published by an earlier release"
    return " ".join(["passed" if gate.passed else "NOT passed.", *gate.reasons])


def move_text(move: Move) -> str:
    """A move of the champion, for people."""
    former = f" instead of {move.former[:SHORT]}" if move.former else ""
    forced = ", forced" if move.forced else ""
    reason = f": {move.reason}" if move.reason else ""
    return f"{moment(move.moved)} {move.why} {move.version[:SHORT]}{former}{forced}{reason}"


def numbers(values: Mapping[str, float]) -> str:
    """Metrics on one line, the main ones first."""
    names = [*(name for name in MAIN_METRICS if name in values), *(n for n in sorted(values) if n not in MAIN_METRICS)]
    return ", ".join(f"{name} {values[name]:.4g}" for name in names) or "not known"


def _cells(entry: PublishedVersion) -> tuple[str, ...]:
    start = (entry.version[:SHORT], CHAMPION if entry.champion else "", moment(entry.published))
    if entry.record is None:
        return (*start, "?", "?", "?", escape(entry.problem))
    lineage = entry.record.lineage
    scores = (f"{lineage.evaluation[name]:.3f}" if name in lineage.evaluation else "?" for name in MAIN_METRICS)
    gate = "?" if lineage.gate is None else "passed" if lineage.gate.passed else "not passed"
    return (*start, *scores, gate, lineage.datasets.get("train", "?")[:SHORT])


def _entry_data(entry: PublishedVersion) -> dict[str, object]:
    lineage = entry.record.lineage if entry.record else Lineage()
    return {
        "name": entry.name,
        "version": entry.version,
        "champion": entry.champion,
        "published": entry.published,
        **{name: lineage.evaluation.get(name) for name in MAIN_METRICS},
        "passed": lineage.gate.passed if lineage.gate else None,
        "datasets": lineage.datasets,
        "run": lineage.run,
        "problem": entry.problem or None,
    }


def _show_lineage(console: Console, lineage: Lineage) -> None:
    line(console, "training", numbers(lineage.training))
    for split, version in lineage.datasets.items():
        line(console, f"{split} data", version)
    line(console, "run", lineage.run or "not known")
    line(console, "code", lineage.code or "not known")
    if lineage.framework:
        line(console, "trainer", lineage.framework)
    for label, values in (("parameters", lineage.parameters), ("libraries", lineage.libraries)):
        if values:
            line(console, label, ", ".join(f"{name}={value}" for name, value in values.items()))


def _show_archive(console: Console, record: ModelRecord) -> None:
    archive = record.archive
    line(console, "proof", numbers(record.proof))
    line(console, "archive", f"{archive.tag}, sha256 {record.bento_sha256}")
    line(console, "classes", f"{len(archive.classes)}: {', '.join(archive.classes)}")
    line(console, "image size", f"{archive.imgsz} px")
    for licence in archive.licences:
        line(console, "licence", " ".join(licence.split()))
    for name, digest in archive.source_files.items():
        line(console, "file", f"{digest[:SHORT]} {name}")
