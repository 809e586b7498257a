"""The deadline at scale: what is about to expire doesn't wait behind a backlog."""

import time
from collections.abc import AsyncIterator

import pytest
from structlog.testing import capture_logs

from tests.azurite import Azurite
from tests.blobs import blob_archive
from tests.conftest import UniqueName
from tests.contract.queues import a_storage_queue
from tests.factories import a_delivery
from tests.fakes.clock import START
from tests.integration.storage_world import (
    HOUR,
    World,
    a_recording,
    leased,
    leased_and_released,
)
from worker.clock import SystemClock
from worker.model import ChunkState, Delivery
from worker.queues.storage import rescue
from worker.queues.storage.queue import StorageQueue

BACKLOG = 10_000
RESCUE_SECONDS = 400
"""After this long a look at what is about to expire was due."""


@pytest.fixture
def world(azurite: Azurite, unique_name: UniqueName) -> World:
    return World(azurite=azurite, name=unique_name("deadlines"))


@pytest.fixture
async def queue(world: World) -> AsyncIterator[StorageQueue]:
    async with world.worker() as queue:
        yield queue


def a_backlog(count: int = BACKLOG) -> Delivery:
    """Chunks that have all day yet."""
    chunks = [a_recording(n, expires_at=START + 20 * HOUR) for n in range(count)]
    return a_delivery(*chunks)


@pytest.mark.timeout(120)
async def test_backlog_does_not_hold_up_what_expires_soon(
    world: World, queue: StorageQueue
) -> None:
    """Behind 10,000 chunks: the one that comes late, and those that aged while they waited."""
    soon = START + 6 * HOUR + HOUR / 2
    await queue.put(a_delivery(a_recording(70_001, expires_at=soon)))
    await leased_and_released(queue, 1)
    await queue.put(a_backlog())
    await queue.put(a_delivery(a_recording(70_002, expires_at=soon)))
    assert sum(await world.sizes()) == 1 + 157 + 1
    late = a_recording(70_003, expires_at=START + 5 * HOUR)
    await queue.put(a_delivery(late))

    (first,) = await queue.lease(1)

    assert first.chunk == late
    await queue.complete(first, ChunkState.DELETED, note="")
    world.clock.advance(3600)
    leases = await leased(queue, 2)
    documents = {lease.chunk.document_id for lease in leases}
    assert documents == {"d70001", "d70002"}


async def test_rescue_sends_what_became_urgent_once(
    world: World, queue: StorageQueue
) -> None:
    """A message too many is cheap, but not one at every look."""
    soon = START + 6 * HOUR + HOUR / 2
    await queue.put(a_delivery(a_recording(1, expires_at=soon), a_recording(2)))
    await leased_and_released(queue, 2)
    world.clock.advance(3600)

    with capture_logs() as logs:
        await look(world, queue)
        await look(world, queue)

    rescued = [line for line in logs if line["event"] == "queue.rescued"]
    assert [(line["chunks"], line["deliveries"]) for line in rescued] == [(1, 0)]
    assert await world.sizes() == [1, 2]


async def look(world: World, queue: StorageQueue) -> None:
    """Let the time of the next look come; nothing is left in hand."""
    world.clock.advance(RESCUE_SECONDS)
    for lease in await queue.lease(1):
        await queue.release(lease)


