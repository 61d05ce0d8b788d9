"""A training library of a few lines: its weights follow from every random number it ever drew."""

import argparse
import hashlib
import json
import random
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from components.model_train.care import Care
from components.model_train.conduct import Plan, conduct
from components.model_train.saving.preemption import exit_as_preemption
from components.model_train.story import Epoch
from components.model_train.trainers.base import Hyperparameters, Start, TrainingJob, TrainingRun, Watch
from components.model_train.watching import supervisor
from components.shared.errors import CheckpointError, OutOfMemoryError
from components.shared.materialise import MaterialisedDataset
from components.shared.progress import Notify, silent
from components.shared.step import run_step

BATCHES = 3
KEY = "ab" * 32


@dataclass(frozen=True)
class FakeSnapshot:
    """The state, with a file without bytes and one in a folder beside, as libraries have them."""

    state: dict[str, object]

    def write(self, folder: Path) -> None:
        (folder / "state.json").write_text(json.dumps(self.state))
        (folder / "parts").mkdir()
        (folder / "parts" / "weights.bin").write_bytes(np.array(self.state["weights"]).tobytes())
        (folder / "empty").touch()


@dataclass
class FakeTrainer:
    """Trains so that an interrupted training that goes on ends with the same weights.

    Attributes:
        seconds: a batch takes.
        busy: rounds of a call after the last batch of the epoch ``busy_epoch`` that comes back for no signal.
        finishing: rounds of such a call after the last epoch.
        fits: the largest batch that fits; a larger one fails in the second batch of ``fails``.
        losses: by (epoch, batch), instead of a finite one.
    """

    seconds: float = 0.0
    busy: int = 0
    busy_epoch: int = 2
    fits: int = 10**6
    fails: int = 1
    losses: dict[tuple[int, int], float] | None = None
    finishing: int = 0
    framework: str = "fake"
    trained: int = 0

    def train(self, job: TrainingJob, watch: Watch) -> TrainingRun:
        parameters = job.parameters
        generator, weights, best, first = random.Random(parameters.seed), [0.0] * 8, (0.0, 0), 1
        if job.resume:
            generator, weights, best, first = self._read(job.resume)
        if job.over:
            return self._result(job.work, weights, best[1])
        watch.begun(images=BATCHES * parameters.batch, batch=parameters.batch, batches=BATCHES, first_epoch=first)
        watch.batch_seen(np.zeros((1, 8, 8, 3), np.uint8), [np.zeros((0, 4))], [np.zeros(0, np.int64)])
        for epoch in range(first, parameters.epochs + 1):
            for batch in range(1, BATCHES + 1):
                time.sleep(self.seconds)
                if parameters.batch > self.fits and epoch >= self.fails and batch == 2:
                    raise OutOfMemoryError(f"batch={parameters.batch} does not fit.")
                weights = [0.9 * weight + generator.random() / parameters.lr0 for weight in weights]
                loss = (self.losses or {}).get((epoch, batch), 1 / epoch)
                watch.batch_done(epoch, batch, {"train/cls_loss": loss})
            if self.busy and epoch == self.busy_epoch:
                hashlib.pbkdf2_hmac("sha256", b"any", b"salt", self.busy)
            self.trained += 1
            score = generator.random()
            best = max(best, (score, epoch))
            state = {"weights": weights, "random": generator.getstate(), "best": best, "epoch": epoch}
            values = {"train/cls_loss": 1 / epoch, "val/cls_loss": float("nan"), "map50": score, "map50_95": score}
            if watch.epoch_done(Epoch(number=epoch, seconds=0.0, values=values), FakeSnapshot(state)):
                break
        if self.finishing:
            hashlib.pbkdf2_hmac("sha256", b"any", b"salt", self.finishing)
        return self._result(job.work, weights, best[1])

    def _read(self, folder: Path) -> tuple[random.Random, list[float], tuple[float, int], int]:
        try:
            state = json.loads((folder / "state.json").read_text())
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{str(folder)!r} is no snapshot of this trainer.") from error
        assert (folder / "empty").exists()
        assert (folder / "parts" / "weights.bin").read_bytes() == np.array(state["weights"]).tobytes()
        version, numbers, gauss = state["random"]
        generator = random.Random()
        generator.setstate((version, tuple(numbers), gauss))
        return generator, state["weights"], tuple(state["best"]), state["epoch"] + 1

    def _result(self, work: Path, weights: list[float], best: int) -> TrainingRun:
        folder = work / "made"
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("best.json", "last.json", "untrained.json"):
            (folder / name).write_text(json.dumps([name, weights]))
        files = {"weights/best.json": folder / "best.json", "weights/last.json": folder / "last.json"}
        return TrainingRun(
            files=files,
            weights="weights/best.json",
            last="weights/last.json",
            best_epoch=best,
            libraries={"fake": "1"},
            untrained=folder / "untrained.json",
        )


def make_plan(store: str, work: Path, *, epochs: int = 5, batch: int = 8, seed: int = 0, **care: object) -> Plan:
    """A training of the fake trainer; without other words every epoch is saved."""
    parameters = Hyperparameters(
        model="fake",
        epochs=epochs,
        batch=batch,
        imgsz=32,
        lr0=0.01,
        optimizer="SGD",
        warmup_epochs=1.0,
        close_mosaic=0,
        freeze=0,
        device="cpu",
        seed=seed,
    )
    nothing = MaterialisedDataset(work, work, work, ("a",), 0, 0, {})
    job = TrainingJob(nothing, nothing, ("a",), parameters, Start("fake", "fake"), work)
    cares = {"checkpoint_minutes": 0.0, "overfitting": "off", **care}
    return Plan(job=job, care=Care(**cares), store=store, key=KEY, run_id="run")  # type: ignore[arg-type]


def with_gpus(plan: Plan, gpus: int) -> Plan:
    return replace(plan, job=replace(plan.job, parameters=replace(plan.job.parameters, gpus=gpus)))


def weights_of(run: TrainingRun) -> list[float]:
    weights: list[float] = json.loads(run.files[run.last].read_text())[1]
    return weights


class NoJournal:
    """In place of a ``Journal``, whose TensorBoard files need torch, which takes longer to load than all else."""

    def __init__(self, *_: object, **__: object) -> None:
        self.warnings: list[str] = []
        self.epochs: list[int] = []
        self.end = "open"

    def epoch(self, epoch: Epoch) -> None:
        self.epochs.append(epoch.number)

    def close(self, end: str) -> None:
        self.end = end


def main() -> None:
    """A step's process: trains, and leaves the weights and the number of epochs trained here as JSON."""
    parser = argparse.ArgumentParser()
    for name in ("store", "work", "result"):
        parser.add_argument(name)
    parser.add_argument("--care", type=json.loads, default={})
    parser.add_argument("--trainer", type=json.loads, default={})
    options = parser.parse_args()
    trainer = FakeTrainer(**options.trainer)
    supervisor.Journal = NoJournal  # type: ignore[assignment, misc]

    @exit_as_preemption()
    def work(notify: Notify = silent) -> None:
        outcome = conduct(make_plan(options.store, Path(options.work), **options.care), notify, trainer=trainer)
        story = outcome.story.model_dump(mode="json")
        content = {"weights": weights_of(outcome.run), "trained": trainer.trained, "story": story}
        Path(options.result).write_text(json.dumps(content))

    run_step("model_train", options.store, work)


if __name__ == "__main__":
    sys.exit(main())
