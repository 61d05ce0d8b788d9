"""From an archive to an image and back, by the commands a person runs: the files come out as they went in."""

import json
import os
import runpy
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from components.shared.archive import load_archive_manifest
from components.shared.errors import ArchiveError, ConfigError
from components.shared.files import sha256_tree
from components.shared.inference_files import inference_files
from pipelines.containerize import main as containerize_main
from pipelines.extract import extract
from pipelines.extract import main as extract_main
from pipelines.images import source as image_source
from pipelines.images.container import Build, containerize, dockerfile, labels, start_command

ROOT = Path(__file__).parents[2]
SMALL: dict[str, Any] = runpy.run_path(str(ROOT / "tests/components/model_publish/small_archive.py"))
MADE: dict[str, Any] = runpy.run_path(str(ROOT / "tests/components/shared/oci/hand_made.py"))
PINNED = "python@sha256:" + "0" * 64


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    made: Path = SMALL["make_archive"](tmp_path / "archive")
    return made


@pytest.fixture
def expected(archive: Path) -> dict[str, str]:
    """What extracting must give: sha256 by name."""
    found = inference_files(load_archive_manifest(archive))
    assert "model/best.pt" in found
    return found | {"manifest.json": sha256_tree(archive)["manifest.json"]}


@pytest.fixture
def layout(tmp_path: Path, archive: Path) -> Path:
    """An OCI layout made by hand with the model in it."""
    bento = archive.with_name("archive-bento")
    made: Path = MADE["oci_layout"](tmp_path / "layout", [MADE["layer"](MADE["bento_members"](bento))])
    return made


def test_extract_takes_a_folder_a_bento_and_an_image_file(
    archive: Path, layout: Path, expected: dict[str, str], tmp_path: Path
) -> None:
    alone = Path(shutil.copyfile(archive / "model.bento", tmp_path / "alone.bento"))
    sources = (archive, archive / "model.bento", alone, layout, f"oci:{layout}", f"oci:{layout}:1")
    for number, source in enumerate(sources):
        extract(str(source), tmp_path / str(number))
        assert sha256_tree(tmp_path / str(number)) == expected


