"""Images that a data set names by address and that are on no disk yet."""

import threading

from components.data_load.objects import SourceBucket, explained
from components.data_load.web import Web
from components.shared.errors import ConfigError, SourceError
from components.shared.source_addresses import bucket_of, redacted


class RemoteImages:
    """Fetches images from ``s3://`` and ``https://`` addresses; safe to use from several threads.

    Args:
        allow_private: whether web addresses may be private, and plain ``http://``.
        max_bytes: the largest image that is taken.
    """

    def __init__(self, *, allow_private: bool, max_bytes: int) -> None:
        self._allow_private = allow_private
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._buckets: dict[str, SourceBucket] = {}
        self._web: Web | None = None

    def fetch(self, uri: str) -> bytes:
        """The encoded image at ``uri``.

        Raises:
            NotFoundError: there is no such object or file.
            UnsafeInputError: the address is not public, or there are more than ``max_bytes``.
            SourceError: it cannot be reached or may not be read, or its scheme is another.
            ConfigError: the environment's endpoint or keys are wrong.
        """
        scheme = uri.partition("://")[0].lower()
        if scheme == "s3":
            key = uri.partition("://")[2].partition("/")[2]
            try:
                with explained(uri):
                    return self._bucket(bucket_of(uri)).read_bounded(key, self._max_bytes)
            except ConfigError as error:
                raise ConfigError(
                    f"The image {uri!r} is not beside its annotations and cannot be fetched. {error}"
                ) from error
        if scheme in {"http", "https"}:
            return self._client().read(uri, max_bytes=self._max_bytes)
        raise SourceError(f"The image {redacted(uri)!r} cannot be fetched: only s3:// and https:// are.")

    def close(self) -> None:
        """Close the connections."""
        if self._web is not None:
            self._web.close()

    def _bucket(self, name: str) -> SourceBucket:
        with self._lock:
            if name not in self._buckets:
                self._buckets[name] = SourceBucket.of(f"s3://{name}")
            return self._buckets[name]

    def _client(self) -> Web:
        with self._lock:
            if self._web is None:
                self._web = Web(allow_private=self._allow_private)
            return self._web
