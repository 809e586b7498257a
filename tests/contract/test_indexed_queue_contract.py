"""What a queue with an index keeps beside what every queue does.

It knows each entry: one order for all, duplicates by what they say, what is leased, every
attempt, and who waits for whom. A Storage Queue has none of this.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from tests.contract.queues import (
    LEASE_SECONDS,
    WholeQueue,
    lease_one,
    memory_rig,
    only,
    sqlite_rig,
    wait_archived,
)
from tests.factories import a_chunk, a_delivery, an_announcement, some_chunks
from tests.fakes.clock import START, ManualClock
from tests.fakes.queue import MemoryQueue
from worker.errors import QueueUnavailableError
from worker.model import ChunkState, Lane, PutResult, RecordingKey
from worker.ports import ChunkQueue

HOUR = timedelta(hours=1)
LATER = START + timedelta(minutes=10)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture(params=["memory", "sqlite"])
async def queue(
    request: pytest.FixtureRequest, clock: ManualClock, tmp_path: Path
) -> AsyncIterator[WholeQueue]:
    if request.param == "memory":
        yield memory_rig(clock).queue
        return
    async with sqlite_rig(clock, tmp_path) as rig:
        yield rig.queue


async def test_put_of_a_pending_chunk_is_a_duplicate(
    queue: WholeQueue, clock: ManualClock
) -> None:
    """The same chunk again changes nothing, whatever the delivery."""
    await queue.put(a_delivery(a_chunk()))
    before = await only(queue)
    clock.advance(5)

    result = await queue.put(a_delivery(a_chunk(), body=b"other"))

    assert result == PutResult(enqueued=0, duplicates=1)
    assert await only(queue) == before


async def test_put_of_a_leased_chunk_is_a_duplicate(queue: WholeQueue) -> None:
    """A chunk that someone works on is left to them."""
    await queue.put(a_delivery(a_chunk()))
    lease = await lease_one(queue)

    result = await queue.put(a_delivery(a_chunk()))

    assert result == PutResult(enqueued=0, duplicates=1)
    await queue.complete(lease, ChunkState.DELETED, note="")


async def test_put_of_a_waiting_archived_chunk_is_a_duplicate(
    queue: WholeQueue,
) -> None:
    """A chunk that waits for its siblings stays archived."""
    await queue.put(a_delivery(a_chunk()))
    await wait_archived(queue, until=LATER)

    result = await queue.put(a_delivery(a_chunk()))

    assert result == PutResult(enqueued=0, duplicates=1)
    assert (await only(queue)).state is ChunkState.ARCHIVED


async def test_put_makes_a_dead_chunk_new_but_for_its_history(
    queue: WholeQueue, clock: ManualClock
) -> None:
    """What a replay brings back is told like a new chunk, and its death stays in its history."""
    await queue.put(a_delivery(a_chunk()))
    lease = await lease_one(queue)
    await queue.dead_letter(lease, reason="no-credential", error="no key")
    clock.advance(5)

    result = await queue.put(a_delivery(a_chunk(expires_at=START + 48 * HOUR)))

    assert result == PutResult(enqueued=1, duplicates=0)
    entry = await only(queue)
    assert entry.state is ChunkState.PENDING
    assert entry.attempts == 0
    assert entry.enqueued_at == entry.not_before == clock.now()
    assert entry.chunk.expires_at == START + 48 * HOUR
    assert (entry.reason, entry.error, entry.settled_at) == (None, None, None)
    assert [past.outcome for past in await queue.attempts(entry.row)] == ["dead"]


@pytest.mark.parametrize("state", [ChunkState.ARCHIVED, ChunkState.DELETED])
async def test_put_of_a_done_chunk_is_no_duplicate(
    queue: WholeQueue, state: ChunkState
) -> None:
    """A chunk that is done is counted as a new one; its receipt is the archive's."""
    await queue.put(a_delivery(a_chunk()))
    await queue.complete(await lease_one(queue), state, note="")

    result = await queue.put(a_delivery(a_chunk()))

    assert result == PutResult(enqueued=1, duplicates=0)
    assert (await lease_one(queue)).attempts == 1


