"""The walk through a compiled DAG does what the cluster does: conditions, exit handlers, defaults, metadata."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from cluster_inputs import MOUNT, Task, Walk, mangled
from kfp import compiler, dsl
from kfp.dsl import Artifact, Dataset, Input, Output, PipelineTaskFinalStatus

Answer = Callable[[Task], str | None]


@dsl.component(base_image="steps", packages_to_install=[], install_kfp_package=False)
def make(text: str, made: Output[Dataset], share: float = 0.0) -> bool: ...


@dsl.component(base_image="steps", packages_to_install=[], install_kfp_package=False)
def use(made: Input[Dataset], kind: Output[Artifact]) -> str: ...


@dsl.component(base_image="steps", packages_to_install=[], install_kfp_package=False)
def last(status: PipelineTaskFinalStatus) -> None: ...


@dsl.pipeline(name="walked")
def walked(text: str = "a", share: float = 2.0) -> None:
    with dsl.ExitHandler(last(), name="body"):
        first = make(text=text, share=share)
        with dsl.If(first.outputs["Output"] == True, name="made"):  # noqa: E712 - kfp reads the comparison
            used = use(made=first.outputs["made"])
            with dsl.If(used.outputs["Output"] != "", name="named"):
                make(text="again").set_display_name("again")


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    path = tmp_path_factory.mktemp("dag") / "dag.yaml"
    compiler.Compiler().compile(walked, str(path))
    found: dict[str, Any] = yaml.safe_load(path.read_text())
    return found


def given(task: Task) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(next(part for part in task.command if part.startswith('{"inputs"')))
    return found


def answering(seen: list[Task], answers: dict[str, str | None]) -> Answer:
    def execute(task: Task) -> str | None:
        seen.append(task)
        return answers.get(task.name, "")

    return execute


def walk(spec: dict[str, Any], root: Path, answers: dict[str, str | None], **platform: Any) -> tuple[list[Task], Walk]:
    seen: list[Task] = []
    walking = Walk(spec, answering(seen, answers), root, platform)
    walking.run({"text": "b"})
    return seen, walking


def made(output: object, metadata: dict[str, Any] | None = None) -> str:
    artifacts = {"made": {"artifacts": [{"name": "made", "uri": "minio://x/made", "metadata": metadata or {}}]}}
    return json.dumps({"parameterValues": {"Output": output}, "artifacts": artifacts})


def test_a_branch_runs_when_its_condition_holds_and_the_exit_handler_after_all(
    spec: dict[str, Any], tmp_path: Path
) -> None:
    named = json.dumps({"parameterValues": {"Output": "a name"}})
    seen, walking = walk(spec, tmp_path, {"make": made(True, {"n": 3, "list": [1], "flag": True}), "use": named})
    assert [task.name for task in seen] == ["make", "use", "make-2", "last"]
    assert walking.skipped == []
    (artifact,) = given(seen[1])["inputs"]["artifacts"]["made"]["artifacts"]
    assert artifact["uri"] == "minio://x/made"
    assert artifact["type"] == {"instanceSchema": ""}
    assert artifact["metadata"]["n"] == 3.0
    assert artifact["metadata"]["list"] == {"list": [1]}
    assert artifact["metadata"]["flag"] == 1.0
    status = given(seen[3])["inputs"]["parameterValues"]["status"]
    assert status["state"] == "COMPLETE"


@pytest.mark.parametrize(("answer", "left"), [(made(False), ["condition-made-2"]), ('{"parameterValues": {}}', None)])
def test_a_branch_is_skipped_when_its_condition_does_not_hold(
    spec: dict[str, Any], tmp_path: Path, answer: str, left: list[str] | None
) -> None:
    if left is None:
        with pytest.raises(KeyError, match="Output"):
            walk(spec, tmp_path, {"make": answer})
        return
    seen, walking = walk(spec, tmp_path, {"make": answer})
    assert [task.name for task in seen] == ["make", "last"]
    assert len(walking.skipped) == len(left)


def test_after_a_failure_only_the_exit_handler_runs_and_is_told(spec: dict[str, Any], tmp_path: Path) -> None:
    seen, _ = walk(spec, tmp_path, {"make": None})
    assert [task.name for task in seen] == ["make", "last"]
    status = given(seen[1])["inputs"]["parameterValues"]["status"]
    assert status["state"] == "FAILED"
    assert status["error"] == {}


def test_parameters_come_as_the_cluster_prints_them_and_outputs_below_the_mount(
    spec: dict[str, Any], tmp_path: Path
) -> None:
    seen, _ = walk(spec, tmp_path, {"make": made(False)})
    values = given(seen[0])["inputs"]["parameterValues"]
    assert values == {"text": "b", "share": 2}
    assert isinstance(values["share"], int), "protojson prints no .0"
    outputs = given(seen[0])["outputs"]
    uri = outputs["artifacts"]["made"]["artifacts"][0]["uri"]
    folder = (tmp_path / uri.removeprefix("minio://")).parent
    assert folder.is_dir()
    assert folder.stat().st_mode & 0o002, "another user writes there"
    assert outputs["outputFile"].startswith("/tmp/")
    assert MOUNT == "/minio"


def test_what_kubernetes_is_told_reaches_the_pod(spec: dict[str, Any], tmp_path: Path) -> None:
    settings = {
        "emptyDirMounts": [{"mountPath": "/scratch"}],
        "fieldPathAsEnv": [{"name": "PIPELINE_RUN_ID", "fieldPath": "metadata.labels['pipeline/runid']"}],
    }
    platforms = {"kubernetes": {"deploymentSpec": {"executors": {"exec-make": settings}}}}
    seen, _ = walk(spec, tmp_path, {"make": made(False)}, platforms=platforms)
    assert seen[0].scratch == ("/scratch",)
    assert seen[0].environment == {"PIPELINE_RUN_ID": "proof"}


@pytest.mark.parametrize("value", [None, float("nan"), float("inf")])
def test_metadata_the_cluster_refuses_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="the cluster refuses it"):
        mangled({"loss": value})
