"""The Storage Queue beyond the contract: messages, lanes, several workers, what was lost."""

import asyncio
import base64
import json
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial

import pytest
from structlog.testing import capture_logs

from tests.azurite import Azurite
from tests.blobs import blob_archive
from tests.conftest import UniqueName
from tests.contract.queues import (
    PATIENCE_SECONDS,
    a_storage_queue,
    lease_one,
    only,
    wait_archived,
)
from tests.factories import a_chunk, a_delivery, an_announcement, some_chunks
from tests.fakes.archive import MemoryArchive
from tests.fakes.clock import START, ManualClock
from tests.integration.storage_world import (
    HOUR,
    World,
    a_recording,
    eventually,
    leased,
    leased_and_released,
)
from tests.proofs import a_proof
from tests.storage_proxy import StorageProxy
from worker import names as archive_names
from worker.errors import (
    ArchiveForbiddenError,
    ArchiveUnavailableError,
    ConfigError,
    LeaseLostError,
    QueueUnavailableError,
)
from worker.model import Chunk, ChunkState, DeleteAnswer, Lane, Lease, Stored
from worker.queues.storage.arriving import KNOWN_SECONDS
from worker.queues.storage.names import Mark
from worker.queues.storage.queue import POISON, URGENT, StorageQueue
from worker.settlement import LONGEST_DELAY
from worker.stored import SourceDeleted, encode

MINUTE = timedelta(minutes=1)


@pytest.fixture
def world(azurite: Azurite, unique_name: UniqueName) -> World:
    return World(azurite=azurite, name=unique_name("storage"))


@pytest.fixture
async def queue(world: World) -> AsyncIterator[StorageQueue]:
    async with world.worker() as queue:
        yield queue


async def test_workers_never_hold_the_same_lease(world: World) -> None:
    """Two on one queue share out the chunks, and each settles its own."""
    chunks = [a_recording(n) for n in range(12)]
    async with world.worker("w1") as one, world.worker("w2") as two:
        await one.put(a_delivery(*chunks))

        batches = [await asyncio.gather(one.lease(2), two.lease(2)) for _ in range(4)]

        mine = [lease for first, _ in batches for lease in first]
        theirs = [lease for _, second in batches for lease in second]
        assert len({lease.row for lease in mine + theirs}) == len(mine + theirs) == 12
        assert mine
        assert theirs
        for queue, leases in ((one, mine), (two, theirs)):
            for lease in leases:
                await queue.complete(lease, ChunkState.DELETED, note="")
        assert await two.next_due() is None
        counts = await two.counts(at_risk_within=HOUR)
        assert counts.by_state[ChunkState.DELETED] == 12


async def test_delivery_is_durable_before_it_is_acknowledged(
    world: World, queue: StorageQueue
) -> None:
    """Its body and its chunks lie in the archive, its message in the queue, for ever."""
    await queue.put(a_delivery(a_chunk(), body=b"as \xff received"))

    (name,) = world.archive.objects
    document = json.loads(world.archive.objects[name])
    assert name.startswith("announced/deliveries/2026/03/01/12/")
    assert document["body_base64"] == "YXMg/yByZWNlaXZlZA=="
    async with world.client() as client:
        (message,) = await client.peek_messages()
    assert json.loads(message.content or "")["part"] == name
    assert message.expires_on is not None
    assert message.expires_on.year == 9999


async def test_delivery_of_many_chunks_is_split(
    world: World, queue: StorageQueue
) -> None:
    """Each part is fanned out by whoever receives it, and all of them come."""
    chunks = [a_recording(n) for n in range(150)]

    result = await queue.put(a_delivery(*chunks))

    assert result.enqueued == 150
    assert await world.sizes() == [0, 3]
    assert (await queue.counts(at_risk_within=HOUR)).by_state[ChunkState.PENDING] == 150
    assert len(await queue.list()) == 150
    leases = await leased(queue, 150)
    assert {lease.chunk for lease in leases} == set(chunks)


