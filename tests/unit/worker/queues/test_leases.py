import sqlite3
from collections.abc import Collection, Iterator
from contextlib import closing
from datetime import timedelta
from random import Random

import pytest

from tests.factories import a_chunk, a_delivery, some_chunks
from tests.fakes.clock import START
from tests.unit.worker.queues.databases import copy_chunk, memory_database, query_plan
from worker.model import ChunkState, Lane
from worker.queues import entries, leases, puts, reads

MANY = 20_000


@pytest.fixture
def db() -> Iterator[sqlite3.Connection]:
    with closing(memory_database()) as db:
        yield db


def a_request(
    count: int,
    *,
    paused: Collection[str] = (),
    later: float = 0,
    lane: Lane = Lane.DEADLINE,
) -> leases.LeaseRequest:
    now = START + timedelta(seconds=later)
    return leases.LeaseRequest(
        count=count,
        paused=paused,
        lane=lane,
        worker="w1",
        now=now,
        until=now + timedelta(seconds=60),
        random=Random(1),  # noqa: S311 - jitter
    )


def put(db: sqlite3.Connection, *documents: str) -> None:
    chunks = [a_chunk(document_id=document) for document in documents]
    puts.put_all(db, [puts.prepare(a_delivery(*chunks), now=START)])


def instructions(db: sqlite3.Connection, request: leases.LeaseRequest) -> int:
    """How many thousand steps of its virtual machine SQLite takes to lease."""
    ticks: list[int] = []
    db.set_progress_handler(lambda: ticks.append(1), 1000)
    leases.lease_due(db, request)
    db.set_progress_handler(None, 0)
    return len(ticks)


@pytest.mark.parametrize("paused", [[], ["other"]])
@pytest.mark.parametrize("lane", Lane)
def test_lease_reads_only_what_it_leases(
    db: sqlite3.Connection, paused: list[str], lane: Lane
) -> None:
    """Leasing a few of many chunks neither scans nor sorts the others, in any lane."""
    copy_chunk(db, a_chunk(), MANY)

    plan = query_plan(db, leases._DUE_IN[lane], (0, "[]", 4))
    index = "chunks_untried" if lane is Lane.UNTRIED else "chunks_due"
    assert f"USING INDEX {index}" in plan
    assert "TEMP B-TREE FOR ORDER" not in plan
    assert instructions(db, a_request(4, paused=paused, lane=lane)) <= 2


def test_untried_lane_passes_by_a_backlog(db: sqlite3.Connection) -> None:
    """However many chunks fail again and again before the first that was never tried."""
    copy_chunk(db, a_chunk(), MANY)
    db.execute("UPDATE chunks SET attempts = 1")
    put(db, "d1")
    late = entries.micros(START + timedelta(days=999))
    db.execute("UPDATE chunks SET expires_at = ? WHERE attempts = 0", (late,))

    assert instructions(db, a_request(4, lane=Lane.UNTRIED)) <= 2
    page = reads.page_behind(db, page=reads.FIRST_PAGE, state=ChunkState.LEASED)
    (lease,) = page.entries
    assert lease.chunk.document_id == "d1"


def test_reclaim_reads_only_leases(db: sqlite3.Connection) -> None:
    """Looking for lapsed leases costs nothing while there are none."""
    plan = query_plan(db, leases._LAPSED, (0,))

    assert "INDEX chunks_leased" in plan


def test_counts_never_read_the_chunks(db: sqlite3.Connection) -> None:
    """Counting a long history stays within one index."""
    plan = query_plan(db, reads._COUNTS, (0,))

    assert "USING COVERING INDEX chunks_state" in plan


def test_chunk_of_a_newer_format_is_postponed(db: sqlite3.Connection) -> None:
    """It waits for a newer worker, no attempt spent, and holds up nobody."""
    put(db, "newer", "known")
    db.execute("UPDATE chunks SET v = 2, expires_at = 0 WHERE document_id = 'newer'")

    leased = leases.lease_due(db, a_request(1))

    assert [lease.chunk.document_id for lease in leased.leases] == ["known"]
    (newer,) = reads.find(db, "newer")
    assert leased.postponed == [newer.row]
    assert (newer.state, newer.attempts) == (ChunkState.PENDING, 0)
    assert newer.not_before == START + timedelta(seconds=60)
    assert leases.lease_due(db, a_request(1, later=59)).postponed == []
    assert leases.lease_due(db, a_request(1, later=60)).postponed == [newer.row]


def test_chunk_of_a_newer_format_is_listed(db: sqlite3.Connection) -> None:
    """An operator sees it by what the columns know."""
    put(db, "newer")
    (readable,) = reads.find(db, "newer")
    db.execute("UPDATE chunks SET v = 2")

    (entry,) = reads.announced(db, readable.chunk.recording)

    assert entry.chunk.key == readable.chunk.key
    assert entry.chunk.index == readable.chunk.index
    assert entry.chunk.announced == readable.chunk.announced
    assert entry.chunk.expires_at == readable.chunk.expires_at
    assert entry.chunk.announcement.resource == readable.chunk.announcement.resource
    assert entry.chunk.announcement.call_id == readable.chunk.announcement.call_id


@pytest.mark.parametrize(
    "damage", ["received_at = 'noon'", "announced = '{'", "raw = NULL", "v = 'x'"]
)
def test_chunk_that_nobody_can_read_is_dead(
    db: sqlite3.Connection, damage: str
) -> None:
    """A damaged row is parked for an operator, and never stops the others."""
    put(db, "damaged", "known")
    change = "UPDATE chunks SET DAMAGE WHERE document_id = 'damaged'"
    db.execute(change.replace("DAMAGE", damage))

    leased = leases.lease_due(db, a_request(2))

    assert [lease.chunk.document_id for lease in leased.leases] == ["known"]
    (damaged,) = reads.find(db, "damaged")
    assert leased.unreadable == [damaged.row]
    assert (damaged.state, damaged.reason) == (ChunkState.DEAD, "stored-format")
    assert damaged.settled_at == START


def test_siblings_that_nobody_can_read_make_a_chunk_dead(
    db: sqlite3.Connection,
) -> None:
    """They are a part of the chunk."""
    put(db, "damaged")
    db.execute("UPDATE chunks SET announced = '[{}]'")

    leased = leases.lease_due(db, a_request(1))

    assert leased.leases == []
    (damaged,) = reads.find(db, "damaged")
    assert (damaged.state, damaged.reason) == (ChunkState.DEAD, "stored-format")


def test_announced_decodes_the_same_siblings_once(db: sqlite3.Connection) -> None:
    """N chunks have N siblings each: they share them."""
    chunks = some_chunks(3)
    puts.put_all(db, [puts.prepare(a_delivery(*chunks), now=START)])

    found = reads.announced(db, chunks[0].recording)

    assert [entry.chunk for entry in found] == list(chunks)
    assert len({id(entry.chunk.announced) for entry in found}) == 1


def test_lapsed_leases_are_told(db: sqlite3.Connection) -> None:
    """Whoever leases learns which leases had lapsed."""
    put(db, "d1")
    (lease,) = leases.lease_due(db, a_request(1)).leases

    leased = leases.lease_due(db, a_request(1, later=60))

    assert leased.reclaimed == [lease.row]
