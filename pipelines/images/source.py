"""What a person may extract from: an archive, an image file of any kind, or an image in a registry."""

import re
import shutil
import subprocess
from pathlib import Path

from components.shared.archive import BENTO, OpenArchive
from components.shared.errors import ConfigError, SourceError
from components.shared.inference_files import open_packed
from components.shared.oci.bento import open_image
from components.shared.oci.blobs import open_blobs

FILES = ("oci:", "oci-archive:", "docker-archive:")
ELSEWHERE = ("docker://", "containers-storage:", "docker-daemon:")
_XZ = b"\xfd7zXZ\x00"
_REFERENCE = re.compile(r"[a-z0-9][A-Za-z0-9._:/@-]*")
_PULL_SECONDS = 3600
_TAIL = 300


def open_source(source: str, work: Path) -> OpenArchive:
    """Unpack and verify the packed model that ``source`` names, below the empty folder ``work``.

    Args:
        source: an archive's folder, a ``.bento`` file, an OCI layout or docker archive (``oci:DIR[:TAG]``,
            ``docker-archive:FILE[:TAG]``, or just the path), or an image as skopeo names it.
        work: an empty folder.

    Raises:
        ConfigError: it names nothing, or needs skopeo and that is not installed.
        SourceError: the image could not be fetched.
        ArchiveError: it holds no packed model, or one that is not what its manifest says.
        UnsafeInputError: it tries to do harm.
    """
    prefix = next((known for known in FILES if source.startswith(known)), "")
    if prefix:
        path, tag = _with_tag(source.removeprefix(prefix))
        return open_image(open_blobs(path), work, tag)
    if source.startswith(ELSEWHERE):
        return _from_elsewhere(source, work)
    path = Path(source).expanduser()
    if path.exists():
        return open_packed(path, work) if _is_packed(path) else open_image(open_blobs(path), work)
    if not _REFERENCE.fullmatch(source) or source.endswith((".bento", ".tar")):
        raise ConfigError(f"There is nothing at {source!r}: give an archive, an image file or an image's name.")
    return _from_elsewhere(f"docker://{source}", work)


def _with_tag(text: str) -> tuple[Path, str]:
    path = Path(text).expanduser()
    name, separator, tag = text.partition(":")
    return (path, "") if path.exists() or not separator else (Path(name).expanduser(), tag)


def _is_packed(path: Path) -> bool:
    if path.is_dir():
        return (path / BENTO).exists()
    with path.open("rb") as handle:
        return handle.read(len(_XZ)) == _XZ


def _from_elsewhere(source: str, work: Path) -> OpenArchive:
    """Fetch an image with skopeo, which has the credentials, and read it as a file."""
    program = shutil.which("skopeo")
    if program is None:
        raise ConfigError(f"{source!r} is no file here, and skopeo, which fetches images, is not installed.")
    layout = work / "layout"
    command = [program, "copy", "--quiet", source, f"oci:{layout}:image"]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=_PULL_SECONDS, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise SourceError(f"The image {source!r} did not come within {_PULL_SECONDS} s: try again.") from error
    if done.returncode:
        detail = " ".join(done.stderr.split())[-_TAIL:]
        raise SourceError(f"The image {source!r} cannot be fetched: {detail}")
    return open_image(open_blobs(layout), work)
