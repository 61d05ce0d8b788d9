"""Pack a trained model into a bento that proves what is in it: the same model always gives the same bytes."""

import logging
import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import yaml

from components.model_pack.bento import build_bento
from components.model_pack.compare import Compared, compare_runtimes
from components.model_pack.conversions import check_device
from components.model_pack.options import PackOptions
from components.model_pack.report import runtime_metrics, write_report
from components.model_pack.requirements import WITH_WEIGHTS, pinned_requirements, write_requirements
from components.model_pack.samples import read_samples
from components.model_pack.serving.limits import limits_of
from components.model_pack.serving.openapi import openapi_document
from components.model_pack.tar import write_tar
from components.shared.archive import BENTO, MODEL, SOURCE, VERSION_LENGTH, ArchiveManifest
from components.shared.detection.engines import engine_code
from components.shared.detection.frameworks import Framework, find_framework
from components.shared.detection.inference import TORCH, Inference
from components.shared.detection.manifest import MANIFEST, ModelManifest, load_manifest, verify_files
from components.shared.errors import ArchiveError, ConfigError
from components.shared.files import digest_of_digests, sha256_tree
from components.shared.model_lineage import code_version
from components.shared.progress import Notify, silent
from components.shared.runtime_table import RUNTIMES, RuntimeTable

__all__ = ["CODE", "PackOptions", "Packed", "pack", "pinned_requirements", "run"]

logger = logging.getLogger(__name__)
PACKAGE = Path(__file__).resolve().parents[1]  # components/
SERVICE = Path(__file__).with_name("service.py")
OPENAPI = "apis/openapi.yaml"  # of the bento
CODE = (
    "__init__.py",
    "model_pack/__init__.py",
    "model_pack/serving/__init__.py",
    "model_pack/serving/about.py",
    "model_pack/serving/app.py",
    "model_pack/serving/draw.py",
    "model_pack/serving/grpc_inference.proto",
    "model_pack/serving/grpc_inference_pb2.py",
    "model_pack/serving/grpc_server.py",
    "model_pack/serving/grpc_start.py",
    "model_pack/serving/grpc_tensors.py",
    "model_pack/serving/lane.py",
    "model_pack/serving/limits.py",
    "model_pack/serving/metrics.py",
    "model_pack/serving/openapi.py",
    "model_pack/serving/page.py",
    "model_pack/serving/predictor.py",
    "model_pack/serving/schema.py",
    "model_pack/serving/sizing.py",
    "model_pack/serving/standalone.py",
    "model_pack/serving/start.py",
    "model_pack/serving/upload.py",
    "model_pack/serving/assets/docs.html",
    "model_pack/serving/assets/docs.js",
    "model_pack/serving/assets/page.css",
    "model_pack/serving/assets/page.html",
    "model_pack/serving/assets/page.js",
    "model_pack/serving/prediction.schema.json",
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
    "shared/detection/merging.py",
    "shared/detection/tiling.py",
)
"""What every packed model brings along, below ``components/``; its framework names the rest."""
LICENCE = "The service code in this archive is Apache-2.0; BentoML is Apache-2.0."
_COPYLEFT = "AGPL"
_NAME = re.compile(r"[a-z0-9]([-._a-z0-9]{0,61}[a-z0-9])?")
_MEASURING, _BUILDING, _COMPRESSING = 0.1, 0.7, 0.9


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
    """Pack a model, under the name its manifest gives, with the converted models that are as good as its weights.

    Beside what ``pack`` writes there are ``runtimes.json``, a ``RuntimeTable``, and the report. The archive's bytes
    follow from the model, the validation images, the options, the code and the libraries; which runtime ``auto``
    serves follows from the times measured too, but only where another is at least 1.25 times as fast as the first
    choice.

    Args:
        model: the trained model's folder.
        val: folder of the validation data set.
        store: where its images lie.
        archive: the folder to write into; made when absent.
        report: the HTML file with the runtimes side by side.
        options: what to convert to, and what a runtime may lose.
        notify: told how far it is.

    Raises:
        ConfigError: an option cannot be used with this model or on this machine.
        ArchiveError: the model is not what its manifest says, the runtime that shall serve cannot, or the bento could
            not be built.
        FormatError: ``val`` is not one of our data sets.
        StoreError: the store failed.
    """
    name = load_manifest(model).name
    check_device(options)
    with tempfile.TemporaryDirectory(prefix="pack-") as folder:
        work = Path(folder)
        staging = work / "staging"
        trained = _stage_model(model, staging, name)
        notify(0.02, "reading validation images")
        samples = read_samples(val, store, work / "samples", options.images)
        compared = compare_runtimes(
            staging,
            trained,
            options,
            samples,
            lambda share, message: notify(_MEASURING + share * (_BUILDING - _MEASURING), message),
        )
        manifest = _build(staging, work / "bento", trained, name, compared, notify)
        write_report(compared, manifest, options, report)
        _commit(work / "bento", manifest, archive, notify, compared.table)
    notify(1.0, f"packed {manifest.tag}")
    return Packed(manifest, runtime_metrics(compared))


