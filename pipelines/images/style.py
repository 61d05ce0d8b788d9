"""hadolint's opinion of the Dockerfiles, where it is installed."""

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from components.shared.errors import ConfigError


def check_dockerfiles(files: Sequence[Path]) -> str:
    """Have hadolint look at the files; says in a few words how that went.

    Raises:
        ConfigError: it found something.
    """
    beside = Path(sys.executable).with_name("hadolint")
    program = str(beside) if beside.exists() else shutil.which("hadolint")
    if program is None:
        return "hadolint is not installed, so the Dockerfiles were not looked at"
    command = [program, "--no-color", *map(str, files)]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode:
        raise ConfigError(f"hadolint does not like the Dockerfiles: {' '.join(done.stdout.split())[:1000]}")
    return "hadolint finds nothing in the Dockerfiles"
