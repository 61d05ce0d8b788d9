"""What a run leaves in the store: the steps' progress and that a person ended it."""

import getpass
import json
import logging
import os
import socket
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from components.shared.errors import NotFoundError, PipelineError, StoreError, in_one_line
from components.shared.progress import StepProgress
from components.shared.store import Store, StoredObject, open_store
from pipelines.runs.model import Termination

TERMINATED, LOGS = "terminated.json", "logs"
_AGAIN, _LONGEST = 60.0, 900.0  # seconds before a store that failed is asked again, which takes seconds itself

logger = logging.getLogger(__name__)


@dataclass
class RunStores:
    """The stores that runs name, each opened once.

    Attributes:
        instead: the store to read for every run, where a run's own has another address from here; empty: its own.
        blind: why a store cannot be read, by its address.
    """

    instead: str = ""
    blind: dict[str, str] = field(default_factory=dict)
    _opened: dict[str, Store | None] = field(default_factory=dict)
    _failed: dict[str, tuple[float, float]] = field(default_factory=dict)  # when, and how long to leave it alone
    _told: dict[tuple[str, str], tuple[str, StepProgress]] = field(default_factory=dict)

    def of(self, parameters: Any) -> Store | None:  # noqa: ANN401 - what the API gives
        """The store that a run's parameters name; ``None``: it names none, or it cannot be read just now."""
        uri = self.instead or str(parameters.get("store") or "")
        if not uri or self._is_resting(uri):
            return None
        if uri.startswith("s3:") and not _knows_a_server(os.environ):
            self.blind[uri] = (
                f"The store {uri!r} is not looked at: nothing says where it is from here. Set S3_ENDPOINT_URL and keys"
                " (after a kubectl port-forward, where it is inside the cluster)."
            )
            return None
        if uri not in self._opened:
            self._opened[uri] = self._open(uri)
        return self._opened[uri]

    def progress(self, store: Store, run_id: str) -> dict[str, StepProgress]:
        """What each step of a run tells, by its name."""
        found: dict[str, StepProgress] = {}
        for one in self._entries(store, f"progress/{run_id}/"):
            known = self._told.get((store.uri, one.key))
            if known is None or known[0] != one.tag:
                data = self._read(store, one.key)
                with suppress(ValidationError):  # of another release, or half of a file by another hand
                    known = (one.tag, StepProgress.model_validate_json(data))
                    self._told[store.uri, one.key] = known
            if known is not None:
                found[known[1].step] = known[1]
        return found

    def termination(self, store: Store, run_id: str) -> Termination | None:
        """That a person ended the run with our command, and who."""
        found = self._document(store, f"runs/{run_id}/{TERMINATED}")
        if not found:
            return None
        with suppress(TypeError, ValueError):
            return Termination(str(found.get("who", "")), str(found.get("why", "")), float(found.get("at", 0)))
        return Termination()

    def log(self, store: Store, run_id: str, step: str) -> str:
        """What a step wrote, as the run's record keeps it; empty: nothing is kept."""
        return self._read(store, f"runs/{run_id}/{LOGS}/{step}.log").decode("utf-8", "replace")

    def _is_resting(self, uri: str) -> bool:
        when, pause = self._failed.get(uri, (0.0, 0.0))
        return bool(pause) and time.monotonic() - when < pause

    def _open(self, uri: str) -> Store | None:
        try:
            return open_store(uri)
        except PipelineError as error:
            self.blind[uri] = f"The store {uri!r} cannot be opened: {in_one_line(error)}."
            return None

    def _document(self, store: Store, key: str) -> dict[str, Any]:
        with suppress(ValueError):
            found = json.loads(self._read(store, key) or b"{}")
            return found if isinstance(found, dict) else {}
        return {}

    def _entries(self, store: Store, prefix: str) -> list[StoredObject]:
        try:
            found = [one for one in store.list(prefix) if one.key.endswith(".json")]
        except StoreError as error:
            self._lost(store, error)
            return []
        self.blind.pop(store.uri, None)
        return found

    def _read(self, store: Store, key: str) -> bytes:
        if self._is_resting(store.uri):
            return b""
        try:
            return store.read(key)
        except NotFoundError:
            return b""
        except StoreError as error:
            self._lost(store, error)
            return b""

    def _lost(self, store: Store, error: StoreError) -> None:
        _, pause = self._failed.get(store.uri, (0.0, 0.0))
        again = min(max(pause * 2, _AGAIN), _LONGEST)
        self._failed[store.uri] = self._failed[self.instead or store.uri] = (time.monotonic(), again)
        self.blind[store.uri] = f"The store {store.uri!r} cannot be read (no progress): {in_one_line(error)}."


def _knows_a_server(environment: Mapping[str, str]) -> bool:
    return any(name == "S3_ENDPOINT_URL" or name.startswith("AWS_") for name, value in environment.items() if value)


def mark_terminated(store: Store, run_id: str, why: str) -> Termination:
    """Keep beside the run's record that a person ends it, and who that is; raises ``StoreError``."""
    mark = Termination(who_am_i(), why, time.time())
    text = json.dumps({"who": mark.who, "why": mark.why, "at": mark.at})
    store.write(f"runs/{run_id}/{TERMINATED}", text.encode())
    return mark


def unmark_terminated(store: Store, run_id: str) -> None:
    """Forget that a person ended the run, because it goes on; raises ``StoreError``."""
    store.delete(f"runs/{run_id}/{TERMINATED}")


def forget(store: Store, run_id: str) -> None:
    """Remove what the store keeps of a run that is no more; raises ``StoreError``."""
    for prefix in (f"progress/{run_id}/", f"runs/{run_id}/"):
        for one in list(store.list(prefix)):
            store.delete(one.key)


def who_am_i() -> str:
    """The person at this machine."""
    try:
        return f"{getpass.getuser()}@{socket.gethostname()}"
    except (KeyError, OSError):
        return f"uid {os.getuid()}"
