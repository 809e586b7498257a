"""Leasing and settling: each function is one write, run inside a transaction.

Whoever settles must hold the lease's token; otherwise LeaseLostError, before any change.
"""

import json
import secrets
import sqlite3
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from random import Random

import structlog

from worker.errors import LeaseLostError, NewerFormatError
from worker.model import Chunk, ChunkState, Lane, Lease, LeaseToken, Redriven
from worker.queues import columns, entries
from worker.queues.entries import bounded, instant, maybe_micros, micros
from worker.stored import StoredFormatError
from worker.telemetry import meters
from worker.telemetry.instruments import DEAD_LETTERS

POSTPONED = timedelta(seconds=60)
"""What only a newer worker can read waits this long for one."""
log: structlog.typing.FilteringBoundLogger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseRequest:
    """Who asks for how many chunks, and when."""

    count: int
    paused: Collection[str]
    lane: Lane
    worker: str
    now: datetime
    until: datetime
    random: Random


@dataclass(slots=True, kw_only=True)
class Leased:
    """What one call of `lease` did, by row."""

    leases: list[Lease] = field(default_factory=list)
    reclaimed: Sequence[str] = ()
    postponed: list[str] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How a lease ends. `not_before` None: settled for good."""

    state: ChunkState
    outcome: str
    not_before: datetime | None = None
    reason: str | None = None
    error: str | None = None
    note: str | None = None
    expires_at: datetime | None = None
    """A deadline that counts if it is earlier than the known one."""


def lease_due(db: sqlite3.Connection, request: LeaseRequest) -> Leased:
    """Take back what lapsed, then lease what is due."""
    leased = Leased(reclaimed=_reclaim(db, request))
    while rows := _due(db, request, request.count - len(leased.leases)):
        for row in rows:
            _lease_readable(db, row, request, leased)
    return leased


_DUE = """
SELECT COLUMNS, state, attempts
FROM chunks INDEXED BY chunks_due
WHERE lease_token IS NULL AND settled_at IS NULL AND not_before <= ?
    AND resource NOT IN (SELECT value FROM json_each(?))
ORDER BY expires_at LIMIT ?
""".replace("COLUMNS", columns.COLUMNS)
_DUE_IN = {
    Lane.DEADLINE: _DUE,
    Lane.UNTRIED: _DUE.replace("chunks_due", "chunks_untried").replace(
        "WHERE lease_token", "WHERE attempts = 0 AND lease_token"
    ),
    Lane.NEWEST: _DUE.replace("ORDER BY expires_at", "ORDER BY expires_at DESC"),
}


def _due(
    db: sqlite3.Connection, request: LeaseRequest, count: int
) -> list[sqlite3.Row]:
    paused = json.dumps(list(request.paused))
    values = (micros(request.now), paused, count)
    return db.execute(_DUE_IN[request.lane], values).fetchall()


def _lease_readable(
    db: sqlite3.Connection, row: sqlite3.Row, request: LeaseRequest, leased: Leased
) -> None:
    try:
        chunk = columns.chunk_of(row)
    except NewerFormatError:
        _postpone(db, row["row"], request.now + POSTPONED)
        leased.postponed.append(row["row"])
    except StoredFormatError as error:
        _park(db, row["row"], error, request.now)
        leased.unreadable.append(row["row"])
    else:
        leased.leases.append(_lease(db, row, chunk, request))


_LEASE = """
UPDATE chunks
SET state = 'leased', leased_from = state, attempts = attempts + 1, woken = 0,
    lease_token = ?, leased_until = ?, leased_by = ?
WHERE row = ?
"""
_BEGIN_ATTEMPT = """
INSERT INTO attempts (row, number, worker, started_at) VALUES (?, ?, ?, ?)
"""


def _lease(
    db: sqlite3.Connection, row: sqlite3.Row, chunk: Chunk, request: LeaseRequest
) -> Lease:
    lease = Lease(
        chunk=chunk,
        row=row["row"],
        token=LeaseToken(secrets.token_hex(16)),
        attempts=row["attempts"] + 1,
        leased_until=request.until,
        enqueued_at=instant(row["enqueued_at"]),
    )
    until, now = micros(request.until), micros(request.now)
    db.execute(_LEASE, (lease.token, until, request.worker, lease.row))
    db.execute(_BEGIN_ATTEMPT, (lease.row, lease.attempts, request.worker, now))
    return lease


def _postpone(db: sqlite3.Connection, row: str, not_before: datetime) -> None:
    changes = (micros(not_before), row)
    db.execute("UPDATE chunks SET not_before = ? WHERE row = ?", changes)


_PARK = """
UPDATE chunks SET state = 'dead', reason = ?, error = ?, settled_at = ? WHERE row = ?
"""


def _park(
    db: sqlite3.Connection, row: str, error: StoredFormatError, now: datetime
) -> None:
    db.execute(_PARK, (error.reason, bounded(str(error)), micros(now), row))


_LAPSED = """
SELECT row, attempts FROM chunks WHERE lease_token IS NOT NULL AND leased_until <= ?
"""
_RECLAIM = """
UPDATE chunks
SET state = leased_from, not_before = ?, lease_token = NULL, leased_until = NULL,
    leased_by = NULL, leased_from = NULL
