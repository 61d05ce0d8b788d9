"""The doctor against servers on real sockets: what it finds, what it says to do, and that it never hangs."""

import base64
import functools
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipelines.doctor import command as doctor
from pipelines.doctor.findings import Finding
from pipelines.doctor.package import needs_of_package
from pipelines.packages import build_package
from tests.pipelines.cluster.kfp_stub import KfpStub
from tests.pipelines.cluster.kube_stub import NAMESPACE, KubeStub

compiled = functools.cache(build_package)  # takes seconds
PAIR = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}
GPU_TAINT = {"key": "nvidia.com/gpu", "value": "present", "effect": "NoSchedule"}


def encoded(**values: str) -> dict[str, str]:
    return {name: base64.b64encode(value.encode()).decode() for name, value in values.items()}


def node(
    name: str = "gpu-1",
    *,
    gpus: str = "1",
    taints: Any = (),
    labels: Any = None,
    cpu: str = "8",
    memory: str = "32Gi",
    **spec: Any,
) -> dict[str, Any]:
    allocatable = {"cpu": cpu, "memory": memory, "pods": "110"} | ({"nvidia.com/gpu": gpus} if gpus else {})
    status = {"allocatable": allocatable, "conditions": [{"type": "Ready", "status": "True"}]}
    return {
        "metadata": {"name": name, "labels": labels or {}},
        "spec": {"taints": list(taints), **spec},
        "status": status,
    }


def healthy(kube: KubeStub) -> None:
    """A cluster in which a run has all it needs."""
    labels = {"pod-security.kubernetes.io/enforce": "baseline"}
    kube.put("namespaces", {"metadata": {"name": NAMESPACE, "labels": labels}})
    for name, keys in needs_of_package(compiled()).secrets.items():
        kube.put(
            "secrets", {"metadata": {"name": name}, "data": encoded(**dict.fromkeys(keys, "http://minio:9000"), **PAIR)}
        )
    kube.put("secrets", {"metadata": {"name": "mlpipeline"}, "data": encoded(accesskey="a", secretkey="b")})
    reference = "{secretName: mlpipeline, accessKeyKey: accesskey, secretKeyKey: secretkey}"
    providers = f"minio: {{default: {{endpoint: 'minio:9000', credentials: {{secretRef: {reference}}}}}}}"
    root = {"defaultPipelineRoot": "minio://detection/v2", "providers": providers}
    kube.put("configmaps", {"metadata": {"name": "kfp-launcher"}, "data": root})
    kube.put("serviceaccounts", {"metadata": {"name": "pipeline-runner"}})
    kube.put("nodes", node(taints=[GPU_TAINT]))
    kube.put("nodes", node("plain", gpus="", cpu="4", memory="8Gi"))
    default = {"storageclass.kubernetes.io/is-default-class": "true"}
    kube.put("storageclasses", {"metadata": {"name": "fast", "annotations": default}, "provisioner": "x"})


@pytest.fixture(autouse=True)
def _compiled_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "build_package", lambda _pipeline: compiled())


