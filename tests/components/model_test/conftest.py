"""A tiny trained model, its archive, and a way to change an archive so that it still agrees with itself."""

import json
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from components.model_pack.pack import pack
from components.model_pack.tar import write_tar
from components.shared.archive import ArchiveManifest, open_archive
from components.shared.detection.manifest import load_manifest
from components.shared.files import digest_of_digests, sha256_tree

TINY = runpy.run_path(str(Path(__file__).parents[1] / "model_pack" / "tiny_model.py"))


@pytest.fixture(scope="session")
def tiny() -> dict[str, Any]:
    return TINY


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(TINY["make_tiny_model"](tmp_path_factory.mktemp("trained") / "model"))


@pytest.fixture(scope="session")
def archive(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("packed") / "archive"
    pack(model, folder, name="shapes")
    return folder


@pytest.fixture
def resign(archive: Path, tmp_path: Path) -> Callable[..., Path]:
    """Change the bento's source and write every digest anew, as an attacker or a faulty packer would."""

    def resigned(change: Callable[[Path], Any], **claims: Any) -> Path:
        opened = open_archive(archive, tmp_path / "to change")
        source = opened.bento / "src"
        change(source)
        own = source / "model" / "manifest.json"
        files = sha256_tree(source / "model")
        files.pop("manifest.json")
        if files != json.loads(own.read_text())["files"]:
            own.write_text(json.dumps(json.loads(own.read_text()) | {"files": files}))
        trained = load_manifest(source / "model")
        source_files = sha256_tree(source)
        source_files.pop("manifest.json")
        digest = digest_of_digests(source_files)
        manifest = ArchiveManifest(
            **opened.manifest.model_dump()
            | {"source_files": source_files, "content_digest": digest, "tag": f"shapes:{digest[:16]}"}
            | {"model_digest": trained.digest, "classes": trained.classes, "imgsz": trained.imgsz}
            | claims
        )
        target = tmp_path / "changed"
        target.mkdir()
        manifest.save(source)
        manifest.save(target)
        write_tar(opened.bento, target / "model.bento")
        return target

    return resigned
