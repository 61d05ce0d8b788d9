"""The processes of this machine, as /proc and ps tell of them."""

import os
import shutil
import subprocess
import sys
import time

import pytest

from pipelines.runs.processes import _from_ps, _seconds, processes


def test_a_child_is_seen_with_its_parent_its_start_and_its_command() -> None:
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(30)", "a-marker"]) as child:
        found = processes()[child.pid]
        child.kill()
    assert found.parent == os.getpid()
    assert "a-marker" in found.command
    assert abs(found.started - time.time()) < 5


@pytest.mark.skipif(shutil.which("ps") is None, reason="this machine has no ps")
def test_where_there_is_no_proc_ps_tells_the_same() -> None:
    mine = dict(_from_ps())[os.getpid()]
    assert mine.parent == os.getppid()
    assert abs(mine.started - processes()[os.getpid()].started) < 3


@pytest.mark.parametrize(
    ("elapsed", "seconds"), [("00:07", 7), ("02:03", 123), ("01:00:01", 3601), ("2-00:00:10", 172810)]
)
def test_an_elapsed_time_is_read(elapsed: str, seconds: float) -> None:
    assert _seconds(elapsed) == seconds
