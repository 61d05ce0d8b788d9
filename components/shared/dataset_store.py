"""Datasets in the object store: versions that appear whole or not at all, and aliases that move atomically.

``datasets/<name>/versions/<version>/dataset.json`` is the commit: it comes last, by a conditional put. A version's
tables carry a piece of their own digest in their names, because two writers of one version may agree in content and
still differ in row order or ids; so whichever manifest wins, its tables are its own.
"""

import logging
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl
from pydantic import ValidationError

from components.shared.aliases import ANY, Alias, delete_alias, find_alias, move_alias
from components.shared.dataset import IMAGES, MANIFEST, TABLES, Dataset, Manifest, ShardReference
from components.shared.errors import ConfigError, ConflictError, CorruptionError, NotFoundError, StoreError
from components.shared.files import sha256_file
from components.shared.known_images import MEASURED, PLACE, KnownImages
from components.shared.lease import committing
from components.shared.shards import shard_key
from components.shared.store import Store

LATEST = "latest"

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
_VERSION = re.compile(r"[0-9a-f]{64}")

_FEW = 4  # shards that are looked up one by one; more are looked up in a listing

_logger = logging.getLogger(__name__)


def check_name(name: str) -> str:
    """Give ``name`` back when it may name a dataset.

    Raises:
        ConfigError: it is not 1 to 63 lower-case letters, digits, dots, dashes and underscores.
    """
    if not _NAME.fullmatch(name):
        raise ConfigError(
            f"{name!r} is no dataset name: use up to 63 of a-z, 0-9, '.', '_' and '-', the first a letter or digit."
        )
    return name


def commit(store: Store, dataset: Dataset, *, alias: str | None = LATEST) -> Manifest:
    """Put a dataset into the store and move an alias there; gives the manifest that is in the store.

    Its shards must be there already. A version that is there and whole is left as it is, so a repeated or a racing
    commit of the same content succeeds with the same version; one that lost a table or a shard is mended. No garbage
    is collected between the look at the shards and the commit.

    Args:
        store: the object store.
        dataset: what to commit.
        alias: what shall point to it; ``None``: nothing, as for a derived dataset that only must not be collected.

    Raises:
        ConfigError: the dataset's name cannot be used.
        StoreError: a shard is missing, or the store failed.
    """
    check_name(dataset.name)
    with TemporaryDirectory(prefix="commit-") as folder:
        manifest = dataset.save(Path(folder))
        with committing(store) as lease:
            found, tag = _whole_version(store, dataset.name, manifest.version)
            if found is None:
                _check_shards(store, dataset)
                home = _version_key(dataset.name, manifest.version)
                for table in TABLES:
                    store.upload(Path(folder) / f"{table}.parquet", f"{home}/{table_file(table, manifest)}")
                lease.check()
                mine = store.swap(f"{home}/{MANIFEST}", (Path(folder) / MANIFEST).read_bytes(), tag)
                found = manifest if mine else read_manifest(store, dataset.name, manifest.version)
    if alias is not None:
        move_alias(store, _prefix(dataset.name), alias, found.version)
    return found


def remove(store: Store, name: str, version: str, *, with_aliases: bool = False) -> None:
    """Take a version out of the store: its manifest first, then its tables; its shards are left to the collector.

    Args:
        store: the object store.
        name: of the dataset.
        version: 64 hex digits.
        with_aliases: remove the aliases that point to it as well, before it.

    Raises:
        NotFoundError: there is no such version.
        ConflictError: an alias points to it and may not be removed.
    """
    for alias, target in aliases(store, name).items():
        if target == version and with_aliases:
            delete_alias(store, _prefix(name), alias)
        elif target == version:
            raise ConflictError(
                f"The alias {alias!r} of {name!r} points to version {version!r}: move it with `datasets alias`, or"
                " remove the version with its aliases (`datasets rm --with-aliases`)."
            )
    home = _version_key(name, version)
    if not store.exists(f"{home}/{MANIFEST}"):
        raise NotFoundError(f"The dataset {name!r} has no version {version!r} in {store.uri!r}.")
    store.delete(f"{home}/{MANIFEST}")
    for entry in list(store.list(f"{home}/")):
        store.delete(entry.key)


def read(store: Store, name: str, version_or_alias: str = LATEST) -> Dataset:
    """A dataset by its version (64 hex digits) or an alias.

    Raises:
        NotFoundError: there is no such dataset, version or alias.
        CorruptionError: a table is missing or has other bytes than its manifest says.
    """
    manifest = read_manifest(store, name, version_or_alias)
    home = _version_key(name, manifest.version)
    with TemporaryDirectory(prefix="dataset-") as temporary:
        folder = Path(temporary)
        (folder / MANIFEST).write_text(manifest.model_dump_json(), encoding="utf-8")
        for table in TABLES:
            key = f"{home}/{table_file(table, manifest)}"
            try:
                store.download(key, folder / f"{table}.parquet")
            except NotFoundError as error:
                raise CorruptionError(f"The table {key!r} of a committed dataset is gone: load it again.") from error
        return Dataset.load(folder)