async def test_lapsed_lease_that_nobody_took_still_settles(world: World) -> None:
    """Late work counts as long as no other worker has begun."""
    async with world.worker(lease_seconds=1) as queue:
        await queue.put(a_delivery(a_chunk()))
        lease = await lease_one(queue)
        await eventually(world.contents)

        await queue.complete(lease, ChunkState.ARCHIVED, note="late")

        assert (await only(queue)).state is ChunkState.ARCHIVED
        assert await queue.next_due() is None


async def test_urgent_chunks_come_first(world: World, queue: StorageQueue) -> None:
    """What has under six hours left is polled first, whenever it came."""
    await queue.put(a_delivery(a_recording(1), a_recording(2)))
    await leased_and_released(queue, 2)
    await queue.put(a_delivery(a_recording(3, expires_at=START + 6 * HOUR - MINUTE)))

    (lease,) = await queue.lease(1)

    assert lease.chunk.document_id == "d3"
    assert await world.sizes() == [1, 2]


@pytest.mark.parametrize("lane", [Lane.UNTRIED, Lane.NEWEST])
async def test_other_lanes_look_behind_what_is_urgent(
    queue: StorageQueue, lane: Lane
) -> None:
    """Urgent chunks that keep failing can't hold every slot."""
    await queue.put(a_delivery(a_recording(1, expires_at=START + HOUR)))
    await queue.put(a_delivery(a_recording(2)))

    (lease,) = await queue.lease(1, lane=lane)

    assert lease.chunk.document_id == "d2"


async def test_rescheduled_chunk_moves_when_its_time_runs_out(
    world: World, queue: StorageQueue
) -> None:
    """Under six hours it goes to the urgent queue, hidden for as long as it has to wait."""
    await queue.put(a_delivery(a_recording(1, expires_at=START + 7 * HOUR)))
    lease = await lease_one(queue)
    world.clock.advance(2 * 3600)

    await queue.reschedule(
        lease, not_before=world.clock.now() + MINUTE, reason="r", error="e"
    )

    assert await world.sizes() == [1, 0]
    assert await queue.lease(1) == []
    with pytest.raises(LeaseLostError):
        await queue.extend(lease)


async def test_tightened_deadline_moves_a_chunk(
    world: World, queue: StorageQueue
) -> None:
    """A deadline learnt from the metadata counts as the announced one does."""
    await queue.put(a_delivery(a_recording(1)))
    tight = START + 5 * HOUR
    await queue.reschedule(
        await lease_one(queue),
        not_before=START,
        reason="r",
        error="e",
        expires_at=tight,
    )

    assert await world.sizes() == [1, 0]
    lease = await lease_one(queue)
    assert (lease.attempts, lease.chunk.expires_at) == (2, tight)
    assert (await only(queue)).chunk.expires_at == tight
    await queue.complete(lease, ChunkState.DELETED, note="")
    assert (await only(queue)).state is ChunkState.DELETED


async def test_chunk_that_siblings_close_for_is_not_kept(
    world: World, queue: StorageQueue
) -> None:
    """Its receipt is durable: whoever ends last closes the recording."""
    first, last = some_chunks(2)
    await queue.put(a_delivery(first, last))
    mine, theirs = await leased(queue, 2)

    await queue.reschedule(
        mine,
        not_before=START + 24 * HOUR,
        reason="waiting",
        error="",
        archived=True,
        others_close=True,
    )

    assert await world.sizes() == [0, 1]
    await queue.complete(theirs, ChunkState.DELETED, note="")
    assert await queue.next_due() is None


async def leave(queue: StorageQueue, lease: Lease, **more: datetime) -> None:
    """Let go of a chunk that its siblings close for."""
    await queue.reschedule(
        lease,
        not_before=START,
        reason="",
        error="",
        archived=True,
        others_close=True,
        **more,
    )


class PublicHalf(MemoryArchive):
    """The archive as a webhook sees it that may not read what is proven."""

    async def read(self, name: str) -> bytes | None:
        if name.startswith(archive_names.RECEIPTS):
            raise ArchiveForbiddenError("this identity may not do that")
        return await super().read(name)


