import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import timedelta

import pytest

from tests.factories import a_chunk, a_delivery, some_chunks
from tests.fakes.clock import START
from tests.unit.worker.queues.databases import memory_database
from worker.model import PutResult
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
    db.execute("""UPDATE chunks SET chunk = '{"v":2}'""")
    news = a_chunk(expires_at=START)

    (result,) = puts.put_all(db, [puts.prepare(a_delivery(news), now=START)])

    assert result == PutResult(enqueued=0, duplicates=1)
    row = db.execute("SELECT chunk, end_reason, expires_at FROM chunks").fetchone()
    assert tuple(row) == ('{"v":2}', None, entries.micros(START))
