"""What the images are built from: a clean copy of the files git knows, and the revision that names them."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit

from components.shared.errors import ConfigError

PARTS = ("components", "images", "pipelines", "LICENSE", "README.md", "pyproject.toml", "requirements.lock")
DIRTY = "-dirty"
_SHORT = 12
_SSH = re.compile(r"(?:ssh://)?git@([\w.-]+)[:/](.+)")


@dataclass(frozen=True)
class Revision:
    """Which state of the project an image is made of.

    Attributes:
        commit: the commit's full name, with ``-dirty`` where files differ from it.
        seconds: when it was made, since 1970.
        source: where the project lives, as a URL without credentials; empty where git does not say.
    """

    commit: str
    seconds: int
    source: str

    @property
    def dirty(self) -> bool:
        """Whether the files differ from the commit."""
        return self.commit.endswith(DIRTY)

    @property
    def tag(self) -> str:
        """The first digits of the commit, as a tag."""
        return self.commit[:_SHORT] + (DIRTY if self.dirty else "")


def read_revision(root: Path) -> Revision:
    """The state of the working tree at ``root``; only what the images are made of counts.

    Raises:
        ConfigError: it is no working tree of git with a commit.
    """
    commit = _git(root, "rev-parse", "HEAD").strip()
    changed = _git(root, "status", "--porcelain", "--", *_present(root))
    seconds = int(_git(root, "show", "--no-patch", "--format=%ct", "HEAD"))
    return Revision(commit + (DIRTY if changed.strip() else ""), seconds, _source(root))


@contextmanager
def build_context(root: Path, revision: Revision) -> Iterator[Path]:
    """A folder with the files of ``PARTS`` that git does not ignore, one mode and one time for all; it vanishes.

    Raises:
        ConfigError: ``root`` is no working tree of git.
    """
    listed = _git(root, "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *_present(root))
    with TemporaryDirectory(prefix="images-") as folder:
        context = Path(folder) / "context"
        for name in sorted(set(filter(None, listed.split("\0")))):
            origin = root / name
            if origin.is_file() and not origin.is_symlink():
                (context / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(origin, context / name)
        normalise(context, revision.seconds)
        yield context


def normalise(folder: Path, seconds: int = 0) -> None:
    """Modes for any user to read, and one time, so that an image depends on the content alone."""
    for path in [folder, *folder.rglob("*")]:
        path.chmod(0o755 if path.is_dir() or path.suffix == ".sh" else 0o644)
        os.utime(path, (seconds, seconds))


def _present(root: Path) -> list[str]:
    return [name for name in PARTS if (root / name).exists()]


def _source(root: Path) -> str:
    """Where ``origin`` is on the web; what leads elsewhere says nothing to others."""
    try:
        address = _git(root, "remote", "get-url", "origin").strip()
    except ConfigError:
        return ""
    if ssh := _SSH.fullmatch(address):
        return f"https://{ssh[1]}/{ssh[2].removesuffix('.git')}"
    parts = urlsplit(address)
    if parts.scheme != "https" or not parts.hostname:
        return ""
    return f"https://{parts.hostname}{parts.path.removesuffix('.git')}"


def _git(root: Path, *arguments: str) -> str:
    command: Sequence[str] = ("git", "-C", str(root), *arguments)
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise ConfigError("git is not installed: the images are named after the revision it knows.") from error
    if done.returncode:
        detail = " ".join(done.stderr.split())[-200:]
        raise ConfigError(f"{str(root)!r} has no revision for the images to be named after: {detail}")
    return done.stdout
