"""What attempts come to, as metrics: fed beside the canonical lines, from the same facts."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

from worker.attempt import AttemptLog
from worker.settlement import DeadLetter, Release, Reschedule, Settlement
from worker.telemetry import meters
from worker.telemetry.instruments import (
    BYTES,
    CHUNK_DURATION,
    CHUNK_MARGIN,
    CHUNKS,
    DEAD_LETTERS,
    LEASES,
    LEASES_LOST,
    NO_REASON,
)


@contextmanager
def working() -> Iterator[None]:
    """One more chunk is in hand while the body runs."""
    meters.add(LEASES, 1)
    try:
        yield
    finally:
        meters.add(LEASES, -1)


def lease_lost() -> None:
    meters.add(LEASES_LOST)


def attempt_ended(
    record: AttemptLog, outcome: str, settlement: Settlement, *, now: datetime
) -> None:
    """All that is measured of one attempt; `outcome` is that of `chunk.finished`."""
    reason = NO_REASON
    if isinstance(settlement, Reschedule | DeadLetter | Release):
        reason = settlement.reason or NO_REASON
    meters.add(CHUNKS, outcome=outcome, reason=reason)
    if isinstance(settlement, DeadLetter):
        meters.add(DEAD_LETTERS, reason=reason)
    for step, seconds in record.seconds.items():
        meters.record(CHUNK_DURATION, seconds, step=step)
    meters.add(BYTES, record.stats.bytes, direction="downloaded")
    if record.archived_bytes is not None:
        # Once it is past there is no margin; a histogram takes nothing below 0.
        left = max((record.expires_at - now).total_seconds(), 0.0)
        meters.add(BYTES, record.archived_bytes, direction="archived")
        meters.record(CHUNK_MARGIN, left)
