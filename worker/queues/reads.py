"""What the queue is asked, as queries that change nothing."""

import json
import sqlite3
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from worker.errors import RetryableError, systemic
from worker.model import (
    Attempt,
    ChunkKey,
    ChunkState,
    HeldUp,
    QueueCounts,
    QueuedChunk,
    Sibling,
)
from worker.queues import columns, deferring, entries
from worker.queues.entries import instant, micros

_QUEUED = """
SELECT COLUMNS, state, attempts, leased_until, leased_by, reason, error, settled_at
FROM chunks
""".replace("COLUMNS", columns.COLUMNS)


def _queued(
    db: sqlite3.Connection, rest: str, values: Sequence[object] | dict[str, object]
) -> list[QueuedChunk]:
    decoded: dict[str, tuple[Sibling, ...]] = {}
    rows = db.execute(_QUEUED + rest, values)
    return [columns.queued_chunk(row, decoded) for row in rows]


def announced(db: sqlite3.Connection, recording: str) -> list[QueuedChunk]:
    """Every entry of the recording, by index."""
    return _queued(db, "WHERE recording = ? ORDER BY position, id", (recording,))


_NAMING = """
WHERE id IN (
    SELECT id FROM chunks
    WHERE row BETWEEN :part AND :part || 'g' AND document_id = :document
    UNION SELECT id FROM chunks WHERE located = :document)
ORDER BY id
"""


def naming(db: sqlite3.Connection, document_id: str) -> list[QueuedChunk]:
    """Every entry, of any recording, that names the document."""
    part = entries.document_part(document_id)
    return _queued(db, _NAMING, {"document": document_id, "part": part})


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Some entries by `expires_at`, and where the next ones begin."""

    entries: Sequence[QueuedChunk]
    last: tuple[int, int]
    """When the last of them expires, and its id."""


FIRST_PAGE = Page(entries=(), last=(-(2**63), 0))
PAGE = 256
_BEHIND_IN = """
SELECT * FROM (
    SELECT id, expires_at FROM chunks
    WHERE state = 'STATE' AND (expires_at, id) > (:expires_at, :id)
    ORDER BY expires_at, id LIMIT :limit)
"""


def _behind(states: Iterable[ChunkState]) -> str:
    """Of each state as the index has them; all states at once would be sorted for each page."""
    parts = (_BEHIND_IN.replace("STATE", state) for state in states)
    return "UNION ALL".join(parts) + "ORDER BY expires_at, id LIMIT :limit"


_BEHIND: dict[ChunkState | None, str] = {
    None: _behind(ChunkState),
    **{state: _behind([state]) for state in ChunkState},
}


def page_behind(
    db: sqlite3.Connection, *, page: Page, state: ChunkState | None
) -> Page:
    """The next entries of one state, or of all; none: that was the last page."""
    expires_at, id_ = page.last
    values = {"expires_at": expires_at, "id": id_, "limit": PAGE}
    found = db.execute(_BEHIND[state], values).fetchall()
    if not found:
        return Page(entries=(), last=page.last)
    ids = json.dumps([row["id"] for row in found])
    rest = "WHERE id IN (SELECT value FROM json_each(?)) ORDER BY expires_at, id"
    last = (found[-1]["expires_at"], found[-1]["id"])
    return Page(entries=_queued(db, rest, (ids,)), last=last)


_FOUND = """
WHERE substr(row, 1, :length) = :text OR substr(key, 1, :length) = :text
    OR substr(document_id, 1, :length) = :text OR substr(call_id, 1, :length) = :text
    OR substr(recording_id, 1, :length) = :text
    OR substr(recording, 1, :length) = :text
ORDER BY expires_at, id
"""


def find(db: sqlite3.Connection, text: str) -> list[QueuedChunk]:
    """Entries one of whose ids starts with the text."""
    return _queued(db, _FOUND, {"text": text, "length": len(text)})


_NEXT_DUE = """
SELECT min(due) FROM (
    SELECT min(not_before) AS due FROM chunks
    WHERE lease_token IS NULL AND settled_at IS NULL
        AND resource NOT IN (SELECT value FROM json_each(:paused))
    UNION ALL
    SELECT min(leased_until) FROM chunks
    WHERE lease_token IS NOT NULL
        AND resource NOT IN (SELECT value FROM json_each(:paused)))
"""


def next_due(db: sqlite3.Connection, paused: Collection[str]) -> datetime | None:
    """When the next chunk is due, or the next lease lapses."""
    values = {"paused": json.dumps(list(paused))}
    (due,) = db.execute(_NEXT_DUE, values).fetchone()
    return None if due is None else instant(due)


_FIRST_DUE = """
SELECT row FROM (
    SELECT row, not_before AS due FROM chunks
    WHERE lease_token IS NULL AND settled_at IS NULL AND not_before <= :now
        AND resource NOT IN (SELECT value FROM json_each(:paused))
    UNION ALL
    SELECT row, leased_until FROM chunks
    WHERE lease_token IS NOT NULL AND leased_until <= :now
        AND resource NOT IN (SELECT value FROM json_each(:paused)))