async def test_webhook_that_may_not_see_receipts_still_tells_of_chunks_at_risk(
    world: World,
) -> None:
    public = replace(world, archive=PublicHalf())
    chunk = a_chunk(expires_at=START + HOUR)
    async with public.worker() as queue:
        await queue.put(a_delivery(chunk))
        await leased_and_released(queue, 1)
        counts = await queue.counts(at_risk_within=2 * HOUR)
        listed = await queue.list(state=ChunkState.PENDING)
    assert (counts.at_risk, counts.by_state[ChunkState.PENDING]) == (1, 1)
    assert [entry.chunk.key for entry in listed] == [chunk.key]


async def test_chunk_with_its_receipt_is_not_waited_for(
    world: World, queue: StorageQueue
) -> None:
    """A job that only empties the queue ends, though nobody settled it yet."""
    first, second = some_chunks(2, expires_at=START + HOUR)
    await queue.put(a_delivery(first, second))
    mine, theirs = await leased(queue, 2)
    await queue.reschedule(
        theirs, not_before=START + HOUR, reason="", error="", archived=True
    )
    assert await queue.next_due() == START + timedelta(seconds=1)

    await prove(world, mine.chunk)

    assert await queue.next_due() == START + HOUR
    counts = await queue.counts(at_risk_within=2 * HOUR)
    assert (counts.at_risk, counts.by_state[ChunkState.ARCHIVED]) == (0, 2)
    assert await queue.list(state=ChunkState.PENDING) == []
    assert len(await queue.list(state=ChunkState.ARCHIVED)) == 2
    (found,) = await queue.find(mine.row)
    assert found.state is ChunkState.ARCHIVED


async def test_nothing_is_waited_for_behind_its_deadline(
    world: World, queue: StorageQueue
) -> None:
    """What was due and did not come has no message, or only waits for others."""
    first, second = some_chunks(2, expires_at=START + HOUR)
    await queue.put(a_delivery(first, second))
    mine, theirs = await leased(queue, 2)
    await queue.reschedule(
        theirs, not_before=START + HOUR, reason="", error="", archived=True
    )
    await prove(world, mine.chunk)

    world.clock.advance(2 * 3600)

    next_due = await queue.next_due()
    assert next_due is not None
    assert next_due > world.clock.now() + LONGEST_DELAY


async def test_chunk_that_left_is_not_outstanding(queue: StorageQueue) -> None:
    """Whatever it did before, and though nobody ever wakes it: its receipt is durable."""
    await queue.put(a_delivery(*some_chunks(3)))
    plain, waiting, moving = await leased(queue, 3)
    await leave(queue, plain)
    await queue.reschedule(
        waiting, not_before=START, reason="", error="", archived=True
    )
    await queue.reschedule(
        moving, not_before=START, reason="", error="", expires_at=START + 5 * HOUR
    )
    for _ in range(2):
        (lease,) = await eventually(partial(queue.lease, 1))
        await leave(queue, lease)

    entries = await queue.list()
    assert [entry.state for entry in entries] == [ChunkState.ARCHIVED] * 3
    assert (await queue.rebuild(dry_run=True)).chunks == 0


async def test_wake_settles_what_others_close_for(
    world: World, queue: StorageQueue
) -> None:
    """The last sibling's close speaks for those whose messages are gone."""
    chunks = some_chunks(3)
    await queue.put(a_delivery(*chunks))
    mine, *_ = await leased(queue, 3)
    await leave(queue, mine)
    await record_delete(world, chunks[0])
    await prove(world, chunks[1])

    await queue.wake(chunks[0].recording)

    states = {entry.chunk.index: entry.state for entry in await queue.list()}
    assert states == {
        0: ChunkState.DELETED,
        1: ChunkState.ARCHIVED,
        2: ChunkState.PENDING,
    }


async def test_wake_settles_every_announcement(
    world: World, queue: StorageQueue
) -> None:
    """One chunk may be announced twice, and be due earlier than either said."""
    chunk = a_chunk()
    await queue.put(a_delivery(chunk))
    (one,) = await leased(queue, 1)
    await queue.put(a_delivery(chunk, body=b"again"))
    (two,) = await leased(queue, 1)
    tight = START + 5 * HOUR
    await queue.reschedule(one, not_before=START, reason="", error="", expires_at=tight)
    (one,) = await leased(queue, 1)
    await leave(queue, one)
    await leave(queue, two)
    await prove(world, chunk, expires_at=tight)
    await record_delete(world, chunk)

    await queue.wake(chunk.recording)

    entries = [entry async for entry in queue._means.ledger.due_in("announced/due/")]
    marks = [each.mark for entry in entries for each in entry.refs.values()]
    assert Counter(marks) == {Mark.DELETED: 2, Mark.MOVED: 1}


