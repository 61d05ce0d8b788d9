"""``scripts/containerize``: a container image of the service in a packed model."""

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from components.shared.errors import PipelineError
from pipelines.dataset_commands.output import line, page
from pipelines.images.container import PORT, Build, containerize
from pipelines.images.tool import TOOLS
from pipelines.terminal import print_error

INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """The command: 0 success, 1 the archive is broken or the tool failed, 2 bad input, 130 stopped."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="warning: %(message)s", stream=sys.stderr)
    secrets = {name: path for name, path in {"pip": options.pip_conf, "ca": options.ca}.items() if path}
    build = Build(
        *(options.base, options.tag, options.tool, options.output),
        install=options.install,
        allow_tag=options.allow_tag,
        secrets=secrets,
    )
    try:
        manifest = containerize(options.archive, build)
    except PipelineError as error:
        print_error(error)
        return error.exit_code
    except KeyboardInterrupt:
        return INTERRUPTED
    console = page()
    line(console, "built", f"{options.tag} from {manifest.tag}, every file as its manifest says")
    line(console, "base", options.base)
    line(console, "serves", f"port {PORT}, as a user that is not root")
    if options.output:
        line(console, "to", options.output)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="scripts/containerize",
        description="Build a container image that serves a packed model.",
        epilog="The base image has Python and, without --install, the archive's requirements, as the image 'serving' of"
        " scripts/build-images does.",
    )
    parser.add_argument(
        "archive", type=Path, metavar="ARCHIVE", help="a folder with model.bento and manifest.json, or a .bento"
    )
    parser.add_argument("--base", required=True, metavar="IMAGE@sha256:DIGEST", help="the base image, pinned")
    parser.add_argument("--tag", required=True, metavar="NAME", help="what the image is called")
    parser.add_argument("--tool", default="", help=f"{', '.join(TOOLS)} (default: the first that is installed)")
    parser.add_argument(
        "--output", default="", metavar="KIND:PATH", help="also write it as oci:DIR or docker-archive:FILE"
    )
    parser.add_argument("--install", action="store_true", help="install the archive's requirements (needs a network)")
    parser.add_argument("--pip-conf", type=Path, metavar="FILE", help="pip's settings for --install; in no layer")
    parser.add_argument("--ca", type=Path, metavar="FILE", help="certificates to trust for --install; in no layer")
    parser.add_argument("--allow-tag", action="store_true", help="take a base image that is not pinned by its digest")
    return parser


if __name__ == "__main__":
    sys.exit(main())
