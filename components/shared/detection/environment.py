"""The training library's surroundings: offline, quiet, safe, and with as many threads as this process may use."""

import atexit
import importlib.util
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

from components.shared.cpus import usable_cpus

__all__ = ["limit_threads", "prepare_environment", "usable_cpus"]

SPIN = "4000"  # waiting loops of an OpenMP thread: measured 1.35 times faster than 1,000 on idle cores, and unlike
# the default (20 times slower) only 1.3 times slower when two processes share them
_FORCED = {
    "YOLO_OFFLINE": "1",
    "YOLO_AUTOINSTALL": "0",
    "YOLO_VERBOSE": "0",
    "ULTRALYTICS_SAFE_LOAD": "1",
}
_INTEGRATIONS = ("sync", "clearml", "comet", "dvc", "mlflow", "raytune", "tensorboard", "wandb")
_MESSAGES = ("vscode_msg", "openvino_msg")


def prepare_environment(cpus: int | None = None) -> None:
    """Set the variables ultralytics reads when it is imported; call it before that import, as often as you like.

    Afterwards the library looks nothing up on the network, installs nothing, logs to no integration, refuses weights
    that hold code, and keeps its settings in a private folder that goes away with this process.

    Args:
        cpus: threads for OpenMP; ``None`` for what ``usable_cpus`` finds.
    """
    os.environ.update(_FORCED)
    os.environ.setdefault("GOMP_SPINCOUNT", SPIN)
    os.environ["OMP_NUM_THREADS"] = str(cpus or usable_cpus())
    configured = os.environ.get("YOLO_CONFIG_DIR")
    if configured and (Path(configured) / "Ultralytics" / "settings.json").is_file():
        return
    if "ultralytics" not in sys.modules:
        os.environ["YOLO_CONFIG_DIR"] = str(_private_settings())


def limit_threads(threads: int) -> None:
    """Use this many CPU threads in torch, now and whenever ultralytics selects a device.

    The library takes the machine's cores less one otherwise, which in a container is the node's count, not the limit's.
    """
    import torch  # noqa: PLC0415 - shared modules load without torch
    from ultralytics.utils import torch_utils  # noqa: PLC0415 - same

    torch_utils.NUM_THREADS = threads
    torch.set_num_threads(threads)


def _private_settings() -> Path:
    """A new folder with settings that turn every integration off and the font the library would download."""
    folder = Path(tempfile.mkdtemp(prefix="detector-settings-"))
    owner = os.getpid()
    atexit.register(lambda: shutil.rmtree(folder, ignore_errors=True) if os.getpid() == owner else None)
    home = folder / "Ultralytics"
    home.mkdir()
    settings = {
        "settings_version": "0.0.8",
        "datasets_dir": str(folder / "datasets"),
        "weights_dir": str(folder / "weights"),
        "runs_dir": str(folder / "runs"),
        "uuid": "0" * 64,
        "api_key": "",
        "openai_api_key": "",
        **dict.fromkeys(_INTEGRATIONS + _MESSAGES, False),
    }
    (home / "settings.json").write_text(json.dumps(settings), encoding="utf-8")
    _place_font(home / "Arial.ttf")
    return folder


def _place_font(target: Path) -> None:
    """Put a TrueType font where the library looks for Arial, so that it does not ask the network for one."""
    found = importlib.util.find_spec("matplotlib")
    for folder in (found.submodule_search_locations or []) if found else []:
        font = Path(folder) / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf"
        if font.is_file():
            shutil.copyfile(font, target)
            return
