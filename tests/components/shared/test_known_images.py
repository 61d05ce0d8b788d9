"""What earlier versions know of an image."""

import polars as pl

from components.shared.dataset import IMAGES
from components.shared.known_images import MEASURED, PLACE, KnownImages
from components.shared.shards import Location


def table(*rows: dict[str, object]) -> pl.DataFrame:
    schema = {name: IMAGES[name] for name in (*PLACE, *MEASURED)}
    plain = {"shard": "s", "offset": 512, "bytes": 9, "width": 4, "height": 3, "format": "png", "orientation": 1}
    return pl.DataFrame([{**dict.fromkeys(schema), **plain, **row} for row in rows], schema=schema)


def test_of_an_image_in_two_versions_the_first_place_counts() -> None:
    known = KnownImages([table({"sha256": "a"}), table({"sha256": "a", "shard": "t"}, {"sha256": "b", "offset": 7})])
    assert dict(known) == {"a": Location("s", 512, 9), "b": Location("s", 7, 9)}
    assert "c" not in known


def test_only_what_was_measured_is_recalled() -> None:
    measured = {"sha256": "a", "phash": 2**63 + 1, "brightness": 0.5, "contrast": 0.25}
    known = KnownImages([table(measured, {"sha256": "old"})])
    assert known.measured("a") == (4, 3, "png", 1, None, 2**63 + 1, 0.5, 0.25, None)
    assert known.measured("old") is None
    assert known.measured("never seen") is None


def test_nothing_is_known_of_a_new_dataset() -> None:
    assert dict(KnownImages()) == {}
    assert KnownImages() == {}
