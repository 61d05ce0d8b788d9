import inspect
from pathlib import Path

import pytest
import yaml
from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2

from pipelines import compile as compile_command
from pipelines.config import TrainingConfig
from pipelines.parameters import parameter_type
from pipelines.training import STEPS, training

GOLDEN = Path(__file__).parent / "golden" / "training.yaml"


def test_the_compiled_dag_equals_the_golden(tmp_path: Path) -> None:
    """After a change on purpose: python -m pipelines.compile -o tests/pipelines/golden/training.yaml."""
    assert compile_command.main(["-o", str(tmp_path / "training.yaml")]) == 0
    assert (tmp_path / "training.yaml").read_text() == GOLDEN.read_text()


def test_the_compiled_dag_is_a_valid_pipeline_spec() -> None:
    spec = json_format.ParseDict(compile_command.compile_training(), pipeline_spec_pb2.PipelineSpec())
    assert set(spec.root.dag.tasks) == {step.replace("_", "-") for step in STEPS}


def test_the_dag_has_the_parameters_of_the_configuration_one_for_one() -> None:
    signature = inspect.signature(training.pipeline_func)
    assert list(signature.parameters) == list(TrainingConfig.model_fields)
    for name, parameter in signature.parameters.items():
        default = TrainingConfig.model_fields[name].get_default(call_default_factory=True)
        assert parameter.default == default
        assert type(default) is parameter_type(name)


def test_every_parameter_carries_its_help_text_into_the_ui() -> None:
    inputs = compile_command.compile_training()["root"]["inputDefinitions"]["parameters"]
    for name, field in TrainingConfig.model_fields.items():
        assert inputs[name]["description"].startswith(field.description)


def test_training_waits_for_data_and_publishing_for_the_proof() -> None:
    tasks = compile_command.compile_training()["root"]["dag"]["tasks"]
    assert tasks["model-train"]["dependentTasks"] == ["data-prep"]
    assert set(tasks["model-publish"]["dependentTasks"]) == {"model-pack", "model-eval", "model-test"}


def test_training_never_sees_the_test_split_and_evaluation_never_the_trained_model() -> None:
    tasks = compile_command.compile_training()["root"]["dag"]["tasks"]
    seen = {
        artifact["taskOutputArtifact"]["outputArtifactKey"]
        for artifact in tasks["model-train"]["inputs"]["artifacts"].values()
    }
    assert seen == {"train", "val"}
    measured = {
        (artifact["taskOutputArtifact"]["producerTask"], artifact["taskOutputArtifact"]["outputArtifactKey"])
        for artifact in tasks["model-eval"]["inputs"]["artifacts"].values()
    }
    assert measured == {("data-prep", "test"), ("model-pack", "archive"), ("model-train", "start")}


def test_images_can_be_set_by_step_and_by_name(tmp_path: Path) -> None:
    output = tmp_path / "training.yaml"
    arguments = ["-o", str(output), "--image", "steps-python=a:1", "--image", "model_train=b:2"]
    assert compile_command.main(arguments) == 0
    executors = yaml.safe_load(output.read_text())["deploymentSpec"]["executors"]
    assert executors["exec-model-train"]["container"]["image"] == "b:2"
    assert executors["exec-data-load"]["container"]["image"] == "a:1"


def test_an_unknown_image_name_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert compile_command.main(["-o", str(tmp_path / "x.yaml"), "--image", "nothing=a"]) == 2
    assert capsys.readouterr().err.startswith("error: --image needs NAME=IMAGE")
    assert not (tmp_path / "x.yaml").exists()
