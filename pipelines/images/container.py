"""An OCI image of the service in a packed model, built with the container tool that is there."""

import json
import logging
import re
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from components.shared.archive import SOURCE, ArchiveManifest
from components.shared.errors import ArchiveError, ConfigError
from components.shared.inference_files import open_packed
from components.shared.oci.bento import CONTENT_LABEL
from pipelines.images.context import normalise
from pipelines.images.libraries import compare_libraries
from pipelines.images.tool import Recipe, check_base, find_tool

HOME = "/home/bentoml/bento"
USER = "10001:0"  # group 0, so that it runs under any user id a cluster chooses
PORT = 3000
OCI, DOCKER = "oci", "docker-archive"
LAUNCHER = "components.model_pack.serving.standalone"  # the routes without a supervisor, which a cluster is already
_LABELS = "detection-pipeline"
_NOT_THE_SAME = (
    "The image %r %s, other than what the model was measured with: give --install, or build the base anew"
    " with scripts/build-images."
)
_TAG = re.compile(r"[a-z0-9][a-z0-9._/-]*(:[0-9]+/[a-z0-9._/-]+)?(:[\w][\w.-]{0,127})?", re.ASCII)
_PYTHON = "/opt/python"  # a base may not want libraries among its own
_SECRETS = (
    "--mount=type=secret,id=pip,target=/etc/pip.conf"
    " --mount=type=secret,id=ca,target=/etc/ssl/certs/ca-certificates.crt"
)
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Build:
    """What is built and where it goes.

    Attributes:
        base: the base image, pinned by digest: ``NAME@sha256:...``.
        tag: what the image is called.
        tool: one of ``TOOLS``.
        output: ``oci:DIR`` or ``docker-archive:FILE``; empty where it only goes into the tool's own store.
        install: install the archive's requirements into the image; else the base has them.
        allow_tag: take a base that is not pinned.
        secrets: files the installation may read, by name: ``pip`` (a pip.conf) and ``ca`` (certificates).
    """

    base: str
    tag: str
    tool: str = ""
    output: str = ""
    install: bool = False
    allow_tag: bool = False
    secrets: Mapping[str, Path] = field(default_factory=dict)

    def checked(self) -> "Build":
        """The same with a tool that is installed, once everything about it can be used.

        Raises:
            ConfigError: something cannot; the message says what.
        """
        check_base(self.base, allow_tag=self.allow_tag)
        if not _TAG.fullmatch(self.tag):
            raise ConfigError(f"{self.tag!r} is no name of an image: write one such as 'detector:1'.")
        tool = find_tool(self.tool).name
        self._check_output(tool)
        return replace(self, tool=tool)

    def _check_output(self, tool: str) -> None:
        kind, separator, place = self.output.partition(":")
        if self.output and (kind not in {OCI, DOCKER} or not separator or not place):
            raise ConfigError(f"The output {self.output!r} is not known: write oci:DIR or docker-archive:FILE.")
        if self.output and Path(place).exists():
            raise ConfigError(f"{place!r} is there already: give a new path.")
        if kind == OCI and tool == "docker" and not shutil.which("skopeo"):
            raise ConfigError("docker writes no OCI layout without skopeo: install it, or write docker-archive:FILE.")


def containerize(archive: Path, build: Build) -> ArchiveManifest:
    """Build an image that serves the packed model, from nothing but its verified files; gives what is in it.

    Raises:
        ConfigError: a parameter cannot be used, or the tool is not installed.
        ArchiveError: the archive is broken or not what its manifest says.
        PipelineError: the tool failed; the message ends with the end of its output.
    """
    build = build.checked()
    with tempfile.TemporaryDirectory(prefix="containerize-") as folder:
        work = Path(folder)
        opened = open_packed(archive, work)
        context = work / "context"
        shutil.copytree(opened.bento, context / "bento", copy_function=shutil.copyfile)
        normalise(context)
        file = context / "Dockerfile"
        file.write_text(dockerfile(build, opened.manifest), encoding="utf-8")
        tool = find_tool(build.tool)
        tool.build(
            Recipe(
                context=context,
                file=file,
                tag=build.tag,
                arguments={},
                labels=labels(build, opened.manifest),
                secrets=build.secrets if build.install else {},
                network=build.install,
                epoch=0,  # the same archive gives the same image
            )
        )
        requirements = opened.bento / SOURCE / "requirements.txt"
        pins = requirements.read_text(encoding="utf-8", errors="replace") if requirements.is_file() else ""
        if differs := compare_libraries(tool, build.tag, pins):
            logger.warning(_NOT_THE_SAME, build.tag, differs)
        if build.output:
            tool.export(build.tag, _target(build))
    return opened.manifest


