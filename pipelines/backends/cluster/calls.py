"""Calls of Kubeflow's and Kubernetes' generated clients: repeated where that is safe, their errors as sentences."""

import logging
import random
import time
from collections.abc import Callable
from typing import Any

import urllib3
from kfp_server_api.exceptions import ApiException, OpenApiException
from kubernetes.client.exceptions import ApiException as KubernetesException

from pipelines.backends.cluster.client import CONNECT_SECONDS, read_seconds
from pipelines.backends.cluster.sentences import Peer, explained

TRIES = 5
LONGEST_WAIT = 15.0
_BACKOFF = 0.5  # seconds before the second try, doubling from there
_BUSY = frozenset({429, 500, 502, 503, 504})
_ONCE = ("create", "upload", "retry", "replace", "patch")  # calls that may do something twice
_JITTER = random.Random()  # noqa: S311 - spreads waits
_UNSENT = (
    urllib3.exceptions.NewConnectionError,
    urllib3.exceptions.ConnectTimeoutError,
    urllib3.exceptions.ProxyError,
)
_LOST = (urllib3.exceptions.HTTPError, ConnectionError, TimeoutError)
_ANSWERED = (ApiException, KubernetesException)
_UNREADABLE = (
    ValueError,
    KeyError,
    AttributeError,
    TypeError,
)  # what the generated clients raise on an answer of another kind

logger = logging.getLogger(__name__)


def asked(
    call: Callable[..., Any],
    *arguments: object,
    what: str,
    again: bool | None = None,
    tries: int = TRIES,
    **named: object,
) -> Any:  # noqa: ANN401 - what the generated client returns
    """Call a method of a generated client.

    Args:
        call: a bound method of ``kfp_server_api``, ``kfp.Client`` or ``kubernetes.client``.
        arguments: its positional arguments.
        what: what it is for, as the end of "Kubeflow could not ...": ``list the runs``.
        again: whether it may be sent twice; ``None``: its name tells.
        tries: how often at most, with growing waits between.
        named: its other arguments.

    Raises:
        ClusterError: the server failed or was lost, as a sentence; ``status`` has its answer's.
        ClusterAccessError: it refused: a wrong host, credential, name or right.
    """
    repeatable = _repeatable(call) if again is None else again
    if type(getattr(call, "__self__", None)).__module__.startswith("kubernetes."):
        named.setdefault("_request_timeout", (CONNECT_SECONDS, read_seconds()))
    for attempt in range(1, tries + 1):
        try:
            return call(*arguments, **named)
        except (*_ANSWERED, *_LOST) as error:
            if attempt == tries or not _worth_another(error, repeatable=repeatable):
                raise explained(error, what, Peer.of(call)) from error
            logger.debug("Could not %s (%s); trying again.", what, type(error).__name__)
            pause(attempt)
        except _UNREADABLE as error:
            called = error.__traceback__ is not None and error.__traceback__.tb_next is not None
            if isinstance(error, OpenApiException) or not called:
                raise  # the call itself is wrong
            raise explained(error, what, Peer.of(call)) from error
    raise ValueError(f"tries={tries} must be 1 or more.")


def pause(attempt: int) -> None:
    """Wait before try ``attempt + 1``: half a second and up, with some chance in it."""
    time.sleep(min(LONGEST_WAIT, _BACKOFF * 2 ** (attempt - 1)) * _JITTER.uniform(0.6, 1.0))


def _repeatable(call: Callable[..., Any]) -> bool:
    words = getattr(call, "__name__", "").split("_")
    return not any(word in _ONCE for word in words)


def _worth_another(error: Exception, *, repeatable: bool) -> bool:
    if isinstance(error, _ANSWERED):
        return error.status in _BUSY and (repeatable or error.status == 429)  # noqa: PLR2004 - not even looked at
    reason = getattr(error, "reason", None) or error
    if isinstance(reason, urllib3.exceptions.SSLError | urllib3.exceptions.LocationValueError):
        return False
    return repeatable or isinstance(reason, _UNSENT)
