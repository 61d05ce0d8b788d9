"""Run a command until the process that asked for it is gone, however it went: ``python guard.py COMMAND...``.

Its standard input is a pipe whose other end the asking process holds; when that closes, every process of the group is
ended. It needs the standard library only, and is itself the leader of the group.
"""

import os
import signal
import subprocess
import sys
import threading
import time

PATIENCE = 10.0  # seconds between asking and killing


def main(command: list[str]) -> int:
    """Run the command; its exit code."""
    signal.signal(signal.SIGTERM, lambda *_: None)  # it ends when the command does, which hears it as well
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    threading.Thread(target=_outlive_nobody, daemon=True).start()
    return process.wait()


def _outlive_nobody() -> None:
    while os.read(0, 1):
        pass
    os.killpg(0, signal.SIGTERM)
    time.sleep(PATIENCE)
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
