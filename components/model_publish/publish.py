"""Register a packed model in the store, whole or not at all, and make it the champion when it passed.

Below ``models/<name>/versions/<version>/`` lie the archive, its evaluations and, committed last, ``model.json``: a
reader that finds no ``model.json`` finds no version. The version is the archive's content digest.
"""

import logging
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from components.model_publish.lineage import decide, describe_lineage, read_model_manifest, read_quality
from components.shared.alias_history import Why, move_noted
from components.shared.aliases import find_alias
from components.shared.archive import BENTO, load_archive_manifest
from components.shared.detection.manifest import MANIFEST
from components.shared.errors import ProofError
from components.shared.files import digest_of_digests, sha256_file, sha256_tree
from components.shared.model_lineage import Gate
from components.shared.progress import Notify, silent
from components.shared.registry import (
    CHAMPION,
    RECORD,
    ModelRecord,
    archive_key,
    find_record,
    model_key,
    version_key,
)
from components.shared.step import RUN_ID
from components.shared.store import Store, open_store

logger = logging.getLogger(__name__)
SCHEMA = 2  # of the records written here


@dataclass(frozen=True)
class Published:
    """Where a model went: its name, its version, and whether it is the champion now."""

    name: str
    version: str
    champion: bool


def publish(
    archive: Path,
    predictions: Path,
    store_uri: str,
    *,
    passed: bool,
    proof: Mapping[str, float],
    proved: str = "",
    model_registry: str = "",
    notify: Notify = silent,
) -> Published:
    """Register the archive and its evaluation; move ``champion`` to it when ``passed``.

    Args:
        archive: the packed model's folder.
        predictions: the evaluation's folder; kept under its own digest.
        store_uri: where the registry is.
        passed: whether the quality gate passed; an evaluation that says otherwise has the last word.
        proof: numbers of the proof that the archive is what was trained; empty means it was not proved.
        proved: content digest of the archive the proof is of; empty: not known.
        model_registry: address of a Kubeflow Model Registry that is told as well; empty: none.
        notify: hears how far it is.

    Raises:
        ProofError: there is no proof, it failed, or the evaluation is another model's.
        ArchiveError: the archive is broken or not what its manifest says.
        StoreError: the store failed; running again completes the registration.
    """
    del proved, model_registry
    store = open_store(store_uri)
    record, gate = _describe(archive, predictions, passed=passed, proof=proof)
    root = version_key(record.name, record.version)
    notify(0.1, "keeping the archive")
    kept = find_record(store, record.name, record.version) or record
    if kept.bento_sha256 == record.bento_sha256:
        _keep_archive(store, archive, kept)
    notify(0.6, "keeping the evaluation")
    _keep_evaluation(store, predictions, f"{root}/evaluations/{record.lineage.evaluation_id}")
    created = store.create(f"{root}/{RECORD}", record.model_dump_json(indent=2).encode())
    logger.info("%s %s", "registered" if created else "already registered", record)
    if not created:
        _forget_archive(store, record)
    return _crown(store, record, gate)


def _describe(
    archive: Path, predictions: Path, *, passed: bool, proof: Mapping[str, float]
) -> tuple[ModelRecord, Gate]:
    """The record of an archive, once everything that speaks of it was found to speak of it."""
    manifest = load_archive_manifest(archive)
    if not proof.get("tensors_compared") or not proof.get("passed", 1.0):
        raise ProofError(f"{manifest.tag!r} was not proved to be what was trained: run model_test first.")
    quality = read_quality(predictions, manifest)
    gate = decide(quality, passed=passed)
    lineage = describe_lineage(
        read_model_manifest(archive, manifest),
        quality,
        gate,
        run=os.environ.get(RUN_ID, ""),
        evaluation=digest_of_digests(sha256_tree(predictions))[:16],
    )
    record = ModelRecord(
        schema_version=SCHEMA,
        name=manifest.name,
        version=manifest.content_digest,
        bento_sha256=sha256_file(archive / BENTO),
        archive=manifest,
        proof=dict(proof),
        lineage=lineage,
    )
    return record, gate


def _crown(store: Store, record: ModelRecord, gate: Gate) -> Published:
    """Make the version the champion if it passed."""
    prefix = model_key(record.name)
    former = find_alias(store, prefix, CHAMPION)
    current = move_noted(store, prefix, CHAMPION, record.version, why=Why.PUBLISH) if gate.passed else former
    for reason in gate.reasons:
        logger.info("the quality gate: %s", reason)
    logger.info("champion of %s: %s (before: %s)", record.name, current and current.version, former and former.version)
    return Published(record.name, record.version, champion=current is not None and current.version == record.version)


def _keep_archive(store: Store, archive: Path, record: ModelRecord) -> None:
    """Bring the archive to its place, where only these bytes ever lie; damaged ones are replaced."""
    home = archive_key(record)
    for file in (MANIFEST, BENTO):
        key = f"{home}/{file}"
        if not store.exists(key) or (file == BENTO and _digest(store, key) != record.bento_sha256):
            store.upload(archive / file, key)


def _digest(store: Store, key: str) -> str:
    with tempfile.TemporaryDirectory(prefix="model-publish-") as work:
        path = Path(work) / BENTO
        store.download(key, path)
        return sha256_file(path)


def _forget_archive(store: Store, record: ModelRecord) -> None:
    """Remove our packing of a version of which another packing was registered."""
    kept = find_record(store, record.name, record.version)
    if kept is not None and kept.bento_sha256 != record.bento_sha256:
        for file in (BENTO, MANIFEST):
            store.delete(f"{archive_key(record)}/{file}")


def _keep_evaluation(store: Store, folder: Path, prefix: str) -> None:
    for name in sha256_tree(folder):
        if not store.exists(f"{prefix}/{name}"):
            store.upload(folder / name, f"{prefix}/{name}")
