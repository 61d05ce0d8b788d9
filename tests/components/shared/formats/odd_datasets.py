"""Names and classes that converters get wrong, and data sets made of them."""

import unicodedata

import polars as pl
from hypothesis import strategies as st

from components.shared.dataset import ANNOTATIONS, IMAGES, Dataset
from components.shared.formats.names import why_unsafe

PIXEL = bytes.fromhex("89504e470d0a1a0a")
CLASSES = ["1", "true", "null", "no", "0x1F", "~", "a: b", "größe", "# x", "日本", "'q'", "-", "1e3", "a,b", "<b>&amp;"]
PARTS = ["a", "a.b", "a b", "images", "labels", "train", "val", "Annotations", "JPEGImages", "u\u0308", "日本", "%41"]
PARTS += ["a'b", "x#y", "é"]

parts = st.sampled_from(PARTS) | st.text(
    st.characters(exclude_categories=("C", "Z"), exclude_characters="/\\"), min_size=1, max_size=6
).filter(lambda text: not text.startswith(".") and why_unsafe(text) is None)
stems = st.lists(
    st.lists(parts, min_size=1, max_size=3).map("/".join).map(lambda name: unicodedata.normalize("NFC", name)),
    min_size=1, max_size=5, unique_by=str.casefold,
)  # fmt: skip


def dataset_of(classes: list[str], images: list[dict[str, object]], annotations: list[dict[str, object]]) -> Dataset:
    """A data set of these records."""
    return Dataset(
        name="set",
        classes=tuple(classes),
        images=pl.DataFrame(images, schema=IMAGES) if images else pl.DataFrame(schema=IMAGES),
        annotations=pl.DataFrame(annotations, schema=ANNOTATIONS) if annotations else pl.DataFrame(schema=ANNOTATIONS),
    )