async def test_put_keeps_the_earlier_expiry(queue: WholeQueue) -> None:
    """A duplicate can make a chunk more urgent, never less."""
    await queue.put(a_delivery(a_chunk(expires_at=START + 3 * HOUR)))

    await queue.put(a_delivery(a_chunk(expires_at=START + 2 * HOUR), body=b"b"))
    await queue.put(a_delivery(a_chunk(expires_at=START + 4 * HOUR), body=b"c"))

    assert (await only(queue)).chunk.expires_at == START + 2 * HOUR
    assert (await lease_one(queue)).chunk.expires_at == START + 2 * HOUR


Hold = Callable[[WholeQueue], Awaitable[object]]
HOLDS: dict[str, Hold] = {
    "pending": lambda queue: queue.lease(0),
    "leased": lambda queue: queue.lease(1),
    "archived": lambda queue: wait_archived(queue, until=LATER),
}


@pytest.mark.parametrize("hold", HOLDS.values(), ids=HOLDS)
async def test_put_of_a_duplicate_that_says_more_is_merged(
    queue: WholeQueue, hold: Hold
) -> None:
    """An end, siblings and a duration are learnt; what is known is never forgotten."""
    first, last = some_chunks(2)
    unsaid = an_announcement(recording_duration_ms=None)
    partial = replace(first, announcement=unsaid, announced=first.announced[:1])
    await queue.put(a_delivery(replace(partial, end_reason=None)))
    await hold(queue)
    state = (await only(queue)).state

    again = replace(first, received_at=LATER, expires_at=first.expires_at + HOUR)
    news = await queue.put(a_delivery(again, body=b"b"))
    less = await queue.put(a_delivery(partial, body=b"c"))

    assert news == less == PutResult(enqueued=0, duplicates=1)
    entry = await only(queue)
    assert entry.chunk == first
    assert last.key in {sibling.key for sibling in entry.chunk.announced}
    assert entry.state is state


async def test_put_merges_what_one_delivery_says_twice(queue: WholeQueue) -> None:
    """Two events of one delivery are two announcements."""
    first, _ = some_chunks(2)
    less = replace(first, end_reason=None, announced=first.announced[:1])

    result = await queue.put(a_delivery(less, first))

    assert result == PutResult(enqueued=1, duplicates=0)
    assert (await only(queue)).chunk == first


async def test_put_that_says_more_wakes_the_recording(queue: WholeQueue) -> None:
    """Whoever waits for an end or a sibling looks again; other recordings sleep on."""
    waiting = a_chunk(document_id="d1", end_reason=None)
    other = a_chunk(
        document_id="x", announcement=an_announcement(recording_id="recording-2")
    )
    for chunk in (waiting, other):
        await queue.put(a_delivery(chunk))
        await wait_archived(queue, until=LATER)
    await queue.put(a_delivery(waiting, body=b"the same"))
    assert await queue.lease(2) == []

    await queue.put(a_delivery(a_chunk(document_id="d1"), body=b"more"))

    (lease,) = await queue.lease(2)
    assert lease.chunk == a_chunk(document_id="d1")


async def test_put_that_says_more_of_a_leased_chunk_is_seen_again(
    queue: WholeQueue,
) -> None:
    """Whoever works on it has not heard the news: it is due as soon as it waits."""
    await queue.put(a_delivery(a_chunk(end_reason=None)))
    lease = await lease_one(queue)

    await queue.put(a_delivery(a_chunk(), body=b"more"))

    assert lease.chunk.end_reason is None
    await queue.reschedule(
        lease, not_before=LATER, reason="w", error="w", archived=True
    )
    assert (await lease_one(queue)).chunk == a_chunk()


async def test_put_that_is_more_urgent_alone_wakes_nobody(queue: WholeQueue) -> None:
    """A deadline says nothing of the recording's end."""
    await queue.put(a_delivery(a_chunk()))
    await wait_archived(queue, until=LATER)

    await queue.put(a_delivery(a_chunk(expires_at=START), body=b"b"))

    assert await queue.lease(1) == []


