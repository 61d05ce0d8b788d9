"""The loop over images: in order, measured once, in bounded memory, and telling how far it is."""

import hashlib
import threading
from io import BytesIO
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image

from components.data_load import look
from components.data_load.look import FACTS, FactsTable, Looked, Pace, Place, look_at_images
from components.shared.errors import ConfigError, NotFoundError, SourceError, UnsafeInputError


def picture(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (24, 40, 3), dtype=np.uint8)
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG")
    return buffer.getvalue()


def write(folder: Path, count: int) -> list[Place]:
    for number in range(count):
        (folder / f"{number:03}.jpg").write_bytes(picture(number))
    return [Place(str(folder / f"{number:03}.jpg"), None) for number in range(count)]


def facts_of(looked: Looked) -> dict[str, object]:
    return dict(zip(FACTS, looked.facts, strict=True))


def test_images_come_out_in_order_with_their_digest_size_and_measures(tmp_path: Path) -> None:
    found = list(look_at_images(write(tmp_path, 100), 100, None))
    assert [looked.digest for looked in found] == [hashlib.sha256(picture(n)).hexdigest() for n in range(100)]
    facts = facts_of(found[7])
    assert (facts["bytes"], facts["width"], facts["height"]) == (len(picture(7)), 40, 24)
    assert (facts["format"], facts["orientation"], facts["problem"]) == ("jpeg", 1, None)
    for measure in ("phash", "brightness", "contrast", "sharpness"):
        assert facts[measure] is not None


def test_an_image_that_is_nowhere_keeps_its_row(tmp_path: Path) -> None:
    [place] = write(tmp_path, 1)
    found = list(look_at_images([place, Place(None, None), place], 2, None))
    assert [looked.data is None for looked in found] == [False, True, False]
    assert facts_of(found[1]) == {**dict.fromkeys(FACTS), "bytes": 0, "width": 0, "height": 0, "orientation": 1}


def test_a_file_that_vanished_is_named(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"gone\.jpg.*cannot be read"):
        list(look_at_images([Place(str(tmp_path / "gone.jpg"), None)], 1, None))


def test_a_file_too_large_to_be_an_image_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(look, "MAX_IMAGE_BYTES", 1000)
    [place] = write(tmp_path, 1)
    [found] = look_at_images([place], 1, None)
    assert found.data is None
    assert facts_of(found)["problem"] == "its file has more than 1000 bytes"


def test_an_image_that_cannot_be_fetched_says_why_and_the_others_go_on() -> None:
    def fetch(uri: str) -> bytes:
        errors = {"gone": NotFoundError("gone"), "private": UnsafeInputError("private"), "down": SourceError("down")}
        if uri in errors:
            raise errors[uri]
        return picture(3)

    places = [Place(None, uri) for uri in ("gone", "here", "private", "down")]
    found = list(look_at_images(places, 4, fetch))
    assert [facts_of(looked)["problem"] for looked in found] == ["gone", None, "private", "down"]
    assert [looked.data for looked in found] == [None, picture(3), None, None]


def test_a_wrong_configuration_stops_the_fetching() -> None:
    def fetch(uri: str) -> bytes:
        raise ConfigError(uri)

    with pytest.raises(ConfigError):
        list(look_at_images([Place(None, "s3://a/b")], 1, fetch))


def test_images_are_fetched_side_by_side() -> None:
    together = threading.Barrier(8, timeout=20)

    def fetch(uri: str) -> bytes:
        together.wait()
        return uri.encode()

    found = list(look_at_images([Place(None, f"https://host/{n}") for n in range(8)], 8, fetch))
    assert [looked.data for looked in found] == [f"https://host/{n}".encode() for n in range(8)]


def test_bytes_in_flight_are_bounded_whatever_an_image_weighs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(look, "WINDOW_BYTES", 20_000)
    monkeypatch.setattr(look, "BATCH_BYTES", 8_000)
    read: list[str] = []
    original = look._read

    def reading(path: str) -> bytes | str:
        read.append(path)
        return original(path)

    monkeypatch.setattr(look, "_read", reading)
    places = write(tmp_path, 60)
    sizes = [len(picture(number)) for number in range(60)]
    handed = 0
    for looked in look_at_images(places, 60, None):
        handed += len(looked.data or b"")
        ahead = sum(sizes[: len(read)]) - handed
        assert ahead <= 20_000 + 8_000


def test_an_image_above_the_bound_travels_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(look, "WINDOW_BYTES", 1)
    assert len(list(look_at_images(write(tmp_path, 5), 5, None))) == 5


def test_rows_become_columns_of_the_datasets_types() -> None:
    table = FactsTable(rows=2)
    row = ("a" * 64, 5, 4, 3, "png", 1, None, 2**64 - 1, 0.5, 0.25, None)
    for _ in range(5):
        table.add(row)
    assert table.table().schema == FACTS
    assert table.table().get_column("phash").to_list() == [2**64 - 1] * 5
    assert FactsTable().table().equals(pl.DataFrame(schema=FACTS))


def test_the_pace_tells_images_bytes_speed_and_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[tuple[float, str]] = []
    clock = [100.0]
    monkeypatch.setattr(look.time, "monotonic", lambda: clock[0])
    pace = Pace(4000, lambda share, text: heard.append((share, text)))
    for _ in range(2000):
        clock[0] += 0.0005
        pace.step(100_000)
    assert heard[0][1].startswith("image 1 of 4000, 0 MB, ")
    assert 3 <= len(heard) <= 5
    share, text = heard[-1]
    assert share == pytest.approx(0.45, abs=0.06)
    assert text == "image 1801 of 4000, 180 MB, 2,000 images/s, 1 s left"


def test_an_image_that_is_known_is_hashed_but_not_decoded_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = write(tmp_path, 3)
    first = list(look_at_images(places, 3, None))
    known = {looked.digest: looked.facts[2:] for looked in first[:2]}
    decoded: list[bytes] = []
    real = look.image_facts
    monkeypatch.setattr(look, "image_facts", lambda data, **options: decoded.append(data) or real(data, **options))
    assert list(look_at_images(places, 3, None, known.get)) == first
    assert decoded == [picture(2)]
