"""The container tool that is here builds what a recipe says, each time anew where the recipe differs."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from components.shared.errors import ConfigError, PipelineError
from pipelines.images.tool import Recipe, Tool, check_base, find_tool

TAG = "localhost/tool-test:1"


@pytest.fixture(scope="module")
def buildah(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tool]:
    """buildah with a store of its own."""
    if not shutil.which("buildah"):
        pytest.skip("there is no buildah")
    folder = tmp_path_factory.mktemp("store")
    (folder / "storage.conf").write_text(
        f'[storage]\ndriver = "vfs"\ngraphroot = "{folder}/graph"\nrunroot = "{folder}/run"\n'
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CONTAINERS_STORAGE_CONF", str(folder / "storage.conf"))
        patch.setenv("BUILDAH_ISOLATION", "chroot")
        patch.setenv("STORAGE_DRIVER", "vfs")
        yield Tool("buildah")


def recipe(folder: Path, content: str, revision: str) -> Recipe:
    folder.mkdir(exist_ok=True)
    (folder / "hello").write_text(content)
    (folder / "Dockerfile").write_text('FROM scratch\nCOPY hello /hello\nLABEL fixed="1"\nUSER 10001:0\n')
    return Recipe(
        context=folder,
        file=folder / "Dockerfile",
        tag=TAG,
        arguments={},
        labels={"revision": revision},
        secrets={},
        network=False,
        epoch=0,
    )


def labels(tag: str) -> dict[str, str]:
    said = json.loads(subprocess.check_output(["buildah", "inspect", "--type", "image", tag]))
    found: dict[str, str] = said["OCIv1"]["config"]["Labels"]
    return found


@pytest.mark.slow
def test_the_same_content_is_the_same_image_and_another_revision_is_told_apart(buildah: Tool, tmp_path: Path) -> None:
    try:
        buildah.build(recipe(tmp_path / "context", "a", "one"))
    except PipelineError as error:
        pytest.skip(f"buildah cannot build here: {error}")
    first = buildah.digest(TAG)
    assert buildah.size(TAG) < 100_000
    buildah.build(recipe(tmp_path / "context", "a", "one"))
    assert buildah.digest(TAG) == first
    buildah.build(recipe(tmp_path / "context", "a", "two"))
    assert labels(TAG)["revision"] == "two", "layers that are kept must not keep what the image says of itself"
    assert buildah.digest(TAG) != first
    second = buildah.digest(TAG)
    buildah.build(recipe(tmp_path / "context", "b", "two"))
    assert buildah.digest(TAG) != second


@pytest.mark.parametrize("base", ["python:3.11", "python@sha256:12", "", "python 3", "-v@sha256:" + "0" * 64])
def test_a_base_that_may_change_is_refused(base: str) -> None:
    with pytest.raises(ConfigError, match="is not pinned by its digest"):
        check_base(base)


def test_a_base_that_may_change_is_taken_when_asked() -> None:
    check_base("python:3.11", allow_tag=True)
    with pytest.raises(ConfigError, match="is not pinned"):
        check_base("python:3.11\nRUN evil", allow_tag=True)


def test_a_tool_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(ConfigError, match="podman is not installed: install one of buildah, podman, docker"):
        find_tool("podman")
