"""What each column and function of a filter expression means, and what is told of the images it leaves out."""

import json
from collections.abc import Callable

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.data_prep.outcome import PrepareOptions
from components.data_prep.prepare import prepare
from components.data_prep.subset import choose_images, parse_subset
from components.shared.dataset import Dataset
from components.shared.errors import ConfigError, DataQualityError

MakeDataset = Callable[..., Dataset]


@pytest.fixture(scope="module")
def site(make_dataset: MakeDataset) -> Dataset:
    images = [
        {"name": "site-a/day/0.jpg", "split": "train", "tags": json.dumps({"weather": "rain", "speed": "12.5"})},
        {"name": "site-a/1.png", "format": "png", "split": "val", "tags": json.dumps({"weather": "sun"})},
        {"name": "2.jpg", "width": 200, "brightness": 0.25},
        {
            "name": "site-b/3.jpg",
            "width": 0,
            "height": 0,
            "bytes": 5000,
            "brightness": 0.75,
            "tags": json.dumps({"speed": "x"}),
        },
    ]
    boxes = [{}, {"x": 30.0}, {"category": "dog"}, {"image_id": 1, "category": "lorry"}]
    boxes += [{"image_id": 2, "kind": "prediction", "score": 0.5}, {"image_id": 9}]
    return make_dataset(images, boxes, classes=("cat", "dog", "lorry"))


@pytest.mark.parametrize(
    ("text", "chosen"),
    [
        ("", [0, 1, 2, 3]),
        ("True", [0, 1, 2, 3]),
        ('folder == "site-a"', [1]),
        ('startswith(folder, "site-a")', [0, 1]),
        ('folder == ""', [2]),
        ('name in ["2.jpg", "site-b/3.jpg"]', [2, 3]),
        ('"site" in folder', [0, 1, 3]),
        ('endswith(name, ".jpg") and not has("cat")', [2, 3]),
        (r'matches(name, r"\d\.png$")', [1]),
        ('split == "train"', [0]),
        ('split != "train"', [1, 2, 3]),
        ("split is None", [2, 3]),
        ("split is not None", [0, 1]),
        ('split in ["val", None]', [1, 2, 3]),
        ('split not in ["val", None]', [0]),
        ('format == "png"', [1]),
        ("boxes > 0", [0, 1]),
        ("boxes == 0", [2, 3]),
        ("1 <= boxes < 3", [1]),
        ('count("cat") == 2', [0]),
        ('count("cat") + count("dog") == boxes and boxes > 0', [0]),
        ('"dog" in classes', [0]),
        ('"dog" not in classes', [1, 2, 3]),
        ('has("CAT")', [0]),
        ('has("truck")', [1]),
        ('has("lorry")', [1]),
        ('tag("weather") == "rain"', [0]),
        ('tag("weather") != "rain"', [1, 2, 3]),
        ('tag("weather") == None', [2, 3]),
        ('number(tag("speed")) > 10', [0]),
        ('number(tag("speed")) is None', [1, 2, 3]),
        ("width - 150 > 0", [2]),
        ("width - 150 < 0", [0, 1, 3]),
        ("-width == -200", [2]),
        ("aspect > 2", [2]),
        ("aspect is None", [3]),
        ("aspect <= 2", [0, 1]),
        ("width / height > 2", [2]),
        ("1 / (width - width) > 0", []),
        ("brightness < 0.5", [2]),
        ("not brightness < 0.5", [0, 1, 3]),
        ("brightness > 1 or contrast > 0", []),
        ("bytes >= 5000", [3]),
        ("brightness in [0.25, None]", [0, 1, 2]),
        ("width in []", []),
        ('name < "site-b"', [0, 1, 2]),
    ],
)  # fmt: skip
def test_the_images_for_which_it_holds_are_chosen(site: Dataset, text: str, chosen: list[int]) -> None:
    classes = {"cat": "cat", "dog": "dog", "lorry": "truck"}
    if not chosen:
        with pytest.raises(DataQualityError, match="holds for none of the 4 images"):
            choose_images(site, text, classes)
        return
    dataset, ledger = choose_images(site, text, classes)
    assert dataset.images.get_column("image_id").to_list() == chosen
    assert ledger.height == 4 - len(chosen)
    assert set(dataset.annotations.get_column("image_id")) <= {*chosen, 9}


