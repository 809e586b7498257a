"""The queue's tables in memory, for tests of single statements."""

import sqlite3
from collections.abc import Sequence

from tests.factories import a_delivery
from tests.fakes.clock import START
from worker.model import Chunk
from worker.queues import puts, schema


def memory_database() -> sqlite3.Connection:
    db = sqlite3.connect(":memory:", isolation_level=None)
    db.row_factory = sqlite3.Row
    for statement in schema._TABLES:
        db.execute(statement)
    return db


def copy_chunk(db: sqlite3.Connection, chunk: Chunk, copies: int) -> None:
    """Fill the table with rows like the chunk's own, each a second later to expire."""
    puts.put_all(db, [puts.prepare(a_delivery(chunk), now=START)])
    db.execute("CREATE TEMP TABLE copy AS SELECT * FROM chunks")
    db.execute("DELETE FROM chunks")
    for number in range(copies):
        db.execute(
            "UPDATE copy SET id = NULL, row = ?, expires_at = expires_at + 1000000",
            (f"row-{number}",),
        )
        db.execute("INSERT INTO chunks SELECT * FROM copy")


def query_plan(db: sqlite3.Connection, sql: str, values: Sequence[object]) -> str:
    rows = db.execute("EXPLAIN QUERY PLAN " + sql, values)
    return "\n".join(row["detail"] for row in rows)
