"""What the commands over a store have in common: ``--store``, ``--json``, how errors are told, and the exit code."""

import argparse
import json
import logging
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.markup import escape

from components.shared.errors import PipelineError
from components.shared.store import Store, open_store
from pipelines.config import TrainingConfig
from pipelines.dataset_commands.output import FAILED, Answer, page
from pipelines.terminal import PatientConsole, discard, print_line

INTERRUPTED = 130
STORE = "PIPELINE_STORE"  # the environment variable, which submit reads as well
Commands = argparse._SubParsersAction  # noqa: SLF001 - argparse has no public name for what it returns
Run = Callable[[argparse.Namespace, Store], Answer]


def run_command(parser: argparse.ArgumentParser, arguments: Sequence[str] | None) -> int:
    """Run the chosen command: 0 success, 1 something failed or is damaged, 2 bad input, 130 stopped."""
    options = parser.parse_args(arguments)
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


def add_command(
    commands: "Commands[argparse.ArgumentParser]", name: str, run: Run, text: str
) -> argparse.ArgumentParser:
    """A command with ``--store`` and ``--json``; ``text`` says what it does."""
    parser: argparse.ArgumentParser = commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
    parser.set_defaults(run=run)
    default = os.environ.get(STORE) or TrainingConfig.model_fields["store"].default
    parser.add_argument("--store", default=default, metavar="URI", help=f"where they lie (default: {default})")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of tables")
    return parser


def expanded_path(text: str) -> Path:
    """A path as a person writes it."""
    return Path(text).expanduser()
