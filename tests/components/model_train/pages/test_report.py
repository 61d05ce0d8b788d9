import math
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from components.model_train.pages.compared import Found
from components.model_train.pages.gallery import NOTHING, columns, compared_pictures, tally
from components.model_train.pages.pictures import BeforeAfter, FirstBatches, Pictures
from components.model_train.pages.report import write_report
from components.model_train.story import Attempt, Epoch, Estimate, Overfitting, Story
from components.model_train.trainers.base import TrainingRun
from components.shared.detection.manifest import ModelManifest
from components.shared.report.page import MAX_BYTES

HOSTILE = """</title><script>alert(1)</script><img src=x onerror=alert(1)>"' {{ 7*7 }}"""
Write = Callable[..., str]


def epochs(count: int, losses: tuple[str, ...] = ("box_loss", "cls_loss"), **values: float) -> list[Epoch]:
    made = []
    for n in range(1, count + 1):
        numbers = {f"{split}/{name}": 3.0 / n + 0.1 for name in losses for split in ("train", "val")}
        numbers |= {"precision": 0.5, "recall": 0.4, "map50": 0.7 * n / count, "map50_95": 0.5 * n / count, "lr": 0.01}
        made.append(Epoch(number=n, seconds=60.0 * n, values={**numbers, "images_per_second": 80.0, **values}))
    return made


def manifest(classes: tuple[str, ...] = ("bar", "block"), **changes: object) -> ModelManifest:
    parameters = {"model": "yolo11n.pt", "epochs": 8, "batch": 4, "started_from": "official yolo11n.pt"}
    return ModelManifest(
        name="shapes",
        framework="ultralytics",
        weights="best.pt",
        last="last.pt",
        test_image="test.jpg",
        classes=classes,
        imgsz=64,
        parameters={**parameters, **changes},
        datasets={"train": "1" * 64, "val": "2" * 64},
        libraries={"torch": "2.15.0"},
        files={"best.pt": "a" * 64},
    )


def found(names: tuple[str, ...], *, right: bool = True, known: bool = True) -> Found:
    boxes = np.tile([[10.0, 10.0, 40.0, 30.0]], (len(names), 1))
    flags = np.ones(len(names), dtype=np.bool_)
    return Found(boxes, names, np.full(len(names), 0.9), flags & right, flags & known)


