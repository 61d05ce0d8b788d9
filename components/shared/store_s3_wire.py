"""Connections that send a request's head together with the beginning of its body.

Python sends the head first and the body next. Where a writer is killed between the two, SeaweedFS answers a conditional
put with an empty object in place of the old one: a dataset's or a model's alias would be gone.
"""

from typing import Any

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

_FIRST = 16 << 10  # bytes of the body that go with the head


class _JoinedHead:
    """Holds the head back until there is a body to go with it, or the answer is asked for."""

    _collects = False
    _head = b""

    def endheaders(self, *arguments: Any, **named: Any) -> None:  # noqa: ANN401 - http.client's own arguments
        self._collects = True
        try:
            super().endheaders(*arguments, **named)  # type: ignore[misc]  # of the class this is mixed with
        finally:
            self._collects = False

    def send(self, data: Any) -> None:  # noqa: ANN401 - bytes, a file or an iterable
        if self._collects and isinstance(data, bytes):
            self._head += data
            return
        head, self._head = self._head, b""
        if head and isinstance(data, bytes):
            first, data = head + data[:_FIRST], memoryview(data)[_FIRST:]
            super().send(first)  # type: ignore[misc]
        elif head:
            super().send(head)  # type: ignore[misc]
        if len(data) if isinstance(data, bytes | memoryview) else True:
            super().send(data)  # type: ignore[misc]

    def getresponse(self, *arguments: Any, **named: Any) -> Any:  # noqa: ANN401 - http.client's own arguments
        if self._head:
            self.send(b"")
        return super().getresponse(*arguments, **named)  # type: ignore[misc]

    def close(self) -> None:
        self._head = b""
        super().close()  # type: ignore[misc]


class _PlainConnection(_JoinedHead, HTTPConnection):  # type: ignore[misc]  # urllib3 is not followed
    """HTTP."""


class _SecureConnection(_JoinedHead, HTTPSConnection):  # type: ignore[misc]
    """HTTPS."""


class _PlainPool(HTTPConnectionPool):  # type: ignore[misc]
    ConnectionCls = _PlainConnection


class _SecurePool(HTTPSConnectionPool):  # type: ignore[misc]
    ConnectionCls = _SecureConnection


def joined(pools: urllib3.PoolManager) -> urllib3.PoolManager:
    """Let every connection of ``pools`` send head and body together; gives ``pools`` back."""
    pools.pool_classes_by_scheme = {"http": _PlainPool, "https": _SecurePool}
    return pools
