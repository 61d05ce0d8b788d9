import pytest
import yaml

from components.executor_train.contract import RESERVED
from components.executor_train.settings import make_config, make_env, make_task_id, read_settings, to_yaml
from components.shared.errors import ConfigError


def config_of(pretrained: tuple[str, ...] = (), **chosen: object) -> dict[str, object]:
    settings = read_settings(**chosen)  # type: ignore[arg-type]
    made = make_config(settings, task_id="t1", classes=("cat", "no"), pretrained=pretrained)
    loaded: dict[str, object] = yaml.safe_load(to_yaml(made))
    return loaded


def test_the_template_gives_way_to_a_person_and_both_to_the_platform() -> None:
    template = "epochs: 10\nbatch: 4\ngpu_id: '7'\nclass_names: [dog]\nshm_size: 1G\ntask_id: mine\nobject_type: 3\n"
    config = config_of(template=template, config='{"epochs": 30}', gpu_count=2)
    assert (config["epochs"], config["batch"]) == (30, 4)
    assert {name: config[name] for name in RESERVED} == {
        "task_id": "t1",
        "class_names": ["cat", "no"],
        "gpu_id": "0,1",
        "gpu_count": 2,
        "pretrained_model_params": [],
        "export_format": "ark:raw",
        "object_type": 2,
        "shm_size": "16G",
    }


def test_values_keep_their_types() -> None:
    config = config_of(config="lr: 1e-3\nlr0: 0.1\nname: yes it is\nflag: true\nanchors: [1, 2]\nversion: '1'")
    assert config["lr0"] == 0.1
    assert config["flag"] is True
    assert config["anchors"] == [1, 2]
    assert config["version"] == "1"


def test_without_gpus_the_executor_is_told_to_use_the_cpu() -> None:
    assert config_of()["gpu_id"] == ""


@pytest.mark.parametrize(
    ("template", "chosen", "wanted"),
    [
        ("", "", "ark:raw"),
        ("export_format: voc:raw", "", "voc:raw"),
        ("export_format: voc:raw", "det-ark:raw", "det-ark:raw"),
        ("", "coco:raw", "coco:raw"),
    ],
)
def test_the_format_is_the_one_asked_for_else_the_templates(template: str, chosen: str, wanted: str) -> None:
    settings = read_settings(template=template, export_format=chosen)
    assert settings.export_format == wanted
    assert settings.annotation_format == wanted.removeprefix("det-").removesuffix(":raw")


@pytest.mark.parametrize(
    ("chosen", "words"),
    [
        ({"export_format": "seg-coco:raw"}, "ark:raw, voc:raw, coco:raw"),
        ({"export_format": "ark:lmdb"}, "export_format='ark:lmdb'"),
        ({"template": "export_format: tfrecord"}, "export_format='tfrecord'"),
        ({"config": "class_names: [a]"}, "use target_classes"),
        ({"config": "gpu_id: '0'"}, "use gpu_count"),
        ({"config": "[1, 2]"}, "executor_config must be a mapping"),
        ({"config": "epochs"}, "executor_config must be a mapping"),
        ({"config": "{epochs: 3"}, "executor_config"),
        ({"config": "a: &x 1\nb: *x"}, "alias"),
        ({"config": "a: !!python/object:os.system 1"}, "tag"),
        ({"config": "'a b': 1"}, "the name 'a b'"),
        ({"config": "lr: .nan"}, "a value must be a finite number"),
        ({"gpu_count": -1}, "gpu_count=-1"),
        ({"gpu_count": 65}, "gpu_count=65"),
        ({"shm_size": "lots"}, "shm_size='lots'"),
    ],
)
def test_what_cannot_be_told_an_executor_is_refused(chosen: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_settings(**chosen)  # type: ignore[arg-type]
    assert words in str(caught.value)


def test_env_yaml_is_the_protocols() -> None:
    assert yaml.safe_load(to_yaml(make_env("t1"))) == {
        "task_id": "t1",
        "run_training": True,
        "run_mining": False,
        "run_infer": False,
        "protocol_version": "1.1.0",
        "manifest_file": "/img-man/manifest.yaml",
        "input": {
            "root_dir": "/in",
            "assets_dir": "/in/assets",
            "annotations_dir": "/in/annotations",
            "models_dir": "/in/models",
            "training_index_file": "/in/train-index.tsv",
            "val_index_file": "/in/val-index.tsv",
            "candidate_index_file": "",
            "config_file": "/in/config.yaml",
        },
        "output": {
            "root_dir": "/out",
            "models_dir": "/out/models",
            "tensorboard_dir": "/out/tensorboard",
            "training_result_file": "/out/models/result.yaml",
            "mining_result_file": "/out/result.tsv",
            "infer_result_file": "/out/infer-result.json",
            "monitor_file": "/out/monitor.txt",
            "executor_log_file": "/out/ymir-executor-out.log",
        },
    }


def test_the_task_is_called_the_same_whenever_it_is_the_same() -> None:
    versions = {"train": "a", "val": "b"}
    first = make_task_id(read_settings(config="epochs: 1"), versions, ())
    assert first == make_task_id(read_settings(config='{"epochs": 1}'), versions, ())
    assert first != make_task_id(read_settings(config="epochs: 2"), versions, ())
    assert first != make_task_id(read_settings(config="epochs: 1"), versions, ("weights",))