def test_an_image_left_out_has_a_row_with_its_annotations(site: Dataset) -> None:
    _, ledger = choose_images(site, "boxes == 0", {})
    row = ledger.row(0, named=True)
    assert (row["image"], row["rule"], row["action"]) == ("site-a/day/0.jpg", "outside the subset", "left out")
    assert json.loads(row["before"]) == {"annotations": 3}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('has("cta")', r"at column 5.*no class 'cta'; did you mean 'cat'\?"),
        ('boxes > 0 or count("zeppelin") > 0', "there are 'cat', 'dog', 'lorry'"),
        ('tag("wether") == "sun"', r"no image has a tag 'wether'; did you mean 'weather'\?"),
        ('matches(name, "[")', "at column 15.*the pattern cannot be used: unclosed"),
        ('matches(name, "(?=a)")', "look-around"),
        (r'matches(name, r"(a)\1")', "backreference"),
        ('matches(name, "(a{1000}){1000}")', "size limit"),
    ],
)
def test_what_only_the_data_or_polars_can_tell_is_refused_too(site: Dataset, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        choose_images(site, text, {})


def test_a_wrong_pattern_is_refused_before_any_data_is_read() -> None:
    with pytest.raises(ConfigError, match="pattern"):
        PrepareOptions(subset='matches(tag("x"), "[") and has("cat")').check()


def test_no_text_is_no_expression() -> None:
    assert parse_subset(" \n") is None


def test_tags_with_quotes_and_dots_are_only_names(make_dataset: MakeDataset) -> None:
    key = "a\".b['c']"
    dataset = make_dataset([{"tags": json.dumps({key: "1"})}, {}])
    chosen, _ = choose_images(dataset, f"tag({key!r}) == '1'", {})
    assert chosen.images.get_column("image_id").to_list() == [0]


def test_what_is_left_out_counts_for_no_limit(make_dataset: MakeDataset) -> None:
    images = [{"name": f"{'a' if place < 5 else 'b'}/{place}.jpg"} for place in range(10)]
    images += [{"name": f"b/{place}.jpg", "sha256": None} for place in range(10, 20)]
    dataset = make_dataset(images, [{"image_id": place} for place in range(20)])
    prepared = prepare(dataset, PrepareOptions(subset='folder == "a"', max_rejected_share=0.0))
    assert prepared.counts["images"] == 5
    assert prepared.counts["left_out_subset_images"] == 15
    assert prepared.counts["found_images"] == 5
    assert prepared.audit.ledger.get_column("action").unique().to_list() == ["left out"]


NUMBERS = st.sampled_from(["width", "height", "boxes", "brightness", "3", "0.5", 'count("cat")', "-1"])
COMPARED = st.builds(
    lambda left, sign, right: f"{left} {sign} {right}",
    NUMBERS,
    st.sampled_from(["<", "<=", ">", ">=", "==", "!="]),
    NUMBERS,
)
TRUTHS = st.recursive(
    st.one_of(
        COMPARED, st.sampled_from(['has("dog")', "split is None", 'split in ["val"]', 'tag("weather") == "sun"'])
    ),
    lambda inner: st.one_of(
        inner.map(lambda text: f"not ({text})"),
        st.tuples(inner, st.sampled_from(["and", "or"]), inner).map(lambda parts: "({}) {} ({})".format(*parts)),
    ),
    max_leaves=6,
)


@given(TRUTHS)
def test_an_expression_and_its_negation_divide_the_images(site: Dataset, text: str) -> None:
    chosen = [set(), set()]
    for place, each in enumerate((text, f"not ({text})")):
        try:
            chosen[place] = set(choose_images(site, each, {})[0].images.get_column("image_id"))
        except DataQualityError:
            continue
    assert chosen[0] | chosen[1] == {0, 1, 2, 3}
    assert not chosen[0] & chosen[1]


def test_names_can_hold_anything_printable(make_dataset: MakeDataset) -> None:
    dataset = make_dataset([{"name": 'a"b/ü\\💥.jpg'}, {}])
    chosen, _ = choose_images(dataset, """folder == 'a"b' and "💥" in name and "\\\\" in name""", {})
    assert chosen.images.height == 1
    assert isinstance(chosen.annotations, pl.DataFrame)