@pytest.fixture
def kube(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[KubeStub]:
    with KubeStub() as stub:
        monkeypatch.setenv("KUBECONFIG", str(stub.kubeconfig(tmp_path / "kubeconfig")))
        healthy(stub)
        yield stub


@pytest.fixture
def examined(kfp: KfpStub, capsys: pytest.CaptureFixture[str]) -> Any:
    """Runs the doctor; gives its exit code and findings by name."""

    def run(*arguments: str) -> tuple[int, dict[str, Finding]]:
        code = doctor.main(["--host", kfp.url, "--json", *arguments])
        said = json.loads(capsys.readouterr().out)
        return code, {one["name"]: Finding(**one) for one in said["findings"]}

    return run


def test_a_cluster_with_all_a_run_needs_is_found_well(kube: KubeStub, examined: Any) -> None:
    code, found = examined()
    states = {name: one.state for name, one in found.items() if name not in {"store", "image"}}
    assert states == dict.fromkeys(states, "ok")
    assert code == 0
    assert {"kubeflow", "versions", "kubeflow clock", "kubernetes", "kfp-launcher", "pod security"} <= set(states)
    assert {"service account", "rights", "quotas", "nodes", "storage class"} <= set(states)
    assert [one for one in kube.requests if one.method not in {"GET", "POST"}] == []


def test_lines_are_for_people_with_what_to_do_beneath(
    kfp: KfpStub, kube: KubeStub, capsys: pytest.CaptureFixture[str]
) -> None:
    kube.remove("serviceaccounts", "pipeline-runner")
    assert doctor.main(["--host", kfp.url]) == 2
    lines = capsys.readouterr().out.splitlines()
    (place,) = [number for number, line in enumerate(lines) if line.startswith("problem")]
    assert "there is no 'pipeline-runner' in 'kubeflow'" in lines[place]
    assert lines[place + 1].strip().startswith("Give the namespace")
    assert lines[-1].startswith("something will break a run (")


def test_without_kubernetes_it_does_what_it_can(examined: Any) -> None:
    code, found = examined()
    assert found["kubeflow"].state == "ok"
    assert found["kubernetes"].state == "warning"
    assert "kubeconfig" in found["kubernetes"].text
    assert code == 0


def test_what_a_person_may_not_look_at_is_a_warning_and_no_problem(kube: KubeStub, examined: Any) -> None:
    for plural in ("nodes", "secrets", "resourcequotas", "storageclasses", "namespaces"):
        kube.forbid("*", plural)
    code, found = examined()
    assert {found[name].state for name in ("nodes", "quotas", "storage class", "pod security")} == {"warning"}
    assert found["rights"].state == "ok"
    assert code == 0


def test_rights_that_commands_need_are_named_with_what_fails_without(kube: KubeStub, examined: Any) -> None:
    kube.forbid("patch", "workflows")
    _, found = examined()
    assert found["rights"].state == "warning"
    assert "you may not patch workflows, so runs abort" in found["rights"].text


def test_a_server_that_does_not_know_who_asks_is_a_problem(kfp: KfpStub, kube: KubeStub, examined: Any) -> None:
    assert kube
    kfp.token = "geheim"
    code, found = examined()
    assert (code, found["kubeflow"].state) == (2, "problem")
    assert "geheim" not in str(found)


def test_a_server_that_is_not_there_is_a_problem_and_the_rest_is_still_looked_at(kube: KubeStub, examined: Any) -> None:
    assert kube
    code, found = examined("--host", "http://127.0.0.1:9")
    assert (code, found["kubeflow"].state) == (2, "problem")
    assert found["nodes"].state == "ok"


@pytest.mark.parametrize(
    ("version", "state"), [("2.14.4", "problem"), ("2.15.0", "ok"), ("2.18.1", "warning"), ("unknown", "warning")]
)
def test_the_server_may_be_as_old_and_new_as_was_tried(kfp: KfpStub, examined: Any, version: str, state: str) -> None:
    kfp.health["tag_name"] = version
    _, found = examined()
    assert found["versions"].state == state


def test_a_secret_without_a_key_is_a_problem_and_its_values_are_not_shown(
    kube: KubeStub, examined: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    needs = needs_of_package(compiled())
    wanted = type(needs)(needs.images, {"other": ("key", "password")}, needs.may_be_root)
    monkeypatch.setattr(doctor, "needs_of_package", lambda _package: wanted)
    assert examined()[1]["secret other"].state == ("problem")
    kube.put("secrets", {"metadata": {"name": "other"}, "data": encoded(key="k", password=" ")})
    code, found = examined()
    assert (code, found["secret other"].text) == (2, "password is missing or empty")
    kube.put("secrets", {"metadata": {"name": "other"}, "data": encoded(key="k", password="minio123")})
    code, found = examined()
    assert found["secret other"].state == "warning"
    assert "minio123" not in str(found)
    kube.put("secrets", {"metadata": {"name": "other"}, "data": encoded(key="k", password="geheim")})
    code, found = examined()
    assert (code, found["secret other"].state) == (0, "ok")
    assert "geheim" not in str(found)


@pytest.mark.parametrize(
    ("values", "state", "words"),
    [
        ({}, "problem", "S3_ENDPOINT_URL is missing"),
        ({"S3_ENDPOINT_URL": "http://me:geheim@minio"}, "problem", "is no endpoint"),
        ({"S3_ENDPOINT_URL": "http://minio:9000"}, "warning", "no keys of the store"),
        ({"S3_ENDPOINT_URL": "http://minio:9000", "AWS_ACCESS_KEY_ID": "a"}, "problem", "AWS_SECRET_ACCESS_KEY is"),
        ({"S3_ENDPOINT_URL": "http://minio:9000", **PAIR}, "ok", "has S3_ENDPOINT_URL"),
    ],
)
def test_the_stores_secret_has_to_lead_to_it(
    kube: KubeStub, examined: Any, values: dict[str, str], state: str, words: str
) -> None:
    kube.put("secrets", {"metadata": {"name": "detection-store"}, "data": encoded(**values)})
    found = examined()[1]["secret detection-store"]
    assert (found.state, words in found.text) == (state, True), found
    assert "geheim" not in str(found)


def test_a_limit_range_has_to_let_a_container_be_as_large_as_the_training(kube: KubeStub, examined: Any) -> None:
    limits = [{"type": "Container", "max": {"memory": "8Gi", "cpu": "64"}}]
    kube.put("limitranges", {"metadata": {"name": "small"}, "spec": {"limits": limits}})
    code, found = examined()
    assert code == 2
    assert found["limits"].text == "'small' lets a container have 8.0 GiB memory, a training takes 16.0 GiB"


@pytest.mark.parametrize(
    ("uri", "state"), [("", "warning"), ("file:///tmp/x", "problem"), ("s3://bucket/only-pods-see-it", "warning")]
)
def test_pods_need_a_store_that_they_all_see(
    examined: Any, monkeypatch: pytest.MonkeyPatch, uri: str, state: str
) -> None:
    for name in ("S3_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIPELINE_STORE", uri)
    assert examined()[1]["store"].state == state


@pytest.mark.parametrize(
    ("data", "state", "words"),
    [
        (None, "warning", "there is none"),
        ({}, "problem", "is no minio://"),
        ({"defaultPipelineRoot": "minio://b/v2"}, "warning", "seaweedfs.kubeflow:9000"),
        ({"defaultPipelineRoot": "s3://b/v2"}, "ok", "artifacts go to 's3://b/v2'"),
        ({"defaultPipelineRoot": "s3://b", "providers": "{"}, "problem", "no YAML"),
        ({"defaultPipelineRoot": "s3://b", "providers": "- 1"}, "ok", "artifacts go to"),
        (
            {"defaultPipelineRoot": "s3://b", "providers": "s3: {default: {}, Overrides: [{maxRetries: 3}]}"},
            "problem",
            "crashes",
        ),
        (
            {
                "defaultPipelineRoot": "s3://b",
                "providers": "s3: {default: {credentials: {secretRef: {secretName: none, accessKeyKey: a}}}}",
            },
            "problem",
            "the secret 'none', which is not there",
        ),
    ],
)
def test_the_launchers_settings_are_read_as_the_launcher_does(
    kube: KubeStub, examined: Any, data: Any, state: str, words: str
) -> None:
    kube.remove("configmaps", "kfp-launcher")
    if data is not None:
        kube.put("configmaps", {"metadata": {"name": "kfp-launcher"}, "data": data})
    _, found = examined()
    assert found["kfp-launcher"].state == state
    assert words in found["kfp-launcher"].text


@pytest.mark.parametrize(
    ("nodes", "settings", "state", "words"),
    [
        ([node(taints=[GPU_TAINT])], [], "ok", "fits gpu-1 (1 nvidia.com/gpu on 1 of 2 nodes)"),
        ([node(taints=[GPU_TAINT])], ["tolerations=[]"], "problem", "the taint nvidia.com/gpu=present:NoSchedule"),
        ([node(taints=[{"key": "spot", "effect": "NoExecute"}])], [], "problem", "the taint spot:NoExecute"),
        ([node(taints=[{"key": "spot", "effect": "PreferNoSchedule"}])], [], "ok", "fits"),
        ([node(labels={"pool": "a"})], ['node_selector={"pool": "b"}'], "problem", "lacks the label pool=b"),
        ([node(labels={"pool": "b"})], ['node_selector={"pool": "b"}'], "ok", "fits"),
        ([node(unschedulable=True)], [], "problem", "is cordoned"),
        ([node(gpus="1")], ["gpus=2"], "problem", "has 1 nvidia.com/gpu of the 2 it takes"),
        ([node()], ["train_memory=64Gi"], "problem", "has 32.0 GiB memory of the 64.0 GiB it takes"),
        ([node()], ["train_cpu=9500m"], "problem", "has 8 cpu of the 9.5 it takes"),
        ([node("cpu-1", gpus="")], [], "warning", "no node has nvidia.com/gpu now"),
        ([node("cpu-1", gpus="")], ["gpus=0"], "ok", "it trains on CPUs"),
        ([], ["gpus=0"], "problem", "plain has 8.0 GiB memory of the 16.0 GiB it takes"),
        ([node("a"), node("b", unschedulable=True)], [], "ok", "fits a ("),
    ],
)
def test_nodes_are_held_against_what_the_training_asks_for(
    kube: KubeStub, examined: Any, nodes: list[Any], settings: list[str], state: str, words: str
) -> None:
    kube.remove("nodes", "gpu-1")
    for one in nodes:
        kube.put("nodes", one)
    code, found = examined(*(part for setting in settings for part in ("--set", setting)))
    assert (found["nodes"].state, words in found["nodes"].text) == (state, True), found["nodes"].text
    assert code == (2 if state == "problem" else 0)


def test_the_other_steps_need_a_node_that_lets_them_in(kube: KubeStub, examined: Any) -> None:
    kube.remove("nodes", "plain")
    code, found = examined()
    assert (code, found["nodes"].state) == (2, "ok")
    assert "data_prep" in found["nodes for steps"].text
    assert "gpu-1 has the taint nvidia.com/gpu=present:NoSchedule" in found["nodes for steps"].text


@pytest.mark.parametrize(
    ("operator", "values", "fits"), [("In", ["a"], True), ("NotIn", ["a"], False), ("Gt", ["1"], False)]
)
def test_a_node_affinity_is_held_against_nodes(
    kube: KubeStub, examined: Any, operator: str, values: list[str], fits: bool
) -> None:
    kube.put("nodes", node(labels={"pool": "a"}))
    part = {"key": "pool", "operator": operator, "values": values}
    required = {"nodeSelectorTerms": [{"matchExpressions": [part]}]}
    affinity = json.dumps({"requiredDuringSchedulingIgnoredDuringExecution": required})
    _, found = examined("--set", f"affinity={affinity}")
    assert (found["nodes"].state == "ok") == fits


@pytest.mark.parametrize(
    ("hard", "used", "state"),
    [
        ({"requests.nvidia.com/gpu": "2"}, {"requests.nvidia.com/gpu": "1"}, "ok"),
        ({"requests.nvidia.com/gpu": "2"}, {"requests.nvidia.com/gpu": "2"}, "warning"),
        ({"requests.nvidia.com/gpu": "0"}, {}, "problem"),
        ({"limits.memory": "8Gi"}, {}, "problem"),
        ({"limits.memory": "64Gi", "count/secrets": "1"}, {"limits.memory": "16Gi", "count/secrets": "1"}, "ok"),
    ],
)
def test_quotas_need_room_for_a_training(kube: KubeStub, examined: Any, hard: Any, used: Any, state: str) -> None:
    kube.put(
        "resourcequotas", {"metadata": {"name": "team"}, "spec": {"hard": hard}, "status": {"hard": hard, "used": used}}
    )
    assert examined()[1]["quotas"].state == state


def test_a_quota_for_other_pods_does_not_count(kube: KubeStub, examined: Any) -> None:
    hard = {"requests.nvidia.com/gpu": "0"}
    for scope, state in (("NotTerminating", "ok"), ("Terminating", "problem")):
        spec = {"hard": hard, "scopes": [scope]}
        kube.put("resourcequotas", {"metadata": {"name": "team"}, "spec": spec, "status": {"hard": hard}})
        assert examined()[1]["quotas"].state == state


def test_a_namespace_that_forbids_root_needs_pods_that_say_they_are_not(
    kube: KubeStub, examined: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    kube.put("namespaces", {"metadata": {"name": NAMESPACE, "labels": labels}})
    needs = needs_of_package(compiled())
    for rooted, state in ((("model_train",), "problem"), ((), "ok")):
        wanted = type(needs)(needs.images, {}, rooted)
        monkeypatch.setattr(doctor, "needs_of_package", lambda _package, wanted=wanted: wanted)
        assert examined()[1]["pod security"].state == state
    kube.put("namespaces", {"metadata": {"name": NAMESPACE}})
    assert examined()[1]["pod security"].state == "warning"


def test_a_server_that_hangs_holds_up_nothing_else(kfp: KfpStub, kube: KubeStub, examined: Any) -> None:
    assert kube
    kfp.plant("/pipelines", delay=8)
    began = time.monotonic()
    code, found = examined("--timeout", "3")
    assert time.monotonic() - began < 6
    assert (code, found["kubeflow"].state) == (2, "problem")
    assert found["nodes"].state == "ok"


@pytest.mark.parametrize("arguments", [["--set", "gpus=99"], ["--set", "nonsense=1"], ["--host", "ftp://x"]])
def test_a_wrong_option_is_refused_before_anything_is_looked_at(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert doctor.main([*arguments, "--json"]) == 2
    said = capsys.readouterr()
    assert said.err.startswith("error: ")
    assert "error" in json.loads(said.out)
