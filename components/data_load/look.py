"""The loop over the images of a load: read or fetch, hash and measure each, on all cores, in bounded memory."""

import hashlib
import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from components.shared.cpus import usable_cpus
from components.shared.dataset import IMAGES
from components.shared.errors import InputError, NotFoundError, SourceError
from components.shared.image_facts import ImageFacts, image_facts, measures_sharpness
from components.shared.known_images import MEASURED, Fact
from components.shared.progress import Notify

MAX_IMAGE_BYTES = 512 << 20  # a larger file is no image anybody trains on
WINDOW_BYTES = 32 << 20  # encoded images in flight, so that memory grows neither with their number nor their size
BATCH_BYTES = 2 << 20
BATCH_IMAGES = 32
FETCHES = 16  # images fetched at a time, which is waiting more than work
REMOTE_BYTES = WINDOW_BYTES // FETCHES  # what an image is taken to weigh before it is fetched
NOTIFY_EVERY = 0.3  # seconds

FACTS = pl.Schema({name: IMAGES[name] for name in ("sha256", "bytes", *MEASURED)})

Fetch = Callable[[str], bytes]  # s3:// or https:// address -> the object's bytes
Recall = Callable[[str], "tuple[Fact, ...] | None"]  # sha256 -> ``MEASURED`` of an image that was looked at before


@dataclass(frozen=True, slots=True)
class Place:
    """Where an image is to be had: a file, an address, or neither when the source does not hold it."""

    path: str | None
    uri: str | None


@dataclass(frozen=True, slots=True)
class Looked:
    """One image as it was found: its bytes (``None``: there are none), and its row of ``FACTS``."""

    data: bytes | None
    facts: tuple[Fact, ...]

    @property
    def digest(self) -> str | None:
        """sha256 of the bytes."""
        digest = self.facts[0]
        return digest if isinstance(digest, str) else None


MISSING = Looked(None, (None, 0, 0, 0, None, 1, None, None, None, None, None))


def _nothing(digest: str) -> None:
    """Recalls no image."""
    del digest


def look_at_images(
    places: Iterable[Place], count: int, fetch: Fetch | None, recall: Recall = _nothing
) -> Iterator[Looked]:
    """Look at images side by side; what comes out is in the order of ``places``.

    Args:
        places: where the images are.
        count: how many of them have bytes; decides which share of them has its sharpness measured.
        fetch: gets those that are not on disk; ``None`` when all are.
        recall: what is known of an image already, so that it is hashed but not decoded again.

    Raises:
        SourceError: a file is there and cannot be read.
    """
    workers = usable_cpus() if fetch is None else max(usable_cpus(), FETCHES)
    waiting: deque[tuple[int, Future[list[Looked]]]] = deque()
    pool = ThreadPoolExecutor(workers, thread_name_prefix="look")
    try:
        in_flight = 0
        for size, batch in _batches(places):
            while waiting and in_flight + size > WINDOW_BYTES:
                weight, future = waiting.popleft()
                yield from future.result()
                in_flight -= weight
            waiting.append((size, pool.submit(_look_at_batch, batch, count, fetch, recall)))
            in_flight += size
        while waiting:
            yield from waiting.popleft()[1].result()
    finally:
        pool.shutdown(cancel_futures=True)


def _batches(places: Iterable[Place]) -> Iterator[tuple[int, list[Place]]]:
    """Images to look at in one go, since handing over one at a time costs more than reading it, and their bytes."""
    batch: list[Place] = []
    total = 0
    for place in places:
        size = _size_of(place)
        if batch and (total + size > BATCH_BYTES or len(batch) == BATCH_IMAGES):
            yield total, batch
            batch, total = [], 0
        batch.append(place)
        total += size
    if batch:
        yield total, batch


def _size_of(place: Place) -> int:
    if place.path is None:
        return 0 if place.uri is None else REMOTE_BYTES
    try:
        return min(Path(place.path).stat().st_size, MAX_IMAGE_BYTES)
    except OSError:
        return 0  # whoever reads it says what is wrong


