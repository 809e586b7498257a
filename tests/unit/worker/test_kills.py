"""A worker may die anywhere: what is left behind is finished by the next, to the same end."""

import asyncio
from collections.abc import Sequence
from datetime import datetime

import pytest

from tests.unit.worker.rig import Rig, killed_at
from worker.closing import DeletePolicy
from worker.model import Chunk, ChunkState

SETTLED = {ChunkState.DELETED, ChunkState.ARCHIVED, ChunkState.DEAD}


async def cancelled_after(rig: Rig, turns: int) -> bool:
    """Run one attempt that is cancelled after so many turns of the loop."""
    task = asyncio.ensure_future(rig.runner.run(await rig.lease()))
    for _ in range(turns):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait({task}, timeout=10)
    rig.restart()
    return task.cancelled()


async def finish(rig: Rig, chunks: Sequence[Chunk]) -> None:
    """Have the next worker do what is left."""
    await rig.work_off()
    await rig.assert_home(*chunks, state=ChunkState.DELETED)


async def step_count(policy: DeletePolicy) -> int:
    """How many calls an undisturbed attempt at one chunk makes."""
    rig = Rig(policy=policy)
    await rig.one()
    lease = await rig.lease()
    before = len(rig.steps.journal)
    await rig.drive(rig.runner.run(lease))
    return len(rig.steps.journal) - before


@pytest.mark.parametrize("policy", ["after-recording", "after-chunk"])
async def test_chunk_survives_a_kill_at_every_call(policy: DeletePolicy) -> None:
    """Killed before any call, or after any write: the next worker comes to the same end."""
    steps = await step_count(policy)
    assert steps > 30

    for step in range(steps):
        rig = Rig(policy=policy)
        chunk = await rig.one()

        assert await killed_at(rig, step)

        assert (await rig.queued(chunk)).state in {ChunkState.LEASED} | SETTLED
        await finish(rig, [chunk])


@pytest.mark.parametrize("keeps_waiting", [True, False])
async def test_recording_survives_a_kill_at_every_call(*, keeps_waiting: bool) -> None:
    """The same for a recording of two, whichever chunk is at work, again and again; also
    where the first leaves the queue and the second closes for both.
    """
    # Closing for both takes more calls than one chunk alone does.
    for step in range(2 * await step_count("after-recording")):
        rig = Rig(keeps_waiting=keeps_waiting)
        chunks = await rig.several(2)

        for _ in chunks:
            await killed_at(rig, step)

        await finish(rig, chunks)


async def test_recording_survives_kills_of_every_attempt() -> None:
    """Each attempt gets a call further than the one before: it comes home yet."""
    rig = Rig()
    chunks = await rig.several(2)
    deaths = 0

    while (due := await rig.queue.next_due()) is not None:
        rig.advance_to(due)
        await rig.queue.lease(0)
        if rig.clock.now() < await due_of(rig):
            continue  # The lease of the dead has lapsed, and waits a little.
        deaths += await killed_at(rig, 4 + deaths)

    assert deaths > 10
    await finish(rig, chunks)


async def test_chunk_survives_cancellation_at_every_await() -> None:
    """Cancelled wherever it awaits, an attempt gives its lease back, or had settled."""
    turns = 1
    is_cancelled = True
    while is_cancelled:
        rig = Rig()
        chunk = await rig.one()
        others = asyncio.all_tasks()

        is_cancelled = await cancelled_after(rig, turns)

        await assert_nothing_left_running(others)
        entry = await rig.queued(chunk)
        assert entry.state in {ChunkState.PENDING, ChunkState.DELETED}, turns
        assert entry.attempts == (0 if entry.state is ChunkState.PENDING else 1)
        assert rig.memory.in_use == 0
        await finish(rig, [chunk])
        turns += 1
    assert turns > 40


async def test_recording_survives_cancellation_at_every_await() -> None:
    """The same where the cancelled attempt is the one that closes the recording."""
    turns = 1
    is_cancelled = True
    while is_cancelled:
        rig = Rig()
        chunks = await rig.several(2)
        await rig.attempt()
        others = asyncio.all_tasks()

        is_cancelled = await cancelled_after(rig, turns)

        await assert_nothing_left_running(others)
        assert (await rig.queued(chunks[1])).state is not ChunkState.LEASED
        await finish(rig, chunks)
        turns += 1


async def due_of(rig: Rig) -> datetime:
    due = await rig.queue.next_due()
    assert due is not None
    return due


async def assert_nothing_left_running(others: set[asyncio.Task[object]]) -> None:
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == others
