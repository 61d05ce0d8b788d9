"""What a training report says in words: the verdict, remarks on the curves, and how attempts ended."""

import itertools
import math
from collections.abc import Iterable, Sequence

from components.model_train.pages.charts import epochs_of
from components.model_train.story import Attempt, End, Epoch, Story
from components.shared.measures import SCORES, SPLITS, is_loss
from components.shared.report.page import Level

WEAK, GOOD = 0.3, 0.6  # validation mAP50 below which a person should look closer, and above which it learned well
_LAST = 0.2  # share of the epochs, at least 5 of them, whose gain tells whether more would help
_WORSE = 4  # epochs from which it means something that the first one was the best
_NAMED = 3  # epochs of interruptions that the verdict names
_GAIN = 0.01  # of mAP50-95: less is hardly worth their time
_ENDS: dict[End, str] = {
    "": "killed, without a word",
    "finished": "finished",
    "stopped": "stopped early",
    "preempted": "told to end (preempted), saved first",
    "out of memory": "out of memory",
    "diverged": "a loss was no number",
}
_CAUSES: dict[End, str] = {"": "killed", "preempted": "preempted", "out of memory": "out of memory"}


def verdict(story: Story, best_epoch: int, asked: object) -> tuple[str, Level]:
    """The outcome in a few sentences: did it learn, when was it best, why did it end, and was anything amiss?

    Args:
        story: the training.
        best_epoch: the epoch whose weights are kept.
        asked: epochs asked for.
    """
    epochs = epochs_of(story)
    best = next((epoch for epoch in epochs if epoch.number == best_epoch), None)
    map50 = best.values.get("map50", math.nan) if best else math.nan
    learned, level = _learned(map50)
    done = epochs[-1].number if epochs else 0
    when = f", best in epoch {best_epoch} of {done}" if best else ""
    sentences = [
        f"{learned}: mAP50 {score(map50)} on the validation split{when}.",
        _stopped(story, done, asked),
        _overfitting(story, done, asked, best_epoch),
        _prospect(story, epochs, best_epoch),
        _interruptions(story.attempts),
    ]
    broken = "losses" in without_number(epochs) or any(attempt.end == "diverged" for attempt in story.attempts)
    if broken and level is Level.GOOD:
        level = Level.WARN
    return " ".join(sentence for sentence in sentences if sentence), level


def without_number(epochs: Sequence[Epoch]) -> dict[str, list[int]]:
    """Epochs in which a loss or a metric was no finite number: ``losses`` and ``metrics`` -> their numbers."""
    found: dict[str, list[int]] = {}
    for epoch in epochs:
        bad = [name for name, value in epoch.values.items() if not math.isfinite(value)]
        if any(is_loss(name, split) for name in bad for split in SPLITS):
            found.setdefault("losses", []).append(epoch.number)
        if SCORES.keys() & set(bad):
            found.setdefault("metrics", []).append(epoch.number)
    return found


def gaps(epochs: Sequence[Epoch], kind: str) -> str:
    """A sentence on the gaps in the curves of ``losses`` or ``metrics``; empty when there are none."""
    numbers = without_number(epochs).get(kind)
    if not numbers:
        return ""
    one = {"losses": "a loss", "metrics": "a metric"}[kind]
    return f"In {_epochs(numbers)} {one} was no number (NaN or infinite): its curve has a gap there."


def ended(attempt: Attempt, *, last: bool) -> str:
    """How an attempt ended, in words; the last one reached this report."""
    return _ENDS["finished"] if last and not attempt.end else _ENDS[attempt.end]


def score(value: float) -> str:
    """A metric with three places."""
    return f"{value:.3f}" if math.isfinite(value) else "not a number"


