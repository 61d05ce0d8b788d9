"""``python -m pipelines.compile``: write a DAG as KFP IR YAML."""

import argparse
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from kfp import compiler

from components.shared.cpus import CPUS
from components.shared.errors import ConfigError, PipelineError
from components.shared.files import write_atomically
from pipelines import sweep as sweep_dag
from pipelines.sweep_config import MOST_SETTINGS
from pipelines.terminal import print_error, print_line
from pipelines.training import STEPS, training

IMAGES = {"steps-python": "detection-pipeline/steps:0.1.0", "trainer-python": "detection-pipeline/trainer:0.1.0"}
KINDS = tuple(dict.fromkeys((*STEPS, *sweep_dag.STEPS)))


def compile_training(images: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The training DAG's IR as a mapping, each step's image replaced.

    Args:
        images: image by step name (``data_load``) or by the name the components use (``steps-python``).
    """
    return compile_dag(training, images or {})


def compile_sweep(
    images: Mapping[str, str] | None = None, *, parallelism: int = sweep_dag.PARALLELISM, cpus: int = 0
) -> dict[str, Any]:
    """The sweep DAG's IR as a mapping, each step's image replaced.

    Args:
        images: as for ``compile_training``.
        parallelism: trainings at a time.
        cpus: how many each training may take; 0: all its container has.
    """
    spec = compile_dag(sweep_dag.sweep, images or {})
    (loop,) = (task for task in spec["root"]["dag"]["tasks"].values() if "parameterIterator" in task)
    loop["iteratorPolicy"] = {"parallelismLimit": parallelism}
    if cpus:
        training_container = spec["deploymentSpec"]["executors"]["exec-model-train"]["container"]
        training_container["env"] = [*training_container.get("env", []), {"name": CPUS, "value": str(cpus)}]
    return spec


def compile_dag(dag: Any, images: Mapping[str, str]) -> dict[str, Any]:  # noqa: ANN401 - kfp ships no types
    """A DAG's IR as a mapping, each step's image replaced; an image that is no name of ours stays."""
    chosen = {**IMAGES, **images}
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "dag.yaml"
        compiler.Compiler().compile(dag, str(path))
        spec: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    for label, executor in spec["deploymentSpec"]["executors"].items():
        container = executor["container"]
        step = label.removeprefix("exec-").replace("-", "_")
        container["image"] = chosen.get(step) or chosen.get(container["image"], container["image"])
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
    options = _parser().parse_args(arguments)
    output = options.output or Path(f"{options.pipeline}.yaml")
    try:
        write_spec(_spec(options), output)
    except PipelineError as error:
        print_error(error)
        return error.exit_code
    except OSError as error:
        print_error(f"{str(output)!r} cannot be written: {error.strerror}.")
        return 2
    print_line(str(output))
    return 0


def _spec(options: argparse.Namespace) -> dict[str, Any]:
    images = dict(image_option(text) for text in options.image)
    if options.pipeline == "training":
        if options.parallelism is not None:
            raise ConfigError("--parallelism is for --pipeline sweep: the training pipeline has no loop.")
        return compile_training(images)
    parallelism = sweep_dag.PARALLELISM if options.parallelism is None else options.parallelism
    if not 1 <= parallelism <= MOST_SETTINGS:
        raise ConfigError(f"--parallelism={parallelism}: use 1 to {MOST_SETTINGS}.")
    return compile_sweep(images, parallelism=parallelism)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m pipelines.compile", description="Write a DAG as KFP IR YAML.")
    parser.add_argument(
        "--pipeline", choices=("training", "sweep"), default="training", help="which DAG (default: training)"
    )
    parser.add_argument("-o", "--output", type=Path, help="file to write (default: the DAG's name and .yaml)")
    parser.add_argument(
        "--image",
        action="append",
        default=[],
        metavar="NAME=IMAGE",
        help=f"container image of a step ({', '.join(KINDS)}) or of all that share one ({', '.join(IMAGES)})",
    )
    parser.add_argument("--parallelism", type=int, metavar="N", help="trainings of a sweep at a time (default: 2)")
    return parser


def image_option(text: str, kinds: Sequence[str] = KINDS) -> tuple[str, str]:
    """``NAME=IMAGE`` as a step, or the name of an image, and the image that takes its place.

    Raises:
        ConfigError: it is no such text, or ``kinds`` has no such step.
    """
    name, separator, image = text.partition("=")
    known = (*kinds, *IMAGES)
    if not separator or not image or name not in known:
        raise ConfigError(f"--image needs NAME=IMAGE with a name of {', '.join(known)}; got {text!r}.")
    return name, image


if __name__ == "__main__":
    sys.exit(main())
