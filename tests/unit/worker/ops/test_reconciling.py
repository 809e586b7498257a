"""What should be here and is not; each chunk with why, how long, and what saves it."""

import base64
import json
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from tests.factories import RETENTION, a_delivery, an_announcement, some_chunks
from tests.fakes.archive import MemoryArchive
from tests.fakes.clock import START, ManualClock
from tests.fakes.queue import MemoryQueue
from tests.unit.worker.ops.test_recordings import store, store_manifest
from tests.unit.worker.ops.test_verifying import proven_receipt, tombstone_of
from worker import names, reports
from worker.model import Announcement, Chunk, ChunkState
from worker.ops.reconciling import LetterChunks, Reconciled, Reconciler, keep
from worker.ops.summaries import SummaryRow
from worker.reports import Reconciliation

CALL = an_announcement()
NOW = START + timedelta(hours=2)


@pytest.fixture
def archive() -> MemoryArchive:
    return MemoryArchive()


@pytest.fixture
def queue() -> MemoryQueue:
    return MemoryQueue(clock=ManualClock())


def a_row(chunks: int, recording_id: str = "recording-1", **said: object) -> SummaryRow:
    fields: dict[str, object] = {
        "started_at": CALL.recording_start_time,
        "length_s": 600.0,
        "ended": None,
        **said,
    }
    return SummaryRow(recording_id=recording_id, chunks=chunks, **fields)  # type: ignore[arg-type]


async def letters_of(*letters: LetterChunks) -> AsyncIterator[LetterChunks]:
    for letter in letters:
        yield letter


async def reconciled(
    archive: MemoryArchive,
    queue: MemoryQueue | None,
    *rows: SummaryRow,
    letters: tuple[LetterChunks, ...] = (),
) -> Reconciled:
    reconciler = Reconciler(archive=archive, queue=queue, now=NOW, retention=RETENTION)
    return await reconciler.run(rows, letters_of(*letters))


async def home(
    archive: MemoryArchive, *chunks: Chunk, announcement: Announcement = CALL
) -> None:
    await store_manifest(archive, announcement, await store(archive, *chunks))


async def test_what_is_here_is_not_missing(
    archive: MemoryArchive, queue: MemoryQueue
) -> None:
    """By the manifest, or, of late chunks, by the receipt alone."""
    chunks = some_chunks(3)
    await home(archive, *chunks[:2])
    await store(archive, chunks[2])

    found = await reconciled(archive, queue, a_row(3))

    assert found.missing == ()
    assert (found.recordings, found.chunks, found.here) == (1, 3, 3)


async def test_chunk_that_nobody_announced_has_hours_and_no_command(
    archive: MemoryArchive, queue: MemoryQueue
) -> None:
    """By the recording's start and length: ACS has no API that lists it."""
    await home(archive, some_chunks(2)[0])

    (row,) = (await reconciled(archive, queue, a_row(2))).missing

    start = CALL.recording_start_time
    assert start
    assert (row.index, row.why, row.command) == (1, "never announced", None)
    assert row.expires_at == start + timedelta(seconds=600) + RETENTION
    assert row.hours_left == 22.0
    assert (row.recording_id, row.document_id) == ("recording-1", None)


async def test_recording_that_nobody_announced_is_missing_as_a_whole(
    archive: MemoryArchive, queue: MemoryQueue
) -> None:
    """Each chunk ends after four hours more; what is over says so, what can be saved is first."""
    old = START - timedelta(hours=28)
    found = await reconciled(
        archive,
        queue,
        a_row(2, "over", started_at=old, length_s=None),
        a_row(1, "unknown", started_at=None),
        a_row(1, "now"),
    )

    assert [(row.recording_id, row.index, row.hours_left) for row in found.missing] == [
        ("over", 1, 2.0),
        ("now", 0, 22.0),
        ("unknown", 0, None),
        ("over", 0, 0.0),
    ]


async def test_what_the_queue_works_on_is_not_missing(
    archive: MemoryArchive, queue: MemoryQueue
) -> None:
    """Pending or leased; a dead one is, with the command that tries it again."""
    chunks = some_chunks(3)
    await queue.put(a_delivery(*chunks))
    leases = await queue.lease(2)
    await queue.dead_letter(leases[0], reason="source-expired", error="404")

    found = await reconciled(archive, queue, a_row(3))

    (row,) = found.missing
    assert (found.at_work, row.why, row.reason) == (2, "dead", "source-expired")
    assert row.command == f"recording-worker queue redrive {leases[0].row}"
    assert row.document_id == leases[0].chunk.document_id
    assert row.expires_at == leases[0].chunk.expires_at


