import math

import pytest

from components.model_train.pages.words import ended, gaps, ranges, verdict, without_number
from components.model_train.story import Attempt, Epoch, Overfitting, Story
from components.shared.report.page import Level

FOUND = Overfitting(best_epoch=3, noticed_epoch=6, reason="It learns by heart.", stopped=False)


def epochs(scores: list[float], **values: float) -> list[Epoch]:
    return [
        Epoch(number=n, seconds=n, values={"train/box_loss": 1.0, "map50": score, "map50_95": score, **values})
        for n, score in enumerate(scores, start=1)
    ]


def said(story: Story, best: int, asked: int = 30) -> str:
    return verdict(story, best, asked)[0]


@pytest.mark.parametrize(
    ("map50", "words", "level"),
    [
        (math.nan, "It has hardly learned: mAP50 not a number", Level.BAD),
        (0.0, "It has hardly learned: mAP50 0.000", Level.BAD),
        (0.3, "It has begun to learn: mAP50 0.300", Level.WARN),
        (0.6, "It has learned: mAP50 0.600 on the validation split, best in epoch 1 of 1.", Level.GOOD),
    ],
)
def test_the_verdict_follows_the_best_epoch(map50: float, words: str, level: Level) -> None:
    text, found = verdict(Story(epochs=epochs([map50])), 1, 1)
    assert text.startswith(words)
    assert found is level


def test_a_training_without_an_epoch_has_hardly_learned() -> None:
    assert verdict(Story(), 0, 5) == (
        "It has hardly learned: mAP50 not a number on the validation split.",
        Level.BAD,
    )


def test_a_short_training_that_ends_at_its_best_may_go_on() -> None:
    assert "more epochs may help" in said(Story(epochs=epochs([0.1, 0.7])), 2)
    assert "more epochs" not in said(Story(epochs=epochs([0.1, 0.7, 0.6, 0.6])), 2)


def test_a_training_that_only_got_worse_is_told_so() -> None:
    worse = Story(epochs=epochs([0.7, 0.4, 0.5, 0.6]))
    assert "It never got better than after its first epoch: a lower learning rate may help." in said(worse, 1)
    assert "never" not in said(Story(epochs=epochs([0.7, 0.4, 0.5])), 1)


def test_a_long_training_is_judged_by_its_last_fifth() -> None:
    rising = [n / 40 for n in range(1, 31)]
    assert "In the last 6 epochs it still gained 0.150 mAP50-95: more epochs may help." in said(
        Story(epochs=epochs(rising)), 30
    )
    flat = [*rising[:24], *[0.605] * 6]
    assert "In the last 6 epochs it gained next to nothing: more would hardly help." in said(
        Story(epochs=epochs(flat)), 30
    )


def test_why_it_stopped_is_said_once_and_as_a_sentence() -> None:
    story = Story(epochs=epochs([0.7] * 12), stopped="no better mAP50-95 for 10 epochs (patience=10)")
    assert "It stopped after epoch 12 of 30: no better mAP50-95 for 10 epochs (patience=10)." in said(story, 2)
    story = story.model_copy(update={"stopped": "It ran out of time.\n"})
    assert "of 30: It ran out of time." in said(story, 2)
    assert "time.." not in said(story, 2)


def test_overfitting_says_whether_more_epochs_would_help() -> None:
    story = Story(epochs=epochs([0.7] * 8), overfitting=FOUND)
    assert "rising since epoch 3 (noticed in epoch 6), so more epochs would not help." in said(story, 4)
    assert "although mAP50-95 still rose after that." in said(story, 8)


def test_a_training_stopped_for_overfitting_gives_that_reason_once() -> None:
    found = FOUND.model_copy(update={"stopped": True})
    text = said(Story(epochs=epochs([0.7] * 8), overfitting=found, stopped=found.reason), 4)
    assert "It stopped after epoch 8 of 30 because it overfits: the validation loss has been rising since" in text
    assert "by heart" not in text


def test_interruptions_are_counted_with_their_causes() -> None:
    attempts = [
        Attempt(first_epoch=1, last_epoch=4, end="preempted"),
        Attempt(first_epoch=5, last_epoch=6, end=""),
        Attempt(first_epoch=6, last_epoch=8, end="finished"),
    ]
    story = Story(epochs=epochs([0.7] * 8), attempts=attempts)
    assert (
        "It was interrupted 2 times (preempted, killed) and went on in epochs 5 and 6. 1 epoch was learned again."
        in said(story, 3)
    )
    story = Story(epochs=epochs([0.7] * 8), attempts=[Attempt(first_epoch=1, end="out of memory"), attempts[0]])
    assert "It was interrupted once (out of memory) and began anew." in said(story, 3)
    many = [Attempt(first_epoch=n, last_epoch=n, end="preempted") for n in range(1, 9)]
    assert "interrupted 7 times (preempted) and went on 7 times. No epoch was lost." in said(
        Story(epochs=epochs([0.7] * 8), attempts=many), 3
    )


def test_one_attempt_is_no_interruption() -> None:
    assert "interrupted" not in said(Story(epochs=epochs([0.7]), attempts=[Attempt(first_epoch=1)]), 1)


def test_losses_that_are_no_number_lower_the_verdict_and_are_named() -> None:
    story = Story(epochs=[*epochs([0.8, 0.9]), *epochs([math.nan] * 3, **{"val/cls_loss": math.inf})[2:]])
    assert without_number(story.epochs) == {"losses": [3], "metrics": [3]}
    assert verdict(story, 2, 9)[1] is Level.WARN
    assert gaps(story.epochs, "losses") == (
        "In epoch 3 a loss was no number (NaN or infinite): its curve has a gap there."
    )
    assert gaps(story.epochs[:2], "losses") == ""


def test_a_metric_that_is_no_number_leaves_the_verdict_and_the_prospect_alone() -> None:
    scores = [0.1, math.nan, *[n / 20 for n in range(2, 14)]]
    text, level = verdict(Story(epochs=epochs(scores, gpu_memory=math.nan)), 14, 14)
    assert level is Level.GOOD
    assert "still gained 0.250 mAP50-95" in text
    assert without_number(epochs(scores, gpu_memory=math.nan)) == {"metrics": [2]}


@pytest.mark.parametrize(
    ("numbers", "text"),
    [([], ""), ([4], "4"), ([1, 2, 3], "1 to 3"), ([9, 1, 5, 6], "1, 5, 6 and 9"), ([2, 2, 7], "2 and 7")],
)
def test_whole_numbers_are_said_as_ranges(numbers: list[int], text: str) -> None:
    assert ranges(numbers) == text


def test_only_an_earlier_attempt_without_an_end_was_killed() -> None:
    assert ended(Attempt(first_epoch=1), last=False) == "killed, without a word"
    assert ended(Attempt(first_epoch=1), last=True) == "finished"
    assert ended(Attempt(first_epoch=1, end="stopped"), last=True) == "stopped early"
