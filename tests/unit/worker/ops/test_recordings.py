"""Recordings as the archive tells them."""

from dataclasses import replace
from datetime import timedelta

import pytest

from tests.factories import RETENTION, an_announcement, some_chunks
from tests.fakes.archive import MemoryArchive
from tests.fakes.clock import START
from tests.proofs import a_proof
from worker import names, recording
from worker.model import Announcement, Chunk, DeleteAnswer
from worker.ops.recording_rows import RecordingRow
from worker.ops.recordings import recordings_list, recordings_show
from worker.recording import RecordingView
from worker.stored import Receipt, SourceDeleted, encode
from worker.telemetry import spans


def receipt_for(chunk: Chunk) -> Receipt:
    """What the pipeline would have written for a chunk."""
    proof = a_proof(chunk.document_id)
    content = replace(proof.content, name=names.content_name(chunk), size_bytes=1000)
    return replace(
        proof,
        key=chunk.key,
        recording=chunk.recording,
        recording_folder=names.recording_folder(chunk.announcement, chunk.recording),
        index=chunk.index,
        end_reason=chunk.end_reason,
        announced=chunk.announced,
        content=content,
        metadata=replace(content, name=names.metadata_name(chunk)),
        expires_at=START + RETENTION,
    )


async def store(archive: MemoryArchive, *chunks: Chunk) -> list[Receipt]:
    receipts = [receipt_for(chunk) for chunk in chunks]
    for receipt in receipts:
        await archive.create(receipt.content.name, b"x")
        if receipt.metadata:
            await archive.create(receipt.metadata.name, b"{}")
        await archive.create(names.receipt_name(receipt.key), encode(receipt))
    return receipts


async def store_manifest(
    archive: MemoryArchive,
    announcement: Announcement,
    receipts: list[Receipt],
    *,
    number: int = 1,
) -> None:
    first = receipts[0]
    view = RecordingView(
        recording=first.recording,
        announcement=announcement,
        folder=first.recording_folder,
        announced={sibling.key: sibling for sibling in first.announced},
        receipts={receipt.key: receipt for receipt in receipts},
        dead={},
        alive=frozenset(),
        is_closed_by_another=False,
        deadline=START,
    )
    name = names.manifest_name(first.recording_folder, number)
    manifest = recording.manifest_of(view)
    await archive.create(name, encode(manifest))
    await archive.create(
        names.checksums_name(first.recording_folder, number),
        recording.checksums_of(manifest),
    )


async def rows_of(archive: MemoryArchive, day: str = "") -> list[RecordingRow]:
    return [row async for row in recordings_list(archive, day=day)]


@pytest.fixture
def archive() -> MemoryArchive:
    return MemoryArchive()


async def test_complete_recording_is_told_by_its_manifest(
    archive: MemoryArchive,
) -> None:
    """One row: what it is, when it started, how much it holds."""
    announcement = an_announcement()
    receipts = await store(archive, *some_chunks(3, announcement=announcement))
    await store_manifest(archive, announcement, receipts)

    (row,) = await rows_of(archive)

    assert row.complete
    assert (row.call_id, row.recording_id) == ("call-1", "recording-1")
    assert row.started_at == announcement.recording_start_time
    assert (row.chunks, row.size_bytes, row.manifest) == (3, 3000, 1)
    assert (row.missing, row.problem) == ((), None)


async def test_highest_manifest_is_current(archive: MemoryArchive) -> None:
    """A late chunk made a second manifest, which counts."""
    announcement = an_announcement()
    chunks = some_chunks(2, announcement=announcement)
    receipts = await store(archive, chunks[0])
    await store_manifest(archive, announcement, receipts)
    receipts += await store(archive, chunks[1])
    await store_manifest(archive, announcement, receipts, number=2)

    (row,) = await rows_of(archive)

    assert (row.manifest, row.complete, row.chunks) == (2, True, 2)


async def test_incomplete_manifest_says_what_is_missing(archive: MemoryArchive) -> None:
    """The index and the reason, as the manifest has them."""
    announcement = an_announcement()
    receipts = await store(archive, some_chunks(3, announcement=announcement)[0])
    await store_manifest(archive, announcement, receipts)

    (row,) = await rows_of(archive)

    assert not row.complete
    assert [gap.index for gap in row.missing] == [1, 2]


async def test_without_a_manifest_the_receipts_tell(archive: MemoryArchive) -> None:
    """While chunks are on their way, what is there and what is announced is known."""
    chunks = some_chunks(3)
    await store(archive, chunks[1])
    await archive.create(names.content_name(chunks[2]), b"no receipt yet")

    (row,) = await rows_of(archive)

    assert not row.complete
    assert (row.manifest, row.chunks, row.size_bytes) == (None, 1, 1000)
    assert [(gap.index, gap.reason) for gap in row.missing] == [
        (0, "not archived yet"),
        (2, "not archived yet"),
    ]
    assert (row.call_id, row.day) == ("call-1", "2026/03/01")


