"""A tiny trained model, its archives, and a way to change an archive so that it still agrees with itself."""

import hashlib
import json
import runpy
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from components.model_pack.options import PackOptions
from components.model_pack.pack import pack, run
from components.model_pack.tar import write_tar
from components.shared.archive import ArchiveManifest, OpenArchive, open_archive, verify
from components.shared.cpus import CPUS
from components.shared.dataset import ANNOTATIONS, IMAGES, Dataset
from components.shared.detection.contract import describe_files, load_spec
from components.shared.detection.inference import load_inference
from components.shared.detection.manifest import load_manifest
from components.shared.files import digest_of_digests, sha256_tree
from components.shared.shards import ShardWriter
from components.shared.store import open_store

TINY = runpy.run_path(str(Path(__file__).parents[1] / "model_pack" / "tiny_model.py"))
RUNTIMES = ("onnx", "onnx-int8", "torchscript")


@pytest.fixture(autouse=True)
def _one_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads that wait for each other on busy cores take longer than one does."""
    monkeypatch.setenv(CPUS, "1")


@pytest.fixture(scope="session")
def tiny() -> dict[str, Any]:
    return TINY


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(TINY["make_tiny_model"](tmp_path_factory.mktemp("trained") / "model"))


@pytest.fixture(scope="session")
def archive(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The weights alone."""
    folder = tmp_path_factory.mktemp("packed") / "archive"
    pack(model, folder, name="shapes")
    return folder


@pytest.fixture(scope="session")
def photographs() -> list[bytes]:
    return [TINY["encoded_image"](seed, 80 + 8 * seed, 60) for seed in range(1, 5)]


@pytest.fixture(scope="session")
def val(photographs: list[bytes], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset without annotations; its shards are in the store beside it."""
    folder = tmp_path_factory.mktemp("val")
    digests = [hashlib.sha256(data).hexdigest() for data in photographs]
    with ShardWriter(open_store((folder / "store").as_uri())) as writer:
        for data, digest in zip(photographs, digests, strict=True):
            writer.add(data, digest)
        shards = writer.finish()
        rows = [_row(number, digest, writer.locations[digest]) for number, digest in enumerate(digests)]
    table = pl.DataFrame(rows, schema=IMAGES)
    Dataset("few", TINY["CLASSES"], table, pl.DataFrame(schema=ANNOTATIONS), shards=shards).save(folder / "dataset")
    return folder / "dataset"


def _row(number: int, digest: str, location: Any) -> dict[str, Any]:
    size = {"width": 80 + 8 * (number + 1), "height": 60, "orientation": 1, "bytes": location.length}
    place = {"shard": location.shard, "offset": location.offset}
    return dict.fromkeys(IMAGES) | {"image_id": number, "name": f"{number}.png", "sha256": digest} | size | place


@pytest.fixture(scope="session")
def rich(model: Path, val: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The weights and three converted models, of which ONNX serves, larger images in tiles."""
    folder = tmp_path_factory.mktemp("rich")
    options = PackOptions(runtimes=RUNTIMES, serve_runtime="onnx", max_drop=1.0, tile=96)
    run(model, val, (val.parent / "store").as_uri(), folder / "archive", folder / "report.html", options)
    return folder / "archive"


@pytest.fixture(scope="session")
def bento(rich: Path, tmp_path_factory: pytest.TempPathFactory) -> OpenArchive:
    """What is in it; tests leave it alone."""
    return open_archive(rich, tmp_path_factory.mktemp("unpacked"))


@pytest.fixture
def resign(bento: OpenArchive, tmp_path: Path) -> Callable[..., OpenArchive]:
    """Change the bento's source and write every digest anew, as an attacker or a faulty packer would."""

    def resigned(change: Callable[[Path], Any], **claims: Any) -> OpenArchive:
        copy = Path(shutil.copytree(bento.bento, tmp_path / "changed"))
        change(copy / "src")
        manifest = describe_anew(OpenArchive(copy, bento.manifest), claims)
        manifest.save(copy / "src")
        verify(copy, manifest)
        return OpenArchive(copy, manifest)

    return resigned


@pytest.fixture
def write_archive(tmp_path: Path) -> Callable[[OpenArchive], Path]:
    """Pack a changed bento again."""

    def written(opened: OpenArchive) -> Path:
        archive = tmp_path / "archive"
        archive.mkdir()
        opened.manifest.save(archive)
        write_tar(opened.bento, archive / "model.bento")
        return archive

    return written


def describe_anew(opened: OpenArchive, claims: dict[str, Any]) -> ArchiveManifest:
    """The manifest of a changed bento in which every digest and copied fact is right again."""
    source = opened.bento / "src"
    files = sha256_tree(source / "model")
    files.pop("manifest.json")
    _update(source / "model" / "manifest.json", files)
    for folder in (source / "runtimes").glob("*"):
        _update(folder / "runtime.json", describe_files(folder))
    trained = load_manifest(source / "model")
    source_files = sha256_tree(source)
    source_files.pop("manifest.json")
    digest = digest_of_digests(source_files)
    return ArchiveManifest(
        **opened.manifest.model_dump()
        | {"source_files": source_files, "content_digest": digest, "tag": f"{opened.manifest.name}:{digest[:16]}"}
        | {"model_digest": trained.digest, "classes": trained.classes, "imgsz": trained.imgsz}
        | {"inference": load_inference(source), "input": load_spec(source / "runtimes" / "onnx").input}
        | claims
    )


def _update(path: Path, files: dict[str, str]) -> None:
    said = json.loads(path.read_text())
    if said["files"] != files:
        path.write_text(json.dumps(said | {"files": files}))
