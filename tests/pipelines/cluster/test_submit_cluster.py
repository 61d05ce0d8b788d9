"""``python -m pipelines.submit`` without ``--local``: what is refused, sent, started and said; over real sockets."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from pipelines import executor, submit
from pipelines.backends.cluster.raw import RawStore, look_at
from pipelines.catalogue import SWEEP
from pipelines.packages import Package, build_package
from pipelines.runs.watch import follow
from tests.pipelines.cluster.kfp_stub import KfpStub

STORE = "store=s3://bucket/prefix"
IMAGES = {name: f"registry.example/{name}@sha256:{'1' * 64}" for name in ("steps-python", "trainer-python", "serving")}
COMPILED: dict[object, Package] = {}
Submit = Callable[..., tuple[int, dict[str, Any], str]]


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    (tmp_path / "images.json").write_text(json.dumps(IMAGES))
    monkeypatch.setenv("PIPELINE_IMAGES", str(tmp_path / "images.json"))
    monkeypatch.delenv("PIPELINE_STORE", raising=False)
    monkeypatch.setattr("pipelines.submit_cluster.follow", partial(follow, interval=0.02))
    monkeypatch.setattr("pipelines.runs.watch.FIRST_WAIT", 0.02)
    monkeypatch.setattr("pipelines.backends.cluster.plan.build_package", compiled_once)


def compiled_once(*arguments: Any, **named: Any) -> Package:
    key = (arguments, tuple(named.items()), Path(os.environ["PIPELINE_IMAGES"]).read_text())
    if key not in COMPILED:
        COMPILED[key] = build_package(*arguments, **named)
    return COMPILED[key]


@pytest.fixture
def run(kfp: KfpStub, capsys: pytest.CaptureFixture[str]) -> Submit:
    """Submit to the stub with ``--json``: the exit code, the JSON and standard error."""

    def call(*arguments: str, **named: Any) -> tuple[int, dict[str, Any], str]:
        code = submit.main(["--host", kfp.url, "--json", *arguments], **named)
        out, err = capsys.readouterr()
        (line,) = out.splitlines()
        return code, json.loads(line), err

    return call


@pytest.fixture
def data() -> Path:
    for name in ("images/a.jpg", "images/b.jpg", "labels/a.txt"):
        Path("My Data", name).parent.mkdir(parents=True, exist_ok=True)
        Path("My Data", name).write_bytes(name.encode())
    return Path("My Data")


def test_a_run_is_started_with_what_differs_from_the_defaults(kfp: KfpStub, run: Submit) -> None:
    code, made, err = run("--set", STORE, "--set", "epochs=3", "--set", "lr0=0.0", "--run-name", "my run")
    assert (code, made["state"], made["error"]) == (0, "submitted", None)
    started = kfp.runs[made["run_id"]]
    assert started.display_name == made["name"] == "my run"
    assert started.runtime_config.parameters == made["parameters"] == {"store": "s3://bucket/prefix", "epochs": 3}
    assert kfp.experiments[started.experiment_id].display_name == made["experiment"] == "detector-training"
    version = kfp.versions[started.pipeline_version_reference.pipeline_version_id]
    assert version.name == made["version"]
    assert kfp.packages[version.pipeline_version_id] == compiled_once("training", caching=True, fixed_source=True).text
    assert "warning" not in err
    assert list(Path.home().iterdir()) == []


def test_the_second_submission_uploads_nothing_again(kfp: KfpStub, run: Submit) -> None:
    for _ in range(2):
        assert run("--set", STORE)[0] == 0
    assert (len(kfp.runs), len(kfp.versions), len(kfp.pipelines), len(kfp.experiments)) == (2, 1, 1, 1)
    assert len(kfp.asked("POST", "upload")) == 1


def test_people_are_told_the_run_and_its_page(kfp: KfpStub, capsys: pytest.CaptureFixture[str]) -> None:
    ui = "https://kubeflow.example/pipeline"
    assert submit.main(["--host", kfp.url, "--ui-host", ui, "--set", STORE]) == 0
    out, err = capsys.readouterr()
    (run_id,) = kfp.runs
    assert f"run         {run_id}: submitted" in out
    assert f"page        {ui}/#/runs/details/{run_id}" in out
    assert f"watch       python -m pipelines.runs watch {run_id}" in out
    assert "uploaded" in err


def test_options_are_shortcuts_for_parameters(kfp: KfpStub, run: Submit) -> None:
    options = ["--gpus", "2", "--accelerator", "amd.com/gpu", "--spot", "--set", 'node_selector={"zone": "a"}']
    code, made, _ = run("--set", STORE, *options, "--experiment", "mine", "--service-account", "trainer", "--no-cache")
    assert code == 0
    chosen = made["parameters"]
    assert (chosen["gpus"], chosen["accelerator"], chosen["resume"]) == ("2", "amd.com/gpu", "never")
    assert chosen["node_selector"] == {"zone": "a", "karpenter.sh/capacity-type": "spot"}
    assert [one["key"] for one in chosen["tolerations"]] == ["nvidia.com/gpu", "detection-pipeline/spot"]
    started = kfp.runs[made["run_id"]]
    assert started.service_account == "trainer"
    assert kfp.experiments[started.experiment_id].display_name == "mine"
    (text,) = kfp.packages.values()
    assert "enableCache" not in text


def test_a_local_folder_goes_to_the_store_and_the_run_reads_it_there(
    kfp: KfpStub, run: Submit, data: Path, s3_uri: str
) -> None:
    code, made, err = run("--set", f"store={s3_uri}", "--data", str(data))
    assert code == 0
    raw = look_at(data.resolve())
    address = f"{s3_uri}/raw/{raw.digest}/"
    chosen = kfp.runs[made["run_id"]].runtime_config.parameters
    assert (chosen["source"], chosen["name"]) == (address, "my-data")
    assert made["data"] == [
        {"source": str(data.resolve()), "address": address, "files": 3, "bytes": raw.total, "sent": 3, "present": 0}
    ]
    assert set(RawStore.of(s3_uri).sizes("raw/")) == {f"raw/{raw.digest}/{name}" for name in raw.files}
    assert "reading" in err
    assert "sending" in err
    again = run("--set", f"store={s3_uri}", "--data", str(data))
    assert again[1]["data"][0] | {"sent": 0, "present": 3} == again[1]["data"][0]
    assert "all of it is there already" in again[2]


def test_several_sources_are_sent_where_they_are_local(kfp: KfpStub, run: Submit, data: Path, s3_uri: str) -> None:
    Path("more.zip").write_bytes(b"PK")
    _, made, _ = run("--set", f"store={s3_uri}", "--data", str(data), "s3://other/set", "more.zip")
    sources = json.loads(kfp.runs[made["run_id"]].runtime_config.parameters["source"])
    assert sources == [made["data"][0]["address"], "s3://other/set", made["data"][1]["address"]]
    assert sources[2].endswith("/more.zip")


def test_weights_of_this_machine_are_sent_too(kfp: KfpStub, run: Submit, s3_uri: str) -> None:
    Path("best.pt").write_bytes(b"PK\x03\x04weights")
    _, made, _ = run("--set", f"store={s3_uri}", "--set", "start_from=best.pt")
    address = kfp.runs[made["run_id"]].runtime_config.parameters["start_from"]
    assert address == made["data"][0]["address"]
    assert RawStore.of(s3_uri).read(address.removeprefix(f"{s3_uri}/")) == b"PK\x03\x04weights"


def test_a_dry_run_shows_everything_and_sends_nothing(
    kfp: KfpStub, data: Path, capsys: pytest.CaptureFixture[str], run: Submit
) -> None:
    arguments = ["--host", kfp.url, "--set", STORE, "--data", str(data), "--gpus", "1", "--set", "epochs=7"]
    assert submit.main([*arguments, "--dry-run"]) == 0
    out = capsys.readouterr().out
    digest, package = look_at(data.resolve()).digest, compiled_once("training", caching=True, fixed_source=True)
    for words in (f"s3://bucket/prefix/raw/{digest}/", "3 files", "epochs=7", package.digest, *IMAGES.values()):
        assert words in out or "serving" in words
    assert kfp.requests == []
    code, made, _ = run("--set", STORE, "--dry-run")
    assert (code, made["run_id"], made["state"]) == (0, None, "dry run")
    assert kfp.requests == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--set", "epoch=3"], "Did you mean 'epochs'?"),
        (["--set", STORE, "--set", "epochs=-1"], "epochs='-1'"),
        (["--set", STORE, "--gpus", "99"], "gpus=99"),
        ([], "Pods need a store that all of them see"),
        (["--set", "store=file:///tmp/store"], "lies on one machine, and pods run on others: give an S3 address"),
        (["--set", "store=s3://B/x"], "is no bucket name"),
        (["--set", STORE, "--data", "nowhere"], "There is nothing at 'nowhere'"),
        (["--set", STORE, "--data", "sqlite:///my.db", "--set", "sql_query=select 1"], "pods do not see"),
        (["--set", STORE, "--set", "model=nowhere/best.pt"], "there is no such file"),
        (["--set", STORE, "--gate"], "give --watch too"),
        (["--set", STORE, "--namespace", "A b"], "is no namespace"),
    ],
)
def test_what_cannot_work_is_refused_before_the_server_is_asked(
    kfp: KfpStub, run: Submit, arguments: list[str], words: str
) -> None:
    code, made, err = run(*arguments)
    assert code == 2
    assert (made["run_id"], made["state"]) == (None, "refused")
    assert words in made["error"]
    assert words in err
    assert kfp.requests == []


def test_a_folder_of_weights_without_a_packed_model_is_refused(kfp: KfpStub, run: Submit) -> None:
    Path("model").mkdir()
    code, made, _ = run("--set", STORE, "--set", "start_from=./model")
    assert code == 2
    assert "start_from='./model'" in made["error"]
    assert kfp.requests == []


def test_the_store_may_come_from_the_environment(run: Submit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIPELINE_STORE", "s3://from/environment")
    assert run()[1]["parameters"] == {"store": "s3://from/environment"}


def test_with_neither_a_host_nor_local_both_ways_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert submit.main(["--set", STORE]) == 2
    err = capsys.readouterr().err
    assert "--local" in err
    assert "--host" in err
    assert "KFP_HOST" in err


@pytest.mark.parametrize("option", [["--watch"], ["--dry-run"], ["--host", "x"], ["--run-name", "x"], ["--spot"]])
def test_options_of_a_cluster_are_refused_with_local(capsys: pytest.CaptureFixture[str], option: list[str]) -> None:
    assert submit.main(["--local", *option]) == 2
    assert f"{option[0]} is for a cluster" in capsys.readouterr().err


def test_an_old_server_is_refused_and_a_newer_one_warned_of(kfp: KfpStub, run: Submit) -> None:
    kfp.health["tag_name"] = "2.14.3"
    code, made, _ = run("--set", STORE)
    assert code == 2
    assert "This is Kubeflow Pipelines 2.14.3" in made["error"]
    assert kfp.asked("POST") == []
    kfp.health["tag_name"] = "2.19.0"
    code, _, err = run("--set", STORE)
    assert code == 0
    assert "warning: Kubeflow Pipelines 2.19.0 is newer than 2.17" in err


def test_images_without_a_digest_are_warned_of(run: Submit, tmp_path: Path) -> None:
    (tmp_path / "images.json").write_text("{}")
    assert "images without a digest" in run("--set", STORE)[2]


@pytest.mark.parametrize(("status", "code"), [(401, 2), (403, 2), (503, 1)])
def test_a_refusal_of_the_server_is_one_sentence_and_its_exit_code(
    kfp: KfpStub, run: Submit, status: int, code: int
) -> None:
    kfp.plant("/experiments", status=status, times=99)
    ended, made, err = run("--set", STORE)
    assert ended == code
    assert made["state"] == "refused"
    assert f"({status})" in made["error"] or f"status {status}" in made["error"]
    assert "Traceback" not in err
    assert kfp.runs == {}


def test_data_is_not_sent_to_a_server_that_would_refuse_the_run(kfp: KfpStub, run: Submit, data: Path) -> None:
    kfp.token = "needed"
    code, made, _ = run("--set", STORE, "--data", str(data))  # the store does not exist: it is never asked
    assert (code, "who you are" in made["error"]) == (2, True)


def test_a_bucket_that_does_not_exist_is_told_before_the_data_is_read(
    kfp: KfpStub, run: Submit, data: Path, s3_uri: str
) -> None:
    del s3_uri  # for its server
    code, made, err = run("--set", "store=s3://no-such-bucket/x", "--data", str(data))
    assert (code, "The bucket 'no-such-bucket' does not exist" in made["error"]) == (1, True)
    assert "reading" not in err
    assert kfp.asked("POST") == []


@pytest.mark.parametrize(("state", "code"), [("SUCCEEDED", 0), ("FAILED", 1), ("CANCELED", 130)])
def test_watching_ends_as_the_run_does(kfp: KfpStub, run: Submit, state: str, code: int) -> None:
    def live() -> None:
        while not kfp.runs:
            time.sleep(0.01)
        (run_id,) = kfp.runs
        kfp.plant(f"/runs/{run_id}", status=503, times=7)
        kfp.runs[run_id].state = "RUNNING"
        time.sleep(0.1)
        kfp.finish_run(run_id, state)

    threading.Thread(target=live, daemon=True).start()
    ended, made, err = run("--set", STORE, "--watch")
    assert (ended, made["state"]) == (code, state.lower()), made["error"]
    assert f"run {made['run_id']}" in err
    assert "trying again" in err


def test_a_sweep_is_sent_as_the_sweep_it_is(kfp: KfpStub, run: Submit) -> None:
    settings = '[{"lr0": 0.01}, {"lr0": 0.02}, {}]'
    code, made, _ = run("--set", STORE, "--set", f"settings={settings}", "--set", "parallelism=3", pipeline=SWEEP)
    assert (code, made["pipeline"]) == (0, "detector-sweep")
    chosen = kfp.runs[made["run_id"]].runtime_config.parameters
    assert [one.get("lr0") for one in chosen["settings"]] == [0.01, 0.02, None]
    assert "parallelism" not in chosen
    (text,) = kfp.packages.values()
    assert "parallelismLimit: 3" in text


def test_an_executor_needs_an_image_and_is_sent_with_it(
    kfp: KfpStub, capsys: pytest.CaptureFixture[str], s3_uri: str
) -> None:
    arguments = ["run", "--host", kfp.url, "--json", "--set", f"store={s3_uri}"]
    assert executor.main([*arguments, "--command", "true"]) == 2
    assert "a cluster has nothing else" in capsys.readouterr().err
    Path("weights").mkdir()
    Path("weights", "w.pt").write_bytes(b"w")
    assert executor.main([*arguments, "--image", "registry.example/ymir:1", "--set", "pretrained=weights"]) == 0
    made = json.loads(capsys.readouterr().out)
    chosen = kfp.runs[made["run_id"]].runtime_config.parameters
    assert (made["pipeline"], chosen["image"]) == ("executor-training", "registry.example/ymir:1")
    assert chosen["pretrained"] == made["data"][0]["address"]


@pytest.mark.slow
def test_the_command_itself_runs_to_its_end(kfp: KfpStub, data: Path, s3_uri: str) -> None:
    environment = {**os.environ, "KFP_HOST": kfp.url, "PIPELINE_STORE": s3_uri, "KFP_TOKEN": "secret-abc"}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
    done = subprocess.run(
        [sys.executable, "-m", "pipelines.submit", "--data", str(data), "--set", "epochs=2"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    (started,) = kfp.runs.values()
    assert f"run         {started.run_id}: submitted" in done.stdout
    assert kfp.requests[-1].headers["Authorization"] == "Bearer secret-abc"
    for noise in ("FutureWarning", "Traceback", "secret-abc", "Experiment details", "Run details"):
        assert noise not in done.stdout + done.stderr
