import inspect
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2

from components.executor_train import component as shells
from components.executor_train.script import SCRIPT
from components.shared.errors import ConfigError
from pipelines import executor
from pipelines.catalogue import EXECUTOR
from pipelines.config import TrainingConfig
from pipelines.executor_config import ExecutorConfig, check_executor, names, resolve_executor, resolve_here

GOLDEN = Path(__file__).parent / "golden" / "executor.yaml"
ROOT = Path(__file__).parents[2]
IMAGE = "registry.example/ymir-executor:1"


def test_the_compiled_executor_pipeline_equals_the_golden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a change on purpose: UPDATE_GOLDEN=1 python -m pytest tests/pipelines/test_executor.py -k golden."""
    monkeypatch.setattr("pipelines.compile.code_digest", lambda step: f"of-{step}")
    output = tmp_path / "executor.yaml"
    assert executor.main(["compile", "--image", IMAGE, "-o", str(output)]) == 0
    if os.environ.get("UPDATE_GOLDEN"):
        GOLDEN.write_text(output.read_text())
    assert output.read_text() == GOLDEN.read_text()


def test_the_compiled_executor_pipeline_is_a_valid_pipeline_spec() -> None:
    spec = json_format.ParseDict(executor.compile_package(IMAGE)[0], pipeline_spec_pb2.PipelineSpec())
    assert set(spec.root.dag.tasks) == {step.replace("_", "-") for step in executor.STEPS}


def test_the_image_is_a_parameter_of_the_pipeline() -> None:
    spec = executor.compile_package(IMAGE)[0]
    container = spec["deploymentSpec"]["executors"]["exec-executor-run"]["container"]
    assert container["image"] == "{{$.inputs.parameters['pipelinechannel--image']}}"
    task = spec["root"]["dag"]["tasks"]["executor-run"]["inputs"]["parameters"]
    assert task["pipelinechannel--image"] == {"componentInputParameter": "image"}
    assert spec["root"]["inputDefinitions"]["parameters"]["image"]["defaultValue"] == IMAGE
    bare = executor.compile_package("")[0]["root"]["inputDefinitions"]["parameters"]["image"]
    assert "defaultValue" not in bare
    assert "isOptional" not in bare


def test_the_script_reaches_the_cluster_as_it_is() -> None:
    container = next(yaml.safe_load_all(GOLDEN.read_text()))["deploymentSpec"]["executors"]["exec-executor-run"][
        "container"
    ]
    assert container["command"] == ["bash", "-c", SCRIPT, "executor"]


def test_the_other_steps_run_in_our_image(tmp_path: Path) -> None:
    output = tmp_path / "executor.yaml"
    assert executor.main(["compile", "--step-image", "steps-python=a:1", "-o", str(output)]) == 0
    executors = next(yaml.safe_load_all(output.read_text()))["deploymentSpec"]["executors"]
    images = {label: one["container"]["image"] for label, one in executors.items() if label != "exec-executor-run"}
    assert set(images.values()) == {"a:1"}
    assert executor.main(["compile", "--step-image", "model_train=a:1", "-o", str(output)]) == 2


@pytest.mark.parametrize(
    "arguments", [["compile", "--step-image", "nothing"], ["run", "--local", "--template", "nowhere.yaml"]]
)
def test_an_error_says_that_it_is_one(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert executor.main(arguments) == 2
    assert capsys.readouterr().err.startswith("error: ")


def test_the_help_of_a_run_lists_its_own_options_and_those_of_every_run(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        executor.main(["run", "--help"])
    out = capsys.readouterr().out
    for option in ("--command", "--image", "--template", "--local", "--data", "--set", "--runs", "--json"):
        assert f"  {option} " in out
    assert "--list-hyperparameters" not in out


def test_an_option_of_a_run_is_not_taken_by_its_beginning(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        executor.main(["run", "--local", "--comm", "true"])
    assert "--comm" in capsys.readouterr().err


def test_a_failed_executors_leftovers_are_never_taken_from_the_cache() -> None:
    for spec in (executor.compile_package(IMAGE)[0], executor.compile_here({})):
        (task,) = (one for name, one in spec["root"]["dag"]["tasks"].items() if name.startswith("executor-run"))
        assert task["cachingOptions"] == {}


def test_the_pipeline_has_the_parameters_of_its_configuration_one_for_one() -> None:
    for dag in (executor.executor(), executor.executor_here):
        signature = inspect.signature(dag.pipeline_func)
        assert tuple(signature.parameters) == names()
        defaults = {name: one.default for name, one in signature.parameters.items() if name != "store"}
        assert {**ExecutorConfig().arguments(), **defaults} == ExecutorConfig().arguments()


def test_every_parameter_is_taken_by_a_step() -> None:
    used = set()
    for spec in (executor.compile_package(IMAGE)[0], executor.compile_here({})):
        used |= set(re.findall(r"'componentInputParameter': '(\w+)'", str(spec["root"]["dag"])))
    assert used == set(names())


def test_a_local_run_knows_the_code_of_its_steps_by_its_digest() -> None:
    executors = executor.compile_here(dict.fromkeys(executor.STEPS_HERE, "x"))["deploymentSpec"]["executors"]
    images = {label: one["container"]["image"] for label, one in executors.items()}
    assert images["exec-executor-collect"].startswith("local-python/executor_train@sha256:")
    assert images["exec-data-load"] == "x"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (["epochs=3"], "'epochs' is for this project's own trainers"),
        (["imagee=x"], "There is no parameter 'imagee'"),
        (["image=a b"], "image='a b'"),
        (["executor_config=[1]"], "executor_config must be a mapping"),
        (["executor_config={"], "executor_config"),
        (["export_format=tfrecord"], "export_format='tfrecord'"),
        (["gpu_count=many"], "gpu_count='many'"),
        (["train_share=0.9"], "must sum to 1"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_starts(settings: list[str], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        resolve_executor(None, settings, {})
    assert words in str(caught.value)


def test_an_executors_values_can_come_from_a_file_as_a_mapping(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("image: a:1\nexecutor_config:\n  epochs: 30\n  names: ['1', b]\n  on: true\nval_images: 3\n")
    config, chosen = resolve_executor(path, ["gpu_count=2"], {"source": "sample://workbench"})
    assert yaml.safe_load(config.executor_config)["epochs"] == 30
    assert (config.image, config.gpu_count, config.val_images) == ("a:1", 2, 3)
    assert chosen == {"image", "executor_config", "val_images", "gpu_count", "source"}


def test_a_run_here_needs_something_to_run_and_finds_weights_from_anywhere(tmp_path: Path, monkeypatch: Any) -> None:
    with pytest.raises(ConfigError, match="--command"):
        resolve_here(None, [], {})
    monkeypatch.chdir(tmp_path)
    Path("best.pt").touch()
    config, _ = resolve_here(None, ["command=true", "pretrained=best.pt"], {})
    assert config.pretrained == str(tmp_path / "best.pt")


def test_only_the_pipelines_own_parameters_are_recorded() -> None:
    assert set(check_executor({"image": "a"}).model_dump()) == set(names())
    assert not {"epochs", "model", "min_map50"} & set(names())
    assert set(names()) - set(TrainingConfig.model_fields) >= {"image", "command", "executor_config"}
    assert [row[0] for row in EXECUTOR.describe()] == list(names())


def test_every_argument_of_the_shells_is_described() -> None:
    for each in (shells.executor_stage, shells.executor_run_here, shells.executor_collect):
        described = set(re.findall(r"^ {4,}(\w+): \S", each.python_func.__doc__, flags=re.MULTILINE))
        assert set(inspect.signature(each.python_func).parameters) <= described


def test_the_dag_loads_without_any_heavy_library() -> None:
    heavy = ("torch", "ultralytics", "bentoml", "polars", "cv2", "numpy", "PIL")
    code = f"import sys, pipelines.executor; print([name for name in {heavy!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.slow
def test_a_local_run_trains_with_our_own_executor_and_a_failing_one_ends_it_with_its_sentence(tmp_path: Path) -> None:
    def run(command: str) -> subprocess.CompletedProcess[str]:
        options = ["--local", "--data", "sample://workbench", "--set", "sample_images=24", "--set", "sample_edge=96"]
        template = "images/executor/img-man/training-template.yaml"
        more = ["--command", command, "--template", template, "--runs", str(tmp_path / "runs")]
        environment = {**os.environ, "PIPELINE_CACHE": str(tmp_path / "cache")}
        line = [sys.executable, "-m", "pipelines.executor", "run", *options, *more]
        return subprocess.run(line, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)

    done = run("bash images/executor/start.sh")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "mAP as the executor measured it" in done.stdout
    assert list(tmp_path.glob("runs/*/reports/executor_collect.html"))
    failed = run("echo the disk is on fire; exit 4")
    assert failed.returncode == 1
    assert "The executor failed (exit code 4). Its last words: 'the disk is on fire'." in failed.stdout.replace(
        "\n", " "
    )
