import io
import math
from pathlib import Path
from typing import get_args

import pytest
from rich.console import Console

from components.shared.progress import StepProgress
from pipelines.display import SIGNS, STYLES, LiveDisplay, PlainDisplay, eta, make_display, output_of, steps_table
from pipelines.record import RunRecord, StepRecord, StepState


def record(*steps: StepRecord, **facts: object) -> RunRecord:
    return RunRecord.model_validate(
        {"run_id": "r1", "pipeline": "p", "parameters": {}, "started": 0.0, "process": 1, "steps": steps, **facts}
    )


VALUES = {"train/box_loss": 1.2344, "val/box_loss": math.nan, "map50": 0.5, "lr": 0.0018, "images_per_second": 143.2}
WORDS = "train box 1.234 | val box NaN | mAP50 0.500 | lr 0.0018 | 143 images/s"


def progress(
    message: str = "epoch 2/9, mAP50 0.500", share: float = 0.25, left: float | None = 12.4, **facts: object
) -> StepProgress:
    return StepProgress(
        step="model_train",
        state="running",
        share=share,
        message=message,
        started=100.0,
        updated=104.5,
        eta=left,
        **facts,  # type: ignore[arg-type]
    )


def shown(run: RunRecord, now: StepProgress | None = None, width: int = 120) -> list[str]:
    console = Console(file=io.StringIO(), width=width)
    console.print(steps_table(run, now))
    return [line.rstrip() for line in console.file.getvalue().splitlines()]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("left", "text"),
    [
        (None, ""),
        (0.0, ""),
        (0.9, ""),
        (1.0, " (about 1 s left)"),
        (12.4, " (about 12 s left)"),
        (187.0, " (about 3 min 07 s left)"),
        (3600.0, " (about 1 h 00 min left)"),
    ],
)
def test_the_time_left_is_told_as_people_say_it_and_not_at_all_when_it_is_next_to_nothing(
    left: float | None, text: str
) -> None:
    assert eta(progress(left=left)) == text


@pytest.mark.parametrize(
    ("name", "metadata", "outputs", "text"),
    [
        (
            "data_load",
            {"summary": {"images": 1240, "boxes": 5000.0, "classes": 3}},
            {},
            "1,240 images, 5,000 boxes, 3 classes",
        ),
        ("data_prep", {"summary": {"rejected": 4, "fixed": 2}}, {}, "4 rejected, 2 repaired"),
        ("model_train", {"model": {"digest": "x"}, "metrics": {"map50": 0.51234}}, {}, "validation mAP50 0.512"),
        ("model_pack", {"archive": {"tag": "cats:0123"}}, {}, "cats:0123"),
        ("model_eval", {"metrics": {"map50": 0.5, "map50_95": 0.25}}, {}, "test mAP50 0.500, mAP50-95 0.250"),
        (
            "model_test",
            {"proof": {"tensors_compared": 499, "boxes_compared": 36}},
            {},
            "499 tensors, 36 boxes equal",
        ),
        ("change_check", {}, {"changed": False, "reason": "Unchanged: same."}, "Unchanged: same."),
        ("change_check", {}, {"changed": True, "reason": ""}, "there is something to do"),
        ("model_publish", {}, {"version": "ab" * 32, "champion": True}, "abababababab, is the champion"),
        ("model_publish", {}, {"version": "ab" * 32, "champion": False}, "abababababab"),
        ("model_publish", {}, {"version": "ab" * 32, "champion": "false"}, "abababababab"),
        ("data_load", {}, {}, ""),
        ("data_load", {"summary": {"images": "many"}}, {}, ""),
        ("a_step_of_tomorrow", {"metrics": {"map50": 1.0}}, {}, ""),
    ],
)
def test_a_finished_step_says_what_it_made(
    name: str, metadata: dict[str, dict[str, object]], outputs: dict[str, object], text: str
) -> None:
    assert output_of(StepRecord(name=name, metadata=metadata, outputs=outputs)) == text


