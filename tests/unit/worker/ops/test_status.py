"""The queue in numbers."""

from datetime import timedelta

import pytest

from tests.factories import a_chunk, a_delivery, held_up, some_chunks
from tests.fakes.archive import MemoryArchive
from tests.fakes.clock import START, ManualClock
from tests.fakes.queue import MemoryQueue
from tests.unit.worker.ops.test_recordings import receipt_for
from worker import names
from worker.errors import ArchiveUnavailableError
from worker.model import ChunkState
from worker.ops.pausing import set_paused
from worker.ops.status import Status, read_status
from worker.stored import Receipt, encode

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


def bytes_of(receipt: Receipt) -> int:
    assert receipt.metadata is not None
    return receipt.content.size_bytes + receipt.metadata.size_bytes


async def test_rate_is_what_came_home_of_late(queue: MemoryQueue) -> None:
    """Chunks and bytes of the last quarter of an hour, and when the rest is done by that."""
    archive = MemoryArchive()
    for number in range(6):
        await put(queue, f"d{number}", hours=20 + number)
    for lease in await queue.lease(2):
        await queue.complete(lease, ChunkState.DELETED, note="")
        chunk = lease.chunk
        name = names.receipt_name(chunk.key)
        await archive.create(name, encode(receipt_for(chunk)))

    found = await read_status(queue, archive, at_risk_within=SIX_HOURS, now=START)

    assert (found.settled_chunks, found.settled_bytes) == (
        2,
        2 * bytes_of(receipt_for(a_chunk())),
    )
    assert found.rate_minutes == 15
    assert found.eta == START + 2 * timedelta(minutes=15)


async def test_nothing_came_home_and_nobody_can_say_when(queue: MemoryQueue) -> None:
    """Long ago does not count."""
    await put(queue, "d1")
    await put(queue, "d2")
    (lease,) = await queue.lease(1)
    await queue.complete(lease, ChunkState.DELETED, note="")

    later = START + timedelta(minutes=16)
    found = await read_status(
        queue, MemoryArchive(), at_risk_within=SIX_HOURS, now=later
    )

    assert (found.settled_chunks, found.settled_bytes, found.eta) == (0, 0, None)


@pytest.mark.parametrize("receipt", [b"{", b'{"v": 2}'])
async def test_receipts_stand_for_all_that_came_home(
    queue: MemoryQueue, receipt: bytes
) -> None:
    """A few hundred a minute are not all looked up; one that can't be read counts as nothing."""
    archive = MemoryArchive()
    chunks = some_chunks(70)
    await queue.put(a_delivery(*chunks))
    for lease in await queue.lease(70):
        await queue.complete(lease, ChunkState.DELETED, note="")
    for chunk in chunks[:63]:
        name = names.receipt_name(chunk.key)
        await archive.create(name, encode(receipt_for(chunk)))
    await archive.create(names.receipt_name(chunks[63].key), receipt)
    archive.calls.clear()
    each = bytes_of(receipt_for(chunks[0]))

    found = await read_status(queue, archive, at_risk_within=SIX_HOURS, now=START)

    assert found.settled_bytes == 63 * each * 70 // 64
    assert len([call for call in archive.calls if call[0] == "read"]) == 64


async def test_pause_is_told_with_who_and_why(queue: MemoryQueue) -> None:
    """And no end is foretold; a pause alone is an operator's will, and no trouble."""
    archive = MemoryArchive()
    await put(queue, "d1")
    await put(queue, "d2")
    (lease,) = await queue.lease(1)
    await queue.complete(lease, ChunkState.DELETED, note="")
    await set_paused(
        archive, paused=True, reason="why", by="ann", at=START, dry_run=False
    )

    found = await read_status(queue, archive, at_risk_within=SIX_HOURS, now=START)

    assert (found.paused, found.paused_since) == (True, START)
    assert (found.paused_by, found.pause_reason) == ("ann", "why")
    assert (found.eta, found.needs_attention) == (None, False)


@pytest.mark.parametrize("call", ["list", "read"])
async def test_archive_that_can_not_be_asked_is_told(
    queue: MemoryQueue, call: str
) -> None:
    """The counts are there all the same, whether it fails at once or among the receipts."""
    archive = MemoryArchive()
    archive.fail_next(ArchiveUnavailableError("no answer"), on=call)
    await put(queue, "d1")
    await put(queue, "d2")
    (lease,) = await queue.lease(1)
    await queue.complete(lease, ChunkState.DELETED, note="")

    found = await read_status(queue, archive, at_risk_within=SIX_HOURS, now=START)

    assert (found.pending, found.paused, found.settled_bytes) == (1, None, None)
    assert found.problem == "no answer"


async def one_settled(queue: MemoryQueue, *, pending: int = 1) -> None:
    for number in range(1 + pending):
        await put(queue, f"d{number}", hours=20 + number)
    (lease,) = await queue.lease(1)
    await queue.complete(lease, ChunkState.DELETED, note="")


async def test_trouble_that_pauses_a_consumer_is_told_and_nothing_is_foretold(
    queue: MemoryQueue,
) -> None:
    """So many as a breaker takes for trouble of all; fewer are their own."""
    await one_settled(queue)
    queue.held = (held_up(2), held_up(3), held_up(9, "source-not-found"))

    found = await status_of(queue)

    assert (found.held_up, found.eta) == ((held_up(3),), None)


async def test_queue_that_keeps_no_reasons_says_so(queue: MemoryQueue) -> None:
    """None is not nothing; but where nothing is pending, nothing waits."""
    queue.held = None
    assert (await status_of(queue)).held_up == ()

    await put(queue, "d1")
    assert (await status_of(queue)).held_up is None


async def test_nothing_is_foretold_where_nothing_moves(queue: MemoryQueue) -> None:
    """A rate of a while ago is none of now; with a chunk in hand it may be one."""
    await one_settled(queue, pending=2)
    later = START + timedelta(minutes=6)

    still = await read_status(queue, at_risk_within=SIX_HOURS, now=later)
    await queue.lease(1)
    at_work = await read_status(queue, at_risk_within=SIX_HOURS, now=later)

    assert (still.settled_chunks, still.eta) == (1, None)
    assert at_work.eta is not None
