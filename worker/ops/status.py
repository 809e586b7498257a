"""What is pending, in flight, waiting, dead, at risk: one look at the queue."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from worker.model import ChunkState, QueueCounts


class CountingQueue(Protocol):
    """What `status` needs of a queue."""

    async def counts(self, *, at_risk_within: timedelta) -> QueueCounts: ...


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


async def read_status(
    queue: CountingQueue, *, at_risk_within: timedelta, now: datetime
) -> Status:
    """Count. Something needs attention when a chunk is dead or at risk."""
    counts = await queue.counts(at_risk_within=at_risk_within)
    dead = counts.by_state.get(ChunkState.DEAD, 0)
    return Status(
        as_of=now,
        pending=counts.by_state.get(ChunkState.PENDING, 0),
        in_flight=counts.by_state.get(ChunkState.LEASED, 0),
        archived=counts.by_state.get(ChunkState.ARCHIVED, 0),
        deleted=counts.by_state.get(ChunkState.DELETED, 0),
        dead=dead,
        dead_by_reason=dict(sorted(counts.dead.items())),
        at_risk=counts.at_risk,
        at_risk_hours=at_risk_within / timedelta(hours=1),
        earliest_deadline=counts.oldest_deadline,
        needs_attention=bool(dead or counts.at_risk),
    )
