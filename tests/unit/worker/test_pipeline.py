"""A chunk comes home once, whole and proven, whatever the source does on the way."""

import asyncio
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Literal

import pytest
from structlog.testing import capture_logs

from samples.faults import Fault, FaultKind
from tests.factories import SOURCE, ChunkFields, a_chunk
from tests.fakes.clock import START
from tests.unit.worker.rig import BLOCK, Rig, metadata_of
from worker import names
from worker.errors import ArchiveForbiddenError, ArchiveUnavailableError
from worker.model import Chunk, ChunkState
from worker.stored import Hold, ProvenObject, decode, encode

Part = Literal["content", "metadata", "delete"]
FOREIGN = "https://evil.example.com/v1/objects/0-eus-d1-doc1"
EVERY_FAULT = [
    *(Fault.status(code) for code in (400, 401, 403, 404, 408, 410, 416, 500, 503)),
    Fault.status(429, retry_after=3),
    Fault.status(503, retry_after=3),
    Fault.status(429, retry_after=90),
    Fault.html_400(),
    Fault.cut_after(0),
    Fault.cut_after(10),
    Fault.empty(),
    Fault.ignore_ranges(),
    Fault.wrong_range(),
    Fault.wrong_total(),
    Fault.changed_last_modified(),
    Fault.short_body(),
    Fault.slow(100),
]
NOT_ONCE = {
    FaultKind.NO_LENGTH: "flags the chunk",
    FaultKind.FOREIGN_METADATA: "flags the chunk",
    FaultKind.WRONG_BYTES: "is what the source sent",
    FaultKind.REDIRECT_TO: "is permanent",
    FaultKind.HANG: "ends with the real source's own timeout",
}


def location_of(chunk: Chunk, part: Part) -> str:
    locations = {
        "content": chunk.content_location,
        "metadata": chunk.metadata_location,
        "delete": chunk.delete_location,
    }
    return locations[part] or ""


def test_every_kind_of_fault_is_met() -> None:
    """No kind of trouble that the stand-in knows is left out."""
    assert {fault.kind for fault in EVERY_FAULT} | set(NOT_ONCE) == set(FaultKind)


@pytest.mark.parametrize("part", ["content", "metadata", "delete"])
@pytest.mark.parametrize("fault", EVERY_FAULT, ids=str)
async def test_pipeline_survives_a_fault(fault: Fault, part: Part) -> None:
    """After any fault the chunk is archived once, and deleted only when it is proven."""
    rig = Rig()
    chunk = await rig.one()
    rig.source.plan(location_of(chunk, part), fault)

    await rig.work_off()

    # A delete that is answered 404 or 410 is one that was done before.
    if part == "delete" and fault.number in {404, 410}:
        rig.source.deleted.append(location_of(chunk, "delete"))
    await rig.assert_home(chunk, state=ChunkState.DELETED)
    assert rig.clock.now() < START + timedelta(minutes=5)


async def test_pipeline_writes_the_receipt_last_and_deletes_after_the_manifest() -> (
    None
):
    """The order is law: content and metadata, receipt, manifest, delete, its record."""
    rig = Rig()
    chunk = await rig.one()

    await rig.work_off()

    folder = names.recording_folder(chunk.announcement, chunk.recording)
    order = [
        f"stored {names.metadata_name(chunk)}",
        f"stored {names.content_name(chunk)}",
        f"read_back {names.content_name(chunk)}",
        f"stored {names.receipt_name(chunk.key)}",
        f"stored {folder}manifest.0001.json",
        f"stored {folder}manifest.0001.sha256",
        f"DELETE {chunk.delete_location}",
        f"stored {names.source_deleted_name(chunk.key)}",
    ]
    assert sorted(order, key=rig.steps.index) == order


async def test_receipt_says_what_was_proven() -> None:
    """The receipt bears the event, the source's words, and the attempt."""
    rig = Rig()
    chunk = await rig.one()

    await rig.work_off()

    receipt = rig.receipt(chunk)
    assert receipt is not None
    assert receipt.event == {"id": "event-1", "data": {}}
    assert receipt.recording_folder == "recordings/2026/03/01/call-1/6721b9a7677e69ca/"
    assert (receipt.document_id, receipt.index) == (chunk.document_id, 0)
    assert (receipt.end_reason, receipt.resource) == ("SessionEnded", "calls")
    assert receipt.chunk_duration_ms == 4000
    assert receipt.recording_duration_ms == 600_000
    assert receipt.announced == chunk.announced
    assert receipt.structure.startswith("mp4: ")
    assert (receipt.received_at, receipt.archived_at) == (START, START)
    assert (receipt.attempts, receipt.worker_instance) == (1, "rig")
    assert receipt.content.source_host == "us-storage.asm.skype.com"
    assert receipt.content.verified == "read-back"


