"""What leaves a queue that is pruned, and what never does: in memory, in a file, on Azurite."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest

from tests.blobs import blob_archive
from tests.conftest import UniqueName
from tests.contract.queues import (
    Rig,
    WholeQueue,
    lease_one,
    memory_rig,
    sqlite_rig,
    storage_rig,
)
from tests.factories import a_chunk, a_delivery, an_announcement
from tests.fakes.archive import MemoryArchive
from tests.fakes.clock import START, ManualClock
from tests.unit.worker.ops.test_recordings import receipt_for
from worker import names
from worker.model import Chunk, ChunkState, Pruned
from worker.ports import Archive
from worker.stored import encode

DAY = timedelta(days=1)
NOTHING = Pruned(entries=0, deliveries=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """A queue, and the archive in which a Storage Queue has its ledger."""

    rig: Rig
    archive: Archive

    @property
    def queue(self) -> WholeQueue:
        return self.rig.queue

    async def put(self, name: str, *, days: float = 1) -> Chunk:
        chunk = a_chunk(
            document_id=name,
            announcement=an_announcement(recording_id=f"of-{name}"),
            expires_at=START + days * DAY,
        )
        await self.queue.put(a_delivery(chunk, body=name.encode()))
        return chunk

    async def come_home(self, name: str, *, days: float = 1) -> Chunk:
        chunk = await self.put(name, days=days)
        name = names.receipt_name(chunk.key)
        await self.archive.create(name, encode(receipt_for(chunk)))
        lease = await lease_one(self.queue)
        assert lease.chunk == chunk
        await self.queue.complete(lease, ChunkState.DELETED, note="")
        return chunk

    async def die(self, name: str) -> Chunk:
        chunk = await self.put(name)
        lease = await lease_one(self.queue)
        await self.queue.dead_letter(lease, reason="source-expired", error="404")
        return chunk

    async def prune(self, *, dead: bool = False, dry_run: bool = False) -> Pruned:
        """As a month later, of what is older than ten days."""
        before = START + 10 * DAY
        return await self.queue.prune(before=before, dead=dead, dry_run=dry_run)

    async def left(self) -> set[str]:
        """Documents that any announcement of the queue still names."""
        found = set()
        for document in ("home", "late", "dead", "open", "other"):
            if await self.queue.naming(document):
                found.add(document)
        return found


@pytest.fixture(params=["memory", "sqlite", "storage", "azure"])
async def bench(
    request: pytest.FixtureRequest, tmp_path: Path, unique_name: UniqueName
) -> AsyncIterator[Bench]:
    clock = ManualClock()
    archive: Archive = MemoryArchive(clock=clock)
    async with AsyncExitStack() as stack:
        match request.param:
            case "memory":
                rig = memory_rig(clock)
            case "sqlite":
                rig = await stack.enter_async_context(sqlite_rig(clock, tmp_path))
            case _:
                azurite, name = request.getfixturevalue("azurite"), unique_name("prune")
                if request.param == "azure":
                    blobs = blob_archive(azurite, name)
                    archive = await stack.enter_async_context(blobs)
                opened = storage_rig(clock, azurite, name, archive)
                rig = await stack.enter_async_context(opened)
        yield Bench(rig=rig, archive=archive)


async def test_what_is_home_for_long_leaves(bench: Bench) -> None:
    """With its delivery; what came home of late, died, or is at work stays."""
    await bench.come_home("home")
    await bench.come_home("late", days=12)
    await bench.die("dead")
    await bench.put("open")

    dry = await bench.prune(dry_run=True)
    assert await bench.left() == {"home", "late", "dead", "open"}
    pruned = await bench.prune()

    assert dry == pruned == Pruned(entries=1, deliveries=1)
    assert await bench.left() == {"late", "dead", "open"}
    assert await bench.prune() == NOTHING
    counts = await bench.queue.counts(at_risk_within=DAY)
    assert counts.by_state[ChunkState.PENDING] == 1
    assert counts.dead == {"source-expired": 1}


async def test_dead_leave_only_where_that_is_said(bench: Bench) -> None:
    """And with them all that is told of them."""
    await bench.die("dead")
    (entry,) = await bench.queue.list(state=ChunkState.DEAD)
    assert await bench.prune() == NOTHING

    pruned = await bench.prune(dead=True)

    assert pruned == Pruned(entries=1, deliveries=1)
    assert await bench.left() == set()
    assert await bench.queue.attempts(entry.row) == []
    assert (await bench.queue.counts(at_risk_within=DAY)).dead == {}


async def test_what_was_pruned_may_be_announced_again(bench: Bench) -> None:
    """It is new to the queue; its receipt is the archive's to know."""
    chunk = await bench.come_home("home")
    await bench.prune()

    again = await bench.queue.put(a_delivery(chunk, body=b"again"))

    assert again.enqueued == 1
    assert (await lease_one(bench.queue)).chunk.document_id == "home"


@pytest.mark.parametrize("deliveries", [1, 2])
async def test_recording_with_a_chunk_at_work_stays_whole(
    bench: Bench, deliveries: int
) -> None:
    """Whoever closes it looks at all that was announced of it, at once or one by one."""
    announcement = an_announcement(recording_id="one")
    first, second = (
        a_chunk(
            document_id=f"{name}",
            index=index,
            announcement=announcement,
            expires_at=START + DAY,
        )
        for index, name in enumerate(("home", "other"))
    )
    together = [(first, second)] if deliveries == 1 else [(first,), (second,)]
    for number, chunks in enumerate(together):
        await bench.queue.put(a_delivery(*chunks, body=f"{number}".encode()))
    for chunk in (first, second):
        name = names.receipt_name(chunk.key)
        await bench.archive.create(name, encode(receipt_for(chunk)))
    done, open_ = [await lease_one(bench.queue) for _ in range(2)]
    await bench.queue.complete(done, ChunkState.DELETED, note="")

    assert await bench.prune() == NOTHING

    await bench.queue.complete(open_, ChunkState.DELETED, note="")
    assert await bench.prune() == Pruned(entries=2, deliveries=deliveries)


async def test_nothing_is_left_of_what_was_pruned(bench: Bench) -> None:
    """Bodies and ledgers name who took part, and calls; the receipt stays."""
    await bench.come_home("home")
    await bench.die("dead")
    (dead,) = await bench.queue.list(state=ChunkState.DEAD)
    await bench.queue.redrive(dead)
    await bench.put("dead")
    lease = await lease_one(bench.queue)
    name = names.receipt_name(lease.chunk.key)
    await bench.archive.create(name, encode(receipt_for(lease.chunk)))
    await bench.queue.complete(lease, ChunkState.DELETED, note="")

    await bench.prune()

    held = {name.partition("/")[0] async for name in bench.archive.list("")}
    assert held == {"receipts"}
