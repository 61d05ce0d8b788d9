"""Compare the files of the trained model with those in the archive, byte for byte."""

from pathlib import Path

from components.model_test.evidence import Check
from components.shared.detection.manifest import MANIFEST, ModelManifest, load_manifest
from components.shared.files import sha256_tree


def compare_files(trained: Path, packed: Path) -> Check:
    """sha256 of every file of both model folders, and what their manifests say, field by field."""
    before, after = sha256_tree(trained), sha256_tree(packed)
    names = sorted(before | after, key=lambda name: (name == MANIFEST, name))  # it differs whenever another file does
    files = [_difference(name, before.get(name), after.get(name)) for name in names]
    found = _manifest_differences(load_manifest(trained), load_manifest(packed)) + [text for text in files if text]
    return Check("Files", f"{len(before)} files by sha256", tuple(found), {"files_compared": len(before)})


def _difference(name: str, before: str | None, after: str | None) -> str:
    if before == after:
        return ""
    if after is None:
        return f"the file {name!r} is missing from the packed model"
    if before is None:
        return f"the file {name!r} was added to the packed model"
    return f"the file {name!r} has sha256 {before[:12]}... trained but {after[:12]}... packed"


def _manifest_differences(trained: ModelManifest, packed: ModelManifest) -> list[str]:
    differences = []
    if trained.imgsz != packed.imgsz:
        differences.append(f"imgsz is {trained.imgsz} trained but {packed.imgsz} packed")
    if trained.weights != packed.weights:
        differences.append(f"the weights file is {trained.weights!r} trained but {packed.weights!r} packed")
    if len(trained.classes) != len(packed.classes):
        differences.append(f"there are {len(trained.classes)} classes trained but {len(packed.classes)} packed")
    pairs = enumerate(zip(trained.classes, packed.classes, strict=False))
    differences += [f"class {i} is {a!r} trained but {b!r} packed" for i, (a, b) in pairs if a != b]
    return differences