async def prove(
    world: World, chunk: Chunk, *, expires_at: datetime = START + 24 * HOUR
) -> None:
    """As whoever archived it did."""
    name = archive_names.receipt_name(chunk.key)
    receipt = replace(a_proof(chunk.document_id), expires_at=expires_at)
    await world.archive.create(name, encode(receipt))


async def record_delete(world: World, chunk: Chunk) -> None:
    """As whoever closes a recording does, for each of its chunks."""
    answer = DeleteAnswer(status=200, host="h", at=START, hops=())
    record = SourceDeleted(
        key=chunk.key, worker_version="1", worker_instance="w", answer=answer
    )
    name = archive_names.source_deleted_name(chunk.key)
    await world.archive.create(name, encode(record))


async def test_chunk_that_waits_too_late_is_settled_at_once(
    world: World, queue: StorageQueue
) -> None:
    """The last sibling may close the recording between its look and its wait."""
    first, _ = chunks = some_chunks(2)
    await queue.put(a_delivery(*chunks))
    mine, theirs = await leased(queue, 2)
    await record_delete(world, mine.chunk)
    await queue.wake(first.recording)
    await queue.complete(theirs, ChunkState.DELETED, note="")

    await queue.reschedule(
        mine, not_before=START, reason="", error="", archived=True, others_close=True
    )

    assert {entry.state for entry in await queue.list()} == {ChunkState.DELETED}


async def test_waiting_chunk_looks_again_less_and_less(queue: StorageQueue) -> None:
    """It can't be woken; so it comes back by itself, soon and then rarely."""
    await queue.put(a_delivery(a_chunk()))

    await wait_archived(queue, until=START + 24 * HOUR)

    assert await queue.lease(1) == []
    (lease,) = await eventually(partial(queue.lease, 1))
    assert lease.attempts == 2


FOREIGN = {
    "no JSON": "hello",
    "no message": '{"v": 1, "kind": "chunk"}',
    "a number": "5",
    "deep": "[" * 60_000,
    "base64": "eyJ2IjogMX0=",
    "another part": '{"v": 1, "kind": "delivery", "part": "../../secrets"}',
    "markup": "<a>&amp;]]></a>",
}


@pytest.mark.parametrize("text", FOREIGN.values(), ids=FOREIGN)
async def test_foreign_message_is_poisoned(
    world: World, queue: StorageQueue, text: str
) -> None:
    """It stalls nobody, and nothing of it is lost."""
    await world.send(text)
    await queue.put(a_delivery(a_chunk()))

    with capture_logs() as logs:
        (lease,) = await queue.lease(9)

    assert lease.chunk == a_chunk()
    (poison,) = [json.loads(content) for content in await world.contents(POISON)]
    assert poison["reason"] == "foreign-message"
    assert raw_of(world, poison) == text
    assert await world.sizes() == [0, 1]
    assert [line["event"] for line in logs] == ["message.poisoned"]


def raw_of(world: World, poison: dict[str, str]) -> str:
    if "raw_stored" in poison:
        return world.archive.objects[poison["raw_stored"]].decode()
    return base64.b64decode(poison["raw_base64"]).decode()


async def test_newer_message_is_left_to_a_newer_worker(
    world: World, queue: StorageQueue
) -> None:
    """During an upgrade nothing is poisoned that others understand."""
    await world.send('{"v": 2, "kind": "recording", "what": "?"}')

    with capture_logs() as logs:
        assert await queue.lease(1) == []

    assert await world.sizes() == [0, 1]
    assert await world.size(POISON) == 0
    assert [line["event"] for line in logs] == ["chunk.postponed"]


