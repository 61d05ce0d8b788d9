"""``python -m pipelines.submit``: run the training pipeline."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from components.shared.errors import PipelineError, PreemptedError
from components.shared.hyperparameters import describe_options
from components.shared.sources import check_source
from components.shared.sources import settled as settled_source
from components.shared.store import open_store
from pipelines.backends.local import LocalOptions, run_local
from pipelines.catalogue import TRAINING, Pipeline
from pipelines.config import TrainingConfig
from pipelines.display import make_display, steps_table
from pipelines.executor_config import ExecutorConfig
from pipelines.precheck import absolute_paths, check_training
from pipelines.record import RunRecord
from pipelines.submit_cluster import add_options, check_local, option_parameters, submit_to_cluster
from pipelines.sweep_config import SweepConfig
from pipelines.terminal import PatientConsole, print_line

SUCCESS, FAILED, BAD_INPUT, GATE_NOT_MET = 0, 1, 2, 3
PREEMPTED = PreemptedError.exit_code
INTERRUPTED = 130
EXIT_CODES = (
    "0 success, 1 a step failed, 2 bad input, 3 the gate was asked for and not met, 75 a step was told to end"
    " and saved what it had (the same command goes on), 130 stopped"
)


def main(
    arguments: Sequence[str] | None = None,
    pipeline: Pipeline[Any] = TRAINING,
    *,
    shortcuts: argparse.ArgumentParser | None = None,
) -> int:
    """The command; its exit codes are ``EXIT_CODES``.

    Args:
        arguments: what follows the command's name.
        pipeline: what to run.
        shortcuts: options that the caller has taken out of ``arguments`` and that ``--help`` shows too.
    """
    options = _parser(pipeline, shortcuts).parse_args(arguments)
    if options.list_hyperparameters:
        print_line(hyperparameter_table())
        return SUCCESS
    console = PatientConsole(stderr=True)
    try:
        if not options.local:
            return submit_to_cluster(options, pipeline, console)
        config, chosen = _configure(options, pipeline)
        where = LocalOptions(runs=options.runs.resolve(), reuse=not options.no_cache)
        record, directory = run_local(config, where, make_display(console), pipeline)
    except PipelineError as error:
        console.print(f"[red]error:[/] {escape(str(error))}", highlight=False, soft_wrap=True)
        if options.json:
            print_line(json.dumps(_refused(str(error))))
        return error.exit_code
    output = console if options.json else PatientConsole()
    show(output, record, directory)
    if options.json:
        print_line(json.dumps(record.summary()))
    return _exit_code(record, gate_asked=options.gate or "min_map50" in chosen)


def show(console: Console, record: RunRecord, directory: Path) -> None:
    """Print the table of steps and where everything is."""
    console.print(steps_table(record, None))
    console.print()

    def line(label: str, text: object) -> None:
        console.print(f"{label:<12}{text}", highlight=False, markup=False, soft_wrap=True)

    line("run", f"{record.run_id}: {record.state} in {record.seconds or 0:.1f} s")
    if record.metrics:
        scores = ", ".join(f"{label} {record.metrics[name]:.3f}" for name, label in SCORES if name in record.metrics)
        gate = f"min_map50 {record.parameters['min_map50']:g}"
        verdict = "passed" if record.passed else "not met, the champion stays"
        line("test split", f"{scores} (gate {gate}: {verdict})")
    packed = record.find("model_pack")
    if packed and packed.outputs.get("archive"):
        line("archive", f"{packed.outputs['archive']}/model.bento")
    line("reports", directory / "index.html")
    if record.error:
        line("error", record.error)
        ended = [step for step in record.steps if step.state in {"failed", "preempted"}]
        ended.sort(key=lambda step: step.state != "failed")
        if ended and ended[0].log:
            line("log", ended[0].log)
    if _is_preempted(record):
        line("next", _next(record))


def _is_preempted(record: RunRecord) -> bool:
    """Whether steps were told to end and none has failed, so that the same command goes on."""
    states = {step.state for step in record.steps}
    return record.state == "failed" and "preempted" in states and "failed" not in states


def _next(record: RunRecord) -> str:
    if record.parameters.get("resume") == "never":
        return "run it without --no-cache and resume=never to go on; the same command begins anew"
    return "run the same command again to go on"


SCORES = (("map50", "mAP50"), ("map50_95", "mAP50-95"))


def _configure(options: argparse.Namespace, pipeline: Pipeline[Any]) -> tuple[TrainingConfig, set[str]]:
    check_local(options)
    config, chosen = pipeline.resolve(options.config, options.set, option_parameters(options))
    check_source(config.source, sql_query=config.sql_query, allow_private_addresses=config.allow_private_addresses)
    settled: dict[str, object] = {
        "source": settled_source(config.source),
        **absolute_paths({"model": config.model, "start_from": config.start_from}),
    }
    if isinstance(config, SweepConfig):
        settled["settings"] = [setting | absolute_paths(setting) for setting in config.settings]
    if not isinstance(config, ExecutorConfig):
        for setting in getattr(config, "settings", [{}]):
            check_training({**dict(config), **setting})
    if options.no_cache and "resume" not in chosen:
        settled["resume"] = "never"
    if "store" not in chosen:
        settled["store"] = (options.runs.resolve() / "store").as_uri()
    store = open_store(str(settled.get("store", config.store)))
    store.exists("datasets")  # whatever the answer: a store that gives none is found now, not hours later
    settled["store"] = store.uri
    return config.model_copy(update=settled), chosen


def _exit_code(record: RunRecord, *, gate_asked: bool) -> int:
    if record.state == "terminated":
        return INTERRUPTED
    if record.state != "succeeded":
        return PREEMPTED if _is_preempted(record) else FAILED
    return GATE_NOT_MET if gate_asked and record.passed is False else SUCCESS


def _refused(error: str) -> dict[str, object]:
    empty: dict[str, object] = {"run_id": None, "state": "refused", "seconds": 0.0, "steps": [], "metrics": {}}
    return {**empty, "passed": None, "artifacts": {}, "reports": [], "error": error}


def _path(text: str) -> Path:
    return Path(text).expanduser()


def _parser(pipeline: Pipeline[Any], shortcuts: argparse.ArgumentParser | None = None) -> argparse.ArgumentParser:
    parameters = pipeline.describe()
    width = max(len(name) for name, _, _ in parameters) + 2
    rows = "\n".join(f"  {name:<{width}}{text} (default: {default or 'empty'})" for name, default, text in parameters)
    parser = argparse.ArgumentParser(
        prog=f"python -m {pipeline.command}",
        description=pipeline.purpose,
        epilog=f"parameters (--set name=value):\n{rows}\n\nexit codes: {EXIT_CODES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        parents=[shortcuts] if shortcuts else [],
        allow_abbrev=shortcuts is None,  # a caller takes its options in full only
    )
    parser.set_defaults(list_hyperparameters=False)
    _add_options(parser)
    if any(name == "hyperparameters" for name, _, _ in parameters):
        text = "print what --set 'hyperparameters={\"NAME\": VALUE}' takes: names, defaults, bounds, and end"
        parser.add_argument("--list-hyperparameters", action="store_true", help=text)
    return parser


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--local", action="store_true", help="run on this machine, without a cluster or any service")
    parser.add_argument(
        "--data", nargs="+", metavar="SOURCE", help="the same as --set source=SOURCE; several are merged"
    )
    parser.add_argument("--config", type=_path, metavar="FILE", help="YAML file with parameters")
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="set one parameter; wins over --config"
    )
    parser.add_argument(
        "--runs", type=_path, default=Path("runs"), metavar="DIR", help="where runs are kept (default: runs)"
    )
    parser.add_argument("--no-cache", action="store_true", help="run every step, even when nothing changed")
    parser.add_argument("--gate", action="store_true", help="exit with 3 when the quality gate is not met")
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line of standard output")
    add_options(parser)


def hyperparameter_table() -> str:
    """The training libraries' hyperparameters, one a line: name, what it is, bounds, default and whose it is."""
    rows = describe_options()
    width = max(len(row[0]) for row in rows) + 2
    lines = [
        f"  {name:<{width}}{text} [{bounds}] (default: {default}; {trainers})"
        for name, default, text, bounds, trainers in rows
    ]
    example = """--set 'hyperparameters={"mosaic": 0.5, "cos_lr": true}'"""
    return "\n".join([f"hyperparameters ({example}):", *lines])


if __name__ == "__main__":
    sys.exit(main())
