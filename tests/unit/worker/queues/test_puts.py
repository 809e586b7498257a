import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import timedelta

import pytest

from tests.factories import a_chunk, a_delivery, an_announcement, some_chunks
from tests.fakes.clock import START
from tests.unit.worker.queues.databases import memory_database
from worker.model import Chunk, PutResult
from worker.queues import entries, puts, reads

LATER = START + timedelta(minutes=1)


@pytest.fixture
def db() -> Iterator[sqlite3.Connection]:
    with closing(memory_database()) as db:
        yield db


def single_puts(count: int) -> list[puts.Put]:
    return [
        puts.prepare(a_delivery(a_chunk(document_id=f"d{n}")), now=START)
        for n in range(count)
    ]


def stored(db: sqlite3.Connection) -> tuple[int, int]:
    """How many deliveries and chunks the tables hold."""
    (deliveries,) = db.execute("SELECT count(*) FROM deliveries").fetchone()
    (chunks,) = db.execute("SELECT count(*) FROM chunks").fetchone()
    return deliveries, chunks


@pytest.mark.parametrize("repeated", [False, True], ids=["new", "known"])
def test_a_batch_takes_three_statements(
    db: sqlite3.Connection, *, repeated: bool
) -> None:
    """However many deliveries: a statement each would wait for the busy loop each time."""
    batch = single_puts(50)
    if repeated:
        puts.put_all(db, batch)
    statements: list[str] = []
    db.set_trace_callback(statements.append)

    results = puts.put_all(db, batch)

    expected = PutResult(enqueued=not repeated, duplicates=repeated)
    assert results == [expected] * 50
    assert len(statements) <= 3
    assert stored(db) == (50, 50)


def test_statements_come_in_few_sizes(db: sqlite3.Connection) -> None:
    """Batches of any size share their prepared statements; the filling adds no rows."""
    for count in (1, 2, 3, 5, 6, 7):
        puts.put_all(db, single_puts(count))

    assert stored(db) == (7, 7)
    assert puts._CHUNKS.prepared(8).count("(?,") == 8


def test_more_rows_than_a_statement_holds_are_put(db: sqlite3.Connection) -> None:
    """A delivery of any size is put whole."""
    chunks = some_chunks(2 * puts.MAX_ROWS + 1)

    results = puts.put_all(db, [puts.prepare(a_delivery(*chunks), now=START)])

    assert results == [PutResult(enqueued=len(chunks), duplicates=0)]
    assert stored(db) == (1, len(chunks))


def test_results_are_as_if_one_after_the_other(db: sqlite3.Connection) -> None:
    """Within a batch the first delivery of a chunk enqueues it, the others know it."""
    one, two = a_chunk(document_id="d1"), a_chunk(document_id="d2")
    batch = [
        puts.prepare(delivery, now=START)
        for delivery in (a_delivery(one), a_delivery(one, two), a_delivery(two))
    ]

    results = puts.put_all(db, batch)

    assert results == [
        PutResult(enqueued=1, duplicates=0),
        PutResult(enqueued=1, duplicates=1),
        PutResult(enqueued=0, duplicates=1),
    ]


def test_body_is_stored_as_received_and_once(db: sqlite3.Connection) -> None:
    """The same body again is the same delivery; any bytes are kept."""
    body = b"\x00\xff not json"
    first = a_delivery(body=body, origin="inbox")
    again = a_delivery(a_chunk(), body=body, origin="replay")

    puts.put_all(db, [puts.prepare(first, now=START), puts.prepare(again, now=START)])

    (row,) = db.execute("SELECT body, origin FROM deliveries").fetchall()
    assert tuple(row) == (body, "inbox")
    assert stored(db) == (1, 1)


def test_duplicates_that_say_the_same_are_not_read(db: sqlite3.Connection) -> None:
    """Event Grid delivers again and again: each time only the arrival differs."""
    batch = single_puts(50)
    puts.put_all(db, batch)
    again = [
        puts.prepare(
            a_delivery(a_chunk(document_id=f"d{n}", received_at=LATER)), now=LATER
        )
        for n in range(50)
    ]
    statements: list[str] = []
    db.set_trace_callback(statements.append)

    puts.put_all(db, again)

    assert len(statements) <= 2


def test_batch_merges_as_if_one_after_the_other(db: sqlite3.Connection) -> None:
    """What several deliveries of one batch add to a chunk is kept, new or known."""
    chunks = some_chunks(3)
    alone = [
        replace(chunks[0], announced=tuple(chunks[n].announced[m] for m in {0, n}))
        for n in range(3)
    ]
    puts.put_all(db, [puts.prepare(a_delivery(alone[0], chunks[1]), now=START)])

    puts.put_all(
        db,
        [
            puts.prepare(a_delivery(alone[1]), now=START),
            puts.prepare(a_delivery(alone[2], chunks[2]), now=START),
        ],
    )

    first, *_ = reads.announced(db, chunks[0].recording)
    assert first.chunk == chunks[0]


