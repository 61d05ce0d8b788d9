"""The executor DAG: prepared data trained on by any YMIR training image; ``python -m pipelines.executor``.

``run --local`` runs it on this machine, ``compile`` writes it as KFP IR YAML for a cluster. The image is a parameter of
the compiled pipeline, whose default is the one given to ``compile``.
"""

import argparse
import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from kfp import dsl

from components.data_load.component import data_load
from components.data_prep.component import data_prep
from components.executor_train.component import executor_collect, executor_run, executor_run_here, executor_stage
from components.shared.errors import PipelineError
from components.shared.files import write_atomically
from pipelines.dag import Build, default_of
from pipelines.executor_config import ExecutorConfig, describe_executor, names
from pipelines.resources import CLUSTER

NAME = "executor-training"
STEPS = ("data_load", "data_prep", "executor_stage", "executor_run", "executor_collect")
STEPS_HERE = tuple("executor_run_here" if step == "executor_run" else step for step in STEPS)
PACKAGE = "executor_train"  # the folder of the last three steps
_KINDS: dict[type, Any] = {list: list[str], dict: dict[str, str]}


def _signature(pipeline: str) -> inspect.Signature:
    """One pipeline parameter a field of the configuration."""
    fields = ExecutorConfig.model_fields
    parameters = []
    for name in names():
        default = default_of(name, fields[name].get_default(call_default_factory=True), pipeline)
        kind = type(default)
        parameters.append(
            inspect.Parameter(
                name,
                inspect.Parameter.POSITIONAL_OR_KEYWORD,
                default=default,
                annotation=_KINDS.get(kind, kind),
            )
        )
    return inspect.Signature(parameters)


def _steps(build: Build, run: Callable[[Build, Any], Any]) -> None:
    loaded = build.task(data_load)
    prepared = build.task(data_prep, dataset=loaded.outputs["dataset"])
    splits = {name: prepared.outputs[name] for name in ("train", "val")}
    staged = build.task(executor_stage, **splits)
    ran = run(build, staged.outputs["staged"])
    # A failed executor leaves a result too, so a remembered one would fail again without being tried.
    ran.set_caching_options(enable_caching=False)
    left = {"result": ran.outputs["result"], "exit_code": ran.outputs["exit_code"]}
    build.task(executor_collect, **splits, **left)


def _in_its_image(build: Build, staged: Any) -> Any:  # noqa: ANN401 - kfp ships no types
    return build.task(executor_run, staged=staged).set_container_image(build.given["image"])


def _here(build: Build, staged: Any) -> Any:  # noqa: ANN401 - kfp ships no types
    return build.task(executor_run_here, staged=staged)


def _dag(run: Callable[[Build, Any], Any], pipeline: str = "") -> Any:  # noqa: ANN401 - kfp ships no types
    """The DAG, its executor started by ``run``."""
    signature = _signature(pipeline)

    def executor(*values: Any) -> None:  # noqa: ANN401 - one value a parameter of the signature
        _steps(Build(dict(zip(signature.parameters, values, strict=True)), pipeline), run)

    rows = "".join(f"    {name}: {text}\n" for name, _, text in describe_executor())
    executor.__doc__ = f"Train with a foreign executor that keeps YMIR's contract.\n\nArgs:\n{rows}"
    executor.__signature__ = signature  # type: ignore[attr-defined] # where KFP reads the parameters from
    executor.__annotations__ = {name: one.annotation for name, one in signature.parameters.items()}
    title, settings = "Train with a foreign executor", CLUSTER if pipeline else None
    return dsl.pipeline(name=NAME, display_name=title, pipeline_config=settings)(executor)


@cache
def executor() -> Any:  # noqa: ANN401 - kfp ships no types
    """The DAG for a cluster."""
    return _dag(_in_its_image, NAME)


executor_here = _dag(_here)


