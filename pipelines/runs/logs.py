"""What the steps of a run wrote: from its pods, and when those are gone from what was kept of their logs."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import urllib3

from components.shared.errors import ClusterError, ConfigError, PipelineError, StoreError, in_one_line
from components.shared.store import open_store
from pipelines.backends.cluster.calls import asked
from pipelines.backends.cluster.client import CONNECT_SECONDS
from pipelines.runs.facts import Collector
from pipelines.runs.model import RunFacts, StepFacts
from pipelines.runs.pods import MAIN, Pod
from pipelines.runs.status import step_statuses
from pipelines.runs.told import KfpRun

ARTIFACT = "executor-logs"  # what KFP's launcher uploads; those of attempts after the first have a suffix
LAUNCHER = "kfp-launcher"
DEFAULT_ROOT = "minio://mlpipeline/v2/artifacts"
_SILENCE = 3600.0  # seconds a step may say nothing while its log is followed
_RECONNECTS = 20  # in a row that bring nothing new
_LONGEST_WAIT = 15.0
_LONG = 60.0  # seconds after which the end of a log that is followed may be the server's
_FIRST = ("Failed", "Aborted", "In Progress", "Rerun", "Terminated", "Pending")
Write = Callable[[str], None]


@dataclass(frozen=True)
class LogWish:
    """Which log: a step's (empty: the one that matters most), all of them, on and on, or the attempt before."""

    step: str = ""
    every: bool = False
    follow: bool = False
    previous: bool = False


def chosen_steps(facts: RunFacts, wish: LogWish) -> list[StepFacts]:
    """The steps whose logs are wanted.

    Raises:
        ConfigError: there is no such step, or none has begun.
    """
    steps = list(facts.steps)
    if wish.step:
        name = wish.step.replace("-", "_")
        found = [step for step in steps if name in {step.name.replace("-", "_"), step.name}]
        if not found:
            names = ", ".join(step.name for step in steps) or "none yet"
            raise ConfigError(f"The run has no step {wish.step!r}: its steps are {names}.")
        return found
    begun = [(step, status) for step, status in step_statuses(facts) if status.state not in {"Created", "Skipped"}]
    if wish.every and begun:
        return [step for step, _ in begun]
    for state in _FIRST:
        for step, status in begun:
            if status.state == state:
                return [step]
    if not begun:
        raise ConfigError("No step of the run has begun yet, so nothing was written.")
    return [begun[-1][0]]


def write_log(collector: Collector, run: KfpRun, step: StepFacts, wish: LogWish, write: Write) -> None:
    """Write what a step of a run on a cluster wrote.

    Raises:
        ConfigError: nothing is kept of it; says where was looked.
        ClusterError: the log could not be read to its end.
    """
    tried: list[str] = []
    found = _pods_of(step, wish)
    if found:
        try:
            for pod, own in found:
                if len(found) > 1:
                    write(f"==> {pod.name} <==\n")
                _write_pod(collector, pod, own, write)
        except ClusterError as error:
            tried.append(in_one_line(error))
        else:
            return
    elif step.pods:
        tried.append(f"its pod {step.pods[-1].name!r} has not begun")
    else:
        tried.append("its pods are gone or cannot be seen")
    kept = _kept(collector, run, step, tried)
    if not kept:
        raise ConfigError(f"There is no log of {step.name!r}: {'; '.join(tried)}.")
    write(kept if kept.endswith("\n") else f"{kept}\n")


def _pods_of(step: StepFacts, wish: LogWish) -> list[tuple[Pod, LogWish]]:
    """The pods whose logs are wanted, of each turn of a loop one, and how; an attempt before has a pod of its own."""
    found = []
    for track in step.tracks or (step.pods,):
        begun = [pod for pod in track if pod.status.phase not in {"Pending", ""}]
        if wish.previous and len(begun) > 1:
            found.append((begun[-2], LogWish(step=wish.step)))
        elif begun:
            found.append((begun[-1], wish))
    going = [one for one in found if not one[0].is_over]
    return going[:1] if wish.follow and going else found


