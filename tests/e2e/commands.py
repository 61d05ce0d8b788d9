"""Start the real command line in a process of its own."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
DATA = ROOT.parent / "shared" / "data"
TINY = ("epochs=1", "imgsz=64", "batch=8")
LEAN = (*TINY, "runtimes=[]", "load_seconds=0", "proof_images=2")  # where packing and proof are not what is tested


@dataclass(frozen=True)
class Finished:
    """How a command ended; ``summary`` is the JSON object of its last line, when it printed one."""

    code: int
    out: str
    err: str

    @property
    def summary(self) -> dict[str, Any]:
        return json.loads(self.out.strip().splitlines()[-1])


def command(*arguments: str | Path, settings: tuple[str, ...] = TINY) -> list[str]:
    """``python -m pipelines.submit --local --json`` with these arguments and settings."""
    sets = [part for setting in settings for part in ("--set", setting)]
    return [sys.executable, "-m", "pipelines.submit", "--local", "--json", *map(str, arguments), *sets]


def submit(*arguments: str | Path, settings: tuple[str, ...] = TINY, cwd: Path = ROOT, **env: str) -> Finished:
    """Run the command to its end."""
    done = subprocess.run(
        command(*arguments, settings=settings),
        cwd=cwd,
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    return Finished(done.returncode, done.stdout, done.stderr)