async def test_put_that_says_nothing_new_wakes_nobody(queue: WholeQueue) -> None:
    """Neither the same news again nor an announcement that says less."""
    chunk, less = a_chunk(), a_chunk(end_reason=None)
    await queue.put(a_delivery(less))
    await queue.put(a_delivery(chunk, body=b"more"))
    await wait_archived(queue, until=LATER)

    await queue.put(a_delivery(chunk, body=b"again"))
    await queue.put(a_delivery(less, body=b"less"))

    assert await queue.lease(1) == []


async def test_put_that_revives_a_chunk_stores_it_as_announced_now(
    queue: WholeQueue,
) -> None:
    """What a replay says replaces what was said of a chunk that was given up."""
    first, _ = some_chunks(2)
    await queue.put(a_delivery(replace(first, announced=first.announced[:1])))
    await queue.dead_letter(await lease_one(queue), reason="r", error="e")

    await queue.put(a_delivery(first))

    assert (await only(queue)).chunk == first


async def test_concurrent_puts_merge_what_they_say(queue: WholeQueue) -> None:
    """Whatever batch they share."""
    chunk, *others = some_chunks(4)
    says = [
        replace(chunk, announced=(chunk.announced[0], sibling))
        for sibling in chunk.announced[1:]
    ]

    await asyncio.gather(*(queue.put(a_delivery(each, *others)) for each in says))

    (entry,) = await queue.find(chunk.document_id)
    assert entry.chunk == chunk


async def test_concurrent_puts_keep_the_earliest_expiry(queue: WholeQueue) -> None:
    """Whatever the order in which they are written."""
    deliveries = [
        a_delivery(a_chunk(expires_at=START + hours * HOUR)) for hours in (3, 1, 2)
    ]

    await asyncio.gather(*(queue.put(delivery) for delivery in deliveries))

    assert (await only(queue)).chunk.expires_at == START + HOUR


async def test_untried_lane_passes_by_what_was_tried(queue: WholeQueue) -> None:
    """A backlog of failing chunks can't hold the slots that are kept for new ones."""
    chunks = [
        a_chunk(document_id=f"d{hours}", expires_at=START + hours * HOUR)
        for hours in (1, 2, 3, 4)
    ]
    await queue.put(a_delivery(*chunks))
    failed, released = await queue.lease(2)
    await queue.reschedule(failed, not_before=START, reason="r", error="e")
    await queue.release(released)

    leases = await queue.lease(9, lane=Lane.UNTRIED)

    documents = [lease.chunk.document_id for lease in leases]
    assert documents == ["d2", "d3", "d4"]
    assert [lease.row for lease in await queue.lease(9)] == [failed.row]


@pytest.mark.parametrize("lane", Lane)
async def test_every_lane_leases_only_what_is_due(
    queue: WholeQueue, clock: ManualClock, lane: Lane
) -> None:
    """Paused resources stay, what waits waits, and lapsed leases are reclaimed."""
    paused = a_chunk(document_id="d1", announcement=an_announcement(resource="two"))
    await queue.put(a_delivery(paused, a_chunk(document_id="d2")))
    (lapsing,) = await queue.lease(1, paused=["two"], lane=lane)
    clock.advance(LEASE_SECONDS - 1)
    assert await queue.lease(1, paused=["two"], lane=lane) == []

    clock.advance(1)
    again = await queue.lease(9, paused=["two"], lane=lane)

    expected = [] if lane is Lane.UNTRIED else [lapsing.row]
    assert [lease.row for lease in again] == expected
    history = await queue.attempts(lapsing.row)
    assert history[0].outcome == "lapsed"


async def test_entry_says_who_leased_it_and_until_when(
    queue: WholeQueue, clock: ManualClock
) -> None:
    """What the lease says stands in the queue's entry, too."""
    chunk = a_chunk()
    await queue.put(a_delivery(chunk))
    clock.advance(5)

    lease = await lease_one(queue)

    assert lease.chunk == chunk
    assert lease.attempts == 1
    assert lease.leased_until == clock.now() + timedelta(seconds=LEASE_SECONDS)
    assert lease.enqueued_at == START
    entry = await only(queue)
    assert entry.row == lease.row
    assert entry.state is ChunkState.LEASED
    assert entry.attempts == 1
    assert entry.leased_by == "w1"
    assert entry.leased_until == lease.leased_until


