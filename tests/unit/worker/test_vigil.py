"""Work that is due, and a loop that is given none of it."""

from collections.abc import Collection

from tests.fakes.clock import ManualClock
from worker.vigil import AGAIN_SECONDS, VAIN_SECONDS, Vigil

NOBODY: Collection[str] = ()


class DueQueue:
    """Says which chunk is due, and counts how often it was asked."""

    def __init__(self, due: str | None) -> None:
        self.due = due
        self.asked: list[Collection[str]] = []

    async def first_due(self, *, paused: Collection[str] = ()) -> str | None:
        self.asked.append(paused)
        return self.due


class Watched:
    """A loop that asks every second, and is given nothing."""

    def __init__(self, due: str | None) -> None:
        self.queue = DueQueue(due)
        self.clock = ManualClock()
        self.vigil = Vigil()

    async def seconds(self, count: float) -> bool:
        for _ in range(int(count)):
            await self.vigil.in_vain(self.queue, self.clock, paused=NOBODY)
            self.clock.advance(1)
        return self.vigil.is_overlooking


async def test_work_that_stays_due_is_overlooked() -> None:
    """Believed at the second look, a minute after the first."""
    watched = Watched("one")

    assert not await watched.seconds(VAIN_SECONDS + AGAIN_SECONDS)
    assert await watched.seconds(1)
    assert len(watched.queue.asked) == 2


async def test_what_is_not_due_is_not_overlooked() -> None:
    """An empty queue, and chunks that wait for their recording."""
    watched = Watched(None)

    assert not await watched.seconds(VAIN_SECONDS + 9 * AGAIN_SECONDS)


async def test_what_is_due_once_and_then_not_was_taken_by_another() -> None:
    """Many workers at one queue: each is given some, and none is ill."""
    watched = Watched("one")
    await watched.seconds(VAIN_SECONDS + 1)
    watched.queue.due = None
    assert not await watched.seconds(AGAIN_SECONDS)
    watched.queue.due = "one"

    assert not await watched.seconds(AGAIN_SECONDS)
    assert len(watched.queue.asked) == 3


async def test_chunks_that_are_due_by_turns_are_taken_by_others() -> None:
    """A trickle, and many who wait for it: each look may see what another takes at once."""
    watched = Watched("0")
    for number in range(9):
        watched.queue.due = str(number)
        assert not await watched.seconds(AGAIN_SECONDS)

    assert len(watched.queue.asked) > 2


async def test_loop_that_is_given_something_is_well_again() -> None:
    """And asks no question for minutes."""
    watched = Watched("one")
    assert await watched.seconds(VAIN_SECONDS + AGAIN_SECONDS + 1)

    watched.vigil.over()

    assert not watched.vigil.is_overlooking
    assert not await watched.seconds(VAIN_SECONDS)
    assert len(watched.queue.asked) == 2