def flagging(*flags: str, **fields: object) -> object:
    return pytest.param(fields, flags, id=flags[0])


@pytest.mark.parametrize(
    ("fields", "flags"),
    [
        flagging(
            "metadata-not-of-document",
            metadata_location=f"{SOURCE}/v1/objects/other/content/acsmetadata",
        ),
        flagging(
            "delete-location-not-of-document",
            delete_location=f"{SOURCE}/v1/objects/other",
        ),
        flagging("delete-host-not-allowed", delete_location=FOREIGN),
        flagging(
            "content-not-of-document",
            content_location=f"{SOURCE}/v1/objects/other/content/video",
        ),
        flagging("metadata-missing", "metadata-not-announced", metadata_location=None),
    ],
)
async def test_pipeline_never_deletes_what_does_not_belong(
    fields: ChunkFields, flags: tuple[str, ...]
) -> None:
    """Locations of another document, or none: archived, flagged, never deleted."""
    rig = Rig()
    chunk = a_chunk(**fields)
    await rig.put(chunk)

    await rig.work_off()

    await assert_kept(rig, chunk, *flags)


async def assert_kept(rig: Rig, chunk: Chunk, *flags: str) -> None:
    """The chunk is archived with these flags, and was not deleted, nor tried to be."""
    receipt = rig.receipt(chunk)
    assert receipt is not None
    assert receipt.flags == flags
    assert receipt.content.name in rig.archive.objects
    assert {asked.method for asked in rig.source.requests} == {"GET"}
    entry = await rig.queued(chunk)
    assert entry.state is ChunkState.ARCHIVED
    assert entry.settled_at is not None
    assert f"source kept: {', '.join(flags)}" in rig.watching.notes[-1]


async def test_pipeline_never_deletes_what_the_archive_does_not_protect() -> None:
    """A protection that was asked for and isn't there: archived, flagged, never deleted."""
    rig = Rig()
    rig.archive.wants = ("immutability", "encryption-scope")
    chunk = await rig.one()

    await rig.work_off()

    await assert_kept(rig, chunk, "encryption-scope-missing", "immutability-missing")


async def test_pipeline_seals_content_when_all_else_is_done() -> None:
    """The content is sealed after its proof and its delete, and again if that was cut short."""
    rig = Rig()
    chunk = await rig.one()
    rig.archive.fail_next(ArchiveForbiddenError("no"), on="seal")

    await rig.work_off()

    receipt = rig.receipt(chunk)
    assert receipt is not None
    assert rig.archive.sealed == [receipt.content.name]
    calls = [call for call, _ in rig.archive.calls]
    assert calls.count("seal") == 2
    assert calls.index("seal") > max(
        number for number, call in enumerate(calls) if call == "create"
    )
    assert (await rig.queued(chunk)).state is ChunkState.DELETED


def a_hold(chunk: Chunk, *, held: bool) -> bytes:
    return encode(
        Hold(
            worker_version="1",
            recording=chunk.recording,
            held=held,
            reason="case 4711",
            at=START,
            by="ann",
        )
    )


async def test_chunk_of_a_recording_under_hold_is_held_when_it_comes_home() -> None:
    """With its receipt and what was written of the recording; and again if that was cut."""
    rig = Rig()
    chunk = await rig.one()
    folder = names.recording_folder(chunk.announcement, chunk.recording)
    await rig.archive.create(names.hold_name(folder, 1), a_hold(chunk, held=True))
    rig.archive.fail_next(ArchiveForbiddenError("no"), on="hold")

    await rig.work_off()

    assert rig.archive.held == set(rig.archive.objects)
    assert names.receipt_name(chunk.key) in rig.archive.held
    assert (await rig.queued(chunk)).state is ChunkState.DELETED