async def test_chunk_that_was_left_is_leased_once_its_resource_works(
    queue: WholeQueue,
) -> None:
    """At once, while chunks that name no resource are left."""
    named = a_chunk(document_id="named", announcement=an_announcement(resource="Acs1"))
    nameless = a_chunk(document_id="nameless", announcement=an_announcement(topic=""))
    await queue.put(a_delivery(named, nameless))
    assert await queue.lease(2, paused={"acs1", ""}) == []

    (lease,) = await queue.lease(2, paused=[""])

    assert lease.chunk == named


async def test_rescheduled_chunk_is_told_with_its_reason_and_time(
    queue: WholeQueue, clock: ManualClock
) -> None:
    """Whoever looks sees why it waits, and it is due at `not_before`, no second before."""
    await queue.put(a_delivery(a_chunk()))
    lease = await lease_one(queue)

    await queue.reschedule(lease, not_before=LATER, reason="throttled", error="429")

    entry = await only(queue)
    assert entry.state is ChunkState.PENDING
    assert (entry.reason, entry.error) == ("throttled", "429")
    assert entry.not_before == LATER
    assert (entry.leased_by, entry.leased_until) == (None, None)
    clock.advance(599)
    assert await queue.lease(1) == []
    clock.advance(1)
    assert (await lease_one(queue)).attempts == 2


async def test_lapse_is_told_in_the_history(
    queue: WholeQueue, clock: ManualClock
) -> None:
    """A lease lapses at its end and no second before, and the attempt is told as lapsed."""
    await queue.put(a_delivery(a_chunk()))
    first = await lease_one(queue)
    clock.advance(LEASE_SECONDS - 1)
    assert await queue.lease(1) == []

    clock.advance(1)
    second = await lease_one(queue)

    assert second.row == first.row
    assert second.token != first.token
    assert second.attempts == 2
    history = await queue.attempts(first.row)
    assert [past.outcome for past in history] == ["lapsed", None]
    assert history[0].ended_at == clock.now()


async def test_lapsing_chunk_waits_longer_each_time(
    queue: WholeQueue, clock: ManualClock
) -> None:
    """A chunk that crashes its worker again and again makes room for the others."""
    await queue.put(a_delivery(a_chunk(document_id="poison")))
    await lapse(queue, clock, times=1)
    await queue.lease(1)
    clock.advance(LEASE_SECONDS)
    await queue.put(a_delivery(a_chunk(document_id="d2", expires_at=START + 99 * HOUR)))

    leases = await queue.lease(2)

    assert [lease.chunk.document_id for lease in leases] == ["d2"]
    (poison,) = await queue.list(state=ChunkState.PENDING)
    delay = poison.not_before - clock.now()
    assert timedelta(seconds=2) <= delay <= timedelta(seconds=4)


async def lapse(queue: ChunkQueue, clock: ManualClock, *, times: int) -> None:
    for _ in range(times):
        await lease_one(queue)
        clock.advance(LEASE_SECONDS)


async def test_extended_lease_does_not_lapse(
    queue: WholeQueue, clock: ManualClock
) -> None:
    """Extending counts from now, and keeps the token."""
    await queue.put(a_delivery(a_chunk()))
    lease = await lease_one(queue)
    clock.advance(LEASE_SECONDS - 1)

    extended = await queue.extend(lease)

    assert extended.leased_until == clock.now() + timedelta(seconds=LEASE_SECONDS)
    assert extended.token == lease.token
    clock.advance(LEASE_SECONDS - 1)
    assert await queue.lease(1) == []
    assert (await only(queue)).leased_until == extended.leased_until
    await queue.complete(lease, ChunkState.DELETED, note="")


async def test_lapsed_lease_that_nobody_took_still_settles(
    queue: WholeQueue, clock: ManualClock
) -> None:
    """Late work counts as long as no other worker has begun."""
    await queue.put(a_delivery(a_chunk()))
    lease = await lease_one(queue)
    clock.advance(LEASE_SECONDS * 2)

    await queue.complete(lease, ChunkState.ARCHIVED, note="late")

    assert (await only(queue)).state is ChunkState.ARCHIVED


