"""An OCI image of the service in a packed model, built with the container tool that is there."""

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from components.shared.archive import SOURCE, ArchiveManifest
from components.shared.errors import ArchiveError, ConfigError, PipelineError
from components.shared.inference_files import open_packed
from components.shared.oci.bento import CONTENT_LABEL

TOOLS = ("buildah", "podman", "docker")
HOME = "/home/bentoml/bento"
USER = "10001:0"  # group 0, so that it runs under any user id a cluster chooses
PORT = 3000
OCI, DOCKER = "oci", "docker-archive"
_LABELS = "detection-pipeline"
_DIGEST = re.compile(r"[A-Za-z0-9][\w.:/-]*@sha256:[0-9a-f]{64}", re.ASCII)
_NAMED = re.compile(r"[A-Za-z0-9][\w.:/@-]*", re.ASCII)
_TAG = re.compile(r"[a-z0-9][a-z0-9._/-]*(:[0-9]+/[a-z0-9._/-]+)?(:[\w][\w.-]{0,127})?", re.ASCII)
_SECONDS = 3600
_TAIL = 600


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
    """

    base: str
    tag: str
    tool: str = ""
    output: str = ""
    install: bool = False
    allow_tag: bool = False

    def checked(self) -> "Build":
        """The same with a tool that is installed, once everything about it can be used.

        Raises:
            ConfigError: something cannot; the message says what.
        """
        if not _DIGEST.fullmatch(self.base) and not (self.allow_tag and _NAMED.fullmatch(self.base)):
            raise ConfigError(
                f"The base image {self.base!r} is not pinned by its digest: write NAME@sha256:DIGEST, or give"
                " --allow-tag for one that may change."
            )
        if not _TAG.fullmatch(self.tag):
            raise ConfigError(f"{self.tag!r} is no name of an image: write one such as 'detector:1'.")
        if self.tool not in {"", *TOOLS}:
            raise ConfigError(f"The tool {self.tool!r} is not known: choose one of {', '.join(TOOLS)}.")
        tool = self.tool or next((name for name in TOOLS if shutil.which(name)), "")
        if not tool or not shutil.which(tool):
            raise ConfigError(f"{tool or 'No container tool'} is not installed: install one of {', '.join(TOOLS)}.")
        self._check_output(tool)
        return Build(self.base, self.tag, tool, self.output, self.install, self.allow_tag)

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
        _normalise(context)
        (context / "Dockerfile").write_text(dockerfile(build, opened.manifest), encoding="utf-8")
        _run(_build_command(build, opened.manifest, context), build.tool)
        for command in _output_commands(build, work):
            _run(command, command[0])
    return opened.manifest


def dockerfile(build: Build, manifest: ArchiveManifest) -> str:
    """What the image is built by; no text of the archive is in it, so none can be an instruction.

    Raises:
        ArchiveError: the archive names no requirements that could be installed.
    """
    if build.install and f"{SOURCE}/requirements.txt" not in manifest.files:
        raise ArchiveError(f"{manifest.tag!r} has no requirements.txt, so nothing can be installed: leave --install.")
    requirements = f"{HOME}/{SOURCE}/requirements.txt"
    # Since schema 2 the file names everything, with hashes; what a library asks for beside it is not to be resolved.
    complete = " --no-deps" if manifest.schema_version > 1 else ""
    install = f"RUN python -m pip install --no-cache-dir --disable-pip-version-check{complete} -r {requirements}"
    lines = [
        f"FROM {build.base}",
        "USER 0:0",
        f"COPY bento/ {HOME}/",
        *([install] if build.install else []),
        "ENV PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1",
        "ENV HOME=/tmp BENTOML_HOME=/tmp/bentoml BENTOML_DO_NOT_TRACK=True",
        f"WORKDIR {HOME}/{SOURCE}",
        f"USER {USER}",
        f"EXPOSE {PORT}",
        "ENTRYPOINT []",
        f'CMD ["python", "-m", "bentoml", "serve", "{HOME}", "--host", "0.0.0.0", "--port", "{PORT}"]',
    ]
    return "\n".join(lines) + "\n"


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


def _build_command(build: Build, manifest: ArchiveManifest, context: Path) -> list[str]:
    described = [f"--label={key}={value}" for key, value in labels(build, manifest).items()]
    same = [] if build.tool == "docker" else ["--timestamp=0"]  # the same archive gives the same image
    network = [] if build.install else ["--network=none"]
    file = f"--file={context / 'Dockerfile'}"
    return [build.tool, "build", *same, *network, *described, file, f"--tag={build.tag}", str(context)]


def _output_commands(build: Build, work: Path) -> list[list[str]]:
    """What brings the built image to where it was asked for."""
    kind, _, place = build.output.partition(":")
    if not place:
        return []
    tag = build.tag if ":" in build.tag.rpartition("/")[2] else f"{build.tag}:latest"
    target = f"oci:{place}:{tag.rpartition(':')[2]}" if kind == OCI else f"docker-archive:{place}:{tag}"
    if build.tool != "docker":
        return [[build.tool, "push", build.tag, target]]
    saved = str(work / "saved.tar") if kind == OCI else place
    copy = ["skopeo", "copy", "--quiet", f"docker-archive:{saved}", target]
    return [["docker", "save", "-o", saved, tag], *([copy] if kind == OCI else [])]


def _normalise(context: Path) -> None:
    """Modes for any user to read, and one time, so that the image depends on the content alone."""
    for path in [context, *context.rglob("*")]:
        path.chmod(0o755 if path.is_dir() or path.suffix == ".sh" else 0o644)
        os.utime(path, (0, 0))


def _run(command: Sequence[str], tool: str) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=_SECONDS, check=False)
    except subprocess.TimeoutExpired as error:
        raise PipelineError(f"{tool} did not end within {_SECONDS} s: look at what it waits for.") from error
    if done.returncode:
        tail = " ".join((done.stdout + done.stderr).split())[-_TAIL:]
        raise PipelineError(f"{tool} {command[1]} failed with code {done.returncode}: {tail}")
