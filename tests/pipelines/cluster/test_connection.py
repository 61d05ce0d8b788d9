"""How a Kubeflow Pipelines is found, who asks it, and what it tells of itself; against a server on a real socket."""

import argparse
import json
import logging
import os
from pathlib import Path
from typing import Any

import kfp_server_api
import pytest
import yaml

from components.shared.errors import ClusterAccessError, ClusterError, ConfigError
from pipelines.backends.cluster import client as client_module
from pipelines.backends.cluster import endpoint as endpoint_module
from pipelines.backends.cluster.calls import asked
from pipelines.backends.cluster.connection import Cluster, Endpoint, add_endpoint_options, connect, endpoint_of
from tests.pipelines.cluster.kfp_stub import KfpStub

SECRET = "top-secret-token"


def endpoint_from(*arguments: str) -> Endpoint:
    parser = argparse.ArgumentParser()
    add_endpoint_options(parser)
    return endpoint_of(parser.parse_args(arguments))


def runs_of(cluster: Cluster) -> Any:
    return asked(cluster.kfp.runs.run_service_list_runs, what="list the runs").runs


def kubeconfig_of(stub: KfpStub, path: Path) -> Path:
    user = {"name": "me", "user": {"token": SECRET}}
    context = {"name": "here", "context": {"cluster": "c", "user": "me"}}
    cluster = {"name": "c", "cluster": {"server": stub.url}}
    config = {"clusters": [cluster], "users": [user], "contexts": [context], "current-context": "here"}
    path.write_text(yaml.safe_dump({"apiVersion": "v1", "kind": "Config", **config}))
    return path