@pytest.mark.parametrize("state", [ChunkState.ARCHIVED, ChunkState.DELETED])
async def test_completed_chunk_keeps_its_last_attempt(
    queue: WholeQueue, clock: ManualClock, state: ChunkState
) -> None:
    """Completed is for good, and the history says how it ended."""
    await queue.put(a_delivery(a_chunk()))
    lease = await lease_one(queue)
    await queue.reschedule(lease, not_before=START, reason="r", error="e")

    await queue.complete(await lease_one(queue), state, note="source expired")

    entry = await only(queue)
    assert entry.state is state
    assert entry.settled_at == clock.now()
    assert (entry.reason, entry.error, entry.leased_by) == (None, None, None)
    history = await queue.attempts(entry.row)
    assert (history[-1].outcome, history[-1].reason) == (state.value, "source expired")
    clock.advance(1_000_000)
    assert await queue.lease(1) == []
    assert await queue.next_due() is None


async def test_release_is_told_in_the_history(
    queue: WholeQueue, clock: ManualClock
) -> None:
    """A released chunk is nobody's and due now, and its attempt is told as released."""
    await queue.put(a_delivery(a_chunk()))
    lease = await lease_one(queue)
    clock.advance(5)

    await queue.release(lease)

    entry = await only(queue)
    assert entry.state is ChunkState.PENDING
    assert entry.attempts == 0
    assert entry.not_before == clock.now()
    assert (entry.leased_by, entry.leased_until) == (None, None)
    assert [past.outcome for past in await queue.attempts(lease.row)] == ["released"]
    assert (await lease_one(queue)).attempts == 1


async def test_delay_of_a_release_is_told(
    queue: WholeQueue, clock: ManualClock
) -> None:
    """A released chunk that waits says until when."""
    await queue.put(a_delivery(a_chunk()))
    await wait_archived(queue, until=START)

    await queue.release(await lease_one(queue), not_before=LATER)

    entry = await only(queue)
    assert entry.state is ChunkState.ARCHIVED
    assert entry.not_before == LATER
    assert await queue.lease(1) == []
    clock.advance(600)
    assert (await lease_one(queue)).attempts == 2


async def test_announced_says_what_is_done_and_what_is_not(queue: WholeQueue) -> None:
    """The state of each chunk of a recording, in the order of the index."""
    late, first = (a_chunk(document_id=f"d{index}", index=index) for index in (1, 0))
    other = a_chunk(
        document_id="x", announcement=an_announcement(recording_id="recording-2")
    )
    await queue.put(a_delivery(first))
    await queue.complete(await lease_one(queue), ChunkState.DELETED, note="")
    await queue.put(a_delivery(late, other))

    entries = await queue.announced(first.recording)

    assert [entry.chunk for entry in entries] == [first, late]
    states = [ChunkState.DELETED, ChunkState.PENDING]
    assert [entry.state for entry in entries] == states
    assert await queue.announced(RecordingKey("unknown")) == []


async def test_naming_keeps_the_order_of_arrival(queue: WholeQueue) -> None:
    """Entries of a document, by its id or its location, come as they were put."""
    own = a_chunk(document_id="d1")
    other = an_announcement(recording_id="another")
    elsewhere = a_chunk(document_id="d1", announcement=other, metadata_location=None)
    nameless = a_chunk(document_id="", content_location=own.content_location)
    await queue.put(a_delivery(own, elsewhere, nameless, a_chunk(document_id="d2")))

    entries = await queue.naming("d1")

    assert [entry.chunk for entry in entries] == [own, elsewhere, nameless]
    assert await queue.naming("unknown") == []


async def test_wake_makes_waiting_archived_chunks_due(queue: WholeQueue) -> None:
    """The last sibling can call the others; nothing else of the recording moves."""
    waiting, pending = a_chunk(document_id="d1"), a_chunk(document_id="d2")
    await queue.put(a_delivery(waiting))
    await wait_archived(queue, until=LATER)
    await queue.put(a_delivery(pending))
    lease = await lease_one(queue)
    await queue.reschedule(lease, not_before=LATER, reason="r", error="e")
    await queue.wake(RecordingKey("other"))
    assert await queue.lease(2) == []

    await queue.wake(waiting.recording)

    assert [lease.chunk for lease in await queue.lease(2)] == [waiting]


