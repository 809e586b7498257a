"""What is remembered of a look at the queue, and of one that fails."""

import asyncio
from datetime import timedelta

import pytest

from tests.factories import a_chunk, a_delivery
from tests.fakes.clock import START, ManualClock
from tests.fakes.queue import MemoryQueue
from worker.errors import QueueUnavailableError
from worker.model import ChunkState, QueueCounts
from worker.sight import UNSEEN_AFTER, Sight

WITHIN = timedelta(hours=4)


async def test_look_tells_since_when_the_most_urgent_chunk_waits() -> None:
    """Of those that wait: the one whose deadline is first, not the one put first."""
    clock = ManualClock()
    queue, sight = MemoryQueue(clock=clock), Sight(clock=clock)
    later = a_chunk(document_id="later", expires_at=START + timedelta(hours=20))
    sooner = a_chunk(document_id="sooner", expires_at=START + timedelta(hours=2))
    await queue.put(a_delivery(later))
    clock.advance(10)
    await queue.put(a_delivery(sooner))
    clock.advance(10)

    await sight.look(queue, within=WITHIN)

    assert sight.counts is not None
    assert sight.counts.by_state[ChunkState.PENDING] == 2
    assert sight.waiting_since == START + timedelta(seconds=10)
    assert sight.looked_at == START + timedelta(seconds=20)
    assert sight.problem is None


async def test_nothing_waits_where_nothing_is_pending() -> None:
    """An age of a chunk that is no more would page somebody."""
    clock = ManualClock()
    queue, sight = MemoryQueue(clock=clock), Sight(clock=clock)
    await queue.put(a_delivery(a_chunk()))
    await sight.look(queue, within=WITHIN)
    await queue.lease(1)

    await sight.look(queue, within=WITHIN)

    assert sight.waiting_since is None


class Broken:
    """A queue that fails, as often as it is asked."""

    def __init__(self, error: Exception) -> None:
        self.counts = self.list = self._fail
        self._error = error

    async def _fail(self, **_: object) -> None:
        raise self._error


@pytest.mark.parametrize(
    ("error", "reason"),
    [(QueueUnavailableError("gone"), "queue-unavailable"), (KeyError("x"), "bug")],
)
async def test_failed_look_leaves_what_was_seen_and_says_why(
    error: Exception, reason: str
) -> None:
    """A bug as well: whoever sees nothing must not say that all is well."""
    clock = ManualClock()
    sight = Sight(clock=clock)
    await sight.look(MemoryQueue(clock=clock), within=WITHIN)
    seen, looked_at = sight.counts, sight.looked_at
    clock.advance(60)

    with pytest.raises(type(error)):
        await sight.look(Broken(error), within=WITHIN)  # type: ignore[arg-type]

    assert (sight.counts, sight.looked_at) == (seen, looked_at)
    assert sight.problem == reason

    await sight.look(MemoryQueue(clock=clock), within=WITHIN)

    assert sight.problem is None


class Silent(MemoryQueue):
    """A queue that is asked, and never answers."""

    async def counts(self, *, at_risk_within: timedelta) -> QueueCounts:
        await asyncio.Event().wait()
        raise AssertionError(at_risk_within)


async def test_look_that_hangs_is_a_problem_once_it_has_taken_too_long() -> None:
    """It raises nothing, so nothing but the time tells."""
    clock = ManualClock()
    sight = Sight(clock=clock)
    await sight.look(MemoryQueue(clock=clock), within=WITHIN)
    looking = asyncio.create_task(sight.look(Silent(clock=clock), within=WITHIN))
    await asyncio.sleep(0)

    clock.advance(UNSEEN_AFTER.total_seconds())
    still = sight.problem
    clock.advance(1)
    hung = sight.problem
    looking.cancel()
    await asyncio.wait({looking})
    await sight.look(MemoryQueue(clock=clock), within=WITHIN)

    assert (still, hung, sight.problem) == (None, "no-answer", None)


async def test_queue_that_fails_again_and_again_is_not_one_that_hangs() -> None:
    """Each look has its answer, and the reason is worth more than the silence."""
    clock = ManualClock()
    sight = Sight(clock=clock)
    for _ in range(20):
        with pytest.raises(QueueUnavailableError):
            await sight.look(
                Broken(QueueUnavailableError("gone")),  # type: ignore[arg-type]
                within=WITHIN,
            )
        clock.advance(60)

    assert sight.problem == "queue-unavailable"
