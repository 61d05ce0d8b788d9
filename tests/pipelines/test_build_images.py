"""scripts/build-images with a container tool that only notes what it is asked, and a working tree of git of its own."""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from components.shared.errors import ConfigError, PipelineError
from pipelines.build_images import main
from pipelines.compile import compile_training
from pipelines.images import build as image_build
from pipelines.images.build import Built, Order, build_images
from pipelines.images.context import build_context, read_revision
from pipelines.images.tool import Tool, find_tool

ROOT = Path(__file__).parents[2]
BASE = "python@sha256:" + "1" * 64
DIGEST = "sha256:" + "2" * 64
INVENTORY = {
    "python": [{"name": "Pillow", "version": "13.0.0", "licence": "MIT-CMU"}, {"name": "odd", "version": "1"}],
    "debian": [{"package": "libc6", "version": "2.36-9+deb12u10", "architecture": "amd64"}],
    "system": {"ID": "debian", "VERSION_ID": "12"},
}
FAKE = f"""#!/bin/sh
echo "$@" >> "$TOOL_LOG"
case "$1 $2" in
  "push "*) case "$2" in --digestfile=*) echo {DIGEST} > "${{2#--digestfile=}}";; *) echo "pushed: {DIGEST}";; esac;;
  "image inspect") case "$3" in *Size*) echo 1500000000;; *) echo {DIGEST};; esac;;
  "images --json") echo '[{{"digest": "{DIGEST}", "size": "1.5 GB"}}]';;
  "from "*) echo working-container;;
  "run "*) cat > /dev/null; echo '{json.dumps(INVENTORY)}';;
  "build "*) [ -z "$TOOL_FAILS" ] || {{ echo "no space left" >&2; exit 125; }};;
esac
"""