def compile_package(image: str, images: Mapping[str, str] | None = None) -> tuple[dict[str, Any], dict[str, Any]]:
    """The DAG's IR for a cluster and the document of its Kubernetes settings.

    Args:
        image: the default of the parameter ``image``; empty: who runs the pipeline has to give one.
        images: as for ``compile_training``.
    """
    from pipelines.compile import compile_dag, sign_code  # noqa: PLC0415 - it loads the other DAGs

    spec, platform = compile_dag(executor(), images or {})
    sign_code(spec)
    parameter = spec["root"]["inputDefinitions"]["parameters"]["image"]
    if image:
        parameter["defaultValue"] = image
    else:
        parameter.pop("defaultValue", None)
        parameter.pop("isOptional", None)
    return spec, platform


def compile_here(images: Mapping[str, str]) -> dict[str, Any]:
    """The DAG's IR for a run on this machine; the code of the last three steps lies in one folder."""
    from pipelines.code import step_digest  # noqa: PLC0415 - same
    from pipelines.compile import compile_dag  # noqa: PLC0415 - same

    own = f"local-python/{PACKAGE}@sha256:{step_digest(PACKAGE)}"
    ours = dict.fromkeys(("executor_stage", "executor_run_here", "executor_collect"), own)
    return compile_dag(executor_here, {**images, **ours})[0]


def main(arguments: Sequence[str] | None = None) -> int:
    """The command: ``run`` ends as ``pipelines.submit`` does; ``compile`` with 0, or 2 when its file is not written."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given[:1] == ["run"]:
        return _run(given[1:])
    options = _parser().parse_args(given)
    from pipelines.compile import dump, image_option  # noqa: PLC0415 - same
    from pipelines.terminal import print_error, print_line  # noqa: PLC0415 - same

    try:
        images = dict(image_option(text, STEPS) for text in options.step_image)
        documents = compile_package(options.image, images)
        with write_atomically(options.output) as temporary:
            temporary.write_text("---\n".join(map(dump, documents)), encoding="utf-8")
    except PipelineError as error:
        print_error(error)
        return error.exit_code
    except OSError as error:
        print_error(f"{str(options.output)!r} cannot be written: {error.strerror}.")
        return 2
    print_line(str(options.output))
    return 0


def _run(arguments: Sequence[str]) -> int:
    from pipelines import submit  # noqa: PLC0415 - same
    from pipelines.catalogue import EXECUTOR  # noqa: PLC0415 - same
    from pipelines.terminal import print_error  # noqa: PLC0415 - same

    shortcuts = _shortcuts()
    chosen, rest = shortcuts.parse_known_args(arguments)
    settings = [f"{name}={getattr(chosen, name)}" for name in ("image", "command") if getattr(chosen, name)]
    if chosen.template is not None:
        try:
            settings.append(f"executor_template={chosen.template.read_text(encoding='utf-8')}")
        except (OSError, UnicodeDecodeError) as error:
            print_error(f"The template {str(chosen.template)!r} cannot be read: {error}.")
            return 2
    more = [part for text in settings for part in ("--set", text)]
    return submit.main([*rest, *more], EXECUTOR, shortcuts=shortcuts)


def _shortcuts() -> argparse.ArgumentParser:
    """Options that ``run`` has besides those of ``pipelines.submit``."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--command", help="what starts the executor on this machine; the same as --set command=COMMAND")
    parser.add_argument("--image", help="the executor's image, for docker or podman; the same as --set image=IMAGE")
    parser.add_argument("--template", type=Path, metavar="FILE", help="the executor's training-template.yaml")
    return parser


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m pipelines.executor", description=__doc__.partition("\n")[0])
    commands = parser.add_subparsers(dest="what", required=True)
    commands.add_parser(
        "run",
        help="run it on this machine: --local, --command COMMAND or --image IMAGE, --template FILE, and what"
        " python -m pipelines.submit takes (run --help lists all)",
    )
    compiling = commands.add_parser("compile", help="write it as KFP IR YAML")
    compiling.add_argument("--image", default="", help="the executor's image (default: given with each run)")
    compiling.add_argument(
        "--step-image", action="append", default=[], metavar="NAME=IMAGE", help="container image of the other steps"
    )
    compiling.add_argument("-o", "--output", type=Path, default=Path("executor.yaml"), help="file to write")
    return parser


if __name__ == "__main__":
    from pipelines.executor import main as command  # under its own name, by which the catalogue knows this module

    sys.exit(command())
