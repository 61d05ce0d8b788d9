"""``datasets export``: a version as files of an annotation format."""

import argparse
from pathlib import Path

from rich.console import Console

from components.shared import dataset_store
from components.shared.dataset_reference import find
from components.shared.errors import ConfigError
from components.shared.store import Store
from pipelines.dataset_commands.output import Answer, line, progress

_NOT_WRITTEN = (".gz", ".tgz", ".bz2", ".xz", ".zst", ".rar", ".7z")


def export_dataset(options: argparse.Namespace, store: Store) -> Answer:
    """Write a version's images and annotations to a folder or archive, and say what the format cannot hold."""
    # The formats' readers and writers are many modules that the other commands do without.
    from components.shared.formats.export import export  # noqa: PLC0415

    reference = find(store, options.dataset)
    dataset = dataset_store.read(store, reference.name, reference.version)
    _check_target(options.target)
    try:
        with progress("exporting") as notify:
            done = export(
                dataset, store, options.target, options.format, longest_edge=options.longest_edge, notify=notify
            )
    except OSError as error:
        raise ConfigError(f"{str(options.target)!r} cannot be written: {error.strerror}.") from error

    def show(console: Console) -> None:
        for loss in done.losses:
            line(console, "not held", loss)
        line(console, "exported", f"{reference}: {done.images:,} images, {done.boxes:,} boxes as {options.format}")
        line(console, "to", done.path)

    data = {"store": store.uri, "name": reference.name, "version": reference.version, "format": options.format}
    data |= {"path": str(done.path), "images": done.images, "boxes": done.boxes, "losses": list(done.losses)}
    return Answer(data, show)


def _check_target(target: Path) -> None:
    """Refuse names of archives that are not written, which would become folders."""
    if target.name.lower().endswith(_NOT_WRITTEN):
        raise ConfigError(f"{str(target)!r} would be an archive that cannot be written: give a folder, .zip or .tar.")