def dockerfile(build: Build, manifest: ArchiveManifest) -> str:
    """What the image is built by; no text of the archive is in it, so none can be an instruction.

    Raises:
        ArchiveError: the archive names no requirements that could be installed.
    """
    if build.install and f"{SOURCE}/requirements.txt" not in manifest.files:
        raise ArchiveError(f"{manifest.tag!r} has no requirements.txt, so nothing can be installed: leave --install.")
    lines = [
        f"FROM {build.base}",
        "USER 0:0",
        f"COPY bento/ {HOME}/",
        *(_installation(manifest) if build.install else []),
        "ENV PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1",
        "ENV HOME=/tmp BENTOML_HOME=/tmp/bentoml BENTOML_DO_NOT_TRACK=True",
        f"WORKDIR {HOME}/{SOURCE}",
        f"USER {USER}",
        f"EXPOSE {PORT}",
        "STOPSIGNAL SIGTERM",
        "ENTRYPOINT []",
        f"CMD {json.dumps(start_command(manifest))}",
    ]
    return "\n".join(lines) + "\n"


def start_command(manifest: ArchiveManifest) -> list[str]:
    """What starts the service: its own launcher, or BentoML where the archive is older than that."""
    address = ["--host", "0.0.0.0", "--port", str(PORT)]  # noqa: S104 - a container's own
    if f"{SOURCE}/{LAUNCHER.replace('.', '/')}.py" in manifest.files:
        return ["python3", "-m", LAUNCHER, *address]
    return ["python3", "-m", "bentoml", "serve", HOME, *address]


def _installation(manifest: ArchiveManifest) -> list[str]:
    # Since schema 2 the file names everything, with hashes; what a library asks for beside it is not to be resolved.
    complete = " --no-deps" if manifest.schema_version > 1 else ""
    pip = f"python3 -m pip --python {_PYTHON}/bin/python3 --disable-pip-version-check install --no-cache-dir"
    make = f"python3 -m venv --without-pip {_PYTHON}"
    return [
        f"RUN {_SECRETS} {make} && {pip}{complete} -r {HOME}/{SOURCE}/requirements.txt",
        f"ENV PATH={_PYTHON}/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    ]


def labels(build: Build, manifest: ArchiveManifest) -> dict[str, str]:
    """What the image says of itself."""
    name, _, digest = build.base.partition("@")
    found = {
        "org.opencontainers.image.title": manifest.name,
        "org.opencontainers.image.version": manifest.version,
        "org.opencontainers.image.base.name": name,
        "org.opencontainers.image.base.digest": digest,
        f"{_LABELS}.tag": manifest.tag,
        CONTENT_LABEL: manifest.content_digest,
        f"{_LABELS}.model-digest": manifest.model_digest,
        f"{_LABELS}.licences": " ".join(manifest.licences),
    }
    return {key: " ".join(value.split()) for key, value in found.items() if value}


def _target(build: Build) -> str:
    """Where the built image was asked for, as skopeo names it."""
    kind, _, place = build.output.partition(":")
    tag = build.tag if ":" in build.tag.rpartition("/")[2] else f"{build.tag}:latest"
    return f"oci:{place}:{tag.rpartition(':')[2]}" if kind == OCI else f"docker-archive:{place}:{tag}"