def noise(seed: int, height: int, width: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def compared(count: int = 2, before: Found | None = None) -> list[BeforeAfter]:
    return [
        BeforeAfter(f"{n}.jpg", noise(n, 270, 480), found(("bar", "block")), before, found(("bar",)))
        for n in range(count)
    ]


def batches(folder: Path) -> FirstBatches:
    kept = FirstBatches(folder, ("bar", "block"))
    for number in range(3):
        images = np.stack([noise(number, 320, 320)] * 4)
        kept.add(images, [np.array([[10.0, 10, 50, 50]])] * 4, [np.array([1])] * 4)
    return kept


@pytest.fixture
def write(tmp_path: Path, module_splits) -> Write:  # noqa: ANN001 - a fixture of the folder
    def run(
        story: Story,
        best: int = 1,
        pictures: Pictures | None = None,
        made: ModelManifest | None = None,
    ) -> str:
        path = tmp_path / "report.html"
        left = TrainingRun(files={}, weights="best.pt", last="last.pt", best_epoch=best)
        splits = module_splits
        write_report(path, left, story, made or manifest(), splits.train, splits.val, pictures or Pictures())
        assert path.stat().st_size <= MAX_BYTES
        return path.read_text()

    return run


def test_the_report_answers_what_a_person_asks(write: Write, tmp_path: Path) -> None:
    batches(tmp_path / "batches")
    pictures = Pictures(FirstBatches.load(tmp_path / "batches"), compared(before=found(())))
    estimate = Estimate(seconds_per_epoch=50, hours=0.11, memory=1e9, device="cpu", batches=8)
    page = write(Story(epochs=epochs(8), estimate=estimate), 8, pictures)
    for text in (
        "It has learned: mAP50 0.700",
        "best in epoch 8 of 8",
        "of 8 asked for",
        "8 min 00 s",
        "1 min 00 s an epoch. Estimated: 6 min 36 s, 50 s an epoch",
        "Box loss",
        "All losses together",
        "Batch 1: 1 box",
        "Annotated: 2 objects in 0.jpg",
        "Before: finds 0 of 2",
        "After: finds 1 of 2",
        "Of 4 objects here it finds 0 with 0 wrong boxes before the training, and 2 with 0 wrong boxes after it.",
        "Before: the model as it began, from official yolo11n.pt; classes those weights do not know begin at random.",
        "score of 0.25 or more",
        "1" * 64,
    ):
        assert text in page
    assert page.count("<img ") - 1 == 12 + 6  # the last one is the enlarged picture


def test_parts_that_are_missing_are_said_in_a_few_words_or_left_out(write: Write) -> None:
    page = write(Story(epochs=epochs(2)))
    assert "The first batches of this training were not kept." in page
    assert "No predictions could be made for this report." in page
    for text in ("Solid green", "What happened on the way", "Overfitting since", "Estimated", "attempts"):
        assert text not in page


def test_warnings_and_attempts_are_listed(write: Write) -> None:
    attempts = [
        Attempt(first_epoch=1, last_epoch=3, batch=8, end="out of memory"),
        Attempt(first_epoch=4, last_epoch=8, batch=4),
    ]
    page = write(Story(epochs=epochs(8), attempts=attempts, notes=["The store was away.", HOSTILE]))
    for text in ("<li>The store was away.</li>", "images a batch", "out of memory", "finished", "2 attempts"):
        assert text in page
    assert "<script>alert" not in page


def test_overfitting_is_shaded_told_and_counted(write: Write) -> None:
    turn = Overfitting(best_epoch=3, noticed_epoch=6, reason="It learns by heart.", stopped=True)
    page = write(Story(epochs=epochs(8), overfitting=turn, stopped=turn.reason), 4)
    for text in ("Overfitting since", "noticed in epoch 6, stopped", "overfitting noticed, epochs 3 to 6", "by heart"):
        assert text in page
    assert page.count('class="span"') == 2 * 3  # each loss chart and its legend


def test_epochs_without_numbers_are_gaps_with_a_remark(write: Write) -> None:
    told = epochs(8)
    told[4] = Epoch(number=5, seconds=300, values={"train/box_loss": math.nan, "map50": math.nan})
    page = write(Story(epochs=told), 4)
    assert "In epoch 5 a loss was no number" in page
    assert "In epoch 5 a metric was no number" in page
    assert "nan" not in re.sub(r"<style.*?</style>|<script.*?</script>", "", page, flags=re.DOTALL).lower().replace(
        "(nan or infinite)", ""
    )


def test_losses_only_the_training_has_are_explained(write: Write) -> None:
    told = [
        Epoch(number=n, seconds=n, values={"train/loss_classifier": 1 / n, "map50": 0.5, "map50_95": 0.4})
        for n in (1, 2)
    ]
    page = write(Story(epochs=told), 2)
    assert "measures no loss on the validation split" in page
    assert "Class loss" in page


def test_a_training_without_a_finished_epoch_has_a_report(write: Write) -> None:
    assert "It has hardly learned" in write(Story(attempts=[Attempt(first_epoch=1, end="diverged")]), 0)


def test_a_long_training_of_many_classes_with_large_pictures_stays_small(write: Write, tmp_path: Path) -> None:
    losses = ("loss_classifier", "loss_box_reg", "loss_objectness", "loss_rpn_box_reg")
    names = tuple(f"class {n} with quite a long name" for n in range(80))
    batches(tmp_path / "batches")
    pictures = Pictures(FirstBatches.load(tmp_path / "batches"), compared(6, found(())))  # noise: the largest JPEGs
    attempts = [Attempt(first_epoch=1 + 10 * n, last_epoch=10 * n + 10, end="preempted") for n in range(30)]
    story = Story(epochs=epochs(300, losses, gpu_memory=8e9), attempts=attempts)
    page = write(story, 290, pictures, manifest(names))
    assert "left out to keep this page below 5 MB" not in page
    assert "class 79 with" in page


def test_of_very_many_classes_the_first_are_named(write: Write) -> None:
    page = write(Story(epochs=epochs(1)), 1, None, manifest(tuple(f"c{n}" for n in range(1000))))
    assert "classes (1,000)" in page
    assert "c99 and 900 more" in page


def test_hostile_names_add_no_element(write: Write) -> None:
    told = [epoch.model_copy(update={"values": {**epoch.values, f"train/{HOSTILE}": 1.0}}) for epoch in epochs(2)]
    pictures = Pictures(compared=[BeforeAfter(HOSTILE, noise(1, 90, 90), found((HOSTILE,)), None, found((HOSTILE,)))])
    page = write(Story(epochs=told, stopped=HOSTILE), 1, pictures, manifest((HOSTILE,), model=HOSTILE))
    assert "<script>alert" not in page
    assert "<img src=x" not in page


def test_without_start_weights_a_row_has_two_pictures() -> None:
    assert columns(compared()) == 2
    assert [one.caption.split(":")[0] for one in compared_pictures(compared(1))] == ["Annotated", "After"]
    assert columns(compared(1, found(()))) == 3
    assert tally([]) == ""
    assert tally(compared(1)) == "Of 2 objects here it finds 1 with 0 wrong boxes."


def test_a_picture_without_a_box_says_so_on_it() -> None:
    plain, before, after = compared_pictures(
        [BeforeAfter("a", np.zeros((240, 320, 3), np.uint8), found(()), found(()), found(("bar",), right=False))]
    )
    assert NOTHING == "nothing above 0.25"
    assert plain.data_uri != before.data_uri
    assert before.caption == "Before: finds 0 of 0"
    assert after.caption == "After: finds 0 of 0, 1 wrong"


def test_classes_the_data_does_not_have_are_no_mistakes() -> None:
    (_, before, _) = compared_pictures(compared(1, found(("dog", "cat"), right=False, known=False)))
    assert before.caption == "Before: finds 0 of 2, 2 of other classes"


def test_of_very_many_predictions_the_surest_are_drawn() -> None:
    image = compared(1, found(("bar",) * 90, right=False))
    assert compared_pictures(image)[1].caption == "Before: finds 0 of 2, 90 wrong (the 25 surest are drawn)"
    assert "finds 0 with 90 wrong boxes before the training, and 1 with 0 wrong boxes after it." in tally(image)
