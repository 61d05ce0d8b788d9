"""The executor DAG: prepared data trained on by any YMIR training image; ``python -m pipelines.executor``.

``run --local`` runs it on this machine, ``compile`` writes it as KFP IR YAML for a cluster. The image is a parameter of
the compiled pipeline, whose default is the one given to ``compile``.
"""

import argparse
import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from kfp import dsl

from components.data_load.component import data_load
from components.data_prep.component import data_prep
from components.executor_train.component import executor_collect, executor_run, executor_run_here, executor_stage
from components.shared.errors import PipelineError
from pipelines.executor_config import ExecutorConfig, describe_executor, names

NAME = "executor-training"
STEPS = ("data_load", "data_prep", "executor_stage", "executor_run", "executor_collect")
STEPS_HERE = tuple("executor_run_here" if step == "executor_run" else step for step in STEPS)
PACKAGE = "executor_train"  # the folder of the last three steps
_KINDS: dict[type, Any] = {list: list[str], dict: dict[str, str]}


def _signature() -> inspect.Signature:
    """One pipeline parameter a field of the configuration."""
    fields = ExecutorConfig.model_fields
    parameters = []
    for name in names():
        default = fields[name].get_default(call_default_factory=True)
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


def _call(component: Any, given: dict[str, Any], **more: Any) -> Any:  # noqa: ANN401 - kfp ships no types
    """A task of ``component`` that takes each pipeline parameter it has an input of the same name for."""
    named = {name: given[name] for name in component.component_spec.inputs if name in given}
    return component(**{**named, **more})


def _steps(given: dict[str, Any], run: Callable[[dict[str, Any], Any], Any]) -> None:
    loaded = _call(data_load, given)
    prepared = _call(data_prep, given, dataset=loaded.outputs["dataset"])
    splits = {name: prepared.outputs[name] for name in ("train", "val")}
    staged = _call(executor_stage, given, **splits)
    ran = run(given, staged.outputs["staged"])
    # A failed executor leaves a result too, so a remembered one would fail again without being tried.
    ran.set_caching_options(enable_caching=False)
    left = {"result": ran.outputs["result"], "exit_code": ran.outputs["exit_code"]}
    _call(executor_collect, given, **splits, **left)


def _in_its_image(given: dict[str, Any], staged: Any) -> Any:  # noqa: ANN401 - kfp ships no types
    return _call(executor_run, given, staged=staged).set_container_image(given["image"])


def _here(given: dict[str, Any], staged: Any) -> Any:  # noqa: ANN401 - kfp ships no types
    return _call(executor_run_here, given, staged=staged)


def _dag(run: Callable[[dict[str, Any], Any], Any]) -> Any:  # noqa: ANN401 - kfp ships no types
    """The DAG, its executor started by ``run``."""
    signature = _signature()

    def executor(*values: Any) -> None:  # noqa: ANN401 - one value a parameter of the signature
        _steps(dict(zip(signature.parameters, values, strict=True)), run)

    rows = "".join(f"    {name}: {text}\n" for name, _, text in describe_executor())
    executor.__doc__ = f"Train with a foreign executor that keeps YMIR's contract.\n\nArgs:\n{rows}"
    executor.__signature__ = signature  # type: ignore[attr-defined] # where KFP reads the parameters from
    executor.__annotations__ = {name: one.annotation for name, one in signature.parameters.items()}
    return dsl.pipeline(name=NAME, display_name="Train with a foreign executor")(executor)


executor = _dag(_in_its_image)
executor_here = _dag(_here)


def compile_executor(image: str, images: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The DAG's IR for a cluster.

    Args:
        image: the default of the parameter ``image``; empty: who runs the pipeline has to give one.
        images: as for ``compile_training``.
    """
    from pipelines.compile import compile_dag  # noqa: PLC0415 - it loads the other DAGs

    spec = compile_dag(executor, images or {})
    parameter = spec["root"]["inputDefinitions"]["parameters"]["image"]
    if image:
        parameter["defaultValue"] = image
    else:
        parameter.pop("defaultValue", None)
        parameter.pop("isOptional", None)
    return spec


def compile_here(images: Mapping[str, str]) -> dict[str, Any]:
    """The DAG's IR for a run on this machine; the code of the last three steps lies in one folder."""
    from pipelines.code import step_digest  # noqa: PLC0415 - same
    from pipelines.compile import compile_dag  # noqa: PLC0415 - same

    own = f"local-python/{PACKAGE}@sha256:{step_digest(PACKAGE)}"
    ours = dict.fromkeys(("executor_stage", "executor_run_here", "executor_collect"), own)
    return compile_dag(executor_here, {**images, **ours})


def main(arguments: Sequence[str] | None = None) -> int:
    """The command: ``run`` ends as ``pipelines.submit`` does; ``compile`` with 0, or 2 when its file is not written."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given[:1] == ["run"]:
        return _run(given[1:])
    options = _parser().parse_args(given)
    from pipelines.compile import image_option, write_spec  # noqa: PLC0415 - same
    from pipelines.terminal import print_error, print_line  # noqa: PLC0415 - same

    try:
        images = dict(image_option(text, STEPS) for text in options.step_image)
        write_spec(compile_executor(options.image, images), options.output)
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