def pack(model: Path, archive: Path, *, name: str, notify: Notify = silent) -> ArchiveManifest:
    """Pack the model folder ``model`` into ``archive`` as ``model.bento`` (an xz tar) and ``manifest.json``.

    The version is the beginning of the content's digest, so packing the same model with the same code and libraries
    again gives the same tag and a byte-identical file. The manifest is written last. Nothing is converted or measured.

    Args:
        model: a folder with a ``ModelManifest``; it is verified first and copied byte for byte.
        archive: the folder to write into; made when absent.
        name: lower-case letters, digits, ``-``, ``.`` and ``_``, at most 63.
        notify: told how far it is.

    Raises:
        ConfigError: the name cannot be a bento's name.
        ArchiveError: the model is not what its manifest says, or the bento could not be built.
    """
    with tempfile.TemporaryDirectory(prefix="pack-") as folder:
        work = Path(folder)
        trained = _stage_model(model, work / "staging", name)
        manifest = _build(work / "staging", work / "bento", trained, name, None, notify)
        _commit(work / "bento", manifest, archive, notify)
    notify(1.0, f"packed {manifest.tag}")
    return manifest


def _stage_model(model: Path, staging: Path, name: str) -> ModelManifest:
    if not _NAME.fullmatch(name):
        raise ConfigError(f"The model name {name!r} is refused: use at most 63 of a-z, 0-9, '-', '.' and '_'.")
    trained = load_manifest(model)
    verify_files(model, trained)
    find_framework(trained.framework)
    shutil.copytree(model, staging / MODEL, copy_function=shutil.copyfile)
    return trained


def _build(
    staging: Path, bento: Path, trained: ModelManifest, name: str, compared: Compared | None, notify: Notify
) -> ArchiveManifest:
    """The bento of a staged model in the folder ``bento``, with its manifest inside."""
    notify(_BUILDING, "building the bento")
    framework = find_framework(trained.framework)
    inference = compared.inference if compared else Inference()
    runtimes = compared.runtimes if compared else ()
    _stage_code(staging, framework, runtimes)
    inference.save(staging)
    write_requirements(staging, framework, runtimes, inference.runtime_for("cpu"))
    source_files = sha256_tree(staging)
    content_digest = digest_of_digests(source_files)
    tag = f"{name}:{content_digest[:VERSION_LENGTH]}"
    build_bento(staging, bento, name=name, version=content_digest[:VERSION_LENGTH])
    manifest = ArchiveManifest(
        name=name,
        tag=tag,
        model_digest=trained.digest,
        content_digest=content_digest,
        source_files=source_files,
        bento_files={},
        classes=trained.classes,
        imgsz=trained.imgsz,
        requirements=pinned_requirements(framework, runtimes),
        licences=_licences(framework, inference),
        inference=inference,
        runtimes=runtimes,
        input=compared.input if compared else None,
        datasets=trained.datasets,
        code=code_version(),
    )
    document = yaml.safe_dump(openapi_document(manifest, limits_of({})), sort_keys=False, allow_unicode=True)
    (bento / OPENAPI).write_text(document, encoding="utf-8")  # BentoML knows its own routes only
    manifest = manifest.model_copy(update={"bento_files": _built_files(bento, source_files, tag)})
    manifest.save(bento / SOURCE)
    return manifest


def _commit(
    bento: Path, manifest: ArchiveManifest, archive: Path, notify: Notify, table: RuntimeTable | None = None
) -> None:
    """Write the archive's files, the manifest last: without it there is no archive."""
    notify(_COMPRESSING, "compressing")
    archive.mkdir(parents=True, exist_ok=True)
    (archive / MANIFEST).unlink(missing_ok=True)
    (archive / RUNTIMES).unlink(missing_ok=True)
    write_tar(bento, archive / BENTO)
    if table:
        table.save(archive)
    manifest.save(archive)
    logger.info("packed %s: %d bytes", manifest.tag, (archive / BENTO).stat().st_size)


def _stage_code(staging: Path, framework: Framework, runtimes: tuple[str, ...]) -> None:
    """Lay out the code the service runs, under its own package path."""
    engines = {path for runtime in runtimes for path in engine_code(runtime)}
    for relative in sorted({*CODE, *framework.code, *engines}):
        target = staging / "components" / relative
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(PACKAGE / relative, target)
    shutil.copyfile(SERVICE, staging / "service.py")


def _built_files(bento: Path, source_files: dict[str, str], tag: str) -> dict[str, str]:
    """sha256 of what the build added, once it is sure that it kept every source file as it was.

    Raises:
        ArchiveError: a source file was changed or left out.
    """
    built = sha256_tree(bento)
    for name, digest in source_files.items():
        if built.pop(f"{SOURCE}/{name}", None) != digest:
            raise ArchiveError(f"{name!r} was left out of the bento or changed by the build of {tag!r}.")
    return built


def _licences(framework: Framework, inference: Inference) -> tuple[str, ...]:
    """What has to be known before the archive is passed on; which list of libraries makes a copyleft licence apply."""
    on_cpu = inference.runtime_for("cpu")
    copyleft = any(_COPYLEFT in sentence for sentence in framework.licences)
    if not copyleft or on_cpu == TORCH:
        return (*framework.licences, LICENCE)
    light = (
        f"What requirements.txt installs, to serve with {on_cpu!r} on a CPU, has no {_COPYLEFT} library in it;"
        f" {WITH_WEIGHTS} adds {framework.name}, whose {_COPYLEFT} then applies."
    )
    return (*framework.licences, light, LICENCE)
