"""What was settled long ago leaves the tables, and the deliveries that spoke of nothing else.

Bodies hold who took part in a call: what is deleted is overwritten, and leaves the log, too.
"""

import json
import sqlite3
from datetime import datetime

from worker.model import ChunkState, Pruned
from worker.queues.entries import micros

BATCH = 256
"""Rows of one write: whoever puts a delivery waits for no more."""
_OLD = """
state IN (SELECT value FROM json_each(:states)) AND expires_at < :before
    AND settled_at < :before AND NOT EXISTS (
        SELECT 1 FROM chunks AS other
        WHERE other.recording = chunks.recording AND other.settled_at IS NULL)
"""
_SOME = f"SELECT id FROM chunks WHERE {_OLD} LIMIT :most"  # noqa: S608 - our own words
_ATTEMPTS = """
DELETE FROM attempts WHERE row IN (
    SELECT row FROM chunks WHERE id IN (SELECT value FROM json_each(:ids)))
"""
_CHUNKS = "DELETE FROM chunks WHERE id IN (SELECT value FROM json_each(:ids))"
_DELIVERIES = """
DELETE FROM deliveries WHERE id IN (
    SELECT id FROM deliveries
    WHERE received_at < :before AND id NOT IN (SELECT delivery FROM chunks) LIMIT :most)
"""
_WOULD = f"""
SELECT (SELECT count(*) FROM chunks WHERE {_OLD}) AS entries,
    (SELECT count(*) FROM deliveries WHERE received_at < :before AND id NOT IN (
        SELECT delivery FROM chunks WHERE NOT coalesce(({_OLD}), 0))) AS deliveries
"""  # noqa: S608 - our own words


def _values(before: datetime, *, dead: bool) -> dict[str, object]:
    states = [ChunkState.ARCHIVED, ChunkState.DELETED, *([ChunkState.DEAD] * dead)]
    values = {"states": json.dumps(states), "before": micros(before), "most": BATCH}
    return dict(values)


def would_prune(db: sqlite3.Connection, before: datetime, *, dead: bool) -> Pruned:
    """Count what `prune_some` would come to."""
    found = db.execute(_WOULD, _values(before, dead=dead)).fetchone()
    return Pruned(entries=found["entries"], deliveries=found["deliveries"])


def prune_some(db: sqlite3.Connection, before: datetime, *, dead: bool) -> Pruned:
    """Some of the entries with their attempts; without any left, some deliveries."""
    values = _values(before, dead=dead)
    db.execute("PRAGMA secure_delete = ON")
    ids = [row["id"] for row in db.execute(_SOME, values)]
    deliveries = 0
    if ids:
        db.execute(_ATTEMPTS, {"ids": json.dumps(ids)})
        db.execute(_CHUNKS, {"ids": json.dumps(ids)})
    else:
        deliveries = db.execute(_DELIVERIES, values).rowcount
    db.execute("PRAGMA secure_delete = OFF")
    return Pruned(entries=len(ids), deliveries=deliveries)
