"""Whether a training should end after the epochs it has learned."""

from components.model_train.care import Care
from components.model_train.story import Story
from components.model_train.watching import limits, overfitting


def judge(care: Care, story: Story, total_epochs: int) -> bool:
    """Bring ``overfitting`` and ``stopped`` of a story up to date with its epochs; True: it should end here.

    Args:
        care: says what ends a training.
        story: its course, earlier attempts included.
        total_epochs: after this many it ends anyway.
    """
    story.overfitting = overfitting.look(story.epochs, mode=care.overfitting, patience=care.overfit_patience)
    story.stopped = limits.reason_to_stop(care, story.epochs, total_epochs)
    if not story.stopped and story.overfitting and story.overfitting.stopped:
        story.stopped = story.overfitting.reason
    return bool(story.stopped)


def is_over(care: Care, story: Story, total_epochs: int) -> bool:
    """Whether nothing is left to learn: the last epoch is learned, or ``judge``, whose arguments it takes, says so."""
    stopped = judge(care, story, total_epochs)
    return stopped or bool(story.epochs and story.epochs[-1].number >= total_epochs)