async def test_chunk_of_a_released_recording_is_not_held() -> None:
    """The document with the highest number counts."""
    rig = Rig()
    chunk = await rig.one()
    folder = names.recording_folder(chunk.announcement, chunk.recording)
    await rig.archive.create(names.hold_name(folder, 1), a_hold(chunk, held=True))
    await rig.archive.create(names.hold_name(folder, 2), a_hold(chunk, held=False))

    await rig.work_off()

    assert not rig.archive.held


async def test_hold_that_the_storage_does_not_know_is_loud_and_stops_nothing() -> None:
    """The chunk is settled; `recordings hold` says more."""
    rig = Rig()
    rig.archive.knows_holds = False
    chunk = await rig.one()
    folder = names.recording_folder(chunk.announcement, chunk.recording)
    await rig.archive.create(names.hold_name(folder, 1), a_hold(chunk, held=True))

    with capture_logs() as logs:
        await rig.work_off()

    assert (await rig.queued(chunk)).state is ChunkState.DELETED
    (told,) = [line for line in logs if line["event"] == "hold.missing"]
    assert told["recording"] == chunk.recording


async def test_nothing_pauses_for_what_can_not_be_sealed() -> None:
    """An archive that refuses to seal is not out of order: all chunks come home."""
    rig = Rig()
    refused = ArchiveForbiddenError("no")
    rig.archive.fail_next(refused, on="seal", times=1000)
    chunks = await rig.several(4)

    for _ in chunks:
        await rig.attempt()

    assert all(rig.receipt(chunk) is not None for chunk in chunks)
    assert not rig.breaker.is_archive_paused()


async def test_pipeline_never_deletes_without_a_document_id() -> None:
    """Who a chunk is can't be checked without its documentId."""
    rig = Rig()
    objects = f"{SOURCE}/v1/objects/nameless"
    chunk = a_chunk(
        document_id="",
        content_location=f"{objects}/content/video",
        metadata_location=f"{objects}/content/acsmetadata",
        delete_location=objects,
    )
    await rig.put(chunk)

    await rig.work_off()

    receipt = rig.receipt(chunk)
    assert receipt is not None
    assert "document-id-missing" in receipt.flags
    assert rig.source.deleted == []


async def test_pipeline_never_deletes_broken_media() -> None:
    """Media that are not whole are archived as they came."""
    rig = Rig()
    chunk = await rig.one()
    rig.source.put(chunk.content_location, rig.contents[chunk.key][:-700])

    await rig.work_off()

    await assert_kept(rig, chunk, "structure")
    assert len(rig.archive.objects[names.content_name(chunk)]) > BLOCK


async def test_pipeline_never_deletes_with_foreign_metadata() -> None:
    """Metadata that speak of another document prove nothing."""
    rig = Rig()
    chunk = a_chunk(document_id="0-eus-d12-" + "0" * 32)
    await rig.put(chunk)
    rig.source.plan(location_of(chunk, "metadata"), Fault.foreign_metadata())

    await rig.work_off()

    await assert_kept(rig, chunk, "metadata-names-another-document")


async def test_pipeline_never_deletes_with_broken_metadata() -> None:
    """Metadata that can't be read prove nothing."""
    rig = Rig()
    chunk = await rig.one()
    rig.source.put(location_of(chunk, "metadata"), b"<html>")

    await rig.work_off()

    await assert_kept(rig, chunk, "metadata-unreadable")


async def test_pipeline_keeps_wrong_bytes_as_they_were_sent() -> None:
    """The source gives no checksum: the archive holds what it sent, bit for bit."""
    rig = Rig()
    chunk = await rig.one()
    rig.source.plan(chunk.content_location, Fault.wrong_bytes())

    await rig.work_off()

    stored = rig.archive.objects[names.content_name(chunk)]
    assert len(stored) == len(rig.contents[chunk.key])
    assert stored != rig.contents[chunk.key]
    assert (await rig.queued(chunk)).state is ChunkState.DELETED


async def test_pipeline_never_deletes_what_has_no_announced_size() -> None:
    """Without a size nobody knows that all of it came."""
    rig = Rig()
    chunk = await rig.one()
    rig.source.plan(chunk.content_location, Fault.no_length())

    await rig.work_off()

    await assert_kept(rig, chunk, "size-not-announced")


async def test_unannounced_size_is_not_forgotten_while_metadata_are_missing() -> None:
    """A flag on the content outlasts the wait for the metadata."""
    rig = Rig()
    chunk = await rig.one()
    rig.source.plan(chunk.content_location, Fault.no_length().always())
    rig.source.plan(location_of(chunk, "metadata"), Fault.status(429, retry_after=90))

    await rig.work_off()

    await assert_kept(rig, chunk, "size-not-announced")
    assert names.content_proof_name(chunk) not in rig.archive.objects


