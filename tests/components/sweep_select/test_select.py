import math
from collections.abc import Callable
from pathlib import Path

import pytest

from components.shared.detection.manifest import load_manifest, verify_files
from components.shared.errors import ArchiveError, TrainingError
from components.shared.files import sha256_tree
from components.shared.sweep import read_failure
from components.sweep_select.candidates import Trained
from components.sweep_select.select import Selection, select_model

Make = Callable[..., Trained]
LOW, HIGH, OTHER = {"lr0": 0.001}, {"lr0": 0.01}, {"imgsz": 320, "hyperparameters": {"mosaic": 0.0}}


def chosen(tmp_path: Path, models: list[Trained], settings: list[dict[str, object]]) -> Selection:
    return select_model(models, settings, tmp_path / "out" / "model", tmp_path / "out" / "report.html")


def test_the_setting_with_the_best_validation_map_wins(make: Make, tmp_path: Path) -> None:
    selection = chosen(tmp_path, [make(LOW, 0.3), make(HIGH, 0.5), make(OTHER, 0.4)], [LOW, HIGH, OTHER])
    assert selection.winner.setting == HIGH
    assert selection.margin == pytest.approx(0.1)


def test_the_model_that_is_handed_on_is_the_winners_byte_for_byte(make: Make, tmp_path: Path) -> None:
    winner = make(HIGH, 0.5)
    chosen(tmp_path, [make(LOW, 0.3), winner], [LOW, HIGH])
    target = tmp_path / "out" / "model"
    assert sha256_tree(target) == sha256_tree(winner.folder)
    verify_files(target, load_manifest(target))
    assert load_manifest(target).digest == winner.facts["digest"]


def test_models_may_arrive_in_any_order(make: Make, tmp_path: Path) -> None:
    selection = chosen(tmp_path, [make(OTHER, 0.4), make(HIGH, 0.5), make(LOW, 0.3)], [LOW, HIGH, OTHER])
    assert [each.setting for each in selection.candidates] == [LOW, HIGH, OTHER]
    assert selection.winner.setting == HIGH


def test_of_equal_ones_the_first_setting_wins(make: Make, tmp_path: Path) -> None:
    selection = chosen(tmp_path, [make(HIGH, 0.5, seconds=1.0), make(LOW, 0.5, seconds=9.0)], [LOW, HIGH])
    assert selection.winner.setting == LOW
    assert selection.margin == 0


def test_a_model_without_a_finite_score_never_wins(make: Make, tmp_path: Path) -> None:
    selection = chosen(tmp_path, [make(LOW, math.nan), make(HIGH, 0.0)], [LOW, HIGH])
    assert selection.winner.setting == HIGH
    assert math.isnan(selection.margin)
    assert "margin" not in selection.metrics


def test_a_setting_that_gave_no_model_does_not_stop_the_others(make: Make, tmp_path: Path) -> None:
    models = [make(LOW, failed="The loss is no number since epoch 2."), make(HIGH, 0.2)]
    selection = chosen(tmp_path, models, [LOW, HIGH])
    assert selection.winner.setting == HIGH
    assert (selection.metrics["settings"], selection.metrics["settings_failed"]) == (2, 1)
    page = (tmp_path / "out" / "report.html").read_text()
    assert "1 of 2 settings gave no model" in page
    assert "The loss is no number since epoch 2." in page


def test_when_no_setting_gave_a_model_the_error_names_each_with_its_reason(make: Make, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"None of the 2 settings.*lr0=0.001: It diverged.; lr0=0.01: it has no"):
        chosen(tmp_path, [make(LOW, failed="It diverged."), make(HIGH, math.nan)], [LOW, HIGH])


def test_a_setting_whose_model_is_missing_is_named(make: Make, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"1 models came of 2 settings, and nothing came of 'lr0=0.01'"):
        chosen(tmp_path, [make(LOW)], [LOW, HIGH])


