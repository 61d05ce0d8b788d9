"""Loads sources one after the other and tells, as a JSON line each, what came of it and what it touched.

Run as ``python hostile_child.py SANDBOX`` with a JSON list of {name, source, format, dataset} on standard input.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path

from components.data_load.load import load
from components.data_load.options import LoadOptions
from components.data_prep.clean import clean
from components.data_prep.outcome import PrepareOptions
from components.shared.errors import PipelineError

PATIENCE = 15  # seconds after which a source is given up
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
FORBIDDEN = frozenset({
    "subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork", "os.forkpty", "pty.spawn",
    "socket.connect", "ctypes.dlopen",
})  # fmt: skip
MOVES = {
    "os.rename": 1,
    "os.link": 1,
    "os.symlink": 1,
    "os.mkdir": 0,
    "os.remove": 0,
    "os.rmdir": 0,
    "shutil.rmtree": 0,
}


class Watch:
    """Notes programs that are started, connections that are made, and files that are written outside the sandbox."""

    def __init__(self, allowed: tuple[str, ...]) -> None:
        self.allowed = allowed
        self.seen: list[str] = []

    def __call__(self, event: str, arguments: tuple[object, ...]) -> None:
        if event in FORBIDDEN:
            self.seen.append(f"{event} {arguments!r}"[:300])
        elif event == "open" and len(arguments) == 3:
            path, _, flags = arguments
            if isinstance(flags, int) and flags & WRITES and not self._is_allowed(path):
                self.seen.append(f"open for writing {path!r}"[:300])
        elif event in MOVES and not self._is_allowed(arguments[MOVES[event]]):
            self.seen.append(f"{event} {arguments!r}"[:300])

    def _is_allowed(self, path: object) -> bool:
        if isinstance(path, int):
            return True
        text = os.path.realpath(os.fsdecode(path)) if isinstance(path, (str, bytes, os.PathLike)) else ""
        return text == os.devnull or text.startswith(self.allowed)


def memory(field: str) -> float:
    """A line of this process's status in megabytes: VmRSS is what it holds, VmHWM the most it held."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) / 1024
    raise LookupError(field)


def attempt(case: dict[str, str], sandbox: Path, watch: Watch) -> dict[str, object]:
    """Load one source and judge its records, as the two steps do."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # forget the most that was held so far
    watch.seen.clear()
    before, started = memory("VmRSS"), time.monotonic()
    signal.alarm(PATIENCE)
    outcome: dict[str, object] = {"name": case["name"], "error": None, "message": "", "ledger": [], "problems": []}
    try:
        options = LoadOptions(source=case["source"], format=case["format"], name=case["dataset"])
        loaded = load(options, f"file://{sandbox / 'store'}", sandbox / "out" / "set", sandbox / "out" / "report.html")
        ledger, images = clean(loaded.dataset, PrepareOptions(max_rejected_share=1.0)).ledger, loaded.dataset.images
        outcome["ledger"] = ledger.select("image", "rule", "action", "detail").rows()[:2000]
        outcome["problems"] = images.drop_nulls("problem").select("name", "problem").rows()
        outcome["images"] = images.select("name", "sha256").rows()[:100]
    except PipelineError as error:
        outcome |= {"error": type(error).__name__, "message": str(error), "exit_code": error.exit_code}
    except BaseException as error:  # noqa: BLE001 - the test tells which untyped error came out
        outcome |= {"error": type(error).__name__, "message": f"{error!r:.500}", "exit_code": None}
    signal.alarm(0)
    outcome |= {"seconds": time.monotonic() - started, "megabytes": memory("VmHWM") - before, "before": before}
    return outcome | {"touched": list(watch.seen)}


def _give_up(_number: int, _frame: object) -> None:
    raise TimeoutError(f"it takes longer than {PATIENCE} s")


def main() -> None:
    """Load an honest source first, so that what libraries need once is not counted."""
    sandbox = Path(sys.argv[1])
    signal.signal(signal.SIGALRM, _give_up)
    watch = Watch(tuple(str(sandbox / name) for name in ("store", "out", "tmp")))
    cases = json.loads(sys.stdin.read())
    for case in cases[:1]:
        attempt(case, sandbox, watch)
    sys.addaudithook(watch)
    for case in cases:
        sys.stdout.write(json.dumps(attempt(case, sandbox, watch), default=str) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
