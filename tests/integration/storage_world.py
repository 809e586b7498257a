"""Storage Queues in Azurite and an archive in memory, for several workers."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TypeVar

from azure.storage.queue.aio import QueueClient

from tests.azurite import Azurite
from tests.contract.queues import (
    PATIENCE_SECONDS,
    a_storage_queue,
    identity_of,
    place_of,
)
from tests.factories import a_chunk, an_announcement
from tests.fakes.archive import MemoryArchive
from tests.fakes.clock import START, ManualClock
from worker.clock import SystemClock
from worker.model import Chunk, Lease
from worker.queues.storage.queue import POISON, URGENT, StorageQueue
from worker.storage_clients import queue_client

T = TypeVar("T")
HOUR = timedelta(hours=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """One set of queues and one archive; workers are opened on it."""

    azurite: Azurite
    name: str
    clock: ManualClock = field(default_factory=ManualClock)
    archive: MemoryArchive = field(default_factory=MemoryArchive)

    def worker(
        self,
        name: str = "w1",
        *,
        lease_seconds: float = 60,
        create: bool = True,
        real_time: bool = False,
    ) -> StorageQueue:
        return a_storage_queue(
            self.azurite,
            self.name,
            archive=self.archive,
            clock=SystemClock() if real_time else self.clock,
            worker=name,
            lease_seconds=lease_seconds,
            create=create,
        )

    @asynccontextmanager
    async def client(self, suffix: str = "") -> AsyncIterator[QueueClient]:
        place, identity = place_of(self.azurite, self.name), identity_of(self.azurite)
        async with queue_client(place, identity, suffix=suffix) as client:
            yield client

    async def contents(self, suffix: str = "") -> list[str]:
        """What can be seen in a queue, at most 32."""
        async with self.client(suffix) as client:
            peeked = await client.peek_messages(max_messages=32)
        return [message.content or "" for message in peeked]

    async def sizes(self) -> list[int]:
        """How many messages are at work, hidden ones too: urgent and usual."""
        return [await self.size(suffix) for suffix in (URGENT, "")]

    async def size(self, suffix: str) -> int:
        async with self.client(suffix) as client:
            properties = await client.get_queue_properties()
        return properties.approximate_message_count or 0

    async def send(self, text: str) -> None:
        async with self.client() as client:
            await client.send_message(text)

    async def lose_queues(self) -> None:
        for suffix in ("", URGENT, POISON):
            async with self.client(suffix) as client:
                await client.delete_queue()


async def eventually(ask: Callable[[], Awaitable[T]]) -> T:
    """Ask until the answer is yes: the service's time can't be moved on."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            if answer := await ask():
                return answer
            await asyncio.sleep(0.1)


async def leased(queue: StorageQueue, count: int) -> list[Lease]:
    """Lease until there are so many."""
    leases: list[Lease] = []
    while len(leases) < count:
        more = await queue.lease(count - len(leases))
        assert more
        leases += more
    return leases


def a_recording(number: int, *, expires_at: datetime = START + 24 * HOUR) -> Chunk:
    announcement = an_announcement(recording_id=f"recording-{number}")
    return a_chunk(
        document_id=f"d{number}", announcement=announcement, expires_at=expires_at
    )


async def leased_and_released(queue: StorageQueue, count: int) -> None:
    for lease in await leased(queue, count):
        await queue.release(lease)
