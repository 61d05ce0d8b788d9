"""``python -m pipelines.runs``: look at, follow and manage runs, on a cluster and on this machine."""

import argparse
import itertools
import json
import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.markup import escape

from components.shared.errors import ConfigError, PipelineError
from pipelines.backends.cluster.connection import add_endpoint_options
from pipelines.dataset_commands.output import page
from pipelines.runs.commands import (
    Where,
    abort_run,
    archive_runs,
    delete_runs,
    rerun_run,
    retry_run,
    show_logs,
    watch_run,
)
from pipelines.runs.select import LocalRuns, add_filters, filter_of, runs_of
from pipelines.runs.table import parameters_text, run_page, runs_table
from pipelines.terminal import PatientConsole, discard, print_line

SUCCESS, INTERRUPTED = 0, 130
_RUN = "an id, at least four of its first letters, a name, or 'latest'"
_EXIT_CODES = (
    "0 success, 1 failed, 2 bad input, 130 stopped; watch: the run's own, 1 failed or aborted, 3 the gate was"
    " asked for and not met, 75 told to end with what it learned saved, 130 terminated by a person"
)
Do = Callable[[argparse.Namespace, Where], int]
Commands = argparse._SubParsersAction  # noqa: SLF001 - argparse has no public name for what it returns


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; see its help for the exit codes."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.ERROR, format="%(message)s", stream=sys.stderr)
    console = PatientConsole(stderr=True)
    try:
        return int(options.do(options, runs_of(options)))
    except PipelineError as error:
        console.print(f"[red]error:[/] {escape(str(error))}", highlight=False, soft_wrap=True)
        if options.json:
            print_line(json.dumps({"error": str(error)}))
        return error.exit_code
    except KeyboardInterrupt:
        said = "stopped watching[/]; the run goes on" if options.do is watch_run else "stopped[/]"
        console.print(f"\n[yellow]{said}", highlight=False)
        return INTERRUPTED
    except BrokenPipeError:
        discard(sys.stdout)
        return SUCCESS


def list_runs(options: argparse.Namespace, runs: Where) -> int:
    """A page of the runs that fit, the newest first."""
    if options.page < 1 or options.limit < 1:
        raise ConfigError("--page and --limit count from 1.")
    first = (options.page - 1) * options.limit
    found = list(itertools.islice(runs.views(filter_of(options)), first, first + options.limit + 1))
    views, more = found[: options.limit], len(found) > options.limit
    blind = list(dict.fromkeys(sentence for view in views for sentence in view.facts.blind))
    if options.json:
        rows = [view.summary() for view in views]
        print_line(json.dumps({"runs": rows, "page": options.page, "more": more, "blind": blind}))
        return SUCCESS
    console = page()
    if not views:
        where = f" in {str(runs.folder)!r}" if isinstance(runs, LocalRuns) else ""
        console.print(f"no runs{where}" + (" on this page" if first else ""), highlight=False, markup=False)
    else:
        console.print(runs_table(views, console.width))
    for sentence in blind:
        console.print(f"[yellow]![/] {escape(sentence)}", highlight=False)
    if more:
        console.print(f"more: --page {options.page + 1}", style="dim", highlight=False)
    return SUCCESS


def show_run(options: argparse.Namespace, runs: Where) -> int:
    """All of one run."""
    view = runs.view(options.run)
    if options.json:
        print_line(json.dumps(view.details()))
        return SUCCESS
    console = page()
    run_page(view, console)
    if options.parameters:
        console.print()
        console.print(parameters_text(view.facts.parameters), highlight=False, markup=False, soft_wrap=True)
    return SUCCESS


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m pipelines.runs",
        description="Look at, follow and manage runs, on a cluster and on this machine.",
        epilog=f"RUN is {_RUN}. Exit codes: {_EXIT_CODES}.",
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    found = _command(commands, "list", list_runs, "the runs, the newest first", run="")
    add_filters(found)
    found.add_argument("--limit", type=int, default=20, metavar="N", help="runs on a page (default: 20)")
    found.add_argument("--page", type=int, default=1, metavar="N", help="which page (default: 1)")

    found = _command(commands, "show", show_run, "one run: its status, why, and its steps")
    found.add_argument("--parameters", action="store_true", help="its parameters too")

    found = _command(commands, "watch", watch_run, "follow a run until it ends")
    found.add_argument("--gate", action="store_true", help="exit with 3 when the quality gate is not met")
    found.add_argument("--interval", type=_seconds, metavar="SECONDS", help="between two looks (default: 2)")

    found = _command(commands, "logs", show_logs, "what a step wrote; the one that failed or goes on, unless named")
    found.add_argument("--step", default="", metavar="STEP", help="this step, such as model_train")
    found.add_argument("--all", action="store_true", help="every step, one after the other")
    found.add_argument("--follow", "-f", action="store_true", help="go on while it writes")
    found.add_argument("--previous", action="store_true", help="of the attempt before")

    found = _command(commands, "abort", abort_run, "end a run, and say when it is over")
    found.add_argument("--reason", default="", metavar="TEXT", help="kept with the run")
    found.add_argument("--no-wait", action="store_true", help="do not wait until it is over")
    found.add_argument("--timeout", type=_seconds, default=300.0, metavar="SECONDS", help="wait so long (default: 300)")
    found.add_argument("--force", action="store_true", help="give its pods no time to save what they have")

    found = _command(commands, "retry", retry_run, "let a failed run go on with the step that failed")
    found.add_argument("--watch", action="store_true", help="follow it")

    found = _command(commands, "rerun", rerun_run, "start a run of the same version with the same parameters")
    found.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="another value")
    found.add_argument("--name", default="", help="how the new run is called (on a cluster)")
    found.add_argument("--watch", action="store_true", help="follow it")

    for name, do, text in (
        ("archive", archive_runs, "put runs away, so that they are no longer listed"),
        ("delete", delete_runs, "remove runs that are over; models and data sets stay"),
    ):
        found = _command(commands, name, do, text, run="*")
        add_filters(found)
        found.add_argument("--yes", "-y", action="store_true", help="do not ask")
    return parser


def _command(
    commands: "Commands[argparse.ArgumentParser]", name: str, do: Do, text: str, *, run: str = "1"
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
    parser.set_defaults(do=do)
    if run == "1":
        parser.add_argument("run", metavar="RUN", help=_RUN)
    elif run:
        parser.add_argument("run", nargs="*", metavar="RUN", help=_RUN)
    parser.add_argument("--json", action="store_true", help="print one JSON document instead of tables")
    group = parser.add_argument_group("where the runs are")
    group.add_argument("--local", action="store_true", help="on this machine, as without any word of a cluster")
    group.add_argument(
        "--runs", type=lambda text: Path(text).expanduser(), metavar="DIR",
        help="folder of this machine's runs (default: runs); given without --host, the same as --local with it",
    )  # fmt: skip
    group.add_argument(
        "--store", default="", metavar="URI", help="the runs' store as seen from here, where it has another address"
    )
    add_endpoint_options(parser)
    return parser


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 <= value < 1e7:  # noqa: PLR2004 - months
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds")
    return value


if __name__ == "__main__":
    sys.exit(main())
