"""The grammar of filter expressions: what is read, what is refused and where the error points."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.shared.errors import ConfigError
from components.shared.expression import MAX_LENGTH, parse
from components.shared.expression_tree import COLUMNS, FUNCTIONS, Among, Call, Comparison, Kind, Logic

GOOD = [
    'folder == "site-a" and boxes > 0',
    "100 < width <= 200",
    'name == "a # b"',
    "  boxes\n > 1 ",
    'not (split in ["val", None]) or split is None',
    '"car" in classes and "night" in name',
    'has("car") and count("dog") >= 2 and tag("weather") != "rain"',
    'number(tag("speed")) * 2 - 1 > -3 / height',
    'matches(name, "\\d+") and startswith(name, "a") and endswith(folder, "b")',
    "width in (640, -1) and True",
]


@pytest.mark.parametrize("text", GOOD)
def test_what_the_readme_promises_is_read(text: str) -> None:
    assert parse(text).tree.kind is Kind.TRUTH


def test_a_chain_is_both_comparisons() -> None:
    tree = parse("100 < width <= 200").tree
    assert isinstance(tree, Logic)
    assert tree.operator == "and"
    assert [part.operator for part in tree.operands if isinstance(part, Comparison)] == ["<", "<="]


def test_in_classes_is_has() -> None:
    tree = parse('"car" in classes').tree
    assert isinstance(tree, Call)
    assert tree.function == "has"


def test_a_list_may_hold_none() -> None:
    tree = parse('split in ["val", None]').tree
    assert isinstance(tree, Among)
    assert tree.values == ("val", None)


@pytest.mark.parametrize(
    ("text", "column", "message"),
    [
        ("width > 3 and widht > 3", 15, "no column 'widht'.*did you mean 'width'"),
        ('folder == "é" and ünder > 2', 19, "no column 'ünder'"),
        ("folder == site", 11, "text stands in quotes"),
        ('hass("car")', 1, "no function 'hass'; did you mean 'has'"),
        ("boxes", 1, "the whole is a number"),
        ("boxes and True", 1, "this is a number, it must be true or false"),
        ("name > 3", 1, "text cannot be compared with a number by >"),
        ('classes == "car"', 1, 'write has\\("car"\\)'),
        ("split > None", 1, "cannot be compared"),
        ("width & 3 == 1", 1, "write and"),
        ("has(name)", 5, "must be a text in quotes"),
        ('has("car", 3)', 1, "write it as in"),
        ('has(name="car")', 1, "write it as in"),
        ('name.startswith("x")', 1, "functions are written as"),
        ("startswith", 1, "is a function"),
        ("width > 1e999", 9, "beyond"),
        ("width > 99999999999999999999", 9, "beyond"),
        ("width > 1j", 9, "neither text"),
        ('b"a" == name', 1, "neither text"),
        ('matches(name, "\\b")', 15, "put an r before"),
        ('folder = "a"', 8, "invalid syntax"),
        ("width > 1 && height > 2", 12, "invalid syntax"),
        ("", 1, "invalid syntax"),
        ("width > 1\x00", 10, "control character"),
        ("width in 3", 10, "after in stands a list"),
        ('width in [1, "a"]', 14, "each element"),
        ('name in [has("a")]', 10, "each element"),
        ('["a"] == name', 1, "a list can only stand after in"),
        ("name in classes", 1, "name of a class in quotes"),
        ("~(boxes > 0)", 1, "write not"),
        ("not boxes", 5, "this is a number"),
    ],
)  # fmt: skip
def test_an_error_points_at_its_place(text: str, column: int, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        parse(text)
    assert f"at column {column}," in str(caught.value)
    assert ">>>" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        '__import__("os").system("true")',
        "().__class__.__base__.__subclasses__()",
        "open('/etc/passwd')",
        "lambda: True",
        "[name for name in classes]",
        "width if True else height",
        'f"{name}" == "a"',
        "(width := 3) > 2",
        "has(*classes)",
        'name[0] == "a"',
        "width ** 999999 > 3",
        "width % 2 == 1",
        "1 << 10 > width",
        "await width",
        "... == width",
        "True == True",
        "{**name}",
        "width; height",
        "import os",
        "name == 'a' # comment\nand boxes > 0",
    ],
)
def test_what_is_no_part_of_the_grammar_is_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        parse(text)


@pytest.mark.parametrize(
    "text",
    [
        "x" * (MAX_LENGTH + 1),
        "(" * 300 + "boxes > 0" + ")" * 300,
        "not " * 400 + "True",
        "-" * 900 + "1 > 0",
        "1+" * 900 + "1 > 0",
        "[" * 900,
        "9" * 1900 + " > width",
        "{" * 190,
        "lambda:" * 200,
        'matches(name, "' + "a" * 400 + '")',
        "(((boxes > 0) == True) == True)" * 20,
    ],
)
def test_what_is_too_long_or_too_deep_is_refused_quickly(text: str) -> None:
    start = time.process_time()
    with pytest.raises(ConfigError):
        parse(text)
    assert time.process_time() - start < 1


PIECES = [*COLUMNS, *FUNCTIONS, "and", "or", "not", "in", "is", "(", ")", "[", "]", ",", "==", "<", "!=", "+", "-", "/"]
PIECES += ['"car"', "r'a'", "1", "2.5", "None", "True", " ", "\t", "\\", "'", ".", ":=", "lambda", "é", "\u202e", "💥"]


@given(st.lists(st.sampled_from(PIECES), max_size=14), st.text(max_size=5))
@settings(max_examples=3 * settings().max_examples)
def test_any_text_is_read_or_refused_in_a_sentence(pieces: list[str], noise: str) -> None:
    text = " ".join(pieces) + noise
    try:
        tree = parse(text).tree
    except ConfigError as error:
        assert "\n" not in str(error)  # noqa: PT017 - either end is fine
    else:
        assert tree.kind is Kind.TRUTH
