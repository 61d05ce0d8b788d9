"""The training library's loop, watched: exact to resume, quiet about time and patience, careful with the disk.

``WatchedTraining`` goes before one of the library's trainers in a class's bases and overrides what that one leaves
inexact or decides itself. It leans on the private shape of that loop, so the library's version is pinned.
"""

import time
from collections.abc import Mapping
from typing import Any

from components.model_train.story import Epoch
from components.model_train.trainers.base import TrainingJob, Watch
from components.model_train.trainers.ultralytics.batches import epoch_values, show_batch
from components.model_train.trainers.ultralytics.random import restore_random_states, seed_epoch
from components.model_train.trainers.ultralytics.ranks import Group, cpu_groups_allowed, told_by_leader
from components.model_train.trainers.ultralytics.saving import KeptTraining
from components.model_train.trainers.ultralytics.snapshot import UltralyticsSnapshot
from components.model_train.trainers.ultralytics.state import capture, restore, sensibly
from components.model_train.trainers.ultralytics.weights import KeptFiles
from components.shared.errors import TrainingError

SHOWN_BATCHES = 3  # of an attempt, to the watch
NO_RETRIES = 3  # the count at which the library stops halving the batch by itself
EVENTS = (
    "train_start",
    "train_epoch_start",
    "train_batch_start",
    "train_batch_end",
    "train_epoch_end",
    "fit_epoch_end",
)


class NothingLeft(Exception):  # noqa: N818 - no error
    """The snapshot is of the last epoch, or the training was to stop there: there is nothing to train."""


