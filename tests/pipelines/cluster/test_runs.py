"""``runs list`` and ``runs show`` against a Kubeflow, a Kubernetes and a store that misbehave as real ones do."""

import base64
import gzip
import json
import os
from pathlib import Path
from typing import Any

import pytest

from components.shared.errors import StoreError
from pipelines.backends.cluster.connection import Endpoint, connect
from pipelines.runs.command import main
from pipelines.runs.facts import Collector
from pipelines.runs.spec import is_row_of_kfp, tasks_of
from pipelines.runs.store import RunStores
from tests.pipelines.cluster.kfp_stub import KfpStub
from tests.pipelines.cluster.kube_stub import KubeStub
from tests.pipelines.cluster.runs_scene import (
    STEPS,
    Scene,
    running,
    spec,
    terminated,
    unschedulable,
    waiting,
)


@pytest.fixture
def scene(kfp: KfpStub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    with KubeStub() as kube:
        monkeypatch.setenv("KUBECONFIG", str(kube.kubeconfig(tmp_path / "kubeconfig")))
        monkeypatch.setenv("KFP_HOST", kfp.url)
        yield Scene(kfp, kube, tmp_path)


def asked(capsys: pytest.CaptureFixture[str], *words: str) -> Any:
    """The JSON document that a command prints."""
    assert main([*words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def shown(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(list(words)) == 0
    return " ".join(capsys.readouterr().out.split())


def test_a_table_has_the_columns_of_dataloop_and_the_reasons(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    run = scene.run("cats-nightly", "RUNNING", done=2, step="RUNNING")
    scene.pod(run, "model-train", **running())
    scene.progress(run, "model_train", share=0.5, message="epoch 3 of 6")
    stuck = scene.run("cats-gpu", "RUNNING", done=2, step="PENDING")
    scene.pod(stuck, "model-train", **unschedulable())
    text = shown(capsys, "list")
    assert "name id created status progress duration node" in text
    assert f"cats-nightly {run[:8]}" in text
    assert "▸ In Progress" in text
    assert "model_train (gpu-3)" in text
    assert "model_train: No machine takes the pod: 3 of 5 have too little nvidia.com/gpu free" in text
    assert "→ Wait for a free GPU" in text


def test_a_narrow_terminal_still_shows_whole_ids_and_statuses(
    scene: Scene, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.dataset_commands.output._WIDE", 80)
    run = scene.run("a-name-that-is-far-too-long-for-a-narrow-terminal", "RUNNING", done=2, step="RUNNING")
    scene.pod(run, "model-train", **running())
    assert main(["list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert all(len(line) <= 80 for line in lines)
    assert run[:8] in lines[1]
    assert "In Progress" in lines[1]
    assert "model_train" in lines[1]


def test_json_is_one_document_with_every_fact(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    run = scene.run("cats", "FAILED", done=2, step="FAILED")
    scene.pod(run, "model-train", node="gpu-1", **terminated(137, "OOMKilled"))
    found = asked(capsys, "list")
    assert (found["page"], found["more"], found["blind"]) == (1, False, [])
    (row,) = found["runs"]
    facts = ("id", "name", "pipeline", "status", "code", "node", "machine")
    assert [row[name] for name in facts] == [
        run, "cats", "detector-training", "Failed", "OOMKilled", "model_train", "gpu-1",
    ]  # fmt: skip
    assert "its limit 16Gi" in row["reason"]
    assert "train_memory" in row["remedy"]
    assert 0 < row["progress"] < 1


def test_the_pages_follow_each_other(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    names = [f"run-{i:03d}" for i in range(120)]
    for i, name in enumerate(names):
        scene.run(name, "SUCCEEDED", done=6, ago=100.0 * (i + 1))
    pages = [asked(capsys, "list", "--limit", "50", "--page", str(page)) for page in (1, 2, 3)]
    assert [row["name"] for page in pages for row in page["runs"]] == names
    assert [page["more"] for page in pages] == [True, True, False]
    assert not scene.kube.asked("GET", "pods"), "runs that went well need no look at pods"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--status", "failed"], ["dogs-old"]),
        (["--status", "Success,in-progress"], ["cats-new", "cats-done"]),
        (["--since", "2h"], ["cats-new", "cats-done"]),
        (["--older-than", "2h"], ["dogs-old"]),
        (["--search", "cats"], ["cats-new", "cats-done"]),
        (["--search", "CATS", "--status", "success"], ["cats-done"]),
        (["--pipeline", "detector"], ["cats-new", "cats-done", "dogs-old"]),
        (["--pipeline", "sweep"], []),
        (["--archived"], ["put-away"]),
        (["--all", "--search", "put"], ["put-away"]),
    ],
)
def test_runs_are_filtered(
    scene: Scene, capsys: pytest.CaptureFixture[str], words: list[str], expected: list[str]
) -> None:
    new = scene.run("cats-new", "RUNNING", done=1, step="RUNNING", ago=60)
    scene.pod(new, "data-prep", **running())
    scene.run("cats-done", "SUCCEEDED", done=6, ago=3600)
    scene.run("dogs-old", "FAILED", done=1, step="FAILED", ago=86400)
    scene.run("put-away", "SUCCEEDED", done=6, ago=100, storage_state="ARCHIVED")
    assert [row["name"] for row in asked(capsys, "list", *words)["runs"]] == expected


def test_an_id_prefix_is_searched_too(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    run = scene.run("cats", "SUCCEEDED", done=6)
    scene.run("dogs", "SUCCEEDED", done=6, run_id="zzzzzzzz-0000-4000-8000-000000000000")
    assert [row["id"] for row in asked(capsys, "list", "--search", run[:6])["runs"]] == [run]


@pytest.mark.parametrize("words", [["--status", "sunny"], ["--since", "soon"], ["--page", "0"]])
def test_a_filter_that_is_none_is_refused(scene: Scene, capsys: pytest.CaptureFixture[str], words: list[str]) -> None:
    del scene
    assert main(["list", *words]) == 2
    assert "error:" in capsys.readouterr().err


def test_a_run_is_named_by_id_prefix_name_or_latest(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    old = scene.run("cats", "SUCCEEDED", done=6, ago=500)
    new = scene.run("dogs", "SUCCEEDED", done=6, ago=50)
    for text, run in ((old, old), (old[:7], old), ("dogs", new), ("latest", new), (old.upper(), old)):
        assert asked(capsys, "show", text)["id"] == run


def test_an_ambiguous_name_gets_the_candidates(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    runs = [scene.run("cats", "SUCCEEDED", done=6, ago=ago) for ago in (1, 2)]
    assert main(["show", "cats"]) == 2
    said = capsys.readouterr().err
    assert all(f"{run} (cats)" in said for run in runs)
    assert "Give more of the id" in said


def test_an_unknown_name_gets_near_ones(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    scene.run("cats-nightly", "SUCCEEDED", done=6)
    assert main(["show", "cats-nigthly"]) == 2
    assert "Did you mean 'cats-nightly'?" in capsys.readouterr().err


def test_an_id_that_is_nobody_s_is_refused(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    del scene
    assert main(["show", "00000000-0000-4000-8000-000000000000", "--json"]) == 2
    assert "There is no run" in json.loads(capsys.readouterr().out)["error"]


def test_show_has_each_step_of_the_pipeline_and_none_of_kfp_s_rows(
    scene: Scene, capsys: pytest.CaptureFixture[str]
) -> None:
    run = scene.run("cats", "RUNNING", done=1, step="PENDING")
    scene.pod(run, "data-load", driver=True, phase="Succeeded")
    scene.pod(run, "data-prep", **waiting("CreateContainerConfigError", 'secret "detection-store" not found'))
    found = asked(capsys, "show", run)
    names = [step["name"] for step in found["steps"]]
    assert names == [*(name.replace("-", "_") for name in STEPS), "model_publish", "run_record"]
    load, prep, train = found["steps"][:3]
    assert (load["status"], load["reused"], load["seconds"]) == ("Success", True, 25.0)
    assert (prep["status"], prep["code"]) == ("Pending", "MissingSecret")
    assert (train["status"], train["seconds"]) == ("Created", None)
    assert found["parameters"]["gpus"] == "1"
    assert found["status"] == "Pending"


def test_without_its_pipeline_a_run_shows_the_steps_that_have_begun(
    scene: Scene, capsys: pytest.CaptureFixture[str]
) -> None:
    run = scene.run("cats", "RUNNING", done=1, step="RUNNING")
    scene.kfp.versions.clear()
    scene.kfp.pipelines.clear()
    found = asked(capsys, "show", run)
    assert [step["name"] for step in found["steps"]] == ["data_load", "data_prep"]


def test_events_explain_a_pod_that_is_silent(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    run = scene.run("cats", "RUNNING", step="PENDING")
    pod = scene.pod(run, "data-load", phase="Pending")
    scene.kube.event(pod, "Pulling", "pulling", kind="Normal")
    scene.kube.event(pod, "FailedMount", 'MountVolume.SetUp failed for volume "ca": secret "detection-ca" not found')
    assert "There is no secret 'detection-ca'" in asked(capsys, "show", run)["reason"]


def test_argo_explains_a_pod_that_was_never_made(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    run = scene.run("cats", "RUNNING", step="PENDING")
    message = 'pods "x" is forbidden: exceeded quota: gpus, requested: g=1, used: g=4, limited: g=4'
    node = {"id": "n", "name": "wf.root.data-load.executor", "type": "Pod", "phase": "Pending", "message": message}
    scene.workflow(run, nodes={"n": node})
    found = asked(capsys, "show", run)
    assert (found["status"], found["code"]) == ("Pending", "Quota")


def test_argo_packs_the_nodes_of_a_large_workflow(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    run = scene.run("cats", "FAILED", step="FAILED")
    node = {
        "id": "n",
        "name": "wf.root.data-load.executor(0)",
        "type": "Pod",
        "phase": "Failed",
        "message": "pod deleted",
    }
    packed = base64.b64encode(gzip.compress(json.dumps({"n": node}).encode())).decode()
    workflow = scene.kube.find("workflows", scene.workflow(run)) or {}
    scene.kube.put("workflows", workflow | {"status": {"compressedNodes": packed}})
    found = asked(capsys, "show", run)
    assert (found["status"], found["code"]) == ("Aborted", "Stopped")


def test_a_namespace_of_one_s_own_is_where_runs_and_pods_are(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    scene.kfp.health["multi_user"] = True
    scene.experiment.namespace = "ann"
    run = scene.run("cats", "RUNNING", step="PENDING")
    scene.kube.put(
        "pods",
        {
            "metadata": {"name": "p", "labels": {"pipeline/runid": run, "detection.pipeline/step": "data_load"}},
            "status": waiting("ErrImagePull", "not found"),
        },
        "ann",
    )
    (row,) = asked(capsys, "list", "--namespace", "ann")["runs"]
    assert (row["id"], row["code"]) == (run, "ImagePullBackOff")


def test_a_name_cannot_move_the_cursor(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    scene.run("evil\x1b[2J[red]name\nnext", "PENDING")
    assert main(["list"]) == 0
    assert "evil?[2J[red]name next" in capsys.readouterr().out


def test_what_cannot_be_read_is_left_out_and_told(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    run = scene.run("cats", "RUNNING", step="RUNNING")
    scene.kube.put("pods", {"metadata": {"name": "p", "labels": {"pipeline/runid": run}}, "status": {"phase": ["x"]}})
    found = asked(capsys, "show", run)
    assert found["status"] == "In Progress"
    assert "one of them cannot be read (at 'status.phase')" in found["blind"][0]


@pytest.mark.parametrize("node", ["wf.root-driver", "wf.root.exit-handler-1-driver"])
def test_a_driver_of_what_is_around_the_steps_explains_why_none_begins(
    scene: Scene, capsys: pytest.CaptureFixture[str], node: str
) -> None:
    run = scene.run("cats", "RUNNING")
    name = scene.pod(run, "x", driver=True, **unschedulable("0/3 nodes are available: 3 Insufficient cpu."))
    pod = scene.kube.find("pods", name) or {}
    pod["metadata"]["annotations"] = {"workflows.argoproj.io/node-name": node}
    scene.kube.put("pods", pod)
    found = asked(capsys, "show", run)
    assert (found["status"], found["code"]) == ("Pending", "Unschedulable")
    assert "Kubeflow's driver" in found["reason"]


def test_the_log_s_end_explains_a_step_that_told_the_store_nothing(
    scene: Scene, capsys: pytest.CaptureFixture[str]
) -> None:
    run = scene.run("cats", "FAILED", step="FAILED")
    pod = scene.pod(run, "data-load", **terminated(2))
    scene.kube.log(pod, "2026-11-21 10:00:00,123 ERROR   The source 's3://x' is empty: give another.\n")
    assert asked(capsys, "show", run)["reason"] == "data_load: The source 's3://x' is empty: give another."


def test_without_rights_in_kubernetes_it_says_what_it_cannot_see(
    scene: Scene, capsys: pytest.CaptureFixture[str]
) -> None:
    scene.kube.forbid("*", "*")
    run = scene.run("cats", "FAILED", done=2, step="FAILED")
    scene.progress(run, "model_train", "failed", error="The loss is no number (box nan) in epoch 3: lower lr0.")
    found = asked(capsys, "show", run)
    assert (found["status"], found["code"]) == ("Failed", "NaNLoss")
    assert any("The pods, events and workflows of runs cannot be seen" in one for one in found["blind"])
    assert "cannot be seen" in shown(capsys, "list")


def test_without_a_kubeconfig_it_works_with_what_kubeflow_says(
    scene: Scene, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KUBECONFIG")
    run = scene.run("cats", "RUNNING", done=2, step="RUNNING")
    found = asked(capsys, "show", run)
    assert found["status"] == "In Progress"
    assert "KUBECONFIG" in found["blind"][0]


def test_a_store_that_is_elsewhere_costs_the_progress_alone(
    scene: Scene, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    run = scene.run("cats", "RUNNING", done=2, step="RUNNING")
    scene.kfp.runs[run].runtime_config.parameters["store"] = "s3://UPPER/case"
    found = asked(capsys, "show", run)
    assert found["status"] == "In Progress"
    assert "cannot be opened" in found["blind"][-1]
    scene.progress(run, "model_train", message="epoch 1")
    assert asked(capsys, "show", run, "--store", scene.uri)["steps"][2]["message"] == "epoch 1"


def test_a_store_that_nothing_here_leads_to_is_left_alone(
    scene: Scene, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in os.environ if name.startswith(("AWS_", "S3_"))]:
        monkeypatch.delenv(name)
    run = scene.run("cats", "RUNNING", done=2, step="RUNNING")
    scene.kfp.runs[run].runtime_config.parameters["store"] = "s3://detection/store"
    assert "S3_ENDPOINT_URL" in asked(capsys, "show", run)["blind"][-1]


def test_a_store_that_fails_is_left_alone_for_a_while(scene: Scene) -> None:
    run = scene.run("cats", "RUNNING", step="RUNNING")
    stores = RunStores()
    store = stores.of({"store": scene.uri})
    assert store is not None
    scene.progress(run, "data_prep")
    stores._lost(store, StoreError("gone"))
    assert stores.of({"store": scene.uri}) is None
    assert "gone" in next(iter(stores.blind.values()))
    stores._failed.clear()
    assert list(stores.progress(store, run)) == ["data_prep"]
    assert not stores.blind


def test_pods_that_have_ended_are_fetched_once_however_often_a_run_is_looked_at(scene: Scene) -> None:
    run = scene.run("cats", "RUNNING", step="RUNNING")
    scene.pod(run, "data-load", driver=True, phase="Succeeded")
    pod = scene.pod(run, "data-load", **running())
    collector = Collector(connect(Endpoint(host=scene.kfp.url)))
    found = collector.runs.get(run)
    assert len(collector.facts(found).steps[0].pods) == 2
    scene.pod(run, "data-load", phase="Succeeded", node="gpu-3")
    for _ in range(2):
        (load, *_rest) = collector.facts(found).steps
        assert [one.status.phase for one in load.pods] == ["Succeeded", "Succeeded"]
        assert load.machine == "gpu-3"
    lists = [one.query.get("fieldSelector") for one in scene.kube.asked("GET", "/pods$")]
    assert lists == [None, "status.phase!=Succeeded", "status.phase!=Succeeded"]
    assert len(scene.kube.asked("GET", f"/pods/{pod}")) == 1


def test_a_run_that_names_no_store_uses_its_pipeline_s(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    run = scene.run("cats", "RUNNING", step="RUNNING")
    del scene.kfp.runs[run].runtime_config.parameters["store"]
    declared = scene.version.pipeline_spec["root"]["inputDefinitions"]["parameters"]
    declared["store"]["defaultValue"] = scene.uri
    scene.progress(run, "data_load", message="half of it")
    assert asked(capsys, "show", run)["steps"][0]["message"] == "half of it"


def test_numbers_that_are_none_are_still_json(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    run = scene.run("cats", "RUNNING", done=2, step="RUNNING")
    scene.progress(run, "model_train", metrics={"train/box_loss": float("nan")})
    assert main(["show", run, "--json"]) == 0
    text = capsys.readouterr().out
    assert json.loads(text, parse_constant=pytest.fail)["steps"][2]["metrics"] == {"train/box_loss": "nan"}


@pytest.mark.parametrize(("passed", "said"), [(True, None), (False, "GateNotMet")])
def test_the_gate_is_told(scene: Scene, capsys: pytest.CaptureFixture[str], passed: bool, said: str | None) -> None:
    run = scene.run("cats", "SUCCEEDED", done=6)
    scene.pod(run, "condition-passed-1", driver=True, phase="Succeeded")
    record = {"run_id": run, "state": "succeeded", "gate": {"passed": passed}, "metrics": {"map50": 0.61}}
    scene.store.write(f"runs/{run}/record.json", json.dumps(record).encode())
    found = asked(capsys, "show", run)
    assert (found["status"], found["passed"], found["code"]) == ("Success", passed, said)
    assert found["metrics"] == {"map50": 0.61}
    assert found["steps"][-2]["status"] == "Skipped"


def test_a_run_with_nothing_to_do_is_unchanged(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    run = scene.run("cats", "SUCCEEDED", done=2)
    record = {"run_id": run, "state": "unchanged", "reason": "Data and code are the champion's."}
    scene.store.write(f"runs/{run}/record.json", json.dumps(record).encode())
    (row,) = asked(capsys, "list")["runs"]
    assert (row["status"], row["reason"]) == ("Unchanged", "Data and code are the champion's.")


def test_a_sweep_s_progress_is_that_of_all_its_trainings(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    run = scene.run("cats", "RUNNING", done=2, step="RUNNING")
    scene.progress(run, "model_train-aaaaaaaa", "succeeded", share=1.0)
    scene.progress(run, "model_train-bbbbbbbb", share=0.2, message="epoch 2 of 10")
    train = asked(capsys, "show", run)["steps"][2]
    assert (train["progress"], train["message"]) == (0.6, "epoch 2 of 10")


def test_several_users_are_asked_for_their_namespace(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    scene.kfp.health["multi_user"] = True
    assert main(["list"]) == 2
    assert "--namespace" in capsys.readouterr().err


def test_a_server_that_is_away_is_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "--host", "http://127.0.0.1:9"]) in {1, 2}
    assert "error:" in capsys.readouterr().err


def test_the_tasks_of_a_pipeline_come_in_the_order_of_their_needs() -> None:
    assert tasks_of(spec()) == [*STEPS, "model-publish", "run-record"]


ROWS = """root root-driver executor executor(0) iteration-item iteration-iterations(0:0) for-loop-1 condition-passed-1
exit-handler-1 iteration-item(0:a) exit-handler-1.onExit"""


@pytest.mark.parametrize("name", ROWS.split())
def test_a_row_of_kfp_is_known_as_such(name: str) -> None:
    assert is_row_of_kfp(name)
    assert not is_row_of_kfp("model-train")
