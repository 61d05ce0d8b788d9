"""The child process that runs the compiled DAG with kfp.local and tells its parent what happens.

kfp.local prints on stdout, patches ``print`` and the root logger and keeps global state; a process of its own keeps
all that away from the command. Events go, a JSON object a line, to the run's ``events.jsonl``.
"""

import json
import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from kfp import components as kfp_components
from kfp import dsl, local
from kfp.local import cache as kfp_cache
from kfp.local import task_dispatcher
from kfp.local.status import Status

import components.artifacts  # noqa: F401 - registers the artifact classes with kfp.local
from components.shared.files import write_atomically
from components.shared.sweep import step_name
from pipelines.backends.local_cache import ContentCache
from pipelines.backends.local_conditions import use_own_conditions

EVENTS = "events.jsonl"
SPEC = "pipeline.yaml"
ARGUMENTS = "arguments.json"


class Events:
    """Appends events to the run's event file, each line written at once."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._writing = threading.Lock()  # the iterations of a loop run in threads

    def emit(self, kind: str, step: str, **facts: object) -> None:
        """Tell that something happened to a step."""
        event = {"event": kind, "step": step, "time": time.time(), **facts}
        with self._writing, self._path.open("a", encoding="utf-8") as handle:
            handle.write(json.dumps(event) + "\n")


def run(directory: Path, cache_root: Path, *, reuse: bool) -> int:
    """Run the DAG of a run directory; 0 when every step succeeded, 1 otherwise."""
    events = Events(directory / EVENTS)
    arguments = json.loads((directory / ARGUMENTS).read_text(encoding="utf-8"))
    _report_tasks(events)
    use_own_conditions()
    warnings.filterwarnings("ignore", category=UserWarning, module=r"kfp\.")
    local.init(
        runner=local.SubprocessRunner(use_venv=False),
        pipeline_root=str(directory / "artifacts"),
        raise_on_error=True,
        enable_caching=True,
        cache_root=str(cache_root),
    )
    cache = ContentCache(
        str(cache_root),
        reuse=reuse,
        on_hit=lambda component, given, outputs: events.emit(
            "cached", step_of(component, given), outputs=plain(outputs)
        ),
    )
    kfp_cache._cache_singleton, kfp_cache._cache_singleton_root = cache, cache.cache_root  # noqa: SLF001 - its only seam
    pipeline = kfp_components.load_component_from_file(str(directory / SPEC))
    try:
        pipeline(**arguments)
    except RuntimeError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def step_of(component: str, arguments: Mapping[str, Any]) -> str:
    """``comp-data-load`` is of the step ``data_load``; a training of a sweep has a name of its own."""
    step = component.removeprefix("comp-").replace("-", "_")
    return step_name(step, arguments.get("overrides") or {})


def plain(outputs: dict[str, Any]) -> dict[str, object]:
    """A task's outputs as JSON: an artifact as its path and metadata, a parameter as its value."""
    return {
        name: {"path": value.path, "metadata": value.metadata} if isinstance(value, dsl.Artifact) else value
        for name, value in outputs.items()
    }


def write_metadata(outputs: dict[str, Any]) -> None:
    """Give artifacts that live in their metadata alone (metrics) a JSON file, or kfp's cache takes them for lost."""
    for value in outputs.values():
        if isinstance(value, dsl.Artifact) and not Path(value.path).exists():
            with write_atomically(Path(value.path)) as temporary:
                temporary.write_text(json.dumps(value.metadata, indent=2), encoding="utf-8")


def _report_tasks(events: Events) -> None:
    """Wrap kfp.local's one function that executes a task."""
    execute: Callable[..., tuple[dict[str, Any], Status]] = task_dispatcher.run_single_task_implementation

    def observed(**arguments: Any) -> tuple[dict[str, Any], Status]:  # noqa: ANN401 - kfp's own arguments
        step = step_of(arguments["component_name"], arguments["arguments"])
        events.emit("started", step)
        outputs, status = execute(**arguments)
        if status == Status.SUCCESS:
            write_metadata(outputs)
            events.emit("succeeded", step, outputs=plain(outputs))
        else:
            events.emit("failed", step)
        return outputs, status

    task_dispatcher.run_single_task_implementation = observed


def _follow_parent() -> None:
    """End this process group when the command that started it is gone, however it went."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os.killpg(os.getpgrp(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()


if __name__ == "__main__":
    _follow_parent()
    sys.exit(run(Path(sys.argv[1]), Path(sys.argv[2]), reuse=sys.argv[3] == "reuse"))
