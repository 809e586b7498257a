"""The queues that the contract suite runs on, and how time passes for each."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from random import Random
from typing import Protocol

from tests.azurite import Azurite
from tests.fakes.archive import MemoryArchive
from tests.fakes.clock import ManualClock
from tests.fakes.queue import MemoryQueue
from worker import storage_places
from worker.model import Lease, QueuedChunk
from worker.ports import Archive, ChunkQueue, Clock, QueueListing, QueueMending
from worker.queues.sqlite import SqliteQueue
from worker.queues.storage.messages import held_from
from worker.queues.storage.queue import StorageQueue
from worker.storage_clients import Identity, queue_client
from worker.storage_places import Place, Service

LEASE_SECONDS = 60.0
PATIENCE_SECONDS = 15.0


class WholeQueue(ChunkQueue, QueueListing, QueueMending, Protocol):
    """All that a queue is."""


class Rig(Protocol):
    """A queue under test, and time for it."""

    @property
    def queue(self) -> WholeQueue: ...

    @property
    def clock(self) -> ManualClock: ...

    async def lapse(self, lease: Lease) -> None:
        """Let so much time pass that the lease has lapsed."""
        ...

    async def lease_after(self, seconds: int) -> Lease:
        """Lease the one chunk that is due in so many seconds."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockedRig:
    """Of a queue that knows no time but the clock's."""

    queue: WholeQueue
    clock: ManualClock

    async def lapse(self, lease: Lease) -> None:
        left = lease.leased_until - self.clock.now()
        self.clock.advance(max(left.total_seconds(), 0))

    async def lease_after(self, seconds: int) -> Lease:
        self.clock.advance(seconds)
        (lease,) = await self.queue.lease(1)
        return lease


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageRig:
    """Of a Storage Queue, whose messages are hidden by the service's own time."""

    queue: StorageQueue
    clock: ManualClock
    place: Place
    identity: Identity

    async def lapse(self, lease: Lease) -> None:
        """Show the message again; the token is stale by that, as if another had received it."""
        held = held_from(lease.token)
        async with queue_client(self.place, self.identity, suffix=held.queue) as client:
            await client.update_message(held.id, held.receipt, visibility_timeout=0)

    async def lease_after(self, seconds: int) -> Lease:
        """Ask until the service shows it: its time can't be moved on."""
        async with asyncio.timeout(seconds + PATIENCE_SECONDS):
            while True:
                for lease in await self.queue.lease(1):
                    return lease
                await asyncio.sleep(0.1)


def memory_rig(clock: ManualClock) -> Rig:
    queue = MemoryQueue(clock, worker="w1", lease_seconds=LEASE_SECONDS)
    return ClockedRig(queue=queue, clock=clock)


@asynccontextmanager
async def sqlite_rig(clock: ManualClock, folder: Path) -> AsyncIterator[Rig]:
    queue = SqliteQueue(
        folder / "queue.db",
        clock=clock,
        worker="w1",
        random=Random(1),  # noqa: S311 - jitter
        lease_seconds=LEASE_SECONDS,
    )
    async with queue:
        yield ClockedRig(queue=queue, clock=clock)


@asynccontextmanager
async def storage_rig(
    clock: ManualClock, azurite: Azurite, name: str, archive: Archive | None = None
) -> AsyncIterator[Rig]:
    archive = archive or MemoryArchive(clock=clock)
    place, identity = place_of(azurite, name), identity_of(azurite)
    async with a_storage_queue(azurite, name, archive=archive, clock=clock) as queue:
        yield StorageRig(queue=queue, clock=clock, place=place, identity=identity)


def a_storage_queue(
    azurite: Azurite,
    name: str,
    *,
    archive: Archive,
    clock: Clock,
    worker: str = "w1",
    lease_seconds: float = LEASE_SECONDS,
    create: bool = True,
) -> StorageQueue:
    """A queue in the emulator; whoever opens one of the same name shares it."""
    return StorageQueue(
        place_of(azurite, name),
        identity_of(azurite),
        archive=archive,
        clock=clock,
        worker=worker,
        random=Random(1),  # noqa: S311 - jitter
        lease_seconds=lease_seconds,
        create=create,
    )


def place_of(azurite: Azurite, name: str) -> Place:
    return storage_places.parse(azurite.queue(name), Service.QUEUE)


def identity_of(azurite: Azurite) -> Identity:
    told = storage_places.parse_connection_string(azurite.connection_string)
    return Identity(connection_string=told, token=None)


async def lease_one(queue: ChunkQueue) -> Lease:
    (lease,) = await queue.lease(1)
    return lease


async def only(queue: QueueListing) -> QueuedChunk:
    (entry,) = await queue.list()
    return entry


async def wait_archived(queue: ChunkQueue, *, until: datetime) -> None:
    """Have the one chunk that is due wait for its siblings."""
    lease = await lease_one(queue)
    await queue.reschedule(
        lease, not_before=until, reason="siblings", error="", archived=True
    )
