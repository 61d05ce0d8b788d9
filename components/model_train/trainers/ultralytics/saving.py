"""What a watched training writes while it goes on: weights as they are served, and the table of results."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.model_train.trainers.ultralytics.ranks import Group
from components.model_train.trainers.ultralytics.snapshot import UltralyticsSnapshot
from components.model_train.trainers.ultralytics.weights import KeptFiles, half_copy, weights_bytes

if TYPE_CHECKING:
    Library = Any  # the trainer that comes after this one
else:
    Library = object


@dataclass(frozen=True)
class Best:
    """The best epoch so far: its number, its weights in half precision on the CPU, and its metrics."""

    epoch: int
    weights: Mapping[str, Any]
    metrics: Mapping[str, float]

    def state(self) -> dict[str, Any]:
        """For a snapshot; the tensors are shared, for nobody changes them."""
        return {"epoch": self.epoch, "weights": dict(self.weights), "metrics": dict(self.metrics)}


class KeptTraining(Library):  # type: ignore[misc]
    """A mixin over the library's detection trainers that writes through ``KeptFiles`` and never the optimiser.

    Attributes:
        files: what is written, and what the disk has not taken yet.
        kept_best: the best epoch so far.
        results: the text of ``results.csv`` so far.
        untrained: a weights file of the model before its first step.
        group: the processes of this training; its leader writes.
    """

    files: KeptFiles
    kept_best: Best | None
    results: str
    untrained: Path
    group: Group

    def save_untrained(self) -> None:
        """Write the weights as they are before the first step; an attempt that resumes has them again."""
        if self.group.leads:
            self.files.put(self.untrained, weights_bytes(half_copy(self.ema.ema), vars(self.args), {}))

    def save_model(self) -> bool:
        """Write the averaged weights as ``last.pt``, and as ``best.pt`` when none were better; the disk may refuse."""
        self._heal_average()
        metrics = {**self.metrics, "fitness": self.fitness}
        served = half_copy(self.ema.ema)
        content = weights_bytes(served, vars(self.args), metrics)
        self.files.put(self.last, content)
        if self.best_fitness == self.fitness:
            self.kept_best = Best(self.epoch + 1, served.state_dict(), metrics)
            self.files.put(self.best, content)
        return True

    def _heal_average(self) -> None:
        """One number that is none would stay in an average for ever: take the model's own instead, as the library."""
        import torch  # noqa: PLC0415 - heavy
        from ultralytics.utils.torch_utils import unwrap_model  # noqa: PLC0415 - after the environment is prepared

        average = self.ema.ema.state_dict()
        sick = [name for name, tensor in average.items() if not torch.isfinite(tensor).all()]
        model = unwrap_model(self.model).state_dict() if sick else {}
        for name in sick:
            if torch.isfinite(model[name]).all():
                average[name].copy_(model[name])

    def save_metrics(self, metrics: Mapping[str, float]) -> None:
        """Add an epoch to ``results.csv``, as the library does it but for the time; the disk may refuse."""
        if not self.results:
            self.results = ",".join(("epoch", *metrics)) + "\n"
        row = (self.epoch + 1, *metrics.values())
        self.results += ",".join(f"{value:.6g}" for value in row) + "\n"
        self._write_results()

    def _write_results(self) -> None:
        if self.group.leads:
            self.files.put(self.csv, self.results.encode())

    def final_eval(self) -> None:
        """Nothing to measure: each epoch was, and the files are as they are served."""
        self.files.flush()

    def restore_files(self, snapshot: UltralyticsSnapshot) -> None:
        """Write again what was written up to a snapshot; ``results`` is put back already."""
        if not self.group.leads:
            return
        self._write_results()
        best = snapshot.state["best"]
        if best is None:
            return
        self.kept_best = Best(int(best["epoch"]), best["weights"], best["metrics"])
        served = half_copy(self.ema.ema, best["weights"])
        self.files.put(self.best, weights_bytes(served, vars(self.args), best["metrics"]))
