"""``runs logs`` on a cluster: from pods while they are there, and from what was kept once they are gone."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from components.shared.store import open_store
from pipelines.runs.command import main
from tests.pipelines.cluster.kfp_stub import KfpStub
from tests.pipelines.cluster.kube_stub import KubeStub
from tests.pipelines.cluster.runs_scene import Scene, running, terminated, waiting


@pytest.fixture
def scene(kfp: KfpStub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    with KubeStub() as kube:
        monkeypatch.setenv("KUBECONFIG", str(kube.kubeconfig(tmp_path / "kubeconfig")))
        monkeypatch.setenv("KFP_HOST", kfp.url)
        yield Scene(kfp, kube, tmp_path)


def test_the_step_that_failed_is_shown_unless_another_is_named(
    scene: Scene, capsys: pytest.CaptureFixture[str]
) -> None:
    run = scene.run("cats", "FAILED", done=1, step="FAILED")
    for step, status, text in (
        ("data-load", {"phase": "Succeeded"}, "loaded\n"),
        ("data-prep", terminated(1), "prepared a little\nERROR\n"),
    ):
        scene.kube.log(scene.pod(run, step, **status), text)
    assert main(["logs", run]) == 0
    seen = capsys.readouterr()
    assert seen.out == "prepared a little\nERROR\n"
    assert "data_prep" in seen.err
    assert main(["logs", run, "--step", "data-load"]) == 0
    assert capsys.readouterr().out == "loaded\n"
    assert main(["logs", run, "--all"]) == 0
    assert capsys.readouterr().out == "loaded\nprepared a little\nERROR\n"


def test_a_step_that_is_none_gets_the_names(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    run = scene.run("cats", "RUNNING", done=1, step="RUNNING")
    assert main(["logs", run, "--step", "train"]) == 2
    assert "its steps are data_load, data_prep, model_train" in capsys.readouterr().err


def test_a_log_is_followed_until_its_container_ends(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    run = scene.run("cats", "RUNNING", step="RUNNING")
    pod = scene.pod(run, "data-load", **running())
    scene.kube.log(pod, "one\n", live=True)
    threading.Timer(0.2, lambda: scene.kube.log(pod, "two\nthree")).start()
    assert main(["logs", run, "-f"]) == 0
    assert capsys.readouterr().out == "one\ntwo\nthree"


def test_the_attempt_before_has_a_pod_of_its_own(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    run = scene.run("cats", "RUNNING", step="RUNNING")
    scene.kube.log(scene.pod(run, "data-load", **terminated(137, "OOMKilled")), "first\n")
    scene.kube.log(scene.pod(run, "data-load", attempt=1, **running()), "second\n")
    assert main(["logs", run]) == 0
    assert main(["logs", run, "--previous"]) == 0
    assert capsys.readouterr().out == "second\nfirst\n"


def test_a_container_that_was_started_again_has_a_log_before(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    run = scene.run("cats", "RUNNING", step="RUNNING")
    scene.kube.log(scene.pod(run, "data-load", **running()), "now\n", before="then\n")
    assert main(["logs", run, "--previous"]) == 0
    assert capsys.readouterr().out == "then\n"


def test_when_the_pods_are_gone_the_launcher_s_copy_is_shown(
    scene: Scene, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    run = scene.run("cats", "SUCCEEDED", done=6)
    root = (tmp_path / "artifacts").as_uri()
    scene.kube.put("configmaps", {"metadata": {"name": "kfp-launcher"}, "data": {"defaultPipelineRoot": root}})
    kept = open_store(root)
    kept.write(f"detector-training/{run}/model-train/5a17/executor-logs", b"epoch 1\n")
    assert main(["logs", run, "--step", "model_train"]) == 0
    assert capsys.readouterr().out == "epoch 1\n"


def test_what_is_nowhere_is_told_with_where_was_looked(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    run = scene.run("cats", "FAILED", step="FAILED")
    scene.kfp.runs[run].runtime_config.pipeline_root = scene.uri
    assert main(["logs", run]) == 2
    said = capsys.readouterr().err
    assert "There is no log of 'data_load': its pods are gone" in said
    assert "lies no executor-logs" in said


def test_a_pod_that_has_not_begun_has_no_log_yet(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    run = scene.run("cats", "RUNNING", step="PENDING")
    scene.kfp.runs[run].runtime_config.pipeline_root = scene.uri
    scene.pod(run, "data-load", **waiting("ImagePullBackOff"))
    assert main(["logs", run]) == 2
    assert "has not begun" in capsys.readouterr().err


def test_a_run_of_which_nothing_has_begun_has_none(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    run = scene.run("cats", "PENDING")
    assert main(["logs", run]) == 2
    assert "No step of the run has begun yet" in capsys.readouterr().err


def test_a_log_that_breaks_off_goes_on_where_it_was(
    scene: Scene, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = scene.run("cats", "RUNNING", step="RUNNING")
    pod = scene.pod(run, "data-load", **running())
    scene.kube.log(pod, "one\ntwo\n")
    whole, cuts = scene.kube.read_log, iter([True])

    def cut(name: str, query: dict[str, str]) -> Iterator[bytes]:
        if next(cuts, False):
            yield b"one\ntw"
            raise ConnectionResetError
        yield from whole(name, query)

    monkeypatch.setattr(scene.kube, "read_log", cut)
    monkeypatch.setattr("pipelines.runs.logs._LONGEST_WAIT", 0.01)
    assert main(["logs", run, "-f"]) == 0
    assert capsys.readouterr().out == "one\ntwo\n"


def test_each_turn_of_a_loop_has_a_log_of_its_own(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    run = scene.run("cats", "RUNNING", done=2, step="RUNNING")
    for turn, status in ((".i-0", {"phase": "Succeeded"}), (".i-1", running())):
        scene.kube.log(scene.pod(run, "model-train", turn=turn, **status), f"log of {turn}\n")
    assert main(["logs", run]) == 0
    text = capsys.readouterr().out
    assert text.index("==>") < text.index("log of .i-0") < text.index("log of .i-1")
    assert main(["logs", run, "--follow"]) == 0
    assert capsys.readouterr().out == "log of .i-1\n"
