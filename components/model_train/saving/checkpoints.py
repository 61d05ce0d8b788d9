"""Keep a training's checkpoints in the store, so that whoever begins the same training goes on from the newest.

``checkpoints/<training key>/<epoch:06d>-<owner><random>/`` holds ``files/...`` and, written last, ``checkpoint.json``.
What has no manifest was torn by a kill and counts for nothing.

Two runs may train the same thing at once. Each writes under names of its own and both would end with the same weights,
so each may go on from the other's. Neither removes what the other may still need: of somebody else's checkpoints only
those older than ``FRESH`` go, when there are two newer ones, and of somebody else's torn ones only those to which
nothing was added for ``ABANDONED``. A reader whose checkpoint is removed under it looks again.
"""

import hashlib
import logging
import secrets
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from components.model_train.saving.files import (
    MANIFEST,
    Checkpoint,
    Maker,
    Place,
    fetch_files,
    find_places,
    read_manifest,
    seal,
    upload_files,
)
from components.model_train.story import Story
from components.shared.errors import CheckpointError, NotFoundError, StoreError
from components.shared.store import Store

KEPT = 2
FRESH = 60.0  # seconds, by the store's clock
ABANDONED = 900.0
NOBODY = Maker()
_LOOKS = 5  # at a store in which others remove what was just listed

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Found:
    """A checkpoint, fetched and checked.

    Attributes:
        checkpoint: its manifest.
        folder: holds its files.
        home: its key in the store.
        warnings: a sentence for each newer one that cannot be used.
    """

    checkpoint: Checkpoint
    folder: Path
    home: str
    warnings: tuple[str, ...] = ()


