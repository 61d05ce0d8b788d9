"""The pure parts of the bench of the service and of its soak: what they compute from what was measured and answered."""

import importlib
import io
import json
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def scripts() -> Iterator[SimpleNamespace]:
    folders = [str(ROOT / "scripts" / name) for name in ("bench", "show")]
    sys.path[:0] = folders
    try:
        yield SimpleNamespace(
            contestants=importlib.import_module("serving_contestants"),
            table=importlib.import_module("serving_table"),
            soak=importlib.import_module("soak"),
            requests=importlib.import_module("soak_requests"),
        )
    finally:
        for folder in folders:
            sys.path.remove(folder)


def run_of(
    scripts: SimpleNamespace, rate: float, *, cpu: float = 1.0, memory: float = 300.0, start: float = 1.0
) -> Any:
    return scripts.contestants.Run(
        images=100, seconds=100 / rate, p50=0.01, p95=0.02, cpu=cpu, memory=memory, shared=memory, start=start
    )


def rounds_of(scripts: SimpleNamespace, *rates: tuple[float, float, float]) -> list[dict[str, Any]]:
    """The rates of the bare library on all cores, of the service and of the service with the weights."""
    return [
        {
            "bare": run_of(scripts, bare * 0.6, cpu=1.0),
            "bare, all cores": run_of(scripts, bare, cpu=1.5),
            "service, 1 client": run_of(scripts, served * 0.5),
            "service, 4 clients": run_of(scripts, served, cpu=0.5),
            "service, weights, 1 client": run_of(scripts, weights * 0.5),
            "service, weights, 4 clients": run_of(scripts, weights, cpu=1.0, memory=1500.0),
        }
        for bare, served, weights in rates
    ]


@pytest.mark.parametrize(("share", "expected"), [(0, 1), (50, 5), (95, 10), (90, 9), (100, 10)])
def test_a_percentile_is_one_of_the_values(scripts: SimpleNamespace, share: float, expected: float) -> None:
    assert scripts.contestants.percentile([*range(10, 0, -1)], share) == expected


def test_ratios_are_taken_round_by_round_against_the_better_of_the_two_bare_ones(scripts: SimpleNamespace) -> None:
    found = scripts.table.compare(rounds_of(scripts, (10, 20, 11), (20, 50, 20), (10, 30, 12)))
    assert found["ratios"]["throughput"] == pytest.approx({"median": 2.5, "least": 2.0, "most": 3.0})
    assert found["ratios"]["throughput, weights"] == pytest.approx({"median": 1.1, "least": 1.0, "most": 1.2})
    assert found["ratios"]["CPU time"]["median"] == pytest.approx(2.0)
    assert found["ratios"]["memory"]["median"] == pytest.approx(0.2)
    assert found["contestants"]["service, 4 clients"]["images/s"]["median"] == pytest.approx(30)


def test_each_goal_is_judged_for_itself(scripts: SimpleNamespace) -> None:
    slow = scripts.table.compare(rounds_of(scripts, (20, 30, 21)))
    assert [met for met, _ in scripts.table.verdicts(slow)] == [False, True, True, True]
    good = scripts.table.compare(rounds_of(scripts, (20, 41, 19)))
    assert [met for met, _ in scripts.table.verdicts(good)] == [True, False, True, True]


def test_the_table_names_everybody_and_every_goal(scripts: SimpleNamespace, capsys: Any) -> None:
    found = scripts.table.compare(rounds_of(scripts, (10, 25, 12)))
    scripts.table.show(found | {"runtime": "onnx", "images": 100, "clients": 4})
    shown = capsys.readouterr().out
    assert all(
        name in shown for name in ("bare, all cores", "service, weights, 4 clients", "RSS MiB", "goal 2", "onnx")
    )
    json.dumps(found)


def test_memory_is_compared_between_the_second_and_the_last_quarter(scripts: SimpleNamespace) -> None:
    assert scripts.soak.quarters([1, 1, 5, 7, 9, 9, 20, 22]) == (6, 21)
    assert scripts.soak.quarters([3]) == (3, 3)


def tally_of(scripts: SimpleNamespace, *answers: tuple[int, bytes]) -> Any:
    """What a tally holds after a good request was answered like this."""
    tally = scripts.soak.Tally(memory=[100.0] * 8)
    waiting = list(answers)
    kind = scripts.requests.Kind(lambda _: (scripts.requests.Answer(*waiting.pop(0)), "key"), frozenset({200}))
    for _ in answers:
        tally.ask("one image", kind, None)
    return tally


@pytest.mark.parametrize(
    ("answers", "sentences"),
    [
        ([(200, b'{"x": 1}'), (200, b'{"x": 1, "seconds": 3}')], 0),
        ([(200, b'{"x": 1}'), (200, b'{"x": 2}')], 1),
        ([(200, b'{"x": 1}'), (500, b"no")], 1),
        ([(0, b"")], 1),
    ],
)
def test_an_answer_that_changes_or_fails_is_noticed(
    scripts: SimpleNamespace, answers: list[tuple[int, bytes]], sentences: int
) -> None:
    tally = tally_of(scripts, *answers)
    assert len(tally.wrong) == sentences
    if sentences:
        with pytest.raises(SystemExit):
            scripts.soak.judge(tally, overloaded=False)
    else:
        scripts.soak.judge(tally, overloaded=False)


def test_turning_requests_away_is_fine_under_overload_only(scripts: SimpleNamespace) -> None:
    tally = tally_of(scripts, (200, b"{}"), (503, b"busy"))
    scripts.soak.judge(tally, overloaded=True)
    with pytest.raises(SystemExit):
        scripts.soak.judge(tally, overloaded=False)


def test_growing_memory_and_a_restart_fail_the_soak(scripts: SimpleNamespace) -> None:
    for change in ({"memory": [100.0] * 6 + [120.0] * 2}, {"restarts": 1}):
        tally = tally_of(scripts, (200, b"{}"))
        for name, value in change.items():
            setattr(tally, name, value)
        with pytest.raises(SystemExit):
            scripts.soak.judge(tally, overloaded=False)


def test_the_bomb_is_a_real_image_and_small(scripts: SimpleNamespace) -> None:
    for arguments in ((100, 50), (90, 40, 8, 2)):
        data = scripts.requests.png(*arguments)
        with Image.open(io.BytesIO(data)) as image:
            image.load()
            assert image.size == arguments[:2]
    assert len(scripts.requests.png(2000, 2000)) < 2000


def test_a_peer_that_gets_no_answer_says_so(scripts: SimpleNamespace) -> None:
    peer = scripts.requests.Peer("127.0.0.1:9", [b"x"], random.Random(0))
    tally = scripts.soak.Tally()
    tally.ask("raw body", scripts.requests.kinds()["raw body"], peer)
    assert "no answer" in tally.wrong[0]
