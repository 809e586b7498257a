"""A recording that is erased leaves the tables, and the bodies in which it was announced."""

import json
import sqlite3
from collections.abc import Collection

from worker.model import Forgotten

_ENTRIES = """
SELECT count(*) FILTER (WHERE settled_at IS NOT NULL) AS entries,
    count(*) FILTER (WHERE settled_at IS NULL) AS at_work
FROM chunks WHERE recording = ?
"""
_BODIES = """
SELECT id FROM deliveries WHERE length(body) > 0 AND (
    id IN (SELECT delivery FROM chunks WHERE recording = :recording)
    OR EXISTS (
        SELECT 1 FROM json_each(:documents) WHERE instr(body, CAST(value AS BLOB)))
    OR EXISTS (
        SELECT 1 FROM (SELECT DISTINCT document_id FROM chunks WHERE recording = :recording)
        WHERE document_id != '' AND instr(body, CAST(document_id AS BLOB))))
"""
"""Also those that only said again what was known: no entry leads to them."""
_ATTEMPTS = """
DELETE FROM attempts WHERE row IN (
    SELECT row FROM chunks WHERE recording = ? AND settled_at IS NOT NULL)
"""
_CHUNKS = "DELETE FROM chunks WHERE recording = ? AND settled_at IS NOT NULL"
_KEEP_EVENTS = """
UPDATE chunks SET raw = (
        SELECT CAST(substr(body, raw_at + 1, raw_bytes) AS TEXT)
        FROM deliveries WHERE id = chunks.delivery),
    raw_at = NULL, raw_bytes = NULL
WHERE raw IS NULL AND delivery IN (SELECT value FROM json_each(?))
"""
_EMPTY = """
UPDATE deliveries SET body = x'', sha256 = 'erased-' || id
WHERE id IN (SELECT value FROM json_each(?))
"""
"""Under another hash: the same body, come again, is another delivery."""
_DELIVERIES = """
DELETE FROM deliveries WHERE id IN (SELECT value FROM json_each(?))
    AND NOT EXISTS (SELECT 1 FROM chunks WHERE delivery = deliveries.id)
"""


def would_forget(
    db: sqlite3.Connection, recording: str, documents: Collection[str]
) -> Forgotten:
    """Count what `forget` would remove."""
    found = db.execute(_ENTRIES, (recording,)).fetchone()
    return Forgotten(
        entries=found["entries"],
        deliveries=len(_bodies(db, recording, documents)),
        shared=0,
        at_work=found["at_work"],
    )


def forget(
    db: sqlite3.Connection, recording: str, documents: Collection[str]
) -> Forgotten:
    """Remove it, within the transaction.

    An entry of another recording, whose event lies in such a body, takes it to itself.
    """
    db.execute("PRAGMA secure_delete = ON")
    counted = would_forget(db, recording, documents)
    bodies = json.dumps(_bodies(db, recording, documents))
    db.execute(_ATTEMPTS, (recording,))
    db.execute(_CHUNKS, (recording,))
    db.execute(_KEEP_EVENTS, (bodies,))
    db.execute(_EMPTY, (bodies,))
    db.execute(_DELIVERIES, (bodies,))
    db.execute("PRAGMA secure_delete = OFF")
    return counted


def drop_log(db: sqlite3.Connection) -> None:
    """Have the write-ahead log forget as well, unless somebody reads in it just now."""
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def _bodies(
    db: sqlite3.Connection, recording: str, documents: Collection[str]
) -> list[int]:
    values = {"recording": recording, "documents": json.dumps(sorted(documents))}
    return [row["id"] for row in db.execute(_BODIES, values)]
