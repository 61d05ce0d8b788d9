import json

import pytest

from components.model_train.settings import read_settings
from components.model_train.worker import DEFAULTS
from components.shared.errors import ConfigError
from pipelines.catalogue import TRAINING
from pipelines.config import TrainingConfig
from pipelines.parameters import check, resolve

REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"
TERM = {"matchExpressions": [{"key": "zone", "operator": "In", "values": ["a"]}]}


def test_what_is_written_on_a_command_line_becomes_what_kubernetes_reads() -> None:
    tolerations = [{"key": "spot", "operator": "Exists", "tolerationSeconds": 30}]
    affinity = {PREFERRED: [{"weight": 7, "preference": TERM}], REQUIRED: {"nodeSelectorTerms": [TERM]}}
    settings = [
        f"tolerations={json.dumps(tolerations)}",
        f"affinity={json.dumps(affinity)}",
        'node_selector={"pool": "gpu", "spot": "true"}',
        "train_memory=64Gi",
        "train_cpu=500m",
        "accelerator=amd.com/gpu",
        "gpus=0",
    ]
    config, _ = resolve(None, settings, {})
    assert config.tolerations == tolerations
    assert config.affinity == affinity
    assert config.node_selector == {"pool": "gpu", "spot": "true"}
    assert (config.train_memory, config.train_cpu, config.accelerator, config.gpus) == (
        "64Gi",
        "500m",
        "amd.com/gpu",
        0,
    )


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("tolerations", [{"ky": "a"}], "tolerations[0] has 'ky'"),
        ("tolerations", [{"key": "a", "operator": "exists"}], "operator='exists': use one of Exists, Equal"),
        ("tolerations", [{"key": "a", "effect": "No"}], "effect='No'"),
        ("tolerations", [{"value": "a"}], "tolerations[0] has no key"),
        ("tolerations", [{}], "tolerations[0] is empty"),
        ("tolerations", [{"key": "a", "tolerationSeconds": "soon"}], "'soon' where a whole number belongs"),
        ("affinity", {"nodeAffinity": {}}, "affinity has 'nodeAffinity'"),
        ("affinity", {REQUIRED: {}}, "it needs nodeSelectorTerms"),
        ("affinity", {REQUIRED: {"nodeSelectorTerms": [{}]}}, "it needs matchExpressions"),
        ("affinity", {REQUIRED: {"nodeSelectorTerms": {}}}, "it must be a list"),
        ("affinity", {PREFERRED: [{"preference": TERM}]}, "each needs weight"),
        ("affinity", {PREFERRED: [{"weight": 101, "preference": TERM}]}, "affinity's weight is 101"),
        (
            "affinity",
            {REQUIRED: {"nodeSelectorTerms": [{"matchExpressions": [{"key": "a", "operator": "Is"}]}]}},
            "it needs key and operator",
        ),
        ("node_selector", ["a"], "must be a mapping"),
        ("train_memory", "16 GB", "must be an amount of memory"),
        ("train_cpu", "four", "must be a number of CPUs"),
        ("accelerator", "gpu", "must be a resource of nodes"),
        ("deploy", "My_Deployment", "must be the name of a Deployment"),
        ("gpus", 17, "gpus=17"),
    ],
)
def test_a_placement_that_kubernetes_would_refuse_is_refused_before(name: str, value: object, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check({name: value})
    assert words in str(caught.value)


def test_the_count_of_gpus_travels_as_text() -> None:
    assert TRAINING.arguments(TrainingConfig(gpus=2))["gpus"] == "2"


def test_no_gpus_is_a_training_of_one_process_on_cpus() -> None:
    parameters, _ = read_settings({**DEFAULTS, "gpus": 0, "device": "auto"}, {})
    assert (parameters.gpus, parameters.device) == (1, "cpu")
