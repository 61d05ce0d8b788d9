"""``python -m pipelines.submit`` for a cluster: what is checked, sent and started there."""

import argparse
import json
import os
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from components.shared.errors import ConfigError
from components.shared.sources import name_of, shown_sources
from pipelines.backends.cluster.calls import asked
from pipelines.backends.cluster.connection import (
    Cluster,
    add_endpoint_options,
    check_named,
    connect,
    endpoint_of,
)
from pipelines.backends.cluster.meter import BarMeter, amount
from pipelines.backends.cluster.plan import Plan, Wishes, make_plan
from pipelines.backends.cluster.raw import RawData, RawStore, look_at, send
from pipelines.backends.cluster.start import Job, check_version, start_run
from pipelines.backends.cluster.upload import experiment_id, upload_package, version_name
from pipelines.catalogue import Pipeline
from pipelines.runs.watch import follow
from pipelines.terminal import PatientConsole, print_line

SUCCESS, INTERRUPTED = 0, 130
EXPERIMENT = ("KF_PIPELINES_OVERRIDE_EXPERIMENT_NAME", "KF_PIPELINES_DEFAULT_EXPERIMENT_NAME")
SERVICE_ACCOUNT = "KFP_SERVICE_ACCOUNT"
_ONLY_THERE = ("host", "experiment", "run_name", "service_account", "watch", "dry_run", "spot")


@dataclass
class Submission:
    """What was, or with ``--dry-run`` would be, sent; ``--json`` prints it."""

    run_id: str | None
    state: str
    name: str
    experiment: str
    pipeline: str
    version: str
    digest: str
    images: list[str]
    parameters: dict[str, Any]
    data: list[dict[str, Any]] = field(default_factory=list)
    page: str = ""
    error: str | None = None


def add_options(parser: argparse.ArgumentParser) -> None:
    """Give a command the options of a run on a cluster."""
    group = parser.add_argument_group("on a cluster")
    group.add_argument("--dry-run", action="store_true", help="show what would be sent, and send nothing")
    group.add_argument("--watch", action="store_true", help="follow the run until it ends")
    group.add_argument("--run-name", default="", metavar="NAME", help="how the run is called (default: name and time)")
    group.add_argument("--experiment", default="", metavar="NAME", help="where it is listed (default: the pipeline's)")
    group.add_argument(
        "--service-account", default="", metavar="NAME", help=f"whose rights its pods have (or {SERVICE_ACCOUNT})"
    )
    group.add_argument("--gpus", type=int, metavar="N", help="the same as --set gpus=N")
    group.add_argument("--accelerator", metavar="TYPE", help="the same as --set accelerator=TYPE")
    group.add_argument("--spot", action="store_true", help="train on nodes that may be taken away, for less")
    add_endpoint_options(parser)


def option_parameters(options: argparse.Namespace) -> dict[str, object]:
    """Parameters that options other than ``--set`` give, by their names."""
    found: dict[str, object] = {}
    if options.data:
        found["source"] = options.data if len(options.data) > 1 else options.data[0]
    found |= {name: getattr(options, name) for name in ("gpus", "accelerator") if getattr(options, name) is not None}
    return found


def check_local(options: argparse.Namespace) -> None:
    """Refuse options that mean nothing on this machine.

    Raises:
        ConfigError: names the first of them.
    """
    for name in _ONLY_THERE:
        if getattr(options, name):
            raise ConfigError(f"--{name.replace('_', '-')} is for a cluster: leave it or --local out.")


def submit_to_cluster(options: argparse.Namespace, pipeline: Pipeline[Any], console: Console) -> int:
    """Check, send and start; returns what the command exits with.

    Args:
        options: as parsed, with those of ``add_options``.
        pipeline: what to run.
        console: where people are told what happens; standard output has only the result.

    Raises:
        PipelineError: something is wrong, or a server refused or failed.
    """
    if options.gate and not options.watch:
        raise ConfigError("--gate waits for the run's measurement on a cluster: give --watch too.")
    endpoint = endpoint_of(options)
    check_named(endpoint)
    plan = make_plan(pipeline, _wishes(options))
    try:
        return _submit(plan, connect(endpoint), pipeline, options, console)
    except KeyboardInterrupt:
        _say(console, "Stopped: what was sent stays, and the same command goes on from there.")
        return INTERRUPTED


def _submit(
    plan: Plan, cluster: Cluster, pipeline: Pipeline[Any], options: argparse.Namespace, console: Console
) -> int:
    if not options.dry_run:
        warning = check_version(cluster.health)
        if warning:
            _say(console, f"warning: {warning}")
        if plan.uploads:
            RawStore.reached(plan.config.store)
    raws = _looked_at(plan, console)
    submission = _submission(options, plan, pipeline, raws)
    _warn_of_images(submission.images, console)
    if options.dry_run:
        return _shown(submission, cluster, options)
    return _sent(submission, cluster, raws, plan, options, console)


def _wishes(options: argparse.Namespace) -> Wishes:
    return Wishes(
        config_file=options.config,
        settings=tuple(options.set),
        overrides=option_parameters(options),
        spot=options.spot,
        caching=not options.no_cache,
    )


