"""What a server does wrong becomes one sentence, and what is safe to send again is sent again."""

import datetime as dt
import ipaddress
import json
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kfp_server_api
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from components.shared.errors import ClusterAccessError, ClusterError
from pipelines.backends.cluster.calls import asked
from pipelines.backends.cluster.connection import Cluster, Endpoint, connect
from tests.pipelines.cluster.kfp_stub import KfpStub

HTML = "<html><body>It works</body></html>"
TOKEN = "secret-abc"


@pytest.fixture
def cluster(kfp: KfpStub) -> Cluster:
    return connect(Endpoint(host=kfp.url, token=TOKEN))


def list_runs(cluster: Cluster, **named: Any) -> Any:
    return asked(cluster.kfp.runs.run_service_list_runs, what="list the runs", **named)


def create_run(cluster: Cluster, **named: Any) -> Any:
    body = kfp_server_api.V2beta1Run(display_name="x")
    return asked(cluster.kfp.runs.run_service_create_run, body, what="start the run", **named)


def said(call: Any, *arguments: Any, **named: Any) -> ClusterError:
    with pytest.raises(ClusterError) as caught:
        call(*arguments, **named)
    assert "\n" not in str(caught.value)
    assert TOKEN not in str(caught.value)
    return caught.value


@pytest.mark.parametrize(
    ("fault", "kind", "words"),
    [
        ({"status": 401}, ClusterAccessError, ["does not accept the credentials (401)", "KFP_TOKEN", "KFP_COOKIES"]),
        ({"status": 403}, ClusterAccessError, ["does not let you list the runs (403): planted", "--namespace"]),
        ({"status": 404}, ClusterAccessError, ["could not list the runs (status 404): planted"]),
        ({"status": 404, "body": HTML}, ClusterAccessError, ["There is no Kubeflow Pipelines API at 'http://127."]),
        ({"status": 404, "body": "404 page not found"}, ClusterAccessError, ["check the host and the path"]),
        ({"status": 400}, ClusterAccessError, ["could not list the runs (status 400): planted"]),
        ({"status": 400, "body": "Client sent an HTTP request to an HTTPS server."}, ClusterAccessError, ["https://"]),
        ({"status": 409}, ClusterAccessError, ["(status 409): planted"]),
        ({"status": 403, "body": HTML}, ClusterAccessError, ["A gateway before", "does not let you pass (403)"]),
        ({"status": 403, "body": "<a>Sign in with Google</a>"}, ClusterAccessError, ["login page", "KFP_COOKIES"]),
        ({"status": 200, "body": HTML}, ClusterAccessError, ["There is no Kubeflow Pipelines API"]),
        ({"status": 200, "body": "[1]"}, ClusterAccessError, ["There is no Kubeflow Pipelines API"]),
        ({"status": 200, "body": '{"runs": 5}'}, ClusterError, ["with what cannot be read"]),
        ({"status": 200, "body": '{"runs": [{"created_at": "gestern"}]}'}, ClusterError, ["with what cannot be read"]),
        ({"status": 429, "times": 9}, ClusterError, ["(status 429): planted; try again later"]),
        ({"status": 500, "times": 9}, ClusterError, ["could not list the runs (status 500): planted"]),
        ({"status": 502, "body": HTML, "times": 9}, ClusterError, ["(status 502); try again later"]),
        ({"status": 504, "body": "", "times": 9}, ClusterError, ["(status 504)"]),
        (
            {"cut": "before", "times": 9},
            ClusterError,
            ["broke off while it was to list the runs", "run the same again"],
        ),
        ({"cut": "middle", "times": 9}, ClusterError, ["broke off while it was to list the runs"]),
        ({"status": 500, "body": '{"message": "no secret-abc for you"}', "times": 9}, ClusterError, ["no *** for you"]),
    ],
)
def test_each_failure_is_a_sentence_with_what_to_do(
    kfp: KfpStub, cluster: Cluster, fault: dict[str, Any], kind: type[ClusterError], words: list[str]
) -> None:
    kfp.plant("/runs", **fault)
    error = said(list_runs, cluster)
    assert type(error) is kind
    assert error.exit_code == (2 if kind is ClusterAccessError else 1)
    if fault.get("status", 0) >= 400:
        assert error.status == fault["status"]
    for word in words:
        assert word in str(error)


def test_without_credentials_a_401_says_how_to_give_some(kfp: KfpStub) -> None:
    kfp.token = TOKEN
    error = said(list_runs, connect(Endpoint(host=kfp.url)))
    assert "wants to know who you are (401)" in str(error)
    assert "--token-file" in str(error)


def test_a_body_that_is_no_text_is_no_traceback(kfp: KfpStub, cluster: Cluster) -> None:
    kfp.plant("/runs", status=400, body=b"\xff\x00<html>")
    assert "status 400" in str(said(list_runs, cluster))


@pytest.mark.parametrize("fault", [{"status": 503}, {"status": 500}, {"cut": "before"}, {"cut": "middle"}])
def test_what_is_safe_is_asked_again(kfp: KfpStub, cluster: Cluster, fault: dict[str, Any]) -> None:
    kfp.add_run("one")
    kfp.plant("/runs", times=3, **fault)
    (run,) = list_runs(cluster).runs
    assert run.display_name == "one"


@pytest.mark.parametrize("fault", [{"status": 503}, {"cut": "before"}, {"cut": "after"}])
def test_what_might_happen_twice_is_sent_once(kfp: KfpStub, cluster: Cluster, fault: dict[str, Any]) -> None:
    kfp.plant("/runs", method="POST", **fault)
    said(create_run, cluster)
    assert kfp.faults[0].times == 0
    assert len(kfp.asked("POST")) <= 1


