"""A whole archive of a few hundred bytes, made in milliseconds: what is in its weights does not matter."""

import json
import tarfile
from pathlib import Path

from components.shared.archive import ArchiveManifest
from components.shared.detection.manifest import ModelManifest
from components.shared.files import digest_of_digests, sha256_tree

CLASSES = ("bar", "block")


def make_archive(
    folder: Path,
    content: str = "one",
    *,
    name: str = "shapes",
    preset: int = 0,
    classes: tuple[str, ...] = CLASSES,
    lr0: float = 0.01,
    train: str = "a" * 64,
) -> Path:
    """An archive as model_pack leaves it; another ``preset`` packs the same content into other bytes."""
    bento = folder.with_name(f"{folder.name}-bento")
    model = _make_model(bento / "src" / "model", content, classes, lr0, train)
    (bento / "src" / "service.py").write_text("service = None\n")
    (bento / "src" / "requirements.txt").write_text("numpy==2\n")
    source_files = sha256_tree(bento / "src")
    content_digest = digest_of_digests(source_files)
    (bento / "bento.yaml").write_text("name: shapes\n")
    manifest = ArchiveManifest(
        name=name,
        tag=f"{name}:{content_digest[:16]}",
        model_digest=model.digest,
        content_digest=content_digest,
        source_files=source_files,
        bento_files=sha256_tree(bento, ["bento.yaml"]),
        classes=classes,
        imgsz=64,
        requirements=("numpy==2",),
        licences=('The "weights" are $free,\nand so is the rest.',),
    )
    manifest.save(bento / "src")
    folder.mkdir(parents=True)
    manifest.save(folder)
    with tarfile.open(folder / "model.bento", "w:xz", preset=preset) as tar:
        for path in sorted(bento.rglob("*")):
            tar.add(path, path.relative_to(bento).as_posix(), recursive=False)
    return folder


def make_predictions(
    folder: Path,
    archive: Path | None = None,
    *,
    map50: float = 0.9,
    passed: bool = True,
    reasons: tuple[str, ...] = (),
    champion: dict[str, str] | None = None,
) -> Path:
    """An evaluation's folder; ``quality.json`` is in it when ``archive`` says what was evaluated."""
    (folder / "coco").mkdir(parents=True)
    (folder / "evaluation.json").write_text(json.dumps({"map50": map50}))
    (folder / "coco" / "detections.json").write_text("[]")
    if archive is not None:
        manifest = json.loads((archive / "manifest.json").read_text())
        rows = [
            {"category": name, "ap50_95": map50 / 2 if place == 0 else None, "ap50": map50}
            for place, name in enumerate(manifest["classes"])
        ]
        quality = {
            "passed": passed,
            "reasons": reasons,
            "metrics": {"map50": map50, "map50_95": map50 / 2},
            "facts": {"model digest": manifest["model_digest"], "dataset version": "e" * 64},
            "per_class": rows,
            "curves": {},
        }
        if champion is not None:
            quality["champion"] = champion
        (folder / "quality.json").write_text(json.dumps(quality))
    return folder


def _make_model(folder: Path, content: str, classes: tuple[str, ...], lr0: float, train: str) -> ModelManifest:
    folder.mkdir(parents=True)
    (folder / "best.pt").write_bytes(content.encode() * 1000)
    (folder / "last.pt").write_bytes(content.encode() * 999)
    (folder / "test.png").write_bytes(b"no picture")
    manifest = ModelManifest(
        name="shapes",
        framework="ultralytics",
        weights="best.pt",
        last="last.pt",
        test_image="test.png",
        classes=classes,
        imgsz=64,
        parameters={"lr0": lr0, "epochs": 3},
        datasets={"train": train, "val": "b" * 64},
        libraries={"torch": "2.15"},
        metrics={"map50": 0.8},
        files=sha256_tree(folder),
    )
    manifest.save(folder)
    return manifest
