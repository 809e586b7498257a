import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from worker.errors import QueueUnavailableError
from worker.queues import schema


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "queue.db"


@pytest.fixture
def db(path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        yield db


@pytest.fixture
def other(path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        yield other


def test_create_waits_for_another_process(
    db: sqlite3.Connection, other: sqlite3.Connection
) -> None:
    """The switch to the write-ahead log fails at once under another's lock: it is repeated."""
    other.execute("BEGIN IMMEDIATE")
    statements: list[str] = []

    def release_the_lock(statement: str) -> None:
        statements.append(statement)
        if statement == "BEGIN IMMEDIATE" and other.in_transaction:
            other.execute("COMMIT")

    db.set_trace_callback(release_the_lock)

    schema.create(db)

    schema.check(db)
    assert statements.count("PRAGMA journal_mode = WAL") == 2


def test_create_leaves_what_another_process_made(
    db: sqlite3.Connection, other: sqlite3.Connection
) -> None:
    """Whoever comes second between the look and the lock makes nothing twice."""
    made: list[str] = []

    def overtake(statement: str) -> None:
        if statement == "PRAGMA journal_mode = WAL" and not made:
            made.append(statement)
            schema.create(other)

    db.set_trace_callback(overtake)

    schema.create(db)

    schema.check(db)
    assert made


def test_create_needs_a_write_ahead_log() -> None:
    """Where there can be none the queue says so."""
    with (
        closing(sqlite3.connect(":memory:", isolation_level=None)) as db,
        pytest.raises(QueueUnavailableError, match="write-ahead log"),
    ):
        schema.create(db)


def test_failed_transaction_leaves_nothing(db: sqlite3.Connection) -> None:
    """An error within the block undoes all of it."""
    schema.create(db)

    def write_and_stop() -> None:
        with schema.transaction(db):
            db.execute("INSERT INTO heartbeat (id, at) VALUES (1, 1)")
            raise ValueError("stop")

    with pytest.raises(ValueError, match="stop"):
        write_and_stop()

    assert not db.in_transaction
    assert db.execute("SELECT count(*) FROM heartbeat").fetchone() == (0,)
