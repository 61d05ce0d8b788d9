"""What a cluster is sent holds nothing that Kubeflow 2.17 is known to break on, and everything its pods need."""

import inspect
from typing import Any

import pytest
import yaml

from components.change_check.component import change_check
from components.model_eval.component import model_eval
from components.model_pack.component import model_pack
from components.model_test.component import model_test
from components.model_train.component import model_train
from components.shared import store_s3_connection
from components.shared.source_addresses import SQL_PASSWORD
from pipelines import resources
from pipelines.packages import build_package
from pipelines.resources import TABLE
from tests.pipelines.kfp_traps import PARAMETER, steps, traps

DIGEST = f"@sha256:{'1' * 64}"
IMAGES = {name: f"registry.example/{name}{DIGEST}" for name in ("steps-python", "trainer-python")}
NEITHER_MODEL_NOR_VERDICT = {
    *("store", "gpus", "device", "resume", "max_hours", "attempt_hours", "checkpoint_minutes", "checkpoint_epochs"),
    *("overrides", "weights"),
}


@pytest.fixture(scope="module", params=["training", "sweep", "executor"])
def package(request: pytest.FixtureRequest) -> tuple[dict[str, Any], dict[str, Any]]:
    spec, platform = yaml.safe_load_all(build_package(request.param, IMAGES).text)
    return spec, platform["platforms"]["kubernetes"]


Package = tuple[dict[str, Any], dict[str, Any]]


def test_nothing_is_in_a_package_that_kubeflow_is_known_to_break_on(package: Package) -> None:
    assert list(traps(*package)) == []


def test_the_count_of_an_accelerator_is_text(package: Package) -> None:
    """Kubeflow's driver takes nothing else from a parameter; a number would be empty there."""
    spec, _ = package
    types = spec["root"]["inputDefinitions"]["parameters"]
    for _, _, container in steps(spec):
        for name in PARAMETER.findall(str(container.get("resources", {}))):
            assert types[name.removeprefix("pipelinechannel--")]["parameterType"] == "STRING"


def settings_of(platform: dict[str, Any], spec: dict[str, Any], task: dict[str, Any]) -> dict[str, Any]:
    label = spec["components"][task["componentRef"]["name"]]["executorLabel"]
    found: dict[str, Any] = platform["deploymentSpec"]["executors"][label]
    return found


def test_the_run_ends_though_a_pod_is_never_scheduled(package: Package) -> None:
    _, platform = package
    assert int(platform["pipelineConfig"]["activeDeadlineSeconds"]) == resources.RUN_SECONDS
    assert int(platform["pipelineConfig"]["resourceTtlOnCompletion"]) > resources.HOUR


def test_every_pod_knows_its_run_and_its_store_and_carries_as_many_labels(package: Package) -> None:
    spec, platform = package
    for name, task, _ in steps(spec):
        settings = settings_of(platform, spec, task)
        fields = {one["name"]: one["fieldPath"] for one in settings["fieldPathAsEnv"]}
        assert fields["PIPELINE_RUN_ID"] == "metadata.labels['pipeline/runid']"
        assert fields["PIPELINE_POD"] == "metadata.name"
        labels = settings["podMetadata"]["labels"]
        assert labels["detection.pipeline/step"] == name.replace("-", "_")
        assert len(labels) == 3
        store = [one for one in settings["secretAsEnv"] if one["secretName"] == "detection-store"]
        assert [one["optional"] for one in store] == [False, True]
        assert settings["imagePullPolicy"] == "IfNotPresent"
        if name != "executor-run":
            assert settings["securityContext"] == {"runAsUser": "10001", "runAsGroup": "0", "runAsNonRoot": True}


def test_the_training_has_shared_memory_and_the_placement_of_the_parameters() -> None:
    spec, document = yaml.safe_load_all(build_package("training", IMAGES).text)
    settings = document["platforms"]["kubernetes"]["deploymentSpec"]["executors"]["exec-model-train"]
    assert {"mountPath": "/dev/shm", "medium": "Memory", "volumeName": "shared-memory"} in settings["emptyDirMounts"]
    assert settings["nodeSelector"]["nodeSelectorJson"] == {"componentInputParameter": "pipelinechannel--node_selector"}
    assert settings["tolerations"] == [{"tolerationJson": {"componentInputParameter": "pipelinechannel--tolerations"}}]
    assert settings["nodeAffinity"] == [{"nodeAffinityJson": {"componentInputParameter": "pipelinechannel--affinity"}}]
    asked = spec["deploymentSpec"]["executors"]["exec-model-train"]["container"]["resources"]
    assert asked["accelerator"]["resourceCount"] == "{{$.inputs.parameters['pipelinechannel--gpus']}}"
    assert asked["accelerator"]["resourceType"] == "{{$.inputs.parameters['pipelinechannel--accelerator']}}"


def test_what_depends_on_more_than_its_inputs_is_never_taken_from_a_cache(package: Package) -> None:
    spec, _ = package
    cached = {name for name, task, _ in steps(spec) if task["cachingOptions"].get("enableCache")}
    never = {step.replace("_", "-") for step in resources.UNCACHED}
    assert not cached & never
    assert "data-prep" in cached


def test_the_secrets_keys_are_the_variables_that_the_code_reads() -> None:
    source = inspect.getsource(store_s3_connection)
    for key in (*resources.STORE_REQUIRED, *resources.STORE_OPTIONAL):
        assert f'"{key}"' in source
    assert SQL_PASSWORD in resources.SOURCES


def test_no_step_may_run_longer_than_its_run() -> None:
    assert max(needs.timeout for needs in TABLE.values()) < resources.RUN_SECONDS


def test_the_check_for_changes_looks_at_every_parameter_that_decides_a_model_or_its_verdict() -> None:
    looked_at = set(change_check.component_spec.inputs)
    for step in (model_train, model_pack, model_eval, model_test):
        arguments = inspect.signature(step.python_func).parameters
        chosen = {name for name, one in arguments.items() if one.default is not inspect.Parameter.empty}
        assert chosen - NEITHER_MODEL_NOR_VERDICT <= looked_at