WHERE row = ?
"""


def _reclaim(db: sqlite3.Connection, request: LeaseRequest) -> list[str]:
    now = request.now
    rows = db.execute(_LAPSED, (micros(now),)).fetchall()
    for row in rows:
        delay = entries.lapse_delay(row["attempts"], request.random)
        db.execute(_RECLAIM, (micros(now + delay), row["row"]))
        _end_attempt(db, row["row"], (micros(now), "lapsed", None, None))
    return [row["row"] for row in rows]


_EXTEND = "UPDATE chunks SET leased_until = ? WHERE row = ? AND lease_token = ?"


def extend(db: sqlite3.Connection, lease: Lease, until: datetime) -> Lease:
    """Renew the lease until then."""
    _fenced(db, _EXTEND, (micros(until), lease.row, lease.token))
    return replace(lease, leased_until=until)


_SETTLE = """
UPDATE chunks
SET state = ?, not_before = iif(woken AND ?, ?, coalesce(?, not_before)),
    expires_at = min(expires_at, coalesce(?, expires_at)), reason = ?, error = ?, note = ?,
    settled_at = ?, lease_token = NULL, leased_until = NULL, leased_by = NULL,
    leased_from = NULL
WHERE row = ? AND lease_token = ?
"""


def settle(db: sqlite3.Connection, lease: Lease, ending: Ending, now: datetime) -> None:
    """End the lease as told."""
    at, not_before = micros(now), maybe_micros(ending.not_before)
    changes = (
        ending.state,
        # Only who waits can be woken; who is done was due when it was.
        ending.state is ChunkState.ARCHIVED and not_before is not None,
        at,
        not_before,
        maybe_micros(ending.expires_at),
        ending.reason,
        ending.error,
        ending.note,
        at if not_before is None else None,
        lease.row,
        lease.token,
    )
    _fenced(db, _SETTLE, changes)
    why = ending.reason or ending.note
    _end_attempt(db, lease.row, (at, ending.outcome, why, ending.error))


_GIVE_BACK = """
UPDATE chunks
SET state = leased_from, attempts = attempts - 1, not_before = ?, lease_token = NULL,
    leased_until = NULL, leased_by = NULL, leased_from = NULL
WHERE row = ? AND
"""
_RELEASE = f"{_GIVE_BACK} lease_token = ?"
_EXPLAIN = "UPDATE chunks SET reason = ?, error = ? WHERE row = ?"
Why = tuple[str | None, str | None]
"""Reason and error."""


def release(
    db: sqlite3.Connection,
    lease: Lease,
    not_before: datetime,
    now: datetime,
    why: Why = (None, None),
) -> None:
    """Give the chunk back, the attempt unspent; without a reason, as it was."""
    _fenced(db, _RELEASE, (micros(not_before), lease.row, lease.token))
    if why[0] is not None:
        db.execute(_EXPLAIN, (*why, lease.row))
    _end_attempt(db, lease.row, (micros(now), "released", *why))


def give_back(
    db: sqlite3.Connection, row: str, worker: str | None, now: datetime
) -> bool:
    """The same by an operator, of what this worker holds; whether it still did."""
    sql = f"{_GIVE_BACK} lease_token IS NOT NULL AND leased_by IS ?"
    if db.execute(sql, (micros(now), row, worker)).rowcount == 0:
        return False
    _end_attempt(db, row, (micros(now), "released", None, None))
    return True


_REDRIVE = """
UPDATE chunks
SET state = 'pending', attempts = 0, not_before = ?, reason = NULL, error = NULL,
    note = NULL, settled_at = NULL
WHERE row = ? AND state = 'dead'
"""


def redrive(db: sqlite3.Connection, row: str, now: datetime) -> Redriven:
    """Have a dead chunk tried again; the attempts that it died of stay told."""
    is_redriven = db.execute(_REDRIVE, (micros(now), row)).rowcount
    return Redriven.REDRIVEN if is_redriven else Redriven.NOT_DEAD


def _fenced(db: sqlite3.Connection, sql: str, changes: tuple[object, ...]) -> None:
    """Run an update that ends in the lease's row and token."""
    if db.execute(sql, changes).rowcount == 0:
        raise LeaseLostError(f"the lease on {changes[-2]!r} belongs to another worker")


_END_ATTEMPT = """
UPDATE attempts SET ended_at = ?, outcome = ?, reason = ?, error = ?
WHERE row = ? AND ended_at IS NULL
"""


def _end_attempt(
    db: sqlite3.Connection, row: str, end: tuple[int, str, str | None, str | None]
) -> None:
    db.execute(_END_ATTEMPT, (*end, row))


_WAKE = """
UPDATE chunks SET not_before = ?
WHERE recording = ? AND state = 'archived' AND settled_at IS NULL AND not_before > ?
"""
_WAKE_LEASED = "UPDATE chunks SET woken = 1 WHERE recording = ? AND state = 'leased'"


def wake(db: sqlite3.Connection, recording: str, now: datetime) -> None:
    """Make the recording's waiting archived chunks due now, or as soon as they wait."""
    db.execute(_WAKE, (micros(now), recording, micros(now)))
    db.execute(_WAKE_LEASED, (recording,))


_BEAT = """
INSERT INTO heartbeat (id, at) VALUES (1, ?)
ON CONFLICT (id) DO UPDATE SET at = excluded.at
"""


def beat(db: sqlite3.Connection, now: datetime) -> None:
    """Write something."""
    db.execute(_BEAT, (micros(now),))


def tell(leased: Leased) -> None:
    """Log what happened besides."""
    if leased.reclaimed:
        log.warning("lease.reclaimed", rows=list(leased.reclaimed))
    if leased.postponed:
        log.warning("chunk.postponed", rows=leased.postponed, reason="newer-format")
    if leased.unreadable:
        meters.add(DEAD_LETTERS, len(leased.unreadable), reason="stored-format")
        log.error("chunk.dead_lettered", rows=leased.unreadable, reason="stored-format")
