"""The queue's file: who may open it, what its troubles look like, what survives."""

import asyncio
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import datetime
from pathlib import Path
from random import Random

import pytest
from structlog.testing import capture_logs

from tests.factories import a_chunk, a_delivery, an_announcement, some_chunks
from tests.fakes.clock import ManualClock
from worker.errors import MalformedEventError, QueueUnavailableError
from worker.model import Chunk, ChunkKey, ChunkState, Delivery, Sibling
from worker.queues import connection, puts, schema
from worker.queues.group_commit import GroupCommit
from worker.queues.sqlite import SqliteQueue

UNWRITABLE = Sibling(key=ChunkKey("d1"), index=0, end_reason="\ud800")


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "queue ?#%.db"


def a_queue(
    path: Path, clock: ManualClock, *, worker: str = "w1", create: bool = True
) -> SqliteQueue:
    return SqliteQueue(
        path,
        clock=clock,
        worker=worker,
        random=Random(1),  # noqa: S311 - jitter
        create=create,
    )


def change(path: Path, sql: str, *values: object) -> None:
    """Do to the file what another program might."""
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute(sql, values)


def damage(path: Path) -> None:
    """Keep the header alone."""
    content = bytearray(path.read_bytes())
    content[4096:] = b"\xff" * (len(content) - 4096)
    path.write_bytes(content)


def move_away(path: Path) -> None:
    path.rename(path.with_suffix(".old"))


def put_back(path: Path) -> None:
    path.with_suffix(".old").rename(path)


def make_another(path: Path) -> None:
    path.touch()


async def test_queue_survives_closing(path: Path, clock: ManualClock) -> None:
    """What was put is there for the next process, under any file name."""
    async with a_queue(path, clock) as queue:
        await queue.put(a_delivery(a_chunk()))

    async with a_queue(path, clock) as queue:
        (lease,) = await queue.lease(1)
        assert lease.chunk == a_chunk()


async def test_file_is_durable_and_ours(path: Path, clock: ManualClock) -> None:
    """Write-ahead log, a full sync for each commit, and a header that names us."""
    async with a_queue(path, clock) as queue:

        def pragma(db: sqlite3.Connection) -> list[object]:
            names = ("journal_mode", "synchronous", "application_id", "user_version")
            return [db.execute("PRAGMA " + name).fetchone()[0] for name in names]

        full = 2
        found = await queue._commits.submit(pragma)
        assert found == ["wal", full, schema.APPLICATION_ID, schema.VERSION]


async def test_two_queues_share_one_file(path: Path, clock: ManualClock) -> None:
    """The webhook's half puts, the consumer's half leases."""
    async with (
        a_queue(path, clock, worker="webhook") as webhook,
        a_queue(path, clock, worker="consumer") as consumer,
    ):
        await webhook.put(a_delivery(*some_chunks(2)))
        (lease,) = await consumer.lease(1)
        await consumer.complete(lease, ChunkState.DELETED, note="")

        states = [entry.state for entry in await webhook.list()]
        assert sorted(states) == [ChunkState.DELETED, ChunkState.PENDING]


async def test_existing_queue_opens_without_creating(
    path: Path, clock: ManualClock
) -> None:
    """A command that reads finds the queue of a running service."""
    async with a_queue(path, clock) as service:
        await service.put(a_delivery(a_chunk()))

        async with a_queue(path, clock, create=False) as command:
            assert len(await command.list()) == 1


async def test_missing_queue_is_not_created(path: Path, clock: ManualClock) -> None:
    """A command that reads says so, and leaves no file and no folder."""
    with pytest.raises(QueueUnavailableError, match="there is no queue at"):
        async with a_queue(path, clock, create=False):
            pass

    assert not path.parent.exists()


@pytest.mark.parametrize("version", [1, 7])
@pytest.mark.parametrize("create", [True, False])
async def test_other_formats_are_refused(
    path: Path, clock: ManualClock, version: int, *, create: bool
) -> None:
    """Tables of an older or a newer worker are left to it; both versions are named."""
    async with a_queue(path, clock):
        pass
    change(path, f"PRAGMA user_version = {version}")

    told = rf"has format {version}, .* format 3: let the worker that wrote it"
    with pytest.raises(QueueUnavailableError, match=told):
        async with a_queue(path, clock, create=create):
            pass


