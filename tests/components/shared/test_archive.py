"""Archives that are what they say, and every way in which one may not be."""

import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from components.model_pack.tar import write_tar
from components.shared.archive import ArchiveManifest, open_archive
from components.shared.detection.contract import InputContract, OutputContract, RuntimeSpec, describe_files
from components.shared.detection.inference import Inference
from components.shared.detection.manifest import ModelManifest
from components.shared.errors import ArchiveError
from components.shared.files import digest_of_digests, sha256_tree


def describe_model(model: Path, **changes: Any) -> ModelManifest:
    files = sha256_tree(model)
    files.pop("manifest.json", None)
    facts: dict[str, Any] = {
        "framework": "ultralytics",
        "weights": "weights/best.pt",
        "last": "weights/best.pt",
        "test_image": "test_image.png",
        "classes": ("cat", "dog"),
        "imgsz": 64,
        "parameters": {},
        "datasets": {},
        "libraries": {},
        "files": files,
    }
    manifest = ModelManifest(**facts | changes)
    manifest.save(model)
    return manifest


def describe_bento(bento: Path, model: ModelManifest, **changes: Any) -> ArchiveManifest:
    files = sha256_tree(bento)
    files.pop("src/manifest.json", None)
    source_files = {name.removeprefix("src/"): digest for name, digest in files.items() if name.startswith("src/")}
    digest = digest_of_digests(source_files)
    facts: dict[str, Any] = {
        "name": "pets",
        "tag": f"pets:{digest[:16]}",
        "model_digest": model.digest,
        "content_digest": digest,
        "source_files": source_files,
        "bento_files": {name: digest for name, digest in files.items() if not name.startswith("src/")},
        "classes": model.classes,
        "imgsz": model.imgsz,
        "requirements": (),
        "licences": (),
    }
    manifest = ArchiveManifest(**facts | changes)
    manifest.save(bento / "src")
    return manifest


def make_bento(bento: Path) -> ModelManifest:
    model = bento / "src" / "model"
    (model / "weights").mkdir(parents=True)
    (model / "weights" / "best.pt").write_bytes(bytes(range(256)) * 40)
    (model / "test_image.png").write_bytes(b"not looked at here")
    (bento / "src" / "service.py").write_text("answer = 42\n")
    (bento / "bento.yaml").write_text("name: pets\n")
    return describe_model(model)


def seal(bento: Path, archive: Path, manifest: ArchiveManifest) -> Path:
    archive.mkdir(exist_ok=True)
    write_tar(bento, archive / "model.bento")
    manifest.save(archive)
    return archive


@pytest.fixture
def bento(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    describe_bento(folder, make_bento(folder))
    return folder


@pytest.fixture
def archive(tmp_path: Path, bento: Path) -> Path:
    manifest = ArchiveManifest.model_validate_json((bento / "src" / "manifest.json").read_bytes())
    return seal(bento, tmp_path / "archive", manifest)


def flip_a_bit(bento: Path) -> None:
    weights = bento / "src" / "model" / "weights" / "best.pt"
    data = bytearray(weights.read_bytes())
    data[5000] ^= 1
    weights.write_bytes(bytes(data))


def change_manifest(bento: Path, **changes: Any) -> None:
    path = bento / "src" / "model" / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


MUTATIONS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "a flipped bit": (flip_a_bit, r"src/model/weights/best\.pt' .* has other bytes"),
    "swapped classes": (lambda bento: change_manifest(bento, classes=["dog", "cat"]), r"src/model/manifest\.json"),
    "another image size": (lambda bento: change_manifest(bento, imgsz=96), r"src/model/manifest\.json"),
    "a missing file": (lambda bento: (bento / "src" / "service.py").unlink(), r"src/service\.py' is missing"),
    "an added file": (lambda bento: (bento / "src" / "extra.py").write_text(""), r"src/extra\.py' .* added later"),
    "an outer file": (lambda bento: (bento / "bento.yaml").write_text("name: x"), r"bento\.yaml' .* other bytes"),
    "no manifest": (lambda bento: (bento / "src" / "manifest.json").unlink(), r"src/manifest\.json' is missing"),
}


