"""The epochs of a training as a run of an MLflow tracking server."""

import logging
import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from components.model_train.journal.courier import thread_name
from components.model_train.journal.names import grouped
from components.model_train.story import End, Epoch

NO_RUN = "unnamed"  # what a step outside any pipeline run calls its run
STATUS: Mapping[End, str] = {"finished": "FINISHED", "stopped": "FINISHED", "preempted": "KILLED"}
_DEFAULTS = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "5",  # seconds
    "MLFLOW_DISABLE_TELEMETRY": "true",  # it asks a server on the internet what it may send
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
_BATCH = 100  # parameters the server takes at once
_METRICS = 1000  # numbers the server takes at once
_LONGEST = 500  # characters of a parameter that servers of all releases keep
_SECONDS = "seconds"
_QUOTES = re.compile(r"[^\w\-.:/ ]")


class MlflowRun:
    """One MLflow run for one training, however many attempts it takes.

    An attempt finds the run of the earlier ones by its tags and goes on in it. The run's metric ``seconds`` tells which
    epochs it has: one that was learned again took another time and is told again.

    Args:
        uri: the tracking server's address; credentials come from MLflow's own environment variables.
        name: the experiment's.
        parameters: what is kept as the run's parameters.
        tags: what the run is known by; ``pipeline.run_id`` and ``pipeline.step`` are looked for.
    """

    label = "MLflow"

    def __init__(self, uri: str, name: str, parameters: Mapping[str, object], tags: Mapping[str, str]) -> None:
        self._uri = uri
        self._name = name
        self._parameters = dict(_flat(parameters))
        self._tags = {key: _QUOTES.sub("_", value) for key, value in tags.items()}
        self._client: Any = None
        self._run = ""
        self._ready = False
        self._seconds: dict[int, float] = {}

    def write(self, epochs: Sequence[Epoch]) -> None:
        """Log the epochs the run does not have yet.

        Raises:
            ImportError: MLflow's client is not installed.
            ConnectionError: the server cannot be reached.
            MlflowException: it refuses.
        """
        with self._explained():
            if not self._ready:
                self._prepare()
            self._log(epochs)

    def _log(self, epochs: Sequence[Epoch]) -> None:
        new = [epoch for epoch in epochs if self._seconds.get(epoch.number) != epoch.seconds]
        metrics = [metric for epoch in new for metric in self._metrics(epoch)]
        for start in range(0, len(metrics), _METRICS):
            self._client.log_batch(self._run, metrics=metrics[start : start + _METRICS])
        self._seconds |= {epoch.number: epoch.seconds for epoch in new}

    def close(self, end: End) -> None:
        """Say how the training ended; a preempted one's run is gone on with by the next attempt.

        Raises:
            ConnectionError: the server cannot be reached.
            MlflowException: it refuses.
        """
        if self._ready:
            with self._explained():
                self._client.set_tag(self._run, "training.end", end or "failed")
                self._client.set_terminated(self._run, STATUS.get(end, "FAILED"))

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            root: BaseException = error
            while (cause := root.__cause__ or root.__context__) is not None:
                root = cause
            if isinstance(root, OSError):
                raise ConnectionError(f"{self._uri!r} cannot be reached ({root.strerror or root})") from error
            raise

    def _prepare(self) -> None:
        if self._client is None:
            self._client = _client(self._uri)
        if not self._run:
            self._run = self._find_run() or self._create_run()
        run = self._client.get_run(self._run)
        if run.info.status != "RUNNING":
            self._client.update_run(self._run, status="RUNNING")
        self._log_parameters(known=run.data.params)
        history = self._client.get_metric_history(self._run, _SECONDS)
        self._seconds = {item.step: item.value for item in sorted(history, key=lambda item: item.timestamp)}
        self._ready = True

    def _find_run(self) -> str:
        """The run of an earlier attempt, or an empty text."""
        experiment = self._client.get_experiment_by_name(self._name)
        if experiment is None or self._tags["pipeline.run_id"] == NO_RUN:
            return ""
        wanted = " and ".join(f"tags.`{key}` = '{self._tags[key]}'" for key in ("pipeline.run_id", "pipeline.step"))
        found = self._client.search_runs([experiment.experiment_id], wanted, max_results=1)
        return str(found[0].info.run_id) if found else ""

    def _create_run(self) -> str:
        experiment = self._client.get_experiment_by_name(self._name)
        number = experiment.experiment_id if experiment else self._client.create_experiment(self._name)
        run = self._client.create_run(number, tags=self._tags, run_name=self._tags["pipeline.run_id"])
        return str(run.info.run_id)

    def _log_parameters(self, known: Mapping[str, str]) -> None:
        """Parameters cannot be changed, so those of an earlier attempt stay."""
        from mlflow.entities import Param  # noqa: PLC0415 - optional, and heavy

        new = [Param(name, value) for name, value in self._parameters.items() if name not in known]
        for start in range(0, len(new), _BATCH):
            self._client.log_batch(self._run, params=new[start : start + _BATCH])

    @staticmethod
    def _metrics(epoch: Epoch) -> list[Any]:
        from mlflow.entities import Metric  # noqa: PLC0415 - same

        now = int(time.time() * 1000)
        values = {grouped(name): value for name, value in epoch.values.items()} | {_SECONDS: epoch.seconds}
        return [Metric(name, value, now, epoch.number) for name, value in values.items()]


def _client(uri: str) -> Any:  # noqa: ANN401 - the client's types are not known where it is not installed
    for name, value in _DEFAULTS.items():
        os.environ.setdefault(name, value)
    logging.getLogger("urllib3.connectionpool").addFilter(_is_worth_a_line)
    try:
        from mlflow import MlflowClient  # noqa: PLC0415 - optional, and heavy
    except ImportError as error:
        raise ImportError("its client is not installed, install the extra 'mlflow' of this project") from error
    return MlflowClient(tracking_uri=uri)


def _is_worth_a_line(record: logging.LogRecord) -> bool:
    """Not what MLflow's requests say of each time they are sent again."""
    return record.threadName != thread_name(MlflowRun.label)


def _flat(parameters: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Names and texts; nested mappings as ``outer.inner``."""
    for key, value in parameters.items():
        name = _QUOTES.sub("_", f"{prefix}{key}")
        if isinstance(value, Mapping):
            yield from _flat(value, f"{name}.")
        else:
            yield name, str(value)[:_LONGEST]
