"""Talks to a warm process that forks a child for each attempt of a step."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


class ForkServer:
    """A process of ``crash_server``, with this process's environment."""

    def __init__(self) -> None:
        paths = os.pathsep.join([str(ROOT), *filter(None, sys.path)])
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("crash_server.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": paths, "POLARS_MAX_THREADS": "1"},
            text=True,
        )

    def attempt(self, do: str, source: Path, store: str, home: Path, die_at: int = 0) -> dict[str, Any]:
        assert self._process.stdin
        assert self._process.stdout
        home.mkdir(parents=True, exist_ok=True)
        order = {"do": do, "source": str(source), "store": store, "home": str(home), "die_at": die_at}
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def close(self) -> None:
        self._process.communicate()
