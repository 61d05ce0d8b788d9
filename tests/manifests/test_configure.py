import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DIGEST = f"sha256:{'a' * 64}"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    shutil.copytree(ROOT / "manifests", tmp_path / "manifests", ignore=shutil.ignore_patterns("*.env"))
    return tmp_path


def _built(home: Path, **images: object) -> Path:
    path = home / "images.json"
    path.write_text(
        json.dumps({"steps-python": f"r.example/steps@{DIGEST}", "serving": f"r.example/s@{DIGEST}"} | images)
    )
    return path


def _configure(home: Path, *more: object, overlay: str = "laptop") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "scripts" / "configure.py"), overlay, "--manifests", str(home / "manifests")]
    return subprocess.run([*command, *map(str, more)], capture_output=True, text=True, check=False, timeout=60)


def _secret(home: Path, name: str = "store", overlay: str = "laptop") -> dict[str, str]:
    text = (home / "manifests" / "overlays" / overlay / f"{name}.env").read_text()
    return dict(line.split("=", 1) for line in text.splitlines())


def test_passwords_are_long_and_never_the_same(home: Path) -> None:
    assert _configure(home, "--no-images").returncode == 0
    assert _configure(home, "--no-images", overlay="gpu").returncode == 0
    ours, others = _secret(home), _secret(home, overlay="gpu")
    assert len(ours["AWS_SECRET_ACCESS_KEY"]) == 40
    assert ours["AWS_SECRET_ACCESS_KEY"] != others["AWS_SECRET_ACCESS_KEY"] != _secret(home, "minio-root")["password"]
    assert 3 <= len(ours["AWS_ACCESS_KEY_ID"]) <= 20


def test_nobody_else_may_read_the_passwords(home: Path) -> None:
    _configure(home, "--no-images")
    for path in (home / "manifests" / "overlays" / "laptop").glob("*.env"):
        assert path.stat().st_mode & 0o777 == 0o600


def test_a_second_time_keeps_the_passwords_that_the_store_knows(home: Path) -> None:
    _configure(home, "--no-images")
    before = _secret(home)
    done = _configure(home, "--no-images")
    assert _secret(home) == before
    assert done.stdout.count("kept") == 2


def test_images_are_taken_over_by_digest_as_often_as_they_are_built(home: Path) -> None:
    for name in ("one", "two"):
        built = _built(home, serving=f"localhost:5001/{name}@{DIGEST}")
        assert _configure(home, "--images", built).returncode == 0
        text = (home / "manifests" / "components" / "images" / "kustomization.yaml").read_text()
        assert f"- name: detection-serving\n  newName: localhost:5001/{name}\n  digest: {DIGEST}\n" in text
        assert text.count("- name: ") == 3


@pytest.mark.parametrize("image", ["r.example/s:latest", "r.example/s@sha256:12", "", None, "a b@sha256:" + "a" * 64])
def test_an_image_without_a_digest_is_refused_in_one_sentence(home: Path, image: str | None) -> None:
    done = _configure(home, "--images", _built(home, serving=image))
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert len(done.stderr.splitlines()) == 1
    assert "NAME@sha256:DIGEST" in done.stderr


def test_without_built_images_nothing_is_written(home: Path) -> None:
    done = _configure(home, "--images", home / "none.json")
    assert done.returncode == 2
    assert "scripts/build-images" in done.stderr
    assert not list((home / "manifests").rglob("*.env"))


def test_another_store_and_its_authority_are_written_down(home: Path) -> None:
    _configure(home, "--no-images", "--endpoint", "https://s3.example", "--authority")
    assert _secret(home)["S3_ENDPOINT_URL"] == "https://s3.example"
    assert _secret(home)["SSL_CERT_FILE"] == "/etc/detection-ca/ca.crt"
