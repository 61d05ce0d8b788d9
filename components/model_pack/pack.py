"""Pack a trained model into a bento that proves what is in it: the same model always gives the same bytes."""

import importlib.metadata
import logging
import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from components.model_pack.bento import build_bento
from components.model_pack.options import PackOptions
from components.model_pack.tar import write_tar
from components.shared.archive import BENTO, MODEL, SOURCE, VERSION_LENGTH, ArchiveManifest
from components.shared.detection.frameworks import Framework, find_framework
from components.shared.detection.manifest import MANIFEST, ModelManifest, load_manifest, verify_files
from components.shared.errors import ArchiveError, ConfigError
from components.shared.files import digest_of_digests, sha256_tree
from components.shared.progress import Notify, silent

logger = logging.getLogger(__name__)
PACKAGE = Path(__file__).resolve().parents[1]  # components/
SERVICE = Path(__file__).with_name("service.py")
CODE = (
    "__init__.py",
    "model_pack/__init__.py",
    "model_pack/uploads.py",
    "shared/__init__.py",
    "shared/archive.py",
    "shared/cpus.py",
    "shared/errors.py",
    "shared/files.py",
    "shared/images.py",
    "shared/detection/__init__.py",
    "shared/detection/contract.py",
    "shared/detection/detector.py",
    "shared/detection/frameworks.py",
    "shared/detection/inference.py",
    "shared/detection/manifest.py",
)
"""What every packed model brings along, below ``components/``; its framework names the rest."""
REQUIREMENTS = ("bentoml", "numpy", "opencv-python-headless", "pillow", "pydantic", "python-multipart")
LICENCE = "The service code in this archive is Apache-2.0; BentoML is Apache-2.0."
_NAME = re.compile(r"[a-z0-9]([-._a-z0-9]{0,61}[a-z0-9])?")


@dataclass(frozen=True)
class Packed:
    """A packed model: its manifest, and flat finite numbers on its runtimes, such as ``onnx_latency_ms_p50``."""

    manifest: ArchiveManifest
    metrics: dict[str, float]


def run(
    model: Path,
    val: Path,
    store: str,
    archive: Path,
    report: Path,
    options: PackOptions,
    notify: Notify = silent,
) -> Packed:
    """The step: ``pack`` under the name the model's manifest gives."""
    del val, store, report, options
    return Packed(pack(model, archive, name=load_manifest(model).name, notify=notify), {})


def pack(model: Path, archive: Path, *, name: str, notify: Notify = silent) -> ArchiveManifest:
    """Pack the model folder ``model`` into ``archive`` as ``model.bento`` (an xz tar) and ``manifest.json``.

    The version is the beginning of the content's digest, so packing the same model with the same code and libraries
    again gives the same tag and a byte-identical file. The manifest is written last.

    Args:
        model: a folder with a ``ModelManifest``; it is verified first and copied byte for byte.
        archive: the folder to write into; made when absent.
        name: lower-case letters, digits, ``-``, ``.`` and ``_``, at most 63.
        notify: told how far it is.

    Raises:
        ConfigError: the name cannot be a bento's name.
        ArchiveError: the model is not what its manifest says, or the bento could not be built.
    """
    if not _NAME.fullmatch(name):
        raise ConfigError(f"The model name {name!r} is refused: use at most 63 of a-z, 0-9, '-', '.' and '_'.")
    trained = load_manifest(model)
    verify_files(model, trained)
    with tempfile.TemporaryDirectory(prefix="pack-") as work:
        staging, bento = Path(work) / "staging", Path(work) / "bento"
        notify(0.1, "collecting files")
        framework = find_framework(trained.framework)
        _stage(model, staging, framework)
        source_files = sha256_tree(staging)
        content_digest = digest_of_digests(source_files)
        version = content_digest[:VERSION_LENGTH]
        notify(0.2, "building the bento")
        build_bento(staging, bento, name=name, version=version)
        manifest = _describe(bento, trained, source_files, tag=f"{name}:{version}")
        manifest.save(bento / SOURCE)
        notify(0.7, "compressing")
        archive.mkdir(parents=True, exist_ok=True)
        (archive / MANIFEST).unlink(missing_ok=True)
        write_tar(bento, archive / BENTO)
        manifest.save(archive)
    logger.info("packed %s: %d bytes", manifest.tag, (archive / BENTO).stat().st_size)
    notify(1.0, f"packed {manifest.tag}")
    return manifest


def pinned_requirements(framework: Framework) -> tuple[str, ...]:
    """The libraries the service of a framework's model needs, at the versions that run now.

    Raises:
        ArchiveError: one of them is not installed.
    """
    pins = []
    for library in sorted({*REQUIREMENTS, *framework.requirements}):
        try:
            version = importlib.metadata.version(library)
        except importlib.metadata.PackageNotFoundError as error:
            raise ArchiveError(f"The library {library!r} is not installed, so it cannot be pinned.") from error
        pins.append(f"{library}=={version.partition('+')[0]}")
    return tuple(pins)


def _stage(model: Path, staging: Path, framework: Framework) -> None:
    """Lay out what the service runs from: the model, its code under its own package path, and its requirements."""
    shutil.copytree(model, staging / MODEL, copy_function=shutil.copyfile)
    for relative in (*CODE, *framework.code):
        target = staging / "components" / relative
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(PACKAGE / relative, target)
    shutil.copyfile(SERVICE, staging / "service.py")
    (staging / "requirements.txt").write_text("\n".join(pinned_requirements(framework)) + "\n", encoding="utf-8")


def _describe(bento: Path, trained: ModelManifest, source_files: dict[str, str], *, tag: str) -> ArchiveManifest:
    """The manifest of a built bento, once it is sure that the build kept every source file as it was.

    Raises:
        ArchiveError: a source file was changed or left out.
    """
    framework = find_framework(trained.framework)
    built = sha256_tree(bento)
    for name, digest in source_files.items():
        if built.pop(f"{SOURCE}/{name}", None) != digest:
            raise ArchiveError(f"{name!r} was left out of the bento or changed by the build of {tag!r}.")
    return ArchiveManifest(
        name=tag.rpartition(":")[0],
        tag=tag,
        model_digest=trained.digest,
        content_digest=digest_of_digests(source_files),
        source_files=source_files,
        bento_files=built,
        classes=trained.classes,
        imgsz=trained.imgsz,
        requirements=pinned_requirements(framework),
        licences=(*framework.licences, LICENCE),
    )
