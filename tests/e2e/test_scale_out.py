"""Any number of webhooks and consumers on one storage account, killed at random."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import pytest

from tests import media
from tests.azurite import Azurite
from tests.e2e import events
from tests.e2e.events import Original
from tests.e2e.stores import AzuriteStores
from tests.e2e.worker_process import WorkerProcess
from tests.e2e.world import WatchfulStandIn, World, check_home
from worker.model import ChunkState

RECORDINGS = 200
CHUNKS = (1,) * 45 + (2, 4, 3, 5, 6)
"""How many chunks recordings have, in turn: most calls last less than four hours."""
WEBHOOKS, CONSUMERS, KILLS = 2, 3, 2
BATCH = 10
"""Events of one delivery."""
LIMIT_SECONDS = 180
"""Ends a test that hangs; on two cores it takes a little over a minute."""
LOOK_AGAIN_SECONDS = 0.1
HASTY = {"WORKER_LEASE_SECONDS": "5", "WORKER_DRAIN_SECONDS": "5"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Consumer:
    """One place in the fleet: whoever is killed there is followed by another."""

    world: World
    name: str
    kills: Sequence[int]
    """After so many deletes at the source."""
    died: list[str] = field(default_factory=list)

    async def run(self, stopping: asyncio.Event) -> None:
        """Work until told to stop, and die on the way as planned."""
        for number, deletes in enumerate(self.kills):
            async with self._process(number) as process:
                await self._wait_for_deletes(deletes)
                process.kill()
                await process.ended()
            self.died.append(process.err)
        async with self._process(len(self.kills)) as process:
            await stopping.wait()
            assert await process.stop() == 0
            assert process.said("attempt.crashed") == []

    def _process(self, number: int) -> AbstractAsyncContextManager[WorkerProcess]:
        return self.world.running("consume", WORKER_INSTANCE=f"{self.name}-{number}")

    async def _wait_for_deletes(self, count: int) -> None:
        # A request is seen before what it asks for is done: none may come behind the last.
        while len(self.world.acs.deleted) < count:  # noqa: ASYNC110 - by other processes
            await asyncio.sleep(LOOK_AGAIN_SECONDS)


@pytest.fixture
async def world(own_account: Azurite, tmp_path: Path) -> AsyncIterator[World]:
    """One container and one queue, and a source with nothing in it yet."""
    async with (
        AzuriteStores(own_account) as stores,
        WatchfulStandIn(stores) as acs,
    ):
        yield World(folder=tmp_path, acs=acs, stores=stores, settings=HASTY)


def offer(world: World, random: Random) -> tuple[list[bytes], dict[str, Original]]:
    """The recordings' deliveries, some events each, and what the source has of them."""
    announced: list[bytes] = []
    originals: dict[str, Original] = {}
    for number in range(RECORDINGS):
        name = f"recording{number:03d}"
        contents = [
            media.mp4(media=random.randbytes(20_000))
            for _ in range(CHUNKS[number % len(CHUNKS)])
        ]
        event, offered = events.recording_of(world.acs, name, contents)
        announced.append(event)
        originals |= offered
    batches = [announced[at : at + BATCH] for at in range(0, RECORDINGS, BATCH)]
    return [b"[" + b",".join(batch) + b"]" for batch in batches], originals


def planned_kills(random: Random, chunks: int) -> list[list[int]]:
    """For each consumer when it is killed: anywhere between the first chunk and the last."""
    moments = random.sample(range(5, chunks - 20), CONSUMERS * KILLS)
    return [sorted(moments[at::CONSUMERS]) for at in range(CONSUMERS)]


async def wait_until_over(world: World, originals: Mapping[str, Original]) -> None:
    """Until everything is gone at the source, and nothing is left in the queues."""
    acs, stores = world.acs, world.stores
    while acs.deleted != originals.keys() or await stores.messages():  # noqa: ASYNC110 - by other processes
        await asyncio.sleep(LOOK_AGAIN_SECONDS)


@pytest.mark.alone
@pytest.mark.timeout(LIMIT_SECONDS)
async def test_fleet_whose_consumers_are_killed_brings_everything_home(
    world: World,
) -> None:
    """Two webhooks, three consumers killed twice each: every chunk home once, nothing left."""
    random = Random(20261126)  # noqa: S311 - a seed, so that a failure repeats
    deliveries, originals = offer(world, random)
    kills = planned_kills(random, len(originals))
    fleet = [
        Consumer(world=world, name=f"consumer-{number}", kills=moments)
        for number, moments in enumerate(kills)
    ]
    stopping = asyncio.Event()

    async with AsyncExitStack() as webhooks, asyncio.TaskGroup() as group:
        for consumer in fleet:
            group.create_task(consumer.run(stopping))
        urls = [
            await (await webhooks.enter_async_context(world.running("webhook"))).url()
            for _ in range(WEBHOOKS)
        ]
        for number, delivery in enumerate(deliveries):
            assert await events.post(urls[number % WEBHOOKS], delivery) == 200
        await wait_until_over(world, originals)
        stopping.set()

    assert [len(consumer.died) for consumer in fleet] == [KILLS] * CONSUMERS
    await check_home(world, originals)
    assert await world.stores.poisoned() == 0
    entries = await world.entries()
    assert {entry.chunk.document_id for entry in entries} == originals.keys()
    assert {entry.state for entry in entries} == {ChunkState.DELETED}
