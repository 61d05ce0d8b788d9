"""Replace a schedule by another, which Kubeflow cannot do in one step: at no moment do both run, and none is lost."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from components.shared.errors import ClusterError
from pipelines.schedule.kfp import Schedules
from pipelines.schedule.model import Schedule, ahead


@dataclass(frozen=True)
class Pair:
    """A schedule, and the one that an update which was cut off made to take its place."""

    former: Schedule
    unfinished: Schedule | None


@dataclass(frozen=True)
class Updated:
    """What an update came to; ``former``: the id of the one that is gone, empty when nothing was to be done."""

    schedule: Schedule
    former: str


def pair_of(schedules: Schedules, text: str) -> Pair:
    """The schedule that is to be updated; one whose update was cut off is found again.

    Raises:
        ConfigError: there is none, or there are several.
    """
    every = schedules.all()
    named = [one for one in every if one.name == text]
    by_id = {one.schedule_id: one for one in named}
    unfinished = [one for one in named if one.replaces in by_id]
    if len(named) == len(unfinished) + 1 and len(unfinished) == 1:
        return Pair(by_id[unfinished[0].replaces], unfinished[0])
    return Pair(schedules.find(text), None)


def update(schedules: Schedules, pair: Pair, wanted: Schedule) -> Updated:
    """Put ``wanted`` in the place of the former schedule: make it paused, pause the other, enable it, delete the other.

    Repeated after it was cut off it goes on where it was; asked for what is there already it does nothing. Whether
    the schedule is enabled stays as it was before.

    Raises:
        ClusterError: the server failed or refused; the message says what there is now and how to go on.
    """
    former, new = pair.former, pair.unfinished
    enabled = former.enabled or (new is not None and new.then_enabled)  # a cut update may have paused the former
    if new is not None and not new.is_like(wanted):
        schedules.delete(new)
        new = None
    if new is None and former.is_like(wanted):
        if enabled and not former.enabled:
            schedules.enable(former)
        return Updated(replace(former, enabled=enabled), "")
    if new is None:
        marked = replace(
            wanted, enabled=False, start=ahead(wanted.start), replaces=former.schedule_id, then_enabled=enabled
        )
        new = schedules.create(marked)
    _exchange(schedules, former, new, enabled=enabled)
    return Updated(replace(new, enabled=enabled), former.schedule_id)


def _exchange(schedules: Schedules, former: Schedule, new: Schedule, *, enabled: bool) -> None:
    old = f"the former {former.schedule_id}"
    with _told(f"{old} is as it was, and the new {new.schedule_id} is paused"):
        schedules.disable(former)
    if enabled:
        with _told(f"{old} and the new {new.schedule_id} are both paused, so NONE RUNS"):
            schedules.enable(new)
    state = "enabled" if enabled else "paused"
    with _told(f"{old} is paused, and the new {new.schedule_id} is {state}"):
        schedules.delete(former)


@contextmanager
def _told(state: str) -> Iterator[None]:
    """Add to an error what there is at this moment."""
    try:
        yield
    except ClusterError as error:
        message = f"{error} The update is half done: {state}; run the same update again to go on."
        raise type(error)(message, error.status) from error