async def test_newer_delivery_is_left_to_a_newer_worker(
    world: World, queue: StorageQueue
) -> None:
    """The same where only the announcement is newer."""
    await queue.put(a_delivery(a_chunk()))
    (name,) = world.archive.objects
    world.archive.objects[name] = b'{"v": 2}'

    assert await queue.lease(1) == []

    assert await world.sizes() == [0, 1]
    assert await world.size(POISON) == 0


async def test_dead_letter_tells_why_in_the_poison_queue(
    world: World, queue: StorageQueue
) -> None:
    """Reason, attempts and last error are inside the message."""
    await queue.put(a_delivery(a_chunk()))
    await queue.reschedule(
        await lease_one(queue), not_before=START, reason="r", error="e"
    )

    await queue.dead_letter(await lease_one(queue), reason="host", error="not ours")

    (poison,) = [json.loads(content) for content in await world.contents(POISON)]
    entry = await only(queue)
    told = {name: poison[name] for name in ("reason", "error", "attempts", "worker")}
    assert told == {
        "reason": "host",
        "error": "not ours",
        "attempts": 2,
        "worker": "w1",
    }
    assert (poison["row"], poison["document_id"]) == (entry.row, "0-eus-d1-doc1")
    assert await world.sizes() == [0, 0]


async def test_missing_announcement_is_waited_for_an_hour(
    world: World, queue: StorageQueue
) -> None:
    """Then the chunk is dead, where an operator sees it."""
    await queue.put(a_delivery(a_chunk()))
    await leased_and_released(queue, 1)
    (name,) = [each for each in world.archive.objects if each.endswith(".json")]
    document = world.archive.objects[name]
    world.archive.lose(name)
    async with world.worker("w2") as other:
        assert await other.lease(1) == []
        world.clock.advance(3600)
        await eventually(partial(leased_to_death, world, other))

        await world.archive.create(name, document)
        entry = await only(other)
    assert (entry.state, entry.reason) == (ChunkState.DEAD, "announcement-lost")


async def leased_to_death(world: World, queue: StorageQueue) -> int:
    assert await queue.lease(1) == []
    return await world.size(POISON)


async def test_unreadable_announcement_kills_its_chunks_only(
    world: World, queue: StorageQueue
) -> None:
    """Damage is told, and others are leased."""
    await queue.put(a_delivery(a_recording(1)))
    await leased_and_released(queue, 1)
    (name,) = [each for each in world.archive.objects if each.endswith(".json")]
    await queue.put(a_delivery(a_recording(2)))
    world.archive.objects[name] = b"{}"
    async with world.worker("w2") as other:
        (lease,) = await other.lease(9)

        assert lease.chunk.document_id == "d2"
        assert (await other.counts(at_risk_within=HOUR)).dead == {"stored-format": 1}
        (dead,) = await other.list(state=ChunkState.DEAD)
        assert (dead.reason, dead.chunk.recording) == (
            "stored-format",
            a_recording(1).recording,
        )
        assert await other.find(dead.row) == [dead]


async def test_lost_queues_are_rebuilt(world: World) -> None:
    """Every outstanding chunk and delivery gets a message; what is settled gets none."""
    async with world.worker() as queue:
        await queue.put(a_delivery(*(a_recording(n) for n in range(4))))
        done, dead, waiting, held = await leased(queue, 4)
        await queue.complete(done, ChunkState.DELETED, note="")
        await queue.dead_letter(dead, reason="r", error="e")
        await queue.reschedule(
            waiting, not_before=START + HOUR, reason="", error="", archived=True
        )
        await queue.put(a_delivery(a_recording(5)))
        await world.lose_queues()
    async with world.worker() as queue:
        assert await queue.lease(9) == []
        planned = await queue.rebuild(dry_run=True)
        assert await world.sizes() == [0, 0]

        rebuilt = await queue.rebuild()

        assert planned == rebuilt
        assert (rebuilt.chunks, rebuilt.deliveries) == (2, 1)
        leases = await leased(queue, 3)
        documents = {lease.chunk.document_id for lease in leases}
        left = {lease.chunk.document_id for lease in (waiting, held)}
        assert documents == {*left, "d5"}