class WatchedTraining(KeptTraining):
    """A mixin over the library's detection trainers.

    An epoch always ends with an optimiser step, so that no half-gathered gradient is lost between two attempts, and
    begins with a fresh pass over the images where they are loaded in this process. So on a CPU everything the next
    epoch depends on is in the snapshot taken at the end of this one. What is not exact on a GPU: loader processes
    prefetch and have random states of their own, which begin anew when resumed; and kernels that add in another order
    each time (``deterministic`` avoids most; RT-DETR's ``grid_sample`` has no other) make even two uninterrupted
    trainings differ in the last bits.

    In a group of processes each epoch's random numbers follow from seed, epoch and rank alone.

    Args:
        job: what is trained.
        watch: who looks after it; only the leader's is told anything.
        group: the processes of this training.
        snapshot: what to go on from, or ``None``.
        arguments: the library's own.
    """

    world_size: int
    accumulate: int
    model: Any
    _gather: int

    def __init__(
        self,
        *,
        job: TrainingJob,
        watch: Watch,
        group: Group,
        snapshot: UltralyticsSnapshot | None,
        arguments: Mapping[str, object],
    ) -> None:
        self.job, self.watch, self.group = job, watch, group
        self.files = KeptFiles()
        self.kept_best = None
        self.results = ""
        self.untrained = job.work / "untrained.pt"
        self._snapshot = snapshot
        self._shown = self._batch = self._gathered = 0
        self._epoch_began = self._epoch_trained = self._began = time.monotonic()
        super().__init__(overrides=dict(arguments))
        self.world_size, self.ddp = (group.size if group.many else self.world_size), False
        for event in EVENTS:
            self.add_callback(f"on_{event}", getattr(type(self), f"_{event}"))

    def seconds(self) -> float:
        """Seconds spent training, earlier attempts included."""
        earlier = self._snapshot.state["seconds"] if self._snapshot else 0.0
        return float(earlier) + time.monotonic() - self._began

    def _setup_ddp(self) -> None:
        """The group is there already, and every process has chosen its device."""

    def _setup_train(self) -> None:
        with cpu_groups_allowed(self.group, self.device.type):
            super()._setup_train()
        self._gather = self.accumulate  # batches an optimiser step, after the warm-up
        self.accumulate = 1  # the library shall offer a step after every batch; ``optimizer_step`` chooses

    def _build_train_pipeline(self) -> None:
        if self.batch_size < 1:
            self._choose_batch()
        super()._build_train_pipeline()

    def _choose_batch(self) -> None:
        """As many images as fit each process's GPU."""
        from ultralytics.utils.torch_utils import unwrap_model  # noqa: PLC0415 - after the environment is prepared

        wrapped, self.model = self.model, unwrap_model(self.model)
        chosen = self.auto_batch() * self.group.size if self.group.leads else 0
        self.model = wrapped
        self.args.batch = self.batch_size = told_by_leader(self.group, chosen)
        if "nbs" not in self.job.parameters.options:
            self.args.nbs = self.batch_size

    def optimizer_step(self) -> None:
        """A step when enough batches are gathered, or the epoch ends."""
        batches = len(self.train_loader)
        self._gathered += 1
        if self._gathered < self._wanted(batches) and self._batch < batches:
            return
        self._gathered = 0
        super().optimizer_step()

    def _wanted(self, batches: int) -> int:
        """How many batches make a step now: the library's ramp from one, over the warm-up."""
        warmup = self._get_warmup_iterations(batches)
        done = self._batch - 1 + batches * self.epoch
        if not warmup or done > warmup:
            return int(self._gather)
        ramp: float = 1 + (self._gather - 1) * done / warmup
        return max(1, round(ramp))

    def resume_training(self, ckpt: object) -> None:
        """Put the snapshot back; the library's own way would lose most of it."""
        del ckpt
        self.save_untrained()
        if self._snapshot is None:
            return
        snapshot = self._snapshot
        restore(self, snapshot)
        sensibly(lambda: self.restore_files(snapshot))
        if self.start_epoch >= self.epochs or self.job.over:
            raise NothingLeft

    def _handle_nan_recovery(self, epoch: int) -> bool:
        """Never: the watch ends a training whose loss is no number."""
        del epoch
        return False

    def preprocess_batch(self, batch: dict[str, Any]) -> dict[str, Any]:
        """As the library does it; the first ones are shown to the watch."""
        ready: dict[str, Any] = super().preprocess_batch(batch)
        if self._shown < SHOWN_BATCHES and self.group.leads:
            self._shown += 1
            show_batch(ready, self.watch)
        return ready

    def _train_start(self) -> None:
        """The library drops images it dislikes with a mere log line; we prepared them all, so none may go."""
        expected = self.job.train.epoch_image_count
        found = len(self.train_loader.dataset.labels)
        if found != expected:
            raise TrainingError(f"The training library kept {found} of {expected} images; see the log for which.")
        self._began = time.monotonic()
        if self.group.leads:
            self.watch.begun(
                images=found,
                batch=int(self.batch_size),
                batches=len(self.train_loader),
                first_epoch=self.start_epoch + 1,
            )

    def _train_epoch_start(self) -> None:
        self._oom_retries = NO_RETRIES
        self._batch = self._gathered = 0
        loader = self.train_loader
        if not loader.num_workers:
            loader.reset()  # the order of the next epoch then depends on the generator's state alone
        if self.group.many:
            seed = seed_epoch(self.job.parameters.seed, self.epoch, self.group.rank)
            if not loader.num_workers:
                loader.generator.manual_seed(seed)
                _empty_buffer(loader.dataset)
        self._epoch_began = time.monotonic()

    def _train_batch_start(self) -> None:
        self._batch += 1

    def _train_batch_end(self) -> None:
        if self.group.leads:  # the progress bar has just waited for these numbers, so reading them waits for nothing
            losses = {name: float(value) for name, value in self.tloss.items()}
            self.watch.batch_done(self.epoch + 1, self._batch, losses, memory=self._get_memory() * 2**30)

    def _train_epoch_end(self) -> None:
        self._epoch_trained = time.monotonic()

    def _fit_epoch_end(self) -> None:
        if not self.group.leads:
            return
        speed = len(self.train_loader.dataset) / max(self._epoch_trained - self._epoch_began, 1e-9)
        values = epoch_values(self) | {"images_per_second": speed}
        epoch = Epoch(number=self.epoch + 1, seconds=self.seconds(), values=values)
        snapshot = capture(self)
        if self.watch.epoch_done(epoch, snapshot):
            self.stop = True
        restore_random_states(snapshot.state["random"])  # whoever watches may have drawn some


def _empty_buffer(dataset: Any) -> None:  # noqa: ANN401 - ultralytics ships no types
    """Forget the images a mosaic is made of, as at the first epoch's start."""
    if dataset.cache == "ram":
        return
    for index in dataset.buffer:
        dataset.ims[index] = dataset.im_hw0[index] = dataset.im_hw[index] = None
    dataset.buffer.clear()
