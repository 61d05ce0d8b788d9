"""``scripts/build-images``: the images the steps run in, named after git, and the file the compiler reads."""

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.table import Table

from components.shared.errors import ConfigError, PipelineError
from pipelines.dataset_commands.output import line, page, size
from pipelines.images.build import HOW_TO_PIN, IMAGES_FILE, KEYS, ROOT, USUAL, Order, build_images
from pipelines.images.style import check_dockerfiles
from pipelines.images.tool import TOOLS, find_tool
from pipelines.terminal import print_error

BASE_VARIABLE = "PIPELINE_BASE_IMAGE"
INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """The command: 0 success, 1 the tool failed, 2 bad input, 130 stopped."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.ERROR, format="%(message)s", stream=sys.stderr)
    try:
        return _work(options)
    except PipelineError as error:
        print_error(error)
        return error.exit_code
    except KeyboardInterrupt:
        return INTERRUPTED


def _work(options: argparse.Namespace) -> int:
    order = _order(options)
    console = page()
    found = check_dockerfiles([ROOT / "images" / name / "Dockerfile" for name in order.images])
    line(console, "style", found)
    built = []
    for each in build_images(order, find_tool(options.tool)):
        line(console, each.name, f"{each.tag}, {size(each.bytes)}, {each.seconds:.0f} s")
        built.append(each)
    table = Table("image", "size", "seconds", "digest", box=None)
    for each in built:
        table.add_row(KEYS[each.name], size(each.bytes), f"{each.seconds:.0f}", each.digest or "none before a push")
    console.print(table)
    if all(each.pinned for each in built):
        line(console, "written", f"{order.output}: python -m pipelines.compile takes the images from there")
    else:
        line(console, "", "docker knows no digest of an image before it is pushed: give --registry and --push")
    return 0


def _order(options: argparse.Namespace) -> Order:
    if options.push and options.registry == "localhost":
        raise ConfigError("--push needs --registry: say which registry, such as registry.example/team.")
    secrets = {"pip": options.pip_conf, "ca": options.ca}
    return Order(
        base=options.base,
        images=tuple(options.image or USUAL),
        registry=options.registry,
        push=options.push,
        sboms=options.sbom,
        secrets={name: path for name, path in secrets.items() if path},
        allow_tag=options.allow_tag,
        allow_dirty=options.allow_dirty,
        output=options.output,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="scripts/build-images",
        description="Build the images of the steps, the trainer and the service from what git has.",
        epilog=f"The base image by its digest: {HOW_TO_PIN}",
    )
    base = os.environ.get(BASE_VARIABLE, "")
    parser.add_argument(
        "--base",
        default=base,
        metavar="IMAGE@sha256:DIGEST",
        help=f"what they are built on (default: ${BASE_VARIABLE})",
    )
    parser.add_argument(
        "--image",
        action="append",
        metavar="NAME",
        help=f"only this one of {', '.join(KEYS)}; repeatable (default: {', '.join(USUAL)})",
    )
    parser.add_argument("--tool", default="", help=f"{', '.join(TOOLS)} (default: the first that is installed)")
    parser.add_argument("--registry", default="localhost", metavar="HOST/PATH", help="before the images' names")
    parser.add_argument("--push", action="store_true", help="send them to the registry and take the digests from there")
    parser.add_argument(
        "--sbom",
        type=Path,
        nargs="?",
        const=ROOT / "images" / "sbom",
        metavar="DIR",
        help="write what is in each there",
    )
    parser.add_argument("--pip-conf", type=Path, metavar="FILE", help="pip's settings while building; in no layer")
    parser.add_argument("--ca", type=Path, metavar="FILE", help="certificates to trust while building; in no layer")
    parser.add_argument("--allow-tag", action="store_true", help="take a base image that is not pinned by its digest")
    parser.add_argument("--allow-dirty", action="store_true", help="push though files differ from git's last commit")
    parser.add_argument(
        "--output",
        type=Path,
        default=IMAGES_FILE,
        metavar="FILE",
        help="where the digests go (default: images/images.json)",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