async def test_revived_chunk_is_at_work_again(queue: StorageQueue) -> None:
    """It may die again, and each death is told."""
    await queue.put(a_delivery(a_chunk()))
    await queue.dead_letter(await lease_one(queue), reason="first", error="1")
    await queue.put(a_delivery(a_chunk()))
    lease = await lease_one(queue)
    (entry,) = await queue.announced(a_chunk().recording)
    assert entry.state is ChunkState.PENDING

    await queue.dead_letter(lease, reason="again", error="2")

    assert (await only(queue)).reason == "again"
    assert (await queue.counts(at_risk_within=HOUR)).dead == {"again": 1}
    history = await queue.attempts(lease.row)
    assert [attempt.reason for attempt in history] == ["first", "again"]


async def test_revival_that_was_cut_is_done_again(
    world: World, queue: StorageQueue
) -> None:
    """Until the chunk is at work in the ledger, its death stands and brings that back."""
    await queue.put(a_delivery(a_chunk()))
    await queue.dead_letter(await lease_one(queue), reason="first", error="1")
    await queue.put(a_delivery(a_chunk()))
    world.archive.fail_next(
        ArchiveUnavailableError("down"), on="create", matching=f".{Mark.PENDING}."
    )
    with pytest.raises(QueueUnavailableError, match="down"):
        await queue.lease(1)

    await leased(queue, 1)

    assert (await queue.rebuild(dry_run=True)).chunks == 1
    assert (await queue.counts(at_risk_within=HOUR)).dead == {}


async def test_chunk_that_came_home_is_not_dead(queue: StorageQueue) -> None:
    """One announcement of it died, another brought it home."""
    await queue.put(a_delivery(a_chunk()))
    (one,) = await leased(queue, 1)
    await queue.put(a_delivery(a_chunk(), body=b"again"))
    (two,) = await leased(queue, 1)
    await queue.dead_letter(one, reason="r", error="e")

    await queue.complete(two, ChunkState.DELETED, note="")

    assert (await queue.counts(at_risk_within=HOUR)).dead == {}
    assert (await only(queue)).state is ChunkState.DELETED
    assert [each.outcome for each in await queue.attempts(one.row)] == ["dead"]


async def test_queue_is_ready_with_both_of_its_queues(
    world: World, queue: StorageQueue
) -> None:
    """What is urgent must not wait for a queue that is not there."""
    await queue.ready()
    async with world.client(URGENT) as client:
        await client.delete_queue()

    with pytest.raises(QueueUnavailableError, match="no such queue"):
        await queue.ready()


async def test_announcements_of_one_chunk_are_told_as_one(queue: StorageQueue) -> None:
    """Nothing that any of them says is forgotten where a recording is looked at."""
    first, _ = some_chunks(2)
    unsaid = an_announcement(recording_duration_ms=None)
    partial = replace(
        first, announcement=unsaid, announced=first.announced[:1], end_reason=None
    )
    await queue.put(a_delivery(partial))
    await queue.put(a_delivery(first, body=b"more"))
    await queue.lease(9)

    (entry,) = await queue.announced(first.recording)

    assert entry.chunk == first
    assert [each.chunk for each in await queue.naming(first.document_id)] == [first]


async def test_naming_sees_what_was_only_acknowledged(
    world: World, queue: StorageQueue
) -> None:
    """A delete must not take the only copy of what nobody has fanned out yet."""
    own, other = a_recording(1), a_recording(2)
    located = replace(other, document_id="d3")
    await queue.put(a_delivery(own))
    (mine,) = await leased(queue, 1)
    assert len(await queue.naming("d1")) == 1
    await queue.put(a_delivery(replace(own, metadata_location=None), located))

    states = [entry.state for entry in await queue.naming("d1")]

    assert states == [ChunkState.PENDING] * 2
    assert [entry.chunk for entry in await queue.naming("d2")] == [located]
    rows = {entry.row for entry in await queue.naming("d1")}
    async with world.worker("w2") as other_worker:
        await leased(other_worker, 2)
    await queue.complete(mine, ChunkState.DELETED, note="")
    assert {entry.row for entry in await queue.naming("d1")} == rows


