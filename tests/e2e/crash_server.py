"""A warm process that forks a child for each attempt of a step, and kills the child at a chosen point.

A point is whatever can lie between two changes of the world: a file that is opened, renamed, linked or removed below
the work folder (audit events), a piece of a file or of a request that was written, a call of the store, a word of
progress. Polars starts its threads with the first query, so the server itself never makes one, and forking is safe.

Reads one JSON object a line (``Attempt``) and answers with one.
"""

import gc
import http.client
import json
import os
import shutil
import signal
import sys
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from components.data_load.load import load
from components.data_load.options import LoadOptions
from components.data_prep.prepare import PrepareOptions, run
from components.shared import dataset_store, garbage, lease, shards, store_file
from components.shared.dataset import Dataset
from components.shared.dataset_reference import Reference
from components.shared.dataset_verify import verify
from components.shared.report.page import Report
from components.shared.store import open_store
from components.shared.store_file import FileStore
from components.shared.store_s3 import S3Store

NAME = "crashed"
CALLS = (
    "read",
    "read_tagged",
    "read_range",
    "write",
    "create",
    "swap",
    "upload",
    "download",
    "exists",
    "list",
    "delete",
)


@dataclass(frozen=True)
class Attempt:
    """What a child does, where, and after how many points it dies (0: it does not)."""

    do: str
    source: str
    store: str
    home: str
    die_at: int = 0


class Points:
    """Counts points; dies at the one it was told."""

    def __init__(self, die_at: int) -> None:
        self._die_at = die_at
        self._lock = threading.Lock()
        self.count = 0

    def reach(self) -> None:
        with self._lock:
            self.count += 1
            if self.count == self._die_at:
                os.kill(os.getpid(), signal.SIGKILL)


def install(points: Points, root: str) -> None:
    """Make the world count points."""
    watched = {"open", "os.rename", "os.link", "os.remove", "os.mkdir", "os.rmdir", "os.utime"}

    def audit(event: str, arguments: tuple[Any, ...]) -> None:
        if (
            event in watched
            and isinstance(arguments[0], str | os.PathLike)
            and os.fspath(arguments[0]).startswith(root)
        ):
            points.reach()

    sys.addaudithook(audit)
    for kind in (FileStore, S3Store):
        for name in CALLS:
            setattr(kind, name, around(getattr(kind, name), points))
    http.client.HTTPConnection.send = in_halves(http.client.HTTPConnection.send, points)
    http.client.HTTPConnection.getresponse = around(http.client.HTTPConnection.getresponse, points)
    shutil.copyfile = lambda source, target: copy_in_halves(source, target, points)
    store_file._write_synced = lambda path, data: write_in_halves(path, data, points)


def around(function: Callable[..., Any], points: Points) -> Callable[..., Any]:
    def counted(*arguments: Any, **named: Any) -> Any:
        points.reach()
        result = function(*arguments, **named)
        points.reach()
        return result

    return counted


