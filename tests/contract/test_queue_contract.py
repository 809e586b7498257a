"""What every queue keeps: in memory, in a SQLite file, on a Storage Queue.

What a queue with an index keeps beside this is in test_indexed_queue_contract.py.
"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta

import pytest

from tests.contract.queues import (
    LEASE_SECONDS,
    Rig,
    WholeQueue,
    lease_one,
    only,
    wait_archived,
)
from tests.factories import a_chunk, a_delivery, an_announcement, some_chunks
from tests.fakes.clock import START
from worker.errors import LeaseLostError
from worker.model import (
    Announcement,
    ChunkState,
    Lane,
    Lease,
    PutResult,
    RecordingKey,
)

HOUR = timedelta(hours=1)
SECOND = timedelta(seconds=1)
LATER = START + timedelta(minutes=10)


async def test_put_enqueues_every_chunk(queue: WholeQueue) -> None:
    """A chunk that was put is pending, due now, with no attempt spent."""
    chunks = some_chunks(3)

    result = await queue.put(a_delivery(*chunks))

    assert result == PutResult(enqueued=3, duplicates=0)
    entries = await queue.list()
    assert {entry.chunk for entry in entries} == set(chunks)
    assert {entry.state for entry in entries} == {ChunkState.PENDING}
    assert {entry.attempts for entry in entries} == {0}
    assert {entry.not_before for entry in entries} == {START}
    assert {entry.enqueued_at for entry in entries} == {START}
    assert {entry.leased_by for entry in entries} == {None}
    assert {entry.settled_at for entry in entries} == {None}


async def test_put_accepts_a_delivery_without_chunks(queue: WholeQueue) -> None:
    """A delivery that announces nothing is taken and changes no entry."""
    result = await queue.put(a_delivery())

    assert result == PutResult(enqueued=0, duplicates=0)
    assert await queue.list() == []
    assert await queue.lease(1) == []


async def test_put_counts_a_chunk_once_within_a_delivery(queue: WholeQueue) -> None:
    """A delivery that names a chunk twice enqueues it once, with the earlier expiry."""
    first = a_chunk(expires_at=START + 2 * HOUR)
    second = a_chunk(expires_at=START + HOUR)

    result = await queue.put(a_delivery(first, second))

    assert result == PutResult(enqueued=1, duplicates=0)
    assert (await only(queue)).chunk.expires_at == START + HOUR
    (lease,) = await queue.lease(2)
    assert lease.chunk.expires_at == START + HOUR


async def test_put_of_the_same_delivery_is_a_duplicate(queue: WholeQueue) -> None:
    """What Event Grid delivers twice is one entry."""
    await queue.put(a_delivery(*some_chunks(2)))

    result = await queue.put(a_delivery(*some_chunks(2)))

    assert result == PutResult(enqueued=0, duplicates=2)
    assert len(await queue.list()) == 2


async def test_put_revives_a_dead_chunk(queue: WholeQueue) -> None:
    """A replay makes a dead chunk pending again, attempts at 0."""
    await queue.put(a_delivery(a_chunk()))
    lease = await lease_one(queue)
    await queue.dead_letter(lease, reason="no-credential", error="no key")

    await queue.put(a_delivery(a_chunk()))

    again = await lease_one(queue)
    assert (again.row, again.attempts) == (lease.row, 1)
    assert (await queue.counts(at_risk_within=HOUR)).dead == {}
    assert [entry.state for entry in await queue.announced(a_chunk().recording)] != [
        ChunkState.DEAD
    ]
    assert [past.outcome for past in await queue.attempts(lease.row)][:1] == ["dead"]


@pytest.mark.parametrize("state", [ChunkState.ARCHIVED, ChunkState.DELETED])
async def test_put_enqueues_a_done_chunk_anew(
    queue: WholeQueue, state: ChunkState
) -> None:
    """A chunk that is done is leased like a new one; the archive knows it by its receipt."""
    await queue.put(a_delivery(a_chunk()))
    await queue.complete(await lease_one(queue), state, note="")

    await queue.put(a_delivery(a_chunk()))

    assert (await lease_one(queue)).attempts == 1


async def test_put_keeps_a_document_with_other_locations_apart(
    queue: WholeQueue,
) -> None:
    """A malformed first event can't swallow the real chunk of the same document."""
    false = a_chunk(content_location="https://other.example/v1/objects/x/content")
    without = a_chunk(metadata_location=None)
    undeletable = a_chunk(delete_location=None)

    result = await queue.put(a_delivery(false, a_chunk(), without, undeletable))

    assert result == PutResult(enqueued=4, duplicates=0)
    assert len(await queue.lease(9)) == 4


