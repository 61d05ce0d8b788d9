"""The published models of a store: how people name them, what is known of them, and how their archives are fetched.

``models/<name>/versions/<version>/model.json`` is a version's commit; a version is its archive's content digest. People
write ``NAME@champion``, ``NAME@version`` or ``NAME@`` and a version's first digits, as they do for datasets. An archive
lies below ``archive/<sha256 of its file>/``, so that publishers of other packings of one version never mix.
"""

import difflib
import logging
import re
import shutil
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from components.shared.aliases import find_alias
from components.shared.archive import BENTO, MAX_BYTES, ArchiveManifest
from components.shared.errors import ConfigError, CorruptionError, NotFoundError, StoreError
from components.shared.files import sha256_file
from components.shared.model_lineage import Lineage
from components.shared.store import Store

RECORD = "model.json"
CHAMPION = "champion"
SHORT = 12  # digits of a version that people are shown
LEAST = 6  # digits that people have to give

_BY_DIGEST = 2  # schema version since which an archive's key has the digest of its file
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
_DIGITS = re.compile(r"[0-9a-f]+")
_PARTS = 5  # models/<name>/versions/<version>/model.json
_FEW = 4  # as many names or versions as fit a line
_RESERVE = 64 << 20

logger = logging.getLogger(__name__)


class ModelRecord(BaseModel):
    """What ``model.json`` says of a version.

    Attributes:
        name: the model.
        version: the archive's content digest.
        bento_sha256: the digest of the archive's file.
        archive: the archive's own manifest.
        proof: numbers of the proof that the archive is what was trained.
        lineage: what the model was made from and how it was judged; empty in records of earlier releases.
    """

    model_config = ConfigDict(frozen=True)

    schema_version: int = 1
    name: str
    version: str
    bento_sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    archive: ArchiveManifest
    proof: dict[str, float]
    lineage: Lineage = Field(default_factory=Lineage)

    def __str__(self) -> str:
        return f"{self.name}@{self.version[:SHORT]}"


def check_model_name(name: str) -> str:
    """Give ``name`` back when it may name a model.

    Raises:
        ConfigError: it is not 1 to 63 lower-case letters, digits, dots, dashes and underscores.
    """
    if not _NAME.fullmatch(name):
        raise ConfigError(
            f"{name!r} is no model name: use up to 63 of a-z, 0-9, '.', '_' and '-', the first a letter or digit."
        )
    return name


def model_key(name: str) -> str:
    """Below this key lies everything of a model; its aliases have it as their prefix."""
    return f"models/{check_model_name(name)}"


def version_key(name: str, version: str) -> str:
    """Below this key lies everything of one version."""
    return f"{model_key(name)}/versions/{version}"


def archive_key(record: ModelRecord) -> str:
    """Below this key lie ``model.bento`` and ``manifest.json`` of a version."""
    home = f"{version_key(record.name, record.version)}/archive"
    return f"{home}/{record.bento_sha256}" if record.schema_version >= _BY_DIGEST else home


def basis_key(name: str, version: str, basis: str) -> str:
    """What lies here says that the version was made from data, parameters and code of that digest.

    One version may be made from many: its record, never rewritten, names the first only.
    """
    return f"{version_key(name, version)}/bases/{basis}.json"


def model_names(store: Store) -> tuple[str, ...]:
    """Models that have at least one published version, sorted."""
    return tuple(sorted({key[1] for key in _records(store, "models/")}))


def model_versions(store: Store, name: str) -> tuple[str, ...]:
    """The published versions of a model, sorted; empty when there is none."""
    return tuple(key[3] for key in _records(store, f"{model_key(name)}/versions/"))


def find_champion(store: Store, name: str) -> str | None:
    """The version that is the model's champion; ``None`` while there is none."""
    found = find_alias(store, model_key(name), CHAMPION)
    return found.version if found else None


def read_record(store: Store, name: str, version: str) -> ModelRecord:
    """What is known of a version, by its 64 digits.

    Raises:
        NotFoundError: it is not published.
        CorruptionError: its record cannot be read, or is another version's.
    """
    key = f"{version_key(name, version)}/{RECORD}"
    try:
        record = ModelRecord.model_validate_json(store.read(key))
    except ValidationError as error:
        raise CorruptionError(
            f"{key!r} in {store.uri!r} is no record of a model ({error.errors()[0]['msg']}):"
            " remove it and publish again."
        ) from error
    if (record.name, record.version) != (name, version) or record.archive.content_digest != version:
        raise CorruptionError(f"{key!r} in {store.uri!r} is the record of {record}: remove it and publish again.")
    return record


def find_record(store: Store, name: str, version: str) -> ModelRecord | None:
    """What is known of a version; ``None`` when it is not published. Raises as ``read_record`` does else."""
    try:
        return read_record(store, name, version)
    except NotFoundError:
        return None