async def test_pipeline_does_not_read_endless_metadata() -> None:
    """Metadata of more than a megabyte are archived, unread and flagged."""
    rig = Rig()
    chunk = await rig.one()
    endless = metadata_of(chunk) + b" " * (1024 * 1024)
    rig.source.put(location_of(chunk, "metadata"), endless)

    await rig.work_off()

    await assert_kept(rig, chunk, "metadata-unreadable")
    assert rig.archive.objects[names.metadata_name(chunk)] == endless


async def test_pipeline_sends_nothing_to_a_foreign_host() -> None:
    """A location off the allow-list is dead at once, and nothing was asked anywhere."""
    rig = Rig()
    chunk = a_chunk(metadata_location=f"{FOREIGN}/content/acsmetadata")
    await rig.announce(chunk)

    entry = await rig.attempt()

    assert (entry.state, entry.reason) == (ChunkState.DEAD, "host-not-allowed")
    assert rig.source.requests == []


async def test_redirect_of_the_content_off_the_list_is_dead() -> None:
    """A hop off the allow-list is permanent, and the recording says what is lost."""
    rig = Rig()
    chunk = await rig.one()
    rig.source.plan(chunk.content_location, Fault.redirect_to(FOREIGN))

    entry = await rig.attempt()

    assert (entry.state, entry.reason) == (ChunkState.DEAD, "host-not-allowed")
    (manifest,) = rig.manifests(chunk)
    assert [each.reason for each in manifest.missing] == ["host-not-allowed"]
    assert rig.source.deleted == []


async def test_redirect_of_the_metadata_off_the_list_leaves_the_content_safe() -> None:
    """The content does not wait for its metadata, and is home when they are redriven."""
    rig = Rig()
    chunk = await rig.one()
    rig.source.plan(location_of(chunk, "metadata"), Fault.redirect_to(FOREIGN))

    entry = await rig.attempt()
    assert (entry.state, entry.reason) == (ChunkState.DEAD, "host-not-allowed")
    assert names.content_name(chunk) in rig.archive.objects

    await rig.announce(chunk)
    await rig.work_off()

    assert (await rig.queued(chunk)).state is ChunkState.DELETED
    assert rig.asked(chunk.content_location) == 1
    assert rig.source.unproven == []


async def test_pipeline_does_not_download_what_has_a_receipt() -> None:
    """A receipt skips the transfer; manifest, delete and its record are still done."""
    rig = Rig()
    chunk = await rig.one()
    rig.source.plan(location_of(chunk, "delete"), Fault.status(500).always())
    assert (await rig.attempt()).state is ChunkState.ARCHIVED
    folder = names.recording_folder(chunk.announcement, chunk.recording)
    rig.archive.lose(f"{folder}manifest.0001.json")
    rig.archive.lose(f"{folder}manifest.0001.sha256")
    rig.source.plan(location_of(chunk, "delete"))
    rig.restart()

    await rig.work_off()

    await rig.assert_home(chunk, state=ChunkState.DELETED)
    assert rig.asked(chunk.content_location) == 1
    assert rig.asked(chunk.metadata_location) == 1
    assert rig.watching.stages == ["0 already archived", "0 deleted"]


async def test_content_is_safe_while_the_metadata_are_missing() -> None:
    """Metadata that come after hours: the content was safe at once, and came once."""
    rig = Rig()
    chunk = await rig.one()
    rig.source.plan(location_of(chunk, "metadata"), Fault.status(404).always())

    entry = await rig.attempt()
    assert (entry.state, entry.reason) == (ChunkState.PENDING, "metadata-owed")
    note = rig.archive.objects[names.content_proof_name(chunk)]
    assert decode(ProvenObject, note).name == names.content_name(chunk)

    await rig.work_off(until=START + timedelta(hours=5))
    assert rig.receipt(chunk) is None
    rig.source.plan(location_of(chunk, "metadata"))
    rig.restart()
    await rig.work_off()

    await rig.assert_home(chunk, state=ChunkState.DELETED)
    assert rig.asked(chunk.content_location) == 1


