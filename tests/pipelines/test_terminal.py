import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LINES = {
    "print_line": "from pipelines.terminal import print_line as say",
    "stdout": "from pipelines.terminal import PatientConsole; say = PatientConsole().print",
    "stderr": "from pipelines.terminal import PatientConsole; say = PatientConsole(stderr=True).print",
}


@pytest.mark.parametrize("kind", LINES)
def test_a_reader_who_leaves_changes_no_exit_code(kind: str) -> None:
    stream = "stderr" if kind == "stderr" else "stdout"
    code = f"import sys; sys.stdin.read(); {LINES[kind]}; [say('word ' * 1000) for _ in range(50)]; sys.exit(7)"
    streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    child = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, text=True, **streams)
    getattr(child, stream).close()
    child.stdin.close()
    rest = (child.stdout if stream == "stderr" else child.stderr).read()
    assert child.wait(timeout=60) == 7
    assert rest == ""
