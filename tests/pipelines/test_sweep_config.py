import json
from pathlib import Path

import pytest

from components.model_train.component import model_train
from components.shared.errors import ConfigError
from pipelines.config import TrainingConfig
from pipelines.sweep_config import MOST_SETTINGS, TUNABLE, SweepConfig, check_sweep, describe_sweep, resolve_sweep


def settings_of(value: object, **more: object) -> list[dict[str, object]]:
    return check_sweep({"settings": value, **more}).settings


def refusal(value: object, **more: object) -> str:
    with pytest.raises(ConfigError) as caught:
        check_sweep({"settings": value, **more})
    return str(caught.value)


def test_the_parameters_that_may_differ_are_those_of_the_training_step() -> None:
    inputs = {"model" if name == "weights" else name for name in model_train.component_spec.inputs}
    assert set(TUNABLE) == inputs - {"train", "val", "store", "overrides"}
    assert set(TUNABLE) <= set(TrainingConfig.model_fields)


def test_text_becomes_the_type_of_the_parameter() -> None:
    text = 'settings=[{"lr0": "1e-3", "cos": 1}, {"imgsz": "320", "hyperparameters": {"mosaic": "0", "cos_lr": "yes"}}]'
    config, chosen = resolve_sweep(None, [text.replace(', "cos": 1', ""), "epochs=3"], {})
    assert config.settings == [{"lr0": 0.001}, {"imgsz": 320, "hyperparameters": {"mosaic": 0.0, "cos_lr": True}}]
    assert (config.epochs, chosen) == (3, {"settings", "epochs"})


def test_settings_can_come_from_a_file_as_yaml(tmp_path: Path) -> None:
    path = tmp_path / "sweep.yaml"
    path.write_text("epochs: 4\nparallelism: 1\nsettings:\n  - lr0: 0.01\n  - optimizer: SGD\n    lr0: 0.1\n")
    config, _ = resolve_sweep(path, ["epochs=5"], {"source": "sample://workbench"})
    assert (config.settings, config.parallelism, config.epochs) == (
        [{"lr0": 0.01}, {"optimizer": "SGD", "lr0": 0.1}],
        1,
        5,
    )


def test_an_empty_setting_is_the_training_as_it_is() -> None:
    assert settings_of([{}, {"lr0": 0.1}], preset="balanced") == [{"preset": "balanced"}, {"lr0": 0.1}]


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ([{"epoch": 2}], "settings[0] has 'epoch', which is no parameter of a training; did you mean 'epochs'?"),
        ([{"lr0": 0.1}, {"source": "x"}], "settings[1] has 'source', which all trainings of a sweep share"),
        ([{"store": "file:///x"}], "which all trainings of a sweep share"),
        ([{"min_map50": 0.1}], "which all trainings of a sweep share"),
        ([{"settings": []}], "is no parameter of a training"),
        ([{"lr0": 5}], "settings[0] (lr0=5): lr0=5: input should be less than or equal to 1 (allowed: >= 0, <= 1)"),
        ([{"lr0": "nan"}], "settings[0] (lr0=nan): lr0='nan'"),
        ([{"preset": "fast"}], "settings[0] (preset=fast): preset='fast'"),
        ([{"model": "nothing"}], "settings[0] (model=nothing): model='nothing': must be a file or model name"),
        ([{"hyperparameters": {"mosiac": 0}}], "did you mean 'mosaic'?"),
        ([{"hyperparameters": {"mosaic": 2}}], "settings[0] (mosaic=2): hyperparameters has mosaic=2: it must be"),
        ([{"hyperparameters": {"lr0": 0.1}}], "is a parameter of its own: set lr0=... instead"),
        ([{"hyperparameters": "mosaic"}], "it must be a mapping"),
        ([{"model": "fasterrcnn_resnet50_fpn", "hyperparameters": {"dfl": 1}}], "torchvision models do not have"),
        ([{"batch": 3, "gpus": 2}], "settings[0] (batch=3, gpus=2)"),
        ([], "settings=[] trains nothing: name 1 to 50 settings, {} for the training as it is."),
        ({}, 'settings={} must be a list of mappings of the parameters that differ, such as [{"lr0": 0.01}].'),
        ("lr0", "settings='lr0' must be a list of mappings"),
        ([3], 'settings[0]=3 must be a mapping of the parameters that differ, such as {"lr0": 0.01}.'),
        (
            [{"lr0": number / 1000} for number in range(MOST_SETTINGS + 1)],
            f"settings are {MOST_SETTINGS + 1} trainings: name at most {MOST_SETTINGS}.",
        ),
    ],
)
def test_a_setting_that_cannot_be_trained_is_refused_before_anything_starts(value: object, words: str) -> None:
    assert words in refusal(value)


@pytest.mark.parametrize(
    "settings",
    [
        [{"lr0": 0.01}, {"lr0": 0.01}],
        [{"lr0": 0.01}, {"imgsz": 96}, {"lr0": "0.010"}],
        [{}, {"preset": "quick"}],
        [{}, {"lr0": 0.002}],  # what the preset says
        [{"hyperparameters": {"mosaic": 1}}, {"hyperparameters": {"mosaic": "1.0"}}],
    ],
)
def test_two_settings_that_are_the_same_training_are_refused(settings: list[dict[str, object]]) -> None:
    assert "are the same training: remove one of them" in refusal(settings)


def test_trainings_that_differ_in_one_hyperparameter_or_the_seed_are_not_the_same() -> None:
    settings = [{}, {"seed": 1}, {"hyperparameters": {"mosaic": 0.5}}, {"patience": 3}]
    assert len(settings_of(settings)) == 4


def test_hyperparameters_of_a_setting_are_added_to_those_of_all() -> None:
    common = {"hyperparameters": {"mosaic": "0.5"}}
    assert "are the same training" in refusal([{}, {"hyperparameters": {"mosaic": 0.5}}], **common)
    assert len(settings_of([{}, {"hyperparameters": {"mixup": 0.5}}], **common)) == 2


@pytest.mark.parametrize("value", [0, -1, 51, "many", 1.5])
def test_parallelism_is_bounded(value: object) -> None:
    with pytest.raises(ConfigError, match="parallelism="):
        check_sweep({"parallelism": value})


def test_an_unknown_parameter_is_refused() -> None:
    with pytest.raises(ConfigError, match="There is no parameter 'setting'"):
        resolve_sweep(None, ["setting=[]"], {})


def test_settings_that_are_no_yaml_are_refused() -> None:
    with pytest.raises(ConfigError, match="neither JSON nor YAML"):
        resolve_sweep(None, ["settings=[{"], {})


def test_the_arguments_of_the_dag_are_json_and_leave_parallelism_out() -> None:
    arguments = SweepConfig().arguments()
    assert set(arguments) == set(SweepConfig.model_fields) - {"parallelism", "only_if_changed"}
    assert json.loads(json.dumps(arguments)) == arguments


def test_every_parameter_of_the_sweep_is_described_its_own_first() -> None:
    names = [name for name, _, _ in describe_sweep()]
    assert names[:2] == ["settings", "parallelism"]
    assert set(names) == set(SweepConfig.model_fields) - {"only_if_changed"}


def test_a_sweep_is_not_skipped_for_being_unchanged() -> None:
    with pytest.raises(ConfigError, match="only_if_changed is for the training pipeline"):
        check_sweep({"only_if_changed": "true"})
    assert "only_if_changed" not in {name for name, _, _ in describe_sweep()}
