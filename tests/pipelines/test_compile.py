import hashlib
import inspect
import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from google.protobuf import json_format
from kfp.kubernetes import kubernetes_executor_config_pb2
from kfp.pipeline_spec import pipeline_spec_pb2

from components.shared.errors import ConfigError
from pipelines import compile as compile_command
from pipelines import packages
from pipelines.config import TrainingConfig
from pipelines.dag import as_argument
from pipelines.packages import Package, build_package
from pipelines.parameters import parameter_type
from pipelines.training import RECORDED, STEPS, training

GOLDEN = Path(__file__).parent / "golden"
IMAGES = {name: f"registry.example/{name}@sha256:{'1' * 64}" for name in ("steps-python", "trainer-python")}


@pytest.fixture(autouse=True)
def _no_images_were_built(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("PIPELINE_IMAGES", raising=False)
    monkeypatch.setattr(packages, "IMAGES_FILE", tmp_path / "images.json")


def documents(package: Package) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(package.text))


def all_tasks(spec: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The tasks of a DAG and of all groups in it, by name."""
    dags = [spec["root"], *spec["components"].values()]
    return {name: task for dag in dags for name, task in dag.get("dag", {}).get("tasks", {}).items()}


@pytest.mark.parametrize("name", ["training", "sweep"])
def test_the_package_equals_the_golden(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a change on purpose: UPDATE_GOLDEN=1 python -m pytest tests/pipelines/test_compile.py -k golden."""
    monkeypatch.setattr(compile_command, "code_digest", lambda step: f"of-{step}")
    package = build_package(name, IMAGES)
    if os.environ.get("UPDATE_GOLDEN"):
        (GOLDEN / f"{name}.yaml").write_text(package.text)
    assert package.text == (GOLDEN / f"{name}.yaml").read_text()


@pytest.mark.parametrize("name", ["training", "sweep", "executor"])
def test_both_documents_of_a_package_are_what_the_cluster_parses(name: str) -> None:
    spec, platform = documents(build_package(name))
    json_format.ParseDict(spec, pipeline_spec_pb2.PipelineSpec())
    parsed = json_format.ParseDict(platform, pipeline_spec_pb2.PlatformSpec())
    executors = json_format.MessageToDict(parsed.platforms["kubernetes"].deployment_spec)["executors"]
    assert set(executors) == set(spec["deploymentSpec"]["executors"])
    for settings in executors.values():
        json_format.ParseDict(settings, kubernetes_executor_config_pb2.KubernetesExecutorConfig())


def test_a_package_is_named_after_its_content() -> None:
    package, again = build_package(images=IMAGES), build_package(images=IMAGES)
    assert package == again
    assert package.digest == hashlib.sha256(package.text.encode()).hexdigest()
    assert package.version_name.endswith(package.digest[:12])
    assert build_package(images={**IMAGES, "steps-python": "other@sha256:1"}).version_name != package.version_name
    assert build_package(caching=False, images=IMAGES).digest != package.digest


def test_other_code_under_the_same_names_is_another_program(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cluster's cache knows a step by its program's text and its image's name."""
    programs = []
    for digest in ("1", "2"):
        monkeypatch.setattr(compile_command, "code_digest", lambda step, digest=digest: f"{digest}-{step}")
        spec, _ = documents(build_package(images=IMAGES))
        container = spec["deploymentSpec"]["executors"]["exec-model-pack"]["container"]
        assert container["command"][-1].endswith(f"# code {digest}-model_pack\n")
        programs.append(container["command"])
        variables = spec["deploymentSpec"]["executors"]["exec-change-check"]["container"]["env"]
        programs.append([one["value"] for one in variables if one["name"] == "PIPELINE_CODE"])
    assert programs[0] != programs[2]
    assert programs[1] != programs[3]


def test_without_caching_no_task_of_any_group_is_cached() -> None:
    for task in all_tasks(documents(build_package(caching=False))[0]).values():
        assert not task.get("cachingOptions", {}).get("enableCache")


def test_a_source_that_never_means_anything_else_may_be_loaded_from_the_cache() -> None:
    for fixed in (True, False):
        task = all_tasks(documents(build_package(fixed_source=fixed))[0])["data-load"]
        assert task["cachingOptions"] == ({"enableCache": True} if fixed else {})


def test_the_dag_for_this_machine_has_the_same_steps_without_the_settings_of_pods() -> None:
    here, there = compile_command.compile_training(), documents(build_package())[0]
    assert set(all_tasks(here)) == set(all_tasks(there))
    for name, task in all_tasks(here).items():
        assert "retryPolicy" not in task
        assert task.get("dependentTasks") == all_tasks(there)[name].get("dependentTasks")
    assert all("resources" not in one["container"] for one in here["deploymentSpec"]["executors"].values())


def test_every_step_is_in_the_dag_and_in_its_record() -> None:
    tasks = set(all_tasks(compile_command.compile_training()))
    assert {step.replace("_", "-") for step in RECORDED} <= tasks
    assert set(STEPS) < set(RECORDED)


def test_the_dag_has_the_parameters_of_the_configuration_one_for_one() -> None:
    signature = inspect.signature(training.pipeline_func)
    assert list(signature.parameters) == list(TrainingConfig.model_fields)
    for name, parameter in signature.parameters.items():
        default = TrainingConfig.model_fields[name].get_default(call_default_factory=True)
        assert parameter.default == as_argument(name, default)
        assert type(default) is parameter_type(name)


def test_every_parameter_carries_its_default_and_help_text_with_its_choices_into_the_ui() -> None:
    inputs = documents(build_package())[0]["root"]["inputDefinitions"]["parameters"]
    for name, field in TrainingConfig.model_fields.items():
        assert inputs[name]["description"].startswith(field.description)
        assert "defaultValue" in inputs[name]
    assert inputs["store"]["defaultValue"] == "s3://detection/store"  # pods see no folder of this machine
    assert inputs["split"]["description"].endswith("[auto, source, random]")


def test_training_waits_for_data_and_publishing_for_the_proof() -> None:
    tasks = all_tasks(compile_command.compile_training())
    (changed,) = (task for task in tasks.values() if task.get("taskInfo", {}).get("name") == "changed")
    (passed,) = (task for task in tasks.values() if task.get("taskInfo", {}).get("name") == "passed")
    assert changed["dependentTasks"] == ["change-check", "data-prep"]
    assert set(passed["dependentTasks"]) == {"model-pack", "model-eval", "model-test"}


def test_publishing_is_behind_the_gate_and_deploying_behind_a_name_and_all_inside_the_exit_handler() -> None:
    spec = compile_command.compile_training()
    inside = {name: set(one["dag"]["tasks"]) for name, one in spec["components"].items() if "dag" in one}
    conditions = {task["taskInfo"]["name"]: task for task in all_tasks(spec).values() if "triggerPolicy" in task}
    assert conditions["passed"]["triggerPolicy"]["condition"].endswith("'pipelinechannel--model-eval-passed'] == true")
    assert conditions["deploy"]["triggerPolicy"]["condition"].endswith("'pipelinechannel--deploy'] != ''")
    assert "model-publish" in inside[conditions["passed"]["componentRef"]["name"]]
    assert inside[conditions["deploy"]["componentRef"]["name"]] == {"model-deploy"}
    assert set(spec["root"]["dag"]["tasks"]) == {"exit-handler-1", "run-record"}
    record = spec["root"]["dag"]["tasks"]["run-record"]
    assert record["triggerPolicy"] == {"strategy": "ALL_UPSTREAM_TASKS_COMPLETED"}
    assert record["inputs"]["parameters"]["status"] == {"taskFinalStatus": {"producerTask": "exit-handler-1"}}


def test_training_never_sees_the_test_split_and_evaluation_never_the_trained_model() -> None:
    tasks = all_tasks(compile_command.compile_training())

    def seen(step: str) -> set[str]:
        given = tasks[step]["inputs"]["artifacts"].values()
        inner = {f"{one['producerTask']}-{one['outputArtifactKey']}" for one in _from(given, "taskOutputArtifact")}
        outer = {one.removeprefix("pipelinechannel--") for one in _from(given, "componentInputArtifact")}
        return inner | outer

    assert seen("model-train") == {"data-prep-train", "data-prep-val"}
    assert seen("model-eval") == {"data-prep-test", "model-pack-archive", "model-train-start"}


def _from(given: Any, kind: str) -> list[Any]:
    return [one[kind] for one in given if kind in one]


def test_images_can_be_set_by_step_and_by_name(tmp_path: Path) -> None:
    output = tmp_path / "training.yaml"
    arguments = ["-o", str(output), "--image", "steps-python=a:1", "--image", "model_train=b:2"]
    assert compile_command.main(arguments) == 0
    executors = next(yaml.safe_load_all(output.read_text()))["deploymentSpec"]["executors"]
    assert executors["exec-model-train"]["container"]["image"] == "b:2"
    assert executors["exec-data-load"]["container"]["image"] == "a:1"


def test_an_unknown_image_name_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert compile_command.main(["-o", str(tmp_path / "x.yaml"), "--image", "nothing=a"]) == 2
    assert capsys.readouterr().err.startswith("error: --image needs NAME=IMAGE")
    assert not (tmp_path / "x.yaml").exists()


def test_the_images_that_were_built_last_are_in_the_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    listed = tmp_path / "built.json"
    listed.write_text('{"steps-python": "r/steps@sha256:1", "trainer-python": "r/trainer@sha256:2", "serving": "r/s"}')
    monkeypatch.setenv("PIPELINE_IMAGES", str(listed))
    executors = documents(build_package())[0]["deploymentSpec"]["executors"]
    assert executors["exec-model-train"]["container"]["image"] == "r/trainer@sha256:2"
    assert {one["container"]["image"] for one in executors.values()} == {"r/steps@sha256:1", "r/trainer@sha256:2"}


@pytest.mark.parametrize("text", [None, "{", '["a"]', '{"steps-python": 1}'])
def test_a_file_of_images_that_is_none_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str | None
) -> None:
    listed = tmp_path / "built.json"
    if text is not None:
        listed.write_text(text)
    monkeypatch.setenv("PIPELINE_IMAGES", str(listed))
    with pytest.raises(ConfigError, match=r"The images' file '.*built.json'"):
        build_package()


def test_a_pipeline_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ConfigError, match="There is no pipeline 'traning'"):
        build_package("traning")