def test_an_archive_opens_to_the_files_that_were_packed(archive: Path, bento: Path, tmp_path: Path) -> None:
    opened = open_archive(archive, tmp_path / "work")
    assert sha256_tree(opened.bento) == sha256_tree(bento)
    assert opened.model == opened.bento / "src" / "model"
    assert opened.manifest.version == opened.manifest.content_digest[:16]


def test_opening_again_replaces_what_was_there(archive: Path, tmp_path: Path) -> None:
    opened = open_archive(archive, tmp_path / "work")
    (opened.bento / "left over").write_text("from a killed run")
    assert not (open_archive(archive, tmp_path / "work").bento / "left over").exists()


def test_an_archive_of_an_earlier_release_still_opens(bento: Path, tmp_path: Path) -> None:
    model = ModelManifest.model_validate_json((bento / "src" / "model" / "manifest.json").read_bytes())
    described = describe_bento(bento, model).model_dump(mode="json")
    for name in ("inference", "runtimes", "input", "datasets", "code"):
        del described[name]
    old = json.dumps(described | {"schema_version": 1})
    (bento / "src" / "manifest.json").write_text(old)
    archive = tmp_path / "archive"
    archive.mkdir()
    write_tar(bento, archive / "model.bento")
    (archive / "manifest.json").write_text(old)
    manifest = open_archive(archive, tmp_path / "work").manifest
    assert manifest.schema_version == 1
    assert manifest.inference == Inference()
    assert manifest.runtime_names == ("torch",)


def test_an_archive_of_a_later_release_is_refused(archive: Path, tmp_path: Path) -> None:
    path = archive / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"schema_version": 3}))
    with pytest.raises(ArchiveError, match="is not an archive manifest"):
        open_archive(archive, tmp_path / "work")


def add_runtime(bento: Path, **changes: Any) -> RuntimeSpec:
    folder = bento / "src" / "runtimes" / "onnx"
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(b"not opened here")
    facts: dict[str, Any] = {
        "runtime": "onnx",
        "model": "model.onnx",
        "files": describe_files(folder),
        "input": InputContract(imgsz=64),
        "output": OutputContract(layout="yolo"),
        "classes": ("cat", "dog"),
        "requirements": ("onnxruntime",),
    }
    spec = RuntimeSpec(**facts | changes)
    spec.save(folder)
    return spec


def with_runtime(bento: Path, spec: RuntimeSpec, **claims: Any) -> ArchiveManifest:
    """The manifest of a bento with a converted model that serves on the CPU."""
    inference = Inference(runtimes={"cpu": "onnx", "cuda": "torch"})
    inference.save(bento / "src")
    model = ModelManifest.model_validate_json((bento / "src" / "model" / "manifest.json").read_bytes())
    facts: dict[str, Any] = {"inference": inference, "runtimes": ("onnx",), "input": spec.input}
    return describe_bento(bento, model, **facts | claims)


def test_an_archive_with_a_converted_model_opens(bento: Path, tmp_path: Path) -> None:
    manifest = with_runtime(bento, add_runtime(bento))
    assert open_archive(seal(bento, tmp_path / "archive", manifest), tmp_path / "work").manifest == manifest


@pytest.mark.parametrize(
    ("spec", "claims", "message"),
    [
        ({"classes": ("dog", "cat")}, {}, "classes is .* but its runtime 'onnx' has"),
        ({}, {"input": InputContract(imgsz=96)}, "input is .* but its runtime 'onnx' has"),
        ({}, {"runtimes": ()}, "runtimes is"),
        ({}, {"inference": Inference(confidence=0.9)}, "way to predict is"),
    ],
)
def test_a_converted_model_that_is_not_the_one_described_is_refused(
    bento: Path, tmp_path: Path, spec: dict[str, Any], claims: dict[str, Any], message: str
) -> None:
    manifest = with_runtime(bento, add_runtime(bento, **spec), **claims)
    with pytest.raises(ArchiveError, match=message):
        open_archive(seal(bento, tmp_path / "archive", manifest), tmp_path / "work")


