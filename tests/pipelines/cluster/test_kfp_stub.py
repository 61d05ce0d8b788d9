"""The stub is as strict as KFP: what its OpenAPI does not have is refused, lists have pages, filters and an order."""

import json
import urllib.error
import urllib.request
from typing import Any

import pytest

from tests.pipelines.cluster.kfp_schema import unknown
from tests.pipelines.cluster.kfp_stub import KfpStub


def call(stub: KfpStub, method: str, path: str, body: Any = None) -> tuple[int, Any]:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"{stub.url}/apis/v2beta1{path}", data, {"Content-Type": "application/json"})
    request.method = method
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


@pytest.mark.parametrize(
    ("kind", "data", "words"),
    [
        ("V2beta1Run", {"display_name": "x"}, []),
        ("V2beta1Run", {"displayName": "x"}, ["body.displayName is no field of V2beta1Run"]),
        ("V2beta1Run", {"display_name": 5}, ["body.display_name=5 is no str"]),
        ("V2beta1Run", {"state": "DONE"}, ["body.state='DONE' is none of"]),
        ("V2beta1Run", {"runtime_config": {"parameter": {}}}, ["body.runtime_config.parameter is no field of"]),
        ("V2beta1Run", {"created_at": "2026-01-01T00:00:00"}, ["is no datetime"]),
        ("V2beta1RecurringRun", {"max_concurrency": 1}, ["body.max_concurrency=1 is no str"]),
        ("V2beta1RecurringRun", {"trigger": {"cron_schedule": {"cron": "0 0 * * * *"}}}, []),
        ("V2beta1Filter", {"predicates": [{"key": "x", "op": "EQUALS"}]}, ["body.predicates[0].op is no field"]),
        ("V2beta1Filter", {"predicates": {}}, ["body.predicates is no list"]),
    ],
)
def test_a_request_is_checked_against_the_openapi(kind: str, data: Any, words: list[str]) -> None:
    found = unknown(data, kind)
    assert len(found) == len(words)
    assert all(word in line for word, line in zip(words, found, strict=True))


def test_a_request_that_breaks_the_openapi_is_refused_and_kept_for_the_test() -> None:
    stub = KfpStub()
    try:
        status, answer = call(stub, "POST", "/runs", {"name": "x"})
        assert (status, answer["code"]) == (400, 3)
        assert stub.problems == ["POST /apis/v2beta1/runs: body.name is no field of V2beta1Run"]
    finally:
        stub.close()


def test_lists_come_in_pages_by_filter_and_order(kfp: KfpStub) -> None:
    for number in range(25):
        kfp.add_run(f"run {number:02}", state="FAILED" if number % 2 else "SUCCEEDED")
    status, first = call(kfp, "GET", "/runs?page_size=10&sort_by=created_at%20desc")
    assert (status, first["total_size"], first["runs"][0]["display_name"]) == (200, 25, "run 24")
    _, rest = call(kfp, "GET", f"/runs?page_size=200&sort_by=created_at%20desc&page_token={first['next_page_token']}")
    assert len(rest["runs"]) == 15
    assert "next_page_token" not in rest
    predicates = [{"operation": "EQUALS", "key": "state", "stringValue": "FAILED"}]
    predicates.append({"operation": "IS_SUBSTRING", "key": "display_name", "stringValue": "run 1"})
    chosen = urllib.request.quote(json.dumps({"predicates": predicates}))  # type: ignore[attr-defined]
    _, found = call(kfp, "GET", f"/runs?filter={chosen}")
    assert [run["display_name"] for run in found["runs"]] == ["run 11", "run 13", "run 15", "run 17", "run 19"]


def test_what_is_empty_is_left_out_as_the_server_does(kfp: KfpStub) -> None:
    assert call(kfp, "GET", "/runs") == (200, {})


def test_runs_live_through_their_states(kfp: KfpStub) -> None:
    run = kfp.add_run("one", state="RUNNING")
    assert call(kfp, "POST", f"/runs/{run.run_id}:terminate") == (200, {})
    assert run.state == "CANCELING"
    kfp.finish_run(run.run_id, "FAILED")
    assert call(kfp, "POST", f"/runs/{run.run_id}:terminate")[0] == 400
    assert call(kfp, "POST", f"/runs/{run.run_id}:retry") == (200, {})
    assert run.state == "RUNNING"
    assert call(kfp, "POST", f"/runs/{run.run_id}:archive") == (200, {})
    assert call(kfp, "GET", f"/runs/{run.run_id}")[1]["storage_state"] == "ARCHIVED"
    assert call(kfp, "DELETE", f"/runs/{run.run_id}") == (200, {})
    assert call(kfp, "GET", f"/runs/{run.run_id}")[0] == 404
