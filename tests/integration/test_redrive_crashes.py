"""A redrive may be killed between any two writes, and run again: the chunk comes home once."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest

from tests.azurite import Azurite
from tests.conftest import UniqueName
from tests.factories import a_chunk, a_delivery
from tests.fakes.archive import MemoryArchive
from tests.fakes.clock import START, ManualClock
from tests.integration.storage_world import World, eventually, leased
from worker.model import ChunkState, Redriven, Stored
from worker.ops.mending import queue_redrive
from worker.ops.selecting import Selection
from worker.queues.storage import ledger, redriving
from worker.queues.storage.channel import Channel
from worker.queues.storage.queue import POISON, StorageQueue

DEAD = Selection(state=ChunkState.DEAD)


class KilledError(BaseException):
    """Nothing of the command runs any more."""


class Steps:
    """The command dies right behind the chosen step."""

    def __init__(self) -> None:
        self.taken = 0
        self.dies_at: int | None = None

    def take(self) -> None:
        if self.dies_at is not None:
            if self.taken >= self.dies_at:
                raise KilledError
            self.taken += 1


@pytest.fixture
def steps() -> Steps:
    return Steps()


@pytest.fixture
def world(
    azurite: Azurite,
    unique_name: UniqueName,
    steps: Steps,
    monkeypatch: pytest.MonkeyPatch,
) -> World:
    """Each write to the archive and each operation on a queue is a step."""
    call = Channel._call

    async def stepped_call(
        channel: Channel, operation: Callable[[], Awaitable[Any]]
    ) -> Any:
        result = await call(channel, operation)
        steps.take()
        return result

    class SteppedArchive(MemoryArchive):
        def store(self, name: str, data: bytes) -> Stored:
            stored = super().store(name, data)
            steps.take()
            return stored

    monkeypatch.setattr(Channel, "_call", stepped_call)
    monkeypatch.setattr(redriving, "HIDDEN_SECONDS", 1)
    clock = ManualClock()
    archive = SteppedArchive(clock=clock)
    return World(
        azurite=azurite, name=unique_name("redrive"), clock=clock, archive=archive
    )


async def redrive(queue: StorageQueue) -> list[str]:
    return [r.outcome async for r in queue_redrive(queue, (), DEAD, dry_run=False)]


async def killed_redrive(queue: StorageQueue, steps: Steps, dies_at: int) -> None:
    steps.taken, steps.dies_at = 0, dies_at
    try:
        await redrive(queue)
    except* KilledError:
        pass
    finally:
        steps.dies_at = None


async def come_home(queue: StorageQueue) -> bool:
    for lease in await queue.lease(2):
        await queue.complete(lease, ChunkState.DELETED, note="")
    return await queue.next_due() is None


@pytest.mark.parametrize("dies_at", range(6))
@pytest.mark.parametrize("is_run_again", [True, False])
async def test_redrive_may_die_at_any_step(
    world: World, steps: Steps, dies_at: int, *, is_run_again: bool
) -> None:
    """The first of them sends the message: run again or not, it comes home."""
    # Urgent, for there the most is written.
    chunk = a_chunk(expires_at=START + timedelta(hours=2))
    async with world.worker() as queue:
        await queue.put(a_delivery(chunk))
        (lease,) = await queue.lease(1)
        await queue.dead_letter(lease, reason="no-credential", error="")

        await asyncio.create_task(killed_redrive(queue, steps, dies_at))
        if is_run_again:
            assert set(await redrive(queue)) <= {Redriven.REDRIVEN}
        await eventually(lambda: come_home(queue))

        (entry,) = await queue.list()
        assert entry.state is ChunkState.DELETED
        counts = await queue.counts(at_risk_within=timedelta(hours=6))
        assert (counts.at_risk, counts.dead) == (0, {})
        assert await world.sizes() == [0, 0]


async def test_poison_queue_holds_only_what_is_still_dead(world: World) -> None:
    """Its length is what others watch; what is none of ours stays for a human."""
    async with world.worker() as queue:
        chunks = [a_chunk(document_id=f"d{number}") for number in range(40)]
        await queue.put(a_delivery(*chunks))
        for lease in await leased(queue, 40):
            reason = "mended" if lease.chunk.document_id != "d7" else "not-mended"
            await queue.dead_letter(lease, reason=reason, error="")
        async with world.client(POISON) as client:
            await client.send_message("none of ours")
        assert await world.size(POISON) == 41
        mended = Selection(state=ChunkState.DEAD, reasons=("mended",))

        rows = [r async for r in queue_redrive(queue, (), mended, dry_run=True)]
        assert await world.size(POISON) == 41
        rows = [r async for r in queue_redrive(queue, (), mended, dry_run=False)]

        assert len(rows) == 39
        left = await world.contents(POISON)
        assert len(left) == 2
        assert any("not-mended" in text for text in left)
        assert "none of ours" in left


@pytest.mark.parametrize("died_before", [True, False])
async def test_message_of_a_death_that_is_just_told_stays(
    world: World, monkeypatch: pytest.MonkeyPatch, *, died_before: bool
) -> None:
    """A worker sends it, then tells the ledger: who tidies in between must not take it."""
    async with world.worker() as queue:
        await queue.put(a_delivery(a_chunk()))
        if died_before:
            (lease,) = await queue.lease(1)
            await queue.dead_letter(lease, reason="no-credential", error="")
            await redrive(queue)
            assert await world.size(POISON) == 0
            world.clock.advance(5)
        (lease,) = await leased(queue, 1)
        last_death = ledger.Ledger.last_death

        async def tidied(*asked: Any) -> Any:
            monkeypatch.undo()
            assert await queue.tidy() == 0
            return await last_death(*asked)

        monkeypatch.setattr(ledger.Ledger, "last_death", tidied)
        await queue.dead_letter(lease, reason="no-credential", error="")

        assert await world.size(POISON) == 1
        assert (await queue.counts(at_risk_within=timedelta(0))).dead


async def test_message_of_a_death_that_nobody_knows_goes_in_the_end(
    world: World,
) -> None:
    """What was pruned, or is dead no more, is not watched for ever."""
    async with world.worker() as queue:
        await queue.put(a_delivery(a_chunk()))
        (lease,) = await queue.lease(1)
        await queue.dead_letter(lease, reason="no-credential", error="")
        for name in [n for n in world.archive.objects if "/dead/" in n]:
            world.archive.lose(name)

        assert await queue.tidy() == 0
        world.clock.advance(3601)
        assert await queue.tidy() == 1
        assert await world.size(POISON) == 0


async def test_what_announced_it_is_lost(world: World) -> None:
    """Then nobody knows where the chunk is: it stays dead, and is told so."""
    async with world.worker() as queue:
        await queue.put(a_delivery(a_chunk()))
        (lease,) = await queue.lease(1)
        await queue.dead_letter(lease, reason="no-credential", error="")
        for name in [n for n in world.archive.objects if "/deliveries/" in n]:
            world.archive.lose(name)

    async with world.worker() as queue:
        assert await redrive(queue) == [Redriven.UNREADABLE]
        assert len(await queue.list(state=ChunkState.DEAD)) == 1
