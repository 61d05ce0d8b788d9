"""The object store in an S3 bucket (MinIO, SeaweedFS, AWS) through the minio client, with nothing only MinIO can do."""

import logging
import os
import random
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from http import HTTPStatus
from io import BytesIO
from pathlib import Path
from typing import Any, TypeVar, cast

import urllib3
from minio import Minio
from minio.commonconfig import REPLACE, CopySource
from minio.error import InvalidResponseError, MinioException, S3Error, ServerError

from components.shared.errors import ConfigError, CorruptionError, NotFoundError, StoreError
from components.shared.files import write_atomically
from components.shared.store import StoredObject, check_key, check_size
from components.shared.store_s3_connection import connect, endpoint_of

TRIES = 5
PART = 32 << 20  # bytes of an upload's part: few requests for a shard, and little memory
_BACKOFF = 0.5  # seconds before the second retry, doubling from there
_JITTER = random.Random()  # noqa: S311 - spreads waits; its own, because a training repeats from the global states
_LONGEST_WAIT = 8.0
_RETRIED = frozenset({429, 500, 502, 503, 504})
_BUCKET = re.compile(r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$")
_ABSENT = frozenset({"NoSuchKey", "NoSuchObject", "NoSuchUpload"})
_WRONG_KEYS = frozenset({"InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken"})
_BROKEN_BODY = (urllib3.exceptions.ProtocolError, urllib3.exceptions.TimeoutError, ConnectionError)

_logger = logging.getLogger(__name__)
_T = TypeVar("_T")


class S3Store:
    """A store in an S3 bucket below a prefix; see ``Store`` for what its methods promise.

    Requests that meet 429, 5xx, a timeout or a reset connection are sent again by urllib3, up to ``TRIES`` times with
    growing, jittered waits; a body that ends early is fetched again by the read that wanted it. A conditional put
    whose answer was lost is settled by reading the object back.

    Attributes:
        uri: ``s3://bucket/prefix``; it holds no credentials.
    """

    def __init__(self, client: Minio, bucket: str, prefix: str = "", *, endpoint: str = "") -> None:
        self._client = client
        self._bucket = bucket
        self._base = f"{prefix}/" if prefix else ""
        self._endpoint = endpoint
        self.uri = f"s3://{bucket}/{prefix}".rstrip("/")

    @classmethod
    def from_environment(cls, uri: str) -> "S3Store":
        """The store at ``s3://bucket/prefix`` with endpoint and credentials from the environment.

        Raises:
            ConfigError: the bucket, the prefix, the endpoint or half of a key pair is wrong.
        """
        bucket, _, prefix = uri.removeprefix("s3://").partition("/")
        prefix = prefix.rstrip("/")
        if not _BUCKET.match(bucket):
            raise ConfigError(f"{bucket!r} in the store {uri!r} is no bucket name: write 's3://bucket/prefix'.")
        try:
            check_key(prefix or "-")
        except StoreError as error:
            raise ConfigError(f"The prefix {prefix!r} in the store {uri!r} is not a clean path.") from error
        endpoint = endpoint_of(os.environ)
        return cls(connect(endpoint, os.environ, _retries()), bucket, prefix, endpoint=endpoint)

    def __repr__(self) -> str:
        return f"S3Store({self.uri!r})"

    def read(self, key: str) -> bytes:
        """The object's bytes."""
        return self.read_tagged(key)[0]

    def read_tagged(self, key: str) -> tuple[bytes, str]:
        """The object's bytes and its entity tag."""
        data, tag = self._fetch(key, lambda response: (response.read(), _entity_tag(response)))
        if not data:
            raise self._absent(key)
        return data, tag

    def read_range(self, key: str, offset: int, length: int) -> bytes:
        """``length`` bytes from ``offset``, one request."""
        if length == 0:
            return b""
        data = self._fetch(key, lambda response: _part_of(response, offset, length), offset, length)
        if len(data) != length:
            raise CorruptionError(
                f"{key!r} in {self.uri!r} ends at byte {offset + len(data)}, {offset + length} are needed:"
                " it was cut, load the data again."
            )
        return data

    def write(self, key: str, data: bytes) -> None:
        """Put the object."""
        name = self._name(key)
        check_size(key, len(data))
        with self._explained("write", key):
            self._client.put_object(self._bucket, name, BytesIO(data), len(data), part_size=PART)

    def create(self, key: str, data: bytes) -> bool:
        """Put the object only if the key is free (``If-None-Match: *``)."""
        if self._put_if(key, data, {"If-None-Match": "*"}):
            return True
        found = self._stat(key)
        # What a killed writer left empty is free: whoever replaces just that object has it.
        return found is not None and not found.size and self._put_if(key, data, {"If-Match": f'"{_bare(found.etag)}"'})

    def swap(self, key: str, data: bytes, expected: str | None) -> bool:
        """Put the object only if its entity tag is still ``expected`` (``If-Match``)."""
        return self.create(key, data) if expected is None else self._put_if(key, data, {"If-Match": f'"{expected}"'})

    def upload(self, path: Path, key: str) -> None:
        """Put a local file, in parts of ``PART`` bytes when it is larger."""
        name = self._name(key)
        check_size(key, path.stat().st_size)
        for attempt in range(TRIES):
            try:
                with self._explained("write", key):
                    self._client.fput_object(self._bucket, name, str(path), part_size=PART, num_parallel_uploads=2)
            except NotFoundError:
                # An upload in parts that the server no longer knows was completed and its answer lost, or was aborted.
                if attempt == TRIES - 1:
                    raise
                _logger.warning("The upload of %r was lost; trying again.", key)
                _pause(attempt)
            else:
                return

    def download(self, key: str, path: Path) -> None:
        """Get the object into ``path``."""

        def save(response: urllib3.BaseHTTPResponse) -> None:
            with write_atomically(path) as temporary, temporary.open("xb") as handle:
                for piece in response.stream(1 << 20):
                    handle.write(piece)
                if not handle.tell():
                    raise self._absent(key)

        self._fetch(key, save)

    def exists(self, key: str) -> bool:
        """Whether the key holds an object; False too when the bucket is missing."""
        found = self._stat(key)
        return found is not None and bool(found.size)

    def list(self, prefix: str) -> Iterator[StoredObject]:
        """Objects whose key starts with ``prefix``, sorted here because SeaweedFS sorts folder by folder."""
        yield from sorted((entry for entry in self._entries(prefix) if entry.size), key=lambda entry: entry.key)

    def delete(self, key: str) -> None:
        """Remove the object."""
        name = self._name(key)
        with self._explained("delete", key):
            self._client.remove_object(self._bucket, name)

    def touch(self, key: str) -> bool:
        """Copy the object onto itself inside the server, with other metadata as S3 wants it."""
        if not self.exists(key):
            return False
        name = self._name(key)
        stamp = {"touched": str(time.time_ns())}
        try:
            with self._explained("touch", key):
                source = CopySource(self._bucket, name)
                self._client.copy_object(self._bucket, name, source, metadata=stamp, metadata_directive=REPLACE)
        except NotFoundError:
            return False
        return True

    def leftovers(self) -> Iterator[StoredObject]:
        """Uploads in parts that were never completed (``tag`` is the upload's id), and empty objects."""
        yield from (replace(entry, tag="") for entry in self._entries("") if not entry.size)
        after: dict[str, str | None] = {"key_marker": None, "upload_id_marker": None}
        truncated = True
        while truncated:
            with self._explained("list", "unfinished uploads"):
                # No public method of minio 7.2 lists or aborts uploads in parts; a test guards these two.
                found = self._client._list_multipart_uploads(self._bucket, prefix=self._base, **after)  # noqa: SLF001
            for upload in found.uploads:
                key = upload.object_name.removeprefix(self._base)
                yield StoredObject(key, 0, upload.upload_id, upload.initiated_time.timestamp())
            after = {"key_marker": found.next_key_marker, "upload_id_marker": found.next_upload_id_marker}
            truncated = bool(found.is_truncated and found.next_key_marker)

    def discard(self, leftover: StoredObject) -> None:
        """Abort an upload in parts, or remove an object that is still empty."""
        name = self._name(leftover.key)
        if not leftover.tag:
            found = self._stat(leftover.key)
            if found is not None and not found.size:
                self.delete(leftover.key)
            return
        with suppress(NotFoundError), self._explained("delete", leftover.key):
            self._client._abort_multipart_upload(self._bucket, name, leftover.tag)  # noqa: SLF001

    def _entries(self, prefix: str) -> Iterator[StoredObject]:
        """A listing in the server's order, with empty objects."""
        with self._explained("list", prefix):
            for entry in self._client.list_objects(self._bucket, prefix=self._base + prefix, recursive=True):
                if not entry.object_name.endswith("/"):
                    key = entry.object_name.removeprefix(self._base)
                    yield StoredObject(key, entry.size or 0, _bare(entry.etag), entry.last_modified.timestamp())

    def _stat(self, key: str) -> Any | None:  # noqa: ANN401 - minio comes without types
        name = self._name(key)
        try:
            with self._explained("look up", key):
                return self._client.stat_object(self._bucket, name)
        except NotFoundError:
            return None

    def _absent(self, key: str) -> NotFoundError:
        return NotFoundError(f"{key!r} is not in the store {self.uri!r}.")

    def _name(self, key: str) -> str:
        return self._base + check_key(key)

    def _fetch(
        self, key: str, consume: Callable[[urllib3.BaseHTTPResponse], _T], offset: int = 0, length: int = 0
    ) -> _T:
        """Get an object and hand the open response to ``consume``, again from the start when the body breaks off."""
        name = self._name(key)
        with self._explained("read", key):
            for attempt in range(TRIES):
                response = self._client.get_object(self._bucket, name, offset, length)
                try:
                    return consume(response)
                except _BROKEN_BODY as error:
                    if attempt == TRIES - 1:
                        raise
                    _logger.warning("Reading %r broke off (%s); trying again.", key, type(error).__name__)
                    _pause(attempt)
                finally:
                    response.close()
                    response.release_conn()
        raise AssertionError  # the last attempt returned or raised

    def _put_if(self, key: str, data: bytes, condition: dict[str, str]) -> bool:
        """One put under a condition; False when the condition does not hold."""
        name = self._name(key)
        check_size(key, len(data))
        for attempt in range(TRIES):
            try:
                with self._explained("write", key):
                    # put_object() of minio 7.2 takes no headers; a test guards this private method.
                    self._client._put_object(self._bucket, name, data, dict(condition))  # noqa: SLF001
            except StoreError as error:
                cause = error.__cause__
                if not isinstance(cause, S3Error):
                    raise
                if cause.code == "ConditionalRequestConflict" and attempt < TRIES - 1:  # AWS: two puts met, ask again
                    _pause(attempt)
                    continue
                if cause.response.status == HTTPStatus.NOT_FOUND and cause.code in _ABSENT and "If-Match" in condition:
                    return False
                if cause.response.status != HTTPStatus.PRECONDITION_FAILED:
                    raise
                # A put that was sent twice may have lost to itself: the first went through, its answer did not.
                return (attempt > 0 or _was_repeated(cause.response)) and self._holds(key, data)
            return True
        raise AssertionError  # the last attempt returned or raised

    def _holds(self, key: str, data: bytes) -> bool:
        try:
            return self.read(key) == data
        except NotFoundError:
            return False

    @contextmanager
    def _explained(self, verb: str, key: str) -> Iterator[None]:
        try:
            yield
        except (MinioException, urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            raise self._translated(error, verb, key) from error

    def _translated(self, error: Exception, verb: str, key: str) -> StoreError:
        """A client's error as ours; only codes and statuses go into the message, they hold no secret."""
        place = f"{key!r} in {self.uri!r}"
        code = error.code if isinstance(error, S3Error) else None
        if code in _ABSENT:
            return self._absent(key)
        if code == "InvalidRange":
            return CorruptionError(f"{place} is shorter than its index says: it was cut, load the data again.")
        if code == "NoSuchBucket":
            return StoreError(
                f"The bucket {self._bucket!r} does not exist at {self._endpoint!r}: create it, for example with"
                f" 'aws s3 mb s3://{self._bucket} --endpoint-url {self._endpoint}'."
            )
        if code in _WRONG_KEYS:
            return StoreError(
                f"{self._endpoint!r} does not accept the credentials ({code}):"
                " check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN."
            )
        if code == "AccessDenied":
            return StoreError(f"Not allowed to {verb} {place}: give the credentials the right to it.")
        return StoreError(
            f"Cannot {verb} {place} ({_reason(error)}): check that {self._endpoint!r} is up and reachable,"
            " then run again."
        )


def _retries() -> urllib3.Retry:
    return urllib3.Retry(
        total=TRIES - 1,
        status_forcelist=_RETRIED,
        allowed_methods=None,
        backoff_factor=_BACKOFF * _JITTER.uniform(0.75, 1.25),
        backoff_max=_LONGEST_WAIT,
        raise_on_status=False,
        respect_retry_after_header=False,  # a server's wish is not bounded, our waits are
    )


def _pause(attempt: int) -> None:
    time.sleep(min(_LONGEST_WAIT, _BACKOFF * 2**attempt) * _JITTER.uniform(0.5, 1.0))


def _was_repeated(response: urllib3.BaseHTTPResponse) -> bool:
    return bool(response.retries and response.retries.history)


def _entity_tag(response: urllib3.BaseHTTPResponse) -> str:
    return _bare(response.headers.get("etag"))


def _bare(tag: str | None) -> str:
    return (tag or "").strip('"')


def _part_of(response: urllib3.BaseHTTPResponse, offset: int, length: int) -> bytes:
    data = cast("bytes", response.read())
    return data if response.status == HTTPStatus.PARTIAL_CONTENT else data[offset : offset + length]


def _reason(error: Exception) -> str:
    if isinstance(error, S3Error):
        return f"{error.code}, status {error.response.status}"
    if isinstance(error, ServerError):
        return f"status {error.status_code}"
    if isinstance(error, InvalidResponseError):
        return f"status {error._code}"  # noqa: SLF001 - it has no public name
    if isinstance(error, urllib3.exceptions.MaxRetryError) and error.reason is not None:
        return type(error.reason).__name__
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return type(error).__name__
