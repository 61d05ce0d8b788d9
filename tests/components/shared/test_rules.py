"""The table of rules and what may be done about each."""

import pytest

from components.shared.errors import ConfigError
from components.shared.ledger import Rule
from components.shared.rules import CONFLICTING_DUPLICATE, HANDLING, Choice, describe_rules, resolve_rules


def test_without_wishes_every_rule_has_its_default() -> None:
    assert resolve_rules({}) == {rule: handling.default for rule, handling in HANDLING.items()}


def test_every_default_is_allowed_and_said_in_words() -> None:
    for handling in HANDLING.values():
        assert handling.default in handling.choices
        assert all(words.endswith(".") for words in handling.choices.values())


def test_every_name_is_one_that_the_ledger_knows() -> None:
    assert set(HANDLING) - {CONFLICTING_DUPLICATE} <= {rule.value for rule in Rule}


@pytest.mark.parametrize("written", ["too small", "too_small", "too-small", " Too  Small ", "TOO-small"])
def test_a_rule_can_be_written_in_any_way(written: str) -> None:
    assert resolve_rules({written: " Keep"})["too small"] is Choice.KEEP


@pytest.mark.parametrize(
    ("wishes", "message"),
    [
        ({"cliped": "fix"}, r"'cliped', which is no rule: did you mean 'clipped'.*'too small'"),
        ({"zeppelin": "fix"}, r"'zeppelin', which is no rule: the rules are 'missing image'"),
        ({"near-duplicate image": "keep"}, "cannot be switched"),
        ({"non-finite": "keep"}, r"'non-finite': 'keep'; for this rule it can only be 'reject'"),
        ({"clipped": "rejct"}, r"'fix', 'reject', 'keep'\. Did you mean 'reject'\?"),
        ({"too small": "fix", "too-small": "keep"}, "'too small' twice"),
        ({"": ""}, "is no rule"),
    ],
)
def test_what_makes_no_sense_is_refused_with_what_does(wishes: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        resolve_rules(wishes)


def test_a_choice_that_is_no_text_is_refused() -> None:
    with pytest.raises(ConfigError, match="3; for this rule"):
        resolve_rules({"clipped": 3})  # type: ignore[dict-item]


def test_the_description_begins_with_the_default() -> None:
    assert ("clipped", "fix, reject, keep") in [row[:2] for row in describe_rules()]
    assert all(row[1].split(", ")[0] == HANDLING[row[0]].default for row in describe_rules())
