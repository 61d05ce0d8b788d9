"""What a checkpoint consists of in the store: its manifest, and files that are checked when they are fetched."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from pydantic_core import from_json

from components.model_train.story import Story
from components.shared.errors import CheckpointError, NotFoundError, StoreError
from components.shared.files import sha256_file
from components.shared.step import UNNAMED
from components.shared.store import Store, StoredObject, check_key

FORMAT = 1
MANIFEST = "checkpoint.json"
FILES = "files/"
_DIGEST = "sha256"
LARGEST_MANIFEST = 64 << 20  # bytes; a thousand epochs take about one of these 64 MiB
_NAME = re.compile(r"(\d{6,})-([0-9a-f]+)/(.+)")


@dataclass(frozen=True)
class Maker:
    """The pipeline run and its step that make checkpoints; the same again when the step is retried."""

    run_id: str = ""
    step: str = ""

    @property
    def known(self) -> bool:
        """Whether it tells this run from others."""
        return self.run_id not in {"", UNNAMED}

    def made(self, checkpoint: "Checkpoint") -> bool:
        """Whether the checkpoint is this one's own; nobody's without a name of its run."""
        return self.known and checkpoint.maker == self


class StoredFile(BaseModel):
    """A file of a checkpoint: posix path in its folder, bytes and sha256. One without bytes is in no store."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    size: int = Field(ge=0)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")

    @field_validator("name")
    @classmethod
    def _stays_in_its_folder(cls, name: str) -> str:
        try:
            return check_key(name)
        except StoreError as error:
            raise ValueError(f"{name!r} is no clean relative path") from error


class Checkpoint(BaseModel):
    """The manifest, written last: where there is none, there is no checkpoint.

    Attributes:
        format: of the manifest and of how files are laid out.
        key: the training it belongs to.
        epoch: the last finished one.
        batch: images an optimiser step.
        finished: it holds the training's result, not what to go on from.
        files: what it consists of.
        story: the training's course up to ``epoch``.
        run_id: the pipeline run that made it.
        step: the run's step that made it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")

    format: int = FORMAT
    key: str
    epoch: int = Field(ge=0)
    batch: int
    finished: bool
    files: tuple[StoredFile, ...]
    story: Story
    run_id: str = ""
    step: str = ""

    @property
    def maker(self) -> Maker:
        """Who made it."""
        return Maker(self.run_id, self.step)


@dataclass(frozen=True)
class Place:
    """Where one checkpoint lies.

    Attributes:
        home: key of its folder, ending in a slash.
        epoch: as its name says.
        objects: everything in it, by path in the folder.
    """

    home: str
    epoch: int
    objects: Mapping[str, StoredObject]

    @property
    def complete(self) -> bool:
        """Whether its manifest is there."""
        return MANIFEST in self.objects

    @property
    def modified(self) -> float:
        """When it was committed, or the last of its files was stored, by the store's clock."""
        if self.complete:
            return self.objects[MANIFEST].modified
        return max(entry.modified for entry in self.objects.values())


def find_places(store: Store, base: str) -> list[Place]:
    """The checkpoints below the key ``base``, torn ones too; what is no checkpoint is passed over."""
    found: dict[str, dict[str, StoredObject]] = {}
    for entry in store.list(base):
        parts = _NAME.fullmatch(entry.key.removeprefix(base))
        if parts:
            found.setdefault(f"{base}{parts[1]}-{parts[2]}/", {})[parts[3]] = entry
    return [Place(home, int(home.removeprefix(base).partition("-")[0]), objects) for home, objects in found.items()]


def upload_files(store: Store, home: str, files: Mapping[str, Path]) -> tuple[StoredFile, ...]:
    """Store local files, given by their names in the checkpoint.

    Raises:
        StoreError: the store failed, or what it holds is not what it was given.
        OSError: a file cannot be read.
    """
    stored = []
    for name, path in sorted(files.items()):
        size = path.stat().st_size
        if size:
            store.upload(path, f"{home}{FILES}{name}")
        stored.append(StoredFile(name=name, size=size, sha256=sha256_file(path)))
    there = {entry.key: entry.size for entry in store.list(f"{home}{FILES}")}
    for file in stored:
        if file.size and there.get(f"{home}{FILES}{file.name}") != file.size:
            raise StoreError(f"{home}{FILES}{file.name!r} vanished from {store.uri!r} as it was stored: try again.")
    return tuple(stored)


def seal(checkpoint: Checkpoint) -> bytes:
    """The manifest's bytes: a JSON object with a digest of all else in it."""
    content = from_json(checkpoint.model_dump_json())
    return json.dumps({_DIGEST: _digest(content), **content}).encode()


def _unseal(data: bytes) -> Checkpoint:
    content = from_json(data)
    if isinstance(content, dict) and content.pop(_DIGEST, "") == _digest(content):
        return Checkpoint.model_validate_json(json.dumps(content))
    raise ValueError("it does not have the digest it names")


def _digest(content: dict[str, object]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def read_manifest(store: Store, place: Place, key: str) -> Checkpoint:
    """A checkpoint's manifest.

    Raises:
        CheckpointError: it is broken, or another training's; says only what is wrong.
        NotFoundError: it was removed since it was listed.
    """
    if place.objects[MANIFEST].size > LARGEST_MANIFEST:
        raise CheckpointError(f"{MANIFEST} has {place.objects[MANIFEST].size} bytes, far too many")
    try:
        found = _unseal(store.read(place.home + MANIFEST))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise CheckpointError(f"{MANIFEST} is broken: {where}: {first['msg']}") from error
    except ValueError as error:
        raise CheckpointError(f"{MANIFEST} is broken: {error}") from error
    if found.format != FORMAT:
        raise CheckpointError(f"it has the format {found.format}, this release reads {FORMAT}")
    if found.key != key:
        raise CheckpointError(f"it belongs to another training, {found.key[:12]}")
    told = found.story.epochs[-1].number if found.story.epochs else 0
    if not place.epoch == found.epoch == told:
        raise CheckpointError(f"{MANIFEST} tells of epochs {found.epoch} and {told}, its name of {place.epoch}")
    if len({file.name for file in found.files}) != len(found.files):
        raise CheckpointError(f"{MANIFEST} names a file twice")
    return found


def fetch_files(store: Store, place: Place, checkpoint: Checkpoint, folder: Path) -> None:
    """Write a checkpoint's files below ``folder`` and compare each with its sha256.

    Raises:
        CheckpointError: a file is missing or damaged; says only what is wrong.
        StoreError: the store failed, or the disk is full.
    """
    for file in checkpoint.files:
        path = folder / file.name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not file.size:
            path.touch()
            continue
        entry = place.objects.get(FILES + file.name)
        if entry is None:
            raise CheckpointError(f"the file {file.name!r} is missing")
        if entry.size != file.size:
            raise CheckpointError(f"the file {file.name!r} has {entry.size} bytes, not {file.size}")
        try:
            store.download(entry.key, path)
        except NotFoundError as error:
            raise CheckpointError(f"the file {file.name!r} is missing") from error
        if sha256_file(path) != file.sha256:
            raise CheckpointError(f"the file {file.name!r} is damaged: its bytes do not have their sha256")