def find_model(store: Store, name: str, reference: str) -> ModelRecord:
    """The published version that ``reference`` means.

    Args:
        store: the object store.
        name: the model that is meant where the reference names none.
        reference: ``champion``, another alias, 64 digits of a version or its first ones (at least ``LEAST``); with
            ``NAME@`` before it, another model's; ``NAME@`` alone is refused.

    Raises:
        ConfigError: there is no such model, alias or version (near names are suggested), or the piece of a version is
            too short or fits several.
        StoreError: the store failed, or what it holds is broken.
    """
    named, separator, wanted = reference.rpartition("@")
    name = check_model_name(named) if separator else name
    if not wanted:
        raise ConfigError(f"{reference!r} names no version after the '@': write {reference + CHAMPION!r} or a version.")
    versions = model_versions(store, name)
    if not versions:
        raise ConfigError(_unknown_name(store, name))
    if wanted in versions:
        return read_record(store, name, wanted)
    digits = _DIGITS.fullmatch(wanted) is not None
    alias = find_alias(store, model_key(name), wanted)
    if alias is None:
        wanted = _by_piece(store, name, wanted, versions) if digits else ""
    elif alias.version in versions:
        wanted = alias.version
    else:
        raise ConfigError(
            f"The {wanted} of {name!r} is version {alias.version[:SHORT]!r}, which is not in {store.uri!r} any more: "
            "name another version."
        )
    if not wanted:
        raise ConfigError(_unknown_version(store, name, reference.rpartition("@")[2], versions))
    return read_record(store, name, wanted)


def fetch_archive(store: Store, record: ModelRecord, folder: Path) -> Path:
    """Bring a version's archive (``model.bento`` and ``manifest.json``) into ``folder`` and give that back.

    What is inside is not looked at: that is ``archive.open_archive``'s part.

    Raises:
        NotFoundError: the archive is gone.
        CorruptionError: its bytes are not those that were published.
        StoreError: it is too large for an archive or for the disk.
    """
    key = f"{archive_key(record)}/{BENTO}"
    folder.mkdir(parents=True, exist_ok=True)
    fetch_file(store, key, folder / BENTO)
    if sha256_file(folder / BENTO) != record.bento_sha256:
        raise CorruptionError(f"{key!r} in {store.uri!r} has other bytes than were published: publish the model again.")
    record.archive.save(folder)
    return folder


def fetch_file(store: Store, key: str, path: Path, *, max_bytes: int = MAX_BYTES) -> None:
    """Download one object after a look at its size.

    Raises:
        NotFoundError: it does not exist.
        StoreError: it has more than ``max_bytes``, or more than is free where ``path`` lies.
    """
    size = next((entry.size for entry in store.list(key) if entry.key == key), None)
    if size is None:
        raise NotFoundError(f"{key!r} is not in the store {store.uri!r}.")
    path.parent.mkdir(parents=True, exist_ok=True)
    free = max(0, shutil.disk_usage(path.parent).free - _RESERVE)
    if size > min(max_bytes, free):
        limit = f"the {max_bytes} allowed" if size > max_bytes else f"the {free} that are free on disk"
        raise StoreError(f"{key!r} in {store.uri!r} has {size} bytes, more than {limit}.")
    logger.info("fetching %s from %s (%.1f MB)", key, store.uri, size / 1e6)
    store.download(key, path)


def _records(store: Store, prefix: str) -> list[list[str]]:
    """The parts of the keys of all records below ``prefix``."""
    keys = (entry.key.split("/") for entry in store.list(prefix))
    return [parts for parts in keys if len(parts) == _PARTS and parts[2] == "versions" and parts[-1] == RECORD]


def _by_piece(store: Store, name: str, piece: str, versions: tuple[str, ...]) -> str:
    """The one version that begins with ``piece``; empty when none does."""
    fitting = [version for version in versions if version.startswith(piece)]
    if fitting and len(piece) < LEAST:
        raise ConfigError(f"{piece!r} is too short a piece of a version: give {LEAST} digits or more.")
    if len(fitting) > 1:
        shown = ", ".join(repr(version[: len(piece) + 4]) for version in fitting[:_FEW])
        raise ConfigError(
            f"{piece!r} fits {len(fitting)} versions of the model {name!r} in {store.uri!r} ({shown}): "
            "give more digits."
        )
    return fitting[0] if fitting else ""


def _unknown_name(store: Store, name: str) -> str:
    names = model_names(store)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    shown = ", ".join(repr(known) for known in names[:_FEW]) + (" ..." if len(names) > _FEW else "")
    none = "it has none yet, so publish one first; where a training starts, leave start_from empty or name a file."
    hint = f"did you mean {near[0]!r}?" if near else f"it has {shown}." if names else none
    return f"There is no published model {name!r} in {store.uri!r}: {hint}"


def _unknown_version(store: Store, name: str, wanted: str, versions: tuple[str, ...]) -> str:
    if wanted == CHAMPION:
        return (
            f"The model {name!r} in {store.uri!r} has no champion yet, as none of its versions passed the quality"
            f" gate: name a version, such as {versions[-1][:SHORT]}."
        )
    near = f"did you mean {CHAMPION!r}?" if difflib.get_close_matches(wanted, [CHAMPION]) else ""
    shown = ", ".join(version[:SHORT] for version in versions[:_FEW]) + (" ..." if len(versions) > _FEW else "")
    return f"The model {name!r} has no version {wanted!r} in {store.uri!r}: {near or f'it has {shown}.'}"
