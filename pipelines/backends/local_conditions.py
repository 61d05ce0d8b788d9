"""Conditions of a DAG on this machine, decided as a cluster would.

kfp.local puts a condition's values into Python text and evaluates that, finds a task's output only when the task has no
other, and takes whatever it cannot resolve or evaluate for False: the steps behind it are left out of a run that
succeeds. Here a condition compares one value with one constant, as ``dsl.If`` compiles it, or the run ends.
"""

import json
import re
from typing import Any

from kfp.local.orchestrator import enhanced_dag_orchestrator as orchestrator

_COMPARISON = re.compile(r"inputs\.parameter_values\['([^']+)'\] (==|!=) (true|false|-?[0-9.]+|'[^']*')")
_PREFIX = "pipelinechannel--"


def use_own_conditions() -> None:
    """Have kfp.local decide conditions by ``holds``."""
    orchestrator.ConditionEvaluator.evaluate_condition = staticmethod(holds)


def holds(condition: str, io_store: Any) -> bool:  # noqa: ANN401 - kfp ships no types
    """Whether a condition holds.

    Args:
        condition: as it is compiled: ``inputs.parameter_values['pipelinechannel--model-eval-passed'] == true``.
        io_store: kfp.local's values, of the group's inputs and of its tasks' outputs.

    Raises:
        RuntimeError: it is no comparison with a constant, or its value is nowhere.
    """
    compared = _COMPARISON.fullmatch(condition.strip())
    if compared is None:
        raise RuntimeError(f"The condition {condition!r} is not one value compared with a constant.")
    name, sign, constant = compared.groups()
    wanted = constant[1:-1] if constant.startswith("'") else json.loads(constant)
    return bool((_value(name, io_store) == wanted) == (sign == "=="))


def _value(name: str, io_store: Any) -> object:  # noqa: ANN401 - same
    """The value of a channel: an input of the group, or ``task-output`` of one of its tasks."""
    bare = name.removeprefix(_PREFIX)
    for key in (name, bare):
        try:
            return io_store.get_parent_input(key)
        except ValueError:
            continue
    for cut in (place for place, letter in enumerate(bare) if letter == "-"):
        try:
            return io_store.get_task_output(bare[:cut], bare[cut + 1 :])
        except ValueError:
            continue
    raise RuntimeError(f"The condition's value {name!r} is no input of its group and no output of a task in it.")
