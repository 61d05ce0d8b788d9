"""One hostile source: how it is made and what must come of it."""

import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

Files = dict[str, bytes | str | Callable[[], bytes]]


HARMLESS = "harmless"


@dataclass(frozen=True)
class Case:
    """A hostile source.

    Attributes:
        name: what it is.
        make: ``(folder, outside)`` writes it below ``folder`` and gives the source; ``outside`` is not to be touched.
        says: what the error or the ledger row must contain: the name of the file, above all.
        error: the type of the error that refuses it; ``None`` when the rest of the source is loaded.
        rule: the rule of the ledger row that records it; ``HARMLESS`` where there is nothing to record,
            because what is hostile in it is never looked at.
        format: what the source is read as.
        known: why it does not hold yet; empty when it does.
    """

    name: str
    make: Callable[[Path, Path], Path]
    says: str = ""
    error: str | None = None
    rule: str | None = None
    format: str = "auto"
    known: str = ""


def picture(kind: str = "JPEG", size: tuple[int, int] = (32, 24)) -> bytes:
    """A small honest image."""
    buffer = io.BytesIO()
    Image.effect_noise(size, 40).convert("RGB").save(buffer, kind)
    return buffer.getvalue()


def coco(*images: str, **more: object) -> str:
    """A COCO file that names these images, each with one box."""
    return json.dumps({
        "images": [{"id": i, "file_name": name, "width": 32, "height": 24} for i, name in enumerate(images)],
        "annotations": [{"id": i, "image_id": i, "category_id": 1, "bbox": [1, 1, 9, 9]} for i in range(len(images))],
        "categories": [{"id": 1, "name": "cat"}],
        **more,
    })  # fmt: skip


def voc(inner: str = "", head: str = "") -> str:
    """A VOC file with one box."""
    box = "<xmin>1</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9</ymax>"
    return f"{head}<annotation><object><name>cat</name><bndbox>{box}</bndbox></object>{inner}</annotation>"


HONEST: dict[str, bytes] = {"images/good.jpg": picture(), "labels/good.txt": b"0 .5 .5 .5 .5\n"}


def tree(files: Files, *, honest: bool = True) -> Callable[[Path, Path], Path]:
    """A source folder with these files, beside an image and its boxes that are as they should be."""

    def make(folder: Path, _outside: Path) -> Path:
        for name, content in ({**HONEST, **files} if honest else files).items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            data = content() if callable(content) else content
            path.write_bytes(data.encode("utf-8", "surrogatepass") if isinstance(data, str) else data)
        return folder

    return make
