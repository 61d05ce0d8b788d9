"""The doctor's checks that need no cluster: the store, the clocks, this machine, and that none holds up the others."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from components.shared.errors import ConfigError
from components.shared.store import open_store
from components.shared.store_file import FileStore
from pipelines.doctor import command as doctor
from pipelines.doctor import store as doctor_store
from pipelines.doctor.cluster import clock
from pipelines.doctor.findings import Check, Finding, ok, run_checks


def test_a_check_that_hangs_is_left_behind() -> None:
    began = time.monotonic()
    found = run_checks([Check("slow", lambda: time.sleep(30) or []), Check("quick", lambda: [ok("quick", "")])], 0.2)
    assert time.monotonic() - began < 5
    assert [(one.name, one.state) for one in found] == [("slow", "problem"), ("quick", "ok")]


def test_an_error_keeps_what_was_found_before_it_and_parts_what_to_do() -> None:
    def look() -> Iterator[Finding]:
        yield ok("a", "well")
        raise ConfigError("The thing 'x: y' is wrong: write another.")

    found = run_checks([Check("b", look), Check("c", lambda: [found["x"]])], 5)
    assert [(one.state, one.text) for one in found[:2]] == [("ok", "well"), ("problem", "The thing 'x: y' is wrong")]
    assert found[1].fix == "Write another."
    assert (found[2].state, "Error" in found[2].text) == ("warning", True)


@pytest.mark.parametrize(("hours", "state"), [(0, "ok"), (1, "problem")])
def test_clocks_are_compared_with_the_date_of_an_answer(hours: int, state: str) -> None:
    sent = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + 3600 * hours))
    assert [one.state for one in clock("clock", {"date": sent})] == [state]
    assert list(clock("clock", {"Date": "tomorrow"})) == []
    assert list(clock("clock", {})) == []


class Forgetful(FileStore):
    """A store that does not know conditions."""

    def create(self, key: str, data: bytes) -> bool:
        self.write(key, data)
        return True


class Blind(FileStore):
    """A store that may not be listed."""

    def list(self, prefix: str) -> Any:
        assert prefix
        return iter(())


@pytest.mark.parametrize(
    ("kind", "name", "fix"),
    [(Forgetful, "store conditions", "conditional puts"), (Blind, "store listing", "right to list")],
)
def test_a_store_that_breaks_its_promises_is_a_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: Any, name: str, fix: str
) -> None:
    monkeypatch.setattr(doctor_store, "open_store", lambda _uri: kind(tmp_path))
    found = {one.name: one for one in doctor_store.check_store("file:///somewhere")}
    assert found[name].state == "problem"
    assert fix in found[name].fix
    assert list(tmp_path.rglob("doctor/*")) == []


def test_a_store_with_a_name_of_a_cluster_is_a_warning_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("S3_ENDPOINT_URL", "http://minio.nowhere.svc:9000")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "geheim")
    monkeypatch.setattr("components.shared.store_s3._BACKOFF", 0.001)
    found = {one.name: one for one in doctor_store.check_store("s3://bucket/prefix")}
    assert found["store credentials"].state == "ok"
    assert found["store"].state == "warning"
    assert "geheim" not in str(found)


def test_on_this_machine_the_checks_need_no_cluster(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert doctor.main(["--local", "--json", "--set", "preset=balanced"]) == 0
    found = {one["name"]: one for one in json.loads(capsys.readouterr().out)["findings"]}
    assert {"python", "libraries", "runs folder", "memory", "gpu", "store", "weights"} <= set(found)
    assert "yolo11s.pt" in found["weights"]["text"]
    assert found["weights"]["state"] == "warning"


def test_a_device_that_is_not_here_and_a_folder_that_cannot_be_written_are_problems(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "a file"
    file.write_text("x")
    assert doctor.main(["--local", "--json", "--set", "device=0", "--runs", str(file / "runs")]) == 2
    found = {one["name"]: one for one in json.loads(capsys.readouterr().out)["findings"]}
    assert found["runs folder"]["state"] == "problem"
    assert found["gpu"]["state"] == "problem"


@pytest.mark.slow
def test_a_real_store_is_found_well_and_left_as_it_was(store_uri: str) -> None:
    found = {one.name: one.state for one in doctor_store.check_store(store_uri)}
    found.pop("store credentials", None)
    assert found == dict.fromkeys(("store", "store clock", "store conditions"), "ok")
    assert list(open_store(store_uri).list("")) == []


@pytest.mark.slow
def test_wrong_keys_of_a_store_are_a_problem_and_are_not_shown(s3_server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {**s3_server.environment, "AWS_SECRET_ACCESS_KEY": "geheim"}.items():
        monkeypatch.setenv(name, value)
    check = Check("store", lambda: doctor_store.check_store(f"s3://{s3_server.bucket}/doctor-test"))
    (found,) = [one for one in run_checks([check], 30) if one.name == "store"]
    assert (found.state, "does not accept the credentials" in found.text) == ("problem", True)
    assert found.fix.startswith("Check AWS_ACCESS_KEY_ID")
    assert "geheim" not in str(found)
