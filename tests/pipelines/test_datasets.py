"""The dataset commands on a real store: what they print, what they exit with, what they change."""

import hashlib
import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from PIL import Image

from components.shared import dataset_store
from components.shared.dataset import ANNOTATIONS, IMAGES, Dataset
from components.shared.shards import ShardWriter
from components.shared.store import Store, open_store
from pipelines.datasets import main

ROOT = Path(__file__).parents[2]


def picture(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (32, 48, 3), dtype=np.uint8)
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG")
    return buffer.getvalue()


def put(store: Store, seeds: range, name: str = "cats") -> str:
    """Commit a dataset of noise with a box each; gives its version."""
    pictures = {hashlib.sha256(data).hexdigest(): data for data in map(picture, seeds)}
    with ShardWriter(store, target_bytes=8192) as writer:
        for digest, data in pictures.items():
            writer.add(data, digest)
    images, boxes = [], []
    for place, (digest, data) in enumerate(pictures.items()):
        at = writer.locations[digest]
        size = {"width": 48, "height": 32, "bytes": len(data), "format": "jpeg", "orientation": 1}
        row = {"image_id": place, "name": f"{seeds[place]}.jpg", "sha256": digest, **size}
        images.append({**dict.fromkeys(IMAGES), **row, "shard": at.shard, "offset": at.offset})
        flags = {"crowd": False, "difficult": False, "truncated": False, "kind": "ground_truth", "category": "cat"}
        box = {"annotation_id": place, "image_id": place, "x": 1.0, "y": 2.0, "width": 9.0, "height": 8.0}
        boxes.append({**dict.fromkeys(ANNOTATIONS), **flags, **box})
    frames = pl.DataFrame(images, schema=IMAGES), pl.DataFrame(boxes, schema=ANNOTATIONS)
    dataset = Dataset(name, ("cat", "dog"), *frames, shards=writer.shards)
    return dataset_store.commit(store, dataset).version


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(str(tmp_path / "store"))


@pytest.fixture
def versions(store: Store) -> tuple[str, str]:
    """Two versions of ``cats``: six images, then two of them gone and two new ones."""
    first, second = put(store, range(6)), put(store, range(2, 8))
    return first, second


class Command:
    """Runs a command on the store and keeps what it printed."""

    def __init__(self, store: Store, capsys: pytest.CaptureFixture[str]) -> None:
        self._store = store
        self._capsys = capsys
        self.out = self.err = ""

    def __call__(self, *arguments: str | Path) -> int:
        code = main([*map(str, arguments), "--store", self._store.uri])
        self.out, self.err = self._capsys.readouterr()
        return code

    def json(self, *arguments: str | Path, code: int = 0) -> dict[str, Any]:
        assert self(*arguments, "--json") == code, self.err
        return json.loads(self.out.strip().splitlines()[-1])


