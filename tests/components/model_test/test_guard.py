"""Nothing that was started outlives the process that asked for it."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil

from components.model_test import guard

ASKING = """
import subprocess, sys, time
service = [sys.executable, "-c", "import time; time.sleep(600)"]
command = [sys.executable, "-I", "-S", sys.argv[1], *service]
process = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)
print(process.pid, flush=True)
time.sleep(600)
"""


def gone(process: int, within: float) -> bool:
    end = time.monotonic() + within
    while time.monotonic() < end:
        if not psutil.pid_exists(process) or psutil.Process(process).status() == psutil.STATUS_ZOMBIE:
            return True
        time.sleep(0.02)
    return False


def test_a_service_ends_when_the_step_is_killed(tmp_path: Path) -> None:
    script = tmp_path / "asking.py"
    script.write_text(ASKING)
    asking = subprocess.Popen([sys.executable, str(script), guard.__file__], stdout=subprocess.PIPE)
    assert asking.stdout is not None
    leader = int(asking.stdout.readline())
    end = time.monotonic() + 20
    while not (children := psutil.Process(leader).children()) and time.monotonic() < end:
        time.sleep(0.02)
    os.kill(asking.pid, signal.SIGKILL)
    asking.wait()
    asking.stdout.close()
    assert len(children) == 1
    assert gone(children[0].pid, 20)
    assert gone(leader, 20)


def test_the_command_s_exit_code_is_the_guard_s() -> None:
    command = [sys.executable, "-I", "-S", guard.__file__, sys.executable, "-c", "raise SystemExit(7)"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True) as process:
        assert process.wait(30) == 7
