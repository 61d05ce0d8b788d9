"""How the processes that a launcher such as ``torchrun`` started learn what to do, before they train together.

They talk through the launcher's own key-value store (``MASTER_ADDR``, ``MASTER_PORT``), each key written once. Rank 0
finds the checkpoint and tells the first process of every other node which one it is; that one fetches it and tells the
others of its node, with which it shares a disk.
"""

import os
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from components.model_train.ranks.assignment import Assignment
from components.shared.errors import TrainingError

PATIENCE = timedelta(hours=6)  # rank 0 fetches and decodes the images first
_BEGINNING = "beginning"


class Beginning(BaseModel):
    """Where rank 0 begins; all ranks must begin there.

    Attributes:
        key: the training's; empty: there is nothing to train any more.
        epoch: the checkpoint's; 0: the training begins anew.
        batch: images an optimiser step, over all ranks.
        trainer: see ``Assignment``.
    """

    model_config = ConfigDict(frozen=True)

    key: str = ""
    epoch: int = 0
    batch: int = 0
    trainer: str = ""


def started_by_others() -> bool:
    """Whether this is one of several processes that a launcher started."""
    return "RANK" in os.environ and int(os.environ.get("WORLD_SIZE", "1")) > 1


def local_ranks() -> int:
    """Processes on this node."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", os.environ["WORLD_SIZE"]))


def node() -> int:
    """Which node this is, from 0."""
    return int(os.environ["RANK"]) // local_ranks()


def announce(assignment: Assignment) -> None:
    """As rank 0: tell all others how the attempt begins.

    Raises:
        TrainingError: they were told before: the processes of an attempt that failed take part in no second one.
    """
    plan, meeting = assignment.plan, _store()
    batch = plan.job.parameters.batch
    if meeting.check([_BEGINNING]):
        raise TrainingError(
            f"The next attempt, with batch={batch}, needs new processes: start the job again"
            f"{f' with batch={batch}' if batch > 0 else ''}."
        )
    done = assignment.story.epochs[-1].number if plan.job.resume and assignment.story.epochs else 0
    tell_node(assignment.save())
    beginning = Beginning(key=plan.key, epoch=done, batch=batch, trainer=assignment.trainer)
    meeting.set(_BEGINNING, beginning.model_dump_json())


def announce_end() -> None:
    """As rank 0: let those go that wait, because there was nothing to train."""
    if not _store().check([_BEGINNING]):
        _store().set(_BEGINNING, Beginning().model_dump_json())
        tell_node(None)


def hear_beginning() -> Beginning:
    """As the first process of another node: wait for rank 0's word."""
    return Beginning.model_validate_json(_hear(_BEGINNING))


def tell_node(path: Path | None) -> None:
    """As the first process of a node: tell the others there where their assignment lies; ``None``: there is none."""
    _store().set(f"node-{node()}", str(path or ""))


def hear_node() -> Path | None:
    """As any other process of a node: wait for that."""
    said = _hear(f"node-{node()}")
    return Path(said) if said else None


def meet() -> None:
    """Join the others' key-value store; rank 0 may be the one that holds it, so it comes early."""
    _store()


def _hear(name: str) -> str:
    _store().wait([name], PATIENCE)
    said: bytes = _store().get(name)
    return said.decode()


@cache
def _store() -> Any:  # noqa: ANN401 - torch ships no types here
    from torch.distributed import PrefixStore  # noqa: PLC0415 - heavy
    from torch.distributed.rendezvous import rendezvous  # noqa: PLC0415 - same

    store, _, _ = next(iter(rendezvous("env://", timeout=PATIENCE)))
    return PrefixStore("detector-training", store)
