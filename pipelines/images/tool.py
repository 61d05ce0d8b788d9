"""docker, podman or buildah, whichever is there: build an image, push it, measure it, run a command in it."""

import json
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from components.shared.errors import ConfigError, PipelineError

TOOLS = ("buildah", "podman", "docker")
_PINNED = re.compile(r"[A-Za-z0-9][\w.:/-]*@sha256:[0-9a-f]{64}", re.ASCII)
_NAMED = re.compile(r"[A-Za-z0-9][\w.:/@-]*", re.ASCII)
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}", re.ASCII)
_SIZE = re.compile(r"([\d.]+)\s*([kMGT]?B)")
_UNITS = {"B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_SECONDS = 3600
_TAIL = 600


@dataclass(frozen=True)
class Recipe:
    """What an image is built from.

    Attributes:
        context: the folder its files are taken from.
        file: its Dockerfile.
        tag: what it is called.
        arguments: build arguments.
        labels: what it says of itself.
        secrets: files that are there while it is built and in no layer, by name.
        network: whether the build reaches a network.
        epoch: the time of all it writes, in seconds; ``None`` for the time it is built.
    """

    context: Path
    file: Path
    tag: str
    arguments: Mapping[str, str]
    labels: Mapping[str, str]
    secrets: Mapping[str, Path]
    network: bool = True
    epoch: int | None = None


@dataclass(frozen=True)
class Tool:
    """One of ``TOOLS`` that is installed."""

    name: str

    def build(self, recipe: Recipe) -> None:
        """Build an image into the tool's own store.

        Raises:
            PipelineError: it failed; the message ends with the end of its output.
        """
        command = [self.name, "build", f"--file={recipe.file}", f"--tag={recipe.tag}"]
        command += [f"--build-arg={name}={value}" for name, value in recipe.arguments.items()]
        command += [f"--label={name}={value}" for name, value in recipe.labels.items()]
        command += [f"--secret=id={name},src={path}" for name, path in recipe.secrets.items()]
        command += [] if recipe.network else ["--network=none"]
        if self.name != "docker":
            command += ["--layers"]  # so that code that changed is not sent with gigabytes of libraries that did not
            command += [] if recipe.epoch is None else [f"--timestamp={recipe.epoch}"]
        self._run([*command, str(recipe.context)])

    def size(self, tag: str) -> int:
        """How much room an image takes unpacked, in bytes."""
        if self.name == "buildah":
            found = _SIZE.search(str(self._listed(tag)["size"]))
            return round(float(found[1]) * _UNITS[found[2]]) if found else 0
        return int(self._run([self.name, "image", "inspect", "--format={{.Size}}", tag]))

    def digest(self, tag: str) -> str:
        """The digest a pod on this machine's own store would name it by; empty where the tool knows none."""
        if self.name == "buildah":
            return str(self._listed(tag).get("digest", ""))
        if self.name == "docker":
            return ""
        return self._run([self.name, "image", "inspect", "--format={{.Digest}}", tag]).strip()

    def push(self, tag: str) -> str:
        """Send an image to its registry; gives the digest it has there.

        Raises:
            PipelineError: it could not be sent, or the tool does not say what the digest is.
        """
        if self.name == "docker":
            found = _DIGEST.search(self._run(["docker", "push", tag]))
        else:
            with tempfile.TemporaryDirectory() as folder:
                file = Path(folder) / "digest"
                self._run([self.name, "push", f"--digestfile={file}", tag, f"docker://{tag}"])
                found = _DIGEST.search(file.read_text(encoding="utf-8"))
        if not found:
            raise PipelineError(f"{self.name} pushed {tag!r} without saying its digest: look it up in the registry.")
        return found[0]

    def export(self, tag: str, target: str) -> None:
        """Write an image to where skopeo would: ``oci:DIR:TAG`` or ``docker-archive:FILE:NAME``.

        docker writes only its own archive; the rest is skopeo's work.
        """
        if self.name != "docker":
            self._run([self.name, "push", tag, target])
            return
        with tempfile.TemporaryDirectory() as folder:
            kind, _, place = target.partition(":")
            saved = f"{folder}/saved.tar" if kind == "oci" else place.removesuffix(f":{tag}")
            self._run(["docker", "save", "-o", saved, tag])
            if kind == "oci":
                self._run(["skopeo", "copy", "--quiet", f"docker-archive:{saved}", target])

    def run_python(self, tag: str, script: str) -> str:
        """What a script prints that the image's ``python3`` runs, without a network."""
        if self.name != "buildah":
            command = [self.name, "run", "--rm", "--interactive", "--network=none", "--entrypoint=python3", tag, "-"]
            return self._run(command, given=script)
        with self.working_container(tag) as container:
            return self._run(["buildah", "run", container, "--", "python3", "-"], given=script)

    @contextmanager
    def working_container(self, tag: str) -> Iterator[str]:
        """A container of buildah's made of an image, gone when the block ends."""
        container = self._run(["buildah", "from", "--pull-never", tag]).strip()
        try:
            yield container
        finally:
            self._run(["buildah", "rm", container])

    def _listed(self, tag: str) -> dict[str, object]:
        listed: list[dict[str, object]] = json.loads(self._run(["buildah", "images", "--json", tag]))
        return listed[0]

    def _run(self, command: Sequence[str], *, given: str | None = None) -> str:
        try:
            done = subprocess.run(
                command,
                input=given,
                stdin=subprocess.DEVNULL if given is None else None,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise PipelineError(f"{command[0]} did not end within {_SECONDS} s: look at what it waits for.") from error
        if done.returncode:
            tail = " ".join((done.stdout + done.stderr).split())[-_TAIL:]
            raise PipelineError(f"{command[0]} {command[1]} failed with code {done.returncode}: {tail}")
        return done.stdout


def find_tool(name: str = "") -> Tool:
    """The tool of that name, or the first of ``TOOLS`` that is installed.

    Raises:
        ConfigError: it is none of ours, or not installed.
    """
    if name not in {"", *TOOLS}:
        raise ConfigError(f"The tool {name!r} is not known: choose one of {', '.join(TOOLS)}.")
    found = name or next((each for each in TOOLS if shutil.which(each)), "")
    if not found or not shutil.which(found):
        raise ConfigError(f"{found or 'No container tool'} is not installed: install one of {', '.join(TOOLS)}.")
    return Tool(found)


def check_base(base: str, *, allow_tag: bool = False) -> None:
    """Refuse a base image that is not pinned, or is no name of an image at all.

    Raises:
        ConfigError: it is such a one.
    """
    if not _PINNED.fullmatch(base) and not (allow_tag and _NAMED.fullmatch(base)):
        raise ConfigError(
            f"The base image {base!r} is not pinned by its digest: write NAME@sha256:DIGEST, or give"
            " --allow-tag for one that may change."
        )
