"""``runs watch``: what a person sees while a run goes on, and the exit code at its end."""

import io
import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from components.shared.errors import ClusterAccessError
from pipelines.backends.cluster.connection import Cluster, Endpoint, connect
from pipelines.runs.command import main
from pipelines.runs.watch import follow
from tests.pipelines.cluster.kfp_stub import KfpStub
from tests.pipelines.cluster.kube_stub import KubeStub
from tests.pipelines.cluster.runs_scene import Scene, row, running, terminated, unschedulable

FAST = 0.05  # seconds between two looks


@pytest.fixture
def scene(kfp: KfpStub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    monkeypatch.setattr("pipelines.runs.watch.FIRST_WAIT", FAST)
    with KubeStub() as kube:
        monkeypatch.setenv("KUBECONFIG", str(kube.kubeconfig(tmp_path / "kubeconfig")))
        monkeypatch.setenv("KFP_HOST", kfp.url)
        yield Scene(kfp, kube, tmp_path)


@pytest.fixture
def cluster(scene: Scene) -> Cluster:
    return connect(Endpoint(host=scene.kfp.url))


def watched(cluster: Cluster, run: str, *deeds: Callable[[], Any], **how: Any) -> tuple[int, str]:
    """Follow a run while each of ``deeds`` is done, half a second apart; the exit code and what was shown."""

    def act() -> None:
        for deed in deeds:
            time.sleep(0.4)
            deed()

    actor = threading.Thread(target=act)
    actor.start()
    output = io.StringIO()
    code = follow(cluster, run, Console(file=output, width=120), interval=FAST, **how)
    actor.join()
    return code, output.getvalue()


def test_plain_lines_tell_each_change_once(scene: Scene, cluster: Cluster) -> None:
    run = scene.run("cats", "RUNNING", done=2, step="PENDING")
    scene.pod(run, "model-train", **unschedulable())

    def starts() -> None:
        scene.kfp.runs[run].run_details.task_details[-2].state = "RUNNING"
        scene.pod(run, "model-train", **running())
        warnings = ["The validation loss rises."]
        scene.progress(run, "model_train", share=0.2, message="epoch 1 of 5", metrics={"map50": 0.1}, warnings=warnings)

    def goes_on() -> None:
        scene.progress(run, "model_train", share=0.4, message="epoch 2 of 5, batch 3", metrics={"map50": 0.2})

    code, text = watched(cluster, run, starts, goes_on, lambda: scene.kfp.finish_run(run))
    lines = text.splitlines()
    assert code == 0
    assert lines[0] == f"run {run} (cats)"
    for line in (
        "data_load: Success (25 s)",
        "model_train: Pending",
        "model_train: In Progress on gpu-3",
        "model_train: warning: The validation loss rises.",
        "model_train: 20% epoch 1 of 5; latest values: mAP50 0.100",
        "model_train: 40% epoch 2 of 5; latest values: mAP50 0.200",
        "run: In Progress",
        "run: Success",
    ):
        assert lines.count(line) == 1, line
    assert any(line.startswith("run: Pending: model_train: No machine takes the pod") for line in lines)


def test_a_lost_connection_is_told_and_tried_again(scene: Scene, cluster: Cluster) -> None:
    run = scene.run("cats", "RUNNING", done=1, step="RUNNING")
    scene.pod(run, "data-prep", **running())

    def breaks() -> None:
        scene.kfp.plant("/runs", status=503, times=12)

    code, text = watched(cluster, run, breaks, lambda: None, lambda: scene.kfp.finish_run(run))
    assert code == 0
    assert "connection lost: " in text
    assert "trying again in" in text
    assert text.index("connection lost") < text.index("connected again") < text.index("run: Success")


def test_a_right_that_is_taken_away_ends_it(scene: Scene, cluster: Cluster) -> None:
    run = scene.run("cats", "RUNNING", done=1, step="RUNNING")
    scene.kfp.plant("/runs", status=403, times=99)
    with pytest.raises(ClusterAccessError):
        watched(cluster, run)


def finished(scene: Scene, kind: str) -> str:
    if kind == "gate":
        run = scene.run("cats", "SUCCEEDED", done=6)
        record = {"run_id": run, "state": "succeeded", "gate": {"passed": False}}
        scene.store.write(f"runs/{run}/record.json", json.dumps(record).encode())
        return run
    state = "SUCCEEDED" if kind == "success" else "FAILED"
    run = scene.run("cats", state, done=6 if kind == "success" else 2, step="" if kind == "success" else "FAILED")
    if kind == "success":
        scene.kfp.runs[run].run_details.task_details.append(row("model-publish", "SUCCEEDED", scene.kfp.now()))
    if kind == "failed":
        scene.pod(run, "model-train", **terminated(137, "OOMKilled"))
    if kind == "preempted":
        scene.pod(run, "model-train", **terminated(75))
        scene.progress(run, "model_train", "preempted", error="It was told to end in epoch 3.")
    if kind == "aborted":
        scene.pod(
            run, "model-train", **terminated(1), reason="Evicted", message="The node was low on resource: memory."
        )
    if kind == "terminated":
        scene.workflow(run)
        found = scene.kube.find("workflows", f"wf-{run[:4]}") or {}
        scene.kube.put("workflows", {**found, "spec": {"shutdown": "Terminate"}})
    return run


@pytest.mark.parametrize(
    ("kind", "gate", "code"),
    [
        ("success", True, 0),
        ("gate", False, 0),
        ("gate", True, 3),
        ("failed", False, 1),
        ("aborted", False, 1),
        ("preempted", False, 75),
        ("terminated", False, 130),
    ],
)
def test_it_ends_with_the_run_s_exit_code(scene: Scene, cluster: Cluster, kind: str, gate: bool, code: int) -> None:
    assert watched(cluster, finished(scene, kind), gate=gate)[0] == code


def test_on_a_terminal_the_table_redraws_itself(scene: Scene, cluster: Cluster) -> None:
    run = scene.run("cats", "RUNNING", done=2, step="RUNNING")
    scene.pod(run, "model-train", **running())
    scene.progress(run, "model_train", share=0.5, message="epoch 3 of 6")
    output = io.StringIO()
    console = Console(file=output, width=120, force_terminal=True, color_system=None)
    threading.Timer(0.6, lambda: scene.kfp.finish_run(run, "FAILED")).start()
    assert follow(cluster, run, console, interval=FAST) == 1
    text = output.getvalue()
    assert "━━━━━─────  50 %" in text
    assert "epoch 3 of 6" in text
    assert "killed before it could say why" in text


def test_the_command_prints_the_run_at_its_end(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    run = finished(scene, "failed")
    assert main(["watch", run[:8], "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert (found["id"], found["code"]) == (run, "OOMKilled")


def test_stopping_to_watch_does_not_stop_the_run(
    scene: Scene, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = scene.run("cats", "RUNNING", done=1, step="RUNNING")

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("pipelines.runs.watch.time.sleep", interrupt)
    assert main(["watch", run]) == 130
    assert "the run goes on" in capsys.readouterr().err
    assert scene.kfp.runs[run].state == "RUNNING"