@pytest.fixture
def command(store: Store, capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(store, capsys)


def test_list_shows_every_version_the_newest_first(command: Command, store: Store, versions: tuple[str, str]) -> None:
    os.utime(Path(store.uri.removeprefix("file://")) / f"datasets/cats/versions/{versions[0]}/dataset.json", (1e9, 1e9))
    assert command("list") == 0
    lines = [line for line in command.out.splitlines() if any(version[:12] in line for version in versions)]
    assert versions[1][:12] in lines[0]
    assert "latest" in lines[0]
    assert versions[0][:12] in lines[1]
    (newest, oldest) = command.json("list")["datasets"]
    assert (newest["version"], newest["aliases"], newest["newest"], newest["images"]) == (
        versions[1],
        ["latest"],
        True,
        6,
    )
    assert (oldest["version"], oldest["aliases"], oldest["newest"]) == (versions[0], [], False)


def test_an_empty_store_is_told_in_a_sentence(command: Command) -> None:
    assert command("list") == 0
    assert "holds no dataset yet" in command.out
    assert command("show", "cats") == 2
    assert "holds no dataset yet" in command.err
    assert command("verify", "--all") == 2


def test_a_slip_exits_with_2_and_a_near_name(command: Command, versions: tuple[str, str]) -> None:
    del versions
    assert command("show", "cat") == 2
    assert "did you mean 'cats'?" in " ".join(command.err.split())
    assert "cats" in command.json("show", "cat", code=2)["error"]


def test_show_tells_classes_shards_and_ledger(command: Command, versions: tuple[str, str]) -> None:
    shown = command.json("show", f"cats@{versions[0][:8]}")
    assert shown["version"] == versions[0]
    assert shown["class_counts"][0] == {"id": 0, "class": "cat", "boxes": 6, "images": 6, "share": 1.0}
    assert shown["class_counts"][1]["boxes"] == 0
    assert len(shown["shards"]) > 1
    assert shown["ledger"] == []
    assert command("show", "cats") == 0
    assert versions[1] in command.out
    assert "dog" in command.out


def test_diff_names_what_came_and_went(command: Command, versions: tuple[str, str]) -> None:
    found = command.json("diff", f"cats@{versions[0]}", "cats")
    assert (found["added"], found["removed"], found["same"]) == (["6.jpg", "7.jpg"], ["0.jpg", "1.jpg"], False)
    assert (found["boxes"]["unchanged"], found["boxes"]["added"], found["boxes"]["removed"]) == (4, 2, 2)
    assert command("diff", f"cats@{versions[0]}", "cats") == 0
    assert "6.jpg, 7.jpg" in command.out
    assert "Jensen-Shannon" in command.out
    assert command.json("diff", "cats", "cats")["same"]


def test_verify_exits_with_1_and_names_the_image(command: Command, store: Store, versions: tuple[str, str]) -> None:
    assert command("verify", "--all") == 0
    assert "every byte" in command.out
    row = dataset_store.read(store, "cats").images.row(0, named=True)
    key = f"shards/{row['shard']}.tar"
    data = bytearray(store.read(key))
    data[row["offset"] + 5] ^= 1
    store.write(key, bytes(data))
    assert command("verify", "cats") == 1
    assert row["name"] in command.out
    found = command.json("verify", "cats", "--drop-damaged", code=1)
    assert found["dropped"] == [key]
    assert not store.exists(key)
    assert put(store, range(2, 8)) == versions[1]
    assert command("verify", "cats") == 0


def test_verify_wants_a_version_or_all(command: Command, versions: tuple[str, str]) -> None:
    del versions
    assert command("verify") == 2
    assert command("verify", "cats", "--all") == 2


def test_gc_removes_what_no_version_reaches(command: Command, store: Store, versions: tuple[str, str]) -> None:
    assert command.json("gc", "--older-than", "0")["garbage"] == []
    assert command("rm", f"cats@{versions[1]}") == 1
    assert "move it with `datasets alias`" in " ".join(command.err.split())
    assert command("alias", "cats", "latest", versions[0]) == 0
    assert command("rm", "cats") == 2
    assert command("rm", f"cats@{versions[1]}") == 0
    young = command.json("gc")
    assert young["garbage"] == []
    assert young["young"]
    dry = command.json("gc", "--older-than", "0", "--dry-run")
    assert dry["garbage_bytes"] > 0
    assert command.json("verify", "cats")["sound"]
    done = command.json("gc", "--older-than", "0")
    assert [piece["key"] for piece in done["garbage"]] == [piece["key"] for piece in dry["garbage"]]
    assert not any(store.exists(piece["key"]) for piece in done["garbage"])
    assert command.json("verify", "--all")["sound"]


def test_gc_removes_checkpoints_of_the_age_it_is_told(command: Command, store: Store) -> None:
    key = f"checkpoints/{'a' * 64}/000003-0123456789abcdef/checkpoint.json"
    store.write(key, b"{}")
    assert command.json("gc")["garbage"] == []
    dry = command.json("gc", "--checkpoints-older-than", "0", "--dry-run")
    assert [(piece["key"], piece["kind"]) for piece in dry["garbage"]] == [(key, "checkpoint file")]
    assert store.exists(key)
    assert command.json("gc", "--checkpoints-older-than", "0")["removed"]
    assert not store.exists(key)


def test_gc_shrinks_the_image_cache_when_asked(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIPELINE_CACHE", str(tmp_path / "cache"))
    assert command.json("gc", "--cache", "1")["cache"]["files"] == 0
    assert command("gc", "--cache", "1") == 0
    assert "cache" in command.out


def test_an_alias_moves_to_a_version(command: Command, store: Store, versions: tuple[str, str]) -> None:
    assert command.json("alias", "cats", "reviewed", versions[0][:8])["version"] == versions[0]
    assert dataset_store.get_alias(store, "cats", "reviewed").version == versions[0]
    assert command("alias", "cats", "Not Good", versions[0]) == 2


def test_export_writes_the_files_and_lists_what_is_lost(
    command: Command, versions: tuple[str, str], tmp_path: Path
) -> None:
    pytest.importorskip("components.shared.formats.export")
    del versions
    found = command.json("export", "cats", "--format", "coco", tmp_path / "out")
    assert found["images"] == 6
    assert list((tmp_path / "out").rglob("*.jpg"))
    assert isinstance(found["losses"], list)
    assert command("export", "cats", "--format", "coco", tmp_path / "out") == 2
    assert command("export", "cats", "--format", "no-such", tmp_path / "other") == 2
    assert not (tmp_path / "other").exists()


def test_report_writes_a_page(command: Command, versions: tuple[str, str], tmp_path: Path) -> None:
    report = pytest.importorskip("components.shared.analysis.report")
    if not hasattr(report, "write_comparison"):
        pytest.skip("reports that compare datasets are not written yet")
    assert command("report", "cats", f"cats@{versions[0]}", "-o", tmp_path / "page.html") == 0
    page = (tmp_path / "page.html").read_text()
    assert versions[0][:12] in page


def test_the_command_runs_as_a_module_and_ends_quickly(store: Store, versions: tuple[str, str]) -> None:
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "pipelines.datasets", "list", "--store", store.uri],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert versions[0][:12] in done.stdout
    assert time.monotonic() - began < 30


def test_a_missing_command_or_number_is_bad_input(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in ([], ["gc", "--older-than", "-1"], ["gc", "--older-than", "soon"], ["nonsense"]):
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        assert ended.value.code == 2
    capsys.readouterr()


def test_the_last_version_goes_with_its_aliases(command: Command, versions: tuple[str, str]) -> None:
    assert command("rm", f"cats@{versions[0]}") == 0
    assert command("rm", "cats@latest", "--with-aliases") == 0
    assert command.json("list")["datasets"] == []


def test_a_target_that_cannot_be_written_is_told_in_a_sentence(
    command: Command, versions: tuple[str, str], tmp_path: Path
) -> None:
    del versions
    (tmp_path / "file").write_bytes(b"")
    assert command("report", "cats", "-o", tmp_path) == 2
    assert command("report", "cats", "-o", tmp_path / "file" / "page.html") == 2
    assert command("export", "cats", "--format", "coco", tmp_path / "file" / "out") == 2
    assert command("export", "cats", "--format", "coco", tmp_path / "cats.tar.gz") == 2
    assert "give a folder, .zip or .tar" in command.err


@pytest.mark.slow
def test_a_full_disk_under_the_output_is_a_sentence_and_a_failure(store: Store, versions: tuple[str, str]) -> None:
    del versions
    if not Path("/dev/full").exists():
        pytest.skip("there is no /dev/full")
    for extra in ([], ["--json"]):
        with Path("/dev/full").open("w") as full:
            arguments = [sys.executable, "-m", "pipelines.datasets", "list", "--store", store.uri, *extra]
            done = subprocess.run(arguments, cwd=ROOT, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
        assert done.returncode == 1
        assert done.stderr.startswith("error: The output cannot be written")


def test_a_store_that_is_a_file_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_bytes(b"")
    assert main(["list", "--store", str(tmp_path / "file")]) == 2
    assert "is a file: give a folder" in " ".join(capsys.readouterr().err.split())


def test_a_split_is_shown_as_one(command: Command, store: Store, versions: tuple[str, str]) -> None:
    whole = dataset_store.read(store, "cats", versions[0])
    dataset_store.commit(store, replace(whole, split="train", parent=versions[1], classes=("cat",)), alias=None)
    train = next(entry for entry in command.json("list")["datasets"] if entry["classes"] == ["cat"])
    assert command("show", f"cats@{train['version']}") == 0
    assert "split train" in command.out
    assert versions[1] in command.out
