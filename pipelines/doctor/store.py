"""The doctor's look at the object store: what a run does with it, done once under a name that nobody uses."""

import os
import time
import uuid
from collections.abc import Iterator
from urllib.parse import urlsplit

from components.shared.errors import StoreError
from components.shared.store import Store, open_store
from components.shared.store_s3_connection import endpoint_of
from pipelines.doctor.findings import Finding, ok, problem, warning

FOLDER = "doctor"  # below the store's root; what a doctor leaves behind when it is killed lies there
_INSIDE = (".svc", ".local", ".internal")
_OTHER = "Use a store whose conditional puts work: a current MinIO or SeaweedFS, or AWS."
_SKEW_WARNED, _SKEW_REFUSED = 60.0, 600.0  # seconds; S3 refuses requests from 15 minutes on


def check_store(uri: str) -> Iterator[Finding]:
    """Write, read, create conditionally, list and delete one small object; compare the clocks.

    Args:
        uri: ``file:///dir`` or ``s3://bucket/prefix``, with the credentials in the environment.

    Raises:
        ConfigError: the address or the credentials of the environment cannot be used.
        StoreError: the store failed.
    """
    store = open_store(uri)
    if uri.startswith("s3://"):
        yield from _credentials()
    try:
        yield from _used(store, f"{FOLDER}/{uuid.uuid4().hex}")
    except StoreError:
        inside = _seen_only_inside() if uri.startswith("s3://") else ""
        if not inside:
            raise
        fix = "Run the doctor in a pod too, or set S3_ENDPOINT_URL to an address that is seen outside."
        yield warning("store", f"{inside!r} is a name inside a cluster, and was not reached from here", fix)


def _used(store: Store, key: str) -> Iterator[Finding]:
    first = b"1"
    if not store.create(key, first):
        yield problem("store", f"{store.uri!r} says that a name nobody used is taken", _OTHER)
        return
    try:
        yield from _read_back(store, key, first)
    finally:
        store.delete(key)
    if store.exists(key):
        yield warning("store", f"{store.uri!r} keeps what was deleted", "Give the credentials the right to delete.")


def _read_back(store: Store, key: str, written: bytes) -> Iterator[Finding]:
    if store.read(key) != written:
        yield problem("store", f"{store.uri!r} gave back other bytes than were written", "Check the store's disks.")
        return
    yield ok("store", f"{store.uri!r} can be written and read")
    now = time.time()
    found = [entry for entry in store.list(f"{FOLDER}/") if entry.key == key]
    if not found:
        fix = "Give the credentials the right to list the bucket."
        yield problem("store listing", f"{store.uri!r} does not list what was just written", fix)
    else:
        yield _clock(found[0].modified, now)
    yield _conditional(store, key, b"2")


def _conditional(store: Store, key: str, other: bytes) -> Finding:
    taken, (_, tag) = store.create(key, other), store.read_tagged(key)
    swapped = store.swap(key, other, tag) and not store.swap(key, b"3", tag)
    if taken or not swapped:
        header = "If-None-Match" if taken else "If-Match"
        said = f"{store.uri!r} ignores {header}, so two runs could overwrite each other"
        return problem("store conditions", said, _OTHER)
    return ok("store conditions", "conditional puts hold (If-None-Match and If-Match)")


def _clock(modified: float, now: float) -> Finding:
    """Compare the store's own time of an object that was just written with the clock here."""
    skew = modified - now
    text = f"the store's clock is {abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} this machine's"
    if abs(skew) >= _SKEW_REFUSED:
        return problem("store clock", text, "Set both clocks by NTP: signed requests are refused from 15 minutes on.")
    if abs(skew) >= _SKEW_WARNED:
        return warning("store clock", text, "Set both clocks by NTP.")
    return ok("store clock", "the store's clock agrees with this machine's")


def _credentials() -> Iterator[Finding]:
    endpoint = endpoint_of(os.environ)
    if not os.environ.get("AWS_ACCESS_KEY_ID"):
        fix = "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, unless this machine has such a role."
        yield warning("store credentials", f"none in the environment: the machine's role is used at {endpoint!r}", fix)
    else:
        yield ok("store credentials", f"present in the environment, for {endpoint!r}")


def _seen_only_inside() -> str:
    """The endpoint when its name is one that only a cluster's own DNS knows; empty otherwise."""
    endpoint = endpoint_of(os.environ)
    name = urlsplit(endpoint).hostname or ""
    plain = "." not in name and name != "localhost" and not name.startswith("[")
    return endpoint if name.endswith(_INSIDE) or plain else ""