@pytest.mark.parametrize("create", [True, False])
async def test_other_databases_are_refused(
    tmp_path: Path, clock: ManualClock, *, create: bool
) -> None:
    """Another program's database is not touched."""
    path = tmp_path / "other.db"
    change(path, "CREATE TABLE chunks (other)")
    before = path.read_bytes()

    with pytest.raises(QueueUnavailableError, match="not a queue"):
        async with a_queue(path, clock, create=create):
            pass

    assert path.read_bytes() == before


async def test_empty_file_becomes_a_queue(tmp_path: Path, clock: ManualClock) -> None:
    """A file without content is taken as new, unless nothing may be created."""
    path = tmp_path / "queue.db"
    path.touch()
    with pytest.raises(QueueUnavailableError, match="not a queue"):
        async with a_queue(path, clock, create=False):
            pass

    async with a_queue(path, clock) as queue:
        await queue.ready()


def no_folder(path: Path) -> None:
    path.parent.write_bytes(b"")


def a_folder(path: Path) -> None:
    path.mkdir(parents=True)


def garbage(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"garbage" * 1000)


@pytest.mark.parametrize(
    ("spoil", "meaning"),
    [
        (no_folder, "can't be opened"),
        (a_folder, "can't be opened"),
        (garbage, "not a database"),
    ],
)
async def test_unusable_path_says_why(
    path: Path, clock: ManualClock, spoil: Callable[[Path], None], meaning: str
) -> None:
    """A queue that can't be opened is unavailable, for a reason in words."""
    spoil(path)

    with pytest.raises(QueueUnavailableError, match=meaning):
        async with a_queue(path, clock):
            pass


@pytest.mark.parametrize(
    ("pragma", "meaning"),
    [("max_page_count = 1", "disk is full"), ("query_only = ON", "file is read-only")],
)
async def test_refused_write_says_why(
    path: Path, clock: ManualClock, pragma: str, meaning: str
) -> None:
    """A write that the disk refuses is unavailable; what was put before stays."""
    async with a_queue(path, clock) as queue:
        await queue.put(a_delivery(a_chunk()))
        await queue._commits.submit(lambda db: db.execute("PRAGMA " + pragma).close())

        with pytest.raises(QueueUnavailableError, match=meaning):
            await queue.put(a_delivery(*some_chunks(500)))

        assert len(await queue.list()) == 1


async def test_locked_file_is_unavailable(path: Path, clock: ManualClock) -> None:
    """Another process that holds the lock too long delays nobody beyond the bound."""
    async with a_queue(path, clock):
        pass

    def impatient() -> sqlite3.Connection:
        db = connection.open_writer(path, create=False)
        db.execute("PRAGMA busy_timeout = 0")
        return db

    commits = GroupCommit(path, impatient, check_file=lambda: None)
    await commits.open()
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(QueueUnavailableError, match="another process"):
            await commits.submit(lambda _: None)
    await commits.submit(lambda _: None)
    await commits.close()


async def test_corrupt_file_is_unavailable(path: Path, clock: ManualClock) -> None:
    """Reading a damaged file is an error, not an empty queue."""
    async with a_queue(path, clock) as queue:
        await queue.put(a_delivery(*some_chunks(200)))
    damage(path)

    async with a_queue(path, clock) as queue:
        with pytest.raises(QueueUnavailableError, match="corrupt"):
            await queue.list()


async def test_replaced_file_is_not_ready(path: Path, clock: ManualClock) -> None:
    """Writes into a file that was moved away would be lost: the queue stops being ready."""
    async with a_queue(path, clock) as queue:
        await queue.ready()
        move_away(path)

        with pytest.raises(QueueUnavailableError, match="can't be reached"):
            await queue.ready()
        make_another(path)
        with pytest.raises(QueueUnavailableError, match="replaced"):
            await queue.ready()


async def test_put_into_a_lost_file_is_never_acknowledged(
    path: Path, clock: ManualClock
) -> None:
    """Neither when it was moved nor when it was replaced, until it is back."""
    async with a_queue(path, clock) as queue:
        await queue.put(a_delivery(a_chunk()))
        move_away(path)

        with pytest.raises(QueueUnavailableError, match="can't be reached"):
            await queue.put(a_delivery(a_chunk(document_id="d2")))
        make_another(path)
        with pytest.raises(QueueUnavailableError, match="replaced"):
            await queue.put(a_delivery(a_chunk(document_id="d3")))
        put_back(path)
        await queue.put(a_delivery(a_chunk(document_id="d5")))


