from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.factories import a_chunk, an_announcement
from tests.fakes.clock import START
from worker import announced
from worker.model import ChunkKey, Sibling
from worker.queues.merging import merged

REASONS = [None, "ChunkIsFull", "Other", "SessionEnded", "sessionEnded"]
SIBLINGS = st.lists(
    st.builds(
        Sibling,
        key=st.sampled_from([ChunkKey(f"d{n}") for n in range(4)]),
        index=st.just(0),
        end_reason=st.sampled_from(REASONS),
    ),
    unique_by=lambda sibling: sibling.key,
).map(tuple)


@pytest.mark.parametrize("known", REASONS)
@pytest.mark.parametrize("news", REASONS)
def test_the_stronger_end_is_kept_in_any_order(
    known: str | None, news: str | None
) -> None:
    """The end of the session outranks another reason, any reason outranks none."""
    one, other = a_chunk(end_reason=known), a_chunk(end_reason=news)

    found = {merged(one, other).end_reason, merged(other, one).end_reason}

    assert len(found) == 1
    said = {reason for reason in (known, news) if reason is not None}
    ended = {reason for reason in said if reason.casefold() == "sessionended"}
    assert found - {None} <= (ended or said)
    assert (None in found) == (not said)


@given(known=SIBLINGS, news=SIBLINGS)
def test_siblings_merge_as_the_recording_merges_announcements(
    known: tuple[Sibling, ...], news: tuple[Sibling, ...]
) -> None:
    """There is one rule for what outranks what, here and where recordings are closed."""
    chunk = merged(a_chunk(announced=known), a_chunk(announced=news))

    assert {each.key: each for each in chunk.announced} == announced.union(
        [known, news]
    )


@given(known=SIBLINGS, news=SIBLINGS)
def test_merging_again_changes_nothing(
    known: tuple[Sibling, ...], news: tuple[Sibling, ...]
) -> None:
    """A duplicate that comes again and again is merged once."""
    other = a_chunk(announced=news, end_reason=None)
    once = merged(a_chunk(announced=known), other)

    assert merged(once, other) == once


def test_what_was_first_announced_stays() -> None:
    """Names in the archive follow from it."""
    known = a_chunk(announcement=an_announcement(recording_duration_ms=None))
    news = a_chunk(
        index=7,
        received_at=START.replace(year=2000),
        announcement=an_announcement(
            event_id="event-2", event_time=None, recording_start_time=None
        ),
        announced=known.announced,
    )

    assert merged(known, news) == replace(
        known, announcement=an_announcement(recording_duration_ms=600_000)
    )


def test_duration_that_is_known_stays() -> None:
    """Even if another announcement says another."""
    known = a_chunk(announcement=an_announcement(recording_duration_ms=0))
    news = a_chunk(announcement=an_announcement(recording_duration_ms=5))

    assert merged(known, news) == known
