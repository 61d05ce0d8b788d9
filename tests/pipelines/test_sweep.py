import inspect
import io
from pathlib import Path
from typing import Any

import pytest
import yaml
from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2
from rich.console import Console

from components.shared.progress import StepProgress
from components.shared.sweep import step_name
from pipelines import compile as compile_command
from pipelines import submit
from pipelines.backends.local import LocalOptions
from pipelines.backends.local_worker import step_of
from pipelines.catalogue import SWEEP, TRAINING
from pipelines.config import TrainingConfig
from pipelines.display import PlainDisplay, output_of, steps_table
from pipelines.record import RunRecord, StepRecord
from pipelines.sweep import STEPS, sweep
from pipelines.sweep_config import NOT_COMPILED, SweepConfig, check_sweep


def all_tasks(spec: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The tasks of a DAG and of all groups in it, by name."""
    dags = [spec["root"], *spec["components"].values()]
    return {name: task for dag in dags for name, task in dag.get("dag", {}).get("tasks", {}).items()}


def given(task: dict[str, Any]) -> dict[str, str]:
    """The pipeline's parameters that a task is given, by the name it takes them under."""
    inputs = task["inputs"]["parameters"]
    found = {name: one["componentInputParameter"] for name, one in inputs.items() if "componentInputParameter" in one}
    return {name: parameter.removeprefix("pipelinechannel--") for name, parameter in found.items()}


def test_the_compiled_sweep_is_a_valid_pipeline_spec_with_a_step_a_component() -> None:
    spec = json_format.ParseDict(compile_command.compile_sweep(), pipeline_spec_pb2.PipelineSpec())
    assert set(spec.root.dag.tasks) == {
        *("data-load", "data-prep", "for-loop-1", "sweep-select", "exit-handler-2", "run-record")
    }
    assert set(spec.components["comp-for-loop-1"].dag.tasks) == {"model-train"}
    assert {step.replace("_", "-") for step in STEPS} <= set(all_tasks(compile_command.compile_sweep()))


def test_no_loop_is_inside_an_exit_handler() -> None:
    """Kubeflow ends such a run: https://github.com/kubeflow/pipelines/issues/12390."""
    inside = compile_command.compile_sweep()["components"]["comp-exit-handler-2"]["dag"]["tasks"]
    assert all("parameterIterator" not in task for task in inside.values())


def test_the_sweep_has_the_parameters_of_its_configuration_one_for_one() -> None:
    signature = inspect.signature(sweep.pipeline_func)
    assert list(signature.parameters) == [name for name in SweepConfig.model_fields if name not in NOT_COMPILED]
    assert set(SWEEP.arguments(check_sweep({}))) == set(signature.parameters)
    inputs = compile_command.compile_sweep()["root"]["inputDefinitions"]["parameters"]
    for name in signature.parameters:
        assert inputs[name]["description"].startswith(SweepConfig.model_fields[name].description)
    training = compile_command.compile_training()["root"]["inputDefinitions"]["parameters"]
    assert {name: inputs[name] for name in training if name not in NOT_COMPILED} == {
        name: one for name, one in training.items() if name not in NOT_COMPILED
    }


def test_every_step_gets_the_parameters_it_gets_in_the_training_pipeline() -> None:
    here, there = all_tasks(compile_command.compile_sweep()), all_tasks(compile_command.compile_training())
    for step in ("data-load", "data-prep", "model-pack", "model-eval", "model-test"):
        assert given(here[step]) == given(there[step])
    trained = given(here["model-train"])
    assert trained.pop("overrides") == "settings-loop-item"
    assert trained == given(there["model-train"])


def test_the_best_model_and_no_other_is_packed_and_proved() -> None:
    spec = compile_command.compile_sweep()
    assert spec["root"]["dag"]["tasks"]["exit-handler-2"]["inputs"]["artifacts"]["pipelinechannel--sweep-select-model"]
    for step in ("model-pack", "model-test"):
        model = all_tasks(spec)[step]["inputs"]["artifacts"]["model"]
        assert model == {"componentInputArtifact": "pipelinechannel--sweep-select-model"}


def test_publishing_is_never_taken_from_the_cache() -> None:
    assert all_tasks(compile_command.compile_sweep())["model-publish"]["cachingOptions"] == {}


def test_parallelism_is_compiled_in(tmp_path: Path) -> None:
    output = tmp_path / "sweep.yaml"
    assert compile_command.main(["--pipeline", "sweep", "--parallelism", "7", "-o", str(output)]) == 0
    loop = next(yaml.safe_load_all(output.read_text()))["root"]["dag"]["tasks"]["for-loop-1"]
    assert loop["iteratorPolicy"] == {"parallelismLimit": 7}


@pytest.mark.parametrize(
    "arguments",
    [
        ["--pipeline", "sweep", "--parallelism", "0"],
        ["--pipeline", "sweep", "--parallelism", "51"],
        ["--parallelism", "2"],
    ],
)
def test_a_parallelism_that_cannot_be_is_refused(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert compile_command.main([*arguments, "-o", str(tmp_path / "x.yaml")]) == 2
    assert "--parallelism" in capsys.readouterr().err
    assert not (tmp_path / "x.yaml").exists()


@pytest.mark.parametrize(
    ("cpus", "settings", "parallelism", "each"), [(8, 3, 2, 4), (8, 3, 1, 8), (8, 1, 2, 8), (1, 2, 9, 1), (9, 9, 9, 4)]
)
def test_trainings_that_run_at_a_time_share_the_machines_cpus(
    monkeypatch: pytest.MonkeyPatch, cpus: int, settings: int, parallelism: int, each: int
) -> None:
    monkeypatch.setattr("pipelines.catalogue.usable_cpus", lambda: cpus)
    config = check_sweep({"settings": [{"seed": number} for number in range(settings)], "parallelism": parallelism})
    executors = SWEEP.compile(config, {})["deploymentSpec"]["executors"]
    assert executors["exec-model-train"]["container"]["env"] == [{"name": "PIPELINE_CPUS", "value": str(each)}]
    assert all("env" not in one["container"] for label, one in executors.items() if label != "exec-model-train")


def test_a_run_of_a_sweep_has_a_step_a_setting_which_says_what_it_differs_in() -> None:
    config = check_sweep({"settings": [{"lr0": 0.01}, {"imgsz": 96, "hyperparameters": {"mosaic": "0"}}]})
    plan = SWEEP.plan(config)
    assert [step.about for step in plan if step.about] == ["lr0=0.01", "imgsz=96, mosaic=0"]
    assert len({step.name for step in plan}) == len(plan) == len(STEPS) + 1
    assert [step.name for step in TRAINING.plan(TrainingConfig())] == list(TRAINING.kinds)


def test_the_step_of_a_setting_has_the_name_it_was_planned_with_when_its_numbers_arrive_as_floats() -> None:
    config = check_sweep({"settings": [{"imgsz": 96, "hyperparameters": {"nbs": 16}}]})
    arrived = {"imgsz": 96.0, "hyperparameters": {"nbs": 16.0}}
    (planned,) = (step.name for step in SWEEP.plan(config) if step.about)
    assert step_of("comp-model-train", {"overrides": arrived}) == planned == step_name("model_train", arrived)
    assert step_of("comp-data-load", {"source": "x"}) == "data_load"
    assert step_of("comp-model-train", {"overrides": {}}) == "model_train"


def record_of(*steps: StepRecord) -> RunRecord:
    return RunRecord(run_id="r1", pipeline="p", parameters={}, started=0.0, process=1, steps=list(steps))


def progress_of(step: str, share: float, message: str) -> StepProgress:
    return StepProgress(step=step, state="running", share=share, message=message, started=0.0, updated=2.0)


def test_trainings_side_by_side_are_shown_each_with_its_setting_and_its_own_progress() -> None:
    steps = [StepRecord(name=f"model_train-{i}", state="running", about=f"lr0=0.{i}", started=0.0) for i in (1, 2)]
    console = Console(file=io.StringIO(), width=200)
    running = [progress_of("model_train-1", 0.25, "epoch 1/4"), progress_of("model_train-2", 0.5, "epoch 2/4")]
    console.print(steps_table(record_of(*steps), *running))
    shown = [" ".join(line.split()) for line in console.file.getvalue().splitlines()]
    assert shown[1].endswith("lr0=0.1: 25% epoch 1/4")
    assert shown[2].endswith("lr0=0.2: 50% epoch 2/4")


def test_plain_lines_tell_the_epochs_of_each_training_once() -> None:
    console = Console(file=io.StringIO(), width=200)
    display, run = PlainDisplay(console), record_of()
    for _ in range(3):
        display.update(
            run, progress_of("model_train-1", 0.25, "epoch 1/4"), progress_of("model_train-2", 0.1, "epoch 1/9")
        )
    assert [line.split(":")[0] for line in console.file.getvalue().splitlines()] == ["model_train-1", "model_train-2"]


@pytest.mark.parametrize(
    ("step", "metadata", "words"),
    [
        ("model_train-0123abcd", {"map50": 0.5}, "validation mAP50 0.500"),
        ("model_train-0123abcd", {"failed": "The loss is no number."}, "no model: The loss is no number."),
        ("sweep_select", {"winner": "lr0=0.1", "map50_95": 0.25}, "lr0=0.1 wins, mAP50-95 0.250"),
    ],
)
def test_what_came_of_a_setting_is_told(step: str, metadata: dict[str, object], words: str) -> None:
    assert output_of(StepRecord(name=step, metadata={"m": metadata})) == words


class Runs:
    """Stands for the backend: remembers what it was asked to run."""

    def __call__(self, config: SweepConfig, options: LocalOptions, _display: object, pipeline: object) -> Any:
        self.config, self.pipeline = config, pipeline
        steps = [StepRecord(name=step.name, state="succeeded") for step in SWEEP.plan(config)]
        record = record_of(*steps).model_copy(update={"state": "succeeded", "parameters": {"min_map50": 0.5}})
        return record, options.runs / "r1"


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Runs:
    made = Runs()
    monkeypatch.setattr(submit, "run_local", made)
    monkeypatch.chdir(tmp_path)
    return made


def test_the_command_runs_the_sweep_with_paths_made_absolute(runs: Runs, tmp_path: Path) -> None:
    (tmp_path / "best.pt").write_bytes(b"PK\x03\x04")
    settings = '[{"model": "best.pt"}, {"start_from": "./best.pt"}, {"model": "yolo11n.yaml", "lr0": 0.1}]'
    assert submit.main(["--local", "--set", f"settings={settings}", "--set", "parallelism=1"], SWEEP) == 0
    path = str(tmp_path / "best.pt")
    assert runs.config.settings == [{"model": path}, {"start_from": path}, {"model": "yolo11n.yaml", "lr0": 0.1}]
    assert (runs.config.parallelism, runs.pipeline) == (1, SWEEP)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--set", 'settings=[{"epoch": 3}]'], "did you mean 'epochs'?"),
        (["--set", 'settings=[{"model": "nowhere/best.pt"}]'], "model='nowhere/best.pt': there is no such file"),
        (["--set", 'settings=[{"device": "77"}]'], "The device '77' is not here"),
        (["--set", "parallelism=0"], "parallelism='0'"),
        (["--data", "nowhere"], "There is nothing at 'nowhere'"),
    ],
)
def test_bad_input_is_refused_before_anything_starts(
    runs: Runs, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    assert submit.main(["--local", "--json", *arguments], SWEEP) == 2
    assert words in capsys.readouterr().err
    assert not hasattr(runs, "config")
    assert list(tmp_path.iterdir()) == []


def test_the_help_describes_settings_and_parallelism(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        submit.main(["--help"], SWEEP)
    out = capsys.readouterr().out
    assert "python -m pipelines.sweep" in out
    assert "  settings " in out
    assert "  parallelism " in out