ORDER BY due, row LIMIT 1
"""


def first_due(
    db: sqlite3.Connection, paused: Collection[str], *, now: datetime
) -> str | None:
    """The row that waits for longest, and for nothing but to be leased."""
    values = {"paused": json.dumps(list(paused)), "now": micros(now)}
    found = db.execute(_FIRST_DUE, values).fetchone()
    return None if found is None else str(found["row"])


_COUNTS = """
SELECT state, reason, count(*) AS number, sum(alive AND expires_at < ?) AS at_risk,
    min(CASE WHEN alive THEN expires_at END) AS oldest
FROM (
    SELECT state, CASE state WHEN 'dead' THEN reason END AS reason, expires_at,
        state = 'pending' OR (state = 'leased' AND leased_from = 'pending') AS alive
    FROM chunks)
GROUP BY state, reason
"""


def counts(db: sqlite3.Connection, *, at_risk_before: datetime) -> QueueCounts:
    """Count the chunks in one query, so that their numbers agree with each other."""
    rows = db.execute(_COUNTS, (micros(at_risk_before),)).fetchall()
    by_state: Counter[ChunkState] = Counter()
    for row in rows:
        by_state[ChunkState(row["state"])] += row["number"]
    deadlines = [row["oldest"] for row in rows if row["oldest"] is not None]
    deferred, deferred_since = deferring.counted(db)
    return QueueCounts(
        by_state={state: by_state[state] for state in ChunkState},
        dead={r["reason"] or "": r["number"] for r in rows if r["state"] == "dead"},
        at_risk=sum(row["at_risk"] for row in rows),
        oldest_deadline=instant(min(deadlines)) if deadlines else None,
        deferred=deferred,
        deferred_since=deferred_since,
    )


MOST_RECENT = 100_000
_SETTLED = """
SELECT key FROM chunks WHERE row IN (
    SELECT row FROM attempts
    WHERE id > (SELECT max(id) FROM attempts) - :most AND ended_at >= :since
        AND outcome IN ('archived', 'deleted'))
"""


def settled(db: sqlite3.Connection, since: datetime) -> list[ChunkKey]:
    """Of the last attempts alone: the older ones ended long ago, and have no index by time."""
    values = {"most": MOST_RECENT, "since": micros(since)}
    return [ChunkKey(row["key"]) for row in db.execute(_SETTLED, values)]


_WHICH = """
SELECT DISTINCT reason FROM chunks
WHERE state = 'pending' AND reason IN (SELECT value FROM json_each(?))
"""
_WENT_THROUGH = """
SELECT chunks.resource AS resource, max(attempts.ended_at) AS at
FROM attempts JOIN chunks USING (row)
WHERE attempts.id > (SELECT max(id) FROM attempts) - :most
    AND (attempts.outcome IN ('archived', 'deleted')
        OR attempts.outcome = 'rescheduled' AND chunks.state = 'archived'
        AND attempts.reason NOT IN (SELECT value FROM json_each(:reasons)))
GROUP BY chunks.resource
"""
_HELD_UP = """
SELECT iif(:shared, '', chunks.resource) AS target, max(chunks.error) AS error,
    count(DISTINCT chunks.id) AS chunks, min(attempts.ended_at) AS began
FROM chunks JOIN attempts USING (row)
WHERE chunks.state = 'pending' AND chunks.reason = :reason
    AND attempts.reason = :reason AND attempts.ended_at > coalesce((
        SELECT max(value) FROM json_each(:through)
        WHERE :shared OR key = chunks.resource), 0)
GROUP BY target
"""


def held_up(db: sqlite3.Connection) -> list[HeldUp]:
    """By reasons that chunks may share; only what failed since one of theirs went through."""
    kinds = {kind.reason: kind for kind in systemic()}
    reasons = json.dumps(list(kinds))
    which = sorted(row["reason"] for row in db.execute(_WHICH, (reasons,)))
    if not which:
        return []
    values = {"most": MOST_RECENT, "reasons": reasons}
    went = {row["resource"]: row["at"] for row in db.execute(_WENT_THROUGH, values)}
    through = json.dumps(went)
    found = []
    for kind in (kinds[reason] for reason in which):
        is_shared = kind.scope == "archive"
        asked = {"reason": kind.reason, "shared": is_shared, "through": through}
        found += [_held_up(kind, row) for row in db.execute(_HELD_UP, asked)]
    return found


def _held_up(kind: type[RetryableError], row: sqlite3.Row) -> HeldUp:
    return HeldUp(
        scope=kind.scope or "",
        resource=row["target"] or None,
        reason=kind.reason,
        error=row["error"] or "",
        chunks=row["chunks"],
        since=instant(row["began"]),
    )


_ATTEMPTS = """
SELECT number, worker, started_at, ended_at, outcome, reason, error
FROM attempts WHERE row = ? ORDER BY id
"""


def attempts(db: sqlite3.Connection, row: str) -> list[Attempt]:
    """All attempts at one entry, oldest first."""
    return [
        Attempt(
            number=found["number"],
            worker=found["worker"],
            started_at=instant(found["started_at"]),
            ended_at=None if found["ended_at"] is None else instant(found["ended_at"]),
            outcome=found["outcome"],
            reason=found["reason"],
            error=found["error"],
        )
        for found in db.execute(_ATTEMPTS, (row,))
    ]


def beaten_at(db: sqlite3.Connection) -> datetime | None:
    """When somebody last wrote to see whether that can be done."""
    found = db.execute("SELECT at FROM heartbeat WHERE id = 1").fetchone()
    return None if found is None else instant(found[0])