async def test_naming_sees_what_another_worker_acknowledged_soon(
    world: World, queue: StorageQueue
) -> None:
    """A look counts for some seconds, so that a thousand deletes are not a thousand looks."""
    assert await queue.naming("d1") == []
    async with world.worker("w2") as other:
        await other.put(a_delivery(a_recording(1)))
    world.archive.fail_next(
        ArchiveUnavailableError("down"), on="list", matching="announced/deliveries/"
    )
    assert await queue.naming("d1") == []
    world.clock.advance(KNOWN_SECONDS)
    with pytest.raises(QueueUnavailableError, match="down"):
        await queue.naming("d1")

    (entry,) = await queue.naming("d1")

    assert entry.chunk == a_recording(1)


async def test_cancelled_lease_gives_back_what_it_got(world: World) -> None:
    """A worker that is stopped while it leases holds nothing, and has spent nothing."""
    async with world.worker("w1") as queue, world.worker("w2") as other:
        await queue.put(a_delivery(a_recording(1), a_recording(2)))
        leasing = asyncio.ensure_future(queue.lease(2))
        await asyncio.sleep(0)
        leasing.cancel()
        await asyncio.wait({leasing}, timeout=PATIENCE_SECONDS)

        assert leasing.cancelled()
        leases = await leased(other, 2)
        assert {lease.attempts for lease in leases} == {1}


async def test_missing_queues_are_created_or_told(world: World) -> None:
    """Who only looks creates nothing; the hint is the command that helps."""
    with pytest.raises(ConfigError, match="no such queue") as refused:
        await world.worker(create=False).__aenter__()

    assert refused.value.hint == (
        f"az storage queue create --name {world.name} "
        "--account-name devstoreaccount1 --auth-mode login"
    )
    async with world.worker():
        pass
    async with world.worker(create=False) as queue:
        await queue.ready()


async def test_queue_that_went_away_is_told_with_the_command(world: World) -> None:
    """A queue that somebody deleted stops the worker's leasing, not the worker."""
    async with world.worker() as queue:
        await world.lose_queues()

        with pytest.raises(QueueUnavailableError, match="no such queue") as gone:
            await queue.put(a_delivery(a_chunk()))

        assert "az storage queue create" in (gone.value.hint or "")
        with pytest.raises(QueueUnavailableError):
            await queue.ready()


async def test_trouble_of_the_ledger_is_the_queues(
    world: World, queue: StorageQueue
) -> None:
    """Whoever leases or puts need not know that an archive is behind it."""
    for operation in ("create", "list", "ready"):
        world.archive.fail_next(ArchiveUnavailableError("down"), on=operation)

    with pytest.raises(QueueUnavailableError, match="down"):
        await queue.put(a_delivery(a_chunk()))
    with pytest.raises(QueueUnavailableError, match="down"):
        await queue.announced(a_chunk().recording)
    with pytest.raises(QueueUnavailableError, match="down"):
        await queue.ready()


async def test_trouble_while_fanning_out_gives_the_rest_back(
    world: World, queue: StorageQueue
) -> None:
    """The delivery comes back by itself, and is done again."""
    await queue.put(a_delivery(a_recording(1)))
    await queue.put(a_delivery(a_recording(2)))
    world.archive.fail_next(
        ArchiveUnavailableError("down"), on="create", matching="announced/due/"
    )

    with pytest.raises(QueueUnavailableError, match="down"):
        await queue.lease(9)

    leases = await leased(queue, 2)
    assert {lease.attempts for lease in leases} == {1}


async def test_ledger_may_lie_in_a_container(
    azurite: Azurite, unique_name: UniqueName
) -> None:
    """One account holds it all: a chunk's life, with everything that is ever written."""
    name, clock = unique_name("container"), ManualClock()
    recording = a_chunk().recording
    async with (
        blob_archive(azurite, name, prefix="calls", clock=clock) as archive,
        a_storage_queue(azurite, name, archive=archive, clock=clock) as queue,
    ):
        await queue.put(a_delivery(*some_chunks(2), body=b"\xff"))
        (lease,) = await queue.lease(1)
        await queue.dead_letter(lease, reason="host", error="e")
        await queue.put(a_delivery(*some_chunks(2), body=b"\xff"))
        leases = await leased(queue, 3)
        states = [entry.state for entry in await queue.announced(recording)]
        for each in leases:
            await queue.complete(each, ChunkState.DELETED, note="")

        assert states == [ChunkState.PENDING] * 2
        assert await queue.next_due() is None
        entries = await queue.list()
        assert {entry.chunk for entry in entries} == set(some_chunks(2))
        assert {entry.state for entry in entries} == {ChunkState.DELETED}
        assert [each.outcome for each in await queue.attempts(lease.row)] == ["dead"]
        names = [name async for name in archive.list("announced/")]
        assert len(names) == len(set(names)) == 14


