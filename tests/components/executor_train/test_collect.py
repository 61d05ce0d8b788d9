import io
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from components.executor_train.collect import collect_model
from components.shared.detection.frameworks import find_framework
from components.shared.detection.manifest import ModelManifest, load_manifest, verify_files
from components.shared.errors import ArchiveError, FormatError, OutOfMemoryError, PipelineError, TrainingError

DONE = "t\t1.0\t1.00\t3\t0\n"
TWO = """\
best_stage_name: e2
model_stages:
  e1: {files: [m.params], mAP: 0.3, timestamp: 1}
  e2: {files: [m.params, m.json], mAP: 0.6, mAR: 0.7, tp: 3, fp: 1, fn: 2, timestamp: 2}
evaluate_config: {iou_thr: 0.5}
"""
FILES = {"models/e1/m.params": "one", "models/e2/m.params": "two!", "models/e2/m.json": "{}"}
GOOD = {**FILES, "models/result.yaml": TWO, "monitor.txt": DONE, "executor-config.yaml": "epochs: 2\nimg_size: 320\n"}

Collect = Callable[..., ModelManifest]


@pytest.fixture
def collect(splits: Any, leave: Callable[..., Path], tmp_path: Path) -> Collect:
    def collected(files: dict[str, str | bytes], *more: tarfile.TarInfo, exit_code: int = 0) -> ModelManifest:
        folders = splits.root / "train", splits.root / "val"
        places = leave(files, *more), exit_code, tmp_path / "model", tmp_path / "report"
        return collect_model(folders, splits.store, *places, executor="reg/ymir:1")

    return collected


def test_the_best_stage_becomes_a_model_folder_that_proves_what_is_in_it(collect: Collect, tmp_path: Path) -> None:
    manifest = collect(GOOD)
    verify_files(tmp_path / "model", load_manifest(tmp_path / "model"))
    assert manifest.framework == "ymir:reg/ymir:1"
    assert manifest.weights == manifest.last == "e2/m.params"
    assert manifest.metrics == {"map": 0.6, "mar": 0.7, "tp": 3, "fp": 1, "fn": 2}
    assert (manifest.classes, manifest.imgsz, manifest.name) == (("red", "blue"), 320, "shelves")
    assert manifest.parameters == {"epochs": 2, "img_size": 320}
    assert set(manifest.files) == {"e2/m.params", "e2/m.json", "stages.json", "config.yaml", "test_image.png"}
    assert (tmp_path / "model" / "e2" / "m.params").read_text() == "two!"


def test_the_report_has_the_verdict_the_stages_and_the_last_words(collect: Collect, tmp_path: Path) -> None:
    collect({**GOOD, "ymir-executor-out.log": "epoch 1\nall is <b>well</b>\n"})
    page = (tmp_path / "report").read_text()
    assert "e2 is the best of 2 stages, with a validation mAP of 0.600." in page
    assert "all is &lt;b&gt;well&lt;/b&gt;" in page
    assert "cannot be packed and served" in page


def test_this_projects_own_service_has_no_runtime_for_such_a_model(collect: Collect) -> None:
    with pytest.raises(ArchiveError, match="No runtime is known"):
        find_framework(collect(GOOD).framework)


def test_times_of_the_executor_do_not_change_the_models_digest(collect: Collect) -> None:
    later = {**GOOD, "models/result.yaml": TWO.replace("timestamp: ", "timestamp: 100")}
    assert collect(GOOD).digest == collect(later).digest


def test_a_size_nobody_told_is_not_made_up(collect: Collect) -> None:
    assert collect({**GOOD, "executor-config.yaml": "epochs: 2\n"}).imgsz == 0


@pytest.mark.parametrize("place", ["models/e2/", "models/"])
def test_files_lie_in_their_stages_folder_or_beside_it(collect: Collect, place: str) -> None:
    files = {
        **FILES,
        "models/result.yaml": TWO.replace("e1: {files: [m.params]", "e1: {files: [/out/models/e1/m.params]"),
    }
    del files["models/e2/m.json"]
    assert collect({**files, f"{place}m.json": "{}"}).weights == "e2/m.params"


def test_without_a_name_for_the_best_it_is_the_highest_and_of_equal_ones_the_latest(collect: Collect) -> None:
    text = TWO.replace("best_stage_name: e2\n", "").replace("0.3", "0.6")
    assert collect({**GOOD, "models/result.yaml": text}).weights == "e2/m.params"
    assert (
        collect({**GOOD, "models/result.yaml": text.replace("timestamp: 1", "timestamp: 9")}).weights == "e1/m.params"
    )


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("mAP: 0.6", "mAP: .nan"), "The stage e2 has no mAP that is a number."),
        (("m.json", "gone.json"), "The stage e2 lacks its file &#39;gone.json&#39;."),
        (("files: [m.params, m.json]", "files: []"), "The stage e2 lists no files."),
    ],
)
def test_a_best_stage_that_cannot_be_kept_gives_way_to_another_and_the_report_says_so(
    collect: Collect, tmp_path: Path, change: tuple[str, str], words: str
) -> None:
    assert collect({**GOOD, "models/result.yaml": TWO.replace(*change)}).weights == "e1/m.params"
    assert words in (tmp_path / "report").read_text()


