from typing import Any

import pytest
from kfp.local.orchestrator import enhanced_dag_orchestrator as orchestrator

from pipelines.backends.local_conditions import holds

PASSED = "inputs.parameter_values['pipelinechannel--model-eval-passed']"
DEPLOY = "inputs.parameter_values['pipelinechannel--deploy']"


class Values:
    """What kfp.local knows in a group: its inputs, and its tasks' outputs."""

    def __init__(self, inputs: dict[str, object] | None = None, **outputs: object) -> None:
        self.inputs = inputs or {}
        self.outputs = outputs

    def get_parent_input(self, key: str) -> object:
        if key not in self.inputs:
            raise ValueError(key)
        return self.inputs[key]

    def get_task_output(self, task: str, key: str) -> object:
        name = f"{task}.{key}".replace("-", "_").replace(".", "__")
        if name not in self.outputs:
            raise ValueError(name)
        return self.outputs[name]


@pytest.mark.parametrize("passed", [True, False])
def test_a_named_output_of_a_task_is_found(passed: bool) -> None:
    assert holds(f"{PASSED} == true", Values(model_eval__passed=passed)) is passed
    assert holds(f"{PASSED} != true", Values(model_eval__passed=passed)) is not passed


def test_an_input_of_the_group_is_found_by_either_name() -> None:
    assert holds(f"{PASSED} == true", Values({"pipelinechannel--model-eval-passed": True}))
    assert holds(f"{DEPLOY} != ''", Values({"deploy": "serving"}))
    assert not holds(f"{DEPLOY} != ''", Values({"deploy": ""}))


def test_a_value_with_a_quote_is_compared_as_it_is() -> None:
    assert holds(f"{DEPLOY} != ''", Values({"deploy": "it's"}))


@pytest.mark.parametrize(
    ("condition", "words"),
    [
        (f"{PASSED} == true", "is no input of its group"),
        (f"{PASSED} == true && {DEPLOY} != ''", "not one value compared"),
        ("__import__('os')", "not one value compared"),
    ],
)
def test_what_cannot_be_decided_ends_the_run_instead_of_skipping_steps(condition: str, words: str) -> None:
    with pytest.raises(RuntimeError, match=words):
        holds(condition, Values())


def test_kfp_still_has_what_is_replaced() -> None:
    evaluate: Any = orchestrator.ConditionEvaluator.evaluate_condition
    assert callable(evaluate)
