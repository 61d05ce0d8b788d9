import re
from pathlib import Path

import pytest

from components.shared.report.index import IndexStep, duration, write_index
from components.shared.report.page import Number

DONE = IndexStep(
    "data_load", "SUCCEEDED", 3.25, cached=False, report="data_load/report.html", log="data_load/log.txt", error=None
)
CACHED = IndexStep("data_prep", "SUCCEEDED", 0.1, cached=True, report="a b/r#1.html", log=None, error=None)
FAILED = IndexStep(
    "model_train", "FAILED", 754, cached=False, report=None, log="t/log.txt", error="Lower <batch> to 32."
)
WAITING = IndexStep("model_pack", "PENDING", None, cached=False, report=None, log=None, error=None)


def index(tmp_path: Path, *steps: IndexStep) -> str:
    write_index(
        tmp_path / "index.html", title="Run 7", facts={"run": "7"}, steps=steps, numbers=[Number("Boxes", "12")]
    )
    return (tmp_path / "index.html").read_text()


def test_a_run_that_failed_says_where_and_why_on_top(tmp_path: Path) -> None:
    page = index(tmp_path, DONE, FAILED, WAITING)
    assert 'class="verdict bad"' in page
    assert "model_train failed. Lower &lt;batch&gt; to 32." in page


def test_a_run_that_succeeded_says_how_long_it_took(tmp_path: Path) -> None:
    assert "All 2 steps succeeded in 3.4 s." in index(tmp_path, DONE, CACHED)


def test_a_run_in_progress_counts_the_steps_that_are_done(tmp_path: Path) -> None:
    assert "1 of 2 steps succeeded so far" in index(tmp_path, DONE, WAITING)


def test_links_are_relative_and_quoted(tmp_path: Path) -> None:
    assert re.findall(r'href="([^"]*)"', index(tmp_path, DONE, CACHED)) == [
        "data_load/report.html",
        "data_load/log.txt",
        "a%20b/r%231.html",
    ]


def test_a_link_cannot_leave_for_another_scheme_or_host(tmp_path: Path) -> None:
    evil = IndexStep("x", "SUCCEEDED", 1, cached=False, report="javascript:alert(1)", log="//example.org/x", error=None)
    assert re.findall(r'href="([^"]*)"', index(tmp_path, evil)) == ["javascript%3Aalert%281%29", "example.org/x"]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "\u2013"),
        (float("nan"), "\u2013"),
        (0.44, "0.4 s"),
        (9.96, "10 s"),
        (59.7, "1 min 00 s"),
        (754, "12 min 34 s"),
        (7800, "2 h 10 min"),
    ],
)
def test_durations_are_said_as_people_say_them(seconds: float | None, text: str) -> None:
    assert duration(seconds) == text