def _looked_at(plan: Plan, console: Console) -> dict[Path, RawData]:
    if not plan.uploads:
        return {}
    with BarMeter(console) as meter:
        found = {path: look_at(path, meter) for path in plan.uploads}
    for raw in found.values():
        for line in raw.left_out:
            _say(console, f"left out of {raw.source}: {line}")
    return found


def _submission(
    options: argparse.Namespace, plan: Plan, pipeline: Pipeline[Any], raws: dict[Path, RawData]
) -> Submission:
    addresses = {path: raw.address(plan.config.store) for path, raw in raws.items()}
    usual = next((os.environ[name] for name in EXPERIMENT if os.environ.get(name)), pipeline.name)
    data = [
        {"source": raw.source, "address": addresses[path], "files": len(raw.files), "bytes": raw.total}
        for path, raw in raws.items()
    ]
    return Submission(
        run_id=None,
        state="dry run",
        name=options.run_name
        or f"{plan.config.name or name_of(plan.config.source)} {time.strftime('%Y-%m-%d %H:%M:%S')}",
        experiment=options.experiment or usual,
        pipeline=plan.package.name,
        version=version_name(plan.package),
        digest=plan.package.digest,
        images=plan.images,
        parameters=plan.arguments(addresses),
        data=data,
    )


def _sent(
    submission: Submission,
    cluster: Cluster,
    raws: dict[Path, RawData],
    plan: Plan,
    options: argparse.Namespace,
    console: Console,
) -> int:
    experiment = experiment_id(cluster, submission.experiment)
    _send_data(submission, raws, plan.config.store, console)
    version = upload_package(cluster, plan.package)
    _say(console, f"pipeline {submission.pipeline} {submission.version}: {'uploaded' if version.new else 'is there'}")
    account = options.service_account or os.environ.get(SERVICE_ACCOUNT, "")
    job = Job(submission.name, experiment, version, submission.parameters, account)
    submission.run_id, submission.state = start_run(cluster, job), "submitted"
    submission.page = cluster.ui_link(submission.run_id)
    if not options.watch:
        return _shown(submission, cluster, options)
    _say(console, f"run {submission.run_id}  {submission.page or cluster.ui_hint(submission.run_id)}")
    return _watched(submission, cluster, plan.config.store, options, console)


def _send_data(submission: Submission, raws: dict[Path, RawData], uri: str, console: Console) -> None:
    if not raws:
        return
    store = RawStore.of(uri)
    with BarMeter(console) as meter:
        for row, raw in zip(submission.data, raws.values(), strict=True):
            sent = send(raw, store, meter)
            row |= {"sent": sent.files, "present": sent.present}
            done = f"{sent.files} of {len(raw.files)} files sent" if sent.files else "all of it is there already"
            _say(console, f"data {raw.source} -> {row['address']}: {done}")


def _watched(
    submission: Submission, cluster: Cluster, store: str, options: argparse.Namespace, console: Console
) -> int:
    run_id = submission.run_id or ""
    try:
        code = follow(cluster, run_id, console, gate=options.gate, store=store)
    except KeyboardInterrupt:
        _say(console, f"The run goes on; watch it again with: python -m pipelines.runs watch {run_id}")
        return INTERRUPTED
    ended = asked(cluster.kfp.runs.run_service_get_run, run_id, what=f"look at the run {run_id!r}")
    submission.state = (ended.state or "unknown").lower()
    _shown(submission, cluster, options)
    return code


def _shown(submission: Submission, cluster: Cluster, options: argparse.Namespace) -> int:
    if options.json:
        print_line(json.dumps(asdict(submission)))
        return SUCCESS
    output = PatientConsole()
    rows = [
        ("run", f"{submission.run_id}: {submission.state}" if submission.run_id else "would be started"),
        ("name", submission.name),
        ("page", submission.page or (cluster.ui_hint(submission.run_id) if submission.run_id else "")),
        ("experiment", submission.experiment),
        ("pipeline", f"{submission.pipeline} {submission.version}"),
        *(("data", f"{one['source']} -> {one['address']} ({_size(one)})") for one in submission.data),
    ]
    if not submission.run_id:
        rows += [("server", cluster.kfp.api_client.configuration.host), ("digest", f"sha256 {submission.digest}")]
        rows += [("image", image) for image in submission.images]
        rows += [("parameter", f"{name}={_brief(name, value)}") for name, value in submission.parameters.items()]
    elif submission.state == "submitted":
        rows.append(("watch", f"python -m pipelines.runs watch {submission.run_id}"))
    for label, text in rows:
        if text:
            _say(output, f"{label:<12}{text}")
    return SUCCESS


def _size(row: dict[str, Any]) -> str:
    return f"{row['files']} file{'' if row['files'] == 1 else 's'}, {amount(row['bytes'])}"


def _brief(name: str, value: object) -> str:
    if name == "source":
        return shown_sources(str(value))  # an address may hold what gives access
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _warn_of_images(images: list[str], console: Console) -> None:
    loose = [image for image in images if "@sha256:" not in image]
    if loose:
        _say(
            console,
            f"warning: {', '.join(loose)}: images without a digest may be others tomorrow, or be nowhere; build and"
            " push them with scripts/build-images.",
        )


def _say(console: Console, text: str) -> None:
    console.print(text, highlight=False, markup=False, emoji=False, soft_wrap=True)
