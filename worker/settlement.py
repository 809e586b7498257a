"""How an attempt ends: the decision as data, made by one pure function."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Self

from worker import deadline
from worker.errors import (
    LeaseLostError,
    NewerFormatError,
    PermanentError,
    RetryableError,
    SourceExpiredError,
    SourceNotFoundError,
    WorkerError,
)
from worker.model import ChunkState

NEWER_FORMAT_DELAY = timedelta(seconds=60)
LONGEST_DELAY = timedelta(minutes=10)
SHORTEST_DELAY = timedelta(seconds=1)
"""Close to its deadline a chunk is not tried more often than this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Complete:
    """The chunk is done: `state` is ARCHIVED or DELETED."""

    state: ChunkState
    note: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Reschedule:
    """Due again at `not_before`; `archived`: its bytes are safe already."""

    not_before: datetime
    reason: str
    error: str
    archived: bool = False
    others_close: bool = False
    """Siblings at work will look at the recording when they end."""
    expires_at: datetime | None = None
    """A deadline that the attempt found to be earlier."""

    @classmethod
    def after(cls, seconds: float, error: WorkerError, *, now: datetime) -> Self:
        """Due again in so many seconds, because of `error`."""
        return cls(
            not_before=now + timedelta(seconds=seconds),
            reason=error.reason,
            error=str(error),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """A human decides."""

    reason: str
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """Given back unspent. With a reason: because of trouble that all chunks share."""

    not_before: datetime | None = None
    reason: str | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Nothing:
    """The lease was lost: another worker settles."""


Settlement = Complete | Reschedule | DeadLetter | Release | Nothing


def decide(
    error: WorkerError,
    *,
    now: datetime,
    expires_at: datetime,
    delay_seconds: float,
    archived: bool,
) -> Settlement:
    """What to do with a chunk whose attempt failed. No attempt cap: the deadline rules.

    `delay_seconds` is the backoff; what the far side asked for counts if it is longer.
    A chunk whose bytes are `archived` never dies: only its closing is owed.
    """
    match error:
        case LeaseLostError():
            return Nothing()
        case NewerFormatError():
            return Release(not_before=now + NEWER_FORMAT_DELAY)
        case SourceNotFoundError() if now >= expires_at and not archived:
            gone = SourceExpiredError.reason
            return DeadLetter(reason=gone, error=f"{error} after {expires_at:%F %TZ}")
        case PermanentError() if not archived:
            return DeadLetter(reason=error.reason, error=str(error))
        case _ if archived or now < expires_at + deadline.LATE_GRACE:
            return _reschedule(error, now, expires_at, delay_seconds, archived=archived)
        case _:
            return DeadLetter(
                reason=error.reason, error=f"given up after the deadline: {error}"
            )


def _reschedule(
    error: WorkerError,
    now: datetime,
    expires_at: datetime,
    delay_seconds: float,
    *,
    archived: bool,
) -> Reschedule:
    asked = error.retry_after if isinstance(error, RetryableError) else None
    seconds = min(max(delay_seconds, asked or 0), LONGEST_DELAY.total_seconds())
    delay = timedelta(seconds=seconds)
    left = expires_at - now
    if left > timedelta() and not archived:
        # The last try must come before the end, not ten minutes after it.
        delay = min(delay, max(left / 2, min(left, SHORTEST_DELAY)))
    return Reschedule(
        not_before=now + delay,
        reason=error.reason,
        error=str(error),
        archived=archived,
    )
