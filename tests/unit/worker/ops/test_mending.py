"""Dead letters back to work, and leases back."""

import pytest

from tests.factories import a_delivery, some_chunks
from tests.fakes.clock import ManualClock
from tests.fakes.queue import MemoryQueue
from worker.errors import QueueUnavailableError
from worker.model import ChunkState, QueuedChunk, Redriven
from worker.ops.mending import (
    MendedRow,
    NotInQueueError,
    queue_redrive,
    queue_release,
)
from worker.ops.selecting import Selection

DEAD = Selection(state=ChunkState.DEAD)


@pytest.fixture
async def queue() -> MemoryQueue:
    """Four chunks: two dead, of two reasons, one held, one pending."""
    queue = MemoryQueue(clock=ManualClock(), worker="w1")
    await queue.put(a_delivery(*some_chunks(4)))
    first, second, _ = await queue.lease(3)
    await queue.dead_letter(first, reason="no-credential", error="")
    await queue.dead_letter(second, reason="host-not-allowed", error="")
    return queue


async def redriven(
    queue: MemoryQueue, *ids: str, chosen: Selection = DEAD, dry_run: bool = False
) -> list[MendedRow]:
    if ids:
        chosen = Selection()
    return [row async for row in queue_redrive(queue, ids, chosen, dry_run=dry_run)]


async def states(queue: MemoryQueue) -> list[ChunkState]:
    return sorted([entry.state async for entry in queue.scan()])


async def test_all_dead_are_redriven(queue: MemoryQueue) -> None:
    """And nobody else."""
    rows = await redriven(queue)

    assert [row.outcome for row in rows] == ["redriven", "redriven"]
    assert {row.reason for row in rows} == {"no-credential", "host-not-allowed"}
    assert (await states(queue)).count(ChunkState.DEAD) == 0


async def test_only_those_of_a_reason_are_redriven(queue: MemoryQueue) -> None:
    """What was mended was one cause."""
    (row,) = await redriven(
        queue,
        chosen=Selection(state=ChunkState.DEAD, reasons=("no-credential",)),
    )

    assert (row.reason, row.state) == ("no-credential", ChunkState.DEAD)
    assert (await states(queue)).count(ChunkState.DEAD) == 1


async def test_dry_run_changes_nothing(queue: MemoryQueue) -> None:
    """It tells the same rows."""
    rows = await redriven(queue, dry_run=True)

    assert [row.outcome for row in rows] == ["would-redrive", "would-redrive"]
    assert (await states(queue)).count(ChunkState.DEAD) == 2


async def test_again_finds_nothing_to_do(queue: MemoryQueue) -> None:
    """Whoever was cut short runs it again."""
    await redriven(queue)

    assert await redriven(queue) == []


async def test_id_may_mean_what_is_not_dead(queue: MemoryQueue) -> None:
    """The call of all four: each is told, the dead are redriven."""
    rows = await redriven(queue, "call-1")

    assert sorted(row.outcome for row in rows) == [
        *("not-dead", "not-dead", "redriven", "redriven")
    ]


@pytest.mark.parametrize("text", ["nobody", "", "cal"])
async def test_id_of_nothing_stops_all(queue: MemoryQueue, text: str) -> None:
    """Or too short a one, before anything is changed."""
    with pytest.raises(NotInQueueError, match="the queue knows no"):
        await redriven(queue, "call-1", text)

    assert (await states(queue)).count(ChunkState.DEAD) == 2


async def test_what_nobody_can_read_is_told(queue: MemoryQueue) -> None:
    """It stays dead, and others are redriven all the same."""

    class HalfBlind(MemoryQueue):
        async def redrive(self, entry: QueuedChunk) -> Redriven:
            if entry.reason == "no-credential":
                return Redriven.UNREADABLE
            return await queue.redrive(entry)

    blind = HalfBlind(clock=ManualClock(), _entries=queue._entries)

    rows = await redriven(blind)

    assert sorted(row.outcome for row in rows) == ["redriven", "unreadable"]


async def test_one_that_fails_hides_not_what_others_did() -> None:
    """What was done is told before the trouble is."""

    class Troubled(MemoryQueue):
        async def redrive(self, entry: QueuedChunk) -> Redriven:
            if entry.chunk.index == 1:
                raise QueueUnavailableError("disk I/O error")
            return await MemoryQueue.redrive(self, entry)

    queue = Troubled(clock=ManualClock())
    await queue.put(a_delivery(*some_chunks(40)))
    for lease in await queue.lease(40):
        await queue.dead_letter(lease, reason="no-credential", error="")
    told: list[MendedRow] = []

    async def tell() -> None:
        async for row in queue_redrive(queue, (), DEAD, dry_run=False):
            told.append(row)  # noqa: PERF401 - what was told before it raises

    with pytest.raises(QueueUnavailableError, match="disk I/O error"):
        await tell()

    assert len(told) == (await states(queue)).count(ChunkState.PENDING) == 15


async def test_more_than_one_batch_is_redriven() -> None:
    """Each once."""
    queue = MemoryQueue(clock=ManualClock())
    await queue.put(a_delivery(*some_chunks(40)))
    for lease in await queue.lease(40):
        await queue.dead_letter(lease, reason="no-credential", error="")

    rows = await redriven(queue)

    assert len({row.row for row in rows}) == len(rows) == 40


async def test_what_a_worker_holds_is_given_back(queue: MemoryQueue) -> None:
    """All of one worker's; told with its name."""
    chosen = Selection(state=ChunkState.LEASED, worker="w1")

    dry = [r async for r in queue_release(queue, (), chosen, dry_run=True)]
    rows = [r async for r in queue_release(queue, (), chosen, dry_run=False)]

    assert [row.outcome for row in dry] == ["would-release"]
    assert [(row.outcome, row.worker) for row in rows] == [("released", "w1")]
    assert ChunkState.LEASED not in await states(queue)


async def test_only_what_is_held_is_given_back(queue: MemoryQueue) -> None:
    """Of a call: one is held, one waits, two are dead."""
    rows = [
        row
        async for row in queue_release(queue, ["call-1"], Selection(), dry_run=False)
    ]

    outcomes = sorted(row.outcome for row in rows)
    assert outcomes == ["not-held", "not-held", "not-held", "released"]
