"""What an archive says of itself beyond its files: the digest noted at packing, thresholds, libraries and code."""

import importlib.metadata
import re
from collections.abc import Iterator
from pathlib import Path

from components.model_test.evidence import Check
from components.shared.archive import SOURCE, ArchiveManifest, OpenArchive
from components.shared.detection.engines import engine_requirements
from components.shared.detection.frameworks import find_framework
from components.shared.detection.manifest import ModelManifest
from components.shared.files import sha256_file
from components.shared.model_lineage import code_version
from components.shared.runtime_table import RUNTIMES, load_runtime_table

_PACKAGE = Path(__file__).resolve().parents[1]  # components/
_SERVICE = _PACKAGE / "model_pack"  # where the service's own file comes from
_PIN = re.compile(r"^([A-Za-z0-9][\w.-]*)==([^\s;\\]+)", re.MULTILINE)


def compare_claims(trained: ModelManifest, archive: Path, opened: OpenArchive, *, recorded: str = "") -> Check:
    """Everything the archive says that can be held against something else.

    Args:
        trained: manifest of the trained model.
        archive: the archive's folder, for the table of runtimes beside ``model.bento``.
        opened: the unpacked archive.
        recorded: the content digest that was noted elsewhere when it was packed; empty: not known.

    Raises:
        ArchiveError: the table of runtimes cannot be read.
    """
    manifest = opened.manifest
    differences = [
        *_recorded(manifest, recorded),
        *_origin(trained, manifest),
        *_inference(manifest),
        *_table(archive, manifest),
        *_requirements(trained, opened),
        *_code(opened),
    ]
    compared = f"digest {'noted at packing' if recorded else 'not noted'}, thresholds, libraries, code"
    if manifest.code != code_version():
        compared += f" (packed by {manifest.code or 'an unknown release'}, so its code is not compared)"
    return Check("Archive", compared, tuple(differences), {"facts_compared": 6})


def _recorded(manifest: ArchiveManifest, recorded: str) -> Iterator[str]:
    if recorded and recorded != manifest.content_digest:
        yield (
            f"the archive's content digest is {manifest.content_digest[:12]}... but {recorded[:12]}... was noted when "
            "it was packed: its files, thresholds or code were changed since"
        )


def _origin(trained: ModelManifest, manifest: ArchiveManifest) -> Iterator[str]:
    if manifest.model_digest != trained.digest:
        yield f"the model's digest is {trained.digest[:12]}... trained but {manifest.model_digest[:12]}... packed"
    if manifest.datasets and manifest.datasets != trained.datasets:
        yield f"the data sets are {trained.datasets!r} trained but {manifest.datasets!r} packed"


def _inference(manifest: ArchiveManifest) -> Iterator[str]:
    """Whether its way to predict is about classes and runtimes it has."""
    for name in sorted(set(manifest.inference.class_confidence) - set(manifest.classes)):
        yield f"class_confidence has a threshold for {name!r}, which is no class of the model"
    for device, runtime in sorted(manifest.inference.runtimes.items()):
        if runtime not in manifest.runtime_names:
            yield f"{runtime!r} shall predict on {device!r}, but the archive does not hold it"


def _table(archive: Path, manifest: ArchiveManifest) -> Iterator[str]:
    """Whether the table that was measured at packing is about the same runtimes."""
    table = load_runtime_table(archive)
    if table is None:
        return
    served = {device: row.runtime for row in table.rows for device in row.served}
    for device, runtime in sorted(served.items()):
        if manifest.inference.runtime_for(device) != runtime:
            own = manifest.inference.runtime_for(device)
            yield f"{RUNTIMES} says {runtime!r} serves on {device!r}, but {own!r} does"
    kept = {row.runtime for row in table.rows if not row.refused}
    for runtime in sorted(kept ^ set(manifest.runtime_names)):
        where = RUNTIMES if runtime in kept else "the archive"
        yield f"the runtime {runtime!r} is in {where} alone, not in both {RUNTIMES} and the archive"


def _requirements(trained: ModelManifest, opened: OpenArchive) -> Iterator[str]:
    """Whether it asks for the libraries it was proved with here."""
    manifest = opened.manifest
    wanted = dict(pin.split("==", 1) for pin in manifest.requirements if "==" in pin)
    needed = set(find_framework(trained.framework).requirements)
    needed.update(*(engine_requirements(runtime) for runtime in manifest.runtimes))
    for name in sorted(needed - set(wanted)):
        yield f"the library {name!r} is needed but not among the archive's requirements"
    listed: dict[str, set[str]] = {}
    for path in sorted((opened.bento / SOURCE).glob("requirements*.txt")):
        for name, version in _PIN.findall(path.read_text(encoding="utf-8", errors="replace")):
            listed.setdefault(_canonical(name), set()).add(version.partition("+")[0])
    for name, version in sorted(wanted.items()):
        if version not in listed.get(_canonical(name), set()):
            told = " or ".join(sorted(listed.get(_canonical(name), ()))) or "nothing"
            yield f"the manifest requires {name}=={version}, but the requirements list {told} for it"
    for name, versions in sorted((listed | {_canonical(name): {version} for name, version in wanted.items()}).items()):
        here = _installed(name)
        if here not in versions:
            asked = " or ".join(sorted(versions))
            yield f"the archive requires {name}=={asked}, but it was proved with {here or 'none'}: pack it again here"


def _installed(name: str) -> str:
    try:
        return importlib.metadata.version(name).partition("+")[0]
    except importlib.metadata.PackageNotFoundError:
        return ""


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _code(opened: OpenArchive) -> Iterator[str]:
    """Whether its code is what runs here, where the same release packed it."""
    if opened.manifest.code != code_version():
        return
    source = opened.bento / SOURCE
    for name, digest in sorted(opened.manifest.source_files.items()):
        top = name.partition("/")[0]
        if not name.endswith(".py") or top in {"model", "runtimes"}:
            continue
        own = _PACKAGE / (source / name).relative_to(source / "components") if top == "components" else _SERVICE / name
        if not own.is_file():
            yield f"the code {name!r} in the archive is none of ours"
        elif sha256_file(own) != digest:
            yield f"the code {name!r} in the archive is not what {opened.manifest.code} has"
