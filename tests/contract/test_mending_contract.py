"""What every queue keeps when an operator lists and mends it: in memory, in a file, on Azurite."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from tests.contract.queues import (
    Rig,
    WholeQueue,
    lease_one,
    only,
    sqlite_rig,
)
from tests.factories import a_chunk, a_delivery, some_chunks
from tests.fakes.clock import START, ManualClock
from worker.errors import LeaseLostError
from worker.model import ChunkState, Redriven

HOUR = timedelta(hours=1)


async def die(queue: WholeQueue, *, reason: str = "no-credential") -> None:
    lease = await lease_one(queue)
    await queue.dead_letter(lease, reason=reason, error="none")


async def test_list_takes_only_what_is_wanted(queue: WholeQueue) -> None:
    """The limit counts what is taken, not what is looked at."""
    chunks = some_chunks(5)
    await queue.put(a_delivery(*chunks))

    found = await queue.list(limit=2, only=lambda entry: entry.chunk.index > 1)

    assert len(found) == 2
    assert {entry.chunk.index for entry in found} <= {2, 3, 4}


async def test_scan_tells_each_entry_once(queue: WholeQueue) -> None:
    """More of them than one page holds, dead ones among them."""
    expiring = [
        a_chunk(document_id=f"d{n}", expires_at=START + HOUR + timedelta(seconds=n % 7))
        for n in range(300)
    ]
    await queue.put(a_delivery(*expiring))
    await die(queue)

    rows = [entry.row async for entry in queue.scan()]
    dead = [entry async for entry in queue.scan(state=ChunkState.DEAD)]
    pending = [entry.row async for entry in queue.scan(state=ChunkState.PENDING)]

    assert len(rows) == len(set(rows)) == 300
    assert len(dead) == 1
    assert set(pending) == set(rows) - {dead[0].row}
    assert [e async for e in queue.scan(state=ChunkState.DELETED)] == []


async def test_redriven_chunk_is_leased_at_once_as_if_new(queue: WholeQueue) -> None:
    """Attempts begin at 0, the death is over, and what it died of stays in its history."""
    await queue.put(a_delivery(a_chunk()))
    await die(queue)
    (dead,) = await queue.list(state=ChunkState.DEAD)

    assert await queue.redrive(dead) is Redriven.REDRIVEN

    entry = await only(queue)
    assert (entry.state, entry.attempts, entry.reason) == (ChunkState.PENDING, 0, None)
    assert entry.settled_at is None
    counts = await queue.counts(at_risk_within=HOUR)
    assert (counts.by_state[ChunkState.DEAD], counts.dead) == (0, {})
    assert (await lease_one(queue)).attempts == 1
    history = await queue.attempts(entry.row)
    assert [a.reason for a in history if a.outcome == "dead"] == ["no-credential"]


async def test_redrive_of_what_is_not_dead_changes_nothing(queue: WholeQueue) -> None:
    """Twice by two operators, or of a chunk that a replay has brought back."""
    await queue.put(a_delivery(a_chunk()))
    pending = await only(queue)
    assert await queue.redrive(pending) is Redriven.NOT_DEAD
    await die(queue)
    (dead,) = await queue.list(state=ChunkState.DEAD)
    await queue.redrive(dead)

    assert await queue.redrive(dead) is Redriven.NOT_DEAD

    assert len(await queue.lease(2)) == 1


async def test_redriven_chunk_may_die_again(queue: WholeQueue) -> None:
    """And be redriven again; every death is told."""
    await queue.put(a_delivery(a_chunk()))
    row = (await only(queue)).row
    for number in range(3):
        await die(queue, reason=f"reason-{number}")
        (dead,) = await queue.list(state=ChunkState.DEAD)
        assert dead.reason == f"reason-{number}"
        assert await queue.redrive(dead) is Redriven.REDRIVEN

    history = await queue.attempts(row)
    reasons = [past.reason for past in history if past.outcome == "dead"]
    assert reasons == ["reason-0", "reason-1", "reason-2"]


async def test_redrive_keeps_a_deadline_that_was_learnt(queue: WholeQueue) -> None:
    """What the metadata said of the end counts on: it is worked on by that."""
    await queue.put(a_delivery(a_chunk(expires_at=START + 24 * HOUR)))
    lease = await lease_one(queue)
    await queue.reschedule(
        lease,
        not_before=START,
        reason="throttled",
        error="429",
        expires_at=START + 20 * HOUR,
    )
    await die(queue)
    (dead,) = await queue.list(state=ChunkState.DEAD)

    await queue.redrive(dead)

    assert (await lease_one(queue)).chunk.expires_at == START + 20 * HOUR
    counts = await queue.counts(at_risk_within=HOUR)
    assert counts.oldest_deadline == START + 20 * HOUR


async def test_settled_tells_who_came_home_of_late(queue: WholeQueue, rig: Rig) -> None:
    """Archived or deleted, once each; not who is given up, waits, or came home before."""
    await queue.put(a_delivery(*some_chunks(5)))
    first, second, third, fourth, _ = await queue.lease(5)
    await queue.complete(first, ChunkState.DELETED, note="")
    rig.clock.advance(60)
    since = rig.clock.now()
    await queue.complete(second, ChunkState.DELETED, note="")
    await queue.complete(third, ChunkState.ARCHIVED, note="")
    await queue.dead_letter(fourth, reason="r", error="")

    keys = await queue.settled(since=since)

    assert sorted(keys) == sorted([second.chunk.key, third.chunk.key])
    assert len(await queue.settled(since=START)) == 3


async def test_given_back_chunk_is_leased_by_the_next(queue: WholeQueue) -> None:
    """Before the lease of whoever is gone has lapsed."""
    await queue.put(a_delivery(a_chunk()))
    await lease_one(queue)
    entry = await only(queue)

    assert await queue.give_back(entry)

    assert (await lease_one(queue)).row == entry.row


async def test_nothing_is_given_back_of_what_is_settled(queue: WholeQueue) -> None:
    """It is no one's any more."""
    await queue.put(a_delivery(a_chunk()))
    lease = await lease_one(queue)
    await queue.complete(lease, ChunkState.DELETED, note="")

    assert not await queue.give_back(await only(queue))

    assert await queue.lease(1) == []


async def test_chunk_that_another_worker_leased_meanwhile_is_left_to_it(
    tmp_path: Path,
) -> None:
    """The one that is gone was meant, and a long list was looked through before."""
    clock = ManualClock()
    async with sqlite_rig(clock, tmp_path) as rig:
        await rig.queue.put(a_delivery(a_chunk()))
        waiting = await only(rig.queue)
        await lease_one(rig.queue)
        held = replace(await only(rig.queue), leased_by="who-is-gone")

        for entry in (waiting, held):
            assert not await rig.queue.give_back(entry)

        assert (await only(rig.queue)).state is ChunkState.LEASED


async def test_worker_whose_chunk_was_given_back_settles_nothing(
    tmp_path: Path,
) -> None:
    """A queue that knows who holds what lets the next one have it alone."""
    async with sqlite_rig(ManualClock(), tmp_path) as rig:
        queue = rig.queue
        await queue.put(a_delivery(a_chunk()))
        lease = await lease_one(queue)
        await queue.give_back(await only(queue))

        with pytest.raises(LeaseLostError):
            await queue.complete(lease, ChunkState.DELETED, note="")

        (attempt,) = await queue.attempts(lease.row)
        assert attempt.outcome == "released"
        assert (await only(queue)).attempts == 0
