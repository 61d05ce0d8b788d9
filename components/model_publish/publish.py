"""Register a packed model in the store, whole or not at all, and make it the champion when it passed.

Below ``models/<name>/versions/<version>/`` lie the archive, its evaluations and, committed last, ``model.json``: a
reader that finds no ``model.json`` finds no version. The version is the archive's content digest.
"""

import json
import logging
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from components.model_publish.gate import decide, overtaken
from components.model_publish.kubeflow_registry import check_registry, tell_registry
from components.model_publish.lineage import Origin, describe_lineage, read_model_manifest, read_quality
from components.shared.alias_history import Why, move_noted
from components.shared.aliases import find_alias
from components.shared.archive import BENTO, ArchiveManifest, load_archive_manifest
from components.shared.detection.manifest import MANIFEST
from components.shared.errors import ConflictError, ProofError
from components.shared.files import digest_of_digests, sha256_file, sha256_tree
from components.shared.model_lineage import Gate, Quality
from components.shared.progress import Notify, silent
from components.shared.registry import (
    CHAMPION,
    RECORD,
    SHORT,
    ModelRecord,
    archive_key,
    basis_key,
    find_record,
    model_key,
    read_record,
    version_key,
)
from components.shared.step import RUN_ID
from components.shared.store import Store, open_store

logger = logging.getLogger(__name__)
SCHEMA = 2  # of the records written here


@dataclass(frozen=True)
class Published:
    """Where a model went.

    Attributes:
        name: the model.
        version: 64 digits.
        champion: whether it is the champion now.
        reason: why it is not, as a sentence.
    """

    name: str
    version: str
    champion: bool
    reason: str = ""


def publish(
    archive: Path,
    predictions: Path,
    store_uri: str,
    *,
    passed: bool,
    proof: Mapping[str, object],
    basis: str = "",
    model_registry: str = "",
    notify: Notify = silent,
) -> Published:
    """Register the archive and its evaluation; move ``champion`` to it when ``passed``.

    The champion moves only from where the evaluation saw it: a model that was compared with another champion than
    today's is registered and not crowned.

    Args:
        archive: the packed model's folder.
        predictions: the evaluation's folder; kept under its own digest.
        store_uri: where the registry is.
        passed: whether the quality gate passed; an evaluation that says otherwise has the last word.
        proof: numbers of the proof that the archive is what was trained, and as ``digest`` the content digest of the
            archive it is of, where that is known; empty means it was not proved.
        basis: digest of the data, parameters and code the model came from; empty: not known.
        model_registry: address of a Kubeflow Model Registry that is told as well; empty: none.
        notify: hears how far it is.

    Raises:
        ProofError: there is no proof, it failed or is another archive's, or the evaluation is another model's.
        ArchiveError: the archive is broken or not what its manifest says.
        StoreError: the store or the model registry failed; running again completes the registration.
        ConfigError: the model registry cannot be told from here.
    """
    check_registry(model_registry)
    store = open_store(store_uri)
    manifest = load_archive_manifest(archive)
    numbers = {name: float(value) for name, value in proof.items() if isinstance(value, int | float)}
    _check_proof(manifest, numbers, str(proof.get("digest", "")))
    quality = read_quality(predictions, manifest)
    origin = Origin(run=os.environ.get(RUN_ID, ""), basis=basis)
    record = _describe(archive, predictions, quality, decide(quality, passed=passed), origin, numbers)
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
    if basis:
        store.create(basis_key(record.name, record.version, basis), json.dumps({"run": origin.run}).encode())
    published = _crown(store, record, quality)
    if model_registry:
        notify(0.9, "telling the model registry")
        tell_registry(model_registry, read_record(store, record.name, record.version), store)
    return published


def _check_proof(manifest: ArchiveManifest, proof: Mapping[str, float], proved: str) -> None:
    if not proof.get("tensors_compared") or not proof.get("passed", 1.0):
        raise ProofError(f"{manifest.tag!r} was not proved to be what was trained: run model_test first.")
    if proved and proved != manifest.content_digest:
        raise ProofError(
            f"The proof is of the archive {proved[:SHORT]!r}, not of {manifest.tag!r}"
            f" ({manifest.content_digest[:SHORT]!r}): run model_test on the archive that is to be published."
        )


def _describe(
    archive: Path,
    predictions: Path,
    quality: Quality | None,
    gate: Gate,
    origin: Origin,
    proof: Mapping[str, float],
) -> ModelRecord:
    """The record of an archive, once everything that speaks of it was found to speak of it."""
    manifest = load_archive_manifest(archive)
    lineage = describe_lineage(
        read_model_manifest(archive, manifest),
        quality,
        gate,
        origin,
        evaluation=digest_of_digests(sha256_tree(predictions))[:16],
    )
    return ModelRecord(
        schema_version=SCHEMA,
        name=manifest.name,
        version=manifest.content_digest,
        bento_sha256=sha256_file(archive / BENTO),
        archive=manifest,
        proof=dict(proof),
        lineage=lineage,
    )


def _crown(store: Store, record: ModelRecord, quality: Quality | None) -> Published:
    """Make the version the champion if it passed and the champion is still the one it was compared with."""
    gate = record.lineage.gate
    for reason in gate.reasons if gate else ():
        logger.info("the quality gate: %s", reason)
    reason = "" if gate and gate.passed else "It did not pass the quality gate."
    former = find_alias(store, model_key(record.name), CHAMPION)
    while not reason:
        former = find_alias(store, model_key(record.name), CHAMPION)
        at = former.version if former else None
        reason = overtaken(quality, at, record.version)
        if not reason and _move(store, record, expected=at):
            logger.info("%s is the champion now (before: %s)", record, at)
            return Published(record.name, record.version, champion=True)
    logger.info("%s does not become the champion: %s", record, reason)
    champion = former is not None and former.version == record.version
    return Published(record.name, record.version, champion, "" if champion else reason)


def _move(store: Store, record: ModelRecord, *, expected: str | None) -> bool:
    """Move ``champion`` to the version; ``False`` when somebody else moved it meanwhile."""
    prefix = model_key(record.name)
    try:
        move_noted(store, prefix, CHAMPION, record.version, why=Why.PUBLISH, expected=expected)
    except ConflictError:
        return False
    return True


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