def test_a_caller_that_knows_better_may_send_it_again(kfp: KfpStub, cluster: Cluster) -> None:
    kfp.plant("/runs", method="POST", status=503, times=9)
    said(create_run, cluster, again=True, tries=3)
    assert len(kfp.asked("POST")) == 3


def test_a_server_that_is_too_busy_is_asked_again_whatever_was_asked(kfp: KfpStub, cluster: Cluster) -> None:
    kfp.plant("/runs", method="POST", status=429, times=2)
    error = said(create_run, cluster)
    assert error.status == 400  # the third was looked at: it names no pipeline
    assert len(kfp.asked("POST")) == 3


def test_a_slow_server_is_given_up_on_and_the_setting_named(
    kfp: KfpStub, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KFP_TIMEOUT_SECONDS", "0.1")
    kfp.plant("/runs", delay=0.6, times=2)
    error = said(list_runs, cluster, tries=2)
    assert "took longer than 0.1 s to list the runs" in str(error)
    assert "KFP_TIMEOUT_SECONDS" in str(error)
    assert error.exit_code == 1


def test_a_port_where_nothing_listens_is_a_wrong_host() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        error = said(list_runs, connect(Endpoint(host=f"http://127.0.0.1:{port}")))
    assert "Nothing listens at" in str(error)
    assert isinstance(error, ClusterAccessError)


def test_a_name_that_does_not_exist_is_a_wrong_host() -> None:
    error = said(list_runs, connect(Endpoint(host="https://kubeflow.invalid")), tries=1)
    assert re.search(r"The name 'kubeflow\.invalid' of Kubeflow cannot be found", str(error))


def test_https_where_only_http_is_spoken_says_so(kfp: KfpStub) -> None:
    error = said(list_runs, connect(Endpoint(host=kfp.url.replace("http:", "https:"))))
    assert "does not speak https: write --host http://" in str(error)


def test_the_wrong_arguments_of_a_caller_are_no_failure_of_the_server(cluster: Cluster) -> None:
    with pytest.raises(kfp_server_api.exceptions.ApiTypeError):
        list_runs(cluster, no_such_argument=1)
    with pytest.raises(TypeError, match="unexpected keyword"):
        asked(cluster.kfp.list_runs, no_such_argument=1, what="list the runs")
    with pytest.raises(kfp_server_api.exceptions.ApiValueError):
        asked(cluster.kfp.runs.run_service_get_run, None, what="get a run")


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (401, "Kubernetes at 'http://127.0.0.1"),
        (403, "Kubernetes does not let you list workflows (403): planted; ask for a role"),
        (404, "Kubernetes could not list workflows (status 404): planted"),
        (500, "could not list workflows (status 500): planted"),
    ],
)
def test_what_kubernetes_refuses_is_a_sentence_too(
    kfp: KfpStub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int, words: str
) -> None:
    user, place = {"name": "me", "user": {"token": TOKEN}}, {"name": "c", "cluster": {"server": kfp.url}}
    context = {"name": "here", "context": {"cluster": "c", "user": "me"}}
    config = {"clusters": [place], "users": [user], "contexts": [context], "current-context": "here"}
    (tmp_path / "config").write_text(json.dumps({"apiVersion": "v1", "kind": "Config", **config}))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "config"))
    kfp.plant("/argoproj.io", status=status, times=9)
    custom = connect(Endpoint(host=kfp.url)).custom()
    arguments = ("argoproj.io", "v1alpha1", "kubeflow", "workflows")
    error = said(asked, custom.list_namespaced_custom_object, *arguments, what="list workflows")
    assert words in str(error)
    assert error.status == status


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    folder = tmp_path_factory.mktemp("tls")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "stub")])
    now = dt.datetime.now(dt.UTC)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .sign(key, hashes.SHA256())
    )
    plain = serialization.NoEncryption()
    pem, kind = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    (folder / "key.pem").write_bytes(key.private_bytes(pem, kind, plain))
    (folder / "cert.pem").write_bytes(made.public_bytes(pem))
    return str(folder / "cert.pem"), str(folder / "key.pem")


@pytest.fixture
def tls_kfp(certificate: tuple[str, str]) -> Iterator[KfpStub]:
    stub = KfpStub(tls=certificate)
    yield stub
    stub.close()


def test_a_certificate_of_an_unknown_authority_is_refused_unless_its_file_is_given(
    tls_kfp: KfpStub, certificate: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    error = said(list_runs, connect(Endpoint(host=tls_kfp.url)))
    assert "cannot be trusted (self-signed certificate)" in str(error)
    assert "--ca-file" in str(error)
    assert list_runs(connect(Endpoint(host=tls_kfp.url, ssl_ca_cert=certificate[0]))).runs is None
    assert list_runs(connect(Endpoint(host=tls_kfp.url, verify_ssl=False))).runs is None
    monkeypatch.setenv("KFP_CA_FILE", certificate[0])
    assert list_runs(connect(Endpoint.from_environment(host=tls_kfp.url))).runs is None


def test_a_secret_of_the_environment_is_in_no_repr(tmp_path: Path) -> None:
    (tmp_path / "t").write_text(TOKEN)
    endpoint = Endpoint.from_environment({"KFP_TOKEN": TOKEN, "KFP_COOKIES": "a=secret-abc"}, host="x.example")
    assert TOKEN not in repr(endpoint)
    assert TOKEN not in repr(connect(endpoint))