def test_an_archive_that_serves_a_runtime_it_does_not_hold_is_refused(bento: Path, tmp_path: Path) -> None:
    inference = Inference(runtimes={"cpu": "openvino", "cuda": "torch"})
    inference.save(bento / "src")
    model = ModelManifest.model_validate_json((bento / "src" / "model" / "manifest.json").read_bytes())
    manifest = describe_bento(bento, model, inference=inference)
    with pytest.raises(ArchiveError, match="served with 'openvino' on 'cpu', which is not inside"):
        open_archive(seal(bento, tmp_path / "archive", manifest), tmp_path / "work")


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_every_change_is_noticed_and_named(archive: Path, bento: Path, tmp_path: Path, mutation: str) -> None:
    change, message = MUTATIONS[mutation]
    change(bento)
    write_tar(bento, archive / "model.bento")
    with pytest.raises(ArchiveError, match=message):
        open_archive(archive, tmp_path / "work")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tag": "pets:0123456789abcdef"}, "tag is 'pets:0123456789abcdef'"),
        ({"imgsz": 96}, "imgsz is 96 but the model inside has 64"),
        ({"classes": ("dog", "cat")}, "class 0 is 'dog' but the model inside has 'cat'"),
        ({"classes": ("cat",)}, "number of classes is 1"),
        ({"model_digest": "0" * 64}, "model digest"),
        ({"content_digest": "0" * 64}, "content digest"),
    ],
)
def test_a_manifest_that_was_forged_throughout_is_still_refused(
    bento: Path, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    model = ModelManifest.model_validate_json((bento / "src" / "model" / "manifest.json").read_bytes())
    forged = describe_bento(bento, model, **changes)
    with pytest.raises(ArchiveError, match=message):
        open_archive(seal(bento, tmp_path / "archive", forged), tmp_path / "work")


def test_a_manifest_beside_it_that_differs_from_the_one_inside_is_refused(archive: Path, tmp_path: Path) -> None:
    path = archive / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"imgsz": 96}))
    with pytest.raises(ArchiveError, match=r"inside the bento differs"):
        open_archive(archive, tmp_path / "work")


@pytest.mark.parametrize("name", ["manifest.json", "model.bento"])
def test_a_half_archive_says_what_is_missing(archive: Path, tmp_path: Path, name: str) -> None:
    (archive / name).unlink()
    with pytest.raises(ArchiveError, match=name):
        open_archive(archive, tmp_path / "work")


def test_a_manifest_that_is_none_is_refused(archive: Path, tmp_path: Path) -> None:
    (archive / "manifest.json").write_text('{"name": "pets"}')
    with pytest.raises(ArchiveError, match="is not an archive manifest"):
        open_archive(archive, tmp_path / "work")


@pytest.mark.parametrize("keep", [0, 20, -100])
def test_a_truncated_tar_is_refused(archive: Path, tmp_path: Path, keep: int) -> None:
    path = archive / "model.bento"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ArchiveError, match="not a complete xz tar"):
        open_archive(archive, tmp_path / "work")


def member(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname = kind, target
    return entry


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([member("../escaped")], "outside the target"),
        ([member("/etc/escaped")], "outside the target"),
        ([member("src/link", tarfile.SYMTYPE, "/etc/passwd")], "link to '/etc/passwd'"),
        ([member("src/link", tarfile.LNKTYPE, "src/x")], "link to 'src/x'"),
        ([member("src/device", tarfile.CHRTYPE)], "device"),
        ([member("src/x"), member("src/./x")], "there twice"),
    ],
)
def test_a_member_that_could_do_harm_is_refused(
    archive: Path, tmp_path: Path, members: list[tarfile.TarInfo], message: str
) -> None:
    with tarfile.open(archive / "model.bento", "w:xz") as tar:
        for entry in members:
            tar.addfile(entry, io.BytesIO())
    with pytest.raises(ArchiveError, match=message):
        open_archive(archive, tmp_path / "deep" / "work")
    assert not list(tmp_path.rglob("escaped"))


def test_a_tar_that_would_fill_the_disk_is_stopped(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("components.shared.archive.MAX_BYTES", 5000)
    with pytest.raises(ArchiveError, match="more than"):
        open_archive(archive, tmp_path / "work")