async def test_rescue_goes_on_soon_if_there_is_more(
    world: World, queue: StorageQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It doesn't hold up leasing for thousands at once."""
    monkeypatch.setattr(rescue, "MOST_AT_ONCE", 2)
    soon = START + 6 * HOUR + HOUR / 2
    await queue.put(a_delivery(*(a_recording(n, expires_at=soon) for n in range(3))))
    await leased_and_released(queue, 3)
    world.clock.advance(3600)

    with capture_logs() as logs:
        await look(world, queue)
        world.clock.advance(rescue.AGAIN_SECONDS)
        await queue.lease(1)

    rescued = [line for line in logs if line["event"] == "queue.rescued"]
    assert [line["chunks"] for line in rescued] == [2, 1]


async def test_rescue_and_rebuild_pass_by_what_can_not_be_read(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes nobody's place, however often one looks; and it is told apart."""
    monkeypatch.setattr(rescue, "MOST_AT_ONCE", 1)
    soon = START + 6 * HOUR + HOUR / 2
    async with world.worker() as queue:
        await queue.put(a_delivery(a_recording(1, expires_at=soon)))
        await queue.put(a_delivery(a_recording(2, expires_at=soon + HOUR / 4)))
        await leased(queue, 2)
        await world.lose_queues()
    (damaged, *_) = sorted(
        name for name in world.archive.objects if name.endswith(f"{soon:%H%M%SZ}.json")
    )
    world.archive.objects[damaged] = b"{}"
    async with world.worker() as queue:
        planned = await queue.rebuild(dry_run=True)
        assert (planned.chunks, planned.unreadable) == (1, 1)
        world.clock.advance(3600)

        await look(world, queue)

        (lease,) = await leased(queue, 1)
        assert lease.chunk.document_id == "d2"


async def test_rescue_leaves_what_is_settled_or_was_urgent_all_along(
    world: World, queue: StorageQueue
) -> None:
    """Done, dead and waiting chunks need no message, and an urgent one has it."""
    soon = START + 6 * HOUR + HOUR / 2
    chunks = [a_recording(n, expires_at=soon) for n in range(3)]
    await queue.put(a_delivery(*chunks))
    done, dead, waiting = await leased(queue, 3)
    await queue.complete(done, ChunkState.DELETED, note="")
    await queue.dead_letter(dead, reason="r", error="e")
    await queue.reschedule(waiting, not_before=soon, reason="", error="", archived=True)
    await queue.put(a_delivery(a_recording(4, expires_at=START + 5 * HOUR)))
    await leased_and_released(queue, 1)
    world.clock.advance(3600)

    with capture_logs() as logs:
        await look(world, queue)

    assert [line for line in logs if line["event"] == "queue.rescued"] == []


async def test_rescue_brings_back_what_the_queue_lost(world: World) -> None:
    """Without an operator, in the last hours: a queue that was emptied loses no chunk."""
    async with world.worker() as queue:
        await queue.put(a_delivery(a_recording(1)))
        await leased(queue, 1)
        await queue.put(a_delivery(a_recording(2)))
        await world.lose_queues()
    async with world.worker() as queue:
        await look(world, queue)
        assert await world.sizes() == [0, 0]
        world.clock.advance(19 * 3600)

        await look(world, queue)

        leases = await leased(queue, 2)
        assert {lease.chunk.document_id for lease in leases} == {"d1", "d2"}


async def test_delivery_that_nobody_fanned_out_is_sent_again(world: World) -> None:
    """Its message was lost: no chunk of it is known to anyone, but the ledger has it."""
    async with world.worker() as queue:
        await queue.put(a_delivery(a_recording(1)))
        await world.lose_queues()
    async with world.worker() as queue:
        world.clock.advance(2 * 3600)

        with capture_logs() as logs:
            await look(world, queue)

        rescued = [line for line in logs if line["event"] == "queue.rescued"]
        assert [(line["chunks"], line["deliveries"]) for line in rescued] == [(0, 1)]
        (lease,) = await leased(queue, 1)
        assert lease.chunk.document_id == "d1"


@pytest.mark.timeout(60)
async def test_delivery_of_five_thousand_events_is_stored_in_time(
    azurite: Azurite, unique_name: UniqueName
) -> None:
    """Event Grid waits 30 seconds; archive and queue are both the emulator here."""
    clock = SystemClock()
    now = clock.now()
    chunks = [a_recording(n, expires_at=now + 24 * HOUR) for n in range(5000)]
    delivery = a_delivery(*chunks, body=b"x" * 1_000_000, received_at=now)
    async with (
        blob_archive(azurite, unique_name("deliveries")) as archive,
        a_storage_queue(
            azurite, unique_name("deliveries"), archive=archive, clock=clock
        ) as queue,
    ):
        started_s = time.monotonic()

        result = await queue.put(delivery)

        assert time.monotonic() - started_s < 25
        assert result.enqueued == 5000
        counts = await queue.counts(at_risk_within=HOUR)
        assert counts.by_state[ChunkState.PENDING] == 5000
        assert len(await queue.lease(1)) == 1
