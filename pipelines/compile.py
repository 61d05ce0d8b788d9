"""``python -m pipelines.compile``: write a pipeline as a cluster takes it: KFP IR and Kubernetes settings."""

import argparse
import hashlib
import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from google.protobuf import json_format

from components.shared.cpus import CPUS
from components.shared.errors import ConfigError, PipelineError
from components.shared.files import write_atomically
from components.shared.model_lineage import CODE
from pipelines import sweep as sweep_dag
from pipelines.code import code_digest
from pipelines.sweep_config import MOST_SETTINGS
from pipelines.terminal import print_error, print_line
from pipelines.training import STEPS, training, training_in_cluster

if TYPE_CHECKING:
    from pipelines.packages import Package

IMAGES = {"steps-python": "detection-pipeline/steps:0.1.0", "trainer-python": "detection-pipeline/trainer:0.1.0"}
KINDS = tuple(dict.fromkeys((*STEPS, *sweep_dag.STEPS)))


def compile_training(images: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The training DAG's IR for this machine, each step's image replaced.

    Args:
        images: image by step name (``data_load``) or by the name the components use (``steps-python``).
    """
    return compile_dag(training, images or {})[0]


def compile_sweep(
    images: Mapping[str, str] | None = None, *, parallelism: int = sweep_dag.PARALLELISM, cpus: int = 0
) -> dict[str, Any]:
    """The sweep DAG's IR for this machine, each step's image replaced.

    Args:
        images: as for ``compile_training``.
        parallelism: trainings at a time.
        cpus: how many each training may take; 0: all its container has.
    """
    spec, _ = compile_dag(sweep_dag.sweep, images or {})
    _set_parallelism(spec, parallelism)
    if cpus:
        training_container = spec["deploymentSpec"]["executors"]["exec-model-train"]["container"]
        training_container["env"] = [*training_container.get("env", []), {"name": CPUS, "value": str(cpus)}]
    return spec


def compile_package(
    pipeline: str, images: Mapping[str, str], *, parallelism: int = sweep_dag.PARALLELISM
) -> tuple[dict[str, Any], dict[str, Any]]:
    """A pipeline for a cluster: its IR and the document of its Kubernetes settings.

    Args:
        pipeline: ``training`` or ``sweep``.
        images: as for ``compile_training``.
        parallelism: trainings of a sweep at a time.
    """
    dag = training_in_cluster() if pipeline == "training" else sweep_dag.sweep_in_cluster()
    spec, platform = compile_dag(dag, images)
    if pipeline == "sweep":
        _set_parallelism(spec, parallelism)
    sign_code(spec)
    _sign_basis(spec)
    return spec, platform


def sign_code(spec: dict[str, Any]) -> None:
    """End each step's program with the digest of the code it calls.

    A cluster's cache looks at a program's text, never at what it imports, and at an image's name, never at what lies
    under a tag: without this, other code under the same names would be given the old code's results.
    """
    for label, executor in spec["deploymentSpec"]["executors"].items():
        step = re.sub(r"-[0-9]+$", "", label.removeprefix("exec-")).replace("-", "_")
        command = executor["container"]["command"]
        if "kfp.dsl.executor_main" in command[2]:
            command[-1] = f"{command[-1].rstrip()}\n\n# code {code_digest(step)}\n"


def _sign_basis(spec: dict[str, Any]) -> None:
    """Tell change_check which code and images make a model here, so that others do not count as unchanged."""
    executors = spec["deploymentSpec"]["executors"]
    if "exec-change-check" not in executors:
        return
    makers = ("model_train", "model_pack", "model_eval", "model_test")
    images = {step: executors[f"exec-{step.replace('_', '-')}"]["container"]["image"] for step in makers}
    facts = json.dumps({step: [code_digest(step), image] for step, image in images.items()}, sort_keys=True)
    variables = executors["exec-change-check"]["container"].setdefault("env", [])
    variables.append({"name": CODE, "value": hashlib.sha256(facts.encode()).hexdigest()})


def _set_parallelism(spec: dict[str, Any], parallelism: int) -> None:
    (loop,) = (task for task in spec["root"]["dag"]["tasks"].values() if "parameterIterator" in task)
    loop["iteratorPolicy"] = {"parallelismLimit": parallelism}


def dump(document: Mapping[str, Any]) -> str:
    """A document as YAML, keys sorted."""
    return yaml.dump(dict(document), Dumper=_Dumper, sort_keys=True, width=120)


def compile_dag(dag: Any, images: Mapping[str, str]) -> tuple[dict[str, Any], dict[str, Any]]:  # noqa: ANN401 - kfp
    """A DAG's IR and its platform's settings, each step's image replaced; an image that is no name of ours stays."""
    chosen = {**IMAGES, **images}
    spec: dict[str, Any] = json_format.MessageToDict(dag.pipeline_spec)
    platform: dict[str, Any] = json_format.MessageToDict(dag.platform_spec)
    for label, executor in spec["deploymentSpec"]["executors"].items():
        container = executor["container"]
        step = re.sub(r"-[0-9]+$", "", label.removeprefix("exec-")).replace("-", "_")
        container["image"] = chosen.get(step) or chosen.get(container["image"], container["image"])
    return spec, platform


class _Dumper(yaml.CSafeDumper):
    """YAML in which text of several lines stays readable."""


def _text(dumper: yaml.CSafeDumper, text: str) -> yaml.ScalarNode:
    lines = "\n".join(line.rstrip() for line in text.split("\n"))
    return dumper.represent_scalar("tag:yaml.org,2002:str", lines, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)


def write_spec(spec: Mapping[str, Any], path: Path) -> None:
    """Write IR as YAML, atomically, keys sorted."""
    with write_atomically(path) as temporary:
        temporary.write_text(dump(spec), encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    from pipelines.packages import write_package  # noqa: PLC0415 - it stands on this module

    options = _parser().parse_args(arguments)
    output = options.output or Path(f"{options.pipeline}.yaml")
    try:
        write_package(_package(options), output)
    except PipelineError as error:
        print_error(error)
        return error.exit_code
    except OSError as error:
        print_error(f"{str(output)!r} cannot be written: {error.strerror}.")
        return 2
    print_line(str(output))
    return 0


def _package(options: argparse.Namespace) -> "Package":
    from pipelines.packages import build_package, known_images  # noqa: PLC0415 - it stands on this module

    images = {**known_images(), **dict(image_option(text) for text in options.image)}
    if options.pipeline == "training":
        if options.parallelism is not None:
            raise ConfigError("--parallelism is for --pipeline sweep: the training pipeline has no loop.")
        return build_package("training", images)
    parallelism = sweep_dag.PARALLELISM if options.parallelism is None else options.parallelism
    if not 1 <= parallelism <= MOST_SETTINGS:
        raise ConfigError(f"--parallelism={parallelism}: use 1 to {MOST_SETTINGS}.")
    return build_package("sweep", images, parallelism=parallelism)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m pipelines.compile",
        description="Write a pipeline as a cluster takes it: KFP's IR and the settings for Kubernetes.",
    )
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