def test_the_executors_word_counts_even_where_another_stage_is_higher(collect: Collect, tmp_path: Path) -> None:
    assert collect({**GOOD, "models/result.yaml": TWO.replace("mAP: 0.3", "mAP: 0.9")}).weights == "e2/m.params"
    assert "though e1 has 0.900" in (tmp_path / "report").read_text()


def test_an_ultralytics_model_is_recognised_without_running_it(collect: Collect, tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("best/data.pkl", b"\x80\x02cultralytics.nn.tasks\nDetectionModel\n")
    files = {"models/result.yaml": "model_stages: {e: {files: [best.pt], mAP: 0.5}}", "monitor.txt": DONE}
    assert collect({**files, "models/e/best.pt": buffer.getvalue()}).weights == "e/best.pt"
    assert "start_from=" in (tmp_path / "report").read_text()
    collect({**files, "models/e/best.pt": b"of another library"})
    assert "start_from=" not in (tmp_path / "report").read_text()


@pytest.mark.parametrize(
    ("changes", "exit_code", "kind", "words"),
    [
        ({}, 1, TrainingError, "The executor failed (exit code 1)"),
        ({}, 137, TrainingError, "it was killed"),
        ({"monitor.txt": "t\t1\t1\t4\t300103\nCUDA out of memory"}, 1, OutOfMemoryError, "not enough memory"),
        ({"monitor.txt": "t\t1\t1\t4\nno training data found"}, 0, TrainingError, "'no training data found'"),
        ({"models/result.yaml": ""}, 0, TrainingError, "holds no mapping"),
        ({"models/result.yaml": "a: ["}, 0, TrainingError, "is not valid YAML"),
        ({"models/result.yaml": TWO.replace("m.json", "../../evil")}, 0, TrainingError, "outside of its folder"),
        ({"models/result.yaml": TWO.replace("e2:", "../e2:")}, 0, TrainingError, "no name for a folder"),
        ({"models/result.yaml": TWO.replace("0.3", ".nan").replace("0.6", ".inf")}, 0, TrainingError, "no model"),
    ],
)
def test_a_failed_executor_ends_with_a_sentence_and_a_report(
    collect: Collect, tmp_path: Path, changes: dict[str, str], exit_code: int, kind: type[PipelineError], words: str
) -> None:
    with pytest.raises(PipelineError) as caught:
        collect({**GOOD, **changes}, exit_code=exit_code)
    assert type(caught.value) is kind
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "<html" in (tmp_path / "report").read_text()
    assert not (tmp_path / "model").exists()


def test_without_results_there_is_no_model(collect: Collect) -> None:
    with pytest.raises(TrainingError, match=r"left no models/result\.yaml"):
        collect({"monitor.txt": DONE})


def test_partial_models_of_a_failed_executor_are_said_to_be_kept(collect: Collect) -> None:
    with pytest.raises(TrainingError, match="3 files it had written to /out/models are kept"):
        collect(GOOD, exit_code=1)


def test_an_executor_without_a_monitor_is_believed_with_a_warning(collect: Collect, tmp_path: Path) -> None:
    collect({name: content for name, content in GOOD.items() if name != "monitor.txt"})
    assert "wrote no monitor.txt" in (tmp_path / "report").read_text()


def _link(name: str, target: str, kind: bytes) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname = kind, target
    return entry


def test_links_that_lead_out_are_no_files_and_hard_links_are(collect: Collect, tmp_path: Path) -> None:
    text = "model_stages: {e: {files: [a.pt], mAP: 0.5}, f: {files: [b.pt], mAP: 0.9}}"
    files: dict[str, str | bytes] = {"models/result.yaml": text, "monitor.txt": DONE, "models/e1.pt": "weights"}
    hard = _link("models/e/a.pt", "models/e1.pt", tarfile.LNKTYPE)
    soft = _link("models/f/b.pt", "/etc/passwd", tarfile.SYMTYPE)
    assert collect(files, hard, soft).weights == "e/a.pt"
    assert (tmp_path / "model" / "e" / "a.pt").read_text() == "weights"


def test_a_tar_with_members_outside_is_read_as_if_they_were_not_there(collect: Collect, tmp_path: Path) -> None:
    evil = {"../models/e2/x": "x", "/models/e2/y": "y", "models/../../z": "z"}
    collect({**GOOD, **evil})
    assert not list(tmp_path.rglob("x"))


def test_a_broken_tar_is_refused(splits: Any, tmp_path: Path) -> None:
    (tmp_path / "result").write_bytes(b"x" * 2000)
    folders = splits.root / "train", splits.root / "val"
    with pytest.raises(FormatError, match="no complete tar"):
        collect_model(folders, splits.store, tmp_path / "result", 0, tmp_path / "m", tmp_path / "r", executor="x")