@pytest.mark.parametrize(
    "false",
    [
        an_announcement(resource="others"),
        an_announcement(recording_id="recording-2"),
        an_announcement(call_id="call-2"),
        an_announcement(format_type="Wav"),
    ],
    ids=["resource", "recording", "call", "format"],
)
async def test_put_keeps_a_false_announcement_apart(
    queue: WholeQueue, false: Announcement
) -> None:
    """The first to name a chunk decides neither whose key opens it nor what it is called."""
    lie, truth = a_chunk(announcement=false), a_chunk()
    await queue.put(a_delivery(lie, body=b"lie"))

    result = await queue.put(a_delivery(truth, body=b"truth"))

    assert result == PutResult(enqueued=1, duplicates=0)
    leased = [lease.chunk for lease in await queue.lease(3)]
    assert sorted(leased, key=repr) == sorted([lie, truth], key=repr)


@pytest.mark.parametrize("state", [None, ChunkState.ARCHIVED, ChunkState.DELETED])
async def test_put_says_which_chunks_it_knew(
    queue: WholeQueue, state: ChunkState | None
) -> None:
    """Whoever tells of a chunk's first announcement tells it once, be it settled or not."""
    first = await queue.put(a_delivery(a_chunk()))
    if state is not None:
        await queue.complete(await lease_one(queue), state, note="")

    again = await queue.put(a_delivery(a_chunk()))

    assert not first.known
    assert again.known == {a_chunk().key}


async def test_concurrent_puts_enqueue_a_chunk_once(queue: WholeQueue) -> None:
    """Of many deliveries of one chunk at once, one enqueues it."""
    delivery = a_delivery(a_chunk())

    results = await asyncio.gather(*(queue.put(delivery) for _ in range(20)))

    assert sum(result.enqueued for result in results) == 1
    assert sum(result.duplicates for result in results) == 19
    assert len(await queue.list()) == 1


async def test_lease_takes_the_earliest_expiry_first(queue: WholeQueue) -> None:
    """Of what came together, order counts nothing against the deadline."""
    chunks = [
        a_chunk(document_id=f"d{hours}", expires_at=START + hours * HOUR)
        for hours in (3, 1, 2)
    ]
    await queue.put(a_delivery(*chunks))

    leases = await queue.lease(2)

    assert [lease.chunk.document_id for lease in leases] == ["d1", "d2"]
    assert await queue.lease(0) == []


async def test_newest_lane_takes_the_latest_expiry_first(queue: WholeQueue) -> None:
    """A probe is another chunk than the one that keeps failing at the head."""
    chunks = [
        a_chunk(document_id=f"d{hours}", expires_at=START + hours * HOUR)
        for hours in (3, 1, 2)
    ]
    await queue.put(a_delivery(*chunks))

    leases = await queue.lease(2, lane=Lane.NEWEST)

    assert [lease.chunk.document_id for lease in leases] == ["d3", "d2"]


async def test_lease_says_all_that_the_worker_needs(
    queue: WholeQueue, rig: Rig
) -> None:
    """A lease carries the chunk whole, the attempt counted, and its end."""
    chunk, _ = some_chunks(2)
    await queue.put(a_delivery(chunk))
    rig.clock.advance(5)

    lease = await lease_one(queue)

    assert lease.chunk == chunk
    assert lease.attempts == 1
    assert lease.leased_until == START + timedelta(seconds=5 + LEASE_SECONDS)
    assert lease.enqueued_at == START
    assert (await only(queue)).row == lease.row


async def test_concurrent_leases_share_out_the_chunks(queue: WholeQueue) -> None:
    """No chunk is leased twice, however many ask at once."""
    await queue.put(a_delivery(*some_chunks(10)))

    leases = await all_leases(queue, count=10)

    assert len({lease.row for lease in leases}) == len(leases) == 10
    assert len({lease.token for lease in leases}) == 10
    assert await queue.lease(9) == []


async def all_leases(queue: WholeQueue, *, count: int) -> list[Lease]:
    """Ask with six at once, as often as it takes."""
    leases: list[Lease] = []
    while len(leases) < count:
        batches = await asyncio.gather(*(queue.lease(3) for _ in range(6)))
        assert any(batches)
        leases += [lease for batch in batches for lease in batch]
    return leases


