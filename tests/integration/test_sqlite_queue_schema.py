import sqlite3
from collections.abc import Callable, Iterator
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


def overtaken(db: sqlite3.Connection, *, at: str, by: Callable[[], None]) -> list[str]:
    """Have another do this, once, when `db` comes to that statement; then it is told here."""
    made: list[str] = []

    def overtake(statement: str) -> None:
        if statement == at and not made:
            made.append(statement)
            by()

    db.set_trace_callback(overtake)
    return made


def test_create_leaves_what_another_process_made(
    db: sqlite3.Connection, other: sqlite3.Connection
) -> None:
    """Whoever comes second between the look and the lock makes nothing twice."""
    made = overtaken(
        db, at="PRAGMA journal_mode = WAL", by=lambda: schema.create(other)
    )

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


def as_before_deferring(db: sqlite3.Connection) -> None:
    """Make the file what the last format was."""
    schema.create(db)
    for table in ("deferred", "deferred_taken"):
        db.execute(f"DROP TABLE {table}")
    db.execute("PRAGMA user_version = 2")


def test_file_of_the_last_format_is_brought_up(db: sqlite3.Connection) -> None:
    """It loses nothing, and lacks nothing then."""
    as_before_deferring(db)
    db.execute("INSERT INTO heartbeat (id, at) VALUES (1, 7)")

    schema.bring_up(db)
    schema.bring_up(db)

    schema.check(db)
    assert db.execute("SELECT at FROM heartbeat").fetchall() == [(7,)]
    assert db.execute("SELECT count(*) FROM deferred").fetchone() == (0,)


def test_two_processes_may_bring_it_up_at_once(
    db: sqlite3.Connection, other: sqlite3.Connection
) -> None:
    """Whoever comes second between the look and the lock adds nothing twice."""
    as_before_deferring(db)
    made = overtaken(db, at="BEGIN IMMEDIATE", by=lambda: schema.bring_up(other))

    schema.bring_up(db)

    schema.check(db)
    assert made


@pytest.mark.parametrize("version", [1, schema.VERSION + 1])
def test_file_of_another_format_is_left_as_it_is(
    db: sqlite3.Connection, version: int
) -> None:
    """Only the worker that wrote it knows what to do with it."""
    as_before_deferring(db)
    db.execute(f"PRAGMA user_version = {version}")

    schema.bring_up(db)

    with pytest.raises(QueueUnavailableError, match=f"has format {version}"):
        schema.check(db)
