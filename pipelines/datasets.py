"""``python -m pipelines.datasets``: look at, compare, export, verify and clean up the datasets of a store."""

import argparse
import sys
from collections.abc import Sequence

from pipelines.dataset_commands.compare import diff_datasets, report_datasets
from pipelines.dataset_commands.keep import collect_garbage, move_alias, remove_version, verify_datasets
from pipelines.dataset_commands.look import list_datasets, show_dataset
from pipelines.dataset_commands.write import export_dataset
from pipelines.store_command import Commands, add_command, expanded_path, run_command

_VERSION = "NAME, NAME@alias, NAME@version or NAME@ and at least six of a version's first digits"


def main(arguments: Sequence[str] | None = None) -> int:
    """The command: 0 success, 1 something failed or is damaged, 2 bad input, 130 stopped."""
    return run_command(_parser(), arguments)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m pipelines.datasets",
        description="Look at, compare, export, verify and clean up the datasets of a store.",
        epilog=f"A version is written {_VERSION}; NAME alone is NAME@latest.",
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    found = add_command(commands, "list", list_datasets, "the versions of all datasets, the newest first")
    found.add_argument("name", nargs="?", metavar="NAME", help="only this dataset")

    found = add_command(commands, "show", show_dataset, "one version: classes, splits, shards and ledger")
    found.add_argument("dataset", metavar="NAME[@VERSION]", help=_VERSION)

    found = add_command(commands, "export", export_dataset, "write a version as files of an annotation format")
    found.add_argument("dataset", metavar="NAME[@VERSION]", help=_VERSION)
    found.add_argument("--format", required=True, help="coco, yolo, voc, ... (a wrong one lists them)")
    found.add_argument("--longest-edge", type=_edge, default=0, metavar="PIXELS", help="scale larger images down")
    found.add_argument(
        "target", type=expanded_path, metavar="TARGET", help="a new or empty folder, or a new .zip or .tar"
    )

    found = add_command(commands, "diff", diff_datasets, "what changed from one version to another")
    found.add_argument("before", metavar="A", help=_VERSION)
    found.add_argument("after", metavar="B", help=_VERSION)

    found = add_command(commands, "report", report_datasets, "an HTML page that shows versions side by side")
    found.add_argument("datasets", nargs="+", metavar="NAME[@VERSION]", help=_VERSION)
    found.add_argument("-o", "--output", type=expanded_path, required=True, metavar="FILE", help="the page")
    _add_keeping(commands)
    return parser


def _add_keeping(commands: "Commands[argparse.ArgumentParser]") -> None:
    found = add_command(commands, "verify", verify_datasets, "read every byte of a version and compare its digests")
    found.add_argument("dataset", nargs="?", metavar="NAME[@VERSION]", help=_VERSION)
    found.add_argument("--all", action="store_true", help="every version of every dataset; each shard once")
    found.add_argument("--drop-damaged", action="store_true", help="remove damaged shards, for a load to bring again")

    found = add_command(
        commands, "gc", collect_garbage, "remove what no version of any dataset reaches, and old checkpoints"
    )
    found.add_argument("--dry-run", action="store_true", help="only say what would be removed")
    found.add_argument(
        "--older-than", type=_amount, default=24.0, metavar="HOURS", help="keep what is younger (default: 24)"
    )
    found.add_argument(
        "--checkpoints-older-than",
        type=_amount,
        default=14.0,
        metavar="DAYS",
        help="remove the checkpoints of trainings to which nothing happened for so long (default: 14)",
    )
    found.add_argument("--verbose", action="store_true", help="list what was removed")
    found.add_argument(
        "--cache", type=_amount, metavar="GB", help="also shrink this machine's image cache to that size"
    )

    found = add_command(commands, "alias", move_alias, "point an alias at a version")
    found.add_argument("name", metavar="NAME", help="the dataset")
    found.add_argument("alias", metavar="ALIAS", help="champion, reviewed, ...")
    found.add_argument("version", metavar="VERSION", help="a version, its first digits, or another alias")

    found = add_command(commands, "rm", remove_version, "remove a version that no alias points to")
    found.add_argument("dataset", metavar="NAME@VERSION", help=_VERSION)
    found.add_argument("--with-aliases", action="store_true", help="and the aliases that point to it")


def _amount(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} must be a number, 0 or more")
    return value


def _edge(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} must be a whole number of pixels, 0 or more")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