def read_manifest(store: Store, name: str, version_or_alias: str = LATEST) -> Manifest:
    """The manifest of a version or an alias.

    Raises:
        NotFoundError: there is no such dataset, version or alias.
        CorruptionError: what lies there is no manifest of that version.
    """
    version = resolve(store, name, version_or_alias)
    try:
        return _read_tagged_manifest(store, name, version)[0]
    except NotFoundError as error:
        raise NotFoundError(
            f"The dataset {name!r} has no version {version!r} in {store.uri!r}: see `datasets list` for what it has."
        ) from error


def resolve(store: Store, name: str, version_or_alias: str) -> str:
    """The version an alias points to; a version is given back as it is."""
    if _VERSION.fullmatch(version_or_alias):
        check_name(name)
        return version_or_alias
    return get_alias(store, name, version_or_alias).version


def names(store: Store) -> tuple[str, ...]:
    """Datasets that have at least one committed version, sorted."""
    keys = (entry.key.split("/") for entry in store.list("datasets/"))
    return tuple(sorted({parts[1] for parts in keys if parts[2:3] == ["versions"] and parts[-1] == MANIFEST}))


def versions(store: Store, name: str) -> tuple[str, ...]:
    """The committed versions of a dataset, sorted; empty when there is none."""
    listing = store.list(f"datasets/{check_name(name)}/versions/")
    return tuple(entry.key.split("/")[3] for entry in listing if entry.key.endswith(f"/{MANIFEST}"))


def aliases(store: Store, name: str) -> dict[str, str]:
    """Where each alias of a dataset points: version by alias, sorted; one that cannot be read is left out."""
    found = {}
    for entry in store.list(f"{_prefix(name)}/aliases/"):
        alias = entry.key.rpartition("/")[2].removesuffix(".json")
        try:
            target = find_alias(store, _prefix(name), alias)
        except (StoreError, ConfigError) as error:
            _logger.warning("An alias of %r cannot be read: %s", name, error)
            continue
        if target is not None:
            found[alias] = target.version
    return found


def get_alias(store: Store, name: str, alias: str = LATEST) -> Alias:
    """Where an alias of a dataset points.

    Raises:
        NotFoundError: there is no such alias.
    """
    found = find_alias(store, _prefix(name), alias)
    if found is None:
        raise NotFoundError(f"The dataset {name!r} has no alias {alias!r} in {store.uri!r}.")
    return found


def set_alias(store: Store, name: str, alias: str, version: str, *, expected: str | None = ANY) -> Alias:
    """Point an alias at a committed version, by compare-and-set.

    Args:
        store: the object store.
        name: the dataset.
        alias: ``latest``, ``champion``, ...
        version: 64 hex digits.
        expected: the version it must point to now; ``None``: it must not exist yet; ``ANY``: it does not matter.

    Raises:
        NotFoundError: the version is not committed.
        ConflictError: the alias points elsewhere than expected; never when it points to ``version`` already.
    """
    if not store.exists(f"{_version_key(name, version)}/{MANIFEST}"):
        raise NotFoundError(f"The dataset {name!r} has no version {version!r} in {store.uri!r}: commit it first.")
    return move_alias(store, _prefix(name), alias, version, expected=expected)


def known_images(store: Store, name: str) -> KnownImages:
    """The images that versions of a dataset already brought into the store.

    A version whose shards were all seen in another one is not opened; one that cannot be read is left out, with a
    warning, since its images can be uploaded again.
    """
    present = pl.Series([entry.key for entry in store.list("shards/")], dtype=pl.String)
    found: list[pl.DataFrame] = []
    seen: set[str] = set()
    for version in _latest_first(store, name):
        try:
            manifest = _read_tagged_manifest(store, name, version)[0]
            shards = {shard.sha256 for shard in manifest.shards}
            if shards <= seen:
                continue
            images = _stored_images(store, name, manifest)
        except (StoreError, pl.exceptions.ColumnNotFoundError) as error:
            _logger.warning("Version %s of %r cannot be read, its images are not reused: %s", version, name, error)
            continue
        seen |= shards
        found.append(images.filter(pl.format("shards/{}.tar", "shard").is_in(present.implode())))
    return KnownImages(found)


