"""Which Kubeflow Pipelines to talk to and as whom, from options and the environment."""

import argparse
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from components.shared.errors import ConfigError

HOST = ("KFP_HOST", "KF_PIPELINES_ENDPOINT")
UI_HOST = ("KFP_UI_HOST", "KF_PIPELINES_UI_ENDPOINT")
NAMESPACE, TOKEN, TOKEN_FILE, COOKIES, CA_FILE = (
    "KFP_NAMESPACE",
    "KFP_TOKEN",
    "KFP_TOKEN_FILE",
    "KFP_COOKIES",
    "KFP_CA_FILE",
)
SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
POD_TOKEN = ("KF_PIPELINES_SA_TOKEN_PATH", "/var/run/secrets/kubeflow/pipelines/token")
WAYS = (
    "Give --local to run on this machine, or name a Kubeflow Pipelines: --host https://address or KFP_HOST, or a"
    " kubeconfig that reaches its cluster (KUBECONFIG)."
)
_NAMESPACE = re.compile(r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")


@dataclass(frozen=True)
class Endpoint:
    """A Kubeflow Pipelines and who asks it; neither the token nor the cookies are ever shown.

    Attributes:
        host: the API's address; empty: in a pod the cluster's own, elsewhere through the kubeconfig.
        ui_host: the UI's address where it is another.
        namespace: the user's, where Kubeflow has several users; empty: the pod's own, or none.
        token: sent as ``Authorization: Bearer``.
        token_file: where the token is read from again for each request; for tokens that are renewed.
        cookies: sent as they are, such as ``authservice_session=...`` of a Dex.
        kube_context: the kubeconfig's context; empty: its current one.
        ssl_ca_cert: a file with the authorities to trust; empty: the usual ones.
        verify_ssl: whether the server has to prove who it is.
        kfp_namespace: where Kubeflow Pipelines itself is installed.
    """

    host: str = ""
    ui_host: str = ""
    namespace: str = ""
    token: str = field(default="", repr=False)
    token_file: str = ""
    cookies: str = field(default="", repr=False)
    kube_context: str = ""
    ssl_ca_cert: str = ""
    verify_ssl: bool = True
    kfp_namespace: str = "kubeflow"

    def __post_init__(self) -> None:
        object.__setattr__(self, "host", checked_host(self.host, "--host") if self.host else "")
        object.__setattr__(self, "ui_host", checked_host(self.ui_host, "--ui-host") if self.ui_host else "")
        if self.namespace and not _NAMESPACE.match(self.namespace):
            raise ConfigError(f"--namespace={self.namespace!r} is no namespace: use a-z, 0-9 and '-'.")
        for name, text in (("token", self.token), ("cookies", self.cookies)):
            if not text.isprintable() or not text.isascii():
                raise ConfigError(f"The {name} for Kubeflow holds characters that no header may: copy it again.")
        for option, path in (("--token-file", self.token_file), ("--ca-file", self.ssl_ca_cert)):
            if path and not Path(path).is_file():
                raise ConfigError(f"{option}={path!r}: there is no such file.")

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None, **given: str | bool | None) -> "Endpoint":
        """The endpoint of the environment, with what is ``given`` (and neither empty nor ``None``) instead.

        Raises:
            ConfigError: an address, a file or a namespace cannot be used.
        """
        found = dict(os.environ if environment is None else environment)
        values: dict[str, str | bool] = {
            "host": _first(found, HOST),
            "ui_host": _first(found, UI_HOST),
            "namespace": found.get(NAMESPACE, ""),
            "token": found.get(TOKEN, "").strip(),
            "token_file": found.get(TOKEN_FILE, ""),
            "cookies": found.get(COOKIES, "").strip(),
            "ssl_ca_cert": found.get(CA_FILE, ""),
        }
        values |= {name: value for name, value in given.items() if value not in ("", None)}
        if given.get("token_file"):
            values["token"] = ""  # the option wins over the environment
        unnamed = not (values["token"] or values["token_file"] or values["cookies"])
        if (
            unnamed
            and in_cluster(found)
            and _of_the_cluster(str(values["host"]), str(values.get("kfp_namespace") or "kubeflow"))
        ):
            pod_token = found.get(POD_TOKEN[0]) or POD_TOKEN[1]
            values["token_file"] = pod_token if Path(pod_token).is_file() else ""
        return cls(**values)  # type: ignore[arg-type]  # each name has its own type


