import asyncio
import threading

import pytest

from components.model_pack.serving.lane import Budget, Lane
from components.model_pack.serving.limits import RefusedError


def test_what_would_wait_too_long_is_refused_and_told_when_to_come_again() -> None:
    lane = Lane(threads=1, waiting=1)
    with lane.admit(), lane.admit():
        assert lane.is_full
        with pytest.raises(RefusedError, match="busy") as refused, lane.admit():
            pass
        assert (refused.value.status, refused.value.headers) == (503, {"Retry-After": "1"})
    with lane.admit():
        assert not lane.is_full
    lane.close()


def test_the_event_loop_stays_free_while_a_thread_works() -> None:
    lane, release = Lane(threads=1, waiting=4), threading.Event()

    async def both() -> tuple[bool, str]:
        work = asyncio.create_task(lane.run(release.wait))
        await asyncio.sleep(0)
        release.set()
        return await work, await lane.run(lambda: "second")

    assert asyncio.run(both()) == (True, "second")
    lane.close()


def test_work_that_was_given_up_before_it_began_is_never_done() -> None:
    lane, release, done = Lane(threads=1, waiting=4), threading.Event(), []

    async def give_up() -> None:
        first = asyncio.create_task(lane.run(release.wait))
        second = asyncio.create_task(lane.run(lambda: done.append("second")))
        await asyncio.sleep(0.01)
        second.cancel()
        await asyncio.gather(second, return_exceptions=True)
        release.set()
        await first

    asyncio.run(give_up())
    lane.submit(lambda: None).result()
    assert done == []
    lane.close()


def test_uploads_hold_no_more_memory_than_allowed_and_give_it_back() -> None:
    budget = Budget(100)
    with budget.hold() as one, budget.hold() as other:
        one(60)
        other(40)
        with pytest.raises(RefusedError, match="uploads"):
            other(1)
    assert budget.held == 0
