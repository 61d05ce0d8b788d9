"""Aliases, target classes and their order."""

import polars as pl
import pytest

from components.data_prep.classes import ClassWishes, plan_classes, stop_at_unknown
from components.shared.errors import ConfigError, DataQualityError

FOUND = ("cat", "dog", "bike", "push bike")


def test_without_wishes_every_class_stays_in_its_order() -> None:
    plan = plan_classes(FOUND, ["dog", "cat"], ClassWishes({}, ()))
    assert plan.classes == FOUND
    assert plan.mapping["dog"] == "dog"
    assert not plan.renamed


def test_aliases_merge_and_rename_in_place() -> None:
    plan = plan_classes(FOUND, FOUND, ClassWishes({"bike": "bicycle", "push bike": "bicycle", "DOG ": "hound"}, ()))
    assert plan.classes == ("cat", "hound", "bicycle")
    assert plan.renamed == {"dog": "hound", "bike": "bicycle", "push bike": "bicycle"}


def test_an_exact_alias_wins_over_one_of_other_case() -> None:
    plan = plan_classes(("Cat", "cat"), [], ClassWishes({"Cat": "lion", "cat": "kitten"}, ()))
    assert plan.mapping == {"Cat": "lion", "cat": "kitten"}


def test_two_classes_can_swap_names() -> None:
    assert plan_classes(("cat", "dog"), [], ClassWishes({"cat": "dog", "dog": "cat"}, ())).mapping == {
        "cat": "dog",
        "dog": "cat",
    }


def test_a_category_is_found_without_case_and_spaces() -> None:
    assert plan_classes(("cat",), [" Cat"], ClassWishes({}, ())).mapping[" Cat"] == "cat"


def test_an_alias_brings_a_stray_category_into_a_class() -> None:
    plan = plan_classes(("car",), ["lorry", "yak"], ClassWishes({"lorry": "truck"}, ()))
    assert plan.classes == ("car", "truck")
    assert "yak" not in plan.mapping


def test_target_classes_keep_the_order_of_the_source() -> None:
    assert plan_classes(FOUND, [], ClassWishes({"bike": "bicycle"}, ("Bicycle", "cat"))).classes == ("cat", "bicycle")


def test_an_alias_may_be_named_as_a_target() -> None:
    assert plan_classes(FOUND, [], ClassWishes({"bike": "bicycle"}, ("bike",))).classes == ("bicycle",)


def test_a_misspelt_target_is_refused_with_the_near_name() -> None:
    with pytest.raises(ConfigError, match=r"'dgo'.*did you mean 'dog'"):
        plan_classes(FOUND, [], ClassWishes({}, ("dgo",)))


def test_a_target_like_nothing_is_refused_with_the_classes() -> None:
    with pytest.raises(ConfigError, match="its classes are 'cat', 'dog'"):
        plan_classes(FOUND, [], ClassWishes({}, ("zeppelin",)))


def test_an_alias_without_a_class_is_refused() -> None:
    with pytest.raises(ConfigError, match="class_aliases"):
        plan_classes(FOUND, [], ClassWishes({"cat": " "}, ()))


def test_an_alias_of_nothing_is_told() -> None:
    assert plan_classes(FOUND, [], ClassWishes({"cta": "cat", "Dog": "hound"}, ())).unused_aliases == ("cta",)


def test_a_dropped_class_is_known_but_not_kept() -> None:
    plan = plan_classes(FOUND, FOUND, ClassWishes(drops=("DOG", "bike")))
    assert plan.classes == ("cat", "push bike")
    assert plan.mapping["dog"] == "dog"


def test_a_stray_name_can_be_dropped() -> None:
    plan = plan_classes(("cat",), ["yak", "cow"], ClassWishes(drops=("Yak",)))
    assert plan.classes == ("cat",)
    assert "yak" in plan.mapping
    assert "cow" not in plan.mapping


def test_stray_names_are_added_after_the_others_once_for_each_spelling() -> None:
    plan = plan_classes(("cat",), ["yak", " Yak", "cow"], ClassWishes(unknown="add"))
    assert plan.classes == ("cat", " Yak", "cow")
    assert plan.mapping["yak"] == " Yak"
    assert plan.added == (" Yak", "cow")


def test_an_added_class_can_be_a_target() -> None:
    assert plan_classes(("cat",), ["yak"], ClassWishes(targets=("yak",), unknown="add")).classes == ("yak",)


@pytest.mark.parametrize(
    "wishes",
    [
        ClassWishes(targets=("cat", "dog"), drops=("Cat ",)),
        ClassWishes({"bike": "bicycle"}, targets=("bike",), drops=("bicycle",)),
    ],
)
def test_a_class_both_wanted_and_dropped_is_refused(wishes: ClassWishes) -> None:
    with pytest.raises(ConfigError, match="is in target_classes and in drop_classes: take it out of one"):
        plan_classes(FOUND, [], wishes)


def test_a_misspelt_dropped_class_is_refused_with_the_near_name() -> None:
    with pytest.raises(ConfigError, match=r"drop_classes has 'dgo'.*did you mean 'dog'"):
        plan_classes(FOUND, [], ClassWishes(drops=("dgo",)))


def test_dropping_every_class_is_refused() -> None:
    with pytest.raises(ConfigError, match="drop_classes has all 4 classes"):
        plan_classes(FOUND, [], ClassWishes(drops=FOUND))


def test_an_unknown_choice_for_unknown_classes_is_refused() -> None:
    with pytest.raises(ConfigError, match="unknown_classes is 'skip'; use one of ignore, add, stop"):
        ClassWishes(unknown="skip").check()


def test_stopping_names_the_unknown_classes_and_their_counts() -> None:
    plan = plan_classes(("cat",), ["yak", "cow"], ClassWishes(unknown="stop"))
    table = pl.DataFrame({"category": ["cat", "yak", "yak", "cow", None]})
    with pytest.raises(DataQualityError, match=r"3 annotations .* declare: 'yak' \(2\), 'cow' \(1\)\. Declare them"):
        stop_at_unknown(table, plan)
    stop_at_unknown(table.filter(pl.col("category") == "cat"), plan)


def test_names_with_markup_and_odd_spaces_stay_as_they_are() -> None:
    odd = ("<b>", "42", "null", "a|b", "Straße", "STRASSE2")
    assert plan_classes(odd, odd, ClassWishes()).classes == odd
