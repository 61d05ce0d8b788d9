"""Register a packed model in the store, whole or not at all, and make it the champion when it passed.

Below ``models/<name>/versions/<version>/`` lie the archive, its evaluations and, committed last, ``model.json``: a
reader that finds no ``model.json`` finds no version. The version is the archive's content digest.
"""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from components.shared.aliases import find_alias, move_alias
from components.shared.archive import BENTO, load_archive_manifest
from components.shared.detection.manifest import MANIFEST
from components.shared.errors import ProofError
from components.shared.files import digest_of_digests, sha256_file, sha256_tree
from components.shared.progress import Notify, silent
from components.shared.registry import CHAMPION, RECORD, ModelRecord, model_key, version_key
from components.shared.store import Store, open_store

logger = logging.getLogger(__name__)


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
    notify: Notify = silent,
) -> Published:
    """Register the archive and its evaluation; move ``champion`` to it when ``passed``.

    Args:
        archive: the packed model's folder.
        predictions: the evaluation's folder; kept under its own digest.
        store_uri: where the registry is.
        passed: whether the quality gate passed.
        proof: numbers of the proof that the archive is what was trained; empty means it was not proved.
        notify: hears how far it is.

    Raises:
        ProofError: there is no proof.
        StoreError: the store failed; running again completes the registration.
    """
    manifest = load_archive_manifest(archive)
    if not proof.get("tensors_compared"):
        raise ProofError(f"{manifest.tag!r} was not proved to be what was trained: run model_test first.")
    store = open_store(store_uri)
    name, version = manifest.name, manifest.content_digest
    root = version_key(name, version)
    notify(0.1, "keeping the archive")
    if not store.exists(f"{root}/{RECORD}"):
        # What a killed attempt left may be another packing of the same content, so it is replaced.
        for file in (BENTO, MANIFEST):
            store.upload(archive / file, f"{root}/archive/{file}")
    notify(0.6, "keeping the evaluation")
    _keep_evaluation(store, predictions, root)
    record = ModelRecord(
        name=name, version=version, bento_sha256=sha256_file(archive / BENTO), archive=manifest, proof=dict(proof)
    )
    created = store.create(f"{root}/{RECORD}", json.dumps(record.model_dump(mode="json"), indent=2).encode())
    logger.info("%s %s as version %s", "registered" if created else "already registered", name, version)
    prefix = model_key(name)
    former = find_alias(store, prefix, CHAMPION)
    current = move_alias(store, prefix, CHAMPION, version) if passed else former
    logger.info("champion of %s: %s (before: %s)", name, current and current.version, former and former.version)
    return Published(name=name, version=version, champion=current is not None and current.version == version)


def _keep_evaluation(store: Store, folder: Path, root: str) -> None:
    digests = sha256_tree(folder)
    prefix = f"{root}/evaluations/{digest_of_digests(digests)[:16]}"
    for name in digests:
        if not store.exists(f"{prefix}/{name}"):
            store.upload(folder / name, f"{prefix}/{name}")
