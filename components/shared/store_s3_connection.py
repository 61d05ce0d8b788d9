"""How the S3 store finds its server: endpoint, credentials and timeouts from the environment."""

from collections.abc import Mapping
from urllib.parse import urlsplit

import certifi
import urllib3
from minio import Minio
from minio.credentials import Credentials, IamAwsProvider, Provider
from minio.error import MinioException

from components.shared.errors import ConfigError, CredentialsError
from components.shared.store_s3_wire import joined

TIMEOUT_VARIABLE = "S3_TIMEOUT_SECONDS"
CONNECT_SECONDS = 5.0
READ_SECONDS = 30.0  # for one wait on the network, not for a whole transfer
CONNECTIONS = 16


def endpoint_of(environment: Mapping[str, str]) -> str:
    """The server's address, ``https://host:port``; AWS when the environment names none.

    Raises:
        ConfigError: it is no address; the message shows no password.
    """
    names = ("S3_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
    name = next((name for name in names if environment.get(name)), None)
    if name is None:
        return "https://s3.amazonaws.com"
    parts = urlsplit(environment[name].strip())
    try:
        sound = parts.scheme in {"http", "https"} and parts.hostname and (parts.port is None or parts.port > 0)
    except ValueError:
        sound = False
    if not sound or parts.username or parts.path.strip("/") or parts.query:
        text = parts.netloc or environment[name].strip().partition("?")[0]
        shown = text.rpartition("@")[2]  # whatever stands before an @ may be a password
        raise ConfigError(
            f"{name} (host {shown!r}) is no endpoint: write scheme, host and port alone, for example"
            " 'http://seaweedfs.kubeflow:9000'."
        )
    return f"{parts.scheme}://{parts.netloc}"


def connect(endpoint: str, environment: Mapping[str, str], retries: urllib3.Retry) -> Minio:
    """A client of the server at ``endpoint``; nothing is contacted yet.

    Raises:
        ConfigError: half of a key pair is missing, or the timeout is no number of seconds.
    """
    access, secret = environment.get("AWS_ACCESS_KEY_ID"), environment.get("AWS_SECRET_ACCESS_KEY")
    if bool(access) != bool(secret):
        missing = "AWS_SECRET_ACCESS_KEY" if access else "AWS_ACCESS_KEY_ID"
        raise ConfigError(
            f"{missing} is not set though its partner is: set both, or neither to use the machine's role."
        )
    region = environment.get("AWS_REGION") or environment.get("AWS_DEFAULT_REGION")
    if not region and not endpoint.endswith("amazonaws.com"):
        region = "us-east-1"  # what MinIO and SeaweedFS call themselves; saves a look-up
    parts = urlsplit(endpoint)
    return Minio(
        parts.netloc,
        access_key=access or None,
        secret_key=secret or None,
        session_token=environment.get("AWS_SESSION_TOKEN") or None,
        secure=parts.scheme == "https",
        region=region,
        http_client=_pool(environment, _timeout(environment), retries),
        credentials=None if access else _MachineRole(environment, region),
    )


class _MachineRole(Provider):  # type: ignore[misc]  # minio comes without types
    """The role of a pod (web identity, ECS) or machine (EC2), for when the environment holds no keys."""

    def __init__(self, environment: Mapping[str, str], region: str | None) -> None:
        pool = _pool(environment, urllib3.Timeout(2), urllib3.Retry(1))
        self._role = IamAwsProvider(http_client=pool, region=region)

    def retrieve(self) -> Credentials:
        """Credentials for the next request."""
        try:
            return self._role.retrieve()
        except (MinioException, urllib3.exceptions.HTTPError, OSError, ValueError, KeyError) as error:
            raise CredentialsError(
                "There are no credentials for the object store: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY,"
                " or run where a role gives them."
            ) from error


def _timeout(environment: Mapping[str, str]) -> urllib3.Timeout:
    text = environment.get(TIMEOUT_VARIABLE) or str(READ_SECONDS)
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= 3600:  # noqa: PLR2004 - an hour
        raise ConfigError(f"{TIMEOUT_VARIABLE}={text!r} must be a number of seconds above 0, at most 3600.")
    return urllib3.Timeout(connect=min(CONNECT_SECONDS, seconds), read=seconds)


def _pool(environment: Mapping[str, str], timeout: urllib3.Timeout, retries: urllib3.Retry) -> urllib3.PoolManager:
    authorities = environment.get("AWS_CA_BUNDLE") or environment.get("SSL_CERT_FILE") or certifi.where()
    pools = urllib3.PoolManager(
        maxsize=CONNECTIONS, timeout=timeout, retries=retries, cert_reqs="CERT_REQUIRED", ca_certs=authorities
    )
    return joined(pools)
