"""The tables that readers fill have one shape, however many rows they get and however those differ."""

import pytest

from components.shared.errors import FormatError
from components.shared.formats import rows as rows_module
from components.shared.formats.base import PARSED_ANNOTATIONS, PARSED_IMAGES
from components.shared.formats.rows import Extras, Rows
from components.shared.ledger import Rule

BOX = (1.0, 2.0, 3.0, 4.0)


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows_module, "CHUNK", 3)


def test_no_rows_are_tables_too() -> None:
    parsed = Rows().parsed(("a",))
    assert (parsed.images.schema, parsed.annotations.schema) == (PARSED_IMAGES, PARSED_ANNOTATIONS)
    assert parsed.images.height == parsed.annotations.height == 0


@pytest.mark.usefixtures("small_chunks")
def test_rows_keep_their_order_and_types_over_many_chunks() -> None:
    rows = Rows()
    image = rows.add_image("a.jpg")
    for number in range(10):
        rows.add_box(image, f"c{number % 4}" if number else None, (float(number), 0.0, 1.0, 1.0))
    assert rows.categories() == {"c0", "c1", "c2", "c3"}
    annotations = rows.parsed(("c0",)).annotations
    assert annotations.schema == PARSED_ANNOTATIONS
    assert annotations["x"].to_list() == list(map(float, range(10)))
    assert annotations["category"].to_list()[:3] == [None, "c1", "c2"]


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("odd", range(8))
def test_columns_that_are_mostly_constant_keep_their_odd_value(odd: int) -> None:
    rows = Rows()
    image = rows.add_image("a.jpg")
    for number in range(8):
        extras = Extras(
            crowd=True, difficult=True, truncated=True, score=0.5, source_id="s", attributes="{}", relative=True
        )
        rows.add_box(image, None, BOX, extras if number == odd else Extras())
    table = rows.parsed(()).annotations
    for name, default in (("crowd", False), ("score", None), ("source_id", None), ("relative", False)):
        found = table[name].to_list()
        assert found.pop(odd) not in {default, None}
        assert found == [default] * 7
    assert table["kind"].to_list() == ["prediction" if number == odd else "ground_truth" for number in range(8)]


@pytest.mark.parametrize("whole", [True, False])
def test_a_box_may_say_itself_whether_it_is_relative(whole: bool) -> None:
    rows = Rows(relative=whole)
    image = rows.add_image("a.jpg")
    for relative in (None, True, False):
        rows.add_box(image, None, BOX, Extras(relative=relative))
    assert rows.parsed(()).annotations["relative"].to_list() == [whole, True, False]


def test_a_box_may_say_itself_what_kind_it_is() -> None:
    rows = Rows()
    image = rows.add_image("a.jpg")
    cases = [(None, None), (0.5, None), (None, "prediction"), (0.5, "ground_truth")]
    for score, kind in cases:
        rows.add_box(image, None, BOX, Extras(score=score, kind=kind))
    kinds = rows.parsed(()).annotations["kind"].to_list()
    assert kinds == ["ground_truth", "prediction", "prediction", "ground_truth"]


def test_tables_may_be_made_before_the_last_row() -> None:
    rows = Rows()
    image = rows.add_image("a.jpg")
    rows.add_box(image, "a", BOX)
    assert rows.parsed(("a",)).annotations.height == 1
    rows.add_box(image, "b", BOX)
    assert rows.parsed(("a", "b")).annotations["category"].to_list() == ["a", "b"]


def test_a_source_of_nothing_but_broken_records_is_refused_before_they_fill_the_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rows_module, "MOST_DEFECTS", 5)
    rows = Rows()
    for _ in range(5):
        rows.reject("a.json", Rule.MALFORMED, "it is no object")
    with pytest.raises(FormatError, match=r"^More than 5 records are broken, the last of 'a\.json' .* only 0 images"):
        rows.reject("a.json", Rule.MALFORMED, "it is no object")


@pytest.mark.usefixtures("small_chunks")
def test_a_large_source_may_have_many_broken_records(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows_module, "MOST_DEFECTS", 5)
    rows = Rows()
    image = rows.add_image("a.jpg")
    for _ in range(10):
        rows.add_box(image, None, BOX)
    for _ in range(11):
        rows.reject("a.json", Rule.MALFORMED, "it is no object")
    assert len(rows.parsed(()).ledger) == 11
