import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_page_of_parameters_says_what_the_pipeline_takes() -> None:
    command = [sys.executable, str(ROOT / "scripts" / "parameters.py"), "--check"]
    done = subprocess.run(command, cwd=ROOT, check=False, timeout=60)
    assert done.returncode == 0, "run scripts/parameters.py"