def describe_shards(store: Store, digests: Iterable[str]) -> tuple[ShardReference, ...]:
    """References (with sizes) to shards that are in the store, sorted by digest; for a dataset's ``shards``.

    Raises:
        NotFoundError: one of them is not in the store.
    """
    sizes = {entry.key: entry.size for entry in store.list("shards/")}
    wanted = sorted(set(digests))
    missing = [digest for digest in wanted if shard_key(digest) not in sizes]
    if missing:
        raise NotFoundError(f"The shard {missing[0]!r} is not in {store.uri!r}: load the data into this store first.")
    return tuple(ShardReference(sha256=digest, size=sizes[shard_key(digest)]) for digest in wanted)


def _stored_images(store: Store, name: str, manifest: Manifest) -> pl.DataFrame:
    """A version's images that have bytes: where they lie and what was measured, and nothing else of its tables."""
    key = f"{_version_key(name, manifest.version)}/{table_file('images', manifest)}"
    with TemporaryDirectory(prefix="images-") as folder:
        path = Path(folder) / "images.parquet"
        store.download(key, path)
        if sha256_file(path) != manifest.tables.get("images"):
            raise CorruptionError(f"{key!r} is not the table its manifest describes: load the data again.")
        there = pl.read_parquet_schema(path)
        images = pl.read_parquet(path, columns=[*PLACE, *(name for name in MEASURED if name in there)], glob=False)
    later = [pl.lit(None, dtype=IMAGES[name]).alias(name) for name in MEASURED if name not in there]
    return images.with_columns(later).select(*PLACE, *MEASURED).drop_nulls(PLACE)


def _latest_first(store: Store, name: str) -> list[str]:
    committed = versions(store, name)
    current = find_alias(store, _prefix(name), LATEST)
    return sorted(committed, key=lambda version: current is None or version != current.version)


def _check_shards(store: Store, dataset: Dataset) -> None:
    needed = set(dataset.images.get_column("shard").drop_nulls())
    for unknown in sorted(needed - {shard.sha256 for shard in dataset.shards}):
        raise StoreError(f"The dataset {dataset.name!r} has images in shard {unknown!r} but does not list that shard.")
    for missing in _missing_shards(store, dataset.shards):
        raise NotFoundError(
            f"The shard {missing!r} of the dataset {dataset.name!r} is not in {store.uri!r}:"
            " load the data into this store first."
        )


def _missing_shards(store: Store, shards: Sequence[ShardReference]) -> list[str]:
    keys = [shard_key(shard.sha256) for shard in shards]
    if len(keys) <= _FEW:
        return [shard.sha256 for shard, key in zip(shards, keys, strict=True) if not store.exists(key)]
    present = {entry.key for entry in store.list("shards/")}
    return [shard.sha256 for shard, key in zip(shards, keys, strict=True) if key not in present]


def _whole_version(store: Store, name: str, version: str) -> tuple[Manifest | None, str | None]:
    """A version's manifest when the store has all of it, and the manifest's tag when it has the manifest."""
    home, tag = _version_key(name, version), None
    try:
        manifest, tag = _read_tagged_manifest(store, name, version)
    except NotFoundError:
        return None, None
    except CorruptionError as error:
        _logger.warning("A broken manifest is replaced: %s", error)
        return None, store.read_tagged(f"{home}/{MANIFEST}")[1]
    present = {entry.key for entry in store.list(f"{home}/")}
    missing = [table for table in TABLES if f"{home}/{table_file(table, manifest)}" not in present]
    if missing or _missing_shards(store, manifest.shards):
        _logger.warning("Version %s of %r has lost tables or shards and is mended.", version, name)
        return None, tag
    return manifest, tag


def _read_tagged_manifest(store: Store, name: str, version: str) -> tuple[Manifest, str]:
    key = f"{_version_key(name, version)}/{MANIFEST}"
    data, tag = store.read_tagged(key)
    try:
        manifest = Manifest.model_validate_json(data)
    except ValidationError as error:
        raise CorruptionError(f"{key!r} in {store.uri!r} is not a dataset manifest: load the data again.") from error
    if manifest.version != version:
        raise CorruptionError(f"{key!r} in {store.uri!r} claims to be version {manifest.version!r}: load it again.")
    return manifest, tag


def _prefix(name: str) -> str:
    return f"datasets/{check_name(name)}"


def _version_key(name: str, version: str) -> str:
    return f"{_prefix(name)}/versions/{version}"


def table_file(table: str, manifest: Manifest) -> str:
    """The name of a version's table, beside its manifest."""
    digest = manifest.tables.get(table, "")
    return f"{table}.{digest[:16]}.parquet"