async def test_lease_leaves_paused_resources(queue: WholeQueue) -> None:
    """Chunks of a paused resource stay, unspent; '' stands for chunks that name none."""
    named = a_chunk(document_id="named", announcement=an_announcement(resource="Acs1"))
    nameless = a_chunk(document_id="nameless", announcement=an_announcement(topic=""))
    await queue.put(a_delivery(named, nameless))

    (first,) = await queue.lease(2, paused={"acs1"})
    assert await queue.lease(2, paused={"acs1", ""}) == []

    assert first.chunk == nameless
    (entry,) = await queue.find("named")
    assert (entry.state, entry.attempts) == (ChunkState.PENDING, 0)


async def test_rescheduled_chunk_waits_for_its_time(
    queue: WholeQueue, rig: Rig
) -> None:
    """A rescheduled chunk is pending and due at `not_before`, its attempt spent."""
    await queue.put(a_delivery(a_chunk()))
    lease = await lease_one(queue)

    await queue.reschedule(
        lease, not_before=START + SECOND, reason="throttled", error="429"
    )

    assert await queue.lease(1) == []
    assert (await only(queue)).state is ChunkState.PENDING
    assert (await rig.lease_after(1)).attempts == 2


async def test_rescheduled_chunk_keeps_a_tightened_deadline(
    queue: WholeQueue,
) -> None:
    """An earlier deadline orders, counts and is told from now on; a later one is ignored."""
    tight, other = START + HOUR, START + 2 * HOUR
    await queue.put(a_delivery(a_chunk(document_id="d1", expires_at=START + 3 * HOUR)))
    lease = await lease_one(queue)
    await queue.put(a_delivery(a_chunk(document_id="d2", expires_at=other)))

    await queue.reschedule(
        lease, not_before=START, reason="r", error="e", expires_at=tight
    )

    counts = await queue.counts(at_risk_within=1.5 * HOUR)
    assert (counts.at_risk, counts.oldest_deadline) == (1, tight)
    assert [entry.chunk.expires_at for entry in await queue.list()] == [tight, other]
    first, second = await queue.lease(2)
    assert (first.row, first.chunk.expires_at) == (lease.row, tight)
    await queue.reschedule(
        first, not_before=START, reason="r", error="e", expires_at=START + 9 * HOUR
    )
    assert (await lease_one(queue)).chunk.expires_at == tight
    assert second.chunk.document_id == "d2"
    (entry,) = await queue.find("d1")
    assert entry.chunk.expires_at == tight


async def test_waiting_archived_chunk_is_leased_again(
    queue: WholeQueue, rig: Rig
) -> None:
    """A chunk that waits as archived comes back at its time, and may end as deleted."""
    await queue.put(a_delivery(a_chunk()))
    await wait_archived(queue, until=START + SECOND)

    assert await queue.lease(1) == []
    assert (await only(queue)).state is ChunkState.ARCHIVED
    lease = await rig.lease_after(1)
    await queue.complete(lease, ChunkState.DELETED, note="204")

    entry = await only(queue)
    assert entry.state is ChunkState.DELETED
    assert entry.settled_at == rig.clock.now()


async def test_lapsed_lease_is_leased_again(queue: WholeQueue, rig: Rig) -> None:
    """A chunk whose lease lapsed is leased again, with the attempt counted."""
    await queue.put(a_delivery(a_chunk()))
    first = await lease_one(queue)
    assert await queue.lease(1) == []
    await rig.lapse(first)

    second = await lease_one(queue)

    assert second.row == first.row
    assert second.token != first.token
    assert second.attempts == 2


async def test_lapsing_chunk_makes_room_for_others(queue: WholeQueue, rig: Rig) -> None:
    """A chunk that crashes its worker again and again waits, longer each time."""
    await queue.put(a_delivery(a_chunk(document_id="poison")))
    await rig.lapse(await lease_one(queue))
    await rig.lapse(await lease_one(queue))
    await queue.put(a_delivery(a_chunk(document_id="d2")))

    leases = await queue.lease(2)

    assert [lease.chunk.document_id for lease in leases] == ["d2"]
    assert (await rig.lease_after(4)).attempts == 3


async def test_lapsed_lease_of_an_archived_chunk_stays_archived(
    queue: WholeQueue, rig: Rig
) -> None:
    """Bytes that are safe are never counted as pending again."""
    await queue.put(a_delivery(a_chunk()))
    await wait_archived(queue, until=START)
    await rig.lapse(await lease_one(queue))

    assert await queue.lease(1) == []

    assert (await only(queue)).state is ChunkState.ARCHIVED


