"""How the ledger's names add up to how a chunk stands."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from tests.factories import a_chunk
from tests.fakes.archive import MemoryArchive
from tests.fakes.clock import START, ManualClock
from tests.proofs import a_proof
from worker import names as archive_names
from worker.errors import (
    ArchiveForbiddenError,
    ArchiveUnavailableError,
    QueueUnavailableError,
)
from worker.model import ChunkState, RecordingKey
from worker.queues.storage.ledger import DueEntry, Ledger
from worker.queues.storage.names import Death, DueName, Mark, PartName, due_name
from worker.stored import encode

HOUR = timedelta(hours=1)
ROW = "a" * 32
OTHER = "b" * 32
EXPIRES = START + 5 * HOUR


@pytest.fixture
def archive() -> MemoryArchive:
    return MemoryArchive()


@pytest.fixture
def ledger(archive: MemoryArchive) -> Ledger:
    return Ledger(archive, ManualClock())


def a_ref(digest: str = "0") -> str:
    return f"2026030112-{digest * 32}-0001-01-20260302T115958Z-00"


def a_due(row: str = ROW, *, at: datetime = EXPIRES, digest: str = "0") -> DueName:
    return due_name(at, row=row, ref=a_ref(digest))


async def listed(ledger: Ledger) -> list[DueEntry]:
    return [entry async for entry in ledger.due(START, START + 24 * HOUR)]


async def write(ledger: Ledger, due: DueName, *marks: Mark) -> None:
    """Announce a chunk; then each mark comes a second after the other."""
    await ledger.create(str(due))
    for number, mark in enumerate(marks):
        await ledger.create(due.marked(mark, START + timedelta(seconds=number)))


@pytest.mark.parametrize(
    ("marks", "state", "is_outstanding"),
    [
        ((), ChunkState.PENDING, True),
        ((Mark.URGENT,), ChunkState.PENDING, True),
        ((Mark.WAITING,), ChunkState.ARCHIVED, True),
        ((Mark.WAITING, Mark.DELETED), ChunkState.DELETED, False),
        ((Mark.ARCHIVED,), ChunkState.ARCHIVED, False),
        ((Mark.DELETED, Mark.ARCHIVED), ChunkState.DELETED, False),
        ((Mark.DELETED, Mark.WAITING), ChunkState.DELETED, False),
        ((Mark.DELETED, Mark.PENDING), ChunkState.PENDING, True),
        ((Mark.DEAD,), ChunkState.DEAD, False),
        ((Mark.DEAD, Mark.PENDING), ChunkState.PENDING, True),
        ((Mark.DEAD, Mark.PENDING, Mark.DEAD), ChunkState.DEAD, False),
        ((Mark.DEAD, Mark.PENDING, Mark.URGENT), ChunkState.PENDING, True),
    ],
)
async def test_latest_mark_counts(
    ledger: Ledger, marks: tuple[Mark, ...], state: ChunkState, *, is_outstanding: bool
) -> None:
    """What happened is added to; nothing is changed."""
    await write(ledger, a_due(), *marks)

    (entry,) = await listed(ledger)

    assert (entry.at, entry.row, entry.state) == (EXPIRES, ROW, state)
    assert entry.is_outstanding is is_outstanding
    assert entry.standing.is_urgent is (Mark.URGENT in marks)


async def test_receipt_proves_the_locations_that_it_names(
    ledger: Ledger, archive: MemoryArchive
) -> None:
    """One document may be announced twice, for different objects; each has its receipt."""
    chunk = a_chunk(document_id="d1")
    without = replace(chunk, metadata_location=None)
    elsewhere = replace(chunk, metadata_location="https://source/other")
    name = archive_names.receipt_name(chunk.key)
    assert not await ledger.is_proven(chunk)
    archive.objects[name] = b"{}"
    assert not await ledger.is_proven(chunk)

    archive.objects[name] = encode(a_proof("d1"))

    proven = [await ledger.is_proven(each) for each in (chunk, without, elsewhere)]
    assert proven == [True, True, False]
    other = archive_names.other_key(elsewhere)
    receipt = replace(a_proof("d1"), key=other, metadata_path="/other")
    await archive.create(archive_names.receipt_name(other), encode(receipt))
    assert await ledger.is_proven(elsewhere)


async def test_mark_may_overrule_a_clock_that_is_ahead(ledger: Ledger) -> None:
    """A chunk that is announced again lives, whatever time the worker had that buried it."""
    await ledger.create(a_due().marked(Mark.DEAD, START + HOUR))
    await ledger.create(str(a_due()))
    await ledger.mark(a_due(), Mark.PENDING)
    (entry,) = await listed(ledger)
    assert entry.state is ChunkState.DEAD

    await ledger.overrule(a_due(), Mark.PENDING)

    (entry,) = await listed(ledger)
    assert (entry.state, entry.is_outstanding) == (ChunkState.PENDING, True)


async def test_settled_entry_says_when(ledger: Ledger) -> None:
    """By its mark's time."""
    await write(ledger, a_due(), Mark.WAITING, Mark.DELETED)
    await write(ledger, a_due(OTHER), Mark.WAITING)

    first, second = await listed(ledger)

    assert first.settled_at == START + timedelta(seconds=1)
    assert second.settled_at is None