def add_endpoint_options(parser: argparse.ArgumentParser) -> None:
    """Give a command the options that say which Kubeflow Pipelines it talks to."""
    group = parser.add_argument_group(
        "Kubeflow Pipelines",
        f"A token goes into {TOKEN}, cookies into {COOKIES}: on a command line others could read them.",
    )
    group.add_argument("--host", default="", metavar="URL", help=f"its address (or {HOST[0]}); without one: in a pod"
                       " the cluster's own, elsewhere through the kubeconfig")  # fmt: skip
    group.add_argument("--ui-host", default="", metavar="URL", help=f"the UI's address for links (or {UI_HOST[0]})")
    group.add_argument("--namespace", default="", help=f"your namespace where it has several users (or {NAMESPACE})")
    group.add_argument("--token-file", default="", metavar="FILE", help=f"file with a token (or {TOKEN_FILE})")
    group.add_argument("--ca-file", default="", metavar="FILE", help=f"authorities to trust, PEM (or {CA_FILE})")
    group.add_argument("--insecure", action="store_true", help="do not check the server's certificate")
    group.add_argument("--kube-context", default="", metavar="NAME", help="context of the kubeconfig")
    group.add_argument("--kfp-namespace", default="kubeflow", metavar="NAME", help="where Kubeflow Pipelines runs")


def endpoint_of(options: argparse.Namespace) -> Endpoint:
    """The endpoint that options of ``add_endpoint_options`` and the environment name together.

    Raises:
        ConfigError: an address, a file or a namespace cannot be used.
    """
    return Endpoint.from_environment(
        host=options.host,
        ui_host=options.ui_host,
        namespace=options.namespace,
        token_file=options.token_file,
        ssl_ca_cert=options.ca_file,
        verify_ssl=not options.insecure,
        kube_context=options.kube_context,
        kfp_namespace=options.kfp_namespace,
    )


def in_cluster(environment: Mapping[str, str] | None = None) -> bool:
    """Whether this process is in a pod that knows its cluster."""
    found = os.environ if environment is None else environment
    return bool(found.get("KUBERNETES_SERVICE_HOST")) and (SERVICE_ACCOUNT / "token").is_file()


def check_named(endpoint: Endpoint) -> None:
    """See whether anything says where Kubeflow is.

    Raises:
        ConfigError: nothing does; it names every way.
    """
    if not (endpoint.host or in_cluster() or kubeconfig()):
        raise ConfigError(f"Nothing says where to run. {WAYS}")


def kubeconfig(environment: Mapping[str, str] | None = None) -> str:
    """The kubeconfigs that are there, as ``KUBECONFIG`` lists them; empty: there is none."""
    found = os.environ if environment is None else environment
    named = [Path(part).expanduser() for part in found.get("KUBECONFIG", "").split(os.pathsep) if part]
    usual = [Path("~/.kube/config").expanduser()]
    return os.pathsep.join(str(path) for path in named or usual if path.is_file())


def checked_host(text: str, name: str) -> str:
    """An address as ``scheme://host[:port][/path]``, also when it was copied with the UI's ``/#/...``.

    Raises:
        ConfigError: it is no such address.
    """
    address = text.strip().partition("#")[0].rstrip("/")
    address = address if "://" in address else f"https://{address}"
    try:
        parts = urlsplit(address)
        sound = parts.scheme in {"http", "https"} and parts.hostname and (parts.port is None or parts.port > 0)
    except ValueError:
        sound = False
    if not sound or "@" in parts.netloc or parts.query or not address.isprintable() or " " in address:
        shown = text.strip().rpartition("@")[2].partition("?")[0]  # what stands before or behind may be a secret
        raise ConfigError(f"{name}={shown!r} is no address: write https://host, or http://host:port/path.")
    return address


def _of_the_cluster(host: str, kfp_namespace: str) -> bool:
    """Whether an address leads no further than the cluster: a pod's own token is for nobody else."""
    name = (urlsplit(host if "://" in host else f"https://{host}").hostname or "") if host else ""
    return "." not in name or name.endswith((".svc", ".cluster.local", f".{kfp_namespace}")) or name.startswith("127.")


def _first(environment: Mapping[str, str], names: tuple[str, ...]) -> str:
    return next((environment[name] for name in names if environment.get(name)), "")