async def test_metadata_missing_to_the_end_are_flagged() -> None:
    """At the deadline the content is receipted without its metadata, and kept."""
    rig = Rig()
    chunk = await rig.one()
    rig.source.plan(location_of(chunk, "metadata"), Fault.status(404).always())

    await rig.work_off()

    assert rig.clock.now() < chunk.expires_at + timedelta(minutes=15)
    assert rig.asked(chunk.content_location) == 1
    await assert_kept(rig, chunk, "metadata-missing")
    receipt = rig.receipt(chunk)
    assert receipt is not None
    assert receipt.archived_at >= chunk.expires_at
    assert receipt.metadata is None


async def test_missing_metadata_of_many_chunks_pause_nothing() -> None:
    """Contents come all the while: that is no trouble with the key."""
    rig = Rig()
    chunks = await rig.several(12)
    for chunk in chunks:
        rig.source.plan(location_of(chunk, "metadata"), Fault.status(404).always())

    for lease in await rig.queue.lease(len(chunks)):
        await rig.drive(rig.runner.run(lease))

    assert [(await rig.queued(chunk)).attempts for chunk in chunks] == [1] * 12
    assert rig.breaker.paused_resources() == frozenset()


async def test_metadata_tighten_the_deadline() -> None:
    """A chunk that ended earlier than was thought expires earlier."""
    rig = Rig()
    early = START - timedelta(hours=3)
    chunk = a_chunk(received_at=START - timedelta(hours=2))
    await rig.put(chunk)
    document = metadata_of(chunk).replace(
        (START - timedelta(seconds=4)).isoformat().encode(), early.isoformat().encode()
    )
    rig.source.put(location_of(chunk, "metadata"), document)

    await rig.work_off()

    receipt = rig.receipt(chunk)
    assert receipt is not None
    assert receipt.expires_at == early + timedelta(seconds=4, hours=24)


@pytest.mark.parametrize("behind", range(0, 120, 5))
@pytest.mark.parametrize("expires_at", [START + timedelta(hours=1), START])
async def test_two_workers_on_one_chunk_agree(
    behind: int, expires_at: datetime
) -> None:
    """A lapsed lease puts two workers on one chunk, one a little behind: same end.

    Even late: what the other has deleted meanwhile is not taken for expired.
    """
    rig = Rig()
    chunk = a_chunk(expires_at=expires_at)
    await rig.put(chunk)
    mine = await rig.lease()
    rig.clock.advance(61)
    theirs = await rig.lease()
    other = rig.another()

    async def follow() -> None:
        for _ in range(behind):
            await asyncio.sleep(0)
        await other.run(theirs)

    async def both() -> None:
        await asyncio.gather(rig.runner.run(mine), follow())

    await rig.drive(both())

    await rig.assert_home(chunk, state=ChunkState.DELETED)
    stored = [each for each in rig.steps.journal if each.startswith("stored receipts/")]
    assert len(stored) == 2


async def test_first_receipt_counts() -> None:
    """A worker that comes second to the receipt goes on with what is there."""
    rig = Rig()
    chunk = await rig.one()
    lease = await rig.lease()
    await rig.drive(rig.pipeline.process(lease, rig.record(lease)))
    first = rig.receipt(chunk)
    assert first is not None
    rig.clock.advance(1)

    late = replace(first, attempts=7)

    assert await rig.drive(rig.pipeline._keep(chunk, late)) == first


async def test_pipeline_survives_an_archive_that_is_away() -> None:
    """Any one call of the archive may fail: the chunk comes home in a later attempt."""
    calm = Rig()
    await calm.one()
    await calm.work_off()
    operations = {operation for operation, _ in calm.archive.calls}
    assert len(operations) > 6

    for operation in operations:
        for is_late in (False, True):
            rig = Rig()
            chunk = await rig.one()
            rig.archive.fail_next(
                ArchiveUnavailableError("away"), on=operation, late=is_late
            )
            await rig.work_off()
            await rig.assert_home(chunk, state=ChunkState.DELETED)


async def test_observer_hears_how_the_chunk_moves() -> None:
    """Bytes of the content are told as they come, with the size as announced."""
    rig = Rig()
    chunk = await rig.one()

    await rig.work_off()

    size = len(rig.contents[chunk.key])
    assert rig.watching.stages == [
        "0 downloading",
        "0 verifying",
        "0 archived",
        "0 deleted",
    ]
    assert [total for _, total in rig.watching.moves] == [size] * 3
    assert max(done for done, _ in rig.watching.moves) == size
