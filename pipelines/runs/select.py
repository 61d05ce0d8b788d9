"""Which runs a command is about: where they are, how one is named, and how many are chosen."""

import argparse
import itertools
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from components.shared.errors import ConfigError
from pipelines.backends.cluster.connection import connect, endpoint_of
from pipelines.backends.cluster.endpoint import HOST, in_cluster, kubeconfig
from pipelines.runs.facts import Collector
from pipelines.runs.kfp import LATEST, chosen
from pipelines.runs.local import LocalRun, local_facts, local_runs, name_of
from pipelines.runs.model import STATES, State
from pipelines.runs.store import RunStores
from pipelines.runs.told import KfpRun
from pipelines.runs.view import RunView, view_of

BATCH = 25  # runs of a cluster looked at together
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_AGE = re.compile(r"(\d+(?:\.\d+)?)([smhdw])")


@dataclass(frozen=True)
class Filter:
    """Which runs are wanted: all that is given has to fit; times are seconds since 1970."""

    text: str = ""
    states: frozenset[State] = frozenset()
    pipeline: str = ""
    since: float | None = None
    before: float | None = None
    archived: bool | None = False

    def takes(self, view: RunView) -> bool:
        """Whether a run fits."""
        facts, text = view.facts, self.text.lower()
        named = not text or text in facts.name.lower() or facts.run_id.lower().startswith(text)
        created = facts.created or 0.0
        return (
            named
            and (not self.states or view.status.state in self.states)
            and (not self.pipeline or self.pipeline.lower() in facts.pipeline.lower())
            and (self.since is None or created >= self.since)
            and (self.before is None or created < self.before)
        )


class Runs(Protocol):
    """Where runs are."""

    def views(self, wanted: Filter) -> Iterator[RunView]:
        """The runs that fit, the newest first."""

    def view(self, text: str) -> RunView:
        """All of the run that a person means; raises ``ConfigError`` when there is none, or several."""


@dataclass(frozen=True)
class ClusterRuns:
    """The runs of a Kubeflow Pipelines."""

    collector: Collector

    def views(self, wanted: Filter) -> Iterator[RunView]:
        """See ``Runs``."""
        found = self.collector.runs.newest(since=wanted.since, archived=wanted.archived)
        while batch := list(itertools.islice(found, BATCH)):
            yield from filter(wanted.takes, map(view_of, self.collector.many(batch)))

    def view(self, text: str) -> RunView:
        """See ``Runs``."""
        return view_of(self.collector.facts(self.find(text)))

    def find(self, text: str) -> KfpRun:
        """The run that a person means."""
        return self.collector.runs.find(text)


@dataclass(frozen=True)
class LocalRuns:
    """The runs of a folder of this machine."""

    folder: Path
    stores: RunStores

    def views(self, wanted: Filter) -> Iterator[RunView]:
        """See ``Runs``."""
        for run in local_runs(self.folder):
            if wanted.archived is None or run.is_archived == wanted.archived:
                view = view_of(local_facts(run, self.stores))
                if wanted.takes(view):
                    yield view

    def view(self, text: str) -> RunView:
        """See ``Runs``."""
        return view_of(local_facts(self.find(text), self.stores))

    def find(self, text: str) -> LocalRun:
        """The run that a person means."""
        runs = {run.record.run_id: run for run in local_runs(self.folder)}
        if not runs:
            raise ConfigError(
                f"{str(self.folder)!r} holds no runs: give another folder (--runs), or a cluster (--host)."
            )
        if text == LATEST:
            return next(iter(runs.values()))
        by_path = Path(text).name if "/" in text else text
        names = {identity: name_of(run) for identity, run in runs.items()}
        return runs[chosen(by_path, names)]


def runs_of(options: argparse.Namespace) -> ClusterRuns | LocalRuns:
    """Where the options and the environment say that runs are: without a word of a cluster, on this machine."""
    stores = RunStores(options.store)
    here = options.local or (options.runs is not None and not options.host)
    endpoint = None if here else endpoint_of(options)
    if endpoint is None or not (endpoint.host or endpoint.kube_context or in_cluster() or kubeconfig()):
        if options.kfp_namespace != "kubeflow" or options.namespace:
            raise ConfigError(f"Nothing says where Kubeflow is: give --host, {HOST[0]} or KUBECONFIG, or --local.")
        return LocalRuns((options.runs or Path("runs")).resolve(), stores)
    return ClusterRuns(Collector(connect(endpoint), stores))


def filter_of(options: argparse.Namespace) -> Filter:
    """The filter that the options of ``add_filters`` ask for.

    Raises:
        ConfigError: a status or an age is none.
    """
    now = time.time()
    return Filter(
        text=options.search or "",
        states=frozenset(_state(word) for text in options.status for word in text.split(",")),
        pipeline=options.pipeline,
        since=now - seconds_of(options.since) if options.since else None,
        before=now - seconds_of(options.older_than) if options.older_than else None,
        archived=None if options.all else options.archived,
    )


def add_filters(parser: argparse.ArgumentParser) -> None:
    """Give a command the options that choose runs."""
    group = parser.add_argument_group("which runs")
    group.add_argument("--search", default="", metavar="TEXT", help="a part of the name, or the beginning of the id")
    text = f"only these, with commas between them: {', '.join(STATES)}"
    group.add_argument("--status", action="append", default=[], metavar="STATUS", help=text)
    group.add_argument("--since", default="", metavar="AGE", help="none older: 30m, 12h, 2d, 1w")
    group.add_argument("--older-than", default="", metavar="AGE", help="none younger")
    group.add_argument("--pipeline", default="", metavar="NAME", help="a part of the pipeline's name")
    group.add_argument("--archived", action="store_true", help="those put away")
    group.add_argument("--all", action="store_true", help="those put away too")


def seconds_of(text: str) -> float:
    """An age such as ``2d`` or ``1d12h`` in seconds.

    Raises:
        ConfigError: it is none.
    """
    if not re.fullmatch(rf"({_AGE.pattern})+", text.strip()):
        raise ConfigError(f"{text!r} is no age: write 30m, 12h, 2d or 1w.")
    return sum(float(number) * _UNITS[unit] for number, unit in _AGE.findall(text))


def _state(word: str) -> State:
    wanted = re.sub(r"[\s_-]", "", word).lower()
    for state in STATES:
        if state.replace(" ", "").lower() == wanted or (wanted == "running" and state == "In Progress"):
            return state
    raise ConfigError(f"There is no status {word!r}: it is one of {', '.join(STATES)}.")
