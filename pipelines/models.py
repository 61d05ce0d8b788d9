"""``python -m pipelines.models``: look at, compare, promote, take back and export the published models of a store."""

import argparse
import json
import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.markup import escape

from components.shared.errors import PipelineError
from components.shared.store import Store, open_store
from pipelines.config import TrainingConfig
from pipelines.dataset_commands.output import FAILED, Answer, page
from pipelines.models_compare import compare_models
from pipelines.models_export import export_model
from pipelines.models_look import list_models, show_model
from pipelines.models_move import promote_model, roll_back
from pipelines.terminal import PatientConsole, discard, print_line

INTERRUPTED = 130
_VERSION = "NAME, NAME@champion, NAME@version or NAME@ and at least six of a version's first digits"
_Run = Callable[[argparse.Namespace, Store], Answer]


def main(arguments: Sequence[str] | None = None) -> int:
    """The command: 0 success, 1 something failed or is damaged, 2 bad input, 130 stopped."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.ERROR, format="%(message)s", stream=sys.stderr)
    console = PatientConsole(stderr=True)
    try:
        answer = options.run(options, open_store(options.store))
    except PipelineError as error:
        console.print(f"[red]error:[/] {escape(str(error))}", highlight=False, soft_wrap=True)
        if options.json:
            print_line(json.dumps({"error": str(error)}))
        return error.exit_code
    except KeyboardInterrupt:
        console.print("[yellow]stopped[/]")
        return INTERRUPTED
    try:
        if options.json:
            print_line(json.dumps(answer.data))
        else:
            answer.show(page())
    except OSError as error:  # a full disk; a reader that has gone is no error
        discard(sys.stdout)
        console.print(f"[red]error:[/] The output cannot be written: {error.strerror}.", highlight=False)
        return FAILED
    return int(answer.code)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m pipelines.models",
        description="Look at, compare, promote, take back and export the published models of a store.",
        epilog=f"A version is written {_VERSION}; NAME alone is NAME@champion.",
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    found = _command(commands, "list", list_models, "the versions of all models, the newest first")
    found.add_argument("name", nargs="?", metavar="NAME", help="only this model")

    found = _command(commands, "show", show_model, "one version: data, run, code, metrics, gate, licences, files")
    found.add_argument("model", metavar="NAME[@VERSION]", help=_VERSION)

    found = _command(commands, "compare", compare_models, "two versions side by side")
    found.add_argument("before", metavar="A", help=_VERSION)
    found.add_argument("after", metavar="B", help=_VERSION)

    found = _command(commands, "promote", promote_model, "make a version the champion")
    found.add_argument("model", metavar="NAME@VERSION", help=_VERSION)
    found.add_argument("--force", action="store_true", help="even though its quality gate did not pass")
    found.add_argument("--reason", default="", metavar="TEXT", help="kept with the move; --force needs one")

    found = _command(commands, "rollback", roll_back, "make the champion before the current one the champion again")
    found.add_argument("name", metavar="NAME", help="the model")
    found.add_argument("--reason", default="", metavar="TEXT", help="kept with the move")

    found = _command(commands, "export", export_model, "bring a version's archive into a folder, verified")
    found.add_argument("model", metavar="NAME[@VERSION]", help=_VERSION)
    found.add_argument("--extract", action="store_true", help="the inference files instead of the archive")
    found.add_argument("target", type=_path, metavar="TARGET", help="a new or empty folder")
    return parser


def _command(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]", name: str, run: _Run, text: str
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
    parser.set_defaults(run=run)
    default = TrainingConfig.model_fields["store"].default
    parser.add_argument("--store", default=default, metavar="URI", help=f"where they lie (default: {default})")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of tables")
    return parser


def _path(text: str) -> Path:
    return Path(text).expanduser()


if __name__ == "__main__":
    sys.exit(main())
