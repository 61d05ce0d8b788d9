"""What a store keeps of a run is put together from what its steps told, however far they came."""

from pathlib import Path

import pytest

from components.shared.progress import Reporter
from components.shared.run_record import (
    UNTOLD,
    RunOutcome,
    assemble,
    leave_note,
    note_key,
    read_outcome,
    record_key,
    write_outcome,
)
from components.shared.step import RUN_ID
from components.shared.store import Store, open_store

RUN = "0d7e"
PLANNED = (
    *("data_load", "data_prep", "change_check", "model_train", "model_pack", "model_eval", "model_test"),
    *("model_publish", "model_deploy"),
)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setenv(RUN_ID, RUN)
    return open_store((tmp_path / "store").as_uri())


def ran(store: Store, *steps: str, error: str | None = None) -> None:
    """Each step ran to its end, the last one with ``error``."""
    for step in steps:
        reporter = Reporter(store, RUN, step)
        reporter.notify(0.5, "half way", warning=f"mind {step}")
        reporter.finish(error if step == steps[-1] else None)


def states(outcome: RunOutcome) -> dict[str, str]:
    return {step.name: step.state for step in outcome.steps}


def test_a_run_that_passed_has_its_gate_and_its_versions(store: Store) -> None:
    ran(store, *PLANNED[:-1])
    leave_note(store.uri, "data_load", {"versions": {"dataset": "shapes@1"}})
    leave_note(store.uri, "change_check", {"changed": True, "parameters": {"epochs": 3}})
    leave_note(store.uri, "model_eval", {"passed": True, "reasons": ["Good."], "map50": 0.9, "map50_95": 0.5})
    leave_note(store.uri, "model_publish", {"name": "shapes", "version": "abc", "champion": True, "reason": ""})
    outcome = assemble(store, RUN, planned=PLANNED, told="COMPLETE")
    assert (outcome.state, outcome.reason, outcome.champion) == ("succeeded", "", True)
    assert outcome.versions == {"dataset": "shapes@1", "model": "shapes@abc"}
    assert outcome.metrics == {"map50": 0.9, "map50_95": 0.5}
    assert outcome.parameters == {"epochs": 3}
    assert outcome.gate is not None
    assert outcome.gate.passed
    assert states(outcome) == dict.fromkeys(PLANNED[:-1], "succeeded") | {"model_deploy": "skipped"}
    assert outcome.steps[0].warnings == ["mind data_load"]
    assert outcome.started is not None
    assert outcome.finished is not None


@pytest.mark.parametrize("told", ["COMPLETE", "SUCCEEDED"])
def test_a_model_that_did_not_pass_was_not_published_for_a_reason(store: Store, told: str) -> None:
    ran(store, *PLANNED[:-2])
    leave_note(store.uri, "model_eval", {"passed": False, "reasons": ["mAP50 is 0.1."], "map50": 0.1})
    outcome = assemble(store, RUN, planned=PLANNED, told=told)
    assert outcome.state == "succeeded"
    published = outcome.steps[-2]
    assert (published.state, published.reason) == ("skipped", "not published: mAP50 is 0.1.")


def test_a_run_that_had_nothing_to_do_is_unchanged(store: Store) -> None:
    ran(store, *PLANNED[:3])
    leave_note(store.uri, "change_check", {"changed": False, "reason": "The champion came from the same."})
    outcome = assemble(store, RUN, planned=PLANNED, told="SUCCEEDED")
    assert (outcome.state, outcome.reason) == ("unchanged", "The champion came from the same.")
    assert set(list(states(outcome).values())[3:]) == {"skipped"}


def test_a_run_that_failed_says_which_step_and_why(store: Store) -> None:
    ran(store, *PLANNED[:4], error="The loss is no number.")
    outcome = assemble(store, RUN, planned=PLANNED, told="FAILED")
    assert (outcome.state, outcome.reason) == ("failed", "model_train: The loss is no number.")
    assert states(outcome)["model_pack"] == "pending"


def test_a_step_that_was_killed_has_failed_without_a_word_of_its_own(store: Store) -> None:
    ran(store, *PLANNED[:3])
    Reporter(store, RUN, "model_train").start()
    outcome = assemble(store, RUN, planned=PLANNED, told="FAILED")
    assert states(outcome)["model_train"] == "failed"
    assert "out of memory" in outcome.reason


def test_a_pod_that_never_started_fails_the_run_all_the_same(store: Store) -> None:
    ran(store, *PLANNED[:3])
    outcome = assemble(store, RUN, planned=PLANNED, told="FAILED")
    assert (outcome.state, outcome.reason) == ("failed", UNTOLD)
    assert states(outcome)["model_train"] == "pending"


def test_what_came_from_a_cache_has_succeeded_without_times(store: Store) -> None:
    ran(store, "change_check", "model_publish")
    outcome = assemble(store, RUN, planned=PLANNED, told="COMPLETE")
    assert outcome.steps[0].reason == "taken from the cache"
    assert (states(outcome)["model_train"], outcome.steps[0].started) == ("succeeded", None)


def test_a_state_that_says_nothing_leaves_it_to_the_steps(store: Store) -> None:
    """A cluster may count a group as running though all of it has ended, because a part of it was skipped."""
    ran(store, *PLANNED[:4])
    assert assemble(store, RUN, planned=PLANNED, told="RUNNING").state == "running"
    ran(store, *PLANNED[4:])
    assert assemble(store, RUN, planned=PLANNED, told="RUNNING").state == "succeeded"


def test_a_sweeps_trainings_stand_where_the_training_was_planned(store: Store) -> None:
    ran(store, "data_load", "data_prep", "model_train-2b", "model_train-1a", "sweep_select")
    outcome = assemble(store, RUN, planned=("data_load", "data_prep", "model_train", "sweep_select"), told="SUCCEEDED")
    assert list(states(outcome)) == ["data_load", "data_prep", "model_train-1a", "model_train-2b", "sweep_select"]


def test_a_record_is_read_back_and_a_later_attempts_replaces_it(store: Store) -> None:
    assert read_outcome(store, RUN) is None
    for state in ("failed", "succeeded"):
        write_outcome(store, RunOutcome(run_id=RUN, state=state))  # type: ignore[arg-type] # both are states
    kept = read_outcome(store, RUN)
    assert kept is not None
    assert kept.state == "succeeded"


def test_a_record_that_cannot_be_read_is_none(store: Store) -> None:
    store.write(record_key(RUN), b"{")
    assert read_outcome(store, RUN) is None


def test_a_broken_note_costs_the_note_alone(store: Store) -> None:
    ran(store, "data_load")
    store.write(note_key(RUN, "model_eval"), b"[1]")
    store.write(note_key(RUN, "data_prep"), b"\xff")
    assert assemble(store, RUN, planned=PLANNED).gate is None


def test_a_note_that_cannot_be_left_is_a_line_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    leave_note("ftp://nowhere", "model_eval", {"passed": True})
    assert "The run's record will lack what model_eval made" in caplog.text