async def test_trouble_within_a_page_spends_no_attempt(
    world: World, queue: StorageQueue
) -> None:
    """What was received and could not be leased goes back at once."""
    await queue.put(a_delivery(a_recording(1), a_recording(2)))
    await leased_and_released(queue, 2)
    async with world.worker("w2") as other:
        world.archive.fail_next(ArchiveUnavailableError("down"), on="read")
        with pytest.raises(QueueUnavailableError, match="down"):
            await other.lease(2)

        leases = await leased(other, 2)

    assert {lease.attempts for lease in leases} == {1}


async def test_missing_delivery_is_told_and_kept(
    world: World, queue: StorageQueue
) -> None:
    """A whole part that can't be found: nobody may forget that it came."""
    await queue.put(a_delivery(a_chunk()))
    (name,) = world.archive.objects
    world.archive.lose(name)

    with capture_logs() as logs:
        assert await queue.lease(1) == []

    assert [(line["event"], line["name"]) for line in logs] == [
        ("delivery.missing", name)
    ]
    assert await world.sizes() == [0, 1]


async def test_delivery_that_stays_missing_is_lost(
    world: World, queue: StorageQueue
) -> None:
    """After an hour its message comes back no more, and is kept for a human."""
    await queue.put(a_delivery(a_chunk()))
    (name,) = world.archive.objects
    world.archive.lose(name)
    assert await queue.lease(1) == []
    world.clock.advance(3600)

    with capture_logs() as logs:
        await eventually(partial(leased_to_death, world, queue))

    (poison,) = [json.loads(content) for content in await world.contents(POISON)]
    assert (poison["reason"], poison["error"]) == (
        "announcement-lost",
        f"no {name!r} since {START}",
    )
    assert json.loads(raw_of(world, poison))["part"] == name
    assert await world.sizes() == [0, 0]
    assert [line["event"] for line in logs] == ["message.poisoned"]


async def test_message_that_no_worker_can_judge_kills_none(
    world: World, queue: StorageQueue
) -> None:
    """It looks like one of ours but for its time: it is put aside, not tried for ever."""
    await queue.put(a_delivery(a_chunk()))
    await leased_and_released(queue, 1)
    document = json.loads((await world.contents())[0])
    await world.send(json.dumps({**document, "missing_since": "2026-03-01T12:00:00"}))

    leases = await queue.lease(9)

    assert [lease.chunk for lease in leases] == [a_chunk()]
    assert await world.size(POISON) == 1


class SlowArchive(MemoryArchive):
    """Each write takes a second of the clock's."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(clock=clock)
        self._hands = clock

    async def create(self, name: str, data: bytes) -> Stored:
        self._hands.advance(1)
        return await super().create(name, data)


async def test_delivery_is_held_while_it_is_fanned_out(
    azurite: Azurite, unique_name: UniqueName
) -> None:
    """However long that takes, it is renewed before anybody else could begin it, too."""
    clock = ManualClock()
    async with StorageProxy(azurite.queue_url) as proxy:
        world = World(
            azurite=replace(azurite, queue_url=proxy.url),
            name=unique_name("slow"),
            clock=clock,
            archive=SlowArchive(clock),
        )
        async with world.worker(lease_seconds=60) as queue:
            await queue.put(a_delivery(*[a_recording(n) for n in range(64)]))
            began = clock.monotonic()

            assert len(await queue.lease(1)) == 1

        renewed = [each for each in proxy.seen if each.operation == "update_message"]
        assert {each.query["visibilitytimeout"] for each in renewed} == {"60"}
        assert (clock.monotonic() - began) / (len(renewed) + 1) < 60
        assert await world.sizes() == [0, 64]