def test_extract_says_what_it_wrote(archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert extract_main([str(archive), str(tmp_path / "out")]) == 0
    assert "model/best.pt" in capsys.readouterr().out
    assert extract_main([str(archive), str(tmp_path / "out")]) == 2
    assert "is there already: give a new or empty folder" in capsys.readouterr().err


def test_extract_compares_with_the_digest_that_is_expected(archive: Path, layout: Path, tmp_path: Path) -> None:
    digest = load_archive_manifest(archive).content_digest
    extract(str(layout), tmp_path / "out", digest=f"sha256:{digest}")
    with pytest.raises(ArchiveError, match="it is another model"):
        extract(str(layout), tmp_path / "other", digest="0" * 64)
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("source", ["nothing.bento", "./nothing", "-rf", "Nothing", "oci:nothing", "docker-archive:no"])
def test_extract_refuses_what_is_not_there(source: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert extract_main(["--digest", "", "--", source, str(tmp_path / "out")]) in {1, 2}
    assert capsys.readouterr().err.startswith("error: There is no")
    assert not list(tmp_path.iterdir())


def test_an_image_in_a_registry_needs_skopeo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_source.shutil, "which", lambda _: None)
    with pytest.raises(ConfigError, match="skopeo, which fetches images, is not installed"):
        extract("registry.example/detector:1", tmp_path / "out")


def test_a_damaged_archive_leaves_nothing_behind(archive: Path, tmp_path: Path) -> None:
    bento = archive / "model.bento"
    bento.write_bytes(bento.read_bytes()[:-100])
    with pytest.raises(ArchiveError):
        extract(str(archive), tmp_path / "new" / "out")
    assert not list((tmp_path / "new").iterdir())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"base": "python:3.11"}, "is not pinned by its digest: write NAME@sha256"),
        ({"base": "python@sha256:12"}, "is not pinned"),
        ({"base": f"{PINNED}\nRUN evil", "allow_tag": True}, "is not pinned"),
        ({"base": "python 3", "allow_tag": True}, "is not pinned"),
        ({"tag": "--privileged"}, "is no name of an image"),
        ({"tag": ""}, "is no name of an image"),
        ({"tool": "rm"}, "The tool 'rm' is not known"),
        ({"output": "oci"}, "write oci:DIR or docker-archive:FILE"),
        ({"output": "tar:x"}, "write oci:DIR or docker-archive:FILE"),
        ({"output": "oci:/"}, "'/' is there already"),
    ],
)
def test_what_cannot_be_built_is_refused_with_a_sentence(
    archive: Path, options: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    with pytest.raises(ConfigError, match=message):
        containerize(archive, Build(**{"base": PINNED, "tag": "detector:1", **options}))


def test_without_a_tool_it_says_which_ones_there_are(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(ConfigError, match="is not installed: install one of buildah, podman, docker"):
        containerize(archive, Build(PINNED, "detector:1"))


def test_nothing_of_the_archive_becomes_an_instruction(archive: Path) -> None:
    manifest = load_archive_manifest(archive)
    text = dockerfile(Build(PINNED, "detector:1"), manifest)
    assert text.splitlines()[0] == f"FROM {PINNED}"
    assert "USER 10001:0" in text.splitlines()
    assert "EXPOSE 3000" in text.splitlines()
    assert "RUN" not in text
    assert manifest.name not in text
    installing = dockerfile(Build(PINNED, "detector:1", install=True), manifest)
    assert "install --no-cache-dir --no-deps -r /home/bentoml/bento/src/requirements.txt" in installing
    assert labels(Build(PINNED, "detector:1"), manifest)["detection-pipeline.licences"] == (
        'The "weights" are $free, and so is the rest.'
    )


def test_an_archive_that_has_its_own_launcher_is_started_by_it(archive: Path) -> None:
    manifest = load_archive_manifest(archive)
    launcher = {"components/model_pack/serving/standalone.py": "0" * 64}
    newer = manifest.model_copy(update={"source_files": manifest.source_files | launcher})
    assert start_command(manifest)[:4] == ["python3", "-m", "bentoml", "serve"]
    assert start_command(newer)[:3] == ["python3", "-m", "components.model_pack.serving.standalone"]
    assert start_command(newer)[3:] == ["--host", "0.0.0.0", "--port", "3000"]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A base image of one file, pinned by digest, in a store of its own."""
    if not shutil.which("buildah"):
        pytest.skip("there is no buildah")
    folder = tmp_path_factory.mktemp("base")
    store = {"BUILDAH_ISOLATION": "chroot", "STORAGE_DRIVER": "vfs"}
    (folder / "storage.conf").write_text(
        f'[storage]\ndriver = "vfs"\ngraphroot = "{folder}/graph"\nrunroot = "{folder}/run"\n'
    )
    store["CONTAINERS_STORAGE_CONF"] = str(folder / "storage.conf")
    (folder / "hello").write_text("hello")
    (folder / "Dockerfile").write_text("FROM scratch\nCOPY hello /hello\n")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in store.items():
            patch.setenv(name, value)
        done = subprocess.run(
            ["buildah", "build", "--tag=localhost/base:1", str(folder)], capture_output=True, text=True, check=False
        )
        if done.returncode:
            pytest.skip(f"buildah cannot build here: {done.stderr[-300:]}")
        listed = subprocess.check_output(["buildah", "images", "--json", "localhost/base:1"])
        yield f"localhost/base@{json.loads(listed)[0]['digest']}"


@pytest.mark.slow
def test_what_went_into_a_real_image_comes_out_of_it(
    base: str, archive: Path, expected: dict[str, str], tmp_path: Path
) -> None:
    outputs = (f"oci:{tmp_path}/oci", f"docker-archive:{tmp_path}/image.tar")
    for output in outputs:
        arguments = [str(archive), "--base", base, "--tag", "detector:1", "--tool", "buildah", "--output", output]
        assert containerize_main(arguments) == 0
    sources = [str(tmp_path / "oci"), f"{outputs[0]}:1", str(tmp_path / "image.tar")]
    if shutil.which("skopeo"):
        sources.append("containers-storage:localhost/detector:1")
    for number, source in enumerate(sources):
        extract(source, tmp_path / str(number))
        assert sha256_tree(tmp_path / str(number)) == expected


@pytest.mark.slow
def test_a_real_image_says_what_is_in_it_and_runs_as_nobody_special(base: str, archive: Path) -> None:
    manifest = containerize(archive, Build(base, "labelled:1", "buildah"))
    told = json.loads(subprocess.check_output(["buildah", "inspect", "--type", "image", "labelled:1"]))["OCIv1"][
        "config"
    ]
    assert told["User"] == "10001:0"
    assert "3000/tcp" in told["ExposedPorts"]
    assert told["Labels"]["detection-pipeline.content-digest"] == manifest.content_digest
    assert told["Labels"]["org.opencontainers.image.base.digest"] == base.partition("@")[2]
    assert told["Cmd"][:4] == ["python3", "-m", "bentoml", "serve"]
    assert told["StopSignal"] == "SIGTERM"


@pytest.mark.slow
def test_the_same_archive_gives_the_same_image(base: str, archive: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        containerize(archive, Build(base, "same:1", "buildah", f"oci:{tmp_path}/{name}"))
    first, second = (json.loads((tmp_path / name / "index.json").read_text()) for name in ("a", "b"))
    assert first["manifests"][0]["digest"] == second["manifests"][0]["digest"]


def test_a_tool_that_fails_ends_the_command_with_the_end_of_what_it_said(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tool = tmp_path / "bin" / "podman"
    tool.parent.mkdir()
    tool.write_text("#!/bin/sh\necho no such base >&2\nexit 125\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tool.parent}:{os.environ['PATH']}")
    assert containerize_main([str(archive), "--base", PINNED, "--tag", "x:1", "--tool", "podman"]) == 1
    assert capsys.readouterr().err == "error: podman build failed with code 125: no such base\n"


@pytest.mark.slow
def test_the_scripts_run(archive: Path, tmp_path: Path) -> None:
    if not (ROOT / ".venv" / "bin" / "python").exists():
        pytest.skip(f"the scripts use .venv, the tests run {sys.executable}")
    environment = {**os.environ, "PYTHONPATH": ""}
    command = [ROOT / "scripts" / "extract", archive, tmp_path / "out"]
    subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True)
    refused = [ROOT / "scripts" / "containerize", archive, "--base", "python", "--tag", "x"]
    done = subprocess.run(refused, cwd=tmp_path, env=environment, check=False, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("error: The base image 'python' is not pinned")
