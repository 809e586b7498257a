"""A prune may be killed behind any removal, and run again: the same end, and nothing comes back."""

import itertools
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from tests.azurite import Azurite
from tests.conftest import UniqueName
from tests.contract.queues import sqlite_rig
from tests.factories import a_chunk, a_delivery, an_announcement
from tests.fakes.archive import MemoryArchive
from tests.fakes.clock import START, ManualClock
from tests.integration.storage_world import World
from tests.unit.worker.ops.test_recordings import receipt_for
from worker import names
from worker.errors import QueueUnavailableError
from worker.model import Chunk, ChunkState, Pruned
from worker.ports import Archive
from worker.queues.storage.queue import StorageQueue
from worker.stored import encode

DAY = timedelta(days=1)
BEFORE = START + 10 * DAY


class KilledError(BaseException):
    """Nothing of the command runs any more."""


class MortalArchive(MemoryArchive):
    """Dies behind the chosen removal."""

    removals = 0
    dies_at = 10**6

    async def erase(self, name: str) -> None:
        if self.removals >= self.dies_at:
            raise KilledError
        await super().erase(name)
        self.removals += 1


def a_chunk_of(name: str, *, hours: float = 24) -> Chunk:
    return a_chunk(
        document_id=name,
        announcement=an_announcement(recording_id=f"of-{name}"),
        expires_at=START + timedelta(hours=hours),
    )


async def fill(queue: StorageQueue, archive: Archive) -> None:
    """One that died, was redriven and came home, its deadline learnt to be earlier; one urgent
    that came home; and one that is at work.
    """
    for name, hours in (("home", 24), ("urgent", 2)):
        chunk = a_chunk_of(name, hours=hours)
        await queue.put(a_delivery(chunk, body=name.encode()))
        await archive.create(names.receipt_name(chunk.key), encode(receipt_for(chunk)))
    first, second = await queue.lease(2)
    await queue.complete(first, ChunkState.DELETED, note="")
    await queue.reschedule(
        second, not_before=START, reason="r", error="", expires_at=START + DAY / 2
    )
    (lease,) = await queue.lease(1)
    await queue.dead_letter(lease, reason="r", error="")
    (dead,) = await queue.list(state=ChunkState.DEAD)
    await queue.redrive(dead)
    (lease,) = await queue.lease(1)
    await queue.complete(lease, ChunkState.DELETED, note="")
    await queue.put(a_delivery(a_chunk_of("open"), body=b"open"))
    assert len(await queue.lease(1)) == 1


async def pruned(queue: StorageQueue) -> Pruned:
    return await queue.prune(before=BEFORE, dead=False, dry_run=False)


def left(archive: MemoryArchive) -> set[str]:
    return {name for name in archive.objects if name.startswith("announced/")}


def held_in(folder: Path) -> bytes:
    """All that lies in the files of a queue."""
    return b"".join(path.read_bytes() for path in folder.iterdir())


async def test_prune_may_die_behind_any_removal(
    azurite: Azurite, unique_name: UniqueName
) -> None:
    """At no time would a rebuild bring back what was settled."""
    for dies_at in itertools.count():
        clock = ManualClock()
        archive = MortalArchive(clock=clock)
        world = World(
            azurite=azurite, name=unique_name("prune"), clock=clock, archive=archive
        )
        async with world.worker() as queue:
            await fill(queue, archive)
            archive.dies_at = dies_at
            try:
                await pruned(queue)
                was_killed = False
            except* KilledError:
                was_killed = True
            archive.dies_at = 10**6

            rebuilt = await queue.rebuild(dry_run=True)
            assert (rebuilt.chunks, rebuilt.deliveries, rebuilt.unreadable) == (1, 0, 0)
            assert (await queue.counts(at_risk_within=DAY)).dead == {}

            await pruned(queue)
            await pruned(queue)
            assert len({n for n in left(archive) if "/deliveries/" in n}) == 2
            assert len(left(archive)) == 5
        if not was_killed:
            break
    assert dies_at > 15


async def test_prune_of_what_is_dead_may_die_behind_any_removal(
    azurite: Azurite, unique_name: UniqueName
) -> None:
    """A death that is gone already was judged before its delivery goes."""
    for dies_at in itertools.count():
        clock = ManualClock()
        archive = MortalArchive(clock=clock)
        world = World(
            azurite=azurite, name=unique_name("prune"), clock=clock, archive=archive
        )
        async with world.worker() as queue:
            await queue.put(a_delivery(*(a_chunk_of(name) for name in ("one", "two"))))
            first, second = await queue.lease(2)
            await queue.dead_letter(first, reason="r", error="")
            # Of the other one an earlier deadline is learnt.
            await queue.reschedule(
                second,
                not_before=START,
                reason="r",
                error="",
                expires_at=START + DAY / 2,
            )
            (lease,) = await queue.lease(1)
            await queue.dead_letter(lease, reason="r", error="")
            archive.dies_at = dies_at
            try:
                await queue.prune(before=BEFORE, dead=True, dry_run=False)
                was_killed = False
            except* KilledError:
                was_killed = True
            archive.dies_at = 10**6

            await queue.prune(before=BEFORE, dead=True, dry_run=False)
            await queue.prune(before=BEFORE, dead=True, dry_run=False)
            assert left(archive) == set()
        if not was_killed:
            break
    assert dies_at > 8