async def test_wake_of_a_leased_chunk_is_due_as_soon_as_it_waits(
    queue: WholeQueue,
) -> None:
    """A sibling that looks just before the last one finishes doesn't wait in vain."""
    await queue.put(a_delivery(a_chunk()))
    (lease,) = await queue.lease(1)

    await queue.wake(a_chunk().recording)
    await queue.reschedule(
        lease, not_before=LATER, reason="w", error="w", archived=True
    )
    (again,) = await queue.lease(1)
    await queue.reschedule(
        again, not_before=LATER, reason="w", error="w", archived=True
    )

    assert list(await queue.lease(1)) == []


async def test_wake_of_a_leased_chunk_is_nothing_to_one_that_is_done(
    queue: WholeQueue, clock: ManualClock
) -> None:
    """Who has nothing to wait for was due when it was."""
    await queue.put(a_delivery(a_chunk()))
    (lease,) = await queue.lease(1)
    await queue.wake(a_chunk().recording)
    clock.advance(9)

    await queue.complete(lease, ChunkState.ARCHIVED, note="")

    assert (await only(queue)).not_before == START


async def test_wake_never_delays(queue: WholeQueue, clock: ManualClock) -> None:
    """A chunk that is due already keeps its time; a completed one stays completed."""
    await queue.put(a_delivery(a_chunk(document_id="d1")))
    await queue.complete(await lease_one(queue), ChunkState.ARCHIVED, note="")
    await queue.put(a_delivery(a_chunk(document_id="d2")))
    await wait_archived(queue, until=START)
    before = await queue.list()
    clock.advance(5)

    await queue.wake(a_chunk().recording)

    assert await queue.list() == before


async def test_next_due_is_the_earliest_time_to_lease(
    queue: WholeQueue, clock: ManualClock
) -> None:
    """Due pending chunks, waiting ones and the end of leases count; settled ones don't."""
    assert await queue.next_due() is None
    await queue.put(a_delivery(a_chunk()))
    assert await queue.next_due() == START

    lease = await lease_one(queue)
    assert await queue.next_due() == lease.leased_until

    await queue.reschedule(lease, not_before=LATER, reason="", error="", archived=True)
    assert await queue.next_due() == LATER

    clock.advance(600)
    await queue.dead_letter(await lease_one(queue), reason="r", error="e")
    assert await queue.next_due() is None


async def test_next_due_leaves_paused_resources(queue: WholeQueue) -> None:
    """What can't be leased now is not due, leased or not."""
    one = a_chunk(document_id="d1", announcement=an_announcement(resource="one"))
    two = a_chunk(document_id="d2", announcement=an_announcement(resource="two"))
    await queue.put(a_delivery(one, two))
    (lease,) = await queue.lease(1, paused=["two"])

    assert await queue.next_due(paused=["two"]) == lease.leased_until
    assert await queue.next_due(paused=["one"]) == START
    assert await queue.next_due(paused=["one", "two"]) is None


async def test_first_due_leaves_paused_resources_and_knows_lapsed_leases(
    queue: WholeQueue, clock: ManualClock
) -> None:
    """What could be leased now, by who has room for it."""
    one = a_chunk(document_id="d1", announcement=an_announcement(resource="one"))
    two = a_chunk(document_id="d2", announcement=an_announcement(resource="two"))
    await queue.put(a_delivery(one, two))
    (lease,) = await queue.lease(1, paused=["two"])

    assert await queue.first_due(paused=["two"]) is None
    assert await queue.first_due(paused=["one"]) is not None
    clock.advance(LEASE_SECONDS)
    assert await queue.first_due(paused=["two"]) == lease.row


