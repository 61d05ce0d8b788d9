"""Let a packed service run under good and hostile requests: ``python scripts/show/soak.py [--minutes 5]``.

Several clients send images, one, several and slowly, between empty bodies, bombs, broken images, wrong types, pickles
and connections that are cut. It passes when every request is answered as it should be, the answer to a good one never
changes, no process of the service ends, and its memory is as large in the last quarter of the time as in the second.
"""

import argparse
import random
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from soak_requests import Kind, Peer, kinds, same
from stage import ROOT, hold, say

sys.path.insert(0, str(ROOT / "scripts" / "bench"))
from serving_model import pack_model, photographs, unpacked
from serving_server import Running, serving

GROWTH = 1.05  # how much larger the memory may be at the end
SLACK = 8.0  # MiB it may grow whatever its size
SERVER_ERROR = 500
BUSY = 503
_IMAGES = 8
_EVERY = 0.5  # seconds between two looks at the memory


@dataclass
class Tally:
    """What happened, over all clients.

    Attributes:
        statuses: how often each kind was answered with which status.
        seconds: how long the answers of each kind took.
        wrong: sentences on what should not have happened, the first ones.
        memory: resident MiB of the service, from time to time.
    """

    statuses: dict[str, Counter[int]] = field(default_factory=lambda: defaultdict(Counter))
    seconds: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    wrong: list[str] = field(default_factory=list)
    memory: list[float] = field(default_factory=list)
    restarts: int = 0
    _first: dict[str, str] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def ask(self, name: str, kind: Kind, peer: Peer) -> None:
        """Send one request and judge the answer."""
        began = time.perf_counter()
        try:
            answer, key = kind.send(peer)
        except Exception as error:  # noqa: BLE001 - whatever went wrong with the connection is the service's failure
            with self._lock:
                self.statuses[name][-1] += 1
                self.wrong.append(f"{name}: no answer ({type(error).__name__}: {error})")
            return
        with self._lock:
            self.statuses[name][answer.status] += 1
            self.seconds[name].append(time.perf_counter() - began)
            if answer.status not in kind.expected and answer.status != BUSY:
                self.wrong.append(f"{name}: {answer.status} {answer.body[:200]!r}")
            elif key and answer.status in kind.expected:
                self._compare(name, key, same(answer))

    def _compare(self, name: str, key: str, found: str) -> None:
        if self._first.setdefault(key, found) != found:
            self.wrong.append(f"{name}: the answer to {key!r} changed: {found[:200]}")

    def total(self, *statuses: int) -> int:
        """How many requests had one of these statuses; all where none is named."""
        counts = (
            count
            for each in self.statuses.values()
            for status, count in each.items()
            if not statuses or status in statuses
        )
        return sum(counts)


def soak(running: Running, images: Sequence[bytes], seconds: float, clients: int) -> Tally:
    """Let the clients send for so long."""
    tally, ended = Tally(), threading.Event()
    threads = [
        threading.Thread(target=_client, args=(tally, _peer(running, images, seed), ended)) for seed in range(clients)
    ]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        time.sleep(_EVERY)
        if not running.is_whole():
            tally.restarts += 1
            break
        tally.memory.append(running.memory())
    ended.set()
    for thread in threads:
        thread.join()
    return tally


def _peer(running: Running, images: Sequence[bytes], seed: int) -> Peer:
    return Peer(running.address, images, random.Random(seed))  # noqa: S311 - nothing to keep secret


def _client(tally: Tally, peer: Peer, ended: threading.Event) -> None:
    offered = kinds()
    names, weights = list(offered), [kind.weight for kind in offered.values()]
    while not ended.is_set():
        name = peer.random.choices(names, weights)[0]
        tally.ask(name, offered[name], peer)


def quarters(memory: Sequence[float]) -> tuple[float, float]:
    """Medians of the second and of the last quarter of the measurements."""
    size = max(1, len(memory) // 4)
    return statistics.median(memory[size : 2 * size] or memory), statistics.median(memory[-size:])


def show(tally: Tally) -> None:
    """Print the table."""
    say(f"{'':<26}{'requests':>9}{'p50 ms':>9}{'p95 ms':>9}   answered")
    for name in kinds():
        if not tally.statuses[name]:
            continue
        took = sorted(tally.seconds[name]) or [0.0]
        middle, late = (took[min(len(took) - 1, int(len(took) * share))] * 1e3 for share in (0.5, 0.95))
        words = {0: "closed", -1: "failed"}
        statuses = ", ".join(
            f"{words.get(status, status)} x {count}" for status, count in sorted(tally.statuses[name].items())
        )
        say(f"{name:<26}{sum(tally.statuses[name].values()):>9}{middle:>9.0f}{late:>9.0f}   {statuses}")


def judge(tally: Tally, *, overloaded: bool) -> None:
    """Hold every promise; the first that is broken ends the demonstration with exit code 1."""
    for sentence in tally.wrong[:10]:
        say(f"   {sentence}")
    second, last = quarters(tally.memory)
    broken = sum(count for each in tally.statuses.values() for status, count in each.items() if status >= SERVER_ERROR)
    busy = tally.total(BUSY)
    hold(f"{tally.total():,} requests, {broken - busy} server errors", true=broken == busy)
    hold(f"{busy} were turned away because the service was busy", true=overloaded or not busy)
    hold(f"{len(tally.wrong)} answers were not as they should be", true=not tally.wrong)
    hold("no process of the service ended or was started again", true=not tally.restarts)
    flat = last <= max(second * GROWTH, second + SLACK)
    hold(f"memory {second:.0f} MiB in the second quarter, {last:.0f} MiB in the last (x{last / second:.3f})", true=flat)


def main() -> None:
    """Show it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--clients", type=int, default=6)
    parser.add_argument("--archive", type=Path, help="a packed model; default: one of the size of yolo11n, packed now")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        work = Path(folder)
        packed = unpacked(options.archive or pack_model(work, "onnx", "onnx"), work)
        with serving(packed.bento, work, {}) as running:
            say(f"{len(running.processes)} processes, served by {packed.served}, {options.clients} clients")
            tally = soak(running, photographs(_IMAGES), options.minutes * 60, options.clients)
        show(tally)
        judge(tally, overloaded=options.clients > _waiting())


def _waiting() -> int:
    from components.model_pack.serving.limits import Limits  # noqa: PLC0415 - after the path is set

    return Limits.max_waiting


if __name__ == "__main__":
    main()