async def test_prune_takes_nothing_that_has_no_proof(
    azurite: Azurite, unique_name: UniqueName
) -> None:
    """A mark alone is not enough; a tombstone is."""
    archive = MemoryArchive()
    world = World(azurite=azurite, name=unique_name("prune"), archive=archive)
    chunk = a_chunk_of("home")
    async with world.worker() as queue:
        await queue.put(a_delivery(chunk))
        (lease,) = await queue.lease(1)
        await queue.complete(lease, ChunkState.DELETED, note="")
        assert await pruned(queue) == Pruned(entries=0, deliveries=0)

        await archive.create(names.erased_name(chunk.key), b"{}")
        assert await pruned(queue) == Pruned(entries=1, deliveries=1)

    assert left(archive) == set()


async def test_prune_leaves_what_waits_by_a_deadline_that_was_learnt(
    azurite: Azurite, unique_name: UniqueName
) -> None:
    """It is home and proven, and its message still leads to the delivery."""
    archive = MemoryArchive()
    world = World(azurite=azurite, name=unique_name("prune"), archive=archive)
    chunk = a_chunk_of("home")
    receipt = replace(receipt_for(chunk), expires_at=START + DAY / 2)
    async with world.worker() as queue:
        await queue.put(a_delivery(chunk))
        (lease,) = await queue.lease(1)
        await queue.reschedule(
            lease,
            not_before=START,
            reason="r",
            error="",
            archived=True,
            expires_at=receipt.expires_at,
        )
        assert await pruned(queue) == Pruned(entries=0, deliveries=0)
        await archive.create(names.receipt_name(chunk.key), encode(receipt))
        assert await pruned(queue) == Pruned(entries=0, deliveries=0)

        (lease,) = await queue.lease(1)
        await queue.complete(lease, ChunkState.DELETED, note="")
        assert await pruned(queue) == Pruned(entries=1, deliveries=1)
    assert left(archive) == set()


async def test_prune_leaves_what_is_not_fanned_out_or_readable(
    azurite: Azurite, unique_name: UniqueName
) -> None:
    """Nobody knows yet what it announced."""
    archive = MemoryArchive()
    world = World(azurite=azurite, name=unique_name("prune"), archive=archive)
    async with world.worker() as queue:
        await queue.put(a_delivery(a_chunk_of("home")))
        assert await pruned(queue) == Pruned(entries=0, deliveries=0)
        await queue.lease(1)
        await archive.create("announced/due/20260301/notes.txt", b"")
        (name,) = [n for n in left(archive) if n.endswith(".json")]
        archive.objects[name] = b"{"

    async with world.worker() as queue:
        assert await pruned(queue) == Pruned(entries=0, deliveries=0)
    assert name in archive.objects


async def test_prune_looks_no_further_than_it_may(
    azurite: Azurite, unique_name: UniqueName
) -> None:
    """What came or was due later is not even read; what was announced before goes."""
    clock = ManualClock()
    archive = MemoryArchive(clock=clock)
    world = World(
        azurite=azurite, name=unique_name("prune"), clock=clock, archive=archive
    )
    async with world.worker() as queue:
        for name in ("home", "late"):
            chunk = replace(a_chunk_of(name), received_at=clock.now())
            at = max(chunk.expires_at, clock.now() + DAY)
            chunk = replace(chunk, expires_at=at)
            await archive.create(
                names.receipt_name(chunk.key), encode(receipt_for(chunk))
            )
            delivery = a_delivery(chunk, body=name.encode(), received_at=clock.now())
            await queue.put(delivery)
            (lease,) = await queue.lease(1)
            await queue.complete(lease, ChunkState.DELETED, note="")
            clock.advance(20 * DAY.total_seconds())

        assert await pruned(queue) == Pruned(entries=1, deliveries=1)

        assert len({name for name in left(archive) if "/deliveries/" in name}) == 2


async def test_archive_that_erases_nothing_is_told(
    azurite: Azurite, unique_name: UniqueName
) -> None:
    """In one line."""

    class WriteOnce(MemoryArchive):
        # As if there were none.
        erase = None  # type: ignore[assignment]

    archive = WriteOnce()
    world = World(azurite=azurite, name=unique_name("prune"), archive=archive)
    async with world.worker() as queue:
        await fill(queue, archive)

        with pytest.raises(QueueUnavailableError, match="can't erase"):
            await pruned(queue)


async def test_what_left_a_file_is_gone_from_it(tmp_path: Path) -> None:
    """Overwritten, and not in the log either: it names who took part."""
    secret = b"8:acs:somebody-who-took-part"
    async with sqlite_rig(ManualClock(), tmp_path) as rig:
        queue = rig.queue
        await queue.put(a_delivery(a_chunk_of("home"), body=secret * 400))
        (lease,) = await queue.lease(1)
        await queue.complete(lease, ChunkState.DELETED, note="")
        assert secret in held_in(tmp_path)

        pruned = await queue.prune(before=BEFORE, dead=False, dry_run=False)

        assert pruned == Pruned(entries=1, deliveries=1)
        assert secret not in held_in(tmp_path)
        assert await queue.attempts(lease.row) == []


async def test_more_than_a_batch_leaves_a_file(tmp_path: Path) -> None:
    """Each batch is a write of its own; a delivery stays as long as one chunk of it does."""
    async with sqlite_rig(ManualClock(), tmp_path) as rig:
        queue = rig.queue
        chunks = [a_chunk_of(f"d{number}") for number in range(300)]
        await queue.put(a_delivery(*chunks, a_chunk_of("open", hours=300)))
        for lease in await queue.lease(300):
            await queue.complete(lease, ChunkState.DELETED, note="")

        pruned = await queue.prune(before=BEFORE, dead=False, dry_run=False)

        assert pruned == Pruned(entries=300, deliveries=0)
        (entry,) = await queue.list()
        assert entry.chunk.document_id == "open"
        assert len(await queue.lease(1)) == 1