def _look_at_batch(batch: list[Place], count: int, fetch: Fetch | None, recall: Recall) -> list[Looked]:
    return [_look(place, count, fetch, recall) for place in batch]


def _look(place: Place, count: int, fetch: Fetch | None, recall: Recall) -> Looked:
    if place.path is not None:
        found = _read(place.path)
    elif place.uri is not None and fetch is not None:
        found = _fetched(place.uri, fetch)
    else:
        return MISSING
    if isinstance(found, str):
        return Looked(None, (*MISSING.facts[:6], found, *MISSING.facts[7:]))
    digest = hashlib.sha256(found).hexdigest()
    measured = recall(digest)
    if measured is not None:
        return Looked(found, (digest, len(found), *measured))
    return Looked(found, _row(digest, len(found), image_facts(found, sharpness=measures_sharpness(digest, count))))


def _read(path: str) -> bytes | str:
    """The file's bytes, or why they are not wanted."""
    try:
        with open(path, "rb", buffering=0) as handle:  # noqa: PTH123 - a third of the time of Path.read_bytes()
            if os.fstat(handle.fileno()).st_size > MAX_IMAGE_BYTES:
                return f"its file has more than {MAX_IMAGE_BYTES} bytes"
            return handle.read()
    except OSError as error:
        raise SourceError(f"The image {path!r} cannot be read: {error.strerror}.") from error


def _fetched(uri: str, fetch: Fetch) -> bytes | str:
    try:
        return fetch(uri)
    except (InputError, NotFoundError) as error:
        return str(error)


def _row(digest: str, size: int, facts: ImageFacts) -> tuple[Fact, ...]:
    probe = facts.probe
    found = (digest, size, probe.width, probe.height, probe.format, probe.orientation, probe.problem)
    return (*found, facts.phash, facts.brightness, facts.contrast, facts.sharpness)


class FactsTable:
    """Collects rows of ``FACTS`` as columns, so that no image leaves an object behind."""

    def __init__(self, rows: int = 4096) -> None:
        """Turn every ``rows`` rows into columns."""
        self._limit = rows
        self._rows: list[tuple[Fact, ...]] = []
        self._done: list[pl.DataFrame] = []

    def add(self, facts: tuple[Fact, ...]) -> None:
        """One more row."""
        self._rows.append(facts)
        if len(self._rows) == self._limit:
            self._flush()

    def table(self) -> pl.DataFrame:
        """All rows, in the order in which they came."""
        self._flush()
        return pl.concat(self._done, rechunk=True)

    def _flush(self) -> None:
        self._done.append(pl.DataFrame(self._rows, schema=FACTS, orient="row"))
        self._rows = []


class Pace:
    """Tells how far the loop is, how fast and how long it will take; seldom, because telling costs."""

    def __init__(self, total: int, notify: Notify) -> None:
        """Tell ``notify`` about ``total`` images."""
        self._total = total
        self._notify = notify
        self._began = time.monotonic()
        self._told = 0.0
        self._images = 0
        self._bytes = 0

    def step(self, size: int) -> None:
        """One image of that many bytes is done."""
        self._images += 1
        self._bytes += size
        now = time.monotonic()
        if now - self._told >= NOTIFY_EVERY:
            self._told = now
            self._notify(self._images / self._total, self.message(now - self._began))

    def message(self, passed: float) -> str:
        """``image 1200 of 5000, 310 MB, 2,900 images/s, 2 s left``."""
        rate = self._images / max(passed, 1e-3)
        left = (self._total - self._images) / rate
        speed = f"{rate:,.0f}" if rate >= 10 else f"{rate:.1f}"  # noqa: PLR2004 - below, a digit after the point tells
        return (
            f"image {self._images} of {self._total}, {self._bytes / 1e6:,.0f} MB, {speed} images/s, {left:,.0f} s left"
        )
