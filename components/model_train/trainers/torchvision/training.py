"""A torchvision training from its first batch to its last: learn, validate, remember, tell the watch.

Every random choice of an epoch begins from the seed, the epoch and the rank, so that a training that goes on from a
snapshot makes the same choices as one that was never interrupted.
"""

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from components.model_train.story import Epoch
from components.model_train.trainers.base import LARGEST_BATCH, Hyperparameters, Watch
from components.model_train.trainers.torchvision.augment import FILL
from components.model_train.trainers.torchvision.batch import Lessons, largest_batch
from components.model_train.trainers.torchvision.data import Example, to_targets
from components.model_train.trainers.torchvision.failures import explained
from components.model_train.trainers.torchvision.optim import (
    GRADIENT_NORM,
    Average,
    Frozen,
    learning_rate,
    make_optimizer,
)
from components.model_train.trainers.torchvision.ranks import Ranks
from components.model_train.trainers.torchvision.snapshot import TorchvisionSnapshot, on_cpu
from components.model_train.trainers.torchvision.validate import LOSSES, Validation
from components.shared.detection.torchvision_models import first_label, set_size
from components.shared.errors import TrainingError

SHOWN = 3  # first batches the watch sees
_HALF = {True: "float16", "fp16": "float16", "bf16": "bfloat16"}  # what ``amp`` makes of a GPU's multiplications


