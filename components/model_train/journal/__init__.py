"""The journal of a training: each epoch to the store, to TensorBoard files and to MLflow, beside the training."""

import logging
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from components.model_train.journal.courier import Courier, Receiver
from components.model_train.journal.epochs_file import EpochsFile
from components.model_train.journal.mlflow import MlflowRun
from components.model_train.journal.tensorboard import EventFiles
from components.model_train.story import End, Epoch
from components.shared.store import Store

TRACKING_URI = "MLFLOW_TRACKING_URI"
CLOSING = 5.0  # seconds the end may take in all; what is not delivered by then is lost, the training is not
HURRY = 1.5  # likewise, when the process is about to be killed

logger = logging.getLogger(__name__)


class Journal:
    """Tells each epoch to those who keep it; no call raises, and none waits for a disk or the network but ``close``.

    Kept are ``progress/<run>/<step>.epochs.jsonl`` and ``progress/<run>/<step>.tensorboard/`` in the store, and a run
    in MLflow where ``MLFLOW_TRACKING_URI`` is set. A receiver that cannot be reached costs one warning; it gets
    everything it missed when it is back.

    Args:
        store: keeps the files.
        run_id: the pipeline run; with ``step`` it names the files, and MLflow's run is found again by both.
        step: this training's name in the run.
        name: the model's; MLflow's experiment has it.
        parameters: of the training; MLflow keeps them, nested ones as ``outer.inner``.
        total_epochs: epochs the training is to have.
        folder: TensorBoard's files are written here first.

    Attributes:
        warnings: the sentences logged about receivers that could not be reached.
    """

    def __init__(
        self,
        store: Store,
        run_id: str,
        step: str,
        *,
        name: str,
        parameters: Mapping[str, object],
        total_epochs: int,
        folder: Path,
    ) -> None:
        base = f"progress/{run_id}/{step}"
        receivers: list[Receiver] = [
            EpochsFile(store, f"{base}.epochs.jsonl"),
            EventFiles(store, f"{base}.tensorboard", folder),
        ]
        if uri := os.environ.get(TRACKING_URI, "").strip():
            tags = {"pipeline.run_id": run_id, "pipeline.step": step, "pipeline.epochs": str(total_epochs)}
            receivers.append(MlflowRun(uri, name, parameters, tags))
        self.warnings: list[str] = []
        self._epochs: tuple[Epoch, ...] = ()
        self._couriers = [Courier(receiver, self._warn) for receiver in receivers]
        for courier in self._couriers:
            courier.begin()

    def epoch(self, epoch: Epoch) -> None:
        """Take in a finished epoch; one told again, as after going back to a checkpoint, replaces all from it on."""
        self._epochs = (*(earlier for earlier in self._epochs if earlier.number < epoch.number), epoch)
        for courier in self._couriers:
            courier.tell(self._epochs)

    def close(self, end: End) -> None:
        """Deliver what is left and how the training ended, within ``CLOSING`` seconds; an empty end is a failure.

        A preempted training has ``HURRY`` seconds only: the next attempt delivers what this one could not.
        """
        deadline = time.monotonic() + (HURRY if end == "preempted" else CLOSING)
        for courier in self._couriers:
            courier.end(end)
        late = [courier for courier in self._couriers if not courier.wait(deadline - time.monotonic())]
        self._say_late([courier.label for courier in late if not courier.failing])

    def _warn(self, sentence: str) -> None:
        self.warnings.append(sentence)
        logger.warning("%s", sentence)

    def _say_late(self, labels: Sequence[str]) -> None:
        if labels:
            logger.warning("%s did not answer in time and may lack the training's end.", " and ".join(labels))
