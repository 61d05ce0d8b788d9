"""The epochs of a training as TensorBoard event files: written in a folder, uploaded beside the run's progress."""

import importlib.util
import secrets
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from components.model_train.journal.names import grouped
from components.model_train.story import End, Epoch
from components.shared.store import Store

_VERSION = "brain.Event:2"
_PACKAGE = "tensorboardX"


class EventFiles:
    """Writes one event file an attempt.

    Each begins by saying at which epoch it starts, and so does each return to an earlier epoch: TensorBoard then
    leaves out what other files or earlier lines say of that epoch and later ones. A file that could not be written to
    its end is left, and the next one holds everything again.

    Args:
        store: holds the copies.
        prefix: folder of the copies in the store.
        folder: where the files are written.
    """

    label = "TensorBoard"

    def __init__(self, store: Store, prefix: str, folder: Path) -> None:
        self._store = store
        self._prefix = prefix
        self._folder = folder
        self._writer: Any = None  # tensorboardX ships no types
        self._path = folder
        self._written: tuple[Epoch, ...] = ()
        self._uploaded: tuple[Epoch, ...] = ()

    def write(self, epochs: Sequence[Epoch]) -> None:
        """Append what is new and upload the file.

        Raises:
            ImportError: tensorboardX is not installed.
            OSError: the folder cannot be written.
            StoreError: the store cannot be written.
        """
        if not epochs:
            return
        if self._written != tuple(epochs):
            self._append(epochs)
        if self._uploaded != self._written:
            self._store.upload(self._path, f"{self._prefix}/{self._path.name}")
            self._uploaded = self._written

    def close(self, end: End) -> None:
        """Close the file."""
        del end
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _append(self, epochs: Sequence[Epoch]) -> None:
        try:
            known = self._known(epochs)
            if self._writer is None:
                known = 0
                self._open()
            if known == 0 or known < len(self._written):
                self._start_at(epochs[known].number)
            for epoch in epochs[known:]:
                self._add(epoch)
            self._writer.flush()
        except OSError:
            self._writer = None  # it may end in the middle of a record, which nobody can read on from
            raise
        self._written = tuple(epochs)

    def _known(self, epochs: Sequence[Epoch]) -> int:
        """How many of the first epochs are written already."""
        pairs = zip(self._written, epochs, strict=False)
        return next((index for index, (old, new) in enumerate(pairs) if old is not new), len(self._written))

    def _open(self) -> None:
        library = _load()
        self._folder.mkdir(parents=True, exist_ok=True)
        seconds, rest = divmod(time.time_ns(), 1_000_000_000)  # TensorBoard reads files in the order of their names
        self._path = self._folder / f"events.out.tfevents.{seconds:010d}.{rest:09d}.{secrets.token_hex(2)}"
        self._writer = library.RecordWriter(str(self._path))
        self._writer.write(library.Event(wall_time=seconds, file_version=_VERSION).SerializeToString())

    def _start_at(self, number: int) -> None:
        library = _load()
        session = library.SessionLog(status=library.SessionLog.START)
        event = library.Event(wall_time=time.time(), step=number, session_log=session)
        self._writer.write(event.SerializeToString())

    def _add(self, epoch: Epoch) -> None:
        library = _load()
        values = [library.Summary.Value(tag=grouped(name), simple_value=x) for name, x in epoch.values.items()]
        event = library.Event(wall_time=time.time(), step=epoch.number, summary=library.Summary(value=values))
        self._writer.write(event.SerializeToString())


@cache
def _load() -> SimpleNamespace:
    """What is needed of tensorboardX."""
    with _without_torch():
        from tensorboardX.proto.event_pb2 import Event, SessionLog  # noqa: PLC0415 - a step that does not train has none
        from tensorboardX.proto.summary_pb2 import Summary  # noqa: PLC0415 - same
        from tensorboardX.record_writer import RecordWriter  # noqa: PLC0415 - same
    return SimpleNamespace(Event=Event, SessionLog=SessionLog, Summary=Summary, RecordWriter=RecordWriter)


@contextmanager
def _without_torch() -> Iterator[None]:
    """Within the block tensorboardX's modules load on their own; the package itself would load torch, for seconds."""
    found = importlib.util.find_spec(_PACKAGE) if _PACKAGE not in sys.modules else None
    if found is None:
        yield
        return
    sys.modules[_PACKAGE] = importlib.util.module_from_spec(found)
    try:
        yield
    finally:
        del sys.modules[_PACKAGE]
