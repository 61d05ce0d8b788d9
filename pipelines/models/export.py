"""``models export``: a version's archive, or the inference files in it, in a folder, every byte verified."""

import argparse
from pathlib import Path

from rich.console import Console

from components.shared.archive import open_archive
from components.shared.inference_files import new_folder, write_inference_files
from components.shared.registry import fetch_archive
from components.shared.store import Store
from pipelines.dataset_commands.output import Answer, line, size
from pipelines.models.look import find


def export_model(options: argparse.Namespace, store: Store) -> Answer:
    """Bring the archive of a version, or what is needed to predict with it, into a new folder.

    Raises:
        ConfigError: the folder holds something already or cannot be written.
        CorruptionError: the archive's bytes are not those that were published.
        ArchiveError: with ``--extract``, a file in it is not what its manifest says.
    """
    record = find(store, options.model)
    with new_folder(options.target) as folder:
        if options.extract:
            work = folder.with_name("work")
            archive = fetch_archive(store, record, work / "archive")
            write_inference_files(open_archive(archive, work), folder)
        else:
            fetch_archive(store, record, folder)
    files = sorted(path for path in options.target.rglob("*") if path.is_file())

    def show(console: Console) -> None:
        for path in files:
            line(console, "", f"{path.relative_to(options.target)} ({size(path.stat().st_size)})")
        line(console, "exported", f"{record}, verified")
        line(console, "to", options.target)

    data = {"store": store.uri, "name": record.name, "version": record.version, "path": str(options.target)}
    return Answer(data | {"files": _names(files, options.target)}, show)


def _names(files: list[Path], root: Path) -> list[str]:
    return [path.relative_to(root).as_posix() for path in files]