class Checkpoints:
    """The checkpoints of one training, for one of its runs.

    Args:
        store: where they lie.
        key: the training's.
        owner: what tells this run from others at the same time, processes of the run share it; empty: nobody does.
        maker: the run and step, the same again when the step is retried.
    """

    def __init__(self, store: Store, key: str, owner: str = "", maker: Maker = NOBODY) -> None:
        self._store = store
        self._key = key
        self._maker = maker
        self._base = f"checkpoints/{key}/"
        self._owner = hashlib.sha256((owner or secrets.token_hex(8)).encode()).hexdigest()[:8]
        self._replaced: set[str] = set()
        self._torn = ""  # the key of a save that failed

    def replace(self) -> None:
        """Let the first checkpoint that is saved take the place of all that others than ``maker`` left until now."""
        places = [place for place in find_places(self._store, self._base) if place.complete]
        self._replaced = {place.home for place in places if not self._is_own(place)}

    def save(
        self, files: Mapping[str, Path], *, epoch: int, batch: int, story: Story, finished: bool = False
    ) -> Checkpoint:
        """Store a checkpoint, then remove those it makes needless; what an earlier failure left goes first.

        Args:
            files: local files by their names in the checkpoint.
            epoch: the last finished one.
            batch: images an optimiser step.
            story: the training's course up to ``epoch``.
            finished: the files are the training's result; no other checkpoint is needed any more.

        Raises:
            StoreError: it is not stored.
            OSError: a file cannot be read.
        """
        self._clear()
        home = f"{self._base}{epoch:06d}-{self._owner}{secrets.token_hex(4)}/"
        self._torn = home
        stored = upload_files(self._store, home, files)
        made = Checkpoint(
            key=self._key,
            epoch=epoch,
            batch=batch,
            finished=finished,
            files=stored,
            story=story,
            run_id=self._maker.run_id,
            step=self._maker.step,
        )
        if not self._store.create(home + MANIFEST, seal(made)):
            raise StoreError(f"{home + MANIFEST!r} in {self._store.uri!r} was written by somebody else: try again.")
        self._torn = ""
        try:
            self._prune(home, finished=finished)
        except StoreError as error:
            logger.warning("Old checkpoints stay until the next one is saved: %s", error)
        return made

    def _clear(self) -> None:
        """Make room: a full disk may have been the reason."""
        for entry in list(self._store.list(self._torn)) if self._torn else ():
            self._store.delete(entry.key)
        self._torn = ""

    def newest(self, folder: Path, refused: Mapping[str, str] | None = None, *, own: bool = False) -> Found | None:
        """Fetch the checkpoint to go on from: a finished training's result, or else that of the last epoch.

        Args:
            folder: replaced by the checkpoint's files.
            refused: keys of checkpoints (``Found.home``) that turned out to be of no use, and why.
            own: pass over all that ``maker`` did not make, and what cannot tell who made it.

        Raises:
            CheckpointError: there are checkpoints, but none can be used.
            StoreError: the store failed, or the disk is full.
        """
        problems: dict[str, str] = {}
        for _ in range(_LOOKS):
            problems = dict(refused or {})
            places = {place.home: place for place in find_places(self._store, self._base) if place.complete}
            if own:
                places = {home: place for home, place in places.items() if self._is_own(place)}
            for home, checkpoint in self._ordered(places, problems):
                if self._fetch(places[home], checkpoint, folder, problems):
                    warnings = tuple(self._sentence(*problem) for problem in problems.items())
                    return Found(checkpoint, folder, home, warnings)
            if not any(self._vanished(home) for home in places):
                break
        if not problems:
            return None
        home, reason = max(problems.items())
        advice = " of this run." if own else ": set resume=never to begin anew, which replaces it."
        raise CheckpointError(f"{self._sentence(home, reason)} There is no other one{advice}")

    def _ordered(self, places: Mapping[str, Place], problems: dict[str, str]) -> list[tuple[str, Checkpoint]]:
        """Manifests that can be read, the best to go on from first."""
        found = []
        for home, place in places.items():
            if home in problems:
                continue
            try:
                found.append((home, read_manifest(self._store, place, self._key)))
            except NotFoundError:
                continue
            except CheckpointError as error:
                problems[home] = str(error)
        return sorted(found, key=lambda one: (one[1].finished, one[1].epoch, places[one[0]].modified), reverse=True)

    def _fetch(self, place: Place, checkpoint: Checkpoint, folder: Path, problems: dict[str, str]) -> bool:
        shutil.rmtree(folder, ignore_errors=True)
        try:
            fetch_files(self._store, place, checkpoint, folder)
            self._store.touch(place.home + MANIFEST)  # so that nobody takes it for an old, forgotten one
        except CheckpointError as error:
            if not self._vanished(place.home):
                problems[place.home] = str(error)
            return False
        return True

    def _vanished(self, home: str) -> bool:
        return not self._store.exists(home + MANIFEST)

    def _sentence(self, home: str, reason: str) -> str:
        return f"The checkpoint {home.rstrip('/')!r} in {self._store.uri!r} cannot be used: {reason}."

    def _prune(self, latest: str, *, finished: bool) -> None:
        places = find_places(self._store, self._base)
        now = max((place.modified for place in places if place.home == latest), default=0.0)
        complete = [place for place in places if place.complete and place.home not in self._replaced]
        ordered = sorted(complete, key=lambda place: (place.epoch, place.modified))
        own = [place for place in ordered if self._is_mine(place)]
        kept = {latest} if finished else {latest, *(place.home for place in (*own[-KEPT:], *ordered[-KEPT:]))}
        for place in places:
            if place.home not in kept and self._is_needless(place, now):
                remove(self._store, place)
        self._replaced.clear()

    def _is_own(self, place: Place) -> bool:
        """Whether this run and step made it, maybe in an earlier attempt."""
        if not self._maker.known:
            return False
        try:
            return self._maker.made(read_manifest(self._store, place, self._key))
        except (CheckpointError, NotFoundError):
            return False

    def _is_mine(self, place: Place) -> bool:
        return place.home.removeprefix(self._base).partition("-")[2].startswith(self._owner)

    def _is_needless(self, place: Place, now: float) -> bool:
        if place.home in self._replaced or self._is_mine(place):
            return True
        return now - place.modified > (FRESH if place.complete else ABANDONED)


def remove(store: Store, place: Place) -> None:
    """Remove a checkpoint, its manifest first, so that it is whole or torn at any moment."""
    for name in sorted(place.objects, key=lambda name: name != MANIFEST):
        store.delete(place.objects[name].key)
