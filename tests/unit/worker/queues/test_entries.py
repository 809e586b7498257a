from datetime import UTC, datetime, timedelta, timezone
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.factories import (
    SOURCE,
    ChunkFields,
    a_chunk,
    an_announcement,
)
from tests.fakes.clock import START
from worker.queues import entries


def test_entry_id_is_golden() -> None:
    """The id outlives the process: a change would enqueue every chunk again."""
    assert entries.entry_id(a_chunk()) == "eedd38dcaff81d33d5eff247126d28ba"


def test_entry_id_is_the_same_for_what_adds_to_a_chunk() -> None:
    """The same chunk in another event, with another end, siblings, durations and times."""
    other = a_chunk(
        end_reason=None,
        announced=(),
        received_at=START + timedelta(hours=1),
        expires_at=START,
        announcement=an_announcement(
            event_id="event-2",
            event_time=None,
            recording_duration_ms=None,
            resource="CALLS",
            format_type="MP4",
            raw="{}",
        ),
    )

    assert entries.entry_id(other) == entries.entry_id(a_chunk())


DIFFERENT: list[ChunkFields] = [
    {"document_id": "0-eus-d1-doc2"},
    {"content_location": f"{SOURCE}/v1/objects/0-eus-d1-doc1/content/audio"},
    {"metadata_location": None},
    {"delete_location": None},
    {"index": 1},
    {"announcement": an_announcement(resource="others")},
    {"announcement": an_announcement(topic="")},
    {"announcement": an_announcement(recording_id="recording-2")},
    {"announcement": an_announcement(call_id="call-2")},
    {"announcement": an_announcement(format_type="Wav")},
    {
        "announcement": an_announcement(
            recording_start_time=START - timedelta(days=1), recording_id="recording-1"
        )
    },
]


@pytest.mark.parametrize(
    "fields", DIFFERENT, ids=lambda fields: str(next(iter(fields)))
)
def test_entry_id_differs_by_all_that_a_false_event_could_take_over(
    fields: ChunkFields,
) -> None:
    """What it is, where it lies, whose key opens it, and how it will be called."""
    assert entries.entry_id(a_chunk(**fields)) != entries.entry_id(a_chunk())


@given(st.datetimes(timezones=st.just(UTC)))
def test_micros_round_trip(at: datetime) -> None:
    """A time comes back as it was stored, to the microsecond."""
    assert entries.instant(entries.micros(at)) == at


def test_micros_know_time_zones() -> None:
    """The same moment is the same number."""
    tokyo = START.astimezone(timezone(timedelta(hours=9)))

    assert entries.micros(tokyo) == entries.micros(START)


@pytest.mark.parametrize(
    ("attempts", "longest"),
    [(0, 0), (1, 0), (2, 4), (3, 8), (9, 512), (10, 600), (10_000, 600)],
)
def test_lapse_delay_doubles_up_to_ten_minutes(attempts: int, longest: float) -> None:
    """None at first, then 2^attempts seconds, up to half of it taken off by chance."""
    random = Random(7)  # noqa: S311 - jitter

    delays = [entries.lapse_delay(attempts, random).total_seconds() for _ in range(200)]

    assert longest / 2 <= min(delays) <= max(delays) <= longest
    assert len(set(delays)) == (200 if longest else 1)


def test_entries_of_a_document_begin_alike() -> None:
    """Whatever their locations: that is how they are found."""
    one, other = a_chunk(), a_chunk(content_location=f"{SOURCE}/v1/objects/d2")

    part = entries.document_part(one.document_id)

    assert entries.entry_id(one) != entries.entry_id(other)
    assert entries.entry_id(one).startswith(part)
    assert entries.entry_id(other).startswith(part)