async def test_chunk_that_the_queue_thinks_done_is_missing(
    archive: MemoryArchive, queue: MemoryQueue
) -> None:
    """Archived as it says, and not in the archive: somebody has to look."""
    await queue.put(a_delivery(*some_chunks(1)))
    (lease,) = await queue.lease(1)
    await queue.complete(lease, ChunkState.ARCHIVED, note="")

    (row,) = (await reconciled(archive, queue, a_row(1))).missing

    assert row.why == "announced, and not at work"
    assert row.command == f"recording-worker queue show {lease.row}"


async def test_dead_letter_is_missing_until_it_is_home(
    archive: MemoryArchive, queue: MemoryQueue
) -> None:
    """Whatever Azure Monitor counts; at work it is not missing, erased neither."""
    first, second, third, fourth = some_chunks(4)
    letters = tuple(
        LetterChunks(place=f"letters/a b/{chunk.index}.json", chunks=(chunk,))
        for chunk in (first, second, third, fourth)
    )
    await store(archive, first)
    await queue.put(a_delivery(second))
    tombstone = tombstone_of(proven_receipt(fourth))
    await archive.create(names.erased_name(fourth.key), tombstone)

    found = await reconciled(archive, queue, letters=letters)

    (row,) = found.missing
    assert (found.letters, found.here, found.at_work, found.erased) == (4, 1, 1, 1)
    assert (row.why, row.index, row.hours_left) == ("dead letter", 2, 22.0)
    assert row.command == "recording-worker replay 'letters/a b/2.json'"
    assert row.recording_id == "recording-1"


async def test_dead_letter_explains_what_azure_monitor_counts(
    archive: MemoryArchive,
) -> None:
    """One line for both; and without a queue nothing is at work."""
    chunks = some_chunks(2)
    await home(archive, chunks[0])
    letter = LetterChunks(place="x.json", chunks=(chunks[1],))

    (row,) = (await reconciled(archive, None, a_row(2), letters=(letter,))).missing

    assert (row.why, row.command) == (
        "dead letter",
        "recording-worker replay x.json",
    )


async def test_erased_recording_is_not_missing(
    archive: MemoryArchive, queue: MemoryQueue
) -> None:
    """Its tombstones are known by the recording's key; a torn one says nothing."""
    for chunk in some_chunks(2):
        tombstone = tombstone_of(proven_receipt(chunk))
        await archive.create(names.erased_name(chunk.key), tombstone)
    await archive.create("receipts/00/torn.erased.json", b"torn")

    found = await reconciled(archive, queue, a_row(2))

    assert (found.missing, found.erased) == ((), 2)


async def test_id_within_a_recording_id_finds_it_too(
    archive: MemoryArchive, queue: MemoryQueue
) -> None:
    """Which of the two Azure Monitor logs is not documented."""
    told = {"PlatformEndpointId": "p", "ResourceSpecificId": "inner-1"}
    recording_id = base64.b64encode(json.dumps(told).encode()).decode()
    announcement = an_announcement(recording_id=recording_id)
    chunks = some_chunks(1, announcement=announcement)
    await home(archive, *chunks, announcement=announcement)

    assert (await reconciled(archive, queue, a_row(1, "inner-1"))).missing == ()
    assert (await reconciled(archive, queue, a_row(1, recording_id))).missing == ()
    assert len((await reconciled(archive, queue, a_row(1, "other"))).missing) == 1


async def test_documents_that_can_not_be_read_prove_nothing(
    archive: MemoryArchive, queue: MemoryQueue
) -> None:
    """The chunk is missing until somebody has looked."""
    (chunk,) = some_chunks(1)
    (receipt,) = await store(archive, chunk)
    archive.objects[names.receipt_name(receipt.key)] = b"torn"
    await archive.create(names.manifest_name(receipt.recording_folder, 1), b"torn")

    assert len((await reconciled(archive, queue, a_row(1))).missing) == 1


async def test_report_is_kept_and_names_no_call(
    archive: MemoryArchive, queue: MemoryQueue
) -> None:
    """A new document, by its time; the recordingId is not in it."""
    found = await reconciled(archive, queue, a_row(1, "secret-recording"))

    report = found.report(at=NOW, by="ann", version="1")
    name = await keep(archive, report)

    assert name.startswith("reports/reconcile/20260301T140000Z-")
    assert b"secret-recording" not in archive.objects[name]
    kept = reports.decode(Reconciliation, archive.objects[name])
    assert kept == report
    assert (kept.chunks, kept.missing[0].why) == (1, "never announced")
