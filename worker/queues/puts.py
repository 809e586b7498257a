"""Many deliveries into the tables in a few statements.

Each step of SQLite lets go of the interpreter and must win it back from a busy event loop:
what counts is how few statements a batch takes, not how short they are. A batch takes one
question and two inserts, whatever its size.
"""

import hashlib
import itertools
import json
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from worker.model import Delivery, PutResult
from worker.queues import entries
from worker.queues.entries import StoredChunk

MAX_ROWS = 256
"""Rows of one statement; times the columns this stays far below SQLite's limit of 32,766."""


class StoredDelivery(NamedTuple):
    """What `put` writes of one delivery: the columns of the same names."""

    sha256: str
    body: bytes
    received_at: int
    origin: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Put:
    """One delivery, ready to be written; a chunk occurs once, with its earliest expiry."""

    delivery: StoredDelivery
    chunks: tuple[StoredChunk, ...]

    def __call__(self, db: sqlite3.Connection) -> PutResult:
        return put_all(db, [self])[0]


@dataclass(slots=True)
class _Plan:
    """What a batch of puts does to the chunks."""

    known: dict[str, int]
    """Rows that block a duplicate, with their `expires_at`."""
    fresh: dict[str, StoredChunk] = field(default_factory=dict)
    tightened: dict[str, int] = field(default_factory=dict)

    def put(self, chunks: Iterable[StoredChunk]) -> PutResult:
        before = len(self.fresh)
        duplicates = sum(self._is_duplicate(chunk) for chunk in chunks)
        return PutResult(enqueued=len(self.fresh) - before, duplicates=duplicates)

    def _is_duplicate(self, chunk: StoredChunk) -> bool:
        earlier = self.fresh.get(chunk.row)
        if earlier is not None:
            self.fresh[chunk.row] = _earliest(earlier, chunk)
            return True
        if chunk.row not in self.known:
            self.fresh[chunk.row] = chunk
            return False
        if chunk.expires_at < self.known[chunk.row]:
            self.known[chunk.row] = self.tightened[chunk.row] = chunk.expires_at
        return True


def prepare(delivery: Delivery, *, now: datetime) -> Put:
    """Do all that needs no database. Raises MalformedEventError."""
    chunks: dict[str, StoredChunk] = {}
    for chunk in delivery.chunks:
        new = entries.stored_chunk(chunk, now=now)
        chunks[new.row] = _earliest(chunks.get(new.row, new), new)
    return Put(
        delivery=StoredDelivery(
            sha256=hashlib.sha256(delivery.body).hexdigest(),
            body=delivery.body,
            received_at=entries.micros(delivery.received_at),
            origin=delivery.origin,
        ),
        chunks=tuple(chunks.values()),
    )


def _earliest(first: StoredChunk, second: StoredChunk) -> StoredChunk:
    return first._replace(expires_at=min(first.expires_at, second.expires_at))


def put_all(db: sqlite3.Connection, puts: Sequence[Put]) -> list[PutResult]:
    """Write all or raise; each result is as if the puts had come one after the other."""
    rows = {chunk.row for put in puts for chunk in put.chunks}
    plan = _Plan(_known(db, rows))
    results = [plan.put(put.chunks) for put in puts]
    _insert(db, _DELIVERIES, [put.delivery for put in puts])
    _insert(db, _CHUNKS, list(plan.fresh.values()))
    if plan.tightened:
        tightened = [(expires, row) for row, expires in plan.tightened.items()]
        db.executemany("UPDATE chunks SET expires_at = ? WHERE row = ?", tightened)
    return results


_KNOWN = """
SELECT group_concat(row || ' ' || expires_at)
FROM chunks
WHERE settled_at IS NULL AND row IN (SELECT value FROM json_each(?))
"""


def _known(db: sqlite3.Connection, rows: Iterable[str]) -> dict[str, int]:
    """All in one text: fetching the rows one by one would be a step for each."""
    (text,) = db.execute(_KNOWN, (json.dumps(list(rows)),)).fetchone()
    pairs = (pair.split(" ") for pair in text.split(",")) if text else ()
    return {row: int(expires_at) for row, expires_at in pairs}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Insert:
    """An insert of many rows. Rows of nulls fill it up, so that few sizes are prepared."""

    sql: str
    columns: int

    def prepared(self, rows: int) -> str:
        one = "(" + ", ".join("?" * self.columns) + ")"
        return self.sql.replace("ROWS", ", ".join([one] * rows))


_DELIVERIES = _Insert(
    columns=len(StoredDelivery._fields),
    sql="""
INSERT INTO deliveries (sha256, body, received_at, origin)
SELECT * FROM (VALUES ROWS) WHERE column1 IS NOT NULL
ON CONFLICT (sha256) DO NOTHING
""",
)
_CHUNKS = _Insert(
    columns=len(StoredChunk._fields),
    sql="""
INSERT INTO chunks (
    row, key, document_id, call_id, recording_id, recording, resource, position,
    end_reason, not_before, expires_at, enqueued_at, chunk, state, attempts)
SELECT *, 'pending', 0 FROM (VALUES ROWS) WHERE column1 IS NOT NULL
ON CONFLICT (row) DO UPDATE SET
    key = excluded.key, document_id = excluded.document_id,
    call_id = excluded.call_id, recording_id = excluded.recording_id,
    recording = excluded.recording, resource = excluded.resource,
    position = excluded.position, end_reason = excluded.end_reason,
    not_before = excluded.not_before, expires_at = excluded.expires_at,
    enqueued_at = excluded.enqueued_at, chunk = excluded.chunk,
    state = excluded.state, attempts = excluded.attempts,
    reason = NULL, error = NULL, note = NULL, settled_at = NULL
""",
)


def _insert(
    db: sqlite3.Connection, insert: _Insert, rows: Sequence[tuple[object, ...]]
) -> None:
    nulls = (None,) * insert.columns
    for start in range(0, len(rows), MAX_ROWS):
        part = list(rows[start : start + MAX_ROWS])
        size = 1 << (len(part) - 1).bit_length()
        part += [nulls] * (size - len(part))
        db.execute(insert.prepared(size), tuple(itertools.chain.from_iterable(part)))
