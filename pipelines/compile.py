"""``python -m pipelines.compile``: write the training DAG as KFP IR YAML."""

import argparse
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from kfp import compiler

from components.shared.errors import ConfigError, PipelineError
from components.shared.files import write_atomically
from pipelines.terminal import print_line
from pipelines.training import STEPS, training

IMAGES = {"steps-python": "detection-pipeline/steps:0.1.0", "trainer-python": "detection-pipeline/trainer:0.1.0"}


def compile_training(images: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The training DAG's IR as a mapping, each step's image replaced.

    Args:
        images: image by step name (``data_load``) or by the name the components use (``steps-python``).
    """
    chosen = {**IMAGES, **(images or {})}
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "training.yaml"
        compiler.Compiler().compile(training, str(path))
        spec: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    for label, executor in spec["deploymentSpec"]["executors"].items():
        container = executor["container"]
        step = label.removeprefix("exec-").replace("-", "_")
        container["image"] = chosen.get(step) or chosen[container["image"]]
    return spec


class _Dumper(yaml.SafeDumper):
    """YAML in which text of several lines stays readable."""


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    lines = "\n".join(line.rstrip() for line in text.split("\n"))
    return dumper.represent_scalar("tag:yaml.org,2002:str", lines, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)


def write_spec(spec: Mapping[str, Any], path: Path) -> None:
    """Write IR as YAML, atomically, keys sorted."""
    with write_atomically(path) as temporary:
        temporary.write_text(yaml.dump(dict(spec), Dumper=_Dumper, sort_keys=True, width=120), encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(
        prog="python -m pipelines.compile", description="Write the training DAG as KFP IR YAML."
    )
    parser.add_argument(
        "-o", "--output", type=Path, default=Path("training.yaml"), help="file to write (default: training.yaml)"
    )
    parser.add_argument(
        "--image",
        action="append",
        default=[],
        metavar="NAME=IMAGE",
        help=f"container image of a step ({', '.join(STEPS)}) or of all that share one ({', '.join(IMAGES)})",
    )
    options = parser.parse_args(arguments)
    try:
        write_spec(compile_training(dict(_image(text) for text in options.image)), options.output)
    except PipelineError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    except OSError as error:
        print(f"{str(options.output)!r} cannot be written: {error.strerror}.", file=sys.stderr)
        return 2
    print_line(str(options.output))
    return 0


def _image(text: str) -> tuple[str, str]:
    name, separator, image = text.partition("=")
    known = (*STEPS, *IMAGES)
    if not separator or not image or name not in known:
        raise ConfigError(f"--image needs NAME=IMAGE with a name of {', '.join(known)}; got {text!r}.")
    return name, image


if __name__ == "__main__":
    sys.exit(main())
