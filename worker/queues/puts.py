"""Many deliveries into the tables in a few statements.

Each step of SQLite lets go of the interpreter and must win it back from a busy event loop:
what counts is how few statements a batch takes, not how short they are. A batch takes one
question and two inserts, whatever its size; what says more of a known chunk, a few more.
"""

import asyncio
import hashlib
import itertools
import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from worker.model import Chunk, Delivery, PutResult
from worker.queues import columns, entries, leases
from worker.queues.columns import Origin, StoredChunk
from worker.queues.put_plan import Known, Plan, added

MAX_ROWS = 256
"""Rows of one statement; times the columns this stays far below SQLite's limit of 32,766."""
_BEGINNING_BYTES = 32
MAX_SHARED_BYTES = 256 * 1024
"""Who reads an event reads all of the body in which it lies: of a longer one it's a copy."""
CHUNKS_PER_TURN = 50
"""So many are prepared in a millisecond."""


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
    """Do all that needs no database."""
    sha256 = _sha256(delivery.body)
    return _put(delivery, sha256, _stored_chunks(delivery, sha256, now))


async def prepare_in_turns(delivery: Delivery, *, now: datetime) -> Put:
    """The same, with a rest now and then: a long one must not hold up other deliveries."""
    sha256 = await asyncio.to_thread(_sha256, delivery.body)
    chunks = []
    for number, chunk in enumerate(_stored_chunks(delivery, sha256, now), start=1):
        chunks.append(chunk)
        if number % CHUNKS_PER_TURN == 0:
            await asyncio.sleep(0)
    return _put(delivery, sha256, chunks)


def _sha256(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


def _put(delivery: Delivery, sha256: str, listed: Iterable[StoredChunk]) -> Put:
    chunks: dict[str, StoredChunk] = {}
    for new in listed:
        known = chunks.get(new.row)
        chunks[new.row] = added(known, new) if known else new
    return Put(
        delivery=StoredDelivery(
            sha256=sha256,
            body=delivery.body,
            received_at=entries.micros(delivery.received_at),
            origin=delivery.origin,
        ),
        chunks=tuple(chunks.values()),
    )


def _stored_chunks(
    delivery: Delivery, sha256: str, now: datetime
) -> Iterator[StoredChunk]:
    """The chunks of an event share their siblings: the text of those is made once."""
    texts: dict[int, str] = {}
    events = _Events(delivery.body, sha256)
    for chunk in delivery.chunks:
        is_alone = columns.is_alone(chunk)
        text = None if is_alone else texts.get(id(chunk.announced))
        if text is None and not is_alone:
            text = columns.siblings_to_json(chunk.announced)
            texts[id(chunk.announced)] = text
        origin = events.origin(chunk) if is_alone else Origin(sha256)
        yield columns.stored_chunk(chunk, now=now, announced=text, origin=origin)


class _Events:
    """Finds the events of chunks in the body that they came in, one behind the other.

    The event of one chunk of several is not there as it is: it lacks the others.
    """

    def __init__(self, body: bytes, sha256: str) -> None:
        self._body = body
        self._nowhere = Origin(sha256)
        self._at = 0 if len(body) <= MAX_SHARED_BYTES else -1

    def origin(self, chunk: Chunk) -> Origin:
        if self._at < 0:
            return self._nowhere
        event = chunk.announcement.raw.encode()
        # Its beginning first: to look for all of a long text is prepared for at length.
        at = self._body.find(event[:_BEGINNING_BYTES], self._at)
        if at < 0 or not self._body.startswith(event, at):
            # Not as it was sent: nor will be the next, and each search takes all of the body.
            self._at = -1
            return self._nowhere
        self._at = at + len(event)
        return Origin(self._nowhere.sha256, at, len(event))


def put_all(db: sqlite3.Connection, puts: Sequence[Put]) -> list[PutResult]:
    """Write all or raise; each result is as if the puts had come one after the other."""
    chunks = [chunk for put in puts for chunk in put.chunks]
    known, settled = _known(db, {chunk.row for chunk in chunks})
    plan = Plan(known, settled)
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
SELECT group_concat(row || ' ' || expires_at || ' ' || SAYING) FILTER (WHERE settled_at IS NULL),
    group_concat(row) FILTER (WHERE settled_at IS NOT NULL)
FROM chunks
WHERE row IN (SELECT value FROM json_each(?))
""".replace("SAYING", columns.SAYING)


def _known(
    db: sqlite3.Connection, rows: Iterable[str]
) -> tuple[dict[str, Known], frozenset[str]]:
    """Those that block a duplicate, and those that are settled.

    All in one text: fetching the rows one by one would be a step for each.
    """
    text, settled = db.execute(_KNOWN, (json.dumps(list(rows)),)).fetchone()
    found = (line.split(" ") for line in text.split(",")) if text else ()
    known = {row: Known(int(expires_at), said) for row, expires_at, said in found}
    return known, frozenset(settled.split(",")) if settled else frozenset()


_COLUMNS = [f"column{n}" for n, _ in enumerate(StoredChunk._fields, start=1)]
_NAMES = ", ".join(StoredChunk._fields)
_STORED = """
SELECT NAMES FROM chunks WHERE row IN (SELECT value FROM json_each(?))
""".replace("NAMES", _NAMES)
_EXTEND = """
UPDATE chunks
SET end_reason = :end_reason, recording_duration_ms = :recording_duration_ms,
    announced = :announced, said = :said
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
INSERT INTO chunks (NAMES, state, attempts)
SELECT VALUES_BUT_ONE, (SELECT id FROM deliveries WHERE sha256 = LAST_VALUE), 'pending', 0
FROM (VALUES ROWS) WHERE column1 IS NOT NULL
ON CONFLICT (row) DO UPDATE SET
    REVIVED, state = excluded.state, attempts = excluded.attempts,
    reason = NULL, error = NULL, note = NULL, settled_at = NULL
""".replace("NAMES", _NAMES)
    .replace("VALUES_BUT_ONE", ", ".join(_COLUMNS[:-1]))
    .replace("LAST_VALUE", _COLUMNS[-1])
    .replace(
        "REVIVED",
        ", ".join(f"{name} = excluded.{name}" for name in StoredChunk._fields),
    ),
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
