from contextlib import closing
from dataclasses import replace

import pytest

from tests.factories import a_chunk, a_delivery, an_announcement, some_chunks
from tests.fakes.clock import START
from tests.unit.worker.queues.databases import memory_database
from worker.queues import columns, entries, puts


@pytest.mark.parametrize("end_reason", [None, "SessionEnded", "a, b é"])
@pytest.mark.parametrize("duration_ms", [None, 0, 4000])
@pytest.mark.parametrize("siblings", [1, 2])
def test_saying_is_the_same_in_sql(
    end_reason: str | None, duration_ms: int | None, siblings: int
) -> None:
    """What a duplicate adds nothing to is known by it, without reading the chunk."""
    announcement = an_announcement(recording_duration_ms=duration_ms)
    alone = a_chunk(end_reason=end_reason, announcement=announcement)
    others = some_chunks(siblings)[1:]
    chunk = replace(
        alone, announced=(*alone.announced, *(each.announced[1] for each in others))
    )
    put = puts.prepare(a_delivery(chunk), now=START)
    with closing(memory_database()) as db:
        puts.put_all(db, [put])

        known, _ = puts._known(db, [entries.entry_id(chunk)])

    assert known[entries.entry_id(chunk)].saying == columns.saying(put.chunks[0])
