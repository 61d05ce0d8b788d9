"""Container images made by hand, whole ones and hostile ones: layers, OCI layouts and docker archives."""

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Sequence
from pathlib import Path

HOME = "home/bentoml/bento"
Member = tuple[str, bytes | str | None]


def layer(members: Sequence[Member]) -> bytes:
    """A layer's tar: bytes make a file, ``None`` a folder, and text a link (``=...`` a hard one, ``!`` a device)."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            if content is None:
                info.type = tarfile.DIRTYPE
            elif content == "!":
                info.type = tarfile.CHRTYPE
            elif isinstance(content, str):
                info.type = tarfile.LNKTYPE if content.startswith("=") else tarfile.SYMTYPE
                info.linkname = content.removeprefix("=")
            else:
                info.size = len(content)
            tar.addfile(info, io.BytesIO(content) if isinstance(content, bytes) else None)
    return buffer.getvalue()


def bento_members(bento: Path, home: str = HOME) -> list[Member]:
    """A bento's files as members of a layer."""
    files = sorted(path for path in bento.rglob("*") if path.is_file())
    return [(f"{home}/{path.relative_to(bento).as_posix()}", path.read_bytes()) for path in files]


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def config_of(layers: Sequence[bytes], labels: dict[str, str] | None = None) -> bytes:
    diff_ids = [f"sha256:{sha256(data)}" for data in layers]
    return json.dumps({"rootfs": {"type": "layers", "diff_ids": diff_ids}, "config": {"Labels": labels}}).encode()


def oci_layout(
    folder: Path, layers: Sequence[bytes], *, labels: dict[str, str] | None = None, packed: bool = True, tag: str = "1"
) -> Path:
    """An OCI layout; called again with another tag, the folder holds another image too."""
    blobs = folder / "blobs" / "sha256"
    blobs.mkdir(parents=True, exist_ok=True)

    def put(data: bytes, kind: str) -> dict[str, object]:
        (blobs / sha256(data)).write_bytes(data)
        return {
            "mediaType": f"application/vnd.oci.image.{kind}",
            "digest": f"sha256:{sha256(data)}",
            "size": len(data),
        }

    config = put(config_of(layers, labels), "config.v1+json")
    stored = [put(gzip.compress(data, mtime=0) if packed else data, "layer.v1.tar+gzip") for data in layers]
    manifest = put(json.dumps({"schemaVersion": 2, "config": config, "layers": stored}).encode(), "manifest.v1+json")
    index = folder / "index.json"
    known = json.loads(index.read_text())["manifests"] if index.exists() else []
    entry = {**manifest, "annotations": {"org.opencontainers.image.ref.name": tag}}
    index.write_text(json.dumps({"schemaVersion": 2, "manifests": [*known, entry]}))
    (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    return folder


def docker_archive(path: Path, layers: Sequence[bytes], *, links: bool = False) -> Path:
    """What ``docker save`` writes; with ``links`` its layers are links, as old releases made them."""
    config = config_of(layers)
    members: list[Member] = [(f"{sha256(config)}.json", config)]
    names = []
    for number, data in enumerate(layers):
        members.append((f"{sha256(data)}.tar", data))
        names.append(f"{number}/layer.tar" if links else f"{sha256(data)}.tar")
        members += [(names[-1], f"../{sha256(data)}.tar")] if links else []
    image = [{"Config": f"{sha256(config)}.json", "RepoTags": ["detector:1"], "Layers": names}]
    path.write_bytes(layer([*members, ("manifest.json", json.dumps(image).encode())]))
    return path
