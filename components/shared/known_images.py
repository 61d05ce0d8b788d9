"""The images a dataset's earlier versions brought into the store: where each lies, and what was measured on it."""

from collections.abc import Iterator, Mapping, Sequence

import polars as pl

from components.shared.dataset import IMAGES
from components.shared.shards import Location

PLACE = ("sha256", "shard", "offset", "bytes")
MEASURED = ("width", "height", "format", "orientation", "problem", "phash", "brightness", "contrast", "sharpness")

Fact = str | int | float | None


class KnownImages(Mapping[str, Location]):
    """Image digest -> ``Location``; held as one table, since there may be a million of them."""

    def __init__(self, tables: Sequence[pl.DataFrame] = ()) -> None:
        """Take the columns ``PLACE`` and ``MEASURED`` of these tables; of a digest in several the first counts."""
        empty = pl.DataFrame(schema={name: IMAGES[name] for name in (*PLACE, *MEASURED)})
        table = pl.concat([empty, *tables]).unique("sha256", keep="first", maintain_order=True)
        self._row = {digest: row for row, digest in enumerate(table.get_column("sha256"))}
        self._places, self._measured = table.select(PLACE[1:]), table.select(MEASURED)
        # A version from before there were measurements does not have them.
        self._usable = table.get_column("brightness").is_not_null()

    def __getitem__(self, digest: str) -> Location:
        return Location(*self._places.row(self._row[digest]))

    def __iter__(self) -> Iterator[str]:
        return iter(self._row)

    def __len__(self) -> int:
        return len(self._row)

    def measured(self, digest: str) -> tuple[Fact, ...] | None:
        """The columns ``MEASURED`` of an image, which follow from its bytes alone; ``None`` when they are not known."""
        row = self._row.get(digest)
        return self._measured.row(row) if row is not None and self._usable[row] else None