async def test_candidate_name_belongs_to_the_same_chunk(archive: MemoryArchive) -> None:
    """`….r2.mp4` is another try at a chunk, not another chunk."""
    (chunk,) = some_chunks(1)
    await store(archive, chunk)
    await archive.create(names.content_name(chunk, candidate=2), b"x")

    (row,) = await rows_of(archive)

    assert row.chunks == 1


async def test_recordings_are_listed_by_day(archive: MemoryArchive) -> None:
    """A day, a month or a year can be asked for alone."""
    for number, days in enumerate((0, 1, 40)):
        announcement = an_announcement(
            recording_id=f"r{number}", recording_start_time=START + timedelta(days=days)
        )
        stem = f"d{number}"
        await store(
            archive, *some_chunks(1, announcement=announcement, document_id=stem)
        )
    await archive.create("recordings/stray.txt", b"x")

    assert [row.day for row in await rows_of(archive)] == [
        "2026/03/01",
        "2026/03/02",
        "2026/04/10",
    ]
    assert len(await rows_of(archive, "2026/03")) == 2
    assert len(await rows_of(archive, "2026/03/02")) == 1
    assert await rows_of(archive, "2025") == []


@pytest.mark.parametrize("document", [b'{"v": 2}', b"torn"])
async def test_unreadable_manifest_is_a_row_with_a_problem(
    archive: MemoryArchive, document: bytes
) -> None:
    """One bad document, or one of a newer version, does not hide the others."""
    announcement = an_announcement()
    receipts = await store(archive, *some_chunks(1, announcement=announcement))
    name = names.manifest_name(receipts[0].recording_folder, 1)
    await archive.create(name, document)

    (row,) = await rows_of(archive)
    (shown,) = await recordings_show(archive, row.recording)

    assert row.problem
    assert not row.complete
    assert (row.chunks, row.manifest) == (1, 1)
    assert [chunk.content for chunk in shown.chunks] == [receipts[0].content.name]


@pytest.mark.parametrize("document", [b'{"v": 2}', b"torn"])
async def test_unreadable_receipt_hides_no_other_chunk(
    archive: MemoryArchive, document: bytes
) -> None:
    """Before there is a manifest; it is missing, and the problem is told."""
    receipts = await store(archive, *some_chunks(3))
    archive.objects[names.receipt_name(receipts[1].key)] = document

    (row,) = await rows_of(archive)
    (shown,) = await recordings_show(archive, row.recording)

    assert row.problem
    assert [gap.index for gap in row.missing] == [1]
    assert [chunk.index for chunk in shown.chunks] == [0, 2]


