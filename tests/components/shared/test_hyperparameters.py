import math
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from components.shared.errors import ConfigError
from components.shared.hyperparameters import check_options, describe_options
from components.shared.hyperparameters_table import EXCLUDED, OPTIONS


@pytest.fixture(scope="module")
def library() -> dict[str, object]:
    import ultralytics  # noqa: PLC0415 - heavy

    path = Path(ultralytics.__file__).parent / "cfg" / "default.yaml"
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def refusal(values: dict[str, object], trainer: str = "ultralytics") -> str:
    with pytest.raises(ConfigError) as caught:
        check_options(values, trainer=trainer)
    return str(caught.value)


def test_every_key_of_the_installed_library_can_be_set_or_is_refused_with_a_reason(library: dict[str, object]) -> None:
    assert set(library) - set(OPTIONS) - set(EXCLUDED) == set()
    assert set(OPTIONS) - set(library) == set()
    assert set(OPTIONS) & set(EXCLUDED) == set()


def test_the_defaults_are_those_of_the_installed_library(library: dict[str, object]) -> None:
    assert {name: option.default for name, option in OPTIONS.items()} == {name: library[name] for name in OPTIONS}


@pytest.mark.parametrize("name", OPTIONS)
def test_the_library_takes_both_ends_of_what_is_allowed(name: str) -> None:
    from ultralytics.cfg import check_cfg  # noqa: PLC0415 - heavy

    option = OPTIONS[name]
    ends = option.choices or ((False, True) if option.kind == "bool" else (option.least, option.most))
    for end in ends:
        check_cfg(check_options({name: end}, trainer="ultralytics"))


@pytest.mark.parametrize(
    ("name", "given", "checked"),
    [
        ("mosaic", "0.5", 0.5),
        ("mosaic", 1, 1.0),
        ("lrf", " 1e-3 ", 0.001),
        ("nbs", 3.0, 3),
        ("nbs", "64", 64),
        ("cos_lr", "true", True),
        ("cos_lr", "Off", False),
        ("cos_lr", 1.0, True),
        ("amp", "BF16", "bf16"),
        ("amp", "no", False),
        ("cache", "ram", "ram"),
        ("compile", True, True),
    ],
)
def test_a_value_becomes_the_type_the_library_wants(name: str, given: object, checked: object) -> None:
    (value,) = check_options({name: given}, trainer="ultralytics").values()
    assert (value, type(value)) == (checked, type(checked))


@pytest.mark.parametrize(
    "value", [-0.1, 1.1, "nan", math.nan, math.inf, "-inf", "", "much", True, None, [], {}, 10**400]
)
def test_a_value_that_is_no_number_within_bounds_is_refused_with_the_bounds(value: object) -> None:
    assert "it must be a number from 0 to 1" in refusal({"mosaic": value})


@pytest.mark.parametrize("value", [1.5, "1.5", 0, "0", 65_537, "many", True, math.nan])
def test_a_value_that_is_no_whole_number_within_bounds_is_refused_with_the_bounds(value: object) -> None:
    assert "it must be a whole number from 1 to 65536" in refusal({"nbs": value})


@pytest.mark.parametrize("value", [2, "maybe", "", None, [1], 0.5])
def test_a_value_that_is_neither_true_nor_false_is_refused(value: object) -> None:
    assert "it must be true or false" in refusal({"cos_lr": value})


def test_a_choice_is_refused_with_what_there_is_to_choose() -> None:
    assert "amp='fp8': it must be true, false, fp16, bf16 or fp32" in refusal({"amp": "fp8"})


def test_an_unknown_name_is_refused_with_the_near_one() -> None:
    assert "'mosiac', which the training library does not know; did you mean 'mosaic'?" in refusal({"mosiac": 1})


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("epochs", "is a parameter of its own: set epochs=... instead."),
        ("lr0", "is a parameter of its own: set lr0=... instead."),
        ("time", "is left to a parameter of the pipeline: set max_hours=... instead."),
        ("project", "is this pipeline's own business."),
        ("kobj", "is for pose estimation."),
        ("val", "is needed as it is."),
    ],
)
def test_a_name_that_is_set_elsewhere_or_not_at_all_is_refused_with_the_reason(name: str, reason: str) -> None:
    assert refusal({name: "1"}) == f"hyperparameters has {name!r}, which {reason}"


def test_every_wrong_value_is_named_at_once() -> None:
    message = refusal({"mosaic": 2, "pose": 1, "fliplr": 0.5, "scale": "big"})
    assert all(word in message for word in ("mosaic=2", "'pose'", "scale='big'"))
    assert "fliplr" not in message


def test_a_trainer_refuses_what_only_another_one_knows() -> None:
    assert "'mixup', which torchvision models do not have" in refusal({"mixup": 1}, trainer="torchvision")
    assert check_options({"mixup": 1}, trainer="") == {"mixup": 1.0}


def test_a_long_value_is_not_repeated_in_full() -> None:
    assert len(refusal({"mosaic": "9" * 10_000})) < 300


def test_each_hyperparameter_is_described_with_bounds_and_trainers() -> None:
    rows = {row[0]: row for row in describe_options()}
    assert list(rows) == list(OPTIONS)
    assert rows["fliplr"][1] == "0.5"
    assert rows["momentum"][1] == "0.937 (torchvision: 0.9)"
    assert rows["mosaic"][1] == "1.0 (torchvision: 0.0)"
    assert "threads" in rows["workers"][2]
    assert rows["fliplr"][3:] == ("a number from 0 to 1", "ultralytics, torchvision")


@given(
    st.dictionaries(
        st.one_of(st.sampled_from(sorted(OPTIONS)), st.text()),
        st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.lists(st.integers())),
    )
)
def test_whatever_is_given_comes_out_checked_or_is_refused(values: dict[str, object]) -> None:
    try:
        checked = check_options(values, trainer="")
    except ConfigError:
        return
    assert check_options(checked, trainer="") == checked
