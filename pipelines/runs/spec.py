"""The steps of a compiled pipeline, and what of Argo's rows is none."""

import re
from collections.abc import Mapping
from typing import Any

_ROWS_OF_KFP = re.compile(
    r"^(|root|executor|.*-driver|.*\.onExit|.*\(\d+(:.*)?\)|\[\d+\]|iteration-.*|for-loop-\d+|condition-.*|"
    r"exit-handler-.*|exit-hook-.*)$"
)


def tasks_of(spec: Mapping[str, Any]) -> list[str]:
    """The tasks of a compiled pipeline that run a container, in an order in which they can run."""
    components = spec.get("components", {})

    def within(dag: Mapping[str, Any]) -> list[str]:
        names: list[str] = []
        for name in _sorted(dag.get("tasks", {})):
            component = components.get(dag["tasks"][name].get("componentRef", {}).get("name", ""), {})
            names += within(component["dag"]) if "dag" in component else [name]
        return names

    return list(dict.fromkeys(within(spec.get("root", {}).get("dag", {}))))


def is_row_of_kfp(name: str) -> bool:
    """Whether Argo's node of that name is part of how KFP runs a step, and no step."""
    return bool(_ROWS_OF_KFP.match(name))


def _sorted(tasks: Mapping[str, Any]) -> list[str]:
    """The tasks of a DAG, each after those it needs."""
    order: list[str] = []
    left = sorted(tasks)
    while left:
        ready = [name for name in left if set(tasks[name].get("dependentTasks", [])) <= {*order, name}] or left
        order += ready
        left = [name for name in left if name not in order]
    return order


def pipeline_of_spec(spec: Mapping[str, Any]) -> dict[str, Any]:
    """The pipeline's own document of one that may hold the platform's too."""
    return dict(spec.get("pipeline_spec") or spec)
