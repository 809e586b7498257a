"""The queue in numbers."""

from datetime import timedelta

import pytest

from tests.factories import a_chunk, a_delivery
from tests.fakes.clock import START, ManualClock
from tests.fakes.queue import MemoryQueue
from worker.model import ChunkState
from worker.ops.status import Status, read_status

SIX_HOURS = timedelta(hours=6)


async def status_of(queue: MemoryQueue) -> Status:
    return await read_status(queue, at_risk_within=SIX_HOURS, now=START)


@pytest.fixture
def queue() -> MemoryQueue:
    return MemoryQueue(clock=ManualClock())


async def put(queue: MemoryQueue, document_id: str, *, hours: float = 24) -> None:
    chunk = a_chunk(document_id=document_id, expires_at=START + timedelta(hours=hours))
    await queue.put(a_delivery(chunk))


async def test_empty_queue_needs_no_attention(queue: MemoryQueue) -> None:
    """Nothing there is nothing wrong."""
    found = await status_of(queue)

    assert (found.pending, found.in_flight, found.archived, found.dead) == (0, 0, 0, 0)
    assert found.earliest_deadline is None
    assert not found.needs_attention


async def test_chunks_are_counted_by_state(queue: MemoryQueue) -> None:
    """Pending, leased, archived, deleted and dead, each where it belongs."""
    for number in range(5):
        await put(queue, f"d{number}", hours=20 + number)
    first, second, third, _ = await queue.lease(4)
    await queue.complete(first, ChunkState.ARCHIVED, note="")
    await queue.complete(second, ChunkState.DELETED, note="")
    await queue.dead_letter(third, reason="source-expired", error="404")

    found = await status_of(queue)

    assert (found.pending, found.in_flight) == (1, 1)
    assert (found.archived, found.deleted, found.dead) == (1, 1, 1)
    assert found.dead_by_reason == {"source-expired": 1}
    assert found.earliest_deadline == START + timedelta(hours=23)
    assert (found.as_of, found.at_risk_hours) == (START, 6)


async def test_dead_chunk_needs_attention(queue: MemoryQueue) -> None:
    """Whoever looks at the exit code learns of it."""
    await put(queue, "d1")
    (lease,) = await queue.lease(1)
    await queue.dead_letter(lease, reason="no-credential", error="x")

    assert (await status_of(queue)).needs_attention


async def test_chunk_at_risk_needs_attention(queue: MemoryQueue) -> None:
    """Little time left is loud before it is gone."""
    await put(queue, "d1", hours=5)

    found = await status_of(queue)

    assert found.at_risk == 1
    assert found.needs_attention
