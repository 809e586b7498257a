"""What is pending, in flight, waiting, dead, at risk; how fast it goes; and whether it may.

One look at the queue, and a few at the archive.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from worker import names, pauses
from worker.errors import NewerFormatError, PermanentError, RetryableError, systemic
from worker.model import ChunkKey, ChunkState, HeldUp, QueueCounts
from worker.ops.ahead import ahead
from worker.ports import Archive
from worker.stored import Control, Receipt, StoredFormatError, decode

RATE_WINDOW = timedelta(minutes=15)
STILL_AFTER = timedelta(minutes=5)
"""Where nothing is in flight, and nothing ended for so long, the rate foretells nothing."""
MOST_MEASURED = 64
"""Receipts that are read for the size of what came home; of more, these stand for all."""
MOST_AT_ONCE = 16
_TROUBLE = (RetryableError, PermanentError, NewerFormatError)


class CountingQueue(Protocol):
    """What `status` needs of a queue."""

    async def counts(self, *, at_risk_within: timedelta) -> QueueCounts: ...

    async def settled(self, *, since: datetime) -> Sequence[ChunkKey]: ...

    async def held_up(self) -> Sequence[HeldUp] | None:
        """What has pending chunks wait alike; None: this queue keeps no reasons."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """The queue in numbers; JSON fields of `status --json`: additions only."""

    as_of: datetime
    pending: int
    in_flight: int
    archived: int
    """Bytes safe; waiting for siblings or the delete, or kept at the source on purpose."""
    deleted: int
    dead: int
    dead_by_reason: dict[str, int]
    at_risk: int
    at_risk_hours: float
    earliest_deadline: datetime | None
    needs_attention: bool
    deferred: int
    """Deliveries that are durable and yet to be sorted: their chunks are counted nowhere."""
    deferred_since: datetime | None
    """When the oldest of them came."""
    is_sorting_late: bool
    """Whether the oldest of them waits for longer than a worker that does well takes."""
    rate_minutes: float
    """What follows is of the last so many minutes."""
    settled_chunks: int
    settled_bytes: int | None
    """None: the archive can't be asked."""
    eta: datetime | None
    """When all that is pending or in flight is done, at this rate; None: nobody can say."""
    held_up: tuple[HeldUp, ...] | None
    """For what so many chunks wait alike that consumers pause by themselves, as far as the queue
    tells: the pause is in their memory. None: this queue keeps no reasons."""
    paused: bool | None
    """Whether an operator paused all work; None: the archive can't be asked."""
    paused_since: datetime | None
    paused_by: str | None
    pause_reason: str | None
    problem: str | None
    """Why the archive can't be asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """What the archive says; without one nothing was paused, and nothing came home."""

    pause: Control | None = None
    size_bytes: int | None = 0
    problem: str | None = None


async def read_status(
    queue: CountingQueue,
    archive: Archive | None = None,
    *,
    at_risk_within: timedelta,
    now: datetime,
) -> Status:
    """Count. A chunk that is dead or at risk needs attention; so does what nobody sorts."""
    counts = await queue.counts(at_risk_within=at_risk_within)
    settled = await queue.settled(since=now - RATE_WINDOW)
    held_up = await _held_up(queue, counts)
    asked = await _asked(archive, settled)
    pause, states = asked.pause, counts.by_state
    eta = None if pause or held_up else await _eta(queue, counts, settled, now)
    return Status(
        as_of=now,
        pending=states.get(ChunkState.PENDING, 0),
        in_flight=states.get(ChunkState.LEASED, 0),
        archived=states.get(ChunkState.ARCHIVED, 0),
        deleted=states.get(ChunkState.DELETED, 0),
        dead=states.get(ChunkState.DEAD, 0),
        dead_by_reason=dict(sorted(counts.dead.items())),
        at_risk=counts.at_risk,
        at_risk_hours=at_risk_within / timedelta(hours=1),
        earliest_deadline=counts.oldest_deadline,
        needs_attention=_needs_attention(counts, now),
        deferred=counts.deferred,
        deferred_since=counts.deferred_since,
        is_sorting_late=counts.is_sorting_late(now),
        rate_minutes=RATE_WINDOW / timedelta(minutes=1),
        settled_chunks=len(settled),
        settled_bytes=asked.size_bytes,
        eta=eta,
        held_up=held_up,
        paused=None if asked.problem else pause is not None,
        paused_since=pause.at if pause else None,
        paused_by=pause.by if pause else None,
        pause_reason=pause.reason if pause else None,
        problem=asked.problem,
    )


def _needs_attention(counts: QueueCounts, now: datetime) -> bool:
    is_chunk = bool(counts.by_state.get(ChunkState.DEAD) or counts.at_risk)
    return is_chunk or counts.is_sorting_late(now)


async def _eta(
    queue: CountingQueue,
    counts: QueueCounts,
    settled: Sequence[ChunkKey],
    now: datetime,
) -> datetime | None:
    in_flight = counts.by_state.get(ChunkState.LEASED, 0)
    left = counts.by_state.get(ChunkState.PENDING, 0) + in_flight
    if not (left and settled):
        return None
    if not in_flight and not await queue.settled(since=now - STILL_AFTER):
        return None
    return now + left * RATE_WINDOW / len(settled)


async def _held_up(
    queue: CountingQueue, counts: QueueCounts
) -> tuple[HeldUp, ...] | None:
    """Fewer than pause a consumer are their own trouble: see worker/breaker.py."""
    if not counts.by_state.get(ChunkState.PENDING):
        return ()
    found = await queue.held_up()
    streaks = {kind.reason: kind.streak for kind in systemic()}
    if found is None:
        return None
    return tuple(each for each in found if each.chunks >= streaks[each.reason])


async def _asked(archive: Archive | None, settled: Sequence[ChunkKey]) -> _Asked:
    if archive is None:
        return _Asked()
    try:
        latest = await pauses.latest(archive)
        return _Asked(pause=latest.pause, size_bytes=await _size_of(archive, settled))
    except _TROUBLE as error:
        return _Asked(size_bytes=None, problem=str(error) or error.reason)


async def _size_of(archive: Archive, settled: Sequence[ChunkKey]) -> int:
    """About how much came home: some receipts stand for all."""
    asked = settled[:MOST_MEASURED]

    async def measure(key: ChunkKey) -> int:
        return await _bytes_of(archive, key)

    total = 0
    async for _, size_bytes in ahead(asked, measure, most=MOST_AT_ONCE):
        total += size_bytes
    return total * len(settled) // max(len(asked), 1)


async def _bytes_of(archive: Archive, key: ChunkKey) -> int:
    data = await archive.read(names.receipt_name(key))
    try:
        receipt = decode(Receipt, data or b"")
    except (NewerFormatError, StoredFormatError):
        return 0
    metadata = receipt.metadata.size_bytes if receipt.metadata else 0
    return receipt.content.size_bytes + metadata
