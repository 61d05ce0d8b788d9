"""``scripts/extract``: the inference files of a packed model back out of an image or archive, without running it."""

import argparse
import logging
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from components.shared.errors import ArchiveError, PipelineError
from components.shared.inference_files import new_folder, write_inference_files
from pipelines.dataset_commands.output import line, page
from pipelines.images.source import open_source
from pipelines.terminal import print_error

INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """The command: 0 success, 1 what was given is damaged or not what it claims, 2 bad input, 130 stopped."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.ERROR, format="%(message)s", stream=sys.stderr)
    try:
        tag, files = extract(options.source, options.target, digest=options.digest)
    except PipelineError as error:
        print_error(error)
        return error.exit_code
    except KeyboardInterrupt:
        return INTERRUPTED
    console = page()
    for name in files:
        line(console, "", name)
    line(console, "extracted", f"{tag}: {len(files)} files, every one as its manifest says")
    line(console, "to", options.target)
    return 0


def extract(source: str, target: Path, *, digest: str = "") -> tuple[str, tuple[str, ...]]:
    """Write the inference files of what ``source`` names into the new folder ``target``; gives the tag and the names.

    Args:
        source: see ``open_source``.
        target: a new or empty folder; nothing is left there when anything is wrong.
        digest: the content digest that is expected; empty where any will do.

    Raises:
        ConfigError: ``target`` holds something already, or ``source`` names nothing.
        ArchiveError: it holds no packed model, another one than expected, or one that is not what its manifest says.
        UnsafeInputError: it tries to do harm.
    """
    with new_folder(target) as folder, tempfile.TemporaryDirectory(dir=folder.parent) as work:
        opened = open_source(source, Path(work))
        manifest = opened.manifest
        if digest and manifest.content_digest != digest.removeprefix("sha256:"):
            raise ArchiveError(
                f"{source!r} holds {manifest.tag!r} with the content digest {manifest.content_digest!r},"
                f" not {digest!r}: it is another model."
            )
        return manifest.tag, write_inference_files(opened, folder)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="scripts/extract",
        description="Write the inference files of a packed model into a folder, verified, without running anything.",
        epilog="Layers of an image are read as untrusted files; nothing is written but files the manifest names.",
    )
    parser.add_argument(
        "source",
        metavar="SOURCE",
        help="an archive (folder or .bento), an image file (OCI layout, docker archive; oci:DIR:TAG names one of"
        " several), or an image's name, which skopeo fetches",
    )
    parser.add_argument("target", type=Path, metavar="DIR", help="a new or empty folder")
    parser.add_argument("--digest", default="", metavar="SHA256", help="the content digest it has to have")
    return parser


if __name__ == "__main__":
    sys.exit(main())
