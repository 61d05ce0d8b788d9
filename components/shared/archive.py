"""A packed model: ``model.bento`` and the ``manifest.json`` that says what must be in it, read and verified."""

import lzma
import shutil
import tarfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from components.shared.detection.contract import InputContract, load_spec
from components.shared.detection.inference import TORCH, Inference, load_inference
from components.shared.detection.manifest import MANIFEST, ModelManifest, load_manifest, verify_files
from components.shared.errors import ArchiveError
from components.shared.files import digest_of_digests, sha256_tree, write_atomically

BENTO = "model.bento"
SOURCE = "src"  # what the service runs from
MODEL = "model"  # the model folder, below the source
VERSION_LENGTH = 16
SCHEMA_VERSION = 2  # 1 had no runtimes, no inference and no data sets
MAX_FILES = 10_000
MAX_BYTES = 8 << 30
_SHA256 = r"^[0-9a-f]{64}$"


class ArchiveManifest(BaseModel):
    """What ``manifest.json`` beside ``model.bento`` says; the same bytes are in the bento as ``src/manifest.json``.

    Attributes:
        name: the model's name, the part of ``tag`` before the colon.
        tag: ``name:version``; the version is the first 16 digits of ``content_digest``.
        model_digest: ``ModelManifest.digest`` of the model inside.
        content_digest: one sha256 for the source files: the model, the service, its code and its requirements.
        source_files: the files ``content_digest`` covers; sha256 by posix path relative to the source folder.
        bento_files: sha256 of every other file of the bento but this manifest, relative to the bento.
        classes: class names; the index is the model's class id.
        imgsz: longest edge in pixels an image is scaled to.
        requirements: the libraries it was packed with, ``name==version``.
        licences: what has to be known before it is passed on.
        inference: how it predicts unless asked otherwise; the same as ``src/inference.json``.
        runtimes: the converted models inside, below ``src/runtimes``; the weights are always there.
        input: what the converted models take; ``None`` without any.
        datasets: versions of the data sets it was trained on, by split.
        code: release and digest of the code that packed it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: int = Field(default=SCHEMA_VERSION, ge=1, le=SCHEMA_VERSION)
    name: str
    tag: str
    model_digest: str = Field(pattern=_SHA256)
    content_digest: str = Field(pattern=_SHA256)
    source_files: dict[str, str]
    bento_files: dict[str, str]
    classes: tuple[str, ...]
    imgsz: int = Field(gt=0)
    requirements: tuple[str, ...]
    licences: tuple[str, ...]
    inference: Inference = Field(default_factory=Inference)
    runtimes: tuple[str, ...] = ()
    input: InputContract | None = None
    datasets: dict[str, str] = Field(default_factory=dict)
    code: str = ""

    @property
    def version(self) -> str:
        """The part of the tag after the colon."""
        return self.tag.rpartition(":")[2]

    @property
    def files(self) -> dict[str, str]:
        """sha256 of every file of the bento but the manifest itself, relative to the bento."""
        return {f"{SOURCE}/{name}": digest for name, digest in self.source_files.items()} | self.bento_files

    @property
    def runtime_names(self) -> tuple[str, ...]:
        """Every runtime the archive can predict with: the weights first."""
        return (TORCH, *self.runtimes)

    def save(self, directory: Path) -> None:
        """Write ``manifest.json`` into ``directory``, atomically."""
        with write_atomically(directory / MANIFEST) as temporary:
            temporary.write_text(self.model_dump_json(indent=2) + "\n", encoding="utf-8")


@dataclass(frozen=True)
class OpenArchive:
    """An archive that was unpacked and found to be what its manifest says.

    Attributes:
        bento: the unpacked bento, ready for ``bentoml serve``.
        manifest: what it is.
        model: the model folder inside, ready for a ``Detector``.
    """

    bento: Path
    manifest: ArchiveManifest

    @property
    def model(self) -> Path:
        """The model folder inside the bento."""
        return self.bento / SOURCE / MODEL


def load_archive_manifest(directory: Path) -> ArchiveManifest:
    """The manifest in ``directory`` (an archive's folder or a bento's source).

    Raises:
        ArchiveError: it is missing or not one of ours.
    """
    path = directory / MANIFEST
    try:
        return ArchiveManifest.model_validate_json(path.read_bytes())
    except FileNotFoundError as error:
        raise ArchiveError(f"{str(directory)!r} holds no packed model ({MANIFEST} is missing).") from error
    except ValidationError as error:
        raise ArchiveError(f"{str(path)!r} is not an archive manifest: {error.errors()[0]['msg']}.") from error


def open_archive(archive: Path, work: Path) -> OpenArchive:
    """Unpack the archive into ``work / "bento"`` (replacing what was there) and verify every byte of it.

    Raises:
        ArchiveError: it is no archive, unsafe to unpack, or differs from its manifest; the message names the file.
    """
    manifest = load_archive_manifest(archive)
    bento = work / "bento"
    shutil.rmtree(bento, ignore_errors=True)
    bento.mkdir(parents=True)
    unpack(archive / BENTO, bento)
    verify(bento, manifest)
    return OpenArchive(bento=bento, manifest=manifest)


def unpack(bento: Path, target: Path) -> None:
    """Extract the tar at ``bento`` into the empty folder ``target``: plain files and folders only.

    Raises:
        ArchiveError: it is no xz tar, or a member is a link, a device, out of place, repeated or too large.
    """
    try:
        with tarfile.open(bento, "r:xz") as tar:
            seen: set[str] = set()
            total = 0
            for member in tar:
                total += member.size
                _check_member(member, seen, total, bento)
                _extract(tar, member, target / member.name)
    except FileNotFoundError as error:
        raise ArchiveError(f"{bento.name!r} is missing from the archive {str(bento.parent)!r}.") from error
    except (tarfile.TarError, lzma.LZMAError, EOFError) as error:
        raise ArchiveError(f"{str(bento)!r} is not a complete xz tar ({error}): copy the archive again.") from error
    except OSError as error:
        raise ArchiveError(f"{str(bento)!r} cannot be unpacked to {str(target)!r}: {error.strerror}.") from error


def _extract(tar: tarfile.TarFile, member: tarfile.TarInfo, target: Path) -> None:
    """Write a member that was checked; Python before 3.11.4 has no filter for ``TarFile.extract``."""
    if member.isdir():
        target.mkdir(parents=True, exist_ok=True)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    content = tar.extractfile(member)
    if content is None:
        raise tarfile.TarError(f"{member.name!r} has no content")
    with content, target.open("xb") as file:
        shutil.copyfileobj(content, file, 1 << 20)


def verify(bento: Path, manifest: ArchiveManifest) -> None:
    """Compare an unpacked bento with the manifest that came beside it.

    Raises:
        ArchiveError: a file is missing, was added or has other bytes, or the manifest contradicts itself or the model.
    """
    found = sha256_tree(bento)
    own = f"{SOURCE}/{MANIFEST}"
    if found.pop(own, None) is None:
        raise ArchiveError(f"{own!r} is missing from the bento of {manifest.tag!r}.")
    if load_archive_manifest(bento / SOURCE) != manifest:
        raise ArchiveError(f"{own!r} inside the bento differs from the {MANIFEST!r} beside it: pack the model again.")
    expected = manifest.files
    for name in sorted(found.keys() | expected.keys()):
        if name not in found:
            raise ArchiveError(f"{name!r} is missing from the bento of {manifest.tag!r}: pack the model again.")
        if name not in expected:
            raise ArchiveError(f"{name!r} in the bento of {manifest.tag!r} is not in its manifest: it was added later.")
        if found[name] != expected[name]:
            raise ArchiveError(f"{name!r} in the bento of {manifest.tag!r} has other bytes than its manifest says.")
    _check_claims(manifest, bento / SOURCE / MODEL)


def _check_member(member: tarfile.TarInfo, seen: set[str], total: int, bento: Path) -> None:
    path = PurePosixPath(member.name)
    where = f"{member.name!r} in {str(bento)!r}"
    if path.is_absolute() or ".." in path.parts or "\\" in member.name:
        raise ArchiveError(f"{where} would be written outside the target: the archive is not one of ours.")
    if not (member.isreg() or member.isdir()):
        raise ArchiveError(f"{where} is a {_kind(member)}, only files and folders are unpacked.")
    if str(path) in seen:
        raise ArchiveError(f"{where} is there twice: the archive is not one of ours.")
    seen.add(str(path))
    if len(seen) > MAX_FILES or total > MAX_BYTES:
        raise ArchiveError(
            f"{str(bento)!r} holds more than {MAX_FILES} files or {MAX_BYTES} bytes; stopped at {where}."
        )


def _kind(member: tarfile.TarInfo) -> str:
    if member.issym() or member.islnk():
        return f"link to {member.linkname!r}"
    return "device" if member.isdev() else f"member of type {member.type!r}"


def _check_claims(manifest: ArchiveManifest, model: Path) -> None:
    """What the manifest says about the model must be what the model's own manifest says."""
    inner: ModelManifest = load_manifest(model)
    verify_files(model, inner)
    if digest_of_digests(manifest.source_files) != manifest.content_digest:
        raise ArchiveError(f"The content digest {manifest.content_digest!r} is not that of the files it stands for.")
    claims = {
        "tag": (manifest.tag, f"{manifest.name}:{manifest.content_digest[:VERSION_LENGTH]}"),
        "model digest": (manifest.model_digest, inner.digest),
        "number of classes": (len(manifest.classes), len(inner.classes)),
        "imgsz": (manifest.imgsz, inner.imgsz),
        "way to predict": (manifest.inference, load_inference(model.parent)),
        "runtimes": (sorted(manifest.runtimes), _runtimes(model.parent)),
    }
    names = zip(manifest.classes, inner.classes, strict=False)
    claims |= {f"class {index}": pair for index, pair in enumerate(names)}
    for claim, (said, real) in claims.items():
        if said != real:
            raise ArchiveError(f"The archive's {claim} is {said!r} but the model inside has {real!r}: pack it again.")
    _check_runtimes(manifest, model.parent)


def _check_runtimes(manifest: ArchiveManifest, source: Path) -> None:
    """What serves must be inside, and every converted model must be one of these classes and take the same input."""
    for kind, runtime in manifest.inference.runtimes.items():
        if runtime not in manifest.runtime_names:
            raise ArchiveError(
                f"{manifest.tag!r} is to be served with {runtime!r} on {kind!r}, which is not inside: pack it again."
            )
    for runtime in manifest.runtimes:
        spec = load_spec(source / "runtimes" / runtime)
        pairs = {"classes": (spec.classes, manifest.classes), "input": (spec.input, manifest.input)}
        for claim, (real, said) in pairs.items():
            if said != real:
                raise ArchiveError(
                    f"The archive's {claim} is {said!r} but its runtime {runtime!r} has {real!r}: pack it again."
                )


def _runtimes(source: Path) -> list[str]:
    return sorted(path.name for path in (source / "runtimes").glob("*") if path.is_dir())
