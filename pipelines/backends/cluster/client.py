"""kfp.Client as this project needs it: silent, with timeouts, and with nothing read from or written to the home."""

import json
import os
import urllib.request
import warnings
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import kfp_server_api
import urllib3
from kfp.client import Client, ServiceAccountTokenVolumeCredentials
from kfp_server_api.exceptions import ApiException
from kfp_server_api.rest import RESTClientObject
from kubernetes.config import ConfigException, load_kube_config
from yaml import YAMLError

from components.shared.errors import ClusterAccessError, ConfigError, in_one_line
from pipelines.backends.cluster.endpoint import Endpoint, check_named, in_cluster, kubeconfig

TIMEOUT = "KFP_TIMEOUT_SECONDS"
CONNECT_SECONDS, READ_SECONDS = 5.0, 30.0
IN_CLUSTER = "http://ml-pipeline.{}.svc.cluster.local:8888"
PROXIED = "{}/api/v1/namespaces/{}/services/ml-pipeline:http/proxy"
REDIRECTS = 4
_NO_RETRIES = urllib3.Retry(total=REDIRECTS, connect=0, read=0, status=0, other=0, redirect=REDIRECTS)


class QuietClient(Client):  # type: ignore[misc]  # kfp ships no types
    """A client that asks nothing of the server before it is told to."""

    def __init__(self, configuration: kfp_server_api.Configuration, endpoint: Endpoint) -> None:
        self._made = configuration
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            super().__init__(host=configuration.host, ui_host=endpoint.ui_host, cookies=endpoint.cookies or None)
        self._context_setting = {"namespace": endpoint.namespace}
        self.api_client: kfp_server_api.ApiClient = self._run_api.api_client
        self.api_client.rest_client = PatientRest(configuration)

    def _load_config(self, *_: object) -> kfp_server_api.Configuration:
        return self._made

    def _load_context_setting_or_default(self) -> None:
        self._context_setting = {"namespace": "-"}  # with none, the constructor would ask the server for it

    def get_kfp_healthz(self, sleep_duration: int = 0) -> kfp_server_api.V2beta1GetHealthzResponse:  # noqa: ARG002 - kfp's
        """The server's health, asked once and without logging."""
        return self._healthz_api.healthz_service_get_healthz()

    def set_user_namespace(self, namespace: str) -> None:
        """Use this namespace, in this process only."""
        self._context_setting["namespace"] = namespace


class PatientRest(RESTClientObject):  # type: ignore[misc]  # generated, without types
    """The generated transport with a timeout for each request, which tells a web page from an answer of the API."""

    def request(self, method: str, url: str, **named: Any) -> Any:  # noqa: ANN401 - as generated
        """Send one request.

        Raises:
            ApiException: the status is no success, or the answer is no JSON; its body is always text in UTF-8.
        """
        named["_request_timeout"] = named.get("_request_timeout") or (CONNECT_SECONDS, read_seconds())
        try:
            answer = super().request(method, url, **named)
        except ApiException as error:
            error.body = _readable(error.body)
            raise
        if named.get("_preload_content", True) and not _is_json(answer.data):
            page = ApiException(http_resp=answer)
            page.body = _readable(answer.data)
            raise page
        return answer


def make_client(endpoint: Endpoint) -> QuietClient:
    """A client of ``endpoint``; nothing is contacted, but a kubeconfig may run its own login command.

    Raises:
        ConfigError: nothing says where Kubeflow is, or the kubeconfig cannot be used.
    """
    return QuietClient(_configuration(endpoint), endpoint)


def read_seconds() -> float:
    """How long one answer may take."""
    text = os.environ.get(TIMEOUT) or str(READ_SECONDS)
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= 3600:  # noqa: PLR2004 - an hour
        raise ConfigError(f"{TIMEOUT}={text!r} must be a number of seconds above 0, at most 3600.")
    return seconds


def _configuration(endpoint: Endpoint) -> kfp_server_api.Configuration:
    check_named(endpoint)
    made = kfp_server_api.Configuration()
    made.retries = _NO_RETRIES
    if endpoint.host:
        made.host = endpoint.host
    elif in_cluster():
        made.host = IN_CLUSTER.format(endpoint.kfp_namespace)
    else:
        _through_kubeconfig(made, endpoint)
    made.verify_ssl = endpoint.verify_ssl and made.verify_ssl
    if not made.verify_ssl:
        urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)  # a person chose it
    made.ssl_ca_cert = endpoint.ssl_ca_cert or made.ssl_ca_cert or os.environ.get("SSL_CERT_FILE") or None
    made.proxy = _proxy_of(made.host)
    if endpoint.token or endpoint.token_file:
        _identify(made, endpoint)
    return made


def _identify(made: kfp_server_api.Configuration, endpoint: Endpoint) -> None:
    made.api_key_prefix["authorization"] = "Bearer"
    if endpoint.token:
        made.api_key["authorization"] = endpoint.token
        return
    credentials = ServiceAccountTokenVolumeCredentials(endpoint.token_file)
    try:
        credentials.refresh_api_key_hook(made)  # once now, so that a file that cannot be read is told at once
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"The token file {endpoint.token_file!r} cannot be read: {in_one_line(error)}.") from error
    made.refresh_api_key_hook = credentials.refresh_api_key_hook


def _through_kubeconfig(made: kfp_server_api.Configuration, endpoint: Endpoint) -> None:
    path = kubeconfig()
    try:
        load_kube_config(path, client_configuration=made, context=endpoint.kube_context or None)
    except (ConfigException, OSError, ValueError, KeyError, TypeError, YAMLError) as error:
        raise ClusterAccessError(
            f"The kubeconfig {path!r} cannot be used ({in_one_line(error, most=200)}): mend it, or give --host."
        ) from error
    made.host = PROXIED.format(made.host.rstrip("/"), endpoint.kfp_namespace)
    if made.refresh_api_key_hook is not None:
        made.refresh_api_key_hook = _keeping(made, made.refresh_api_key_hook)


def _keeping(made: kfp_server_api.Configuration, renew: Callable[[Any], None]) -> Callable[[Any], None]:
    """Renewing a token of the kubeconfig sets its whole configuration again: the host, and what we said of TLS."""
    names = ("host", "verify_ssl", "ssl_ca_cert")

    def renewed(configuration: Any) -> None:  # noqa: ANN401 - generated, without types
        kept = {name: getattr(made, name) for name in names}
        renew(configuration)
        for name, value in kept.items():
            setattr(configuration, name, value)

    return renewed


def _proxy_of(host: str) -> str | None:
    """The proxy that the environment wants for this address."""
    parts = urlsplit(host)
    name = parts.hostname or ""
    if name in {"localhost", "::1"} or name.startswith("127.") or urllib.request.proxy_bypass(parts.netloc):
        return None
    return urllib.request.getproxies().get(parts.scheme)


def _readable(body: object) -> bytes:
    """A body that the generated client can decode, whatever the server sent."""
    return body.decode("utf-8", "replace").encode() if isinstance(body, bytes) else b""


def _is_json(data: bytes) -> bool:
    if not data.strip():
        return True
    try:
        return isinstance(json.loads(data), dict)
    except ValueError:
        return False