def test_a_skipped_step_says_why() -> None:
    skipped = StepRecord(name="model_publish", state="skipped", reason="not published: mAP50 is 0.1.")
    assert output_of(skipped) == "not published: mAP50 is 0.1."


def test_a_failed_step_says_why_instead_of_what_it_made() -> None:
    step = StepRecord(name="data_load", error="The folder is empty.", metadata={"summary": {"images": 3}})
    assert output_of(step) == "The folder is empty."


def test_the_table_has_a_line_for_each_step_with_state_seconds_and_output() -> None:
    steps = [
        StepRecord(name="data_load", state="succeeded", started=1.0, finished=3.54, metadata={"s": {"images": 9}}),
        StepRecord(name="data_prep", state="succeeded", cached=True, started=4.0, finished=4.0),
        StepRecord(name="model_train", state="failed", started=4.0, finished=5.0, error="No GPU."),
        StepRecord(name="model_pack", state="terminated", started=5.0),
        StepRecord(name="model_test", state="preempted", started=5.0, finished=6.0, error="Told to end."),
        StepRecord(name="model_eval"),
    ]
    lines = [line.split() for line in shown(record(*steps))]
    assert lines == [
        ["step", "status", "seconds", "output"],
        ["data_load", "✓", "succeeded", "2.5", "9", "images"],
        ["data_prep", "✓", "reused", "0.0"],
        ["model_train", "✗", "failed", "1.0", "No", "GPU."],
        ["model_pack", "■", "terminated"],
        ["model_test", "↻", "preempted", "1.0", "Told", "to", "end."],
        ["model_eval", "·", "pending"],
    ]


def test_the_running_step_shows_how_far_it_is_and_the_others_do_not() -> None:
    steps = [StepRecord(name="data_load", state="succeeded"), StepRecord(name="model_train", state="running")]
    lines = shown(record(*steps), progress())
    assert lines[2].split(maxsplit=3) == ["model_train", "▸", "running", lines[2].split(maxsplit=3)[3]]
    assert lines[2].endswith("4.5   25% epoch 2/9, mAP50 0.500 (about 12 s left)")
    assert "25%" not in lines[1]


def test_every_state_of_a_step_has_a_sign_and_a_style() -> None:
    assert set(SIGNS) == set(STYLES) == set(get_args(StepState))


def test_the_running_step_shows_its_latest_values_and_its_warnings_below() -> None:
    steps = [StepRecord(name="model_train", state="running"), StepRecord(name="model_pack")]
    warnings = ["The loss [rises].", "max_hours is too short."]
    lines = shown(record(*steps), progress(metrics=VALUES, warnings=warnings))
    column = lines[0].index("output")
    assert [line[column:] for line in lines[2:5]] == [WORDS, "! The loss [rises].", "! max_hours is too short."]
    assert lines[5].startswith("model_pack")


def test_a_step_that_has_ended_still_shows_its_warnings() -> None:
    step = StepRecord(name="model_train", state="succeeded", metadata={"m": {"map50": 0.5}}, warnings=["Overfitting."])
    lines = shown(record(step))
    assert lines[1].endswith("validation mAP50 0.500")
    assert lines[2].strip() == "! Overfitting."


@pytest.mark.parametrize("text", ["a [/b] c", "classes ['cat'] and [red]", "path [/data/x]", r"a \[b]"])
def test_brackets_in_a_message_are_shown_as_they_are(text: str) -> None:
    assert shown(record(StepRecord(name="data_load", state="failed", error=text)))[1].endswith(text)
    assert text in shown(record(StepRecord(name="model_train", state="running")), progress(text))[1]


def test_a_long_message_is_folded_and_not_cut() -> None:
    text = "The store cannot be reached, " * 8 + "so nothing was kept."
    lines = shown(record(StepRecord(name="data_load", state="failed", error=text)), width=60)
    assert "".join(line[-30:] for line in lines).count("reached") == 8
    assert lines[-1].endswith("kept.")


