"""Which layers make an image: read from an OCI layout or a docker archive, by digest.

Formats: https://github.com/opencontainers/image-spec/blob/main/image-layout.md and, for docker archives,
https://github.com/moby/docker-image-spec/blob/main/spec.md (``manifest.json``).
"""

import hashlib
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from components.shared.documents import parse_json
from components.shared.errors import ArchiveError
from components.shared.oci.blobs import Blobs

_DOCKER, _INDEX = "manifest.json", "index.json"
_REF_NAME = "org.opencontainers.image.ref.name"
_SHA256 = r"^sha256:[0-9a-f]{64}$"
_LARGEST_DOCUMENT = 8 << 20
_NESTED = 3  # an index in an index, and its images
_MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}
_MOST_LAYERS = 1000

Document = TypeVar("Document")


class _Platform(BaseModel):
    architecture: str = ""


class _Descriptor(BaseModel):
    media_type: str = Field(default="", alias="mediaType")
    digest: str = Field(pattern=_SHA256)
    platform: _Platform = Field(default_factory=_Platform)
    annotations: dict[str, str] | None = None

    @property
    def blob(self) -> str:
        return f"blobs/sha256/{self.digest.partition(':')[2]}"

    @property
    def tag(self) -> str:
        return (self.annotations or {}).get(_REF_NAME, "")


class _Index(BaseModel):
    manifests: list[_Descriptor]


class _Manifest(BaseModel):
    config: _Descriptor
    layers: list[_Descriptor]


class _DockerImage(BaseModel):
    config: str = Field(alias="Config")
    tags: list[str] | None = Field(default=None, alias="RepoTags")
    layers: list[str] = Field(alias="Layers")


class _RootFs(BaseModel):
    diff_ids: list[str] = Field(max_length=_MOST_LAYERS)


class _Settings(BaseModel):
    labels: dict[str, str] | None = Field(default=None, alias="Labels")


class _Config(BaseModel):
    rootfs: _RootFs
    config: _Settings | None = None


@dataclass(frozen=True)
class Layer:
    """One layer of an image.

    Attributes:
        blob: what it is called in the image file.
        digest: ``sha256:...`` of the blob as it lies there; empty where nothing says it.
        diff_id: ``sha256:...`` of the uncompressed tar.
    """

    blob: str
    digest: str
    diff_id: str


@dataclass(frozen=True)
class Image:
    """An image's layers, the lowest first, and its labels."""

    layers: tuple[Layer, ...]
    labels: dict[str, str]


def read_image(blobs: Blobs, tag: str = "") -> Image:
    """The one image in an image file, or the one of that tag.

    Raises:
        ArchiveError: there is none or several, or what describes it is broken or has another digest.
    """
    if blobs.has(_DOCKER):
        return _docker_image(blobs, tag)
    if not blobs.has(_INDEX):
        raise ArchiveError(
            f"{blobs.where!r} is no image: it has neither {_INDEX!r} (OCI layout) nor {_DOCKER!r} (docker archive)."
        )
    manifest = _parse(_Manifest, _read(blobs, (chosen := _choose(blobs, tag)).blob, chosen.digest), blobs)
    layers = [(layer.blob, layer.digest) for layer in manifest.layers]
    return _image(blobs, manifest.config.blob, manifest.config.digest, layers)


def _docker_image(blobs: Blobs, tag: str) -> Image:
    images = _parse(list[_DockerImage], _read(blobs, _DOCKER), blobs)
    fitting = [image for image in images if not tag or tag in (image.tags or ())]
    if len(fitting) != 1:
        raise ArchiveError(_several(blobs, tag, [name for image in images for name in image.tags or ()]))
    config = fitting[0].config
    digest = config.removesuffix(".json").rpartition("/")[2]
    return _image(blobs, config, f"sha256:{digest}", [(name, "") for name in fitting[0].layers])


def _image(blobs: Blobs, config_blob: str, digest: str, layers: Sequence[tuple[str, str]]) -> Image:
    config = _parse(_Config, _read(blobs, config_blob, digest), blobs)
    diff_ids = config.rootfs.diff_ids
    if len(diff_ids) != len(layers):
        raise ArchiveError(f"{blobs.where!r} lists {len(layers)} layers but {len(diff_ids)} digests of them.")
    found = (Layer(blob, by, diff_id) for (blob, by), diff_id in zip(layers, diff_ids, strict=True))
    return Image(tuple(found), (config.config and config.config.labels) or {})


def _choose(blobs: Blobs, tag: str) -> _Descriptor:
    """The manifest of the image that is meant: by its tag, and by this machine's kind where there are several."""
    top = _parse(_Index, _read(blobs, _INDEX), blobs).manifests
    found = [entry for entry in top if not tag or entry.tag == tag]
    for _ in range(_NESTED):
        found = [inner for entry in found for inner in _resolved(blobs, entry)]
    found = [entry for entry in found if entry.platform.architecture != "unknown"]  # what only speaks of an image
    if len(found) > 1:
        here = _MACHINES.get(platform.machine(), platform.machine())
        found = [entry for entry in found if entry.platform.architecture == here] or found
    if len({entry.digest for entry in found}) != 1:
        raise ArchiveError(_several(blobs, tag, [entry.tag for entry in top if entry.tag]))
    return found[0]


def _resolved(blobs: Blobs, entry: _Descriptor) -> list[_Descriptor]:
    """What an index lists, or the entry itself where it is an image."""
    if "index" not in entry.media_type and "manifest.list" not in entry.media_type:
        return [entry]
    return _parse(_Index, _read(blobs, entry.blob, entry.digest), blobs).manifests


def _several(blobs: Blobs, tag: str, tags: Sequence[str]) -> str:
    known = ", ".join(repr(name) for name in tags[:5]) or "none"
    what = f"has no single image {tag!r}" if tag else "does not hold exactly one image"
    return f"{blobs.where!r} {what}: name one with ':TAG' after the path; its tags: {known}."


def _read(blobs: Blobs, name: str, digest: str = "") -> bytes:
    stream, size = blobs.open(name)
    with stream:
        if size > _LARGEST_DOCUMENT:
            raise ArchiveError(f"{name!r} in {blobs.where!r} has {size} bytes, which no description of an image has.")
        data = stream.read(_LARGEST_DOCUMENT)
    if digest and f"sha256:{hashlib.sha256(data).hexdigest()}" != digest:
        raise ArchiveError(f"{name!r} in {blobs.where!r} has other bytes than {digest!r}: copy the image again.")
    return data


def _parse(kind: type[Document], data: bytes, blobs: Blobs) -> Document:
    try:
        return TypeAdapter(kind).validate_python(parse_json(data, blobs.where, limit=_LARGEST_DOCUMENT))
    except ValidationError as error:
        detail = error.errors()[0]["msg"]
        raise ArchiveError(f"What describes the image {blobs.where!r} is broken ({detail}): copy it again.") from error
