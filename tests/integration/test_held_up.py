"""What the SQLite queue says of chunks that wait alike."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from random import Random

import pytest

from tests.factories import a_chunk, a_delivery, an_announcement
from tests.fakes.clock import START, ManualClock
from worker.model import ChunkState, HeldUp, Lease
from worker.queues.sqlite import SqliteQueue

LATER = START + timedelta(hours=1)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def queue(tmp_path: Path, clock: ManualClock) -> AsyncIterator[SqliteQueue]:
    dice = Random(1)  # noqa: S311 - jitter
    path = tmp_path / "queue.db"
    async with SqliteQueue(path, clock=clock, worker="w1", random=dice) as queue:
        yield queue


async def a_lease(
    queue: SqliteQueue, document_id: str, *, resource: str = "calls"
) -> Lease:
    announcement = an_announcement(resource=resource, recording_id=document_id)
    chunk = a_chunk(document_id=document_id, announcement=announcement)
    await queue.put(a_delivery(chunk))
    (lease,) = await queue.lease(1)
    return lease


async def fail(
    queue: SqliteQueue, document_id: str, reason: str, *, resource: str = "calls"
) -> None:
    """As the first chunks of a streak do, of which an attempt is spent."""
    lease = await a_lease(queue, document_id, resource=resource)
    await queue.reschedule(lease, not_before=LATER, reason=reason, error="403")


async def release(queue: SqliteQueue, document_id: str, reason: str) -> None:
    """As those do that come in the pause."""
    lease = await a_lease(queue, document_id)
    await queue.release(lease, not_before=LATER, reason=reason, error="403")


async def succeed(queue: SqliteQueue, document_id: str, *, resource: str) -> None:
    lease = await a_lease(queue, document_id, resource=resource)
    await queue.complete(lease, ChunkState.DELETED, note="")


async def test_chunks_that_failed_alike_are_told_with_the_first_of_it(
    queue: SqliteQueue, clock: ManualClock
) -> None:
    """Whether an attempt was spent or not; whoever asks a chunk learns the same."""
    await fail(queue, "d1", "source-forbidden")
    clock.advance(60)
    await release(queue, "d2", "source-forbidden")
    await fail(queue, "d3", "throttled")

    assert await queue.held_up() == [
        HeldUp(
            scope="credential",
            resource="calls",
            reason="source-forbidden",
            error="403",
            chunks=2,
            since=START,
        )
    ]
    (released,) = await queue.find("d2")
    assert (released.reason, released.error, released.attempts) == (
        "source-forbidden",
        "403",
        0,
    )
    (attempt,) = await queue.attempts(released.row)
    assert (attempt.outcome, attempt.reason) == ("released", "source-forbidden")


@pytest.mark.parametrize(("resource", "is_over"), [("calls", True), ("other", False)])
async def test_credential_that_works_again_holds_nothing_up(
    queue: SqliteQueue, clock: ManualClock, resource: str, *, is_over: bool
) -> None:
    """What waits on is due a little later; that of another resource proves nothing."""
    await fail(queue, "d1", "source-forbidden")
    clock.advance(1)
    await succeed(queue, "d2", resource=resource)

    assert (await queue.held_up() == []) is is_over


async def test_what_failed_before_a_success_is_its_own_trouble(
    queue: SqliteQueue, clock: ManualClock
) -> None:
    """It waits on, and is neither counted with what fails now nor makes it older."""
    await fail(queue, "d1", "source-forbidden")
    clock.advance(60)
    await succeed(queue, "d2", resource="calls")
    clock.advance(60)
    await fail(queue, "d3", "source-forbidden")
    await release(queue, "d4", "source-forbidden")

    (held,) = await queue.held_up()
    assert (held.chunks, held.since) == (2, START + timedelta(minutes=2))


@pytest.mark.parametrize(
    ("reason", "is_over"), [("waiting-for-siblings", True), ("source-forbidden", False)]
)
async def test_chunk_that_came_home_and_waits_went_through(
    queue: SqliteQueue, clock: ManualClock, reason: str, *, is_over: bool
) -> None:
    """Its recording may not be complete for hours; unless its delete is what was refused."""
    await fail(queue, "d1", "source-forbidden")
    clock.advance(1)
    lease = await a_lease(queue, "d2")
    await queue.reschedule(
        lease, not_before=LATER, reason=reason, error="", archived=True
    )

    assert (await queue.held_up() == []) is is_over


async def test_archive_is_everybodys(queue: SqliteQueue, clock: ManualClock) -> None:
    """One line for all resources, until any chunk gets in."""
    await fail(queue, "d1", "archive-full")
    await fail(queue, "d2", "archive-full", resource="other")

    (held,) = await queue.held_up()
    assert (held.scope, held.resource, held.chunks) == ("archive", None, 2)

    clock.advance(1)
    await succeed(queue, "d3", resource="third")
    assert await queue.held_up() == []


async def test_release_without_a_reason_leaves_what_is_known(
    queue: SqliteQueue, clock: ManualClock
) -> None:
    """As at a drain."""
    await fail(queue, "d1", "source-forbidden")
    clock.advance(3600)
    (lease,) = await queue.lease(1)
    await queue.release(lease)

    (held,) = await queue.held_up()
    assert (held.chunks, held.since) == (1, START)
