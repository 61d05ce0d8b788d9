"""A training's state on disk: one file of tensors and plain values, and its digest beside it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.shared.errors import CheckpointError
from components.shared.files import sha256_file, write_atomically

FORMAT = 1
STATE = "training.pt"
SEAL = "training.json"  # written last: a folder without it is not whole
_KINDS: Mapping[str, type | tuple[type, ...]] = {
    "epoch": int,
    "batch": int,
    "processes": int,
    "classes": list,
    "optimizer_kind": str,
    "model": dict,
    "average": dict,
    "average_updates": int,
    "optimizer": dict,
    "scaler": dict,
    "criterion_updates": int,
    "best_fitness": (float, type(None)),
    "fitness": (float, type(None)),
    "metrics": dict,
    "loss_names": list,
    "stopper": dict,
    "random": dict,
    "buffer": list,
    "cache": (str, type(None)),
    "results": str,
    "seconds": float,
    "best": (dict, type(None)),
}


@dataclass(frozen=True)
class UltralyticsSnapshot:
    """What a training goes on from; see ``Snapshot``.

    Attributes:
        state: by name, in CPU memory and shared with nobody: ``epoch`` (how many are done), weights and averaged
            weights in full precision, the optimiser's, scaler's and random states, the results so far, and the best
            epoch's weights in the half precision they are served in.
    """

    state: Mapping[str, Any]

    def write(self, folder: Path) -> None:
        """Write ``training.pt`` and then ``training.json`` with its size and sha256; each appears whole."""
        import torch  # noqa: PLC0415 - heavy

        folder.mkdir(parents=True, exist_ok=True)
        with write_atomically(folder / STATE) as path:
            torch.save(dict(self.state), path)
        seal = {"format": FORMAT, "bytes": (folder / STATE).stat().st_size, "sha256": sha256_file(folder / STATE)}
        with write_atomically(folder / SEAL) as path:
            path.write_text(json.dumps(seal), encoding="utf-8")


def read_snapshot(folder: Path) -> UltralyticsSnapshot:
    """What ``UltralyticsSnapshot.write`` left in a folder; no code in it is run.

    Raises:
        CheckpointError: it is incomplete, changed, of another trainer, or no snapshot at all.
    """
    _check_seal(folder)
    import torch  # noqa: PLC0415 - heavy

    try:
        state = torch.load(folder / STATE, map_location="cpu", weights_only=True)
    except Exception as error:  # a hostile file makes torch raise anything from KeyError to UnpicklingError
        raise _refusal(folder, f"cannot be read ({type(error).__name__})") from error
    if not isinstance(state, dict):
        raise _refusal(folder, "holds no training")
    for name, kind in _KINDS.items():
        if name not in state:
            raise _refusal(folder, f"lacks {name!r}")
        if not isinstance(state[name], kind):
            raise _refusal(folder, f"has a {name!r} that is a {type(state[name]).__name__}")
    if state["epoch"] < 1 or state["batch"] < 1:
        raise _refusal(folder, f"says epoch {state['epoch']} and batch {state['batch']}")
    return UltralyticsSnapshot(state)


def _check_seal(folder: Path) -> None:
    path = folder / STATE
    try:
        seal = json.loads((folder / SEAL).read_bytes())
        size, digest = int(seal["bytes"]), str(seal["sha256"])
        version = seal["format"]
        found = path.stat().st_size
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise _refusal(folder, "is incomplete or of another trainer") from error
    if version != FORMAT:
        raise _refusal(folder, f"has format {version!r}, this version reads {FORMAT}")
    if found != size or sha256_file(path) != digest:
        raise _refusal(folder, "was cut or changed after it was written")


def _refusal(folder: Path, reason: str) -> CheckpointError:
    return CheckpointError(
        f"The checkpoint in {str(folder)!r} {reason}: resume from another, or train with resume=never."
    )
