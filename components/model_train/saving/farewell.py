"""What is said when an attempt ends before the training does: why, and what of it is saved."""

import logging
import time

from components.model_train.saving.saver import Saver
from components.shared.progress import progress_key, read_progress
from components.shared.store import Store

_MINUTE = 60.0

logger = logging.getLogger(__name__)


def farewell(where: str, seconds: float, saver: Saver) -> str:
    """One sentence: why and where the attempt ends, what is saved, and what to do.

    Args:
        where: why it ends and in which epoch, as the sentence's beginning.
        seconds: the attempt took.
        saver: knows what is saved.
    """
    spent = f"{seconds / _MINUTE:.1f} min" if seconds >= _MINUTE else f"{seconds:.0f} s"
    saved, newest = saver.saved, saver.newest
    if newest is not None and newest.epoch > saved:
        kept = f"nothing newer than epoch {saved} is saved" if saved else "nothing is saved"
        kept = f"{kept} ({_why_not(saver)})"
    else:
        kept = f"saved up to epoch {saved}" if saved else "nothing to save yet"
    return f"{where} after {spent}: {kept}; run the same again to {'go on' if saved else 'begin anew'}."


def last_good(saver: Saver) -> str:
    """Which weights are the last good ones when a loss is no number, and whether they are saved."""
    saved, newest = saver.saved, saver.newest
    good = max(saved, newest.epoch if newest else 0)
    if not good:
        return "no epoch was finished before, so there are no good weights"
    if saved == good:
        return f"the weights of epoch {good} are the last good ones and saved as a checkpoint"
    return f"the weights of epoch {good} are the last good ones, but not saved ({_why_not(saver)})"


def last_words(store: Store, run: str, step: str, message: str) -> None:
    """Log, and make a step's progress say, that it was told to end; for a process that cannot come to a regular end."""
    logger.error("%s", message)
    progress = read_progress(store, run, step)
    if progress is not None:
        now = time.time()
        changes = {"state": "preempted", "error": message, "updated": now, "finished": now, "eta": None}
        store.write(progress_key(run, step), progress.model_copy(update=changes).model_dump_json().encode())


def _why_not(saver: Saver) -> str:
    return saver.problem.rstrip(".") or "there was no time for it"
