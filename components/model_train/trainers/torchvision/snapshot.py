"""A torchvision training as it was at the end of an epoch, in memory and as files.

``state.pt`` holds tensors and plain values only; ``state.json`` its digest and which training it belongs to. No random
state is among them: every random choice of an epoch begins from the seed, the epoch and the rank.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.model_train.trainers.base import TrainingJob
from components.shared.errors import CheckpointError, in_one_line
from components.shared.files import sha256_file

FORMAT = 1
STATE, SEAL = "state.pt", "state.json"


@dataclass(frozen=True)
class TorchvisionSnapshot:
    """Copies in CPU memory of all that a training goes on from.

    Attributes:
        identity: which training it belongs to; see ``identify``.
        content: ``epoch``, ``seconds``, ``batch``, ``model``, ``average``, ``updates``, ``optimizer``, ``scaler``,
            ``best``, ``best_epoch`` and ``best_score``.
    """

    identity: Mapping[str, Any]
    content: Mapping[str, Any]

    def write(self, folder: Path) -> None:
        """Write both files; the seal last."""
        import torch  # noqa: PLC0415 - heavy

        folder.mkdir(parents=True, exist_ok=True)
        with (folder / STATE).open("wb") as file:
            torch.save(dict(self.content), file)
        seal = {"format": FORMAT, "sha256": sha256_file(folder / STATE), "training": dict(self.identity)}
        (folder / SEAL).write_text(json.dumps(seal, indent=2) + "\n", encoding="utf-8")


def identify(job: TrainingJob, architecture: str, imgsz: int) -> dict[str, Any]:
    """What two attempts at one training have in common; batch, device and processes may differ."""
    parameters = job.parameters
    return {
        "trainer": "torchvision",
        "architecture": architecture,
        "classes": list(job.classes),
        "imgsz": imgsz,
        "epochs": parameters.epochs,
        "optimizer": parameters.optimizer,
        "freeze": parameters.freeze,
        "seed": parameters.seed,
    }


def read_snapshot(folder: Path, identity: Mapping[str, Any]) -> dict[str, Any]:
    """The content of what ``write`` left in ``folder``, on the CPU.

    Raises:
        CheckpointError: a file is missing or has other bytes, or it belongs to another training.
    """
    import torch  # noqa: PLC0415 - heavy

    where = f"The checkpoint {str(folder)!r}"
    try:
        seal = json.loads((folder / SEAL).read_text(encoding="utf-8"))
        expected, training = str(seal["sha256"]), dict(seal["training"])
        found = sha256_file(folder / STATE)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"{where} is not one a torchvision training left, or not all of it: {error!r}."
        ) from error
    if found != expected:
        raise CheckpointError(f"{where} is corrupt: {STATE!r} has other bytes than were written.")
    if seal.get("format") != FORMAT:
        raise CheckpointError(f"{where} has the format {seal.get('format')!r}, this code reads {FORMAT}.")
    for name, value in identity.items():
        if training.get(name) != value:
            raise CheckpointError(f"{where} is of another training: {name} is {training.get(name)!r}, not {value!r}.")
    try:
        content: dict[str, Any] = torch.load(folder / STATE, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises anything from KeyError to UnpicklingError here
        raise CheckpointError(f"{where} cannot be loaded: {in_one_line(error, most=160)}.") from error
    return content


def on_cpu(value: Any) -> Any:  # noqa: ANN401 - a tree of tensors and plain values
    """A copy of a tree of mappings, lists and tensors in CPU memory that nothing else writes to."""
    import torch  # noqa: PLC0415 - heavy

    if isinstance(value, torch.Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, Mapping):
        return {key: on_cpu(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(on_cpu(item) for item in value)
    return value
