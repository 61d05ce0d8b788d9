"""What ``runs watch, logs, abort, retry, rerun, archive`` and ``delete`` do, on a cluster and on this machine."""

import argparse
import itertools
import json
import sys
import time
from pathlib import Path

from rich.console import Console

from components.shared.errors import ConfigError, PipelineError
from pipelines.runs.abort import AbortWish, abort
from pipelines.runs.act import archive, delete, rerun, retry
from pipelines.runs.local import archive_local, delete_local, end_local, is_alive, run_again
from pipelines.runs.logs import LogWish, chosen_steps, follow_local, write_log
from pipelines.runs.model import BAD
from pipelines.runs.select import ClusterRuns, LocalRuns, filter_of
from pipelines.runs.table import runs_table, short_id
from pipelines.runs.view import RunView
from pipelines.runs.watch import INTERVAL, follow, watch
from pipelines.terminal import PatientConsole, print_line

SUCCESS, FAILED = 0, 1
_MOST = 500  # runs that one command puts away or deletes
Where = ClusterRuns | LocalRuns


def watch_run(options: argparse.Namespace, runs: Where) -> int:
    """Follow a run until it ends; its exit code."""
    console = PatientConsole(stderr=True)
    if isinstance(runs, LocalRuns):
        run_id = runs.find(options.run).record.run_id
        code = watch(lambda: runs.view(run_id), console, gate=options.gate, interval=options.interval or INTERVAL)
    else:
        run_id = runs.find(options.run).run_id
        interval = options.interval or INTERVAL
        code = follow(
            runs.collector.cluster, run_id, console, gate=options.gate, store=options.store, interval=interval
        )
    if options.json:
        print_line(json.dumps(runs.view(run_id).details()))
    return code


def show_logs(options: argparse.Namespace, runs: Where) -> int:
    """Write what a step, or each, wrote."""
    wish = LogWish(step=options.step, every=options.all, follow=options.follow, previous=options.previous)
    view = runs.view(options.run)
    console = PatientConsole(stderr=True)
    for step in chosen_steps(view.facts, wish):
        _tell(console, f"{step.name}{f' on {step.machine}' if step.machine else ''}:")
        if isinstance(runs, ClusterRuns):
            write_log(runs.collector, runs.collector.runs.get(view.facts.run_id), step, wish, _write)
        else:
            _local_log(runs, view.facts.run_id, step.name, wish)
    return SUCCESS


def abort_run(options: argparse.Namespace, runs: Where) -> int:
    """End a run and say when it is over: 0; 1: it is not, after the time that was given."""
    timeout = 0.0 if options.no_wait else options.timeout
    console = PatientConsole(stderr=True)
    if isinstance(runs, LocalRuns):
        found = runs.find(options.run)
        run_id = found.record.run_id
        if not runs.view(run_id).status.is_live:
            return _said(options, run_id, f"had ended already: {runs.view(run_id).status.state}", over=True)
        over = end_local(found, options.reason, timeout=timeout, force=options.force)
        state = runs.view(run_id).status.state
        helps = "--force does not wait for what it saves"
        return _said(options, run_id, f"is over: {state}" if over else f"is still ending; {helps}", over=over)
    run = runs.find(options.run)
    wish = AbortWish(why=options.reason, timeout=timeout, force=options.force)
    outcome = abort(runs.collector, run, wish, lambda text: _tell(console, text))
    state = runs.view(run.run_id).status.state if outcome.over else "In Progress"
    unseen = runs.collector.kube.unseen()
    if outcome.already:
        return _said(options, run.run_id, f"had ended already: {state}", over=True)
    if outcome.over:
        text = f"is over: {state}" + (f". {unseen}" if unseen else "; none of its pods is left")
        return _said(options, run.run_id, text, over=True)
    if options.no_wait:
        return _said(options, run.run_id, "is being ended", over=False, code=SUCCESS)
    left = f" ({', '.join(outcome.left)})" if outcome.left else f" (Kubeflow says {outcome.state})"
    return _said(options, run.run_id, f"is still ending{left}; --force gives its pods no more time", over=False)


def retry_run(options: argparse.Namespace, runs: Where) -> int:
    """Let a failed run go on; on this machine as a new run that takes over what was done."""
    if isinstance(runs, LocalRuns):
        found = runs.find(options.run)
        status = runs.view(found.record.run_id).status
        if status.state not in BAD:
            helps = "abort it first" if status.is_live else "'rerun' starts it anew"
            raise ConfigError(
                f"The run {found.record.run_id!r} is {status.state}, and only a failed one is retried: {helps}."
            )
        return run_again(found, [])
    run = runs.find(options.run)
    retry(runs.collector, run)
    _said(options, run.run_id, "goes on with the step that failed", over=False, code=SUCCESS)
    return _watched(options, runs, run.run_id)


