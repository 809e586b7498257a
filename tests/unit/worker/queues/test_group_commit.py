import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from tests.factories import a_chunk, a_delivery
from tests.fakes.clock import START
from tests.unit.worker.queues.databases import memory_database
from worker.errors import LeaseLostError, QueueUnavailableError
from worker.model import PutResult
from worker.queues import puts
from worker.queues.group_commit import MAX_BATCH, GroupCommit
from worker.queues.puts import Put

BUSY_SECONDS = 10


class Database:
    """A database in memory that notes its statements."""

    def __init__(self) -> None:
        self.statements: list[str] = []
        self.is_lost = False

    def connect(self) -> sqlite3.Connection:
        db = memory_database()
        db.set_trace_callback(self.statements.append)
        return db

    def check_file(self) -> None:
        self.statements.append("checked")
        if self.is_lost:
            raise QueueUnavailableError("the file was replaced")

    @property
    def commits(self) -> int:
        return self.statements.count("COMMIT")


@pytest.fixture
def database() -> Database:
    return Database()


@pytest.fixture
async def commits(database: Database) -> AsyncIterator[GroupCommit]:
    commits = GroupCommit(
        Path("queue.db"), database.connect, check_file=database.check_file
    )
    await commits.open()
    yield commits
    await commits.close()


def a_put(document_id: str) -> Put:
    return puts.prepare(a_delivery(a_chunk(document_id=document_id)), now=START)


def chunks_in(db: sqlite3.Connection) -> int:
    (count,) = db.execute("SELECT count(*) FROM chunks").fetchone()
    return int(count)


def fail_in_sqlite(db: sqlite3.Connection) -> None:
    db.execute("DELETE FROM chunks")
    db.execute("INSERT INTO heartbeat (id, at) VALUES (1, NULL)")


def fail_to_bind(db: sqlite3.Connection) -> None:
    db.execute("DELETE FROM chunks")
    db.execute("INSERT INTO heartbeat (id, at) VALUES (?, 1)", (2**70,))


def lose_the_lease(_: sqlite3.Connection) -> None:
    raise LeaseLostError("lost")


def end_the_transaction(db: sqlite3.Connection) -> None:
    """As SQLite itself does when the disk fails badly enough."""
    db.execute("ROLLBACK")
    raise sqlite3.OperationalError("disk I/O error")


async def test_concurrent_writes_share_a_commit(
    commits: GroupCommit, database: Database
) -> None:
    """Whoever is ready to write joins one transaction."""
    results = await asyncio.gather(*(commits.submit(a_put(f"d{n}")) for n in range(50)))

    assert results == [PutResult(enqueued=1, duplicates=0)] * 50
    assert database.commits == 1
    assert len(database.statements) <= 5 + 1


async def test_writes_gather_while_a_batch_is_committed(
    commits: GroupCommit, database: Database
) -> None:
    """The next batch takes all that came meanwhile, up to its bound."""
    gate, started = threading.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def wait(_: sqlite3.Connection) -> None:
        loop.call_soon_threadsafe(started.set)
        gate.wait(BUSY_SECONDS)

    first = commits.submit(wait)
    await started.wait()
    others = [commits.submit(a_put(f"d{n}")) for n in range(MAX_BATCH + 1)]
    gate.set()
    await asyncio.gather(first, *others)

    assert database.commits == 3
    assert await commits.submit(chunks_in) == MAX_BATCH + 1


async def test_nobody_is_told_before_the_commit(
    commits: GroupCommit, database: Database
) -> None:
    """An answer means durable."""
    done = commits.submit(a_put("d1"))
    commits_when_told: list[int] = []
    done.add_done_callback(lambda _: commits_when_told.append(database.commits))

    await done

    assert commits_when_told == [1]


async def test_nobody_is_told_of_a_commit_into_a_lost_file(
    commits: GroupCommit, database: Database
) -> None:
    """The file is looked at after COMMIT, once for all that wait; then nobody succeeds."""
    database.is_lost = True

    results = await asyncio.gather(
        *(commits.submit(a_put(f"d{n}")) for n in range(3)), return_exceptions=True
    )

    assert [type(result) for result in results] == [QueueUnavailableError] * 3
    assert database.statements[-2:] == ["COMMIT", "checked"]