def _write_pod(collector: Collector, pod: Pod, wish: LogWish, write: Write) -> None:
    """Write a pod's log; when the connection is lost or closed while it is followed, go on where it was."""
    written, failures = 0, 0
    while True:
        began, before = time.monotonic(), written
        try:
            for number, text in enumerate(_lines(_chunks(collector, pod, wish))):
                if number >= before:
                    write(text)
                    written += 1
        except (urllib3.exceptions.HTTPError, ConnectionError, TimeoutError) as error:
            failures = 1 if written > before else failures + 1
            if not wish.follow or failures >= _RECONNECTS:
                raise ClusterError(f"The log of {pod.name!r} broke off: {in_one_line(error)}.") from error
            time.sleep(min(failures, _LONGEST_WAIT))
        else:
            if not (wish.follow and time.monotonic() - began > _LONG and _still_runs(collector, pod)):
                return


def _still_runs(collector: Collector, pod: Pod) -> bool:
    """Whether a pod goes on whose log has ended: servers close what is open for hours."""
    pods = collector.kube.pods([pod.run_id], unfinished=True).get(pod.run_id, [])
    return any(one.name == pod.name and not one.is_over for one in pods)


def _chunks(collector: Collector, pod: Pod, wish: LogWish) -> Iterator[bytes]:
    main = pod.main is not None or not pod.status.container_statuses
    container = {"container": MAIN} if main else {"container": pod.status.container_statuses[0].name}
    more: dict[str, Any] = {**container, "previous": wish.previous, "follow": wish.follow}
    answer = asked(
        collector.cluster.core().read_namespaced_pod_log,
        pod.name,
        collector.cluster.namespace,
        _preload_content=False,
        _request_timeout=(CONNECT_SECONDS, _SILENCE if wish.follow else 60.0),
        what=f"read the log of the pod {pod.name!r}",
        **more,
    )
    yield from answer.stream()


def _lines(chunks: Iterator[bytes]) -> Iterator[str]:
    rest = b""
    for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        yield from (f"{line.decode('utf-8', 'replace')}\n" for line in whole)
    if rest:
        yield rest.decode("utf-8", "replace")


def _kept(collector: Collector, run: KfpRun, step: StepFacts, tried: list[str]) -> str:
    """What was kept of a log: by KFP's launcher as an artifact, else by the run itself in its store."""
    root = run.runtime_config.pipeline_root or _root_of(collector)
    base = f"{root.rstrip('/')}/{collector.runs.pipeline(run)}/{run.run_id}/{step.name.replace('_', '-')}"
    try:
        store = open_store(base.replace("minio://", "s3://", 1))
        keys = sorted(one.key for one in store.list("") if one.key.rpartition("/")[2].startswith(ARTIFACT))
        if keys:
            return store.read(keys[-1]).decode("utf-8", "replace")
        tried.append(f"below {base!r} lies no {ARTIFACT}")
    except PipelineError as error:
        tried.append(f"{base!r} cannot be read ({in_one_line(error)})")
    mine = collector.store_of(run)
    with suppress(StoreError):
        kept = collector.stores.log(mine, run.run_id, step.name) if mine else ""
        if kept:
            return kept
    return ""


def _root_of(collector: Collector) -> str:
    """Where the launcher keeps artifacts when the run does not say."""
    try:
        found = asked(
            collector.cluster.core().read_namespaced_config_map,
            LAUNCHER,
            collector.cluster.namespace,
            what=f"read the ConfigMap {LAUNCHER!r}",
            tries=1,
        )
    except ClusterError:
        return DEFAULT_ROOT
    return str((found.data or {}).get("defaultPipelineRoot") or DEFAULT_ROOT)


def follow_local(paths: Sequence[Any], is_live: Callable[[], bool], write: Write, pause: Callable[[], None]) -> None:
    """Write a local log as it grows, until the run is over."""
    path, position = paths[0], 0
    while True:
        live = is_live()
        with suppress(FileNotFoundError), path.open("rb") as handle:
            handle.seek(position)
            data = handle.read()
            position += len(data)
            if data:
                write(data.decode("utf-8", "replace"))
        if not live:
            return
        pause()
