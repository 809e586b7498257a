"""When a chunk is lost: the one rule that orders all work. Pure.

ACS keeps a chunk for 24 hours ("stored for 24 hours on a built-in temporary storage",
https://learn.microsoft.com/azure/communication-services/concepts/voice-video-calling/call-recording).
When that clock starts is not documented, so the earliest moment that it can start counts.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta

MAX_CHUNK_DURATION = timedelta(hours=4)
"""A chunk lasts four hours at the most (same page)."""
LATE_GRACE = timedelta(hours=24)
"""After `expires_at` only the source's own 404 ends a chunk; other trouble gets this long."""

LATE_SIBLINGS = timedelta(minutes=15)
"""A recording replayed after its end waits this long for further announcements."""


def expires_at(
    *,
    received_at: datetime,
    event_time: datetime | None,
    recording_start: datetime | None,
    index: int,
    retention: timedelta,
) -> datetime:
    """min(event time, recording start + (index + 1) x 4 h, arrival) + retention.

    Never before the arrival: a chunk that comes late is due now, not in the past.
    """
    stored_at = [received_at]
    if event_time is not None:
        stored_at.append(event_time)
    if recording_start is not None:
        # An index from an untrusted event must not overflow the calendar.
        chunks = min(index + 1, 10_000)
        stored_at.append(recording_start + chunks * MAX_CHUNK_DURATION)
    return max(min(stored_at) + retention, received_at)


def tightened(
    expires: datetime,
    *,
    chunk_end: datetime | None,
    retention: timedelta,
    received_at: datetime,
) -> datetime:
    """`expires` or, where the metadata proves an earlier end of the chunk, the earlier time."""
    # Nor may a time from far ahead overflow the calendar.
    if chunk_end is None or chunk_end >= expires:
        return expires
    return max(min(expires, chunk_end + retention), received_at)


def recording_deadline(
    chunks: Iterable[tuple[datetime, datetime]],
) -> datetime:
    """When a recording is closed as it is, from its chunks' (`expires_at`, `received_at`)."""
    return max(max(expires, received + LATE_SIBLINGS) for expires, received in chunks)
