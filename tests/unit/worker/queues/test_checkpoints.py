import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from worker.errors import QueueUnavailableError
from worker.queues import connection
from worker.queues.checkpoints import EVERY_CHANGES, Checkpoints


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "queue.db"


@pytest.fixture
def writer(path: Path) -> Iterator[sqlite3.Connection]:
    with closing(connection.open_writer(path, create=True)) as db:
        yield db


@pytest.fixture
async def checkpoints(
    path: Path,
    writer: sqlite3.Connection,  # noqa: ARG001 - makes the file
) -> AsyncIterator[Checkpoints]:
    checkpoints = Checkpoints(path)
    await checkpoints.open()
    yield checkpoints
    await checkpoints.close()


def write(db: sqlite3.Connection) -> None:
    insert = "INSERT INTO deliveries (sha256, body, received_at, origin) VALUES (?, ?, 0, '')"
    db.execute(insert, ("", bytes(1_000_000)))


def size(path: Path) -> int:
    return path.stat().st_size


async def test_what_was_committed_is_copied_into_the_file(
    path: Path, writer: sqlite3.Connection, checkpoints: Checkpoints
) -> None:
    """The write-ahead log is emptied without any writer's doing."""
    write(writer)
    before = size(path)

    checkpoints.committed(EVERY_CHANGES)
    assert checkpoints._copying is not None
    await checkpoints._copying

    assert before < 1_000_000 < size(path)


async def test_a_page_that_changes_often_is_not_copied_each_time(
    checkpoints: Checkpoints,
) -> None:
    """Few changes wait for more."""
    checkpoints.committed(EVERY_CHANGES - 1)

    assert checkpoints._copying is None


async def test_what_changes_meanwhile_is_copied_next(checkpoints: Checkpoints) -> None:
    """There is one copying at a time, and none is forgotten."""
    checkpoints.committed(EVERY_CHANGES)
    first = checkpoints._copying
    checkpoints.committed(2 * EVERY_CHANGES)
    assert checkpoints._copying is first
    assert first is not None
    await first

    second = checkpoints._copying
    assert second is not None
    await second

    assert checkpoints._copying is None


async def test_a_copying_that_fails_is_for_the_next_one(
    checkpoints: Checkpoints,
) -> None:
    """The log has all of it: there is nothing to tell anybody."""
    await checkpoints._thread.run(lambda db: db.close())
    checkpoints.committed(EVERY_CHANGES)
    failed = checkpoints._copying
    assert failed is not None

    with pytest.raises(QueueUnavailableError):
        await failed

    assert checkpoints._copying is None


async def test_nothing_is_copied_when_it_is_closed(path: Path) -> None:
    """The last commits of a queue come after that."""
    Checkpoints(path).committed(EVERY_CHANGES)