@pytest.mark.parametrize(
    ("fail", "error"),
    [
        (fail_in_sqlite, QueueUnavailableError),
        (fail_to_bind, OverflowError),
        (lose_the_lease, LeaseLostError),
    ],
)
async def test_failing_write_fails_alone(
    commits: GroupCommit,
    fail: Callable[[sqlite3.Connection], None],
    error: type[Exception],
) -> None:
    """What else is in the batch is committed; the failed write leaves nothing."""
    before, failed, after, count = await asyncio.gather(
        commits.submit(a_put("d1")),
        commits.submit(fail),
        commits.submit(a_put("d2")),
        commits.submit(chunks_in),
        return_exceptions=True,
    )

    assert before == after == PutResult(enqueued=1, duplicates=0)
    assert isinstance(failed, error)
    assert count in {1, 2}
    assert await commits.submit(chunks_in) == 2


async def test_batch_that_sqlite_ended_fails_as_a_whole(commits: GroupCommit) -> None:
    """Nothing is acknowledged that a lost transaction held; the next batch is fine."""
    results = await asyncio.gather(
        commits.submit(a_put("d1")),
        commits.submit(end_the_transaction),
        return_exceptions=True,
    )

    assert [type(result) for result in results] == [QueueUnavailableError] * 2
    assert await commits.submit(chunks_in) == 0
    await commits.submit(a_put("d2"))
    assert await commits.submit(chunks_in) == 1


async def test_bug_in_a_write_reaches_the_caller(commits: GroupCommit) -> None:
    """An exception that nobody mapped fails the batch, and leaves the thread working."""

    def bug(_: sqlite3.Connection) -> None:
        raise TypeError("bug")

    with pytest.raises(TypeError, match="bug"):
        await commits.submit(bug)

    await commits.submit(a_put("d1"))
    assert await commits.submit(chunks_in) == 1


async def test_cancelled_caller_disturbs_nobody(commits: GroupCommit) -> None:
    """Before its batch begins a cancelled write is left out; the others are done."""
    cancelled, other = commits.submit(a_put("d1")), commits.submit(a_put("d2"))
    cancelled.cancel()

    await other

    assert await commits.submit(chunks_in) == 1


async def test_batch_of_cancelled_callers_is_skipped(
    commits: GroupCommit, database: Database
) -> None:
    """Nothing is committed for nobody, and the queue goes on."""
    commits.submit(a_put("d1")).cancel()
    await asyncio.sleep(0)

    await commits.submit(a_put("d2"))

    assert database.commits == 1


async def test_caller_cancelled_during_the_commit_disturbs_nobody(
    commits: GroupCommit,
) -> None:
    """What has begun is committed, whether or not someone still waits."""
    gate, started = threading.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def wait(_: sqlite3.Connection) -> None:
        loop.call_soon_threadsafe(started.set)
        gate.wait(BUSY_SECONDS)

    first, second = commits.submit(wait), commits.submit(a_put("d1"))
    other = commits.submit(a_put("d2"))
    await started.wait()
    first.cancel()
    second.cancel()
    gate.set()
    await other

    assert await commits.submit(chunks_in) == 2


async def test_close_finishes_what_came_before(database: Database) -> None:
    """Closing drains; what comes later is refused."""
    commits = GroupCommit(
        Path("queue.db"), database.connect, check_file=database.check_file
    )
    await commits.open()
    writes = [commits.submit(a_put(f"d{n}")) for n in range(MAX_BATCH + 1)]

    await commits.close()

    assert all(write.result().enqueued == 1 for write in writes)
    assert database.commits == 2
    with pytest.raises(QueueUnavailableError, match="not open"):
        commits.submit(a_put("late"))


async def test_close_that_is_cancelled_leaves_nobody_waiting(
    database: Database,
) -> None:
    """What has begun is committed; what has not is refused."""
    gate, started = threading.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def wait(_: sqlite3.Connection) -> None:
        loop.call_soon_threadsafe(started.set)
        gate.wait(BUSY_SECONDS)

    commits = GroupCommit(
        Path("queue.db"), database.connect, check_file=database.check_file
    )
    await commits.open()
    begun = commits.submit(wait)
    await started.wait()
    waiting, cancelled = commits.submit(a_put("d1")), commits.submit(a_put("d2"))
    cancelled.cancel()
    closing = asyncio.create_task(commits.close())
    await asyncio.sleep(0)

    closing.cancel()

    with pytest.raises(QueueUnavailableError, match="closed before"):
        await waiting
    gate.set()
    await begun
    with pytest.raises(asyncio.CancelledError):
        await closing
