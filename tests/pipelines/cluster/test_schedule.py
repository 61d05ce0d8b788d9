"""Schedules against a Kubeflow Pipelines on a real socket: made, shown, replaced, paused, deleted and run."""

import functools
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import kfp_server_api
import pytest

from components.shared.errors import ClusterError
from components.shared.run_record import RunOutcome, write_outcome
from components.shared.store import open_store
from pipelines.backends.cluster import plan
from pipelines.backends.cluster.connection import Endpoint, connect
from pipelines.backends.cluster.upload import version_name
from pipelines.packages import build_package
from pipelines.schedule import command as schedule
from pipelines.schedule.kfp import Schedules
from tests.pipelines.cluster.kfp_stub import KfpStub

compiled = functools.cache(build_package)  # takes seconds
Command = Callable[..., dict[str, Any]]


@pytest.fixture(autouse=True)
def _settled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIPELINE_STORE", "s3://detection/team")
    monkeypatch.setenv("S3_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.delenv("CRON_SCHEDULE_TIMEZONE", raising=False)
    monkeypatch.setattr(plan, "build_package", lambda kind, **_: compiled(kind))
    monkeypatch.setattr("pipelines.schedule.kfp.pause", lambda _attempt: None)


@pytest.fixture
def command(kfp: KfpStub, capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs a schedule command; gives what it says as JSON, with its exit code."""

    def run(name: str, *arguments: str) -> dict[str, Any]:
        code = schedule.main([name, *arguments, "--host", kfp.url, "--json"])
        said = capsys.readouterr()
        answer: dict[str, Any] = json.loads(said.out)
        return answer | {"code": code, "err": said.err}

    return run


def only(kfp: KfpStub) -> Any:
    (found,) = kfp.recurring_runs.values()
    return found


def changes(kfp: KfpStub) -> list[str]:
    """What was asked that changes schedules, in order."""
    asked = [one for one in kfp.requests if one.method != "GET" and "/recurringruns" in one.path]
    return [f"{one.method} {one.path.rpartition('/')[2].partition(':')[2]}".strip() for one in asked]


def test_a_schedule_is_made_as_asked_for_and_told_with_its_next_times(kfp: KfpStub, command: Command) -> None:
    made = command("create", "nightly", "--cron", "30 2 * * 1-5", "--data", "s3://raw/cats", "--set", "epochs=7")
    assert made["code"] == 0, made
    told = only(kfp)
    assert told.display_name == "nightly"
    assert told.trigger.cron_schedule.cron == "0 30 2 * * 1-5"
    assert (told.max_concurrency, told.no_catchup, told.status) == ("1", True, "ENABLED")
    wanted = {"source": "s3://raw/cats", "epochs": 7, "only_if_changed": True, "store": "s3://detection/team"}
    assert wanted.items() <= told.runtime_config.parameters.items()
    assert kfp.versions[told.pipeline_version_reference.pipeline_version_id].name == version_name(compiled("training"))
    assert made["schedule"] == "Monday to Friday at 02:30"
    assert [moment[10:] for moment in made["next"]] == ["T02:30:00+00:00"] * 3
    assert made["timezone"] == "UTC"
    assert made["id"] == told.recurring_run_id


def test_times_are_shown_in_the_time_zone_of_the_controller(kfp: KfpStub, command: Command) -> None:
    made = command("create", "a", "--cron", "@daily", "--timezone", "Asia/Kathmandu", "--end", "2031-01-01T00:00")
    assert {moment[10:] for moment in made["next"]} == {"T00:00:00+05:45"}
    assert only(kfp).trigger.cron_schedule.end_time == datetime(2030, 12, 31, 18, 15, tzinfo=UTC)


def test_an_interval_counts_from_the_last_run(kfp: KfpStub, command: Command) -> None:
    made = command("create", "a", "--every", "6h", "--max-concurrency", "3", "--catch-up", "--paused")
    told = only(kfp)
    assert told.trigger.periodic_schedule.interval_second == "21600"
    assert (told.max_concurrency, told.no_catchup, told.status) == ("3", False, "DISABLED")
    assert (made["status"], made["next"], made["schedule"]) == ("paused", [], "every 6 hours")
    command("resume", "a")
    due = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=1)
    kfp.add_run("a-1", "SUCCEEDED", recurring_run_id=told.recurring_run_id, scheduled_at=due,
                experiment_id=told.experiment_id)  # fmt: skip
    seen = command("show", "a")
    assert datetime.fromisoformat(seen["next"][0]) == due + timedelta(hours=6)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "Say when it is to run"),
        (["--cron", "0 25 * * *"], "the hour '25' is wrong"),
        (["--every", "6"], "is no interval"),
        (["--cron", "@daily", "--max-concurrency", "11"], "--max-concurrency=11: use 1 to 10"),
        (["--cron", "@daily", "--end", "2020-01-01"], "It would never run"),
        (["--cron", "@daily", "--start", "2031-01-02", "--end", "2031-01-01"], "It would end"),
        (["--cron", "@daily", "--start", "soon"], "--start='soon' is no moment"),
        (["--cron", "@daily", "--timezone", "Mars"], "no time zone 'Mars'"),
        (["--cron", "@daily", "--set", "epochs=-1"], "epochs"),
        (["--cron", "@daily", "--set", "epoch=1"], "Did you mean 'epochs'?"),
        (["--cron", "@daily", "--data", "."], "on this machine, and a schedule reads its source anew"),
        (["--cron", "@daily", "--set", "store=file:///tmp"], "lies on one machine"),
        (["--cron", "@daily", "--description", "a\x00b"], "--description"),
    ],
)
def test_what_cannot_be_scheduled_is_refused_before_anything_is_sent(
    kfp: KfpStub, command: Command, arguments: list[str], said: str
) -> None:
    refused = command("create", "nightly", *arguments)
    assert (refused["code"], said in refused["error"]) == (2, True), refused
    assert [one for one in kfp.requests if one.method != "GET"] == []


def test_a_name_that_cannot_be_used_is_refused(kfp: KfpStub, command: Command) -> None:
    for name in ("", " ", "a\nb", "x" * 101):
        assert command("create", name, "--cron", "@daily")["code"] == 2
    assert kfp.recurring_runs == {}


def test_made_again_it_is_found_and_another_of_its_name_is_refused(kfp: KfpStub, command: Command) -> None:
    first = command("create", "nightly", "--cron", "@daily")
    assert command("create", "nightly", "--cron", "0 0 0 * * *")["id"] == first["id"]
    refused = command("create", "nightly", "--cron", "@hourly")
    assert (refused["code"], "change it with 'update'" in refused["error"]) == (2, True)
    assert only(kfp).recurring_run_id == first["id"]


@pytest.mark.parametrize("fault", [{"cut": "after"}, {"cut": "before"}, {"status": 503}, {"cut": "middle"}])
def test_a_schedule_is_made_once_though_an_answer_is_lost(kfp: KfpStub, command: Command, fault: Any) -> None:
    kfp.plant("/recurringruns", method="POST", **fault)
    made = command("create", "nightly", "--cron", "@daily")
    assert (made["code"], made["id"]) == (0, only(kfp).recurring_run_id)


def test_only_if_changed_can_be_switched_off(kfp: KfpStub, command: Command) -> None:
    command("create", "nightly", "--cron", "@daily", "--set", "only_if_changed=false")
    assert "only_if_changed" not in only(kfp).runtime_config.parameters


def test_several_users_have_schedules_of_their_own(kfp: KfpStub, command: Command) -> None:
    kfp.health["multi_user"] = True
    assert command("create", "nightly", "--cron", "@daily", "--namespace", "team-a")["code"] == 0
    assert [one["name"] for one in command("list", "--namespace", "team-a")["schedules"]] == ["nightly"]
    assert command("list")["code"] == 2


def test_a_list_tells_when_each_comes_next_and_how_its_last_run_ended(
    kfp: KfpStub, command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    command("create", "nightly", "--cron", "0 2 * * *")
    command("create", "weekly", "--cron", "@weekly", "--paused")
    identity = next(iter(kfp.recurring_runs))
    experiment = kfp.recurring_runs[identity].experiment_id
    for state in ("SUCCEEDED", "FAILED"):
        kfp.add_run(f"nightly-{state}", state, recurring_run_id=identity, experiment_id=experiment)
    kfp.add_run("another", "SUCCEEDED", experiment_id=experiment)
    nightly, weekly = command("list")["schedules"]
    assert (nightly["last_run"]["outcome"], weekly["last_run"]) == ("Failed", None)
    assert (nightly["status"], weekly["status"], weekly["next"]) == ("enabled", "paused", [])
    assert [run["outcome"] for run in command("show", "nightly")["runs"]] == ["Failed", "Success"]
    assert schedule.main(["list", "--host", kfp.url]) == 0
    text = capsys.readouterr().out
    assert "every day at 02:00" in text
    assert "Failed, " in text
    assert schedule.main(["show", "nightly", "--host", kfp.url]) == 0
    assert "every day at 02:00 (UTC, cron 0 0 2 * * *)" in capsys.readouterr().out


def test_a_run_that_had_nothing_to_do_is_told_as_unchanged(kfp: KfpStub, command: Command, tmp_path: Path) -> None:
    made = command("create", "nightly", "--cron", "@daily")
    store = (tmp_path / "store").as_uri()
    facts = {"recurring_run_id": made["id"], "experiment_id": only(kfp).experiment_id}
    settings = kfp_server_api.V2beta1RuntimeConfig(parameters={"store": store})
    run = kfp.add_run("nightly-1", "SUCCEEDED", runtime_config=settings, **facts)
    outcome = RunOutcome(run_id=run.run_id, pipeline="detector-training", state="unchanged", reason="All is as it was.")
    write_outcome(open_store(store), outcome)
    last = command("list")["schedules"][0]["last_run"]
    assert (last["outcome"], last["why"]) == ("Unchanged", "All is as it was.")


def test_without_schedules_the_list_says_how_to_make_one(kfp: KfpStub, capsys: pytest.CaptureFixture[str]) -> None:
    assert schedule.main(["list", "--host", kfp.url]) == 0
    assert "pipelines.schedule create" in capsys.readouterr().out


def test_a_schedule_of_another_hand_is_shown_as_it_is(kfp: KfpStub, command: Command) -> None:
    experiment = kfp.add_experiment()
    trigger = kfp_server_api.V2beta1Trigger(cron_schedule=kfp_server_api.V2beta1CronSchedule(cron="* * * ? * 9"))
    kfp.add_recurring_run("by hand", trigger=trigger, experiment_id=experiment.experiment_id)
    kfp.add_recurring_run("once", experiment_id=experiment.experiment_id)
    by_hand, once = command("list")["schedules"]
    assert (by_hand["schedule"], by_hand["next"]) == ("cron * * * ? * 9", [])
    assert once["name"] == "once"


def test_a_name_of_another_hand_does_not_steer_the_terminal(kfp: KfpStub, capsys: pytest.CaptureFixture[str]) -> None:
    kfp.add_recurring_run("[red]a[/] \x1b[2J", experiment_id=kfp.add_experiment().experiment_id)
    assert schedule.main(["list", "--host", kfp.url]) == 0
    assert "[red]a[/]  [2J" in capsys.readouterr().out


def test_a_schedule_is_found_by_name_id_or_the_ids_beginning(kfp: KfpStub, command: Command) -> None:
    made = command("create", "nightly", "--cron", "@daily")
    for text in ("nightly", made["id"], made["id"][:6]):
        assert command("show", text)["id"] == made["id"]
    assert command("show", made["id"][:5])["code"] == 2
    assert "there is 'nightly'" in command("show", "daily")["error"]
    kfp.add_recurring_run("nightly", experiment_id=only(kfp).experiment_id)
    assert "are several schedules: name one by its id" in command("show", "nightly")["error"]


def test_pause_and_resume_leave_all_else(kfp: KfpStub, command: Command) -> None:
    command("create", "nightly", "--cron", "@daily")
    assert command("pause", "nightly")["status"] == "paused"
    assert only(kfp).status == "DISABLED"
    assert command("pause", "nightly")["code"] == 0
    assert command("resume", "nightly")["status"] == "enabled"
    assert only(kfp).status == "ENABLED"


def test_a_deleted_schedule_leaves_its_runs_alone(kfp: KfpStub, command: Command) -> None:
    made = command("create", "nightly", "--cron", "@daily")
    assert command("delete", "nightly")["deleted"] == made["id"]
    assert kfp.recurring_runs == {}
    (asked,) = kfp.asked("DELETE")
    assert asked.query == {"propagation_policy": "ORPHAN"}
    assert command("delete", "nightly")["code"] == 2


def test_a_server_that_would_end_runs_with_their_schedule_is_not_asked_to(kfp: KfpStub, command: Command) -> None:
    made = command("create", "nightly", "--cron", "@daily")
    facts = {"recurring_run_id": made["id"], "experiment_id": only(kfp).experiment_id}
    run = kfp.add_run("nightly-1", "RUNNING", **facts)
    kfp.plant("/recurringruns", method="DELETE", status=400)
    refused = command("delete", "nightly")
    assert (refused["code"], run.run_id in refused["error"]) == (2, True)
    assert len(kfp.recurring_runs) == 1
    kfp.finish_run(run.run_id)
    kfp.plant("/recurringruns", method="DELETE", status=400)
    assert command("delete", "nightly")["code"] == 0
    assert kfp.recurring_runs == {}


def test_run_now_takes_the_schedules_version_and_parameters(kfp: KfpStub, command: Command) -> None:
    command("create", "nightly", "--cron", "@daily", "--set", "epochs=3", "--service-account", "trainer", "--paused")
    started = command("run-now", "nightly")
    run, told = kfp.runs[started["run_id"]], only(kfp)
    assert run.display_name.startswith("nightly 2")
    assert run.runtime_config.parameters == told.runtime_config.parameters
    assert run.pipeline_version_reference == told.pipeline_version_reference
    assert (run.experiment_id, run.service_account) == (told.experiment_id, "trainer")


def test_an_update_never_lets_two_run_and_keeps_what_it_is_not_told(kfp: KfpStub, command: Command) -> None:
    arguments = ("--cron", "@daily", "--set", "epochs=3", "--description", "for the site", "--end", "2031-01-01")
    former = command("create", "nightly", *arguments)
    kfp.requests.clear()
    new = command("update", "nightly", "--cron", "0 4 * * *", "--set", "batch=8", "--max-concurrency", "2")
    assert new["code"] == 0, new
    assert changes(kfp) == ["POST", "POST disable", "POST enable", "DELETE"]
    told = only(kfp)
    assert told.recurring_run_id == new["id"] != former["id"]
    assert (told.display_name, told.status, told.trigger.cron_schedule.cron) == ("nightly", "ENABLED", "0 0 4 * * *")
    assert {"epochs": 3, "batch": 8, "only_if_changed": True}.items() <= told.runtime_config.parameters.items()
    assert (new["description"], new["end"][:10], new["max_concurrency"]) == ("for the site", "2031-01-01", 2)
    assert command("update", "nightly", "--end", "never", "--every", "1d")["end"] is None
    assert only(kfp).trigger.periodic_schedule.interval_second == "86400"


def test_an_update_to_what_is_there_changes_nothing(kfp: KfpStub, command: Command) -> None:
    made = command("create", "nightly", "--cron", "@daily")
    kfp.requests.clear()
    assert command("update", "nightly", "--cron", "@midnight")["id"] == made["id"]
    assert changes(kfp) == []


def test_an_update_does_not_run_again_what_has_been_since_the_start(kfp: KfpStub, command: Command) -> None:
    made = command("create", "nightly", "--cron", "@daily", "--start", "2020-01-01", "--catch-up")
    assert only(kfp).trigger.cron_schedule.start_time == datetime(2020, 1, 1, tzinfo=UTC)
    assert command("update", "nightly", "--cron", "@daily")["id"] == made["id"]
    command("update", "nightly", "--cron", "@hourly")
    assert only(kfp).trigger.cron_schedule.start_time is None


def test_a_paused_schedule_stays_paused_when_it_is_updated(kfp: KfpStub, command: Command) -> None:
    command("create", "nightly", "--cron", "@daily", "--paused")
    assert command("update", "nightly", "--cron", "@hourly")["status"] == "paused"
    assert only(kfp).status == "DISABLED"


@pytest.mark.parametrize(
    ("where", "method", "left", "state"),
    [
        ("/recurringruns", "POST", 1, ""),
        (":disable", "POST", 2, "is as it was, and the new"),
        (":enable", "POST", 2, "are both paused, so NONE RUNS"),
        ("/recurringruns", "DELETE", 2, "is paused, and the new"),
    ],
)
def test_an_update_that_is_cut_off_says_what_is_left_and_goes_on_when_repeated(
    kfp: KfpStub, command: Command, where: str, method: str, left: int, state: str
) -> None:
    former = command("create", "nightly", "--cron", "@daily")
    fault = kfp.plant(where, method=method, status=403, times=9)
    cut = command("update", "nightly", "--cron", "@hourly")
    assert (cut["code"], state in cut["error"]) == (2, True), cut
    assert len(kfp.recurring_runs) == left
    assert sum(one.status == "ENABLED" for one in kfp.recurring_runs.values()) <= 1
    if left == 2:
        assert former["id"] in cut["error"]
        assert "run the same update again" in command("pause", "nightly")["error"]
    fault.times = 0
    done = command("update", "nightly", "--cron", "@hourly")
    assert (done["code"], only(kfp).recurring_run_id, only(kfp).status) == (0, done["id"], "ENABLED")
    assert only(kfp).trigger.cron_schedule.cron == "0 0 * * * *"
    assert done["id"] != former["id"]


def test_another_update_after_one_that_was_cut_off_takes_its_place(kfp: KfpStub, command: Command) -> None:
    command("create", "nightly", "--cron", "@daily")
    fault = kfp.plant(":enable", method="POST", status=403, times=9)
    command("update", "nightly", "--cron", "@hourly")
    fault.times = 0
    assert command("update", "nightly", "--cron", "@weekly")["code"] == 0
    assert (only(kfp).status, only(kfp).trigger.cron_schedule.cron) == ("ENABLED", "0 0 0 * * 0")


def test_an_update_that_was_cut_off_can_be_taken_back(kfp: KfpStub, command: Command) -> None:
    former = command("create", "nightly", "--cron", "@daily")
    fault = kfp.plant(":enable", method="POST", status=403, times=9)
    command("update", "nightly", "--cron", "@hourly")
    fault.times = 0
    assert command("update", "nightly", "--cron", "@daily")["id"] == former["id"]
    assert (only(kfp).recurring_run_id, only(kfp).status) == (former["id"], "ENABLED")


def test_a_server_that_fails_is_told_as_a_sentence(kfp: KfpStub, command: Command) -> None:
    kfp.plant("/recurringruns", status=500, times=99)
    failed = command("list")
    assert failed["code"] == 1
    assert failed["err"].startswith("error: Kubeflow at ")
    with pytest.raises(ClusterError):
        Schedules(connect(Endpoint(host=kfp.url))).all()


def test_many_schedules_come_in_pages(kfp: KfpStub) -> None:
    experiment = kfp.add_experiment()
    for number in range(230):
        kfp.add_recurring_run(f"s{number:03}", experiment_id=experiment.experiment_id)
    found = Schedules(connect(Endpoint(host=kfp.url))).all()
    assert [one.name for one in found] == [f"s{number:03}" for number in range(230)]


@pytest.mark.slow
def test_weights_of_this_machine_go_to_the_store_once(
    kfp: KfpStub, command: Command, s3_server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in s3_server.environment.items():
        monkeypatch.setenv(name, value)
    store = f"s3://{s3_server.bucket}/schedules"
    monkeypatch.setenv("PIPELINE_STORE", store)
    weights = tmp_path / "mine.pt"
    weights.write_bytes(b"PK\x03\x04 some weights")
    made = command("create", "nightly", "--cron", "@daily", "--set", f"start_from={weights}")
    assert made["code"] == 0, made
    address = only(kfp).runtime_config.parameters["start_from"]
    assert address.startswith(f"{store}/raw/")
    assert open_store(store).read(address.removeprefix(f"{store}/")) == weights.read_bytes()
    kfp.requests.clear()
    assert command("update", "nightly", "--set", f"start_from={weights}")["id"] == made["id"]
    assert changes(kfp) == []
    assert command("update", "nightly", "--set", "epochs=3")["parameters"]["start_from"] == address
