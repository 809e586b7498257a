"""A worker may die between any two writes: nothing is lost, and the end is the same."""

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Any

import pytest

from tests.azurite import Azurite
from tests.conftest import UniqueName
from tests.factories import a_delivery, some_chunks
from tests.fakes.archive import MemoryArchive
from tests.fakes.clock import START, ManualClock
from tests.integration.storage_world import HOUR, World, eventually
from worker.model import ChunkState, Stored
from worker.queues.storage.channel import Channel
from worker.queues.storage.queue import POISON, StorageQueue

CHUNKS = some_chunks(3)
RETENTION = 24 * HOUR
AT_ONCE = 12
"""Worlds that die side by side: each waits a second for a lease to lapse."""


class Dead(BaseException):
    """The worker was killed: nothing of it runs any more."""


class Steps:
    """Counts what the worker did; it dies right behind the chosen one and all later ones."""

    def __init__(self, dies_at: int | None = None) -> None:
        self.taken = 0
        self.is_acknowledged = False
        self._dies_at = dies_at

    def take(self) -> None:
        if self._dies_at is not None and self.taken >= self._dies_at:
            raise Dead
        self.taken += 1


STEPS: ContextVar[Steps | None] = ContextVar("steps", default=None)
"""Those of the worker that this task belongs to; none: it can't die."""


def step() -> None:
    steps = STEPS.get()
    if steps is not None:
        steps.take()


class SteppedArchive(MemoryArchive):
    """Steps after each write."""

    def store(self, name: str, data: bytes) -> Stored:
        stored = super().store(name, data)
        step()
        return stored


@pytest.fixture
def stepped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every operation on a queue ends in a step."""
    call = Channel._call

    async def stepped_call(
        channel: Channel, operation: Callable[[], Awaitable[Any]]
    ) -> Any:
        result = await call(channel, operation)
        step()
        return result

    monkeypatch.setattr(Channel, "_call", stepped_call)


async def live(queue: StorageQueue, steps: Steps) -> None:
    """What a worker does to a queue, all of it: a delivery comes, its chunks are worked off."""
    await queue.put(a_delivery(*CHUNKS))
    steps.is_acknowledged = True
    for lease in await queue.lease(3):
        match lease.chunk.index:
            case 0:
                extended = await queue.extend(lease)
                await queue.complete(extended, ChunkState.DELETED, note="")
            case 1:
                await queue.reschedule(
                    lease,
                    not_before=START,
                    reason="r",
                    error="e",
                    expires_at=START + HOUR,
                )
            case _:
                await queue.dead_letter(lease, reason="r", error="e")
    (lease,) = await queue.lease(1)
    await queue.reschedule(
        lease, not_before=START, reason="r", error="e", archived=True
    )


async def work_off(queue: StorageQueue) -> bool:
    """Bring everything to its end; whether nothing is left."""
    for lease in await queue.lease(3):
        if lease.chunk.index == 2:
            await queue.dead_letter(lease, reason="r", error="e")
        else:
            await queue.complete(lease, ChunkState.DELETED, note="")
    return await queue.next_due() is None


async def killed_at(world: World, steps: Steps) -> None:
    """One worker's life, up to that step."""
    async with world.worker("victim", lease_seconds=1) as queue:
        STEPS.set(steps)
        try:
            await live(queue, steps)
        except* Dead:
            pass
        finally:
            STEPS.set(None)


async def outlived(world: World, steps: Steps) -> dict[int, ChunkState]:
    """What becomes of the chunks when the worker dies at that step, and another goes on."""
    await asyncio.create_task(killed_at(world, steps))
    async with world.worker("heir", lease_seconds=1) as queue:
        if not steps.is_acknowledged:
            # Then it is delivered again.
            await queue.put(a_delivery(*CHUNKS))
        await eventually(lambda: work_off(queue))
        assert await world.sizes() == [0, 0], steps.taken
        assert await world.size(POISON) > 0
        assert [
            name async for name in queue._means.ledger.unfanned_in("announced/")
        ] == []
        return {entry.chunk.index: entry.state for entry in await queue.list()}


@pytest.mark.timeout(120)
@pytest.mark.usefixtures("stepped")
async def test_worker_may_die_at_any_step(
    azurite: Azurite, unique_name: UniqueName
) -> None:
    """Behind every write to the archive and every operation on a queue."""

    def world() -> World:
        clock = ManualClock()
        archive = SteppedArchive(clock=clock)
        return World(
            azurite=azurite, name=unique_name("crash"), clock=clock, archive=archive
        )

    undisturbed = Steps()
    ends = await outlived(world(), undisturbed)
    assert ends == {
        0: ChunkState.DELETED,
        1: ChunkState.DELETED,
        2: ChunkState.DEAD,
    }
    assert undisturbed.taken > 30

    for start in range(0, undisturbed.taken, AT_ONCE):
        results = await asyncio.gather(
            *(
                outlived(world(), Steps(dies_at))
                for dies_at in range(start, start + AT_ONCE)
            )
        )
        assert results == [ends] * AT_ONCE