def test_a_model_of_no_setting_is_refused(make: Make, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="one of them belongs to no setting"):
        chosen(tmp_path, [make(LOW), make(HIGH)], [LOW])


def test_numbers_that_travelled_as_floats_name_the_same_setting(make: Make, tmp_path: Path) -> None:
    travelled = {"imgsz": 320.0, "hyperparameters": {"mosaic": 0}}
    selection = chosen(tmp_path, [make(OTHER, 0.4)], [travelled])
    assert selection.winner.name == "imgsz=320, mosaic=0"


def test_a_winner_whose_files_changed_on_the_way_is_refused(make: Make, tmp_path: Path) -> None:
    winner = make(HIGH, 0.5)
    (winner.folder / "weights" / "best.pt").write_bytes(b"other")
    with pytest.raises(ArchiveError, match="other bytes"):
        chosen(tmp_path, [winner], [HIGH])


def test_what_a_killed_attempt_left_is_no_part_of_the_model(make: Make, tmp_path: Path) -> None:
    left = tmp_path / "out" / "model" / "weights" / "left.pt"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"half")
    chosen(tmp_path, [make(LOW)], [LOW])
    assert not left.exists()


def test_the_report_compares_settings_metrics_curves_and_seconds(make: Make, tmp_path: Path) -> None:
    models = [make(LOW, 0.301, curve="1:0.1 3:0.301", seconds=7.75), make(OTHER, 0.308, curve="1:0.308", seconds=61.0)]
    selection = chosen(tmp_path, models, [LOW, OTHER])
    assert [each.curve for each in selection.candidates] == [((1, 0.1), (3, 0.301)), ((1, 0.308),)]
    page = (tmp_path / "out" / "report.html").read_text()
    for words in ("imgsz=320, mosaic=0 wins", "only 0.007 ahead", "mAP50-95 by epoch", "lr0", "mosaic", "69 s"):
        assert words in page


def test_a_model_that_says_nothing_of_its_course_is_compared_all_the_same(make: Make, tmp_path: Path) -> None:
    selection = chosen(tmp_path, [make(LOW, 0.3)], [LOW])
    assert (selection.winner.curve, math.isnan(selection.winner.seconds)) == ((), True)
    assert "no other setting can be compared" in (tmp_path / "out" / "report.html").read_text()


def chosen_start(tmp_path: Path, starts: list[Trained], models: list[Trained]) -> Selection:
    out = tmp_path / "out"
    return select_model(models, [LOW, HIGH], out / "model", out / "report.html", starts=starts, start_dir=out / "start")


def test_what_the_winner_started_from_is_handed_on_byte_for_byte_whatever_the_order(make: Make, tmp_path: Path) -> None:
    starts = [make(HIGH, kind="starts"), make(LOW, kind="starts")]
    selection = chosen_start(tmp_path, starts, [make(LOW, 0.3), make(HIGH, 0.5)])
    target = tmp_path / "out" / "start"
    assert sha256_tree(target) == sha256_tree(starts[0].folder)
    verify_files(target, load_manifest(target))
    assert selection.start == load_manifest(target)


def test_start_weights_that_are_missing_failed_or_broken_do_not_stop_the_choice(make: Make, tmp_path: Path) -> None:
    models = [make(LOW, 0.3), make(HIGH, 0.5)]
    target = tmp_path / "out" / "start"
    whole = make(LOW, kind="starts")
    assert chosen_start(tmp_path, [whole], models).start is None
    assert read_failure(target) == "No start weights belong to the setting 'lr0=0.01'."
    failed = make(HIGH, kind="failed", failed="The disk is full.")
    assert chosen_start(tmp_path, [whole, failed], models).start is None
    assert read_failure(target) == "The disk is full."
    broken = make(HIGH, kind="broken")
    (broken.folder / "weights" / "best.pt").write_bytes(b"other")
    assert chosen_start(tmp_path, [whole, broken], models).start is None
    assert "has other bytes than the manifest says" in read_failure(target)
    assert [path.name for path in target.iterdir()] == ["failure.json"]