class Training:
    """One attempt.

    Args:
        model: what to begin with, on its device.
        parameters: what is asked for.
        ranks: this process among those that take part.
        identity: what its snapshots say of it; see ``snapshot.identify``.
    """

    def __init__(
        self,
        model: Any,  # noqa: ANN401 - torchvision is untyped here
        parameters: Hyperparameters,
        ranks: Ranks,
        identity: Mapping[str, Any],
    ) -> None:
        import torch  # noqa: PLC0415 - heavy

        self._asked, self._ranks, self._identity = parameters, ranks, identity
        self._device = next(model.parameters()).device
        self._frozen = Frozen(model, parameters.freeze)
        self._model, self._average = model, Average(model)
        self._optimizer = make_optimizer(model, parameters)
        self._half = _HALF.get(parameters.options.get("amp", True)) if self._device.type == "cuda" else None
        self._scaler = torch.amp.GradScaler(self._device.type, enabled=self._half == "float16")
        self._batch, self._epoch, self._seconds = parameters.batch, 0, 0.0
        self.best: Mapping[str, Any] = {}
        self.best_epoch, self._best_score = 0, -1.0

    @property
    def last(self) -> Mapping[str, Any]:
        """The last epoch's weights, as they are validated: averaged."""
        state: Mapping[str, Any] = self._average.model.state_dict()
        return state

    def restore(self, content: Mapping[str, Any]) -> None:
        """Go on from a snapshot's content.

        Raises:
            KeyError: something is missing from it; a ``RuntimeError`` or ``ValueError``: it does not fit.
        """
        self._model.load_state_dict(content["model"])
        self._average.model.load_state_dict(content["average"])
        self._optimizer.load_state_dict(content["optimizer"])
        self._scaler.load_state_dict(content["scaler"])
        self._average.updates = int(content["updates"])
        self._epoch, self._seconds = int(content["epoch"]), float(content["seconds"])
        self.best, self.best_epoch = content["best"], int(content["best_epoch"])
        self._best_score = float(content["best_score"])
        if self._batch == LARGEST_BATCH:
            self._batch = int(content["batch"])

    def run(self, lessons: Lessons, validation: Validation, watch: Watch) -> None:
        """Learn the epochs that are left, or until the watch says stop."""
        if self._batch == LARGEST_BATCH:
            share = largest_batch(self._model, self._identity["imgsz"], limit=-(-len(lessons) // self._ranks.world))
            self._batch = self._ranks.from_first(share * self._ranks.world)
        learner = self._shared_model()
        first, batches = self._epoch + 1, -(-len(lessons) // self._batch)
        watch.begun(images=len(lessons), batch=self._batch, batches=batches, first_epoch=first)
        for number in range(first, self._asked.epochs + 1):
            self._epoch = number
            began = time.monotonic()
            values = self._learn(learner, lessons, watch, shown=SHOWN if number == first else 0)
            values |= self._validate(validation)
            self._seconds += time.monotonic() - began
            if self._done(watch, Epoch(number=number, seconds=self._seconds, values=values)):
                return

    def _shared_model(self) -> Any:  # noqa: ANN401 - torch is untyped here
        """The model, or where several processes learn, the one that averages their gradients."""
        if self._ranks.world == 1:
            return self._model
        from torch.nn.parallel import DistributedDataParallel  # noqa: PLC0415 - heavy

        devices = [self._device.index] if self._device.type == "cuda" else None
        return DistributedDataParallel(self._model, device_ids=devices)

    def _learn(self, learner: Any, lessons: Lessons, watch: Watch, *, shown: int) -> dict[str, float]:  # noqa: ANN401 - same
        """One pass over the training images: the means of its losses, and how fast it was."""
        import torch  # noqa: PLC0415 - heavy

        seeds = np.random.SeedSequence([self._asked.seed, self._epoch, self._ranks.rank])
        torch.manual_seed(int(seeds.generate_state(1)[0]))
        self._frozen.train(self._model)
        began, seen, batches = time.monotonic(), 0, -(-len(lessons) // self._batch)
        totals: dict[str, float] = {}
        for number, (size, examples) in enumerate(lessons.epoch(self._epoch, self._batch), 1):
            if number <= shown:
                watch.batch_seen(*as_seen(examples))
            rate = learning_rate(self._asked, self._epoch, number, batches)
            with explained(f"epoch {self._epoch}, batch {number}", self._batch, alone=self._ranks.world == 1):
                losses = self._step(learner, size, examples, rate)
            seen += len(examples)
            for name, value in losses.items():
                totals[name] = totals.get(name, 0.0) + value * len(examples)
            means = {f"train/{name}": total / seen for name, total in totals.items()}
            watch.batch_done(self._epoch, number, means, memory=self._memory())
        speed = seen * self._ranks.world / max(time.monotonic() - began, 1e-9)
        return means | {"lr": rate, "images_per_second": speed, "gpu_memory": self._memory()}

    def _step(self, learner: Any, size: int, examples: Sequence[Example], rate: float) -> dict[str, float]:  # noqa: ANN401 - same
        """Learn a batch; its losses before."""
        import torch  # noqa: PLC0415 - heavy

        for group in self._optimizer.param_groups:
            group["lr"] = rate
        set_size(self._model, size)
        images, targets = to_targets(examples, self._device, first_label(self._model))
        kind = getattr(torch, self._half or "float32")
        with torch.autocast(self._device.type, dtype=kind, enabled=self._half is not None):
            losses = learner(images, targets)
            total = torch.stack(list(losses.values())).sum()
        self._optimizer.zero_grad(set_to_none=True)
        self._scaler.scale(total).backward()
        self._scaler.unscale_(self._optimizer)
        torch.nn.utils.clip_grad_norm_(self._model.parameters(), GRADIENT_NORM)
        self._scaler.step(self._optimizer)
        self._scaler.update()
        self._average.update(self._model)
        numbers = torch.stack([loss.detach().float() for loss in losses.values()]).tolist()
        return {LOSSES.get(name, name): number for name, number in zip(losses, numbers, strict=True)}

    def _validate(self, validation: Validation) -> dict[str, float]:
        self._ranks.equalise(self._average.model)
        share = max(1, self._batch // self._ranks.world)
        with explained(f"the validation of epoch {self._epoch}", self._batch, alone=self._ranks.world == 1):
            return validation.values(self._average.model, share)

    def _memory(self) -> float:
        import torch  # noqa: PLC0415 - heavy

        return float(torch.cuda.memory_reserved(self._device)) if self._device.type == "cuda" else 0.0

    def _done(self, watch: Watch, epoch: Epoch) -> bool:
        """Ask the first process's watch whether to stop; the other processes hear its answer, or that it has none."""
        if not self._ranks.first:
            watch.epoch_done(epoch, TorchvisionSnapshot({}, {}))
            verdict = self._ranks.from_first(None)
            if verdict is None:
                raise TrainingError("The first process ended the training.")
            return bool(verdict)
        average = on_cpu(self.last)
        score = epoch.values["map50_95"]
        if not score < self._best_score:  # of equal ones the last; where there is no number, the last, too
            self.best, self.best_epoch, self._best_score = average, epoch.number, score
        verdict = None
        try:
            verdict = watch.epoch_done(epoch, self._snapshot(average))
        finally:
            self._ranks.from_first(verdict)
        return verdict

    def _snapshot(self, average: Mapping[str, Any]) -> TorchvisionSnapshot:
        content = {
            "epoch": self._epoch,
            "seconds": self._seconds,
            "batch": self._batch,
            "model": on_cpu(self._model.state_dict()),
            "average": average,
            "updates": self._average.updates,
            "optimizer": on_cpu(self._optimizer.state_dict()),
            "scaler": on_cpu(self._scaler.state_dict()),
            "best": self.best,
            "best_epoch": self.best_epoch,
            "best_score": self._best_score,
        }
        return TorchvisionSnapshot(self._identity, content)


def as_seen(
    examples: Sequence[Example],
) -> tuple[npt.NDArray[np.uint8], list[npt.NDArray[np.float64]], list[npt.NDArray[np.int64]]]:
    """A batch as ``Watch.batch_seen`` wants it: boxes as left, top, width, height."""
    height, width = np.max([example.pixels.shape[:2] for example in examples], axis=0)
    images = np.full((len(examples), height, width, 3), FILL, dtype=np.uint8)
    for image, example in zip(images, examples, strict=True):
        image[: example.pixels.shape[0], : example.pixels.shape[1]] = example.pixels
    boxes = [np.hstack([example.boxes[:, :2], example.boxes[:, 2:] - example.boxes[:, :2]]) for example in examples]
    return images, boxes, [example.labels for example in examples]
