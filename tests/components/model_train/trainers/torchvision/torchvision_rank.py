"""One process of a torchvision training in several: ``torchvision_rank.py JOB``; leaves ``rank-N.json`` beside it."""

import hashlib
import json
import os
import sys
from pathlib import Path
from typing import Any

from components.model_train.trainers.base import Hyperparameters, Start, TrainingJob
from components.model_train.trainers.torchvision import trainer as torchvision_trainer
from components.model_train.trainers.torchvision.training import Training
from components.shared.materialise import MaterialisedDataset

MODEL = "retinanet_mobilenet_v3_small_fpn"


class Witness:
    """The first process's watch writes each snapshot and decides when to stop; the others' only count."""

    def __init__(self, folder: Path, rank: int, stop_after: int) -> None:
        self.folder, self.rank, self.stop_after = folder, rank, stop_after
        self.begin: dict[str, int] = {}
        self.epochs: list[int] = []

    def begun(self, **named: int) -> None:
        self.begin = named

    def batch_seen(self, images: Any, *_: object) -> None:
        assert len(images) == 2

    def batch_done(self, *_: object, **__: object) -> None: ...

    def epoch_done(self, epoch: Any, snapshot: Any) -> bool:
        self.epochs.append(epoch.number)
        if self.rank:
            return True  # nobody asks the others
        snapshot.write(self.folder / f"epoch-{epoch.number}")
        return bool(epoch.number == self.stop_after)


class Kept(Training):
    """A training that can be looked into when it is done."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        KEPT.append(self)


KEPT: list[Training] = []


def main(file: Path) -> None:
    told = json.loads(file.read_text())
    rank = int(os.environ["RANK"])
    parts = [
        MaterialisedDataset(
            **{
                **part,
                **{name: Path(part[name]) for name in ("directory", "images", "labels")},
                "classes": tuple(part["classes"]),
                "paths": {int(number): Path(path) for number, path in part["paths"].items()},
            }
        )
        for part in told["data"]
    ]
    asked = told["asked"]
    parameters = Hyperparameters(
        model=MODEL,
        epochs=asked["epochs"],
        batch=4,
        imgsz=64,
        lr0=0.002,
        optimizer="AdamW",
        warmup_epochs=0.0,
        close_mosaic=0,
        freeze=0,
        device="cpu",
        seed=0,
        gpus=2,
    )
    resume = Path(asked["resume"]) if "resume" in asked else None
    job = TrainingJob(*parts, parts[0].classes, parameters, Start("torchvision", MODEL), Path(told["work"]), resume)
    watch = Witness(Path(told["work"]), rank, asked.get("stop_after", 0))
    torchvision_trainer.Training = Kept
    torchvision_trainer.TorchvisionTrainer().train(job, watch)
    digest = hashlib.sha256()
    for tensor in KEPT[0].last.values():
        digest.update(tensor.numpy().tobytes())
    result = {"begun": watch.begin, "epochs": watch.epochs, "weights": digest.hexdigest()}
    (file.parent / f"rank-{rank}.json").write_text(json.dumps(result))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