def ranges(numbers: Iterable[int]) -> str:
    """Whole numbers as ``3, 5 and 7 to 9``."""
    stretches: list[list[int]] = []
    for number in sorted(set(numbers)):
        if stretches and number == stretches[-1][1] + 1:
            stretches[-1][1] = number
        else:
            stretches.append([number, number])
    said = []
    for low, high in stretches:
        said += [f"{low} to {high}"] if high - low > 1 else [str(number) for number in dict.fromkeys((low, high))]
    return " and ".join(part for part in (", ".join(said[:-1]), *said[-1:]) if part)


def _epochs(numbers: Sequence[int]) -> str:
    return f"epoch {numbers[0]}" if len(numbers) == 1 else f"epochs {ranges(numbers)}"


def _learned(map50: float) -> tuple[str, Level]:
    if not math.isfinite(map50) or map50 < WEAK:
        return "It has hardly learned", Level.BAD
    return ("It has begun to learn", Level.WARN) if map50 < GOOD else ("It has learned", Level.GOOD)


def _stopped(story: Story, done: int, asked: object) -> str:
    """Why it ended early; that it overfits is said by ``_overfitting``."""
    if not story.stopped or (story.overfitting is not None and story.overfitting.stopped):
        return ""
    return f"It stopped after epoch {done} of {asked}: {story.stopped.strip().rstrip('.')}."


def _overfitting(story: Story, done: int, asked: object, best_epoch: int) -> str:
    found = story.overfitting
    if found is None:
        return ""
    rising = f"the validation loss has been rising since epoch {found.best_epoch}"
    if found.stopped:
        return f"It stopped after epoch {done} of {asked} because it overfits: {rising}."
    noticed = f"It overfits: {rising} (noticed in epoch {found.noticed_epoch})"
    if best_epoch > found.noticed_epoch:
        return f"{noticed}, although mAP50-95 still rose after that."
    return f"{noticed}, so more epochs would not help."


def _prospect(story: Story, epochs: Sequence[Epoch], best_epoch: int) -> str:
    """Whether more epochs would help, where the curves tell."""
    if story.overfitting is not None or not epochs or "losses" in without_number(epochs):
        return ""
    if best_epoch == epochs[0].number and len(epochs) >= _WORSE:
        return "It never got better than after its first epoch: a lower learning rate may help."
    known = (epoch.values.get("map50_95", 0.0) for epoch in epochs)
    scores = [value if math.isfinite(value) else 0.0 for value in known]
    last = max(5, round(_LAST * len(scores)))
    if len(scores) < 2 * last:
        late = epochs[-1].number - best_epoch <= 1
        return "The best epoch is the last one or next to it: more epochs may help." if late else ""
    gain = max(scores[-last:]) - max(scores[:-last])
    if gain >= _GAIN:
        return f"In the last {last} epochs it still gained {gain:.3f} mAP50-95: more epochs may help."
    return "" if story.stopped else f"In the last {last} epochs it gained next to nothing: more would hardly help."


def _interruptions(attempts: Sequence[Attempt]) -> str:
    """How often it was interrupted, why, and whether it went on or began anew."""
    if len(attempts) < 2:  # noqa: PLR2004 - one attempt is no interruption
        return ""
    pairs = list(itertools.pairwise(attempts))
    causes = ", ".join(dict.fromkeys(_CAUSES.get(before.end, before.end) for before, _ in pairs))
    resumed = [after.first_epoch for _, after in pairs if after.first_epoch > 1]
    anew = len(pairs) - len(resumed)
    how = []
    if resumed:
        how.append(f"went on in {_epochs(resumed)}" if len(resumed) <= _NAMED else f"went on {len(resumed)} times")
    how += ["began anew" if anew == 1 else f"began anew {anew} times"] if anew else []
    times = "once" if len(pairs) == 1 else f"{len(pairs)} times"
    lost = sum(max(0, before.last_epoch + 1 - after.first_epoch) for before, after in pairs)
    again = f" {lost} {'epoch was' if lost == 1 else 'epochs were'} learned again." if lost else " No epoch was lost."
    return f"It was interrupted {times} ({causes}) and {' and '.join(how)}.{again}"
