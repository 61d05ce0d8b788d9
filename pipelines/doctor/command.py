"""``python -m pipelines.doctor``: say what will break a run, before it does."""

import argparse
import json
import os
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.text import Text

from components.shared.errors import PipelineError
from pipelines.backends.cluster.connection import add_endpoint_options, connect, endpoint_of
from pipelines.backends.cluster.plan import STORE
from pipelines.config import TrainingConfig
from pipelines.dataset_commands.output import page
from pipelines.doctor.cluster import Asked, cluster_checks
from pipelines.doctor.findings import Check, Finding, problem, run_checks, warning
from pipelines.doctor.images import check_images
from pipelines.doctor.local import local_checks
from pipelines.doctor.nodes import needs_of
from pipelines.doctor.package import needs_of_package
from pipelines.doctor.store import check_store
from pipelines.packages import build_package
from pipelines.parameters import resolve
from pipelines.terminal import print_error, print_line

SUCCESS, BROKEN, INTERRUPTED = 0, 2, 130
SECONDS, MOST_SECONDS = 30.0, 600.0
_STORE_NAMES = ("S3_ENDPOINT_URL", "AWS_ACCESS_KEY_ID")
_COLOURS = {"ok": "green", "warning": "yellow", "problem": "red"}
_WIDTH = 18  # of the longest name that is common


def main(arguments: Sequence[str] | None = None) -> int:
    """The command: 0 nothing will break a run, 2 something will or an option is wrong, 130 stopped."""
    options = _parser().parse_args(arguments)
    try:
        findings = run_checks(_checks(options), options.timeout)
    except PipelineError as error:
        print_error(error)
        if options.json:
            print_line(json.dumps({"error": str(error)}))
        return error.exit_code
    except KeyboardInterrupt:
        return INTERRUPTED
    broken = any(finding.state == "problem" for finding in findings)
    if options.json:
        print_line(json.dumps({"ok": not broken, "findings": [finding.summary() for finding in findings]}))
    else:
        show(findings, page())
    return BROKEN if broken else SUCCESS


def show(findings: Sequence[Finding], console: Console) -> None:
    """One line a finding, what to do beneath it, and a last line that counts them."""
    for finding in findings:
        line = Text(f"{finding.state:<9}", style=_COLOURS[finding.state])
        line.append(f"{finding.name:<{_WIDTH}} {finding.text}", style="default")
        console.print(line, soft_wrap=True, highlight=False)
        if finding.fix:
            console.print(Text(f"{'':<9}{'':<{_WIDTH}} {finding.fix}", style="dim"), soft_wrap=True, highlight=False)
    counts = {state: sum(finding.state == state for finding in findings) for state in _COLOURS}
    verdict = "something will break a run" if counts["problem"] else "nothing found that breaks a run"
    counted = ", ".join(
        f"{count} {state}{'s' if state != 'ok' and count != 1 else ''}" for state, count in counts.items()
    )
    console.print(f"\n{verdict} ({counted})", highlight=False)


def _checks(options: argparse.Namespace) -> list[Check]:
    config, chosen = resolve(options.config, options.set, {"store": options.store} if options.store else {})
    if options.local:
        store = config.store if "store" in chosen else (options.runs.resolve() / "store").as_uri()
        return local_checks(config, options.runs.resolve(), store)
    package = needs_of_package(build_package("training"))
    cluster = connect(endpoint_of(options))
    checks = cluster_checks(cluster, Asked(package, needs_of(config)), options.timeout)
    return [
        *checks[:1],
        Check("store", partial(_store, config, chosen)),
        Check("images", partial(check_images, package.images.values())),
        *checks[1:],
    ]


def _store(config: TrainingConfig, chosen: set[str]) -> Iterator[Finding]:
    """The store of a run in a cluster, found as ``submit`` finds it; a folder of this machine cannot be it."""
    uri = config.store if "store" in chosen else os.environ.get(STORE, "")
    if not uri:
        fix = f"Give the one of your runs: --store s3://bucket/prefix, or {STORE}."
        yield warning("store", "none is named: nothing was looked at", fix)
    elif not uri.startswith("s3://"):
        said = f"{uri!r} lies on one machine, and pods run on others"
        yield problem("store", said, "Give an S3 address: --store s3://bucket/prefix.")
    elif any(os.environ.get(name) for name in _STORE_NAMES):
        yield from check_store(uri)
    else:
        yield from _unnamed_store(uri)


def _unnamed_store(uri: str) -> list[Finding]:
    """A store that only the pods' secret leads to, unless this machine has a role that does."""
    try:
        return list(check_store(uri))
    except PipelineError:
        said = f"nothing in this environment leads to {uri!r}: only the pods, by their secret, see it"
        fix = f"To check it and to upload data from here, set {', '.join(_STORE_NAMES)} and AWS_SECRET_ACCESS_KEY."
        return [warning("store", said, fix)]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m pipelines.doctor",
        description="Say what will break a run, before it does: one line a check, and beneath it what to do.",
        epilog="exit codes: 0 nothing found that breaks a run, 2 something will, or an option is wrong, 130 stopped",
    )
    parser.add_argument("--local", action="store_true", help="look at this machine only, for runs with --local")
    parser.add_argument("--store", metavar="URI", help="the same as --set store=URI")
    parser.add_argument("--config", type=_path, metavar="FILE", help="YAML file with the parameters of a run")
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="set one parameter; wins over --config"
    )
    parser.add_argument(
        "--runs", type=_path, default=Path("runs"), metavar="DIR", help="where local runs are kept (default: runs)"
    )
    parser.add_argument(
        "--timeout", type=_seconds, default=SECONDS, metavar="SECONDS", help=f"at most so long (default: {SECONDS:g})"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of lines")
    add_endpoint_options(parser)
    return parser


def _path(text: str) -> Path:
    return Path(text).expanduser()


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 1 <= seconds <= MOST_SECONDS:
        raise argparse.ArgumentTypeError(f"{text!r} must be a number of seconds, 1 to {MOST_SECONDS:g}")
    return seconds


if __name__ == "__main__":
    sys.exit(main())
