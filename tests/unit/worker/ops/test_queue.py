"""The queue's entries for an operator."""

from datetime import timedelta

import pytest

from tests.factories import a_chunk, a_delivery, an_announcement
from tests.fakes.clock import START, ManualClock
from tests.fakes.queue import MemoryQueue
from worker.model import ChunkState, Rebuilt
from worker.ops.queue import RebuildReport, queue_list, queue_rebuild, queue_show
from worker.ops.selecting import Selection
from worker.telemetry import spans

ANY = Selection()


@pytest.fixture
async def queue() -> MemoryQueue:
    """Two chunks, the second to expire first."""
    queue = MemoryQueue(clock=ManualClock(), worker="w1")
    late = a_chunk(document_id="late")
    soon = a_chunk(document_id="soon", index=3, expires_at=START + timedelta(hours=1))
    await queue.put(a_delivery(late, soon))
    return queue


async def test_entries_are_listed_by_deadline(queue: MemoryQueue) -> None:
    """What expires first is on top."""
    found = await queue_list(queue, ANY, limit=10)

    assert [entry.document_id for entry in found] == ["soon", "late"]


async def test_limit_cuts_the_list(queue: MemoryQueue) -> None:
    """No more than asked for."""
    assert len(await queue_list(queue, ANY, limit=1)) == 1


async def test_list_can_be_of_one_state(queue: MemoryQueue) -> None:
    """`--state dead` is the morning's question."""
    (lease,) = await queue.lease(1)
    await queue.dead_letter(lease, reason="no-credential", error="none for x")

    (entry,) = await queue_list(queue, Selection(state=ChunkState.DEAD), limit=10)

    assert (entry.document_id, entry.reason) == ("soon", "no-credential")
    assert entry.error == "none for x"


async def test_entry_has_what_an_operator_needs(queue: MemoryQueue) -> None:
    """Ids, times and the source's host; no location, which may bear a credential."""
    (entry, _) = await queue_list(queue, ANY, limit=10)

    assert (entry.index, entry.state, entry.attempts) == (3, ChunkState.PENDING, 0)
    assert (entry.call_id, entry.recording_id) == ("call-1", "recording-1")
    assert (entry.resource, entry.source_host) == ("calls", "us-storage.asm.skype.com")
    assert entry.expires_at == START + timedelta(hours=1)
    assert "https://" not in repr(entry)


async def test_show_finds_by_beginning_and_tells_the_attempts(
    queue: MemoryQueue,
) -> None:
    """The beginning of a document's id is enough, and every attempt is there."""
    (lease,) = await queue.lease(1)
    at = START + timedelta(minutes=1)
    await queue.reschedule(lease, not_before=at, reason="throttled", error="429")

    (detail,) = await queue_show(queue, "soo")

    assert detail.entry.not_before == at
    (attempt,) = detail.attempts
    assert (attempt.number, attempt.worker, attempt.reason) == (1, "w1", "throttled")


async def test_show_tells_the_trace(queue: MemoryQueue) -> None:
    """From what an operator holds to the spans of whoever worked at it."""
    (lease,) = await queue.lease(1)

    (detail,) = await queue_show(queue, "soo")

    assert detail.trace_id == spans.trace_id(lease.chunk.key)


async def test_show_of_an_unknown_id_is_empty(queue: MemoryQueue) -> None:
    """Nothing is invented."""
    assert not await queue_show(queue, "nobody")


async def test_location_that_is_no_url_has_no_host() -> None:
    """An event is untrusted, and looking at it must not fail."""
    queue = MemoryQueue(clock=ManualClock())
    chunk = a_chunk(content_location="http://[", announcement=an_announcement())
    await queue.put(a_delivery(chunk))

    (entry,) = await queue_list(queue, ANY, limit=10)

    assert entry.source_host is None


class RebuildableMemoryQueue(MemoryQueue):
    """A queue whose entries lie elsewhere."""

    async def rebuild(self, *, dry_run: bool) -> Rebuilt:
        return Rebuilt(chunks=1 if dry_run else 2, deliveries=3, unreadable=4)


async def test_rebuild_says_what_was_sent() -> None:
    """And whether it was a dry run."""
    queue = RebuildableMemoryQueue(clock=ManualClock())

    dry = await queue_rebuild(queue, dry_run=True)
    wet = await queue_rebuild(queue, dry_run=False)

    assert dry == RebuildReport(chunks=1, deliveries=3, dry_run=True, unreadable=4)
    assert wet == RebuildReport(chunks=2, deliveries=3, dry_run=False, unreadable=4)


async def test_queue_that_keeps_its_entries_is_not_rebuilt(queue: MemoryQueue) -> None:
    """Nothing else has them."""
    assert await queue_rebuild(queue, dry_run=True) is None
