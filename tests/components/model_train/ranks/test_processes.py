import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from textwrap import dedent

import pytest

from components.model_train.ranks import processes
from components.model_train.ranks.processes import Endings, run_processes, termination

GRACE = 20.0
CHILD = """
import os, signal, sys, time
from pathlib import Path
from components.model_train.ranks.processes import accept_termination, die_with_parent
die_with_parent()
rank = int(os.environ["RANK"])
here = Path(os.environ["HERE"])
def mark(name, text="x"):
    (here / f"{name}-{rank}").write_text(text)
"""


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """These processes do not learn in step: on a busy machine one may not have begun when another has ended."""
    monkeypatch.setattr(processes, "SETTLE", 60.0)


def command(body: str) -> list[str]:
    return [sys.executable, "-c", CHILD + dedent(body)]


def environments(here: Path, ranks: int = 2) -> list[Mapping[str, str]]:
    return [{**os.environ, "RANK": str(rank), "HERE": str(here)} for rank in range(ranks)]


def run(body: str, here: Path, *, ranks: int = 2, grace: float = GRACE) -> Endings:
    with termination() as request:
        return run_processes(command(body), environments(here, ranks), grace, request)


def codes(endings: Endings) -> list[int | None]:
    return [ending.code for ending in endings.ranks]


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 30
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} never came"
        time.sleep(0.02)


def is_running(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False
    return state != "Z"


def test_all_ranks_run_and_their_exit_codes_are_told(tmp_path: Path) -> None:
    endings = run("mark('ran')", tmp_path, ranks=3)

    assert codes(endings) == [0, 0, 0]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ran-0", "ran-1", "ran-2"]


def test_rank_0_is_heard_as_it_is_and_the_others_standard_error_with_their_rank(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run("print('said', rank); print('warned', rank, file=sys.stderr)", tmp_path)

    lines = capfd.readouterr().err.splitlines()
    assert sorted(lines) == ["rank 1: warned 1", "said 0", "warned 0"]


def test_the_last_lines_of_a_failed_rank_are_kept(tmp_path: Path) -> None:
    endings = run("[print('line', n, file=sys.stderr) for n in range(500)]; sys.exit(3 if rank else 0)", tmp_path)

    assert endings.ranks[1].code == 3
    assert endings.ranks[1].last_lines[-1] == "line 499"
    assert len(endings.ranks[1].last_lines) < 100


@pytest.mark.parametrize("crashed", [0, 1])
def test_one_that_crashes_takes_the_others_with_it(
    crashed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "SETTLE", 0.5)
    begun = time.monotonic()

    endings = run(f"rank == {crashed} and os.kill(os.getpid(), 9); time.sleep(60)", tmp_path)

    assert time.monotonic() - begun < 20
    assert codes(endings) == ([-9, None] if crashed == 0 else [None, -9])


DEPARTS = """
import atexit, signal
from components.model_train.ranks.processes import Departure
departure = Departure()
class Module:
    def __del__(self, make=os.mkdir, path=str(here / "put-away")): make(path)
module = Module()
atexit.register(mark, "registered")
accept_termination()
departure.code = {code}
sys.exit(departure.code)
"""


@pytest.mark.parametrize("code", [0, 3])
def test_only_a_process_that_did_not_fail_puts_its_modules_away(code: int, tmp_path: Path) -> None:
    endings = run(DEPARTS.format(code=code), tmp_path, ranks=1)

    assert codes(endings) == [code]
    assert (tmp_path / "registered-0").exists()
    assert (tmp_path / "put-away").exists() == (code == 0)


def test_a_request_that_came_before_the_processes_is_handed_on_to_rank_0(tmp_path: Path) -> None:
    with termination() as request:
        request.at = time.monotonic()
        endings = run_processes(command(SAVES), environments(tmp_path, 1), GRACE, request)

    assert endings.told
    assert codes(endings) == [75]


def send_when(path: Path, number: int, *processes: int) -> subprocess.Popen[bytes]:
    """Another process that sends a signal once ``path`` is there, as a kubelet would."""
    script = f"""
        import os, time
        while not os.path.exists({str(path)!r}): time.sleep(0.02)
        for process in {processes!r}: os.kill(process, {number})
    """
    return subprocess.Popen([sys.executable, "-c", dedent(script)])


SAVES = """
def save(number, frame):
    time.sleep(0.5)
    mark("saved"); sys.exit(75)
signal.signal(signal.SIGTERM, save if rank == 0 else lambda *_: mark("heard"))
accept_termination()
mark("ready")
time.sleep(60); time.sleep(60)
"""


def test_termination_of_the_parent_alone_lets_rank_0_save_before_the_others_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "SETTLE", 0.5)
    with send_when(tmp_path / "ready-0", signal.SIGTERM, os.getpid()):
        endings = run(SAVES, tmp_path)

    assert endings.told
    assert codes(endings) == [75, None]
    assert (tmp_path / "saved-0").exists()
    assert not (tmp_path / "heard-1").exists()


def test_the_parents_own_answer_to_termination_is_put_back(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGTERM)

    run("", tmp_path, ranks=1)

    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.slow
def test_a_termination_that_comes_before_the_handler_waits_for_it(tmp_path: Path) -> None:
    late = "mark('begun'); time.sleep(1.0)\n" + SAVES
    with send_when(tmp_path / "begun-0", signal.SIGTERM, os.getpid()):
        endings = run(late, tmp_path, ranks=1)

    assert codes(endings) == [75]


@pytest.mark.slow
def test_a_rank_0_that_does_not_end_within_the_time_of_grace_is_killed(tmp_path: Path) -> None:
    deaf = "signal.signal(signal.SIGTERM, lambda *_: None); accept_termination(); mark('ready')\nwhile 1: time.sleep(1)"
    begun = time.monotonic()
    with send_when(tmp_path / "ready-0", signal.SIGTERM, os.getpid()):
        endings = run(deaf, tmp_path, grace=2.0)

    assert time.monotonic() - begun < 20
    assert (endings.told, codes(endings)) == (True, [None, None])


PARENT = """
import os, sys
from pathlib import Path
sys.path.insert(0, {folder!r})
from test_processes import SAVES, run
print([e.code for e in run({body!r}, Path({here!r})).ranks])
"""


def start_parent(body: str, here: Path) -> subprocess.Popen[str]:
    script = PARENT.format(folder=str(Path(__file__).parent), body=body, here=str(here))
    return subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, start_new_session=True)


@pytest.mark.slow
def test_no_process_outlives_a_parent_that_was_killed(tmp_path: Path) -> None:
    body = "mark('pid.tmp', str(os.getpid())); (here / f'pid.tmp-{rank}').rename(here / f'pid-{rank}'); time.sleep(60)"
    with start_parent(body, tmp_path) as parent:
        for rank in (0, 1):
            wait_for(tmp_path / f"pid-{rank}")
        parent.kill()
    children = [int((tmp_path / f"pid-{rank}").read_text()) for rank in (0, 1)]

    deadline = time.monotonic() + 10
    while any(is_running(child) for child in children) and time.monotonic() < deadline:
        time.sleep(0.05)

    assert not any(is_running(child) for child in children)


@pytest.mark.slow
def test_termination_of_the_whole_group_lets_rank_0_save_too(tmp_path: Path) -> None:
    with start_parent(SAVES, tmp_path) as parent:
        for rank in (0, 1):
            wait_for(tmp_path / f"ready-{rank}")
        os.killpg(parent.pid, signal.SIGTERM)
        out, _ = parent.communicate(timeout=30)

    assert out.strip() == "[75, None]"
    assert (tmp_path / "heard-1").exists()
