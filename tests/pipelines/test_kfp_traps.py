"""Each trap of Kubeflow is found in a small DAG that has it."""

from collections.abc import Callable
from typing import Any

import pytest
from google.protobuf import json_format
from kfp import dsl, kubernetes

from tests.pipelines.kfp_traps import traps

IMAGE = f"python@sha256:{'1' * 64}"


@dsl.component(base_image=IMAGE, packages_to_install=[], install_kfp_package=False)
def listed() -> list[str]:
    return ["a"]


@dsl.component(base_image=IMAGE, packages_to_install=[], install_kfp_package=False)
def made(data: dsl.Output[dsl.Dataset], text: str = "") -> None:
    pass


@dsl.component(base_image=IMAGE, packages_to_install=[], install_kfp_package=False)
def used(data: dsl.Input[dsl.Dataset]) -> bool:
    return bool(data)


@dsl.component(base_image="python:3", packages_to_install=[], install_kfp_package=False)
def told(text: str = "") -> str:
    return text


@dsl.component(base_image=IMAGE, packages_to_install=[], install_kfp_package=False)
def ended(status: dsl.PipelineTaskFinalStatus) -> None:
    pass


def loop_over_an_output() -> None:
    with dsl.ParallelFor(listed().output) as item:
        told(text=item)


def loop_with_an_outer_output(items: list[str] = ["a"]) -> None:  # noqa: B006 - KFP reads the default from here
    outer = told()
    with dsl.ParallelFor(items) as item:
        told(text=f"{outer.output}{item}")


def loop_in_an_exit_handler(items: list[str] = ["a"]) -> None:  # noqa: B006 - same
    with dsl.ExitHandler(ended()), dsl.ParallelFor(items) as item:
        told(text=item)


def one_of_artifacts(text: str = "") -> dsl.Dataset:
    with dsl.If(text == "a"):
        one = made()
    with dsl.Else():
        other = made()
    return dsl.OneOf(one.outputs["data"], other.outputs["data"])


@dsl.pipeline
def inner(data: dsl.Input[dsl.Dataset]) -> None:
    used(data=data)


def group_of_artifacts_alone() -> None:
    inner(data=made().outputs["data"])


def condition_on_two_values(one: str = "", other: str = "") -> None:
    with dsl.If(one == other):
        told()


def resource_that_is_a_number(count: int = 1) -> None:
    made().set_accelerator_type("nvidia.com/gpu").set_accelerator_limit(count)


def resource_that_stays_outside(cpu: str = "1", text: str = "") -> None:
    with dsl.If(text == "a"):
        told(text=text).set_cpu_limit(cpu)


def retry_with_the_default_window() -> None:
    task = made().set_retry(2)
    kubernetes.set_timeout(task, 7200)


@pytest.mark.parametrize(
    ("dag", "words"),
    [
        (loop_over_an_output, "a loop over or with a task's output"),
        (loop_with_an_outer_output, "a loop over or with a task's output"),
        (loop_in_an_exit_handler, "a loop inside a group"),
        (one_of_artifacts, "OneOf of artifacts"),
        (group_of_artifacts_alone, "a group with artifacts and no parameter"),
        (condition_on_two_values, "a condition that is not one value compared with a constant"),
        (resource_that_is_a_number, "made: a resource from a parameter that is no text"),
        (resource_that_stays_outside, "told: pipelinechannel--cpu is not handed into its group"),
        (retry_with_the_default_window, "made: a window too short for its retries"),
        (resource_that_stays_outside, "told: an image by tag"),
        (resource_that_stays_outside, "told: no request or limit"),
        (resource_that_stays_outside, "told: no timeout"),
        (resource_that_stays_outside, "told: no retry of its own"),
    ],
)
def test_a_trap_is_found(dag: Callable[..., Any], words: str) -> None:
    compiled = dsl.pipeline(name="trapped")(dag)
    spec = json_format.MessageToDict(compiled.pipeline_spec)
    platform = json_format.MessageToDict(compiled.platform_spec).get("platforms", {}).get("kubernetes", {})
    assert any(words in found for found in traps(spec, platform)), list(traps(spec, platform))
