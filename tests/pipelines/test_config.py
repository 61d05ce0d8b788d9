import math
from pathlib import Path

import pytest

from components.shared.errors import ConfigError
from pipelines import parameters as config


def test_settings_win_over_the_file_and_the_file_over_the_defaults(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text("epochs: 7\nbatch: 4\n")
    resolved, chosen = config.resolve(file, ["epochs=3"], {"source": "x"})
    assert (resolved.epochs, resolved.batch, resolved.imgsz) == (3, 4, config.TrainingConfig().imgsz)
    assert chosen == {"epochs", "batch", "source"}


@pytest.mark.parametrize(("wrong", "near"), [("epoch", "epochs"), ("img_size", "imgsz"), ("learningrate", "")])
def test_a_wrong_name_suggests_the_near_one(wrong: str, near: str) -> None:
    with pytest.raises(ConfigError, match=f"There is no parameter '{wrong}'.*{near}"):
        config.resolve(None, [f"{wrong}=1"], {})


@pytest.mark.parametrize(
    ("setting", "parts"),
    [
        ("epochs=-1", ["epochs='-1'", ">= 0"]),
        ("epochs=many", ["epochs='many'", "integer"]),
        ("lr0=nan", ["lr0='nan'", ">= 0"]),
        ("imgsz=100000", ["imgsz='100000'", "<= 4096"]),
        ("format=voc2", ["format='voc2'", "coco, yolo, voc"]),
        ("device=gpu", ["device='gpu'", "number of one GPU"]),
        ("device=0,1", ["device='0,1'"]),
        ("model=yolo11n", ["model='yolo11n'", "ends in .yaml, .yml or .pt"]),
        ("name=Not A Name", ["name='Not A Name'", "at most 63"]),
        ("train_share=0.9", ["must sum to 1"]),
        ('rules={"cliped": "reject"}', ["'cliped'", "clipped"]),
        ('rules={"non-finite": "keep"}', ["non-finite", "reject"]),
        ("subset=with > 3", ["subset", "with"]),
        ("epochs", ["name=value"]),
    ],
)
def test_a_wrong_value_names_the_parameter_the_value_and_the_bound(setting: str, parts: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        config.resolve(None, [setting], {})
    for part in parts:
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("content", "reason"),
    [("[1, 2]", "mapping"), ("a: b: c", "not valid YAML"), ("source: &a x\nname: *a", "alias"), ("epoch: 3", "epochs")],
)
def test_a_wrong_configuration_file_is_refused_with_a_sentence(tmp_path: Path, content: str, reason: str) -> None:
    file = tmp_path / "run.yaml"
    file.write_text(content)
    with pytest.raises(ConfigError, match=reason):
        config.resolve(file, [], {})


def test_a_missing_configuration_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        config.resolve(tmp_path / "none.yaml", [], {})


def test_lists_and_mappings_are_written_as_json_or_with_commas() -> None:
    resolved, _ = config.resolve(None, ["target_classes=cat, dog", 'class_aliases={"kitty": "cat"}'], {})
    assert resolved.target_classes == ["cat", "dog"]
    assert resolved.class_aliases == {"kitty": "cat"}
    assert config.resolve(None, ['target_classes=["a,b"]'], {})[0].target_classes == ["a,b"]


def test_every_parameter_with_a_pattern_has_it_in_words() -> None:
    patterned = {
        name
        for name, field in config.TrainingConfig.model_fields.items()
        if any(getattr(rule, "pattern", None) for rule in field.metadata)
    }
    assert patterned == set(config.SHAPES)


def test_a_class_keeps_the_name_that_yaml_takes_for_something_else(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text("target_classes: [no, 1, 1.50]\nclass_aliases: {2: yes}\nlr0: 1e-3\n")
    resolved, _ = config.resolve(file, [], {})
    assert (resolved.target_classes, resolved.class_aliases) == (["no", "1", "1.50"], {"2": "yes"})
    assert resolved.lr0 == pytest.approx(0.001)
    assert config.resolve(None, ["target_classes=[1, on]"], {})[0].target_classes == ["1", "on"]


def test_yes_is_no_number(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text("epochs: yes\n")
    with pytest.raises(ConfigError, match="epochs='yes'"):
        config.resolve(file, [], {})


def test_every_parameter_has_a_default_a_type_kfp_knows_and_a_description() -> None:
    kinds = {config.parameter_type(name) for name in config.TrainingConfig.model_fields}
    assert kinds <= {str, int, float, bool, list, dict}
    for _, _, text in config.describe():
        assert len(text) > 10


def test_the_default_shares_sum_to_one() -> None:
    default = config.TrainingConfig()
    assert math.isclose(default.train_share + default.val_share + default.test_share, 1)


def test_several_sources_of_a_configuration_file_travel_as_json(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text("source: [/a b, s3://c/d]\n")
    assert config.resolve(file, [], {})[0].source == '["/a b", "s3://c/d"]'


@pytest.mark.parametrize(
    ("setting", "reason"),
    [
        ("group_by=foldr", "group_by is 'foldr'"),
        ("group_by=name:(", "unclosed group"),
        ('subset=matches(name, "[")', "unclosed character class"),
        ("tile=10", "tile is 10 pixels: use 32 or more"),
        ("longest_edge=5", "longest_edge is 5 pixels: use 10 or more"),
        ('class_aliases={"lorry": ""}', "give both the alias and its class a name"),
    ],
)
def test_what_a_later_step_would_refuse_is_refused_at_once(setting: str, reason: str) -> None:
    with pytest.raises(ConfigError) as refused:
        config.resolve(None, [setting], {})
    assert reason in str(refused.value)


def test_a_class_that_is_a_target_and_dropped_is_found_in_any_case() -> None:
    with pytest.raises(ConfigError, match="both name 'cat'"):
        config.resolve(None, ["target_classes=cat", "drop_classes=Cat"], {})


def test_a_class_cannot_be_a_target_and_dropped() -> None:
    with pytest.raises(ConfigError, match="both name 'cat'"):
        config.resolve(None, ["target_classes=cat,dog", "drop_classes=cat"], {})


@pytest.mark.parametrize(
    ("settings", "parts"),
    [
        (['hyperparameters={"mosiac": 0.5}'], ["mosiac", "mosaic"]),
        (['hyperparameters={"mosaic": 7}'], ["mosaic", "7"]),
        (['hyperparameters={"epochs": 7}'], ["epochs", "parameter of its own"]),
        (["batch=6", "gpus=4"], ["batch=6", "gpus=4"]),
        (["imgsz=8"], ["imgsz", "32"]),
        (["preset=fast"], ["preset='fast'", "quick"]),
        (["model=fasterrcnn"], ["model='fasterrcnn'", "fasterrcnn_resnet50_fpn_v2"]),
    ],
)
def test_what_training_would_refuse_later_is_refused_at_once(settings: list[str], parts: list[str]) -> None:
    with pytest.raises(ConfigError) as refused:
        config.resolve(None, settings, {})
    assert all(part in str(refused.value) for part in parts), str(refused.value)


def test_hyperparameters_may_be_numbers_or_texts() -> None:
    from_text, _ = config.resolve(None, ['hyperparameters={"mosaic": 0.5, "cos_lr": true}'], {})
    assert config.check({"hyperparameters": {"mosaic": 0.5, "cos_lr": True}})
    assert set(from_text.hyperparameters) == {"mosaic", "cos_lr"}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("mosaic", """hyperparameters='mosaic': must be a mapping, such as {"name": "value"}."""),
        ('{"mosaic": [1]}', "hyperparameters has mosaic=['1']: must be one number, one word, true or false."),
        ("{mosaic:0.5}", "the shell took the quotes"),
    ],
)
def test_hyperparameters_that_are_no_mapping_of_single_values_are_refused(text: str, reason: str) -> None:
    with pytest.raises(ConfigError) as refused:
        config.resolve(None, [f"hyperparameters={text}"], {})
    assert reason in str(refused.value)
    assert str(refused.value).count("mosaic") <= 2