async def test_extended_lease_is_settled_by_its_newest_token(
    queue: WholeQueue, rig: Rig
) -> None:
    """Extending counts from now; nobody else leases the chunk meanwhile."""
    await queue.put(a_delivery(a_chunk()))
    lease = await lease_one(queue)
    rig.clock.advance(LEASE_SECONDS - 1)

    extended = await queue.extend(lease)

    until = rig.clock.now() + timedelta(seconds=LEASE_SECONDS)
    assert extended.leased_until == until
    assert await queue.lease(1) == []
    extended = await queue.extend(extended)
    await queue.complete(extended, ChunkState.DELETED, note="")
    assert (await only(queue)).state is ChunkState.DELETED


Use = Callable[[WholeQueue, Lease], Awaitable[object]]
USES: dict[str, Use] = {
    "extend": lambda queue, lease: queue.extend(lease),
    "complete": lambda queue, lease: queue.complete(
        lease, ChunkState.DELETED, note="late"
    ),
    "reschedule": lambda queue, lease: queue.reschedule(
        lease, not_before=START, reason="late", error="late", expires_at=START
    ),
    "wait": lambda queue, lease: queue.reschedule(
        lease,
        not_before=LATER,
        reason="late",
        error="late",
        archived=True,
        others_close=True,
    ),
    "dead_letter": lambda queue, lease: queue.dead_letter(
        lease, reason="late", error="late"
    ),
    "release": lambda queue, lease: queue.release(lease, reason="late", error="late"),
}


@pytest.mark.parametrize("use", USES.values(), ids=USES)
async def test_stale_token_changes_nothing(
    queue: WholeQueue, rig: Rig, use: Use
) -> None:
    """A worker whose lease went to another learns so, and changes nothing."""
    await queue.put(a_delivery(a_chunk()))
    stale = await lease_one(queue)
    await rig.lapse(stale)
    current = await lease_one(queue)
    entry, history = await only(queue), await queue.attempts(current.row)

    with pytest.raises(LeaseLostError):
        await use(queue, stale)

    assert await only(queue) == entry
    assert await queue.attempts(current.row) == history
    await queue.complete(current, ChunkState.ARCHIVED, note="")


@pytest.mark.parametrize("use", USES.values(), ids=USES)
async def test_settled_lease_is_lost(queue: WholeQueue, use: Use) -> None:
    """A lease ends once."""
    await queue.put(a_delivery(a_chunk()))
    lease = await lease_one(queue)
    await queue.complete(lease, ChunkState.ARCHIVED, note="")
    entry = await only(queue)

    with pytest.raises(LeaseLostError):
        await use(queue, lease)

    assert await only(queue) == entry


@pytest.mark.parametrize("state", [ChunkState.ARCHIVED, ChunkState.DELETED])
async def test_completed_chunk_is_never_leased_again(
    queue: WholeQueue, rig: Rig, state: ChunkState
) -> None:
    """Completed is for good, and forgets earlier trouble."""
    await queue.put(a_delivery(a_chunk()))
    lease = await lease_one(queue)
    await queue.reschedule(lease, not_before=START, reason="r", error="e")

    await queue.complete(await lease_one(queue), state, note="source expired")

    entry = await only(queue)
    assert entry.state is state
    assert entry.settled_at == rig.clock.now()
    assert (entry.reason, entry.error, entry.leased_by) == (None, None, None)
    rig.clock.advance(3600)
    assert await queue.lease(1) == []
    assert await queue.next_due() is None


@pytest.mark.parametrize(
    "state", [ChunkState.PENDING, ChunkState.LEASED, ChunkState.DEAD]
)
async def test_complete_refuses_other_states(
    queue: WholeQueue, state: ChunkState
) -> None:
    """Only archived and deleted are ends of good work."""
    await queue.put(a_delivery(a_chunk()))
    lease = await lease_one(queue)

    with pytest.raises(ValueError, match=state.value):
        await queue.complete(lease, state, note="")

    await queue.complete(lease, ChunkState.ARCHIVED, note="")


async def test_dead_letter_is_parked_with_its_reason(
    queue: WholeQueue, rig: Rig
) -> None:
    """A dead chunk stays where an operator sees it, and why."""
    await queue.put(a_delivery(a_chunk()))
    lease = await lease_one(queue)

    await queue.dead_letter(lease, reason="source-expired", error="404")

    entry = await only(queue)
    assert entry.state is ChunkState.DEAD
    assert (entry.reason, entry.error) == ("source-expired", "404")
    assert (entry.attempts, entry.settled_at) == (1, rig.clock.now())
    assert [past.outcome for past in await queue.attempts(lease.row)] == ["dead"]
    rig.clock.advance(3600)
    assert await queue.lease(1) == []
    assert await queue.next_due() is None


