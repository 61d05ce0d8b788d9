"""What a record keeps of a model's origin, read from the archive itself and from its evaluation."""

import hashlib
import lzma
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from components.shared.archive import BENTO, MODEL, SOURCE, ArchiveManifest
from components.shared.detection.manifest import MANIFEST, ModelManifest
from components.shared.errors import ArchiveError, FormatError, ProofError
from components.shared.model_lineage import QUALITY, Gate, Lineage, Quality, code_version

_LARGEST_MANIFEST = 64 << 20


def read_quality(predictions: Path, manifest: ArchiveManifest) -> Quality | None:
    """What the evaluation in ``predictions`` says of the archive; ``None`` when it keeps no ``quality.json``.

    Raises:
        FormatError: it cannot be read.
        ProofError: it is the evaluation of another model.
    """
    path = predictions / QUALITY
    if not path.is_file():
        return None
    try:
        quality = Quality.model_validate_json(path.read_bytes())
    except ValidationError as error:
        detail = error.errors()[0]["msg"]
        raise FormatError(f"{str(path)!r} is no evaluation ({detail}): run model_eval again.") from error
    measured = quality.facts.get("model digest", manifest.model_digest)
    if measured != manifest.model_digest:
        raise ProofError(
            f"The evaluation in {str(predictions)!r} is of model {str(measured)[:12]!r}, not of {manifest.tag!r}"
            f" ({manifest.model_digest[:12]!r}): evaluate the archive that is to be published."
        )
    return quality


def read_model_manifest(archive: Path, manifest: ArchiveManifest) -> ModelManifest:
    """The manifest of the model inside the archive, once its digest is the one the archive's manifest gives.

    Raises:
        ArchiveError: the bento is no complete archive of ours, or its model is another one.
    """
    data = _read_member(archive / BENTO, f"{SOURCE}/{MODEL}/{MANIFEST}")
    try:
        model = ModelManifest.model_validate_json(data)
    except ValidationError as error:
        detail = error.errors()[0]["msg"]
        raise ArchiveError(
            f"The model in {manifest.tag!r} has no manifest of ours ({detail}): pack it again."
        ) from error
    expected = manifest.source_files.get(f"{MODEL}/{MANIFEST}")
    if hashlib.sha256(data).hexdigest() != expected or model.digest != manifest.model_digest:
        raise ArchiveError(f"The model in {manifest.tag!r} is not the one its manifest describes: pack it again.")
    return model


@dataclass(frozen=True)
class Origin:
    """The run that publishes a model, and the digest of the data, parameters and code it came from."""

    run: str
    basis: str


def describe_lineage(
    model: ModelManifest, quality: Quality | None, gate: Gate, origin: Origin, *, evaluation: str
) -> Lineage:
    """Put together what is known of a model's origin and its evaluation.

    Args:
        model: the manifest of the trained model.
        quality: its evaluation, if that was kept.
        gate: what decides whether it may be the champion.
        origin: where it comes from.
        evaluation: the folder the evaluation is kept in.
    """
    return Lineage(
        run=origin.run,
        basis=origin.basis,
        code=code_version(),
        framework=model.framework,
        datasets={**model.datasets, **_test_version(quality.facts if quality else {})},
        parameters=model.parameters,
        libraries=model.libraries,
        training=model.metrics,
        evaluation=quality.metrics if quality else {},
        evaluation_id=evaluation,
        gate=gate,
    )


def _test_version(facts: Mapping[str, object]) -> dict[str, str]:
    version = facts.get("dataset version")
    return {"test": version} if isinstance(version, str) else {}


def _read_member(bento: Path, name: str) -> bytes:
    """One file of the tar, read as far as it stands in it."""
    try:
        with tarfile.open(bento, "r|xz") as tar:
            for member in tar:
                if member.name != name:
                    continue
                if not member.isreg() or member.size > _LARGEST_MANIFEST:
                    break
                stream = tar.extractfile(member)
                return stream.read() if stream else b""
    except FileNotFoundError as error:
        raise ArchiveError(f"{BENTO!r} is missing from the archive {str(bento.parent)!r}: pack the model.") from error
    except (tarfile.TarError, lzma.LZMAError, EOFError) as error:
        raise ArchiveError(f"{str(bento)!r} is not a complete xz tar ({error}): copy the archive again.") from error
    raise ArchiveError(f"{name!r} is missing from {str(bento)!r}: pack the model again.")
