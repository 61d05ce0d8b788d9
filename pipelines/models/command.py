"""``python -m pipelines.models``: look at, compare, promote, take back and export the published models of a store."""

import argparse
import sys
from collections.abc import Sequence

from pipelines.models.compare import compare_models
from pipelines.models.export import export_model
from pipelines.models.look import list_models, show_model
from pipelines.models.move import promote_model, roll_back
from pipelines.store_command import add_command, expanded_path, run_command

_VERSION = "NAME, NAME@champion, NAME@version or NAME@ and at least six of a version's first digits"


def main(arguments: Sequence[str] | None = None) -> int:
    """The command: 0 success, 1 something failed or is damaged, 2 bad input, 130 stopped."""
    return run_command(_parser(), arguments)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m pipelines.models",
        description="Look at, compare, promote, take back and export the published models of a store.",
        epilog=f"A version is written {_VERSION}; NAME alone is NAME@champion.",
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    found = add_command(commands, "list", list_models, "the versions of all models, the newest first")
    found.add_argument("name", nargs="?", metavar="NAME", help="only this model")

    found = add_command(commands, "show", show_model, "one version: data, run, code, metrics, gate, licences, files")
    found.add_argument("model", metavar="NAME[@VERSION]", help=_VERSION)

    found = add_command(commands, "compare", compare_models, "two versions side by side")
    found.add_argument("before", metavar="A", help=_VERSION)
    found.add_argument("after", metavar="B", help=_VERSION)

    found = add_command(commands, "promote", promote_model, "make a version the champion")
    found.add_argument("model", metavar="NAME@VERSION", help=_VERSION)
    found.add_argument("--force", action="store_true", help="even though its quality gate did not pass")
    found.add_argument("--reason", default="", metavar="TEXT", help="kept with the move; --force needs one")

    found = add_command(commands, "rollback", roll_back, "make the champion before the current one the champion again")
    found.add_argument("name", metavar="NAME", help="the model")
    found.add_argument("--reason", default="", metavar="TEXT", help="kept with the move")

    found = add_command(commands, "export", export_model, "bring a version's archive into a folder, verified")
    found.add_argument("model", metavar="NAME[@VERSION]", help=_VERSION)
    found.add_argument("--extract", action="store_true", help="the inference files instead of the archive")
    found.add_argument("target", type=expanded_path, metavar="TARGET", help="a new or empty folder")
    return parser


if __name__ == "__main__":
    sys.exit(main())
