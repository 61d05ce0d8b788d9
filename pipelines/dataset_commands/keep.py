"""``datasets verify``, ``gc``, ``alias`` and ``rm``: keep the store sound and small."""

import argparse
from collections import Counter
from dataclasses import asdict

from rich.console import Console

from components.shared import dataset_store
from components.shared.cache_pruning import Pruned, prune
from components.shared.dataset_reference import Reference, find, known_names
from components.shared.dataset_verify import Verification
from components.shared.dataset_verify import verify as verify_versions
from components.shared.errors import ConfigError
from components.shared.garbage import DAY, Collection, Garbage, collect
from components.shared.materialise import default_cache
from components.shared.store import Store
from pipelines.dataset_commands.output import FAILED, SUCCESS, Answer, line, progress, size

_SHOWN = 20


def verify_datasets(options: argparse.Namespace, store: Store) -> Answer:
    """Re-hash versions; damaged shards are removed when asked, so that the next load brings them again."""
    references = _chosen(options, store)
    with progress("verifying") as notify:
        found = verify_versions(store, references, notify)
    dropped = found.damaged if options.drop_damaged else ()
    for key in dropped:
        store.delete(key)

    def show(console: Console) -> None:
        for problem in found.problems[:_SHOWN]:
            line(console, problem.kind, f"{problem.where} of {problem.dataset} {problem.detail}")
        if len(found.problems) > _SHOWN:
            line(console, "...", f"and {len(found.problems) - _SHOWN} more: see --json")
        line(console, "read", _read_text(found))
        line(console, "result", _verdict(found, dropped))

    data = {"store": store.uri, **asdict(found), "dropped": list(dropped), "sound": not found.problems}
    data |= {"datasets": [asdict(each) for each in references]}
    return Answer(data, show, FAILED if found.problems else SUCCESS)


def collect_garbage(options: argparse.Namespace, store: Store) -> Answer:
    """Remove what nobody needs; with ``--cache`` also shrink this machine's image cache."""
    with progress("collecting") as notify:
        found = collect(
            store,
            older_than=options.older_than * 3600,
            checkpoints_older_than=options.checkpoints_older_than * DAY,
            dry_run=options.dry_run,
            notify=notify,
        )
    pruned = None
    if options.cache is not None:
        pruned = prune(default_cache(), int(options.cache * 1e9), dry_run=options.dry_run)

    def show(console: Console) -> None:
        _show_collection(console, found, listed=options.dry_run or options.verbose)
        if pruned is not None:
            verb = "would be removed" if options.dry_run else "removed"
            text = f"{pruned.files:,} images, {size(pruned.bytes)}; {pruned.removed_files:,} {verb}"
            line(console, "cache", f"{text}, {size(pruned.removed_bytes)}")

    return Answer(_collection_data(store, found, pruned), show)


def move_alias(options: argparse.Namespace, store: Store) -> Answer:
    """Point an alias at a version."""
    reference = find(store, f"{options.name}@{options.version}")
    moved = dataset_store.set_alias(store, reference.name, options.alias, reference.version)
    data = {"store": store.uri, "name": reference.name, "alias": options.alias, "version": moved.version}
    return Answer(data, lambda console: line(console, "alias", f"{options.name}@{options.alias} is {moved.version}"))


def remove_version(options: argparse.Namespace, store: Store) -> Answer:
    """Take a version out of the store; ``gc`` removes the shards that nothing else needs."""
    if "@" not in options.dataset:
        raise ConfigError(f"{options.dataset!r} names no version: write {options.dataset + '@VERSION'!r}.")
    reference = find(store, options.dataset)
    dataset_store.remove(store, reference.name, reference.version, with_aliases=options.with_aliases)
    data = {"store": store.uri, "removed": asdict(reference)}
    return Answer(data, lambda console: line(console, "removed", f"{reference}; its images go with the next gc"))


def _chosen(options: argparse.Namespace, store: Store) -> list[Reference]:
    if bool(options.dataset) == bool(options.all):
        raise ConfigError("Name a dataset version, or give --all for every version of every dataset.")
    if options.dataset:
        return [find(store, options.dataset)]
    names = known_names(store)
    return [Reference(name, version) for name in names for version in dataset_store.versions(store, name)]


def _read_text(found: Verification) -> str:
    return f"{found.versions} versions, {found.shards} shards, {found.images:,} images, {size(found.bytes)}"


def _verdict(found: Verification, dropped: tuple[str, ...]) -> str:
    if not found.problems:
        return "every byte is as it was written"
    kinds = Counter(problem.kind for problem in found.problems)
    counted = ", ".join(f"{count} {kind}{'s' if count > 1 else ''}" for kind, count in sorted(kinds.items()))
    if dropped:
        return f"damaged: {counted}; {len(dropped)} shards were removed, load the data again to bring them back"
    advice = "remove damaged shards with --drop-damaged, then load" if found.damaged else "load"
    return f"damaged: {counted}; {advice} the data again"


def _show_collection(console: Console, found: Collection, *, listed: bool) -> None:
    for piece in found.garbage if listed else ():
        line(console, "", f"{piece.entry.key} ({piece.kind}, {size(piece.entry.size)}, {_age(piece)})")
    line(console, "kept", f"{found.kept_shards} shards that {found.manifests} versions reach")
    verb = "removed" if found.removed else "would go"
    line(console, verb, f"{_counted(found.garbage)}, {size(found.bytes)}")
    if found.young:
        line(console, "too young", f"{_counted(found.young)}: no version reaches them, or not yet")
    if found.loads:
        line(console, "loads", f"{found.loads} running: nothing stored since the first of them began is removed")


def _counted(pieces: tuple[Garbage, ...]) -> str:
    kinds = Counter(str(piece.kind) for piece in pieces)
    return ", ".join(f"{count} {kind}{'s' if count > 1 else ''}" for kind, count in sorted(kinds.items())) or "nothing"


def _age(piece: Garbage) -> str:
    return f"{piece.age / 3600:.1f} h old"


def _collection_data(store: Store, found: Collection, pruned: Pruned | None) -> dict[str, object]:
    def listed(pieces: tuple[Garbage, ...]) -> list[dict[str, object]]:
        return [
            {"kind": str(piece.kind), "key": piece.entry.key, "bytes": piece.entry.size, "age_seconds": piece.age}
            for piece in pieces
        ]

    return {
        "store": store.uri,
        "removed": found.removed,
        "garbage": listed(found.garbage),
        "garbage_bytes": found.bytes,
        "young": listed(found.young),
        "kept_shards": found.kept_shards,
        "versions": found.manifests,
        "loads": found.loads,
        "cache": None if pruned is None else asdict(pruned),
    }
