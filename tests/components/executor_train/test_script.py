"""The script that runs in the executor's image, run by bash in a folder of its own."""

import io
import os
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from components.executor_train.script import SCRIPT


@dataclass(frozen=True)
class Ran:
    code: int
    exit_code: str
    files: dict[str, bytes]
    out: str
    err: str
    root: Path


def run(
    tmp_path: Path, command: str, *, config: str = "epochs: 3\nexport_format: ark:raw\n", template: str = ""
) -> Ran:
    root, staged = tmp_path / "root", tmp_path / "staged"
    root.mkdir()
    if template:
        (root / "img-man").mkdir()
        (root / "img-man" / "training-template.yaml").write_text(template)
    with tarfile.open(staged, "w") as tar:
        for name in ("in", "out", "out/models", "out/tensorboard"):
            folder = tarfile.TarInfo(name)
            folder.type, folder.mode = tarfile.DIRTYPE, 0o777
            tar.addfile(folder)
        entry = tarfile.TarInfo("in/config.yaml")
        entry.size, entry.mode = len(config), 0o666
        tar.addfile(entry, io.BytesIO(config.encode()))
    paths = [str(tmp_path / name) for name in ("staged", "result", "code")]
    done = subprocess.run(
        ["bash", "-c", SCRIPT, "executor", *paths, command],
        env={**os.environ, "YMIR_ROOT": str(root)},
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    files = {}
    if (tmp_path / "result").exists():
        with tarfile.open(tmp_path / "result") as tar:
            files = {each.name: tar.extractfile(each).read() for each in tar if each.isfile()}  # type: ignore[union-attr]
    code = tmp_path / "code"
    return Ran(done.returncode, code.read_text() if code.exists() else "", files, done.stdout, done.stderr, root)


def test_what_the_executor_leaves_is_packed(tmp_path: Path) -> None:
    command = "echo hello; echo bad >&2; cd $YMIR_OUT; echo x > models/a.pt; echo r > monitor.txt; echo > junk"
    ran = run(tmp_path, command)
    assert (ran.code, ran.exit_code) == (0, "0")
    assert set(ran.files) == {"models/a.pt", "monitor.txt", "ymir-executor-out.log", "executor-config.yaml"}
    assert ran.files["ymir-executor-out.log"] == b"hello\nbad\n"
    assert ran.out.startswith("hello\nbad\n")


@pytest.mark.parametrize(
    ("command", "code"),
    [("exit 3", "3"), ("kill -9 $$", "137"), ("nothing-of-this-name", "127"), ("kill -TERM $$", "143")],
)
def test_a_failing_executor_leaves_its_partial_models_and_its_exit_code(
    tmp_path: Path, command: str, code: str
) -> None:
    ran = run(tmp_path, f'echo partial > "$YMIR_OUT/models/a.pt"; {command}')
    assert (ran.code, ran.exit_code) == (0, code)
    assert ran.files["models/a.pt"] == b"partial\n"


def test_the_images_template_fills_in_what_nobody_said(tmp_path: Path) -> None:
    template = "---\n# a comment\nepochs: 100\r\nbatch: 16\n'lr': 0.1\nanchors:\n  - 1\n  - 2\nepochs_more: 1"
    ran = run(tmp_path, "cat $YMIR_IN/config.yaml", template=template)
    wanted = "epochs: 3\nexport_format: ark:raw\nbatch: 16\n'lr': 0.1\nanchors:\n  - 1\n  - 2\nepochs_more: 1\n"
    assert ran.files["executor-config.yaml"].decode() == wanted
    assert ran.files["ymir-executor-out.log"].decode() == wanted
    assert ran.err == ""


def test_lists_of_a_key_that_was_said_are_left_out_with_it(tmp_path: Path) -> None:
    ran = run(tmp_path, "true", config="a: 1\n", template="a:\n  - 9\n- 8\nb: 2\n")
    assert ran.files["executor-config.yaml"] == b"a: 1\nb: 2\n"


@pytest.mark.parametrize(("wanted", "warned"), [("voc:raw", True), ("'ark:raw'  # text", False), ("ark:raw", False)])
def test_a_format_that_the_image_does_not_read_is_told(tmp_path: Path, wanted: str, warned: bool) -> None:
    ran = run(tmp_path, "true", template=f"export_format: {wanted}\n")
    assert ("staged in another" in ran.err) == warned
    assert ran.exit_code == "0"


def test_links_are_packed_as_what_they_point_to_and_dangling_ones_do_no_harm(tmp_path: Path) -> None:
    command = (
        "cd $YMIR_OUT; echo w > models/a.pt; ln -s a.pt models/best.pt; ln -s /nowhere models/c.pt; rmdir tensorboard"
    )
    ran = run(tmp_path, command)
    assert (ran.code, ran.exit_code) == (0, "0")
    assert ran.files["models/best.pt"] == b"w\n"


def test_data_that_cannot_be_unpacked_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "broken").write_bytes(b"no tar at all")
    done = subprocess.run(
        ["bash", "-c", SCRIPT, "executor", str(tmp_path / "broken"), str(tmp_path / "r"), str(tmp_path / "c"), "true"],
        env={**os.environ, "YMIR_ROOT": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("The data for the executor cannot be unpacked")


def test_an_executor_told_to_end_is_told_to_end(tmp_path: Path) -> None:
    ran = run(tmp_path, 'trap "echo saving; exit 5" TERM; kill -TERM $PPID; while :; do sleep 0.05; done')
    assert (ran.code, ran.exit_code) == (0, "5")
    assert b"saving" in ran.files["ymir-executor-out.log"]


def test_the_script_holds_nothing_that_a_cluster_would_replace() -> None:
    assert "{{" not in SCRIPT
    assert "$$" not in SCRIPT