def rerun_run(options: argparse.Namespace, runs: Where) -> int:
    """Start a run with the same parameters, some of them set anew."""
    if isinstance(runs, LocalRuns):
        return run_again(runs.find(options.run), options.set)
    run = runs.find(options.run)
    new = rerun(runs.collector, run, options.set, options.name)
    link = runs.collector.cluster.ui_link(new) or runs.collector.cluster.ui_hint(new)
    _said(options, new, f"was started, as {run.run_id} was: {link}", over=False, code=SUCCESS)
    return _watched(options, runs, new)


def archive_runs(options: argparse.Namespace, runs: Where) -> int:
    """Put runs away: they are no longer listed."""
    return _each(options, runs, "archive")


def delete_runs(options: argparse.Namespace, runs: Where) -> int:
    """Remove runs that are over; models and data sets stay."""
    return _each(options, runs, "delete")


def _each(options: argparse.Namespace, runs: Where, deed: str) -> int:
    views = _chosen(options, runs)
    live = [view for view in views if view.status.is_live]
    if live and options.run:
        raise ConfigError(f"The run {live[0].facts.run_id!r} still goes on: abort it first.")
    views = [view for view in views if not view.status.is_live]
    console = PatientConsole(stderr=True)
    if not views:
        console.print("no run fits", highlight=False)
        return SUCCESS
    if not _agreed(options, views, deed, console):
        console.print("nothing was done", highlight=False)
        return SUCCESS
    done, failed = [], 0
    for view in views:
        try:
            _do(runs, view.facts.run_id, deed, console)
            done.append(view.facts.run_id)
            past = "archived" if deed == "archive" else "deleted"
            _tell(console, f"{past} {view.facts.name} ({view.facts.run_id})")
        except PipelineError as error:
            failed += 1
            _tell(console, f"error: {error}")
    if options.json:
        print_line(json.dumps({"done": done, "failed": failed}))
    return FAILED if failed else SUCCESS


def _chosen(options: argparse.Namespace, runs: Where) -> list[RunView]:
    if options.run:
        return [runs.view(text) for text in dict.fromkeys(options.run)]
    wanted = filter_of(options)
    if not (wanted.text or wanted.states or wanted.pipeline or wanted.before or wanted.since):
        raise ConfigError("Say which runs: their ids or names, or --older-than 30d, --status Failed or --search TEXT.")
    return list(itertools.islice(runs.views(wanted), _MOST))


def _agreed(options: argparse.Namespace, views: list[RunView], deed: str, console: Console) -> bool:
    """Show what would be done and ask; a single run that is put away needs no question."""
    if options.yes or (deed == "archive" and options.run):
        return True
    console.print(runs_table(views, console.width))
    if not sys.stdin.isatty():
        raise ConfigError(f"Nobody can be asked whether to {deed} {len(views)} runs: give --yes.")
    return input(f"{deed} {len(views)} run{'s' if len(views) != 1 else ''}? [y/N] ").strip().lower() in {"y", "yes"}


def _do(runs: Where, run_id: str, deed: str, console: Console) -> None:
    if isinstance(runs, LocalRuns):
        (archive_local if deed == "archive" else delete_local)(runs.find(run_id))
    elif deed == "archive":
        archive(runs.collector, runs.collector.runs.get(run_id))
    else:
        delete(runs.collector, runs.collector.runs.get(run_id), lambda text: _tell(console, text))


def _watched(options: argparse.Namespace, runs: ClusterRuns, run_id: str) -> int:
    if not options.watch:
        return SUCCESS
    return follow(runs.collector.cluster, run_id, store=options.store)


def _local_log(runs: LocalRuns, run_id: str, step: str, wish: LogWish) -> None:
    run = runs.find(run_id)
    record = run.record.step(step)
    path = Path(record.log or run.directory / "logs" / f"{step}.log")
    if wish.previous:
        raise ConfigError("A local run has no attempts before: each is a run of its own ('runs list').")
    if not path.exists():
        path = run.directory / "logs" / "kfp.log"

    def goes_on() -> bool:
        return wish.follow and is_alive(runs.find(run_id))

    follow_local([path], goes_on, _write, lambda: time.sleep(0.3))


def _said(options: argparse.Namespace, run_id: str, text: str, *, over: bool, code: int | None = None) -> int:
    if options.json:
        print_line(json.dumps({"id": run_id, "over": over, "said": text}))
    else:
        print_line(f"run {short_id(run_id)} {text}")
    return (SUCCESS if over else FAILED) if code is None else code


def _write(text: str) -> None:
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError as error:
        raise KeyboardInterrupt from error  # whoever reads it has enough
    except OSError as error:
        raise PipelineError(f"The output cannot be written: {error.strerror}.") from error


def _tell(console: Console, text: str) -> None:
    console.print(text, highlight=False, markup=False, soft_wrap=True)
