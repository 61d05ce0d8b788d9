"""Executors run on this machine: our own small one, and some that fail."""

import shlex
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from components.executor_train import run as run_module
from components.executor_train.collect import collect_model
from components.executor_train.run import Machine, can_mount, container_command, run_executor
from components.executor_train.settings import read_settings
from components.executor_train.stage import stage_data
from components.shared.errors import ConfigError, PipelineError, TrainingError

ROOT = Path(__file__).parents[3]
OURS = f"bash {shlex.quote(str(ROOT / 'images' / 'executor' / 'start.sh'))}"


@pytest.fixture(autouse=True)
def _this_python(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=":")


@pytest.fixture(params=["private mounts", "environment"])
def _place(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "environment":
        monkeypatch.setattr(run_module, "can_mount", lambda: False)
    elif not can_mount():
        pytest.skip("the kernel lets this user make no mounts of his own")


def run(staged: Path, folder: Path, command: str) -> tuple[Path, int]:
    code = run_executor(staged, folder / "result", folder / "code", Machine(command=command))
    assert (folder / "code").read_text() == str(code)
    return folder / "result", code


def collect(splits: Any, folder: Path, left: tuple[Path, int]) -> Any:
    folders = splits.root / "train", splits.root / "val"
    return collect_model(folders, splits.store, *left, folder / "model", folder / "report", executor=OURS)


@pytest.mark.usefixtures("_place")
def test_our_own_executor_learns_something_and_leaves_a_model(splits: Any, staged: Path, tmp_path: Path) -> None:
    manifest = collect(splits, tmp_path, run(staged, tmp_path, OURS))
    assert manifest.metrics["map"] > 0.5
    assert manifest.weights == "epoch_2/colours.npz"
    assert manifest.imgsz == 64
    with tarfile.open(tmp_path / "result") as tar:
        names = tar.getnames()
    assert {"models/epoch_1/colours.npz", "models/epoch_2/model.json", "monitor.txt"} <= set(names)


@pytest.mark.slow
def test_the_same_training_gives_the_same_model(splits: Any, staged: Path, tmp_path: Path) -> None:
    digests = {collect(splits, tmp_path, run(staged, tmp_path, OURS)).digest for _ in range(2)}
    assert len(digests) == 1


@pytest.mark.slow
def test_our_executor_goes_on_from_a_model_of_its_own(splits: Any, staged: Path, template: str, tmp_path: Path) -> None:
    collect(splits, tmp_path, run(staged, tmp_path, OURS))
    weights = str(tmp_path / "model" / "epoch_2")
    settings = read_settings(template=template, config="epochs: 1")
    folders = splits.root / "train", splits.root / "val"
    stage_data(folders, splits.store, settings, tmp_path / "again", pretrained=weights)
    result, code = run(tmp_path / "again", tmp_path, OURS)
    assert code == 0
    with tarfile.open(result) as tar:
        log = tar.extractfile("ymir-executor-out.log")
        assert log is not None
        assert b"knows 2 of these 2 classes" in log.read()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("before", "words"),
    [
        ("rm $in/train-index.tsv", "as it cannot use the data set (return code 300002, exit code 1)"),
        ("echo > $in/assets/val-00000001.png", "as it cannot read the format of an image"),
        ("sed -i s/^epochs.*/epochs:/ $in/config.yaml", "'epochs is None: it must be a number from 1 to 1000.'"),
        ("sed -i s/ark:raw/voc:raw/ $in/config.yaml", "'voc:raw': this executor reads ark:raw"),
        ("sed -i 's/object_type: 2/object_type: 4/' $in/config.yaml", "as it is for another kind of objects"),
        ("echo 7, 1, 1, 2, 2 >> $in/annotations/train-00000001.txt", "has the class 7; there are 2"),
        ("sed -i 's,params: .*,params: [/in/models/x],' $in/config.yaml", "as it cannot use the model"),
        ("rm $in/env.yaml", "env.yaml cannot be used"),
    ],
)
def test_our_executor_says_in_the_contracts_words_why_it_cannot_train(
    splits: Any, staged: Path, tmp_path: Path, before: str, words: str
) -> None:
    command = f"in=${{YMIR_IN:-/in}}; {before}; {OURS}"
    left = run(staged, tmp_path, command)
    with pytest.raises(PipelineError) as caught:
        collect(splits, tmp_path, left)
    assert words in str(caught.value)


def test_what_the_monitor_says_is_told_while_it_runs(staged: Path, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(run_module, "LOOK", 0.05)
    monkeypatch.setattr(run_module, "POLL", 0.02)
    told: list[tuple[float, str]] = []
    command = 'printf "t\\t1\\t0.4\\t2\\t0\\nhalf way" > "${YMIR_OUT:-/out}/monitor.txt"; sleep 0.6'
    machine = Machine(command=command)
    run_executor(
        staged, tmp_path / "r", tmp_path / "c", machine, notify=lambda share, text, **_: told.append((share, text))
    )
    assert set(told) == {(0.4, "half way")}


def test_an_image_is_run_as_the_contract_wants_it(tmp_path: Path) -> None:
    machine = Machine(image="reg/ymir:1", gpu_count=2, shm_size="8G")
    assert container_command("docker", machine, tmp_path) == (
        f"exec docker run --rm --shm-size 8G --gpus 2 --volume {tmp_path}/in:/in:ro --volume {tmp_path}/out:/out"
        " reg/ymir:1 bash /usr/bin/start.sh"
    )


def test_an_image_brings_its_own_template(staged: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for docker that prints the template, and trains with nothing."""
    (tmp_path / "bin").mkdir()
    docker = tmp_path / "bin" / "docker"
    docker.write_text('#!/bin/bash\ncase "$*" in *template*) echo "extra: 7";; *) echo "ran $*";; esac\n')
    docker.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=":")
    run_executor(staged, tmp_path / "result", tmp_path / "code", Machine(image="reg/ymir:1"))
    with tarfile.open(tmp_path / "result") as tar:
        config, log = (tar.extractfile(name) for name in ("executor-config.yaml", "ymir-executor-out.log"))
        assert config is not None
        assert log is not None
        assert yaml.safe_load(config.read())["extra"] == 7
        assert b"reg/ymir:1 bash /usr/bin/start.sh" in log.read()


def test_without_an_engine_an_image_is_refused(staged: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda _name: None)
    with pytest.raises(ConfigError, match="give the command that starts the executor"):
        run_executor(staged, tmp_path / "r", tmp_path / "c", Machine(image="reg/ymir:1"))


def test_with_neither_image_nor_command_there_is_nothing_to_run(staged: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="Neither image nor command"):
        run_executor(staged, tmp_path / "r", tmp_path / "c", Machine())


@pytest.mark.usefixtures("_place")
def test_data_that_cannot_be_unpacked_ends_the_step_with_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "staged").write_bytes(b"no tar")
    with pytest.raises(TrainingError, match="cannot be unpacked"):
        run(tmp_path / "staged", tmp_path, "true")