@pytest.mark.parametrize(
    "text", ["call-1", "call", "recording-1", "0-eus-d1-doc1-1", "KEY", "KEY-START"]
)
@pytest.mark.parametrize("with_manifest", [True, False])
async def test_show_finds_by_any_id(
    archive: MemoryArchive,
    text: str,
    with_manifest: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    """Call id, recordingId, documentId, the recording's key, or its beginning."""
    announcement = an_announcement()
    receipts = await store(archive, *some_chunks(2, announcement=announcement))
    if with_manifest:
        await store_manifest(archive, announcement, receipts)
    other = an_announcement(recording_id="other", call_id="other")
    await store(archive, *some_chunks(1, announcement=other, document_id="other"))
    key = receipts[0].recording
    text = {"KEY": key, "KEY-START": key[:6]}.get(text, text)

    (detail,) = await recordings_show(archive, text)

    assert detail.recording.recording == key
    assert [chunk.index for chunk in detail.chunks] == [0, 1]


@pytest.mark.parametrize("text", ["nobody", "c", "", "  "])
async def test_show_of_an_unknown_or_too_short_id_is_empty(
    archive: MemoryArchive, text: str
) -> None:
    """One letter does not mean half the archive."""
    await store(archive, *some_chunks(1))

    assert not await recordings_show(archive, text)


async def test_show_tells_proof_and_source_of_every_chunk(
    archive: MemoryArchive,
) -> None:
    """Names, sizes, hashes, how verified, flags, and what the source answered."""
    announcement = an_announcement()
    chunks = some_chunks(2, announcement=announcement)
    receipts = await store(archive, *chunks)
    await store_manifest(archive, announcement, receipts)
    answer = DeleteAnswer(status=202, host="h", at=START, hops=("h 202",))
    deleted = SourceDeleted(
        key=chunks[0].key, worker_version="1", worker_instance="w", answer=answer
    )
    await archive.create(names.source_deleted_name(chunks[0].key), encode(deleted))

    (detail,) = await recordings_show(archive, "call-1")

    first, second = detail.chunks
    assert (detail.ended, detail.duration_ms) == ("session-ended", 600_000)
    assert first.content == names.content_name(chunks[0])
    assert first.metadata == names.metadata_name(chunks[0])
    assert (first.size_bytes, first.sha256) == (1000, "00" * 32)
    assert (first.verified, first.flags) == ("read-back", ())
    assert (first.source_deleted, first.source_status) == (True, 202)
    assert first.source_deleted_at == START
    assert (second.source_deleted, second.source_expires_at) == (
        False,
        START + RETENTION,
    )


async def test_show_tells_the_trace_of_every_chunk(archive: MemoryArchive) -> None:
    """That under which it was announced, where another announcement took its documentId."""
    true, strange = some_chunks(2)
    renamed = replace(receipt_for(true), key=names.other_key(true))
    content_path = "/v1/objects/elsewhere/content/video"
    elsewhere = replace(receipt_for(strange), content_path=content_path)
    await store_manifest(archive, an_announcement(), [renamed, elsewhere])
    for receipt in (renamed, elsewhere):
        await archive.create(names.receipt_name(receipt.key), encode(receipt))

    (detail,) = await recordings_show(archive, "call-1")

    traces = {chunk.key: chunk.trace_id for chunk in detail.chunks}
    assert traces == {
        renamed.key: spans.trace_id(true.key),
        elsewhere.key: spans.trace_id(strange.key),
    }


async def test_manifest_without_its_receipts_is_still_shown(
    archive: MemoryArchive,
) -> None:
    """Where receipts are lost, the manifest's own lines stand; names are whole."""
    announcement = an_announcement()
    (chunk,) = some_chunks(1, announcement=announcement)
    receipts = await store(archive, chunk)
    elsewhere = replace(
        receipts[0],
        key=names.chunk_key("d9", "https://h/objects/d9/c"),
        content=replace(
            receipts[0].content, name="recordings/2026/02/28/c/r/0001-d9.mp4"
        ),
        metadata=None,
        index=1,
    )
    await store_manifest(archive, announcement, [receipts[0], elsewhere])
    archive.lose(names.receipt_name(chunk.key))

    (detail,) = await recordings_show(archive, "call-1")

    assert [row.content for row in detail.chunks] == [
        names.content_name(chunk),
        "recordings/2026/02/28/c/r/0001-d9.mp4",
    ]
    assert detail.chunks[0].metadata == names.metadata_name(chunk)
    assert [row.verified for row in detail.chunks] == [None, None]


async def test_empty_archive_has_no_recordings(archive: MemoryArchive) -> None:
    """Nothing there is no error here; the command says so."""
    assert await rows_of(archive) == []


async def test_show_names_what_lies_in_the_users_storage(
    archive: MemoryArchive,
) -> None:
    """A chunk that was proven where it lies has its URL, in the manifest and in the receipt."""
    announcement = an_announcement()
    receipts = await store(archive, *some_chunks(2))
    url = "https://contoso.blob.core.windows.net/calls/0.mp4"
    first = replace(receipts[0], content=replace(receipts[0].content, name=url))
    archive.lose(names.receipt_name(first.key))
    await archive.create(names.receipt_name(first.key), encode(first))
    await store_manifest(archive, announcement, [first, receipts[1]])

    (row,) = await rows_of(archive)
    (shown,) = await recordings_show(archive, first.recording)

    assert (row.complete, row.chunks) == (True, 2)
    assert shown.chunks[0].content == url
    assert [chunk.is_external for chunk in shown.chunks] == [True, False]


@pytest.mark.parametrize("document", [b'{"v": 2}', b"torn"])
async def test_damaged_hold_hides_no_recording(
    archive: MemoryArchive, document: bytes
) -> None:
    """Nobody knows whether it is held, so it counts as held, and the problem is told."""
    announcement = an_announcement()
    receipts = await store(archive, *some_chunks(1, announcement=announcement))
    await store_manifest(archive, announcement, receipts)
    await archive.create(names.hold_name(receipts[0].recording_folder, 1), document)
    other = an_announcement(recording_id="other")
    await store(archive, *some_chunks(1, document_id="o", announcement=other))

    rows = {row.recording_id: row for row in await rows_of(archive)}
    (shown,) = await recordings_show(archive, receipts[0].recording)

    assert len(rows) == 2
    row = rows["recording-1"]
    assert (row.complete, row.on_hold) == (True, True)
    assert row.problem
    assert shown.recording == row
