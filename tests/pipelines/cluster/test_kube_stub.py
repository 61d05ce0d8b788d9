"""The stub of the Kubernetes API answers the real client as a cluster does."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kubernetes import client, config

from tests.pipelines.cluster.kube_stub import NAMESPACE, KubeStub


@pytest.fixture
def kube() -> Iterator[KubeStub]:
    with KubeStub() as stub:
        stub.put(
            "pods", {"metadata": {"name": "a", "labels": {"pipeline/runid": "r1"}}, "status": {"phase": "Pending"}}
        )
        stub.put("pods", {"metadata": {"name": "b"}})
        yield stub


@pytest.fixture
def api(kube: KubeStub) -> Any:
    return client.ApiClient(client.Configuration(host=kube.url))


def test_lists_follow_label_and_field_selectors(kube: KubeStub, api: Any) -> None:
    kube.event("a", "FailedScheduling", "0/5 nodes are available")
    kube.event("b", "Pulled", "fine", kind="Normal")
    core = client.CoreV1Api(api)
    assert [
        one.metadata.name for one in core.list_namespaced_pod(NAMESPACE, label_selector="pipeline/runid").items
    ] == ["a"]
    assert not core.list_namespaced_pod(NAMESPACE, label_selector="pipeline/runid=r2").items
    found = core.list_namespaced_event(NAMESPACE, field_selector="involvedObject.name=a").items
    assert [one.reason for one in found] == ["FailedScheduling"]


def test_a_list_comes_in_pages(api: Any) -> None:
    core = client.CoreV1Api(api)
    first = core.list_namespaced_pod(NAMESPACE, limit=1)
    rest = core.list_namespaced_pod(NAMESPACE, limit=1, _continue=first.metadata._continue)
    assert [first.items[0].metadata.name, rest.items[0].metadata.name] == ["a", "b"]
    assert rest.metadata._continue is None


def test_custom_objects_are_patched(kube: KubeStub, api: Any) -> None:
    kube.put("workflows", {"metadata": {"name": "w"}, "spec": {"entrypoint": "main"}})
    kind = ("argoproj.io", "v1alpha1", NAMESPACE, "workflows", "w")
    client.CustomObjectsApi(api).patch_namespaced_custom_object(*kind, {"spec": {"shutdown": "Terminate"}})
    found = kube.find("workflows", "w")
    assert found is not None
    assert found["spec"] == {"entrypoint": "main", "shutdown": "Terminate"}


def test_a_followed_log_grows_until_its_container_ends(kube: KubeStub, api: Any) -> None:
    kube.log("a", "one\n", live=True)
    threading.Timer(0.1, lambda: kube.log("a", "two\n")).start()
    answer = client.CoreV1Api(api).read_namespaced_pod_log(
        "a", NAMESPACE, container="main", follow=True, _preload_content=False
    )
    assert b"".join(answer.stream()) == b"one\ntwo\n"


@pytest.mark.parametrize(
    ("name", "status"), [("nobody", 404), ("a", 403)], ids=["an object that is not there", "a verb that is forbidden"]
)
def test_refusals_are_status_objects(kube: KubeStub, api: Any, name: str, status: int) -> None:
    if status == 403:
        kube.forbid("get", "pods")
    with pytest.raises(client.ApiException) as refused:
        client.CoreV1Api(api).read_namespaced_pod(name, NAMESPACE)
    assert refused.value.status == status
    assert '"kind": "Status"' in refused.value.body


def test_a_pod_that_clings_goes_with_grace_zero(kube: KubeStub, api: Any) -> None:
    kube.linger = float("inf")
    core = client.CoreV1Api(api)
    core.delete_namespaced_pod("a", NAMESPACE, grace_period_seconds=30)
    assert core.read_namespaced_pod("a", NAMESPACE).metadata.deletion_timestamp
    core.delete_namespaced_pod("a", NAMESPACE, grace_period_seconds=0)
    assert kube.find("pods", "a") is None


def test_a_kubeconfig_file_leads_to_it(kube: KubeStub, tmp_path: Path) -> None:
    kube.token = "secret"
    found = config.new_client_from_config(str(kube.kubeconfig(tmp_path / "config")))
    assert client.VersionApi(found).get_code().git_version == "v1.33.1"
