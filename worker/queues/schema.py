"""The tables of the SQLite queue, and who may open the file.

Times are integer microseconds since 1970, UTC. A row of `chunks` waits to be leased exactly
while it has neither a lease token nor a `settled_at`; it is known (and so blocks a duplicate)
while `settled_at` is null. State `archived` without `settled_at` waits for its siblings.

`expires_at` only ever gets earlier. The siblings are JSON: all chunks of an event have the
same, and who reads many rows decodes them once; null stands for a chunk that has none.
`said` is a digest of what a duplicate may add to, so that one that says nothing new is known
without reading the siblings. The event of a chunk is a part of its delivery's body wherever it
was sent just so, and the body is not too long to be read for it: a delivery stays as long as
its chunks do.

What a put must touch decides how many it can take. Ids are as good as random, so that each
index over them is another page to write for each chunk, once there are many: there are two,
`row` and `chunks_recording`.
"""

import contextlib
import sqlite3
from collections.abc import Iterator

from worker.errors import QueueUnavailableError
from worker.queues import deferring

APPLICATION_ID = 0x52656357
"""`RecW` in the file's header: tells our queue from any other SQLite file."""
VERSION = 3
"""Of the tables: before columns (1) a chunk was JSON. Each change of a table is another."""
_NOT_DEFERRING = 2
"""All was sorted before it was stored."""
WAL_TRIES = 50

_TABLES = (
    """
    CREATE TABLE deliveries (
        id INTEGER PRIMARY KEY,
        sha256 TEXT NOT NULL UNIQUE,
        body BLOB NOT NULL,
        received_at INTEGER NOT NULL,
        origin TEXT NOT NULL
    )
    """,
    """
    CREATE TABLE chunks (
        id INTEGER PRIMARY KEY,
        v INTEGER NOT NULL,
        row TEXT NOT NULL UNIQUE,
        key TEXT NOT NULL,
        document_id TEXT NOT NULL,
        located TEXT,
        recording TEXT NOT NULL,
        resource TEXT NOT NULL,
        position INTEGER NOT NULL,
        end_reason TEXT,
        state TEXT NOT NULL,
        attempts INTEGER NOT NULL,
        not_before INTEGER NOT NULL,
        expires_at INTEGER NOT NULL,
        lease_token TEXT,
        leased_until INTEGER,
        leased_by TEXT,
        leased_from TEXT,
        woken INTEGER NOT NULL DEFAULT 0,
        reason TEXT,
        error TEXT,
        note TEXT,
        enqueued_at INTEGER NOT NULL,
        settled_at INTEGER,
        received_at INTEGER NOT NULL,
        content_location TEXT NOT NULL,
        metadata_location TEXT,
        delete_location TEXT,
        event_id TEXT NOT NULL,
        topic TEXT NOT NULL,
        subject TEXT NOT NULL,
        event_time INTEGER,
        call_id TEXT,
        server_call_id TEXT,
        recording_id TEXT,
        recording_start_time INTEGER,
        recording_duration_ms INTEGER,
        content_type TEXT,
        channel_type TEXT,
        format_type TEXT,
        session_end_reason TEXT,
        storage_type TEXT,
        announced TEXT,
        said TEXT,
        raw TEXT,
        raw_at INTEGER,
        raw_bytes INTEGER,
        delivery INTEGER NOT NULL
    )
    """,
    """
    CREATE TABLE attempts (
        id INTEGER PRIMARY KEY,
        row TEXT NOT NULL,
        number INTEGER NOT NULL,
        worker TEXT NOT NULL,
        started_at INTEGER NOT NULL,
        ended_at INTEGER,
        outcome TEXT,
        reason TEXT,
        error TEXT
    )
    """,
    "CREATE TABLE heartbeat (id INTEGER PRIMARY KEY, at INTEGER NOT NULL)",
    # The order of leasing; `not_before` and `resource` are decided within the index.
    """
    CREATE INDEX chunks_due ON chunks (expires_at, not_before, resource)
    WHERE lease_token IS NULL AND settled_at IS NULL
    """,
    # The same of what was never tried: a backlog that was tried costs nothing to pass by.
    """
    CREATE INDEX chunks_untried ON chunks (expires_at, not_before, resource)
    WHERE lease_token IS NULL AND settled_at IS NULL AND attempts = 0
    """,
    """
    CREATE INDEX chunks_leased ON chunks (leased_until, resource)
    WHERE lease_token IS NOT NULL
    """,
    # Everything that `counts` asks, so that it never reads the chunks themselves.
    "CREATE INDEX chunks_state ON chunks (state, expires_at, leased_from, reason)",
    "CREATE INDEX chunks_recording ON chunks (recording)",
    # Only those whose location names another document than they do: hardly any.
    "CREATE INDEX chunks_located ON chunks (located) WHERE located IS NOT NULL",
    "CREATE INDEX attempts_row ON attempts (row)",
    *deferring.TABLES,
)


@contextlib.contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[None]:
    """Commit what the block did, or nothing of it."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    finally:
        if db.in_transaction:
            db.execute("ROLLBACK")


def create(db: sqlite3.Connection) -> None:
    """Make the file ours unless it is; any number of processes may do so at once."""
    if _has_tables(db):
        return
    _use_wal(db)
    with transaction(db):
        # Whoever came second finds the tables that the first has made.
        if not _has_tables(db):
            for statement in _TABLES:
                db.execute(statement)
            db.execute("PRAGMA application_id = " + str(APPLICATION_ID))
            db.execute("PRAGMA user_version = " + str(VERSION))


def bring_up(db: sqlite3.Connection) -> None:
    """Add what a file of the last format lacks; its worker can't open it any more then."""
    if not _lacks_deferring(db):
        return
    with transaction(db):
        # Another process may have done it meanwhile.
        if _lacks_deferring(db):
            for statement in deferring.TABLES:
                db.execute(statement)
            db.execute("PRAGMA user_version = " + str(VERSION))


def _lacks_deferring(db: sqlite3.Connection) -> bool:
    told = (_pragma(db, "application_id"), _pragma(db, "user_version"))
    return told == (APPLICATION_ID, _NOT_DEFERRING)


def check(db: sqlite3.Connection) -> None:
    """Refuse a file that is not a queue, or one with the tables of another worker."""
    if _pragma(db, "application_id") != APPLICATION_ID:
        raise QueueUnavailableError("the file is not a queue of recording-worker")
    version = _pragma(db, "user_version")
    if version != VERSION:
        raise QueueUnavailableError(
            f"the queue has format {version}, this worker knows format {VERSION}: "
            "let the worker that wrote it work it off, or name another file"
        )


def _has_tables(db: sqlite3.Connection) -> bool:
    return db.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone() is not None


def _use_wal(db: sqlite3.Connection) -> None:
    """Switch to the write-ahead log, for good: the file remembers.

    The switch fails at once, without waiting, while another process does the same; an empty
    transaction waits for that one.
    """
    for _ in range(WAL_TRIES):
        with contextlib.suppress(sqlite3.OperationalError):
            if _pragma(db, "journal_mode = WAL") == "wal":
                return
        with transaction(db):
            pass
    raise QueueUnavailableError("the file system does not support a write-ahead log")


def _pragma(db: sqlite3.Connection, name: str) -> object:
    """Ask or set one pragma; they take no parameters, and every name here is our own."""
    value: object = db.execute("PRAGMA " + name).fetchone()[0]
    return value