async def test_counts_tell_what_is_leased(queue: WholeQueue) -> None:
    """A leased chunk counts as leased whatever it was before, and can be at risk."""
    chunks = [
        a_chunk(document_id=f"d{n}", expires_at=START + n * HOUR) for n in range(1, 8)
    ]
    await queue.put(a_delivery(*chunks))
    archived, deleted, dead, other, waiting, again = await queue.lease(6)
    await queue.complete(archived, ChunkState.ARCHIVED, note="")
    await queue.complete(deleted, ChunkState.DELETED, note="")
    await queue.dead_letter(dead, reason="bad-host", error="")
    await queue.dead_letter(other, reason="expired", error="")
    await queue.reschedule(
        waiting, not_before=START, reason="", error="", archived=True
    )
    await queue.release(again)
    assert (await lease_one(queue)).row == waiting.row

    counts = await queue.counts(at_risk_within=6.5 * HOUR)

    assert counts.by_state == {
        ChunkState.PENDING: 2,
        ChunkState.LEASED: 1,
        ChunkState.ARCHIVED: 1,
        ChunkState.DELETED: 1,
        ChunkState.DEAD: 2,
    }
    assert counts.dead == {"bad-host": 1, "expired": 1}
    assert counts.at_risk == 1
    assert counts.oldest_deadline == START + 6 * HOUR


async def test_counts_a_leased_chunk_as_at_risk(queue: WholeQueue) -> None:
    """Being worked on is not yet being safe; the bound itself is still in time."""
    await queue.put(a_delivery(a_chunk(expires_at=START + HOUR)))
    await lease_one(queue)

    assert (await queue.counts(at_risk_within=HOUR)).at_risk == 0
    counts = await queue.counts(at_risk_within=1.1 * HOUR)

    assert counts.at_risk == 1
    assert counts.oldest_deadline == START + HOUR


async def test_list_tells_what_is_leased(queue: WholeQueue) -> None:
    """What is leased is no longer listed as pending, and keeps its place among all."""
    chunks = [
        a_chunk(document_id=f"d{n}", expires_at=START + n * HOUR) for n in (3, 1, 4, 2)
    ]
    await queue.put(a_delivery(*chunks))
    await lease_one(queue)

    async def listed(state: ChunkState | None, limit: int) -> list[str]:
        entries = await queue.list(state=state, limit=limit)
        return [entry.chunk.document_id for entry in entries]

    assert await listed(None, 1000) == ["d1", "d2", "d3", "d4"]
    assert await listed(None, 2) == ["d1", "d2"]
    assert await listed(ChunkState.PENDING, 2) == ["d2", "d3"]
    assert await listed(ChunkState.LEASED, 1000) == ["d1"]
    assert await listed(ChunkState.DEAD, 1000) == []


async def test_attempts_tell_the_history(queue: WholeQueue, clock: ManualClock) -> None:
    """Every attempt is kept, oldest first, with how it ended."""
    await queue.put(a_delivery(a_chunk()))
    first = await lease_one(queue)
    clock.advance(5)
    await queue.reschedule(first, not_before=START, reason="throttled", error="429")
    await lease_one(queue)

    done, running = await queue.attempts(first.row)

    assert (done.number, done.worker) == (1, "w1")
    assert (done.started_at, done.ended_at) == (START, clock.now())
    assert (done.outcome, done.reason, done.error) == (
        "rescheduled",
        "throttled",
        "429",
    )
    assert (running.number, running.started_at) == (2, clock.now())
    assert (running.ended_at, running.outcome) == (None, None)
    clock.advance(LEASE_SECONDS)
    assert await queue.lease(1) == []
    lapsed = replace(running, ended_at=clock.now(), outcome="lapsed")
    assert await queue.attempts(first.row) == [done, lapsed]
    assert await queue.attempts(first.row[:8]) == await queue.attempts("unknown")


async def test_memory_queue_can_be_in_trouble(clock: ManualClock) -> None:
    """The fake fails as the real queue does, for as long as a test wants it to."""
    queue = MemoryQueue(clock, trouble="the disk is full")
    with pytest.raises(QueueUnavailableError, match="disk is full"):
        await queue.ready()

    queue.trouble = None

    await queue.put(a_delivery(a_chunk()))
    assert len(await queue.list()) == 1
