"""Deliveries that are kept as they came: one insert each, and sorted later.

Who has one is told by a table of its own, for an update would write all of the body again.
Ids are never used twice: whoever was slow drops no other delivery than its own.
"""

import json
import sqlite3
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from worker.model import Deferred, Taken
from worker.queues.entries import instant, micros

TABLES = (
    """
    CREATE TABLE deferred (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        received_at INTEGER NOT NULL,
        origin TEXT NOT NULL,
        delivery_count INTEGER,
        traceparent TEXT NOT NULL,
        bytes INTEGER NOT NULL,
        body BLOB NOT NULL
    )
    """,
    """
    CREATE TABLE deferred_taken (
        id INTEGER PRIMARY KEY,
        until INTEGER NOT NULL,
        times INTEGER NOT NULL
    )
    """,
    # All that `counts` asks, so that it never reads the bodies.
    "CREATE INDEX deferred_received ON deferred (received_at)",
)
LONGEST_HIDDEN = timedelta(hours=2)
"""Twice what `WORKER_LEASE_SECONDS` may be: a clock that was wrong hid what is hidden longer."""
SUSPECT = 2
"""Taken up so often, and neither settled nor given back: it may be what killed its worker."""
_KEEP = """
INSERT INTO deferred (received_at, origin, delivery_count, traceparent, bytes, body)
VALUES (?, ?, ?, ?, ?, ?)
"""
_SPAN = (
    "SELECT min(received_at) FROM deferred",
    "SELECT max(received_at) FROM deferred",
    "SELECT min(id) FROM deferred",
    "SELECT max(id) FROM deferred",
)
"""One step in an index each; asked together they are a walk over all."""
_FREE = """
SELECT id, bytes, coalesce(times, 0) AS times
FROM deferred LEFT JOIN deferred_taken USING (id)
WHERE id > :behind AND id <= :up_to
    AND (until IS NULL OR until <= :now OR until > :longest)
ORDER BY id LIMIT :most
"""
_TAKE = """
INSERT INTO deferred_taken (id, until, times)
SELECT value, :until, 1 FROM json_each(:ids) WHERE true
ON CONFLICT (id) DO UPDATE SET until = excluded.until, times = times + 1
"""
_TAKEN = """
SELECT * FROM deferred JOIN deferred_taken USING (id)
WHERE id IN (SELECT value FROM json_each(:ids)) ORDER BY id
"""
_GIVE_BACK = """
UPDATE deferred_taken SET times = max(times - 1, 0), until = :until
WHERE id IN (SELECT value FROM json_each(:ids))
"""
_DROP = (
    "DELETE FROM deferred WHERE id IN (SELECT value FROM json_each(?))",
    "DELETE FROM deferred_taken WHERE id IN (SELECT value FROM json_each(?))",
)
_NAMING = """
SELECT count(*) FROM deferred WHERE EXISTS (
    SELECT 1 FROM json_each(?) WHERE instr(body, CAST(value AS BLOB)))
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What `take` is to find, and until when it is hidden then."""

    now: datetime
    until: datetime
    most: int
    most_bytes: int
    behind: int
    up_to: int | None


def keep(db: sqlite3.Connection, delivery: Deferred) -> None:
    """See abilities.Deferring; within a transaction, as all of these."""
    values = (
        micros(delivery.received_at),
        delivery.origin,
        delivery.delivery_count,
        delivery.traceparent,
        len(delivery.body),
        delivery.body,
    )
    db.execute(_KEEP, values)


def take(db: sqlite3.Connection, asked: Asked) -> Taken:
    """Those that nobody has at `now`; nobody else gets them before `until`."""
    oldest, newest, first, last = (db.execute(one).fetchone()[0] for one in _SPAN)
    if first is None:
        return Taken()
    until = micros(asked.until)
    values = {
        "now": micros(asked.now),
        "longest": micros(asked.now + LONGEST_HIDDEN),
        "most": asked.most,
        "behind": asked.behind,
        "up_to": last if asked.up_to is None else asked.up_to,
    }
    ids = _of_one_page(db.execute(_FREE, values), asked.most_bytes)
    taken = {"ids": json.dumps(ids), "until": until}
    if ids:
        db.execute(_TAKE, taken)
    return Taken(
        deliveries=[_deferred(row) for row in db.execute(_TAKEN, taken)] if ids else (),
        oldest_at=instant(oldest),
        newest_at=instant(newest),
        first_id=first,
        last_id=last,
    )


def _of_one_page(free: Iterable[sqlite3.Row], most_bytes: int) -> list[int]:
    ids: list[int] = []
    size_bytes = 0
    for row in free:
        size_bytes += row["bytes"]
        is_suspect = row["times"] >= SUSPECT
        if ids and (is_suspect or size_bytes > most_bytes):
            break
        ids.append(row["id"])
        if is_suspect:
            break
    return ids


def give_back(db: sqlite3.Connection, ids: Collection[int], *, until: datetime) -> None:
    """Free again at `until`, as if this time had not been."""
    db.execute(_GIVE_BACK, {"ids": json.dumps(list(ids)), "until": micros(until)})


def drop(db: sqlite3.Connection, ids: Collection[int]) -> None:
    """What was in them is overwritten: it may be erased from everywhere else."""
    values = (json.dumps(list(ids)),)
    db.execute("PRAGMA secure_delete = ON")
    for statement in _DROP:
        db.execute(statement, values)
    db.execute("PRAGMA secure_delete = OFF")


def counted(db: sqlite3.Connection) -> tuple[int, datetime | None]:
    """How many there are, and when the oldest came."""
    number, oldest = db.execute(
        "SELECT count(*), min(received_at) FROM deferred"
    ).fetchone()
    return number, None if oldest is None else instant(oldest)


def naming(db: sqlite3.Connection, texts: Collection[str]) -> int:
    """How many of them speak of one of these; empty texts are in none."""
    values = (json.dumps(sorted(filter(None, texts))),)
    number: int = db.execute(_NAMING, values).fetchone()[0]
    return number


def _deferred(row: sqlite3.Row) -> Deferred:
    return Deferred(
        id=row["id"],
        body=row["body"],
        received_at=instant(row["received_at"]),
        origin=row["origin"],
        delivery_count=row["delivery_count"],
        traceparent=row["traceparent"],
        times=row["times"],
    )
