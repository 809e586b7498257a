"""Many deliveries into the tables in a few statements.

Each step of SQLite lets go of the interpreter and must win it back from a busy event loop:
what counts is how few statements a batch takes, not how short they are. A batch takes one
question and two inserts, whatever its size; what says more of a known chunk, a few more.
"""

import hashlib
import itertools
import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from worker.model import Delivery, PutResult
from worker.queues import entries, leases
from worker.queues.entries import StoredChunk
from worker.queues.put_plan import Known, Plan, added

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
    """One delivery, ready to be written; a chunk occurs once, with all that it says of it."""

    delivery: StoredDelivery
    chunks: tuple[StoredChunk, ...]

    def __call__(self, db: sqlite3.Connection) -> PutResult:
        return put_all(db, [self])[0]


def prepare(delivery: Delivery, *, now: datetime) -> Put:
    """Do all that needs no database. Raises MalformedEventError."""
    chunks: dict[str, StoredChunk] = {}
    for new in _stored_chunks(delivery, now):
        known = chunks.get(new.row)
        chunks[new.row] = added(known, new) if known else new
    return Put(
        delivery=StoredDelivery(
            sha256=hashlib.sha256(delivery.body).hexdigest(),
            body=delivery.body,
            received_at=entries.micros(delivery.received_at),
            origin=delivery.origin,
        ),
        chunks=tuple(chunks.values()),
    )


def _stored_chunks(delivery: Delivery, now: datetime) -> Iterator[StoredChunk]:
    """The chunks of an event share their siblings: the text of those is made once."""
    texts: dict[int, str] = {}
    for chunk in delivery.chunks:
        text = texts.get(id(chunk.announced))
        stored = entries.stored_chunk(chunk, now=now, announced=text)
        texts[id(chunk.announced)] = stored.announced
        yield stored


def put_all(db: sqlite3.Connection, puts: Sequence[Put]) -> list[PutResult]:
    """Write all or raise; each result is as if the puts had come one after the other."""
    chunks = [chunk for put in puts for chunk in put.chunks]
    plan = Plan(_known(db, {chunk.row for chunk in chunks}))
    plan.stored = _stored(db, plan.doubtful(chunks))
    results = [plan.put(put.chunks) for put in puts]
    _insert(db, _DELIVERIES, [put.delivery for put in puts])
    _insert(db, _CHUNKS, list(plan.fresh.values()))
    _update(db, plan)
    return results


def _update(db: sqlite3.Connection, plan: Plan) -> None:
    """Write what the batch says of chunks that are known; mostly nothing."""
    if plan.tightened:
        tightened = [(expires, row) for row, expires in plan.tightened.items()]
        db.executemany("UPDATE chunks SET expires_at = ? WHERE row = ?", tightened)
    if plan.extended:
        db.executemany(_EXTEND, [chunk._asdict() for chunk in plan.extended.values()])
    for recording, now in plan.woken.items():
        leases.wake(db, recording, entries.instant(now))


_KNOWN = """
SELECT group_concat(row || ' ' || expires_at || ' ' || said)
FROM chunks
WHERE settled_at IS NULL AND row IN (SELECT value FROM json_each(?))
"""


def _known(db: sqlite3.Connection, rows: Iterable[str]) -> dict[str, Known]:
    """All in one text: fetching the rows one by one would be a step for each."""
    (text,) = db.execute(_KNOWN, (json.dumps(list(rows)),)).fetchone()
    found = (line.split(" ") for line in text.split(",")) if text else ()
    return {row: Known(int(expires_at), said) for row, expires_at, said in found}


_STORED = """
SELECT row, key, document_id, located, call_id, recording_id, recording, resource, position,
    end_reason, not_before, expires_at, enqueued_at, chunk, announced, said
FROM chunks
WHERE row IN (SELECT value FROM json_each(?))
"""
_EXTEND = """
UPDATE chunks
SET end_reason = :end_reason, chunk = :chunk, announced = :announced, said = :said
WHERE row = :row
"""


def _stored(db: sqlite3.Connection, rows: Iterable[str]) -> dict[str, StoredChunk]:
    asked = json.dumps(list(rows))
    if asked == "[]":
        return {}
    found = db.execute(_STORED, (asked,)).fetchall()
    return {row["row"]: StoredChunk(**dict(row)) for row in found}


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
    row, key, document_id, located, call_id, recording_id, recording, resource, position,
    end_reason, not_before, expires_at, enqueued_at, chunk, announced, said, state, attempts)
SELECT *, 'pending', 0 FROM (VALUES ROWS) WHERE column1 IS NOT NULL
ON CONFLICT (row) DO UPDATE SET
    key = excluded.key, document_id = excluded.document_id, located = excluded.located,
    call_id = excluded.call_id, recording_id = excluded.recording_id,
    recording = excluded.recording, resource = excluded.resource,
    position = excluded.position, end_reason = excluded.end_reason,
    not_before = excluded.not_before, expires_at = excluded.expires_at,
    enqueued_at = excluded.enqueued_at, chunk = excluded.chunk,
    announced = excluded.announced, said = excluded.said,
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
