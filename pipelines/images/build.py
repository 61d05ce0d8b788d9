"""Build the images the steps run in, named after git's revision, and write the file the compiler reads."""

import json
import time
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from components.shared.errors import ConfigError
from components.shared.files import write_atomically
from pipelines.images.context import Revision, build_context, read_revision
from pipelines.images.locks import LOCKS, is_in_step
from pipelines.images.sbom import sbom, take_inventory
from pipelines.images.tool import Recipe, Tool, check_base

ROOT = Path(__file__).resolve().parents[2]
KEYS = {"steps": "steps-python", "trainer": "trainer-python", "serving": "serving", "executor": "ymir-executor"}
"""What the components and the manifests call each image."""
USUAL = ("steps", "trainer", "serving")
REPOSITORY = "detection-pipeline"
IMAGES_FILE = ROOT / "images" / "images.json"
HOW_TO_PIN = "skopeo inspect --format '{{.Name}}@{{.Digest}}' docker://docker.io/library/python:3.11-slim-bookworm"
_LABELS = "org.opencontainers.image"


@dataclass(frozen=True)
class Order:
    """What to build and where it goes.

    Attributes:
        base: the image all are built on, pinned.
        images: names of ``KEYS``.
        registry: ``host[:port][/path]`` before the images' names.
        push: send them there.
        sboms: a folder for what is in them; ``None`` for nowhere.
        secrets: files the build may read, by name: ``pip`` (a pip.conf) and ``ca`` (certificates).
        allow_tag: take a base that is not pinned.
        allow_dirty: push what git has not.
        output: the file the compiler reads.
    """

    base: str
    images: tuple[str, ...] = USUAL
    registry: str = "localhost"
    push: bool = False
    sboms: Path | None = None
    secrets: Mapping[str, Path] = field(default_factory=dict)
    allow_tag: bool = False
    allow_dirty: bool = False
    output: Path = IMAGES_FILE


@dataclass(frozen=True)
class Built:
    """An image that was built.

    Attributes:
        name: of ``KEYS``.
        tag: registry, name and tag.
        digest: what to name it by; empty where it has none before it is pushed.
        bytes: how large it is, unpacked.
        seconds: how long it took.
    """

    name: str
    tag: str
    digest: str
    bytes: int
    seconds: float

    @property
    def pinned(self) -> str:
        """Its name with its digest; empty where it has none."""
        return f"{self.tag.rpartition(':')[0]}@{self.digest}" if self.digest else ""


def build_images(order: Order, tool: Tool, root: Path = ROOT) -> Iterator[Built]:
    """Build the images one after another, giving each as it is done, and write the file the compiler reads.

    Raises:
        ConfigError: something about the order cannot be done; nothing was built.
        PipelineError: the tool failed.
    """
    revision = read_revision(root)
    _check(order, revision)
    version = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    with build_context(root, revision) as context:
        for name in order.images:
            built = _build(name, order, tool, revision, version, context)
            if order.sboms:
                _write_sbom(built, order.sboms, tool, revision)
            if built.pinned:
                _record(built, order.output)
            yield built


def _check(order: Order, revision: Revision) -> None:
    if not order.base:
        raise ConfigError(
            f"--base is missing: give a Debian image with Python 3.11 or later by its digest ({HOW_TO_PIN})."
        )
    check_base(order.base, allow_tag=order.allow_tag)
    unknown = [name for name in order.images if name not in KEYS]
    if unknown:
        raise ConfigError(f"There is no image {unknown[0]!r}: choose of {', '.join(KEYS)}.")
    stale = [name for name in (*order.images, "build") if not is_in_step(name)]
    if stale:
        where = LOCKS.relative_to(ROOT)
        raise ConfigError(f"{where}/{stale[0]}.lock is not in step with pyproject.toml: run scripts/lock-images.")
    missing = [str(path) for path in order.secrets.values() if not path.is_file()]
    if missing:
        raise ConfigError(f"There is no file {missing[0]!r} to build with.")
    if order.push and revision.dirty and not order.allow_dirty:
        raise ConfigError(
            "Files differ from git's last commit, so nobody could say what is in the images: commit first, or give"
            " --allow-dirty."
        )


def _build(name: str, order: Order, tool: Tool, revision: Revision, version: str, context: Path) -> Built:
    begun = time.monotonic()
    tag = f"{order.registry.rstrip('/')}/{REPOSITORY}/{name}:{revision.tag}"
    base, _, base_digest = order.base.partition("@")
    facts = {
        "base.name": base,
        "base.digest": base_digest,
        "revision": revision.commit,
        "source": revision.source,
        "version": version,
    }
    recipe = Recipe(
        context=context,
        file=context / "images" / name / "Dockerfile",
        tag=tag,
        arguments={"BASE": order.base},
        # Not by the Dockerfile: buildah takes a cached label for the same whatever its arguments are.
        labels={f"{_LABELS}.{key}": value for key, value in facts.items() if value},
        secrets=order.secrets,
        epoch=revision.seconds,
    )
    tool.build(recipe)
    digest = tool.push(tag) if order.push else tool.digest(tag)
    return Built(name, tag, digest, tool.size(tag), time.monotonic() - begun)


def _write_sbom(built: Built, folder: Path, tool: Tool, revision: Revision) -> None:
    inventory = take_inventory(tool, built.tag)
    title = built.tag.rpartition(":")[0]
    text = sbom(inventory, title=title, version=revision.tag, seconds=revision.seconds)
    with write_atomically(folder / f"{built.name}.cdx.json") as temporary:
        temporary.write_text(text, encoding="utf-8")


def _record(built: Built, path: Path) -> None:
    """Put the image into the file, beside the others that are there."""
    known = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    with write_atomically(path) as temporary:
        content = {**known, KEYS[built.name]: built.pinned}
        temporary.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")
