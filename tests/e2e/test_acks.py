"""200 means durable: what was acknowledged is in the queue, whatever happens next."""

import asyncio
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from itertools import count

import aiohttp

from tests.e2e import events
from tests.e2e.world import World

CONNECTIONS = 8
ROUNDS = 5
MOST_ACKS = {"sqlite": 300, "http": 30}
"""Between two kills, by the kind of queue: one is asked over the network."""


class Sender:
    """Posts distinct single-chunk events over several connections until they break."""

    def __init__(self, world: World, *, connections: int = CONNECTIONS) -> None:
        self._connections = connections
        template = events.announcement(
            world.acs, "DOCUMENT", started_at=datetime.now(UTC)
        )
        self._template = template.decode()
        self._numbers: Iterator[int] = count()
        self._heard = asyncio.Condition()
        self.acknowledged: set[str] = set()

    @asynccontextmanager
    async def sending(self, url: str) -> AsyncIterator[None]:
        """Send until the far side is gone."""
        async with aiohttp.ClientSession() as session, asyncio.TaskGroup() as group:
            for _ in range(self._connections):
                group.create_task(self._send(session, url))
            yield

    async def wait_for_acks(self, number: int) -> None:
        async with self._heard:
            await self._heard.wait_for(lambda: len(self.acknowledged) >= number)

    async def _send(self, session: aiohttp.ClientSession, url: str) -> None:
        while True:
            document = f"0-eus-d1-{next(self._numbers)}"
            body = self._template.replace("DOCUMENT", document).encode()
            try:
                async with session.post(url, data=body) as answer:
                    assert answer.status == 200
            except (aiohttp.ClientError, ConnectionError):
                return
            async with self._heard:
                self.acknowledged.add(document)
                self._heard.notify_all()


async def test_kill_loses_no_acknowledged_delivery(world: World) -> None:
    """Killed at random moments under load, round after round: every 200 is kept."""
    moments = random.Random(20261)  # noqa: S311 - a seed, so that a failure repeats
    sender = Sender(world)
    scheme = world.environment.get("WORKER_QUEUE", "sqlite").partition(":")[0]

    for _ in range(ROUNDS):
        wanted = len(sender.acknowledged) + moments.randint(1, MOST_ACKS[scheme])
        async with world.running("webhook") as worker:
            async with sender.sending(await worker.url()):
                await sender.wait_for_acks(wanted)
                worker.kill()
            await worker.ended()
        assert len(sender.acknowledged) >= wanted

    entries = await world.entries()
    kept = {entry.chunk.document_id for entry in entries}
    assert len(kept) == len(entries)
    assert kept >= sender.acknowledged