async def test_release_gives_the_attempt_back(queue: WholeQueue) -> None:
    """A released chunk is due at once and has spent nothing, however often."""
    await queue.put(a_delivery(a_chunk()))

    await queue.release(await lease_one(queue))
    await queue.release(await lease_one(queue))

    entry = await only(queue)
    assert entry.state is ChunkState.PENDING
    assert entry.attempts == 0
    assert (await lease_one(queue)).attempts == 1


async def test_release_may_delay_the_chunk(queue: WholeQueue, rig: Rig) -> None:
    """A released chunk waits if asked to, and an archived one stays archived."""
    await queue.put(a_delivery(a_chunk()))
    await wait_archived(queue, until=START)

    await queue.release(await lease_one(queue), not_before=START + SECOND)

    assert (await only(queue)).state is ChunkState.ARCHIVED
    assert await queue.lease(1) == []
    assert (await rig.lease_after(1)).attempts == 2


async def test_announced_holds_every_chunk_of_the_recording(queue: WholeQueue) -> None:
    """Whatever delivery announced it, whatever became of it, in the order of the index."""
    late, first = (a_chunk(document_id=f"d{index}", index=index) for index in (1, 0))
    other = a_chunk(
        document_id="x", announcement=an_announcement(recording_id="recording-2")
    )
    await queue.put(a_delivery(first))
    await queue.dead_letter(await lease_one(queue), reason="bad host", error="e")
    await queue.put(a_delivery(late, other))
    await queue.lease(2)

    entries = await queue.announced(first.recording)

    assert [entry.chunk for entry in entries] == [first, late]
    assert entries[0].state is ChunkState.DEAD
    assert (entries[0].reason, entries[0].error) == ("bad host", "e")
    assert entries[1].state in {ChunkState.PENDING, ChunkState.LEASED}
    assert await queue.announced(RecordingKey("unknown")) == []


async def test_naming_finds_every_entry_of_a_document(queue: WholeQueue) -> None:
    """By its id or by its content location, in whatever recording."""
    own = a_chunk(document_id="d1")
    other = an_announcement(recording_id="another")
    elsewhere = a_chunk(document_id="d1", announcement=other, metadata_location=None)
    nameless = a_chunk(document_id="", content_location=own.content_location)
    await queue.put(a_delivery(own, elsewhere, nameless, a_chunk(document_id="d2")))
    await queue.lease(9)

    entries = await queue.naming("d1")

    assert {entry.chunk for entry in entries} == {own, elsewhere, nameless}
    assert len(entries) == 3
    assert await queue.naming("unknown") == []


async def test_next_due_ends_with_the_last_chunk(queue: WholeQueue) -> None:
    """What is due, in hand or about to come back counts; what is settled does not."""
    assert await queue.next_due() is None
    await queue.put(a_delivery(a_chunk()))
    assert await queue.next_due() == START

    lease = await lease_one(queue)
    in_hand = await queue.next_due()
    assert in_hand is not None
    assert START < in_hand <= lease.leased_until

    await queue.reschedule(lease, not_before=START, reason="", error="")
    assert await queue.next_due() == START
    await queue.complete(await lease_one(queue), ChunkState.DELETED, note="")
    assert await queue.next_due() is None


async def test_first_due_names_what_waits_for_as_long_as_it_waits(rig: Rig) -> None:
    """Others that come meanwhile change nothing, and what is leased waits no more."""
    queue = rig.queue
    assert await queue.first_due() is None
    await queue.put(a_delivery(a_chunk(document_id="d1")))
    first = await queue.first_due()
    rig.clock.advance(1)
    await queue.put(a_delivery(a_chunk(document_id="d2")))

    assert first is not None
    assert await queue.first_due() == first
    await lease_one(queue)
    assert await queue.first_due() not in {first, None}
    await lease_one(queue)
    assert await queue.first_due() is None


async def test_next_due_is_late_for_what_waits_for_its_recording(
    queue: WholeQueue,
) -> None:
    """Its bytes are safe: a worker that only empties the queue need not stay for it."""
    await queue.put(a_delivery(a_chunk(expires_at=START + HOUR)))

    await wait_archived(queue, until=START + HOUR)

    assert await queue.next_due() == START + HOUR


