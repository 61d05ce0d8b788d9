"""``runs abort, retry, rerun, archive`` and ``delete`` on a cluster."""

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipelines.runs.act import parsed_settings
from pipelines.runs.command import main
from tests.pipelines.cluster.kfp_stub import KfpStub
from tests.pipelines.cluster.kube_stub import KubeStub
from tests.pipelines.cluster.runs_scene import Scene, running, waiting


@pytest.fixture
def scene(kfp: KfpStub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    monkeypatch.setattr("pipelines.runs.abort.PATIENCE", 0.3)
    monkeypatch.setattr("pipelines.runs.abort.POLL", 0.05)
    with KubeStub() as kube:
        monkeypatch.setenv("KUBECONFIG", str(kube.kubeconfig(tmp_path / "kubeconfig")))
        monkeypatch.setenv("KFP_HOST", kfp.url)
        yield Scene(kfp, kube, tmp_path)


def ends_when_its_pods_are_gone(scene: Scene, run: str) -> None:
    """Let the stub of Kubeflow call the run failed once no pod of it is left, as Argo does."""

    def look(pod: dict[str, Any]) -> None:
        del pod
        if not scene.kube.all("pods"):
            scene.kfp.finish_run(run, "FAILED")

    scene.kube.on_delete = look


def test_a_run_that_ends_when_it_is_told_needs_nothing_more(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    run = scene.run("cats", "RUNNING", done=1, step="RUNNING")
    pod = scene.pod(run, "data-prep", **running())

    def argo() -> None:
        scene.kube.remove("pods", pod)
        scene.kfp.finish_run(run, "FAILED")

    threading.Timer(0.15, argo).start()
    assert main(["abort", run, "--reason", "wrong data"]) == 0
    assert f"run {run[:8]} is over: Terminated; none of its pods is left" in capsys.readouterr().out
    assert scene.kfp.asked("POST", f"/runs/{run}:terminate")
    assert not scene.kube.asked("DELETE")
    mark = json.loads(scene.store.read(f"runs/{run}/terminated.json"))
    assert mark["why"] == "wrong data"
    assert main(["show", run]) == 0
    assert f"A person ({mark['who']}) ended it: wrong data." in capsys.readouterr().out


def test_a_pod_that_cannot_be_pulled_is_deleted_with_grace(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    run = scene.run("cats", "RUNNING", step="PENDING")
    other = scene.run("dogs", "RUNNING", step="RUNNING")
    pod = scene.pod(run, "data-load", **waiting("ImagePullBackOff"))
    kept = scene.pod(other, "data-load", **running())

    def gone(_: dict[str, Any]) -> None:
        scene.kfp.finish_run(run, "FAILED")

    scene.kube.on_delete = gone
    assert main(["abort", run]) == 0
    (request,) = scene.kube.asked("DELETE")
    assert request.path.endswith(pod)
    assert request.query.get("gracePeriodSeconds") == "60"
    assert scene.kube.find("pods", kept)
    assert "still to end" in capsys.readouterr().err


def test_retries_that_go_on_are_ended_in_argo_itself(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    run = scene.run("cats", "RUNNING", step="RUNNING")
    scene.pod(run, "data-load", **running())
    workflow = scene.workflow(run)
    attempts = iter(range(1, 99))

    def argo(_: dict[str, Any]) -> None:
        found = scene.kube.find("workflows", workflow) or {}
        if found["spec"].get("shutdown") == "Terminate":
            scene.kfp.finish_run(run, "FAILED")
        else:
            scene.pod(run, "data-load", attempt=next(attempts), **running())

    scene.kube.on_delete = argo
    original = scene.kube.put

    def put(plural: str, body: dict[str, Any], namespace: str = "kubeflow") -> dict[str, Any]:
        made = original(plural, body, namespace)
        if plural == "workflows" and body["spec"].get("shutdown"):
            for one in scene.kube.all("pods"):
                scene.kube.remove("pods", one["metadata"]["name"])
            scene.kfp.finish_run(run, "FAILED")
        return made

    scene.kube.put = put  # type: ignore[method-assign]
    assert main(["abort", run]) == 0
    assert "telling Argo to shut down" in capsys.readouterr().err
    assert scene.kube.asked("PATCH", "workflows")


def test_what_does_not_end_in_time_is_named(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    run = scene.run("cats", "RUNNING", step="RUNNING")
    pod = scene.pod(run, "data-load", **running())
    scene.kube.linger = float("inf")
    assert main(["abort", run, "--timeout", "0.8"]) == 1
    said = capsys.readouterr().out
    assert "is still ending" in said
    assert f"{pod} (is ending on gpu-3)" in said
    assert "--force" in said
    ends_when_its_pods_are_gone(scene, run)
    assert main(["abort", run, "--force"]) == 0
    assert scene.kube.find("pods", pod) is None


def test_without_waiting_it_only_tells(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    run = scene.run("cats", "RUNNING", step="RUNNING")
    scene.pod(run, "data-load", **running())
    assert main(["abort", run, "--no-wait", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"id": run, "over": False, "said": "is being ended"}


def test_a_run_that_is_over_is_not_ended_again(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    run = scene.run("cats", "SUCCEEDED", done=6)
    assert main(["abort", run]) == 0
    assert not scene.kfp.asked("POST", "terminate")
    assert not scene.store.exists(f"runs/{run}/terminated.json")
    assert "had ended already: Success" in capsys.readouterr().out


def test_without_rights_over_pods_kubeflow_s_word_has_to_do(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    scene.kube.forbid("*", "*")
    run = scene.run("cats", "RUNNING", step="RUNNING")
    threading.Timer(0.2, lambda: scene.kfp.finish_run(run, "FAILED")).start()
    assert main(["abort", run]) == 0
    assert "cannot be seen" in capsys.readouterr().out


def test_a_refusal_is_a_sentence_and_leaves_no_mark(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    run = scene.run("cats", "RUNNING", step="RUNNING")
    scene.kfp.plant(":terminate", status=403)
    assert main(["abort", run]) == 2
    assert "error:" in capsys.readouterr().err
    assert not scene.store.exists(f"runs/{run}/terminated.json")


def test_only_a_failed_run_is_retried(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    failed, going = scene.run("cats", "FAILED", step="FAILED"), scene.run("dogs", "RUNNING", step="RUNNING")
    scene.store.write(f"runs/{failed}/terminated.json", b"{}")
    assert main(["retry", failed]) == 0
    assert not scene.store.exists(f"runs/{failed}/terminated.json"), "it is no longer ended by a person"
    assert scene.kfp.runs[failed].state == "RUNNING"
    assert main(["retry", going]) == 2
    assert "abort it first" in capsys.readouterr().err


def test_a_rerun_has_the_same_version_and_parameters_but_those_set(
    scene: Scene, capsys: pytest.CaptureFixture[str]
) -> None:
    run = scene.run("cats", "SUCCEEDED", done=6)
    assert main(["rerun", run, "--set", "epochs=9", "--set", "gpus=0", "--json"]) == 0
    made = scene.kfp.runs[json.loads(capsys.readouterr().out)["id"]]
    assert made.display_name == "cats (rerun)"
    assert made.runtime_config.parameters == {"store": scene.uri, "gpus": "0", "epochs": 9}
    assert made.pipeline_version_reference.pipeline_version_id == scene.version.pipeline_version_id
    assert made.experiment_id == scene.experiment.experiment_id


@pytest.mark.parametrize(
    ("setting", "said"),
    [("epochs=many", "must be a whole number"), ("epoch=3", "Did you mean 'epochs'?"), ("epochs", "NAME=VALUE"),
     ("tolerations={}", "must be a JSON list")],
)  # fmt: skip
def test_a_setting_that_is_none_is_refused_before_anything_starts(
    scene: Scene, capsys: pytest.CaptureFixture[str], setting: str, said: str
) -> None:
    run = scene.run("cats", "SUCCEEDED", done=6)
    assert main(["rerun", run, "--set", setting]) == 2
    assert said in capsys.readouterr().err
    assert len(scene.kfp.runs) == 1


def test_values_have_the_types_that_the_pipeline_declares() -> None:
    kinds = {"a": "NUMBER_INTEGER", "b": "NUMBER_DOUBLE", "c": "BOOLEAN", "d": "LIST", "e": "STRUCT", "f": "STRING"}
    inputs = {name: {"parameterType": kind} for name, kind in kinds.items()}
    settings = ["a=3", "b=0.5", "c=True", 'd=["x"]', 'e={"k": 1}', "f=5=5"]
    assert parsed_settings(settings, inputs) == {"a": 3, "b": 0.5, "c": True, "d": ["x"], "e": {"k": 1}, "f": "5=5"}


def test_an_archived_run_is_no_longer_listed(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    run = scene.run("cats", "SUCCEEDED", done=6)
    assert main(["archive", run]) == 0
    assert main(["list", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["runs"] == []


def test_delete_asks_and_without_an_answer_does_nothing(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    run = scene.run("cats", "FAILED", step="FAILED")
    assert main(["delete", run]) == 2
    assert "give --yes" in capsys.readouterr().err
    assert run in scene.kfp.runs


@pytest.mark.parametrize(("answer", "left"), [("y", 0), ("n", 1), ("", 1)])
def test_delete_does_what_it_was_answered(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], answer: str, left: int
) -> None:
    run = scene.run("cats", "FAILED", step="FAILED")
    scene.progress(run, "data_load")
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr("builtins.input", lambda _: answer)
    assert main(["delete", run]) == 0
    assert len(scene.kfp.runs) == left
    assert len(list(scene.store.list("progress/"))) == left
    assert "cats" in capsys.readouterr().err, "what would be deleted is shown first"


def test_many_are_deleted_by_age_and_status(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    scene.run("old-bad", "FAILED", step="FAILED", ago=40 * 86400)
    kept = [
        scene.run("old-good", "SUCCEEDED", done=6, ago=40 * 86400),
        scene.run("new-bad", "FAILED", step="FAILED", ago=3600),
        scene.run("old-going", "RUNNING", step="RUNNING", ago=41 * 86400),
    ]
    assert main(["delete", "--older-than", "30d", "--status", "Failed", "--yes"]) == 0
    assert sorted(scene.kfp.runs) == sorted(kept)
    assert "deleted old-bad" in capsys.readouterr().err


def test_delete_without_a_word_of_which_is_refused(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    scene.run("cats", "FAILED", step="FAILED")
    assert main(["delete", "--yes"]) == 2
    assert "Say which runs" in capsys.readouterr().err


def test_a_run_that_goes_on_is_not_deleted(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    run = scene.run("cats", "RUNNING", step="RUNNING")
    assert main(["delete", run, "--yes"]) == 2
    assert "abort it first" in capsys.readouterr().err