def plain() -> tuple[PlainDisplay, io.StringIO]:
    file = io.StringIO()
    display = make_display(Console(file=file, width=40))
    assert isinstance(display, PlainDisplay)
    return display, file


def test_what_is_no_terminal_gets_plain_lines_without_escape_codes() -> None:
    display, file = plain()
    step = StepRecord(name="data_load", state="running", started=1.0)
    run = record(step)
    display.begin(run)
    display.changed(run, step)
    done = step.model_copy(update={"state": "succeeded", "finished": 2.26})
    display.changed(run, done)
    display.changed(run, done.model_copy(update={"cached": True}))
    display.changed(run, done.model_copy(update={"state": "failed"}))
    display.end(run.model_copy(update={"state": "failed", "finished": 9.0}))
    assert file.getvalue().splitlines() == [
        "run r1",
        "data_load: started",
        "data_load: succeeded (1.3 s)",
        "data_load: succeeded (reused from an earlier run)",
        "data_load: failed (1.3 s)",
        "run r1: failed (9.0 s)",
    ]


def test_an_epoch_gets_one_plain_line_however_often_it_is_looked_at() -> None:
    display, file = plain()
    run = record()
    for message in ("epoch 1/9", "epoch 1/9, batch 2/4", "epoch 2/9, mAP50 0.100", "epoch 2/9, mAP50 0.100"):
        display.update(run, progress(message, left=50.0))
    display.update(run, progress("image 3 of 9"))
    display.update(run, None)
    assert file.getvalue().splitlines() == [
        "model_train: 25% epoch 1/9 (about 50 s left)",
        "model_train: 25% epoch 2/9 (about 50 s left)",
    ]


def test_an_epochs_values_get_one_plain_line_whenever_they_are_seen() -> None:
    display, file = plain()
    run = record()
    looks = [("epoch 1/9", {}), ("epoch 1/9, mAP50 0.500", VALUES), ("epoch 2/9, batch 3/4", VALUES)]
    looks += [("epoch 3/9, batch 1/4", VALUES | {"map50": 0.6}), ("epoch 3/9, batch 2/4", VALUES | {"map50": 0.6})]
    for message, values in looks:
        display.update(run, progress(message, left=50.0, metrics=values))
    assert file.getvalue().splitlines() == [
        "model_train: 25% epoch 1/9 (about 50 s left)",
        f"model_train: 25% epoch 1/9 (about 50 s left); latest values: {WORDS}",
        f"model_train: 25% epoch 3/9 (about 50 s left); latest values: {WORDS.replace('0.500', '0.600')}",
    ]


def test_each_warning_gets_one_plain_line() -> None:
    display, file = plain()
    run = record()
    display.update(run, progress("reading", warnings=["One [a]."]))
    display.update(run, progress("reading", warnings=["One [a].", "Two."]))
    ended = StepRecord(name="model_train", state="preempted", started=1.0, finished=2.0, warnings=["Two.", "Three."])
    display.changed(run, ended)
    assert file.getvalue().splitlines() == [
        "model_train: warning: One [a].",
        "model_train: warning: Two.",
        "model_train: warning: Three.",
        "model_train: preempted (1.0 s)",
    ]


def test_plain_lines_are_never_broken_and_brackets_stay(tmp_path: Path) -> None:
    display, file = plain()
    display.begin(record(run_id=f"{tmp_path}/[red]/" + "x" * 60))
    assert file.getvalue() == f"run {tmp_path}/[red]/{'x' * 60}\n"


def test_a_terminal_gets_a_live_table_that_vanishes_at_the_end() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=80)
    display = make_display(console)
    assert isinstance(display, LiveDisplay)
    step = StepRecord(name="model_train", state="running", started=1.0)
    run = record(step)
    display.begin(run)
    display.changed(run, step)
    display.update(run, progress())
    display.end(run)
    written = console.file.getvalue()  # type: ignore[attr-defined]
    assert "model_train" in written
    assert written.rstrip().endswith("\x1b[2K")
