"""Small source trees and the public data sets that lie beside the repository."""

import io
import sys
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from PIL import Image

from components.shared.formats.base import Parsed

sys.path.insert(0, str(Path(__file__).parent))  # odd_datasets.py is shared by the tests beside it
MakeTree = Callable[[dict[str, str | bytes]], Path]
SizedBoxes = Callable[[Parsed], list[tuple[str, str, float, float, float, float]]]

REAL_DATA = Path(__file__).resolve().parents[5] / "shared" / "data"


def png(width: int = 20, height: int = 10) -> bytes:
    """A small encoded image."""
    buffer = io.BytesIO()
    Image.new("RGB", (width, height)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def make_tree(tmp_path: Path) -> MakeTree:
    """Write files by path below a new folder; an empty image path gets a small picture."""

    def make(files: dict[str, str | bytes]) -> Path:
        root = tmp_path / "source"
        for name, content in files.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            data = content.encode() if isinstance(content, str) else content
            path.write_bytes(data or (png() if path.suffix in {".jpg", ".png"} else b""))
        return root

    return make


@pytest.fixture
def real_data() -> Callable[[str], Path]:
    """The folder of a public data set; skips where it is absent."""

    def find(name: str) -> Path:
        path = REAL_DATA / name
        if not path.is_dir():
            pytest.skip(f"the public data set {name!r} is not beside the repository")
        return path

    return find


@pytest.fixture
def sized_boxes() -> SizedBoxes:
    """Boxes in pixels as (image name, category, x, y, width, height), sorted; relative ones need the image files."""

    def boxes(parsed: Parsed) -> list[tuple[str, str, float, float, float, float]]:
        sizes = {}
        for image_id, path in parsed.images.select("image_id", "path").iter_rows():
            sizes[image_id] = Image.open(path).size if path and parsed.annotations["relative"].any() else (1, 1)
        found = []
        joined = parsed.annotations.join(parsed.images.select("image_id", "name"), on="image_id")
        for row in joined.with_columns(pl.col("category").fill_null("")).iter_rows(named=True):
            width, height = sizes[row["image_id"]] if row["relative"] else (1, 1)
            box = (row["x"] * width, row["y"] * height, row["width"] * width, row["height"] * height)
            found.append((row["name"], row["category"], *box))
        return sorted(found)

    return boxes