async def test_ready_writes(path: Path, clock: ManualClock) -> None:
    """Ready is proven by a committed write, not by reading."""
    async with a_queue(path, clock) as queue:
        await queue._commits.submit(
            lambda db: db.execute("PRAGMA query_only = ON").close()
        )

        with pytest.raises(QueueUnavailableError, match="read-only"):
            await queue.ready()


@pytest.mark.parametrize("is_open", [True, False], ids=["closed", "never opened"])
async def test_queue_that_is_not_open_refuses(
    path: Path, clock: ManualClock, *, is_open: bool
) -> None:
    """Before and after its context the queue is unavailable, to readers too."""
    queue = a_queue(path, clock)
    if is_open:
        async with queue:
            pass

    with pytest.raises(QueueUnavailableError, match="not open"):
        await queue.put(a_delivery(a_chunk()))
    with pytest.raises(QueueUnavailableError, match="not open"):
        await queue.list()


async def test_cancelled_lease_gives_its_chunks_back(
    path: Path, clock: ManualClock
) -> None:
    """A worker that is cancelled while it leases leaves nothing leased."""
    async with a_queue(path, clock) as queue:
        await queue.put(a_delivery(a_chunk()))
        leasing = asyncio.create_task(queue.lease(1))
        await asyncio.sleep(0)

        leasing.cancel()

        with pytest.raises(asyncio.CancelledError):
            await leasing
        (entry,) = await queue.list()
        assert (entry.state, entry.attempts) == (ChunkState.PENDING, 0)
        assert [a.outcome for a in await queue.attempts(entry.row)] == ["released"]


@pytest.mark.parametrize(
    "malformed",
    [
        a_chunk(end_reason="\ud800", document_id="d2"),
        a_chunk(index=10**30, document_id="d2"),
        a_chunk(announcement=an_announcement(raw="\ud800"), document_id="d2"),
        a_chunk(announced=(UNWRITABLE,), document_id="d2"),
    ],
    ids=["text", "number", "event", "siblings"],
)
async def test_put_refuses_what_no_file_can_hold(
    path: Path, clock: ManualClock, malformed: Chunk
) -> None:
    """A malformed chunk fails its own delivery, as a whole, and no other."""
    bad = a_delivery(a_chunk(), malformed)
    async with a_queue(path, clock) as queue:
        refused, _ = await asyncio.gather(
            queue.put(bad),
            queue.put(a_delivery(a_chunk(document_id="d3"))),
            return_exceptions=True,
        )

        assert isinstance(refused, MalformedEventError)
        (entry,) = await queue.list()
        assert entry.chunk.document_id == "d3"


async def test_long_deliveries_are_prepared_one_by_one(
    path: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All at once they would take as long, each as long as all of them."""
    chunks = some_chunks(4 * puts.CHUNKS_PER_TURN)
    half = len(chunks) // 2
    begun, ended = list[str](), list[str]()
    prepare = puts.prepare_in_turns

    async def watched(delivery: Delivery, *, now: datetime) -> puts.Put:
        assert begun == ended
        begun.append(delivery.chunks[0].key)
        put = await prepare(delivery, now=now)
        ended.append(delivery.chunks[0].key)
        return put

    monkeypatch.setattr(puts, "prepare_in_turns", watched)
    async with a_queue(path, clock) as queue:
        await asyncio.gather(
            queue.put(a_delivery(*chunks[:half], body=b"[1]")),
            queue.put(a_delivery(*chunks[half:], body=b"[2]")),
        )

        assert len(begun) == 2
        assert len(await queue.list()) == len(chunks)


async def test_lease_tells_what_it_found(path: Path, clock: ManualClock) -> None:
    """Lapsed leases, postponed and unreadable chunks are logged once per call."""
    async with a_queue(path, clock) as queue:
        await queue.put(a_delivery(*some_chunks(4)))
        lapsing, *_ = await queue.lease(1)
        rows = [entry.row for entry in await queue.list(state=ChunkState.PENDING)]
        change(path, "UPDATE chunks SET v = 2 WHERE row = ?", rows[0])
        change(path, "UPDATE chunks SET v = 2 WHERE row = ?", rows[1])
        change(path, "UPDATE chunks SET announced = '' WHERE row = ?", rows[2])
        clock.advance(60)

        with capture_logs() as logs:
            await queue.lease(4)

        assert [(line["event"], set(line["rows"])) for line in logs] == [
            ("lease.reclaimed", {lapsing.row}),
            ("chunk.postponed", {rows[0], rows[1]}),
            ("chunk.dead_lettered", {rows[2]}),
        ]