@pytest.fixture(params=["docker", "podman", "buildah"])
def tool(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tool:
    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / str(request.param)
    program.write_text(FAKE)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setenv("TOOL_LOG", str(tmp_path / "asked"))
    monkeypatch.delenv("TOOL_FAILS", raising=False)
    return find_tool(str(request.param))


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A working tree with what images are made of."""
    root = tmp_path / "tree"
    for name in ("images/steps", "components", "pipelines"):
        (root / name).mkdir(parents=True)
    shutil.copyfile(ROOT / "images/steps/Dockerfile", root / "images/steps/Dockerfile")
    shutil.copyfile(ROOT / "pyproject.toml", root / "pyproject.toml")
    (root / "components" / "step.py").write_text("value = 1\n")
    (root / ".gitignore").write_text("*.key\n")
    (root / "components" / "private.key").write_text("secret")
    (root / "notes.txt").write_text("not of the images")
    for words in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "all"]):
        identity = ["-c", "user.name=a", "-c", "user.email=a@b.example", "-c", "commit.gpgsign=false"]
        subprocess.run(["git", "-C", str(root), *identity, *words], check=True, capture_output=True)
    return root


def asked(tmp_path: Path) -> list[str]:
    return (tmp_path / "asked").read_text().splitlines()


def build(tree: Path, tool: Tool, **order: Any) -> list[Built]:
    wanted = {"base": BASE, "images": ("steps",), "output": tree.parent / "images.json", **order}
    return list(build_images(Order(**wanted), tool, tree))


def test_an_image_is_named_after_the_revision_and_says_where_it_comes_from(
    tree: Path, tool: Tool, tmp_path: Path
) -> None:
    revision = read_revision(tree)
    (built,) = build(tree, tool, registry="registry.example/team/")
    assert built.tag == f"registry.example/team/detection-pipeline/steps:{revision.commit[:12]}"
    assert built.bytes == 1_500_000_000
    line = asked(tmp_path)[0]
    assert f"--build-arg=BASE={BASE}" in line
    facts = {"revision": revision.commit, "version": "0.1.0", "base.name": "python", "base.digest": BASE.split("@")[1]}
    for key, value in facts.items():
        assert f"--label=org.opencontainers.image.{key}={value}" in line


def test_a_pushed_image_is_written_down_by_the_digest_its_registry_knows(tree: Path, tool: Tool) -> None:
    output = tree.parent / "images.json"
    output.write_text(json.dumps({"serving": "elsewhere@sha256:0"}))
    (built,) = build(tree, tool, registry="registry.example", push=True)
    assert built.pinned == f"registry.example/detection-pipeline/steps@{DIGEST}"
    assert json.loads(output.read_text()) == {"serving": "elsewhere@sha256:0", "steps-python": built.pinned}
    spec = compile_training(json.loads(output.read_text()))
    images = {key: each["container"]["image"] for key, each in spec["deploymentSpec"]["executors"].items()}
    assert images["exec-data-load"] == built.pinned


def test_docker_knows_no_digest_before_a_push_and_nothing_is_made_up(tree: Path, tool: Tool) -> None:
    (built,) = build(tree, tool)
    assert bool(built.pinned) == (tool.name != "docker")
    assert (tree.parent / "images.json").exists() == (tool.name != "docker")


def test_a_changed_tree_is_marked_and_not_pushed(tree: Path, tool: Tool) -> None:
    (tree / "components" / "step.py").write_text("value = 2\n")
    (built,) = build(tree, tool)
    assert built.tag.endswith("-dirty")
    with pytest.raises(ConfigError, match="commit first, or give --allow-dirty"):
        build(tree, tool, registry="registry.example", push=True)
    assert build(tree, tool, registry="registry.example", push=True, allow_dirty=True)


def test_secrets_are_files_of_the_build_and_never_arguments(tree: Path, tool: Tool, tmp_path: Path) -> None:
    (tmp_path / "pip.conf").write_text("[global]\nindex-url = https://user:password@index.example/simple\n")
    build(tree, tool, secrets={"pip": tmp_path / "pip.conf"})
    assert f"--secret=id=pip,src={tmp_path / 'pip.conf'}" in asked(tmp_path)[0]
    assert "password" not in "".join(asked(tmp_path))


def test_what_is_in_an_image_is_a_valid_document_and_the_same_each_time(tree: Path, tool: Tool, tmp_path: Path) -> None:
    for library in ("cyclonedx", "jsonschema", "referencing"):
        pytest.importorskip(library)
    from cyclonedx.schema import SchemaVersion  # noqa: PLC0415 - it may not be there
    from cyclonedx.validation.json import JsonStrictValidator  # noqa: PLC0415 - same

    build(tree, tool, sboms=tmp_path / "a")
    build(tree, tool, sboms=tmp_path / "b")
    text = (tmp_path / "a" / "steps.cdx.json").read_text()
    assert text == (tmp_path / "b" / "steps.cdx.json").read_text()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    packages = {each["purl"] for each in json.loads(text)["components"]}
    assert packages == {
        "pkg:pypi/pillow@13.0.0",
        "pkg:pypi/odd@1",
        "pkg:deb/debian/libc6@2.36-9%2Bdeb12u10?arch=amd64&distro=debian-12",
    }


def test_a_tool_that_fails_ends_the_command_with_what_it_said(
    tree: Path, tool: Tool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOOL_FAILS", "1")
    with pytest.raises(PipelineError, match=f"{tool.name} build failed with code 125: no space left"):
        build(tree, tool)


@pytest.mark.parametrize(
    ("order", "message"),
    [
        ({"base": ""}, "--base is missing: give a Debian image with Python 3.11 or later by its digest"),
        ({"base": "python:3.11-slim"}, "is not pinned by its digest"),
        ({"images": ("steps", "cake")}, "There is no image 'cake': choose of steps, trainer, serving, executor"),
        ({"secrets": {"ca": Path("/nowhere/ca.crt")}}, "There is no file '/nowhere/ca.crt' to build with"),
    ],
)
def test_what_cannot_be_built_is_refused_before_anything_runs(tree: Path, order: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build(tree, Tool("none"), **order)


def test_a_stale_lock_is_refused(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_build, "is_in_step", lambda name: name != "steps")
    with pytest.raises(ConfigError, match=r"images/locks/steps.lock is not in step with pyproject.toml"):
        build(tree, Tool("none"))


def test_the_context_is_what_git_knows_and_nothing_else(tree: Path) -> None:
    (tree / "components" / "new.py").write_text("value = 3\n")
    revision = read_revision(tree)
    with build_context(tree, revision) as context:
        found = {path.relative_to(context).as_posix() for path in context.rglob("*") if path.is_file()}
        times = {path.stat().st_mtime for path in context.rglob("*")}
    assert found == {"components/step.py", "components/new.py", "images/steps/Dockerfile", "pyproject.toml"}
    assert times == {revision.seconds}


@pytest.mark.parametrize(
    ("origin", "source"),
    [
        ("https://user:token@git.example/team/project.git", "https://git.example/team/project"),
        ("git@git.example:team/project.git", "https://git.example/team/project"),
        ("ssh://git@git.example/team/project.git", "https://git.example/team/project"),
        ("/srv/project.git", ""),
        ("http://127.0.0.1:1234/project", ""),
    ],
)
def test_the_source_is_a_public_address_without_credentials(tree: Path, origin: str, source: str) -> None:
    subprocess.run(["git", "-C", str(tree), "remote", "add", "origin", origin], check=True)
    assert read_revision(tree).source == source


def test_outside_of_git_there_is_no_revision(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="has no revision for the images to be named after"):
        read_revision(tmp_path)


def test_the_command_says_what_is_missing(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PIPELINE_BASE_IMAGE", raising=False)
    assert main(["--push", "--base", BASE]) == 2
    assert "--push needs --registry" in capsys.readouterr().err
    assert main(["--base", BASE, "--tool", "rm"]) == 2
    assert "The tool 'rm' is not known" in capsys.readouterr().err