def in_halves(send: Callable[..., None], points: Points) -> Callable[..., None]:
    def counted(self: Any, data: Any) -> None:
        if not isinstance(data, bytes | bytearray | memoryview) or len(data) < 2:
            send(self, data)
            return
        send(self, data[: len(data) // 2])
        points.reach()
        send(self, data[len(data) // 2 :])
        points.reach()

    return counted


def copy_in_halves(source: str | Path, target: str | Path, points: Points) -> None:
    data = Path(source).read_bytes()
    with Path(target).open("wb") as handle:
        for piece in (data[: len(data) // 2], data[len(data) // 2 :]):
            handle.write(piece)
            handle.flush()
            points.reach()


def write_in_halves(path: Path, data: bytes, points: Points) -> None:
    with path.open("wb") as handle:
        for piece in (data[: len(data) // 2], data[len(data) // 2 :]):
            handle.write(piece)
            handle.flush()
            points.reach()
        os.fsync(handle.fileno())


def do_load(attempt: Attempt, points: Points) -> dict[str, object]:
    home = Path(attempt.home)
    notify = lambda *_: points.reach()  # noqa: E731 - a listener of one line
    options = LoadOptions(source=attempt.source, name=NAME)
    done = load(options, attempt.store, home / "dataset", home / "load.html", notify=notify)
    return {"version": done.version}


def do_prepare(attempt: Attempt, points: Points) -> dict[str, object]:
    home = Path(attempt.home)
    notify = lambda *_: points.reach()  # noqa: E731 - a listener of one line
    outputs = {split: home / split for split in ("train", "val", "test")}
    reports = home / "prepare.html", home / "prepare.md"
    options = PrepareOptions(near_duplicates=-1)
    done = run(Path(attempt.source), attempt.store, outputs, reports, options, notify=notify)
    return {"version": " ".join(part.version for part in done.splits.values())}


def do_look(attempt: Attempt, _: Points) -> dict[str, object]:
    """What a reader sees: every version there is, whole to the last byte, and every output that is there."""
    store = open_store(attempt.store)
    versions = [
        Reference(name, each) for name in dataset_store.names(store) for each in dataset_store.versions(store, name)
    ]
    problems = [str(problem) for problem in verify(store, versions).problems]
    for name in {reference.name for reference in versions}:
        for alias, target in dataset_store.aliases(store, name).items():
            if Reference(name, target) not in versions:
                problems.append(f"{alias} points to {target}")
    return {"versions": [each.version for each in versions], "problems": problems, "outputs": outputs_in(attempt.home)}


def do_recover(attempt: Attempt, points: Points) -> dict[str, object]:
    """What a reader sees after the kill, what the step gives when it runs again, and what a reader sees then."""
    if (Path(attempt.source) / "dataset.json").exists():
        again = do_prepare(attempt, points)
        return {"version": again["version"], "outputs": outputs_in(attempt.home)}
    before = do_look(attempt, points)
    again = do_load(attempt, points)
    return {"before": before, "version": again["version"], "after": do_look(attempt, points)}


def outputs_in(home: str) -> dict[str, str]:
    """The version of each output; a manifest comes last, so a folder that has one is whole, or this raises."""
    return {path.parent.name: Dataset.load(path.parent).version for path in Path(home).glob("*/dataset.json")}


def do_collect(attempt: Attempt, _: Points) -> dict[str, object]:
    """What a store holds once its garbage is collected; leases of the killed count as run out."""
    lease.EXPIRY = 1.0
    store = open_store(attempt.store)
    garbage.collect(store, older_than=0)
    keys = [entry.key for entry in store.list("")]
    return {"keys": keys, "leftovers": [entry.key for entry in store.leftovers()]}


WORK = {"load": do_load, "prepare": do_prepare, "recover": do_recover, "collect": do_collect}


def child(attempt: Attempt, answer: int) -> None:
    """Do the work, tell the outcome, and end without clean-up of what the parent owns."""
    points = Points(attempt.die_at)
    scratch = Path(attempt.home).with_name("scratch")
    scratch.mkdir(exist_ok=True)
    tempfile.tempdir = str(scratch)
    os.fsync = lambda _: points.reach()  # a killed process takes nothing from the page cache, and the disk is slow
    if attempt.do in ("load", "prepare"):
        install(points, str(Path(attempt.home).parent))
    try:
        outcome = WORK[attempt.do](attempt, points)
    except BaseException as error:  # noqa: BLE001 - whatever it is, the test shall see it
        outcome = {"error": f"{type(error).__name__}: {error}"}
    os.write(answer, json.dumps({**outcome, "points": points.count}).encode())
    os._exit(0)


def attempt_in_a_child(attempt: Attempt) -> dict[str, object]:
    receive, send = os.pipe()
    process = os.fork()
    if process == 0:
        os.close(receive)
        child(attempt, send)
    os.close(send)
    with os.fdopen(receive, "rb") as answer:
        told = answer.read()
    _, status = os.waitpid(process, 0)
    if os.WIFSIGNALED(status):
        return {"killed": os.WTERMSIG(status)}
    return json.loads(told)


def warm_up() -> None:
    """Do once what every child would do again: compile the page's template, and load what is loaded on first use."""
    Image.init()
    Report("warm").html()
    gc.freeze()


def main() -> None:
    shards.ShardWriter.__init__.__kwdefaults__["target_bytes"] = 8192  # several shards of a few images
    lease.POLL = 0.02
    warm_up()
    for line in sys.stdin:
        sys.stdout.write(json.dumps(attempt_in_a_child(Attempt(**json.loads(line)))) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