async def test_counts_of_an_empty_queue(queue: WholeQueue) -> None:
    """Every state is there, at zero."""
    counts = await queue.counts(at_risk_within=HOUR)

    assert counts.by_state == dict.fromkeys(ChunkState, 0)
    assert counts.dead == {}
    assert counts.at_risk == 0
    assert counts.oldest_deadline is None


async def test_counts_by_state_and_reason(queue: WholeQueue) -> None:
    """Each state is counted, the dead by reason, and only what is alive can be at risk."""
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
        waiting, not_before=LATER, reason="", error="", archived=True
    )
    await queue.release(again)

    counts = await queue.counts(at_risk_within=6.5 * HOUR)

    assert counts.by_state == {
        ChunkState.PENDING: 2,
        ChunkState.LEASED: 0,
        ChunkState.ARCHIVED: 2,
        ChunkState.DELETED: 1,
        ChunkState.DEAD: 2,
    }
    assert counts.dead == {"bad-host": 1, "expired": 1}
    assert counts.at_risk == 1
    assert counts.oldest_deadline == START + 6 * HOUR


async def test_counts_a_chunk_in_hand_as_at_risk(queue: WholeQueue) -> None:
    """Being worked on is not yet being safe; the bound itself is still in time."""
    await queue.put(a_delivery(a_chunk(expires_at=START + HOUR)))
    await lease_one(queue)

    assert (await queue.counts(at_risk_within=HOUR)).at_risk == 0
    counts = await queue.counts(at_risk_within=1.1 * HOUR)

    assert counts.at_risk == 1
    assert counts.oldest_deadline == START + HOUR


async def test_ready_queue_says_so(queue: WholeQueue) -> None:
    """A queue that can store a delivery does not raise, and stores none."""
    await queue.ready()
    await queue.ready()

    assert await queue.list() == []


async def test_list_is_ordered_and_bounded(queue: WholeQueue) -> None:
    """Entries come by expiry, of one state if asked, at most `limit`."""
    chunks = [
        a_chunk(document_id=f"d{n}", expires_at=START + n * HOUR) for n in (3, 1, 4, 2)
    ]
    await queue.put(a_delivery(*chunks))

    async def listed(state: ChunkState | None, limit: int) -> list[str]:
        entries = await queue.list(state=state, limit=limit)
        return [entry.chunk.document_id for entry in entries]

    assert await listed(None, 2) == ["d1", "d2"]
    await queue.dead_letter(await lease_one(queue), reason="r", error="e")
    assert await listed(None, 1000) == ["d1", "d2", "d3", "d4"]
    assert await listed(ChunkState.PENDING, 2) == ["d2", "d3"]
    assert await listed(ChunkState.DEAD, 1000) == ["d1"]
    assert await listed(ChunkState.DELETED, 1000) == []


async def test_find_knows_every_id(queue: WholeQueue) -> None:
    """An id or its beginning finds the entry; the middle of one does not."""
    announcement = an_announcement(call_id="call-9", recording_id="rec-9")
    chunk = a_chunk(document_id="0-eus-d9", announcement=announcement)
    foreign = a_chunk(
        document_id="0/weu",
        announcement=an_announcement(call_id=None, recording_id=None),
    )
    await queue.put(a_delivery(chunk, foreign))
    row = (await queue.find("0-eus-d9"))[0].row

    recording = chunk.recording
    for text in (row, row[:8], "0-eus", "call-9", "call", "rec-9", "re", recording[:8]):
        assert [entry.chunk for entry in await queue.find(text)] == [chunk]
    for text in (foreign.key, "0/w"):
        assert [entry.chunk for entry in await queue.find(text)] == [foreign]
    for text in ("eus", "all-9", "0%", "0_eus", "\ud800", "rec-9-longer"):
        assert await queue.find(text) == []


async def test_error_texts_are_bounded(queue: WholeQueue) -> None:
    """What others wrote can't make an entry grow, nor make it unwritable."""
    await queue.put(a_delivery(a_chunk()))
    lease = await lease_one(queue)
    reason, error = "r" * 5000, "\udcff\0<é" + "e" * 5000
    await queue.reschedule(lease, not_before=START, reason=reason, error=error)

    await queue.dead_letter(await lease_one(queue), reason=reason, error=error)

    entry = await only(queue)
    assert entry.reason == "r" * 2000
    assert entry.error == "?\0<é" + "e" * 1996
    (*_, attempt) = await queue.attempts(entry.row)
    assert (attempt.reason, attempt.error) == (entry.reason, entry.error)
