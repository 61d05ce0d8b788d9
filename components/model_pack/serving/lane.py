"""The way to the model: a few threads, a bounded queue, and a bound on what uploads hold in memory."""

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from threading import Lock
from typing import TypeVar

from components.model_pack.serving.limits import RefusedError

T = TypeVar("T")
RETRY_SECONDS = 1


class Lane:
    """Runs the work of requests in ``threads`` threads; what would be the ``waiting + 1``st to wait is refused.

    It may be used from any thread. A request that is given up before its work began is never worked on.
    """

    def __init__(self, *, threads: int, waiting: int) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="predict")
        self._most = threads + waiting
        self._inside = 0
        self._lock = Lock()

    @property
    def is_full(self) -> bool:
        """Whether the next request would be refused."""
        return self._inside >= self._most

    @contextmanager
    def admit(self) -> Iterator[None]:
        """A place for one request, however many images it has.

        Raises:
            RefusedError: 503, there is none.
        """
        with self._lock:
            if self.is_full:
                raise busy(f"{self._inside} requests are waiting for the model")
            self._inside += 1
        try:
            yield
        finally:
            with self._lock:
                self._inside -= 1

    def submit(self, work: Callable[[], T]) -> Future[T]:
        """Do the work of an admitted request when a thread is free."""
        return self._pool.submit(work)

    async def run(self, work: Callable[[], T]) -> T:
        """The same, awaited from an event loop."""
        return await asyncio.wrap_future(self.submit(work))

    def close(self) -> None:
        """End the threads when they have done what they are at."""
        self._pool.shutdown(wait=False, cancel_futures=True)


class Budget:
    """Bytes of uploads that one event loop may hold at once."""

    def __init__(self, most: int) -> None:
        self._most = most
        self.held = 0

    @contextmanager
    def hold(self) -> Iterator[Callable[[int], None]]:
        """A function that counts further bytes of one request, which are given back when the block ends.

        Raises:
            RefusedError: 503, by the function: there is no room for them.
        """
        own = 0

        def count(size: int) -> None:
            nonlocal own
            if self.held + size > self._most:
                raise busy("too many uploads are coming in at once")
            own += size
            self.held += size

        try:
            yield count
        finally:
            self.held -= own


def busy(why: str) -> RefusedError:
    """The refusal of a request that may be sent again a little later."""
    message = f"The service is busy ({why}): send the request again in a second."
    return RefusedError(503, "busy", message, headers={"Retry-After": str(RETRY_SECONDS)})
