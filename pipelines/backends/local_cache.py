"""Reuse of steps on one machine, keyed on what goes in: code, parameters and the content of data and artifacts."""

import hashlib
import json
import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kfp import dsl
from kfp.local.cache import LocalCache

from components.shared.dataset import load_manifest
from components.shared.errors import PipelineError
from components.shared.files import digest_of_digests, sha256_file, sha256_tree
from components.shared.sources import local_paths
from components.shared.store import open_store

_WEIGHTS = frozenset({"weights", "model", "start_from"})  # arguments that may name a file or a model that moves
OnHit = Callable[[str, dict[str, Any], dict[str, Any]], None]


class ContentCache(LocalCache):
    """kfp.local's cache, but equal content is equal wherever it lies, and a changed file is not the file it was.

    Args:
        cache_root: folder of the cache entries.
        reuse: False runs every step and only remembers the results.
        on_hit: hears the component, the arguments and the outputs of each step that is not run.
    """

    def __init__(self, cache_root: str, *, reuse: bool, on_hit: OnHit) -> None:
        super().__init__(cache_root)
        self._reuse = reuse
        self._on_hit = on_hit
        self._asked: dict[str, tuple[str, dict[str, Any]]] = {}

    def compute_key(self, component_name: str, image: str, **rest: Any) -> str:  # noqa: ANN401 - kfp's signature
        """The key of a task; ``image`` carries the digest of the step's code."""
        arguments = rest["arguments"]
        content = {name: _content(name, value) for name, value in arguments.items()}
        facts = json.dumps([component_name, image, content], sort_keys=True, default=str)
        key = hashlib.sha256(facts.encode()).hexdigest()
        self._asked[key] = (component_name, arguments)
        return key

    def get(self, key: str) -> dict[str, Any] | None:
        """The outputs remembered under ``key``, or ``None`` when there are none that still hold."""
        if not self._reuse:
            return None
        outputs: dict[str, Any] | None = super().get(key)
        component, arguments = self._asked[key]
        if outputs is None or not _still_stored(outputs, arguments):
            return None
        self._on_hit(component, arguments, outputs)
        return outputs

    def put(self, key: str, outputs: dict[str, Any]) -> None:
        """Remember the outputs of a task, unless it is a training of a sweep that gave no model: try that again."""
        if not any(isinstance(value, dsl.Artifact) and value.metadata.get("failed") for value in outputs.values()):
            super().put(key, outputs)


def _content(name: str, value: Any) -> object:  # noqa: ANN401 - whatever a task may take
    if isinstance(value, list):
        return [_content(name, item) for item in value]
    if isinstance(value, dsl.Artifact):
        facts = {key: fact for key, fact in value.metadata.items() if key not in ("display_name", "store_session_info")}
        return {"artifact": type(value).schema_title, "content": facts.get("digest") or facts}
    if name == "source" and isinstance(value, str):
        return {"source": value, "content": source_fingerprint(value)}
    if name == "overrides" and isinstance(value, dict):
        return {key: _content(key, item) for key, item in value.items()}
    if name in _WEIGHTS and isinstance(value, str):
        return {"weights": weights_fingerprint(value)}
    return value


def weights_fingerprint(weights: str) -> str:
    """Digest of a weights file or model folder; the name alone for what always means the same.

    A champion moves, and what lies elsewhere may have changed unseen, so their fingerprints never come twice.
    """
    path = Path(weights)
    if weights and path.is_file():
        return sha256_file(path)
    if weights and path.is_dir():
        return digest_of_digests(sha256_tree(path))
    return secrets.token_hex(32) if weights.endswith("champion") or "://" in weights else weights


def source_fingerprint(source: str) -> str:
    """Digest of local sources' file names, sizes and times of change; the name alone for the built-in sample.

    What lies elsewhere may have changed unseen, so its fingerprint never comes twice.
    """
    total = hashlib.sha256(source.encode())
    try:
        paths = local_paths(source)
    except PipelineError:
        return total.hexdigest()
    if paths is None:
        return secrets.token_hex(32)
    for path in paths:
        _add_files(total, path)
    return total.hexdigest()


def _add_files(total: "hashlib._Hash", path: Path) -> None:
    for folder, folders, files in os.walk(path):
        folders.sort()
        for name in sorted(files):
            status = (Path(folder) / name).stat()
            total.update(f"{folder}/{name}\0{status.st_size}\0{status.st_mtime_ns}\n".encode(errors="surrogateescape"))
    if path.is_file():
        status = path.stat()
        total.update(f"{status.st_size}\0{status.st_mtime_ns}".encode())


def _still_stored(outputs: dict[str, Any], arguments: dict[str, Any]) -> bool:
    """Whether the shards that remembered datasets point to are still in the store."""
    datasets = [value for value in outputs.values() if isinstance(value, dsl.Dataset)]
    if not datasets:
        return True
    try:
        store = open_store(str(arguments["store"]))
        shards = {shard.sha256 for value in datasets for shard in load_manifest(Path(value.path)).shards}
        return all(store.exists(f"shards/{shard}.tar") for shard in shards)
    except PipelineError:
        return False
