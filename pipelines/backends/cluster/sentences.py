"""What a Kubeflow or Kubernetes server refused, or why it was not reached, as one sentence with what to do."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import urllib3

from components.shared.errors import ClusterAccessError, ClusterError, in_one_line
from pipelines.backends.cluster.client import TIMEOUT, read_seconds
from pipelines.backends.cluster.endpoint import COOKIES, TOKEN

_MOST = 400  # characters of what a server said
_LOGIN = ("dex", "login", "sign in", "signin", "oauth", "accounts.google.com", "oidc", "keycloak", "password")
_WRONG_SCHEME = "client sent an http request to an https server"
_NOT_TLS = ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "UNKNOWN_PROTOCOL", "HTTP_REQUEST", "PACKET_LENGTH")
HELP = (
    f"give a token in {TOKEN} or --token-file (its audience is pipelines.kubeflow.org), or the cookies of your login"
    f" in {COOKIES}"
)

_NOT_REACHED: tuple[tuple[type[Exception], str], ...] = (  # the special before the general
    (
        urllib3.exceptions.ProxyError,
        "The proxy before {at!r} does not answer: check HTTPS_PROXY and HTTP_PROXY, or name the host in NO_PROXY.",
    ),
    (
        urllib3.exceptions.NameResolutionError,
        "The name {host!r} of {name} cannot be found: check --host, DNS and VPN.",
    ),
    (
        urllib3.exceptions.NewConnectionError,
        "Nothing listens at {at!r}: check the host and port, and that a port-forward is still running.",
    ),
    (
        urllib3.exceptions.ConnectTimeoutError,
        "{name} at {at!r} does not answer at all: check the host, the firewall and the VPN.",
    ),
    (
        urllib3.exceptions.ResponseError,
        "{at!r} sends one from page to page without end, as a gateway does that wants a login: " + HELP + ".",
    ),
)


@dataclass(frozen=True)
class Peer:
    """Who was asked, and with what: ``secrets`` are taken out of whatever it said."""

    name: str
    host: str
    identified: bool
    secrets: tuple[str, ...] = field(default=(), repr=False)

    @classmethod
    def of(cls, call: Callable[..., Any]) -> "Peer":
        """The server that a bound method of a generated client asks."""
        owner = getattr(call, "__self__", None)
        client = getattr(owner, "api_client", owner)
        configuration = getattr(client, "configuration", None)
        name = "Kubernetes" if type(client).__module__.startswith("kubernetes.") else "Kubeflow"
        if configuration is None:
            return cls(name, "?", identified=False)
        keys = tuple(str(key) for key in getattr(configuration, "api_key", {}).values() if key)
        cookie = getattr(client, "cookie", None)
        secrets = (*keys, *(key.partition(" ")[2] for key in keys if " " in key), *([cookie] if cookie else []))
        return cls(name, _shown(configuration.host), identified=bool(secrets), secrets=tuple(filter(None, secrets)))


def explained(error: Exception, what: str, peer: Peer) -> ClusterError:
    """The error of a generated client as ours."""
    status = getattr(error, "status", None)
    if isinstance(status, int) and status > 0:
        return _answered(status, _text(getattr(error, "body", None)), what, peer)
    if isinstance(error, urllib3.exceptions.HTTPError | OSError):
        return _lost(error, what, peer)
    said = in_one_line(error, most=_MOST)
    return ClusterError(f"{peer.name} at {peer.host!r} answered {what!r} with what cannot be read ({said}).")


def _answered(status: int, body: str, what: str, peer: Peer) -> ClusterError:
    said, ours = _said(body, peer)
    shown = f": {said}" if said else ""
    if _WRONG_SCHEME in body.lower():
        return ClusterAccessError(f"{peer.host!r} speaks https only: write --host https://...", status)
    if status == 401:  # noqa: PLR2004 - as HTTP has it
        return ClusterAccessError(_unknown(status, peer), status)
    if not ours and status < 500:  # noqa: PLR2004 - same
        return ClusterAccessError(_page(status, body, peer), status)
    if status == 403:  # noqa: PLR2004 - same
        return ClusterAccessError(_forbidden(what, shown, peer), status)
    if status == 429 or status >= 500:  # noqa: PLR2004 - same
        return ClusterError(f"{peer.name} at {peer.host!r} could not {what} (status {status}){shown}; try again later,"
                            f" or look at the server's log.", status)  # fmt: skip
    return ClusterAccessError(f"{peer.name} could not {what} (status {status}){shown or '.'}", status)


def _unknown(status: int, peer: Peer) -> str:
    if peer.name == "Kubernetes":
        return f"Kubernetes at {peer.host!r} does not know you ({status}): log in again, as for kubectl."
    if peer.identified:
        return (
            f"Kubeflow at {peer.host!r} does not accept the credentials ({status}): they may have expired or be meant"
            f" for another; {HELP}."
        )
    return f"Kubeflow at {peer.host!r} wants to know who you are ({status}): {HELP}."


def _forbidden(what: str, shown: str, peer: Peer) -> str:
    if peer.name == "Kubernetes":
        return f"Kubernetes does not let you {what} (403){shown}; ask for a role that allows it."
    hint = "check --namespace and your role in it" if peer.identified else HELP
    return f"Kubeflow at {peer.host!r} does not let you {what} (403){shown}; {hint}."


def _page(status: int, body: str, peer: Peer) -> str:
    """About an answer that no API gave: a login page, a proxy's own page, or another server's."""
    if any(word in body.lower() for word in _LOGIN) and status != 404:  # noqa: PLR2004 - as HTTP has it
        return (
            f"{peer.host!r} answered with a login page (status {status}), as Dex, IAP and other gateways do: {HELP};"
            " a cookie such as authservice_session=... is in your browser after the login."
        )
    if status == 403:  # noqa: PLR2004 - same
        return f"A gateway before {peer.host!r} does not let you pass (403): {HELP}."
    return (
        f"There is no Kubeflow Pipelines API at {peer.host!r} (status {status}): check the host and the path behind"
        " it, such as https://kubeflow.example/pipeline, or http://localhost:8888 of a port-forward."
    )


def _lost(error: Exception, what: str, peer: Peer) -> ClusterError:
    reason: Any = getattr(error, "reason", None) or error
    host = urlsplit(peer.host).hostname or peer.host
    if isinstance(reason, urllib3.exceptions.SSLError):
        return ClusterAccessError(_tls(in_one_line(reason), peer))
    for kind, sentence in _NOT_REACHED:
        if isinstance(reason, kind):
            return ClusterAccessError(sentence.format(at=peer.host, host=host, name=peer.name))
    if isinstance(reason, urllib3.exceptions.ReadTimeoutError):
        return ClusterError(
            f"{peer.name} at {peer.host!r} took longer than {read_seconds():g} s to {what}: try again, or set"
            f" {TIMEOUT} higher."
        )
    return ClusterError(
        f"The connection to {peer.name} at {peer.host!r} broke off while it was to {what}"
        f" ({type(reason).__name__}): run the same again."
    )


def _tls(said: str, peer: Peer) -> str:
    if any(word in said.upper() for word in _NOT_TLS):
        return f"{peer.host!r} does not speak https: write --host http://..."
    if "CERTIFICATE_VERIFY_FAILED" in said.upper():
        why = said.partition("CERTIFICATE_VERIFY_FAILED]")[2].partition("(_ssl")[0].strip()
        why = why.removeprefix("certificate verify failed:").strip() or "it is not trusted"
        return (
            f"The certificate of {peer.host!r} cannot be trusted ({why}): give the authority that signed it as"
            " --ca-file FILE or KFP_CA_FILE."
        )
    return f"{peer.host!r} and this machine found no common TLS ({said[:200]}): check the host and its certificate."


def _said(body: str, peer: Peer) -> tuple[str, bool]:
    """What a server said in its answer, in one line and without our secrets; and whether an API said it."""
    try:
        document = json.loads(body)
    except ValueError:
        return "", not body.strip()
    if not isinstance(document, dict):
        return "", False
    said = document.get("message") or document.get("error") or document.get("error_message") or ""
    text = in_one_line(ValueError(str(said)), most=_MOST) if said else ""
    for secret in peer.secrets:
        text = text.replace(secret, "***")
    return text, True


def _text(body: object) -> str:
    return body.decode("utf-8", "replace") if isinstance(body, bytes) else str(body or "")


def _shown(host: str) -> str:
    """A host without what somebody may have written before an ``@``."""
    scheme, separator, rest = host.partition("://")
    name, slash, path = rest.partition("/")
    return f"{scheme}{separator}{name.rpartition('@')[2]}{slash}{path}"
