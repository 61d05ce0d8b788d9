"""The libraries a packed model is served with, pinned to what runs now and to the hashes of their files."""

import importlib.metadata
import logging
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from components.shared.detection.engines import engine_requirements
from components.shared.detection.frameworks import Framework
from components.shared.errors import ArchiveError

__all__ = ["REQUIREMENTS", "WITH_WEIGHTS", "pinned_requirements", "write_requirements"]

REQUIREMENTS = (
    *("bentoml", "grpcio", "numpy", "opencv-python-headless", "pillow", "prometheus-client"),
    *("protobuf", "pydantic", "python-multipart", "starlette"),
)
"""What every service needs; its runtimes name the rest."""
ON_CPU = "requirements.txt"
WITH_WEIGHTS = "requirements-torch.txt"
_PACKAGE = Path(__file__).resolve().parents[1]  # components/
LOCKS = (_PACKAGE / "requirements.lock", _PACKAGE.parent / "requirements.lock")
"""Where the lock is: a copy beside the installed code, which a build of a step's image puts there, or a checkout."""
_LOCKED = re.compile(r"([A-Za-z0-9][\w.-]*)==([^\s;\\]+)")
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Locked:
    """One distribution in the lock: its version and its lines, with markers and hashes."""

    version: str
    lines: str


def pinned_requirements(framework: Framework, runtimes: Iterable[str] = ()) -> tuple[str, ...]:
    """The libraries the service calls itself, with any of the runtimes or the weights, at the versions that run now.

    Raises:
        ArchiveError: one of them is not installed.
    """
    wanted = {*REQUIREMENTS, *framework.requirements}
    wanted.update(*(engine_requirements(runtime) for runtime in runtimes))
    return tuple(f"{name}=={_version(name)}" for name in sorted(wanted))


def write_requirements(folder: Path, framework: Framework, runtimes: Iterable[str], on_cpu: str) -> None:
    """Write ``requirements.txt``, all that serving on a CPU needs, and a second file where that is not all.

    Both name everything, what libraries need themselves too, so they are installed with ``pip install --no-deps``; the
    hashes are the lock's. ``requirements-torch.txt`` begins with the first and adds what the weights and all other
    runtimes need.

    Args:
        folder: where to.
        framework: the weights'.
        runtimes: the converted models in the archive.
        on_cpu: the one of them that serves on a CPU, or ``torch``.

    Raises:
        ArchiveError: a library is not installed.
    """
    every = {*framework.requirements}.union(*(engine_requirements(runtime) for runtime in runtimes))
    light = on_cpu in set(runtimes)
    first = _closure({*REQUIREMENTS, *(engine_requirements(on_cpu) if light else every)})
    (folder / ON_CPU).write_text(_text(first, "What serves this model on a CPU", ""), encoding="utf-8")
    if light:
        rest = {name: version for name, version in _closure({*REQUIREMENTS, *every}).items() if name not in first}
        title = "What predicting with the weights, or with any other runtime, needs as well"
        (folder / WITH_WEIGHTS).write_text(_text(rest, title, f"-r {ON_CPU}\n"), encoding="utf-8")


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name).partition("+")[0]
    except importlib.metadata.PackageNotFoundError as error:
        raise ArchiveError(f"The library {name!r} is not installed, so it cannot be pinned.") from error


def _closure(roots: Iterable[str]) -> dict[str, str]:
    """Versions of these distributions and of all they need here, by name.

    What one of them asks for but is not installed is left out: the lock replaces such by others (OpenCV by its build
    without a screen), and this process runs without.
    """
    waiting = [(canonicalize_name(name), "") for name in roots]
    found = {name: _version(name) for name, _ in waiting}
    done: set[tuple[str, str]] = set()
    while waiting:
        name, extra = waiting.pop()
        if (name, extra) in done:
            continue
        done.add((name, extra))
        for needed in _needs(name, extra):
            other = canonicalize_name(needed.name)
            try:
                found[other] = _version(other)
            except ArchiveError:
                logger.debug("%s asks for %s, which is not installed.", name, other)
                continue
            waiting += [(other, part) for part in ("", *sorted(needed.extras))]
    return dict(sorted(found.items()))


def _needs(name: str, extra: str) -> list[Requirement]:
    needed = map(Requirement, importlib.metadata.requires(name) or ())
    return [one for one in needed if one.marker is None or one.marker.evaluate({"extra": extra})]


def _text(pins: Mapping[str, str], title: str, before: str) -> str:
    locked = _read_lock()
    unknown = [f"{name}=={version}" for name, version in pins.items() if not _is_locked(locked, name, version)]
    head = f"# {title}; it is complete: pip install --no-deps -r FILE\n"
    if not unknown:
        return head + before + "".join(one.lines for name in pins for one in locked[name])
    # pip refuses a file in which some have hashes and others do not.
    reason = f"the lock does not have {', '.join(unknown)}" if locked else "there was no requirements.lock to take from"
    logger.warning("The libraries of the archive are pinned without hashes: %s.", reason)
    return f"{head}# Without hashes: {reason}.\n{before}" + "".join(f"{name}=={pins[name]}\n" for name in pins)


def _is_locked(locked: Mapping[str, list[_Locked]], name: str, version: str) -> bool:
    return any(one.version == version and "--hash=" in one.lines for one in locked.get(name, ()))


def _read_lock() -> dict[str, list[_Locked]]:
    """What the lock has by name: more than one entry where markers choose among them; empty where there is none."""
    found: dict[str, list[_Locked]] = {}
    path = next((path for path in LOCKS if path.is_file()), None)
    for block in re.split(r"\n(?=\S)", path.read_text(encoding="utf-8")) if path else ():
        named = _LOCKED.match(block)
        if named:
            lines = block.rstrip() + "\n"
            found.setdefault(canonicalize_name(named[1]), []).append(_Locked(named[2].partition("+")[0], lines))
    return found
