"""How a step tells how far it is: to the store's progress file, which the commands show live.

``<store>/progress/<run>/<step>.json`` holds one ``StepProgress``, overwritten as the step goes on. A number that is
none is written as the text ``"NaN"``.
"""

import logging
import math
import time
from collections.abc import Callable, Mapping
from typing import Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field

from components.shared.errors import StoreError
from components.shared.store import Store

Notify = Callable[[float, str], None]  # share done (0..1), what is going on, in a few words


class Announce(Protocol):
    """A ``Notify`` that hears more: numbers, the time left and warnings."""

    def __call__(
        self,
        share: float,
        message: str,
        /,
        *,
        metrics: Mapping[str, float] | None = None,
        eta: float | None = None,
        warning: str = "",
    ) -> None:
        """Tell that ``share`` (0..1) is done and what is going on, in a few words.

        Args:
            share: 0..1.
            message: what is going on.
            metrics: numbers to show beside it; absent: those told before stay.
            eta: seconds left, where the step knows better than its pace so far.
            warning: a sentence that stays until the step ends.
        """


logger = logging.getLogger(__name__)
INTERVAL = 0.5  # seconds between two writes, so that a fast loop does not flood the store


def silent(
    share: float,
    message: str,
    /,
    *,
    metrics: Mapping[str, float] | None = None,
    eta: float | None = None,
    warning: str = "",
) -> None:
    """A listener that listens to nothing."""
    del share, message, metrics, eta, warning


class StepProgress(BaseModel):
    """Where a step stands; times are seconds since 1970, ``eta`` seconds from ``updated``."""

    model_config = ConfigDict(frozen=True, ser_json_inf_nan="strings")

    step: str
    state: Literal["running", "succeeded", "failed", "preempted"]
    share: float = Field(0.0, ge=0, le=1)
    message: str = ""
    started: float
    updated: float
    finished: float | None = None
    eta: float | None = None
    error: str | None = None
    metrics: dict[str, float] = Field(default_factory=dict)
    warnings: list[str] = Field(default_factory=list)


def progress_key(run: str, step: str) -> str:
    """Where a step's progress lies in the store."""
    return f"progress/{run}/{step}.json"


class Reporter:
    """Writes a step's progress; a store that cannot be reached costs the progress display, never the step."""

    def __init__(self, store: Store | None, run: str, step: str) -> None:
        self._store = store
        self._key = progress_key(run, step)
        now = time.time()
        self.current = StepProgress(step=step, state="running", started=now, updated=now)
        self._written = 0.0

    def notify(
        self,
        share: float,
        message: str,
        /,
        *,
        metrics: Mapping[str, float] | None = None,
        eta: float | None = None,
        warning: str = "",
    ) -> None:
        """Tell how much is done; has the type ``Announce``."""
        share = min(max(share, 0.0), 1.0) if math.isfinite(share) else self.current.share
        now = time.time()
        passed = now - self.current.started
        left = eta if eta is not None else passed / share - passed if share > 0 else None
        self._set(share=share, message=message, updated=now, eta=left)
        if metrics is not None:
            self._set(metrics=dict(metrics))
        if warning and warning not in self.current.warnings:
            self._set(warnings=[*self.current.warnings, warning])
        if now - self._written >= INTERVAL:
            self._write()

    def finish(self, error: str | None = None, *, preempted: bool = False) -> None:
        """Say that the step ended, well or with its one sentence; ``preempted``: run again, it goes on."""
        now = time.time()
        state = "preempted" if preempted else "failed" if error else "succeeded"
        share = self.current.share if error else 1.0
        self._set(state=state, share=share, updated=now, finished=now, eta=None, error=error)
        self._write()

    def start(self) -> None:
        """Say that the step runs."""
        self._write()

    def _set(self, **changes: object) -> None:
        self.current = self.current.model_copy(update=changes)

    def _write(self) -> None:
        self._written = time.time()
        if self._store is None:
            return
        try:
            self._store.write(self._key, self.current.model_dump_json().encode())
        except StoreError as error:
            logger.warning("The progress is not shown: %s", error)
            self._store = None


def read_progress(store: Store, run: str, step: str) -> StepProgress | None:
    """A step's progress, or ``None`` when it has not begun or cannot be read."""
    try:
        return StepProgress.model_validate_json(store.read(progress_key(run, step)))
    except (StoreError, ValueError):
        return None
