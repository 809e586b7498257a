"""When a chunk is lost: the earliest moment counts, and never one before its arrival."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from tests.fakes.clock import START
from worker import deadline

HOUR = timedelta(hours=1)
RETENTION = 24 * HOUR
TIMES = st.timedeltas(timedelta(days=-3650), timedelta(days=3650)).map(
    lambda ago: START + ago
)


def expiry(
    *,
    event_time: datetime | None = None,
    recording_start: datetime | None = None,
    index: int = 0,
    retention: timedelta = RETENTION,
) -> datetime:
    """When a chunk that arrives at START is lost."""
    return deadline.expires_at(
        received_at=START,
        event_time=event_time,
        recording_start=recording_start,
        index=index,
        retention=retention,
    )


def test_nothing_said_counts_from_the_arrival() -> None:
    """A chunk of an event without times has its retention from now."""
    assert expiry() == START + RETENTION


def test_event_time_counts_if_it_is_earlier() -> None:
    """A delivery that was an hour on its way has an hour less."""
    assert expiry(event_time=START - HOUR) == START - HOUR + RETENTION


def test_event_from_the_future_gains_nothing() -> None:
    """A sender's clock that is ahead can't move the deadline back."""
    assert expiry(event_time=START + HOUR) == START + RETENTION


def test_recording_start_counts_four_hours_for_each_chunk() -> None:
    """Chunk 2 was full twelve hours after the start; it may be stored since then."""
    start = START - 20 * HOUR

    assert expiry(recording_start=start, index=2) == start + 12 * HOUR + RETENTION
    assert expiry(recording_start=start, index=0) == start + 4 * HOUR + RETENTION
    assert expiry(recording_start=start, index=9) == START + RETENTION


def test_retention_is_the_sources() -> None:
    """A shorter retention makes an earlier deadline."""
    assert expiry(retention=2 * HOUR) == START + 2 * HOUR


def test_chunk_that_comes_late_is_due_now() -> None:
    """A deadline in the past is moved to the arrival."""
    assert expiry(event_time=START - timedelta(days=30)) == START


@given(
    received_at=TIMES,
    event_time=st.none() | TIMES,
    start=st.none() | TIMES,
    index=st.integers(0, 2**70),
)
def test_deadline_lies_between_arrival_and_retention(
    received_at: datetime,
    event_time: datetime | None,
    start: datetime | None,
    index: int,
) -> None:
    """No event, however false, makes a deadline before the arrival or past the retention."""
    expires = deadline.expires_at(
        received_at=received_at,
        event_time=event_time,
        recording_start=start,
        index=index,
        retention=RETENTION,
    )

    assert received_at <= expires <= received_at + RETENTION


def tightened(chunk_end: datetime | None) -> datetime:
    """The deadline START + 20 h of a chunk that came at START, tightened."""
    return deadline.tightened(
        START + 20 * HOUR,
        chunk_end=chunk_end,
        retention=RETENTION,
        received_at=START,
    )


def test_metadata_can_only_tighten_the_deadline() -> None:
    """An earlier end of the chunk makes an earlier deadline, a later one changes nothing."""
    assert tightened(None) == START + 20 * HOUR
    assert tightened(START - 10 * HOUR) == START + 14 * HOUR
    assert tightened(START - 4 * HOUR) == START + 20 * HOUR
    assert tightened(START) == START + 20 * HOUR
    assert tightened(START + 21 * HOUR) == START + 20 * HOUR


def test_metadata_never_tightens_beyond_the_arrival() -> None:
    """A chunk that ended a month ago is due at its arrival, not before."""
    assert tightened(START - timedelta(days=30)) == START


def test_metadata_at_the_end_of_the_calendar_changes_nothing() -> None:
    """A nonsensical time in the metadata can't crash the attempt."""
    assert tightened(datetime.max.replace(tzinfo=UTC)) == START + 20 * HOUR
    assert tightened(datetime.min.replace(tzinfo=UTC)) == START


def test_recording_is_open_until_its_last_chunk_is_lost() -> None:
    """The latest deadline of the chunks is the recording's."""
    chunks = [(START + RETENTION, START), (START + 2 * RETENTION, START)]

    assert deadline.recording_deadline(chunks) == START + 2 * RETENTION
    assert deadline.recording_deadline(chunks[:1]) == START + RETENTION


def test_recording_replayed_after_its_end_waits_a_while_for_its_siblings() -> None:
    """Chunks that arrive expired leave the others a few minutes to be announced."""
    chunks = [(START, START), (START, START + HOUR)]

    assert deadline.recording_deadline(chunks) == START + HOUR + deadline.LATE_SIBLINGS
