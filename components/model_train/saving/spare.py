"""The newest snapshot on local disk, for an attempt that follows in the same place at once."""

import logging
import shutil
from dataclasses import dataclass
from pathlib import Path

from components.model_train.saving.saver import SNAPSHOT, Offer
from components.model_train.story import Story

_FOLDER = "spare"
_STORY = "story.json"

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Spare:
    """A snapshot's folder, and the training's course up to its epoch."""

    snapshot: Path
    story: Story


def keep_spare(work: Path, offer: Offer | None) -> None:
    """Write what an attempt offered last below ``work``; what cannot be written is not there, with a line in the log.

    Whatever was there before is removed.
    """
    folder = work / _FOLDER
    shutil.rmtree(folder, ignore_errors=True)
    if offer is None:
        return
    try:
        offer.write(folder / SNAPSHOT)
        (folder / _STORY).write_text(offer.story.model_dump_json(), encoding="utf-8")
    except (OSError, RuntimeError) as error:  # torch says with the latter that the disk is full
        logger.warning("The snapshot of epoch %d cannot be kept: %s", offer.epoch, error)
        shutil.rmtree(folder, ignore_errors=True)


def take_spare(work: Path) -> Spare | None:
    """What ``keep_spare`` left, once."""
    folder, taken = work / _FOLDER, work / f"{_FOLDER}-taken"
    shutil.rmtree(taken, ignore_errors=True)
    try:
        folder.rename(taken)
        return Spare(taken / SNAPSHOT, Story.model_validate_json((taken / _STORY).read_bytes()))
    except (OSError, ValueError):
        return None
