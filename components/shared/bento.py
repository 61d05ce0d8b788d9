"""The surroundings of a BentoML child process, so that it touches nothing of the user's and asks nobody anything."""

import os
import sys
from pathlib import Path


def bento_environment(home: Path) -> dict[str, str]:
    """Variables for a BentoML child with its own ``home`` folder (made when absent).

    No tracking, no BentoML or Python settings from outside (the bento's code must win over this one's), and the
    running interpreter's tools first on the path, because a build asks for ``uv``.
    """
    home.mkdir(parents=True, exist_ok=True)
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("BENTO", "PYTHON"))}
    return inherited | {
        "BENTOML_HOME": str(home),
        "BENTOML_DO_NOT_TRACK": "True",
        "PATH": os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath))),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",
        "UV_OFFLINE": "1",
    }