def test_the_host_comes_from_the_option_then_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KF_PIPELINES_ENDPOINT", "third.example")
    assert endpoint_from().host == "https://third.example"
    monkeypatch.setenv("KFP_HOST", "http://second.example:8888/")
    assert endpoint_from().host == "http://second.example:8888"
    assert endpoint_from("--host", "https://first.example/pipeline/#/runs").host == "https://first.example/pipeline"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--host", "ftp://x"], "--host='ftp://x' is no address"),
        (["--host", "https://me:pass@x"], "--host='x' is no address"),
        (["--host", "http://x:99999"], "is no address"),
        (["--host", "https://x?token=geheim"], "--host='https://x' is no address"),
        (["--namespace", "My Team"], "--namespace='My Team' is no namespace"),
        (["--token-file", "none"], "--token-file='none': there is no such file"),
        (["--ca-file", "none"], "--ca-file='none': there is no such file"),
    ],
)
def test_what_cannot_be_used_is_refused_before_anything_is_asked(arguments: list[str], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        endpoint_from(*arguments)
    assert words in str(caught.value)
    assert "pass" not in str(caught.value)
    assert "geheim" not in str(caught.value)


def test_nothing_is_asked_written_or_said_while_connecting(
    kfp: KfpStub, capsys: pytest.CaptureFixture[str], recwarn: pytest.WarningsRecorder
) -> None:
    cluster = connect(Endpoint(host=kfp.url, namespace="team-a"))
    assert kfp.requests == []
    assert cluster.health.version == "2.17.0"
    assert capsys.readouterr() == ("", "")
    assert [str(one.message) for one in recwarn if one.category is FutureWarning] == []
    assert list(Path.home().iterdir()) == []


def test_a_context_file_of_the_home_is_not_read(kfp: KfpStub) -> None:
    folder = Path.home() / ".config" / "kfp"
    folder.mkdir(parents=True)
    (folder / "context.json").write_text(json.dumps({"namespace": "old", "client_authentication_cookie": "old=1"}))
    cluster = connect(Endpoint(host=kfp.url))
    runs_of(cluster)
    assert cluster.kfp.get_user_namespace() == ""
    assert "Cookie" not in kfp.requests[-1].headers


def test_a_namespace_that_is_set_stays_in_this_process(kfp: KfpStub) -> None:
    cluster = connect(Endpoint(host=kfp.url))
    cluster.kfp.set_user_namespace("team-b")
    assert cluster.kfp.get_user_namespace() == "team-b"
    assert list(Path.home().iterdir()) == []


def test_a_token_is_sent_and_never_shown(
    kfp: KfpStub, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    kfp.token = SECRET
    monkeypatch.setenv("KFP_TOKEN", f"{SECRET}\n")
    endpoint = endpoint_from("--host", kfp.url)
    cluster = connect(endpoint)
    assert not runs_of(cluster)
    assert kfp.requests[-1].headers["Authorization"] == f"Bearer {SECRET}"
    for shown in (repr(endpoint), repr(cluster), str(endpoint), caplog.text):
        assert SECRET not in shown


def test_a_token_file_is_read_again_when_it_was_renewed(kfp: KfpStub, tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("first")
    cluster = connect(endpoint_from("--host", kfp.url, "--token-file", str(path)))
    for token in ("first", "second"):
        path.write_text(token)
        runs_of(cluster)
        assert kfp.requests[-1].headers["Authorization"] == f"Bearer {token}"


def test_cookies_pass_a_gateway_that_wants_a_login(kfp: KfpStub, monkeypatch: pytest.MonkeyPatch) -> None:
    kfp.cookie = "authservice_session=abc"
    with pytest.raises(ClusterAccessError) as caught:
        runs_of(connect(endpoint_from("--host", kfp.url)))
    assert "answered with a login page" in str(caught.value)
    assert "KFP_COOKIES" in str(caught.value)
    monkeypatch.setenv("KFP_COOKIES", "authservice_session=abc")
    assert not runs_of(connect(endpoint_from("--host", kfp.url)))


def test_without_a_host_the_kubeconfig_leads_through_the_clusters_own_api(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stub = KfpStub(prefix="/api/v1/namespaces/kfp/services/ml-pipeline:http/proxy")
    try:
        monkeypatch.setenv("KUBECONFIG", str(tmp_path / "config"))
        server = stub.url.removesuffix(stub.prefix)
        kubeconfig_of(stub, tmp_path / "config").write_text((tmp_path / "config").read_text().replace(stub.url, server))
        cluster = connect(endpoint_from("--kfp-namespace", "kfp"))
        assert cluster.health.version == "2.17.0"
        assert stub.requests[-1].headers["Authorization"] == f"Bearer {SECRET}"
        assert cluster.ui_link("r1") == ""
        assert "kubectl port-forward -n kfp svc/ml-pipeline-ui" in cluster.ui_hint("r1")
    finally:
        stub.close()


@pytest.mark.parametrize("text", ["", "no: config", "a: [", "clusters: 5"])
def test_a_broken_kubeconfig_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    path = tmp_path / "config"
    path.write_text(text)
    monkeypatch.setenv("KUBECONFIG", str(path))
    with pytest.raises(ClusterAccessError, match="config' cannot be used"):
        connect(endpoint_from())


def test_with_neither_host_nor_kubeconfig_every_way_is_named() -> None:
    with pytest.raises(ConfigError) as caught:
        connect(endpoint_from())
    for word in ("--local", "--host", "KFP_HOST", "KUBECONFIG"):
        assert word in str(caught.value)


def test_in_a_pod_its_own_service_account_asks_the_clusters_own_kubeflow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kfp: KfpStub
) -> None:
    (tmp_path / "token").write_text("kubernetes")
    (tmp_path / "namespace").write_text("team-pod\n")
    (tmp_path / "kfp-token").write_text("projected")
    monkeypatch.setattr(endpoint_module, "SERVICE_ACCOUNT", tmp_path)
    monkeypatch.setattr("pipelines.backends.cluster.connection.SERVICE_ACCOUNT", tmp_path)
    monkeypatch.setattr(client_module, "IN_CLUSTER", kfp.url)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    monkeypatch.setenv("KF_PIPELINES_SA_TOKEN_PATH", str(tmp_path / "kfp-token"))
    kfp.token, kfp.health["multi_user"] = "projected", True
    cluster = connect(endpoint_from())
    assert cluster.api_namespace == "team-pod"
    assert cluster.namespace == "team-pod"
    with_host = connect(endpoint_from("--host", kfp.url))  # kfp's own client would send no token here
    assert with_host.health.multi_user
    assert endpoint_from("--host", "https://elsewhere.example").token_file == ""
    for host in ("http://ml-pipeline.kubeflow:8888", "http://ml-pipeline.kubeflow.svc:8888", "http://ml-pipeline:8888"):
        assert endpoint_from("--host", host).token_file == str(tmp_path / "kfp-token")


def test_a_server_of_many_users_wants_a_namespace_and_one_of_one_user_is_told_none(kfp: KfpStub) -> None:
    assert connect(Endpoint(host=kfp.url, namespace="mine")).api_namespace is None
    assert connect(Endpoint(host=kfp.url)).namespace == "kubeflow"
    kfp.health["multi_user"] = True
    assert connect(Endpoint(host=kfp.url, namespace="mine")).api_namespace == "mine"
    with pytest.raises(ConfigError, match="--namespace or KFP_NAMESPACE"):
        _ = connect(Endpoint(host=kfp.url)).api_namespace


def test_the_ui_tells_the_health_of_the_server_behind_it_and_has_the_links(kfp: KfpStub) -> None:
    kfp.health = {"frontendTagName": "2.17.0", "apiServerTagName": "2.16.1", "apiServerReady": True, "multi_user": True}
    cluster = connect(Endpoint(host=kfp.url))
    assert (cluster.health.version, cluster.health.numbers, cluster.health.multi_user) == ("2.16.1", (2, 16), True)
    assert cluster.ui_link("r1") == f"{kfp.url}/#/runs/details/r1"
    kfp.health["apiServerReady"] = False
    with pytest.raises(ClusterError, match="not ready"):
        _ = connect(Endpoint(host=kfp.url)).health


def test_the_ui_may_have_an_address_of_its_own(kfp: KfpStub) -> None:
    assert connect(Endpoint(host=kfp.url)).ui_link("r1") == ""
    cluster = connect(Endpoint(host=kfp.url, ui_host="https://kubeflow.example/pipeline/"))
    assert cluster.ui_link("r1") == "https://kubeflow.example/pipeline/#/runs/details/r1"


def test_a_redirect_to_another_server_takes_no_secret_along(kfp: KfpStub) -> None:
    other = KfpStub()
    try:
        kfp.plant("/runs", status=302, location=f"{other.url}/apis/v2beta1/runs")
        runs_of(connect(Endpoint(host=kfp.url, token=SECRET, cookies="a=b")))
        assert {"Authorization", "Cookie"} <= set(kfp.requests[-1].headers)
        assert not {"Authorization", "Cookie"} & set(other.requests[-1].headers)
    finally:
        other.close()


@pytest.mark.parametrize("version", ["unknown", "dev", ""])
def test_a_server_that_does_not_say_its_version_has_none(kfp: KfpStub, version: str) -> None:
    kfp.health["tag_name"] = version
    assert connect(Endpoint(host=kfp.url)).health.numbers is None


def test_the_proxy_of_the_environment_is_used_but_never_for_this_machine(
    kfp: KfpStub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    assert connect(Endpoint(host=kfp.url)).health
    with pytest.raises(ClusterAccessError, match=r"The proxy before 'http://kubeflow\.example'"):
        _ = connect(Endpoint(host="http://kubeflow.example")).health
    monkeypatch.setenv("no_proxy", "kubeflow.example")
    assert client_module._proxy_of("http://kubeflow.example") is None


def test_the_clusters_own_api_is_asked_for_through_the_kubeconfig(
    kfp: KfpStub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = connect(Endpoint(host=kfp.url))
    with pytest.raises(ClusterAccessError, match="there is no kubeconfig"):
        cluster.core()
    monkeypatch.setenv("KUBECONFIG", str(kubeconfig_of(kfp, tmp_path / "config")))
    core = connect(Endpoint(host=kfp.url)).core()
    assert core.api_client.configuration.host == kfp.url
    with pytest.raises(ClusterError):
        asked(core.list_namespaced_pod, "kubeflow", what="list pods")


def test_calls_of_kfps_own_client_work_too(kfp: KfpStub) -> None:
    kfp.add_run("one")
    cluster = connect(Endpoint(host=kfp.url))
    (run,) = asked(cluster.kfp.list_runs, what="list the runs").runs
    assert isinstance(run, kfp_server_api.V2beta1Run)
    assert asked(cluster.kfp.get_run, run.run_id, what="get the run").display_name == "one"
    assert os.environ.get("KFP_HOST") is None
