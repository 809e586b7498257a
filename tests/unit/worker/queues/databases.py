"""The queue's tables in memory, for tests of single statements."""

import sqlite3
from collections.abc import Sequence

from tests.fakes.clock import START
from worker.model import Chunk
from worker.queues import entries, schema


def memory_database() -> sqlite3.Connection:
    db = sqlite3.connect(":memory:", isolation_level=None)
    db.row_factory = sqlite3.Row
    for statement in schema._TABLES:
        db.execute(statement)
    return db


def copy_chunk(db: sqlite3.Connection, chunk: Chunk, copies: int) -> None:
    """Fill the table with rows like the chunk's own, each a second later to expire."""
    stored = entries.stored_chunk(chunk, now=START)
    db.execute(
        """
        WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < ? - 1)
        INSERT INTO chunks (row, key, document_id, located, recording, resource, position, state,
            attempts, not_before, expires_at, enqueued_at, chunk, announced, said)
        SELECT 'row-' || i, ?, ?, '', ?, ?, 0, 'pending', 0, ?, ? + i * 1000000, 0, ?, ?, ?
        FROM n
        """,
        (
            copies,
            stored.key,
            stored.document_id,
            stored.recording,
            stored.resource,
            stored.not_before,
            stored.expires_at,
            stored.chunk,
            stored.announced,
            stored.said,
        ),
    )


def query_plan(db: sqlite3.Connection, sql: str, values: Sequence[object]) -> str:
    rows = db.execute("EXPLAIN QUERY PLAN " + sql, values)
    return "\n".join(row["detail"] for row in rows)
