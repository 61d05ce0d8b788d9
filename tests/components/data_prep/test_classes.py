"""Aliases, target classes and their order."""

import pytest

from components.data_prep.classes import plan_classes
from components.shared.errors import ConfigError

FOUND = ("cat", "dog", "bike", "push bike")


def test_without_wishes_every_class_stays_in_its_order() -> None:
    plan = plan_classes(FOUND, ["dog", "cat"], {}, ())
    assert plan.classes == FOUND
    assert plan.mapping["dog"] == "dog"
    assert not plan.renamed


def test_aliases_merge_and_rename_in_place() -> None:
    plan = plan_classes(FOUND, FOUND, {"bike": "bicycle", "push bike": "bicycle", "DOG ": "hound"}, ())
    assert plan.classes == ("cat", "hound", "bicycle")
    assert plan.renamed == {"dog": "hound", "bike": "bicycle", "push bike": "bicycle"}


def test_an_exact_alias_wins_over_one_of_other_case() -> None:
    plan = plan_classes(("Cat", "cat"), [], {"Cat": "lion", "cat": "kitten"}, ())
    assert plan.mapping == {"Cat": "lion", "cat": "kitten"}


def test_two_classes_can_swap_names() -> None:
    assert plan_classes(("cat", "dog"), [], {"cat": "dog", "dog": "cat"}, ()).mapping == {"cat": "dog", "dog": "cat"}


def test_a_category_is_found_without_case_and_spaces() -> None:
    assert plan_classes(("cat",), [" Cat"], {}, ()).mapping[" Cat"] == "cat"


def test_an_alias_brings_a_stray_category_into_a_class() -> None:
    plan = plan_classes(("car",), ["lorry", "yak"], {"lorry": "truck"}, ())
    assert plan.classes == ("car", "truck")
    assert "yak" not in plan.mapping


def test_target_classes_keep_the_order_of_the_source() -> None:
    assert plan_classes(FOUND, [], {"bike": "bicycle"}, ("Bicycle", "cat")).classes == ("cat", "bicycle")


def test_an_alias_may_be_named_as_a_target() -> None:
    assert plan_classes(FOUND, [], {"bike": "bicycle"}, ("bike",)).classes == ("bicycle",)


def test_a_misspelt_target_is_refused_with_the_near_name() -> None:
    with pytest.raises(ConfigError, match=r"'dgo'.*did you mean 'dog'"):
        plan_classes(FOUND, [], {}, ("dgo",))


def test_a_target_like_nothing_is_refused_with_the_classes() -> None:
    with pytest.raises(ConfigError, match="its classes are 'cat', 'dog'"):
        plan_classes(FOUND, [], {}, ("zeppelin",))


def test_an_alias_without_a_class_is_refused() -> None:
    with pytest.raises(ConfigError, match="class_aliases"):
        plan_classes(FOUND, [], {"cat": " "}, ())


def test_an_alias_of_nothing_is_told() -> None:
    assert plan_classes(FOUND, [], {"cta": "cat", "Dog": "hound"}, ()).unused_aliases == ("cta",)