def test_chunk_of_a_newer_format_learns_nothing(db: sqlite3.Connection) -> None:
    """What only a newer worker can read is left as it is, but for its deadline."""
    chunk = a_chunk(end_reason=None)
    puts.put_all(db, [puts.prepare(a_delivery(chunk), now=START)])
    db.execute("UPDATE chunks SET v = 2")
    news = a_chunk(expires_at=START)

    (result,) = puts.put_all(db, [puts.prepare(a_delivery(news), now=START)])

    assert result == PutResult(enqueued=0, duplicates=1)
    row = db.execute("SELECT v, end_reason, expires_at FROM chunks").fetchone()
    assert tuple(row) == (2, None, entries.micros(START))


def body_of(*events: str) -> bytes:
    return ("[" + " , ".join(events) + "]").encode()


def chunk_with(document_id: str, event: str) -> Chunk:
    return a_chunk(document_id=document_id, announcement=an_announcement(raw=event))


def test_an_event_is_kept_once(db: sqlite3.Connection) -> None:
    """It lies in the body of its delivery, and comes back from there to the character."""
    events = ['{"id": "é"}', '{"id": "b"}', '{"id": "é"}']
    chunks = [chunk_with(f"d{n}", event) for n, event in enumerate(events)]

    put = puts.prepare(a_delivery(*chunks, body=body_of(*events)), now=START)
    puts.put_all(db, [put])

    assert [chunk.raw for chunk in put.chunks] == [None] * 3
    found = reads.page_behind(db, page=reads.FIRST_PAGE, state=None).entries
    assert [entry.chunk.announcement.raw for entry in found] == events


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        body_of('{"id": "b"}'),
        body_of('{"id": "a", "more": "than was kept"}'),
    ],
)
def test_an_event_that_is_not_in_the_body_is_kept_with_its_chunk(
    db: sqlite3.Connection, body: bytes
) -> None:
    """As one whose other chunks were left out, or whose data had to be decoded."""
    chunks = [
        chunk_with("d1", '{"id": "a", "more": 1}'),
        chunk_with("d2", '{"id": "b"}'),
    ]

    puts.put_all(db, [puts.prepare(a_delivery(*chunks, body=body), now=START)])

    found = reads.page_behind(db, page=reads.FIRST_PAGE, state=None).entries
    assert [entry.chunk for entry in found] == chunks


@pytest.mark.parametrize(("more", "rows"), [(0, 0), (1, 2)])
def test_events_of_a_long_body_are_kept_with_their_chunks(
    db: sqlite3.Connection, more: int, rows: int
) -> None:
    """Each chunk that is read would have all of the body read, megabytes for a hundred."""
    chunks = [chunk_with("d1", '{"id": "a"}'), chunk_with("d2", '{"id": "b"}')]
    events = body_of('{"id": "a"}', '{"id": "b"}')
    body = events + b" " * (puts.MAX_SHARED_BYTES + more - len(events))

    puts.put_all(db, [puts.prepare(a_delivery(*chunks, body=body), now=START)])

    assert db.execute("SELECT count(raw) FROM chunks").fetchone()[0] == rows
    found = reads.page_behind(db, page=reads.FIRST_PAGE, state=None).entries
    assert [entry.chunk for entry in found] == chunks


def test_event_of_the_delivery_that_revived_a_chunk_counts(
    db: sqlite3.Connection,
) -> None:
    """A chunk that comes back has the event that brought it back, wherever that lies."""
    old, new = chunk_with("d1", '{"id": "old"}'), chunk_with("d1", '{"id": "the new"}')
    first = a_delivery(old, body=body_of('{"id": "old"}'))
    puts.put_all(db, [puts.prepare(first, now=START)])
    db.execute("UPDATE chunks SET state = 'dead', settled_at = 1")

    again = a_delivery(new, body=body_of("{}", '{"id": "the new"}'))
    puts.put_all(db, [puts.prepare(again, now=START)])

    (entry,) = reads.page_behind(db, page=reads.FIRST_PAGE, state=None).entries
    assert entry.chunk.announcement.raw == '{"id": "the new"}'


async def test_a_full_delivery_lets_others_have_their_turn() -> None:
    """What is prepared in turns is what is prepared at once."""
    chunks = some_chunks(3 * puts.CHUNKS_PER_TURN)
    delivery = a_delivery(*chunks)
    turns = 0

    async def count_turns() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count_turns())
    put = await puts.prepare_in_turns(delivery, now=START)
    counting.cancel()

    assert turns >= 3
    assert put == puts.prepare(delivery, now=START)
