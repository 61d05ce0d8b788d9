"""The Markdown overview: what it tells, and that no name can break it."""

from collections.abc import Callable
from pathlib import Path

import pytest

from components.data_prep.advice import ADVICE
from components.data_prep.outcome import PrepareOptions
from components.data_prep.overview import SHOWN_CLASSES, overview, plain, write_overview
from components.data_prep.prepare import prepare
from components.shared.dataset import Dataset
from components.shared.ledger import Rule
from components.shared.rules import describe_rules

MakeDataset = Callable[..., Dataset]
README = Path(__file__).parents[3] / "components/data_prep/README.md"


def told(dataset: Dataset, options: PrepareOptions) -> str:
    return overview(prepare(dataset, options), options)


def test_clean_data_is_said_to_be_clean(make_many: MakeDataset, tmp_path: Path) -> None:
    dataset = make_many(20)
    options = PrepareOptions()
    path = tmp_path / "overview.md"
    write_overview(path, prepare(dataset, options), options)
    text = path.read_text(encoding="utf-8")
    assert text.startswith("# small, prepared\n\n**20 images with 20 boxes are ready**: none of 40 images")
    assert "Every record kept every rule." in text
    assert "| all | 20 | 20 | 20 | 0 |" in text
    assert "All options have their defaults." in text


def test_rules_options_and_left_out_classes_are_told(make_dataset: MakeDataset) -> None:
    boxes = [*({"image_id": place} for place in range(19)), {"image_id": 19, "x": -5.0}, {"category": "dog"}]
    options = PrepareOptions(drop_classes=("dog",), rules={"clipped": "reject"}, max_class_share=0.9)
    text = told(make_dataset([{}] * 20, boxes), options)
    assert f"| clipped | rejected | 1 | {ADVICE[Rule.CLIPPED][0]} |" in text
    assert "1 annotations of 1 other classes were left out." in text
    assert "| rules | {'clipped': 'reject'} |".replace("{", "\\{").replace("}", "\\}") in text
    assert "max\\_class\\_share 0.9 could not be reached" in text
    assert "| cat | " in text.split("Training boxes before and after")[1]


def test_only_the_largest_classes_are_listed(make_dataset: MakeDataset) -> None:
    names = [f"class {place}" for place in range(40)]
    boxes = [{"image_id": place, "category": name} for place, name in enumerate(names)]
    text = told(make_dataset([{}] * 40, boxes, classes=names), PrepareOptions())
    assert f"## Classes, the {SHOWN_CLASSES} largest of 40" in text
    assert text.count("| class ") == SHOWN_CLASSES + 1


HOSTILE = [
    "a|b",
    "<img src=x onerror=alert(1)>",
    "[x](javascript:alert(1))",
    "line\nbreak",
    "`code`",
    "**bold**",
    "https://x",
]


def test_names_from_outside_mean_nothing_in_markdown(make_dataset: MakeDataset) -> None:
    boxes = [{"image_id": place, "category": name} for place, name in enumerate(HOSTILE * 3)]
    text = told(make_dataset([{}] * 21, boxes, classes=HOSTILE), PrepareOptions(target_classes=tuple(HOSTILE)))
    assert "<img" not in text
    assert "](" not in text.replace("\\](", "")
    assert "https://" not in text
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert all(line.replace("\\|", "").count("|") in {3, 5, 6, 9} for line in rows)


@pytest.mark.parametrize(
    ("value", "shown"),
    [("a" * 200, "a" * 117 + "..."), ("a\u202eb\x00", "a?b?"), ("\\|", "\\\\\\|"), ("&amp;", "&amp;amp;"), (3, "3")],
)
def test_a_value_is_one_short_line(value: object, shown: str) -> None:
    assert plain(value) == shown


def test_the_readme_has_the_table_of_rules() -> None:
    text = README.read_text(encoding="utf-8")
    for rule, choices, words in describe_rules():
        assert f"| {rule} | {choices} | {words} |" in text


def test_the_advice_names_what_else_can_be_done() -> None:
    assert ADVICE[Rule.CLIPPED][1].endswith("In rules, 'clipped' can be reject or keep.")
    assert "'conflicting duplicate' can be fix or reject" in ADVICE[Rule.DUPLICATE_IMAGE][1]
    assert "In rules" not in ADVICE[Rule.NON_FINITE][1]