async def test_announcements_of_one_chunk_are_one_entry(ledger: Ledger) -> None:
    """One that is at work counts more than one that was done with."""
    await write(ledger, a_due(digest="0"), Mark.DELETED)
    await write(ledger, a_due(digest="1"))
    await write(ledger, a_due(OTHER, digest="0"), Mark.DEAD)
    await write(ledger, a_due(OTHER, digest="1"), Mark.DEAD, Mark.DELETED)

    first, second = await listed(ledger)

    assert (first.ref, first.state) == (a_ref("1"), ChunkState.PENDING)
    assert (second.ref, second.state) == (a_ref("1"), ChunkState.DELETED)


async def test_moved_entry_is_no_entry(ledger: Ledger) -> None:
    """Its chunk is listed where it is due now."""
    await write(ledger, a_due(), Mark.MOVED)

    (entry,) = await listed(ledger)

    assert entry.is_moved
    assert not entry.is_outstanding


async def test_due_entries_come_in_order_within_bounds(
    ledger: Ledger, archive: MemoryArchive
) -> None:
    """Foreign names between them are passed by."""
    for hours in (30, 3, 1, 2):
        await write(ledger, a_due(at=START + hours * HOUR))
    await archive.create("announced/due/20260301/15/notes.txt", b"mine")

    assert [entry.at for entry in await listed(ledger)] == [
        START + hours * HOUR for hours in (1, 2, 3)
    ]


async def test_deaths_end_with_a_new_announcement(ledger: Ledger) -> None:
    """The last number counts; whichever name sorts first."""
    recording = RecordingKey("r")

    def death(row: str, number: int, reason: str) -> Death:
        return Death(recording=recording, row=row, number=number, reason=reason)

    first, again = death(ROW, 1, "source-expired"), death(ROW, 2, "a")
    revived = death(OTHER, 1, "zzz")
    for name in (first.document, first.revived, again.document):
        await ledger.create(name)
    for name in (revived.document, revived.revived):
        await ledger.create(name)
    elsewhere = Death(recording="s", row=ROW, number=1, reason="a")
    await ledger.create(elsewhere.document)

    assert [found async for found in ledger.deaths(recording)] == [again]
    assert [found async for found in ledger.deaths()] == [again, elsewhere]
    assert await ledger.last_death(recording, ROW) == (again, False)
    assert await ledger.last_death(recording, OTHER) == (revived, True)
    assert await ledger.last_death(RecordingKey("t"), ROW) is None


async def test_unfanned_deliveries_are_listed(ledger: Ledger) -> None:
    """Until their chunks have messages; those without chunks need none."""

    def part(number: int, chunks: int = 1) -> PartName:
        return PartName(
            hour=START,
            digest="0" * 32,
            number=number,
            chunks=chunks,
            expires_at=EXPIRES,
        )

    waiting, urgent, done, empty = part(1), part(2), part(3), part(4, chunks=0)
    for each in (waiting, urgent, done, empty):
        await ledger.create(each.document)
    await ledger.create(urgent.urgent)
    await ledger.create(done.fanned)

    found = [each async for each in ledger.unfanned(START, START)]

    assert found == [(waiting, False), (urgent, True)]


@pytest.mark.parametrize("error", [ArchiveUnavailableError, ArchiveForbiddenError])
async def test_trouble_of_the_archive_is_the_queues(
    ledger: Ledger, archive: MemoryArchive, error: type[ArchiveUnavailableError]
) -> None:
    """With its hint."""
    archive.fail_next(error("down"), on="read")

    with pytest.raises(QueueUnavailableError, match="down") as told:
        await ledger.read("announced/x")

    assert told.value.hint == error.hint


async def test_taken_name_is_no_trouble(ledger: Ledger) -> None:
    """Whoever was first said the same."""
    assert await ledger.create("announced/x")
    assert not await ledger.create("announced/x")
