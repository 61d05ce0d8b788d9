"""Who is at work in a store, so that collecting garbage and committing a dataset never meet.

Whoever works leaves an object below ``leases/`` and renews it; one that was not renewed for ``EXPIRY`` is of a killed
process and counts for nothing. Both sides write their own object first and look for the other's second, so at least
one of them sees the other: a collector that sees a commit steps back, a commit that sees a collector waits for it.
"""

import json
import logging
import threading
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum

from components.shared.errors import ConflictError, StoreError
from components.shared.store import Store, StoredObject

PREFIX = "leases/"
EXPIRY = 900.0  # seconds after which a lease that nobody renewed is void
BEAT = 60.0  # seconds between two renewals
POLL = 1.0  # seconds between two looks at who else is there

_logger = logging.getLogger(__name__)


class Work(StrEnum):
    """What a lease is for."""

    LOAD = "load"  # brings shards that no version names yet: nothing stored since it began is garbage
    COMMIT = "commit"  # looks whether its shards are there and then names them: nothing may be removed meanwhile
    COLLECT = "collect"  # removes what no version names


@dataclass(frozen=True)
class Holder:
    """One who is at work: what for, and since when (seconds since 1970 by its own clock)."""

    work: Work
    since: float


class Lease:
    """A lease this process holds; its own thread renews it.

    Attributes:
        now: the store's own time when the lease was last seen renewed, seconds since 1970.
    """

    def __init__(self, store: Store, work: Work) -> None:
        self._store = store
        self._work = work
        self._key = f"{PREFIX}{work.value}-{uuid.uuid4().hex}.json"
        self._body = json.dumps({"since": time.time()}).encode()
        self._renewed = time.monotonic()
        self._over = threading.Event()
        self.now = 0.0
        store.write(self._key, self._body)
        self._thread = threading.Thread(target=self._renew, name="lease", daemon=True)
        self._thread.start()

    def others(self, *works: Work) -> list[StoredObject]:
        """The live leases for these works, but this one."""
        found = list(self._store.list(PREFIX))
        own = [entry.modified for entry in found if entry.key == self._key]
        if not own:
            raise ConflictError(f"The lease {self._key!r} in {self._store.uri!r} was taken away: run again.")
        self.now = own[0]
        return [entry for entry in alive(found, self.now) if _work_of(entry.key) in works and entry.key != self._key]

    def check(self) -> None:
        """Raise ``ConflictError`` when the lease could not be renewed for so long that others may think it void."""
        if time.monotonic() - self._renewed > EXPIRY / 2:
            raise ConflictError(
                f"This {self._work.value} was stopped for too long, or could not reach {self._store.uri!r}: run again."
            )

    def release(self) -> None:
        """Give the lease back; one that cannot be given back runs out by itself."""
        self._over.set()
        self._thread.join()  # or a renewal that is on its way would bring the lease back
        try:
            self._store.delete(self._key)
        except StoreError as error:
            _logger.warning("The lease %s runs out in %d s: %s", self._key, EXPIRY, error)

    def _renew(self) -> None:
        while not self._over.wait(BEAT):
            try:
                self._store.write(self._key, self._body)
            except StoreError as error:
                _logger.warning("The lease %s could not be renewed: %s", self._key, error)
            else:
                self._renewed = time.monotonic()


@contextmanager
def loading(store: Store) -> Iterator[Lease]:
    """While shards are brought in that no version names yet; however long it takes, they are not collected."""
    lease = Lease(store, Work.LOAD)
    try:
        yield lease
    finally:
        lease.release()


@contextmanager
def committing(store: Store, *, patience: float = 2 * EXPIRY) -> Iterator[Lease]:
    """While nothing may be removed; waits up to ``patience`` seconds for collectors to end.

    Raises:
        ConflictError: a collector is still at work after that time.
    """
    lease = Lease(store, Work.COMMIT)
    try:
        deadline = time.monotonic() + patience
        while lease.others(Work.COLLECT):
            if time.monotonic() > deadline:
                raise ConflictError(
                    f"Garbage of {store.uri!r} has been collected for {patience:.0f} s and still is: run again later."
                )
            time.sleep(POLL)
        yield lease
    finally:
        lease.release()


@contextmanager
def collecting(store: Store, *, patience: float = 30.0) -> Iterator[Lease]:
    """While things are removed; steps back from commits and tries again for ``patience`` seconds.

    Raises:
        ConflictError: somebody commits all the time, or was killed while committing less than ``EXPIRY`` ago.
    """
    deadline = time.monotonic() + patience
    lease = Lease(store, Work.COLLECT)
    while lease.others(Work.COMMIT):
        lease.release()  # a commit waits for us, so two that wait would wait for ever
        if time.monotonic() > deadline:
            raise ConflictError(
                f"A dataset is being committed to {store.uri!r}, or was within the last {EXPIRY / 60:.0f} minutes"
                " by a process that was killed: run again later."
            )
        time.sleep(POLL)
        lease = Lease(store, Work.COLLECT)
    try:
        yield lease
    finally:
        lease.release()


def alive(entries: Iterable[StoredObject], now: float) -> list[StoredObject]:
    """Those of the lease files that were renewed within ``EXPIRY`` seconds before ``now``, by the store's clock."""
    return [entry for entry in entries if entry.modified >= now - EXPIRY]


def holders(store: Store, now: float) -> list[Holder]:
    """Who is at work; whose lease cannot be read is taken to have begun ``EXPIRY`` before."""
    found = []
    for entry in alive(store.list(PREFIX), now):
        work = _work_of(entry.key)
        try:
            since = float(json.loads(store.read(entry.key))["since"])
        except (StoreError, ValueError, KeyError, TypeError):
            since = entry.modified - EXPIRY
        if work is not None:
            found.append(Holder(work, since))
    return found


def _work_of(key: str) -> Work | None:
    name = key.removeprefix(PREFIX).partition("-")[0]
    return Work(name) if name in set(Work) else None
