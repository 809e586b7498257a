"""The end of a recording: one manifest, deletes that are due, and what is missing said."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest
from structlog.testing import capture_logs

from samples.faults import Fault
from tests.factories import SOURCE, a_chunk, an_announcement, some_chunks
from tests.fakes.clock import START
from tests.unit.worker.rig import Rig, flat
from worker import names
from worker.errors import ArchiveUnavailableError, HostNotAllowedError
from worker.model import Chunk, ChunkState, Lane, Stored
from worker.recording import END_NOT_ANNOUNCED, NEVER_ANNOUNCED
from worker.stored import Manifest, SourceDeleted, decode, encode

DAY = timedelta(days=1)


def planned(rig: Rig, chunk: Chunk, *faults: Fault | Exception) -> None:
    """Have the delete of the chunk meet these faults."""
    assert chunk.delete_location is not None
    rig.source.plan(chunk.delete_location, *faults)


async def states(rig: Rig, *chunks: Chunk) -> list[ChunkState]:
    return [(await rig.queued(chunk)).state for chunk in chunks]


async def test_recording_is_deleted_when_all_of_it_is_home() -> None:
    """Under `after-recording` the first delete comes after the last receipt."""
    rig = Rig()
    chunks = await rig.several(4)

    await rig.work_off()

    await rig.assert_home(*chunks, state=ChunkState.DELETED)
    receipts = [
        rig.steps.index(f"stored {names.receipt_name(chunk.key)}") for chunk in chunks
    ]
    deletes = [rig.steps.index(f"DELETE {chunk.delete_location}") for chunk in chunks]
    assert max(receipts) < min(deletes)


async def test_chunk_is_deleted_by_itself_after_chunk() -> None:
    """Under `after-chunk` each delete follows its own receipt, siblings or not."""
    rig = Rig(policy="after-chunk")
    chunks = await rig.several(2)

    entry = await rig.attempt()

    assert entry.state is ChunkState.ARCHIVED
    assert rig.source.deleted == [chunks[0].delete_location]
    await rig.work_off()
    await rig.assert_home(*chunks, state=ChunkState.DELETED)


async def test_source_is_kept_by_policy() -> None:
    """Under `never` the recording is closed, and the source left alone."""
    rig = Rig(policy="never")
    chunks = await rig.several(2)

    await rig.work_off()

    await rig.assert_home(*chunks, state=ChunkState.ARCHIVED)
    assert rig.watching.notes[-1] == "recording complete; source kept: by policy"


@pytest.mark.parametrize("behind", range(0, 60, 5))
async def test_last_two_siblings_make_one_manifest(behind: int) -> None:
    """Two workers that finish the last chunks at the same time agree."""
    rig = Rig()
    chunks = await rig.several(2)
    leases = await rig.queue.lease(2)
    other = rig.another()

    async def follow() -> None:
        for _ in range(behind):
            await asyncio.sleep(0)
        await other.run(leases[1])

    async def both() -> None:
        await asyncio.gather(rig.runner.run(leases[0]), follow())

    await rig.drive(both())
    assert rig.clock.now() == START
    await rig.work_off(until=START + timedelta(seconds=1))

    await rig.assert_home(*chunks, state=ChunkState.DELETED)


@pytest.mark.parametrize("is_complete", [True, False])
async def test_manifest_that_another_made_first_is_looked_at(
    monkeypatch: pytest.MonkeyPatch, *, is_complete: bool
) -> None:
    """Beaten to the name: the same manifest will do, one that says less is superseded."""
    rig = Rig()
    chunk = await rig.one()
    create = rig.archive.create
    is_first = True

    async def beaten(name: str, data: bytes) -> Stored:
        nonlocal is_first
        if is_first and "manifest" in name:
            is_first = False
            theirs = decode(Manifest, data)
            if not is_complete:
                theirs = replace(theirs, complete=False, chunks=())
            await create(name, encode(theirs))
        return await create(name, data)

    monkeypatch.setattr(rig.archive, "create", beaten)

    entry = await rig.attempt()

    assert entry.state is ChunkState.DELETED
    said = [manifest.complete for manifest in rig.manifests(chunk)]
    assert said == ([True] if is_complete else [False, True])


async def test_chunks_announced_one_by_one_find_each_other() -> None:
    """What separate events announced is one recording all the same."""
    rig = Rig()
    chunks = flat(*some_chunks(3))
    for chunk in chunks:
        await rig.put(chunk)

    await rig.work_off(at_once=3)

    await rig.assert_home(*chunks, state=ChunkState.DELETED)


async def test_recording_waits_for_what_was_never_announced() -> None:
    """A gap keeps the recording open, and its source, until the deadline."""
    rig = Rig()
    first, _, last = flat(*some_chunks(3))
    await rig.put(first, last)

    await rig.work_off(until=START + timedelta(hours=23))

    assert await states(rig, first, last) == [ChunkState.ARCHIVED] * 2
    entry = await rig.queued(last)
    assert entry.reason == "waiting-for-siblings"
    assert entry.error == f"chunk 1: {NEVER_ANNOUNCED}"
    assert entry.not_before == START + DAY
    assert rig.manifests(first) == []
    assert rig.source.deleted == []


async def test_incomplete_recording_says_what_is_missing_at_the_deadline() -> None:
    """Then the manifest is written all the same, and nothing is deleted."""
    rig = Rig()
    first, _, last = flat(*some_chunks(3))
    await rig.put(first, last)

    await rig.work_off()

    (manifest,) = rig.manifests(first)
    assert not manifest.complete
    assert [chunk.index for chunk in manifest.chunks] == [0, 2]
    assert [(each.index, each.reason) for each in manifest.missing] == [
        (1, NEVER_ANNOUNCED)
    ]
    assert rig.source.deleted == []
    assert START + DAY <= rig.clock.now() < START + DAY + timedelta(minutes=15)
    for chunk in (first, last):
        entry = await rig.queued(chunk)
        assert entry.state is ChunkState.ARCHIVED
        assert entry.settled_at is not None
    notes = {note.partition(";")[0] for note in rig.watching.notes[-2:]}
    assert notes == {"recording incomplete, source kept"}


async def test_recording_without_an_end_is_incomplete() -> None:
    """Nobody said that the last known chunk is the last."""
    rig = Rig()
    chunk = a_chunk(end_reason="ChunkIsFull")
    await rig.put(chunk)

    await rig.work_off()

    (manifest,) = rig.manifests(chunk)
    assert [(each.index, each.reason) for each in manifest.missing] == [
        (1, END_NOT_ANNOUNCED)
    ]


async def test_late_chunk_completes_the_recording() -> None:
    """A chunk that comes after the deadline makes the next manifest, and then deletes."""
    rig = Rig()
    first, late, last = flat(*some_chunks(3))
    await rig.put(first, last)
    await rig.work_off()
    now = rig.clock.now()
    late = replace(late, received_at=now, expires_at=now + timedelta(hours=1))
    rig.restart()

    await rig.put(late)
    await rig.work_off()

    incomplete, complete = rig.manifests(first)
    assert (incomplete.complete, complete.complete) == (False, True)
    assert [chunk.index for chunk in complete.chunks] == [0, 1, 2]
    folder = names.recording_folder(first.announcement, first.recording)
    assert f"{folder}manifest.0002.sha256" in rig.archive.objects
    assert sorted(rig.source.deleted) == sorted(
        chunk.delete_location or "" for chunk in (first, late, last)
    )
    assert (await rig.queued(late)).state is ChunkState.DELETED
    assert rig.source.unproven == []


async def test_sibling_at_work_after_the_deadline_is_waited_for() -> None:
    """While a sibling may still come, nothing is said to be missing."""
    rig = Rig()
    home, busy = some_chunks(2)
    await rig.put(home, busy)
    rig.source.plan(busy.content_location, Fault.status(503).always())
    await rig.attempt()

    await rig.work_off(until=START + DAY + timedelta(hours=1))

    assert rig.manifests(home) == []
    entry = await rig.queued(home)
    assert entry.state is ChunkState.ARCHIVED
    assert entry.not_before - rig.clock.now() <= timedelta(minutes=10)


async def test_dead_chunk_is_in_the_manifest_at_once() -> None:
    """When all others are home, the chunk that dies says what is lost, with the reason."""
    rig = Rig()
    home, lost = some_chunks(2)
    await rig.put(home, lost)
    rig.source.plan(lost.content_location, HostNotAllowedError("a hop off the list"))

    await rig.work_off(until=START + timedelta(minutes=1))

    assert await states(rig, home, lost) == [ChunkState.ARCHIVED, ChunkState.DEAD]
    (manifest,) = rig.manifests(home)
    assert not manifest.complete
    (missing,) = manifest.missing
    assert (missing.index, missing.key) == (1, lost.key)
    assert missing.reason == "host-not-allowed"
    assert (await rig.queued(home)).settled_at is not None
    assert rig.source.deleted == []


async def test_chunk_after_a_dead_one_closes_the_recording() -> None:
    """The chunk that comes home last says what died before it."""
    rig = Rig()
    lost, home = some_chunks(2)
    await rig.put(lost, home)
    rig.source.plan(lost.content_location, HostNotAllowedError("a hop off the list"))

    await rig.attempt()
    assert rig.manifests(home) == []
    await rig.work_off(until=START + timedelta(minutes=1))

    (manifest,) = rig.manifests(home)
    assert [each.index for each in manifest.missing] == [0]
    assert await states(rig, lost, home) == [ChunkState.DEAD, ChunkState.ARCHIVED]


async def test_revived_chunk_completes_the_recording() -> None:
    """A dead chunk that is announced again completes what was closed without it."""
    rig = Rig()
    home, lost = some_chunks(2)
    await rig.put(home, lost)
    rig.source.plan(lost.content_location, HostNotAllowedError("a hop off the list"))
    await rig.work_off()

    await rig.announce(lost)
    await rig.work_off()

    assert [manifest.complete for manifest in rig.manifests(home)] == [False, True]
    assert len(rig.source.deleted) == 2
    assert rig.source.unproven == []


async def test_expired_chunk_is_dead_and_said_to_be_lost() -> None:
    """A 404 after the deadline is the end of a chunk, with the reason in the manifest."""
    rig = Rig()
    home, lost = some_chunks(2)
    await rig.put(home, lost)
    rig.source.plan(lost.content_location, Fault.status(404).always())

    await rig.work_off(until=START + DAY - timedelta(minutes=1))
    assert await states(rig, home, lost) == [ChunkState.ARCHIVED, ChunkState.PENDING]
    await rig.work_off()

    assert await states(rig, home, lost) == [ChunkState.ARCHIVED, ChunkState.DEAD]
    entry = await rig.queued(lost)
    assert entry.reason == "source-expired"
    assert "404 after 2026-03-02 12:00:00Z" in (entry.error or "")
    (manifest,) = rig.manifests(home)
    assert [each.reason for each in manifest.missing] == ["source-expired"]
    assert rig.source.deleted == []


@pytest.mark.parametrize(
    "trouble", [Fault.status(500), Fault.status(403), Fault.status(404)], ids=str
)
async def test_delete_is_owed_until_it_works(trouble: Fault) -> None:
    """A delete that fails is tried again with backoff; the chunk is safe and not dead."""
    rig = Rig()
    chunk = await rig.one()
    planned(rig, chunk, trouble.always())
    is_gone = trouble.number == 404

    entry = await rig.attempt()

    if is_gone:
        assert entry.state is ChunkState.DELETED
        return
    assert (entry.state, entry.reason) == (ChunkState.ARCHIVED, "delete-owed")
    assert entry.not_before > rig.clock.now()
    await rig.work_off(until=START + timedelta(hours=2))
    tries = rig.asked(chunk.delete_location, method="DELETE")
    assert 20 < tries < 200
    planned(rig, chunk)
    await rig.work_off()
    await rig.assert_home(chunk, state=ChunkState.DELETED)


async def test_delete_waits_as_long_as_the_source_asks() -> None:
    """A Retry-After of minutes is the queue's to wait out, not the worker's."""
    rig = Rig()
    chunk = await rig.one()
    planned(rig, chunk, Fault.status(429, retry_after=300))

    entry = await rig.attempt()

    assert entry.not_before == rig.clock.now() + timedelta(seconds=300)
    assert rig.asked(chunk.delete_location, method="DELETE") == 1


async def test_delete_that_is_owed_to_the_end_settles_as_expired() -> None:
    """After its deadline the source has dropped the chunk by itself."""
    rig = Rig()
    chunk = await rig.one()
    planned(rig, chunk, Fault.status(500).always())

    await rig.work_off()

    entry = await rig.queued(chunk)
    assert entry.state is ChunkState.ARCHIVED
    assert entry.settled_at is not None
    assert rig.watching.notes[-1] == "recording complete; source expired"
    assert rig.clock.now() < chunk.expires_at + timedelta(minutes=15)


async def test_one_delete_that_fails_does_not_hold_up_the_others() -> None:
    """Every delete that is due is tried before the first failure counts."""
    rig = Rig()
    chunks = await rig.several(3)
    planned(rig, chunks[2], Fault.status(500).always())

    await rig.work_off(until=START + timedelta(minutes=1))

    assert sorted(rig.source.deleted) == sorted(
        chunk.delete_location or "" for chunk in chunks[:2]
    )
    planned(rig, chunks[2])
    await rig.work_off()
    await rig.assert_home(*chunks, state=ChunkState.DELETED)


async def test_answer_to_a_delete_is_on_record() -> None:
    """What the source said is kept, even that the chunk was gone already."""
    rig = Rig()
    chunk = await rig.one()
    planned(rig, chunk, Fault.status(410))

    await rig.work_off()

    name = names.source_deleted_name(chunk.key)
    record = decode(SourceDeleted, rig.archive.objects[name])
    assert (record.key, record.worker_instance) == (chunk.key, "rig")
    assert record.answer.status == 410
    assert rig.watching.notes == ["recording complete; source said 410"]


async def test_lost_answer_to_a_delete_is_asked_for_again() -> None:
    """A delete that took effect unheard is answered 404 the next time, and done."""
    rig = Rig()
    chunk = await rig.one()
    planned(rig, chunk, Fault.cut_after(0))

    await rig.work_off()

    await rig.assert_home(chunk, state=ChunkState.DELETED)
    assert rig.watching.notes == ["recording complete; source said 404"]


async def test_record_of_a_delete_is_made_up_for() -> None:
    """Deleted, and the archive away before the record: the next attempt records it."""
    rig = Rig()
    chunk = await rig.one()
    record = names.source_deleted_name(chunk.key)
    rig.archive.fail_next(ArchiveUnavailableError("away"), matching=record, on="create")

    await rig.work_off()

    await rig.assert_home(chunk, state=ChunkState.DELETED)


async def test_refused_delete_is_reported() -> None:
    """A delete that is refused for good keeps the source, loudly, and ends the chunk."""
    rig = Rig()
    chunk = await rig.one()
    planned(rig, chunk, HostNotAllowedError("a hop off the list"))

    with capture_logs() as logs:
        await rig.work_off()

    await rig.assert_home(chunk, state=ChunkState.ARCHIVED)
    assert rig.watching.notes == ["recording complete; source kept: delete withheld"]
    (line,) = [each for each in logs if each["event"] == "delete.withheld"]
    assert (line["reason"], line["log_level"]) == ("host-not-allowed", "error")


@pytest.mark.parametrize("is_lost", [True, False], ids=["lost", "shorter"])
@pytest.mark.parametrize("part", ["content", "metadata"])
async def test_delete_is_withheld_from_an_archive_that_lost_something(
    part: str, *, is_lost: bool
) -> None:
    """Just before a delete the archive is asked once more whether it holds the proof.

    The chunk that is no longer there is dead, where an operator sees it.
    """
    rig = Rig()
    first, second = await rig.several(2)
    await rig.attempt()
    receipt = rig.receipt(first)
    assert receipt is not None
    assert receipt.metadata is not None
    name = receipt.content.name if part == "content" else receipt.metadata.name
    rig.archive.lose(name)
    if not is_lost:
        await rig.archive.create(name, b"short")

    with capture_logs() as logs:
        await rig.work_off()

    assert rig.source.deleted == [second.delete_location]
    entry = await rig.queued(first)
    assert (entry.state, entry.reason) == (ChunkState.DEAD, "archive-lost")
    assert {"archive-lost"} == {
        each["reason"] for each in logs if each["event"] == "delete.withheld"
    }


@pytest.mark.parametrize(
    ("wanted", "is_deleted"),
    [("immutability", False), ("encryption-scope", False), ("tier", True)],
)
async def test_delete_is_withheld_while_the_proof_is_unprotected(
    wanted: str, *, is_deleted: bool
) -> None:
    """A protection that was asked for after the proof counts, too; a tier is only money."""
    rig = Rig()
    first, second = await rig.several(2)
    await rig.attempt()
    rig.archive.wants = (wanted,)

    with capture_logs() as logs:
        await rig.work_off()

    assert (first.delete_location in rig.source.deleted) is is_deleted
    withheld = [each for each in logs if each["event"] == "delete.withheld"]
    reasons = {each["reason"] for each in withheld}
    assert reasons == (set() if is_deleted else {"archive-unprotected"})
    assert second.delete_location not in rig.source.deleted, "its own proof has a flag"


async def test_flagged_chunk_does_not_keep_its_siblings() -> None:
    """Only what is flagged stays at the source."""
    rig = Rig()
    chunks = await rig.several(2)
    rig.source.put(chunks[0].content_location, b"no video")

    await rig.work_off()

    assert rig.source.deleted == [chunks[1].delete_location]
    assert await states(rig, *chunks) == [ChunkState.ARCHIVED, ChunkState.DELETED]
    assert rig.source.unproven == []


async def test_whoever_knows_where_to_delete_does_not_leave(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The receipt does not say it: others could not do it for this chunk."""
    rig = Rig()
    monkeypatch.setattr(rig.queue, "keeps_waiting", False)
    first, second = flat(*some_chunks(2))
    await rig.put(replace(first, delete_location=None))
    await rig.put(second)
    await rig.attempt()
    assert rig.receipt(first) is not None
    await rig.put(first)

    lease = next(
        each for each in await rig.queue.lease(2) if each.chunk.key == first.key
    )
    await rig.drive(rig.runner.run(lease))

    left = {each.row: each.settled_at for each in await rig.queue.list()}
    assert left[lease.row] is None


async def test_nobody_leaves_the_recording_to_one_who_closes_it_elsewhere(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A sibling that was announced for another call would write its manifest there."""
    rig = Rig()
    monkeypatch.setattr(rig.queue, "keeps_waiting", False)
    chunk = await rig.one()
    elsewhere = a_chunk(
        document_id="0-eus-d1-lie", announcement=an_announcement(call_id="evil")
    )
    assert elsewhere.recording == chunk.recording
    await rig.announce(elsewhere)
    rig.source.plan(elsewhere.content_location, Fault.status(404).always())

    lease = next(
        each for each in await rig.queue.lease(2) if each.chunk.key == chunk.key
    )
    await rig.drive(rig.runner.run(lease))

    entry = next(each for each in await rig.queue.list() if each.row == lease.row)
    assert (entry.state, entry.settled_at) == (ChunkState.ARCHIVED, None)
    rig.advance_to(START + timedelta(minutes=2))
    await rig.work_off()
    assert rig.manifests(chunk)


async def test_recording_is_closed_where_it_truly_belongs() -> None:
    """A false announcement of the same chunk that was first has its own folder."""
    rig = Rig()
    chunk = a_chunk()
    false = a_chunk(announcement=an_announcement(call_id="evil"))
    await rig.put(false)
    await rig.work_off()
    assert [manifest.complete for manifest in rig.manifests(false)] == [True]

    await rig.announce(chunk)
    await rig.work_off()

    (manifest,) = rig.manifests(chunk)
    assert manifest.complete
    assert rig.asked(chunk.content_location) == 1


async def test_delete_is_owed_until_the_last_of_them_expires(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whoever closes for others has their time, not only its own."""
    rig = Rig()
    monkeypatch.setattr(rig.queue, "keeps_waiting", False)
    first, second = some_chunks(2)
    first = replace(first, expires_at=START + timedelta(hours=1))
    await rig.put(first, second)
    planned(rig, second, Fault.status(500).always())
    (newest,) = await rig.queue.lease(1, lane=Lane.NEWEST)
    assert newest.chunk.key == second.key
    await rig.drive(rig.runner.run(newest))
    await rig.work_off(until=START + timedelta(hours=2))
    assert rig.source.deleted == [first.delete_location]

    planned(rig, second)
    await rig.work_off()

    assert rig.source.deleted == [first.delete_location, second.delete_location]


async def test_chunk_without_a_delete_location_is_kept() -> None:
    """Events of old announced none; a later announcement may."""
    rig = Rig()
    chunk = a_chunk(delete_location=None)
    await rig.put(chunk)
    await rig.work_off()
    assert rig.watching.notes == ["recording complete; source kept: no delete location"]
    assert (await rig.queued(chunk)).state is ChunkState.ARCHIVED

    again = a_chunk()
    await rig.put(again)
    await rig.work_off()

    assert rig.source.deleted == [again.delete_location]
    assert rig.asked(chunk.content_location) == 1
    assert rig.source.unproven == []


async def test_later_announcement_can_not_delete_another_document() -> None:
    """A delete location that comes later is checked like the first."""
    rig = Rig()
    await rig.put(a_chunk(delete_location=None))
    await rig.work_off()

    other = f"{SOURCE}/v1/objects/other"
    await rig.put(a_chunk(delete_location=other))
    await rig.work_off()

    assert rig.source.deleted == []
    assert rig.asked(other, method="DELETE") == 0


async def test_checksums_are_made_up_for() -> None:
    """A worker that died between manifest and checksums is followed by one that isn't."""
    rig = Rig(policy="never")
    chunk = await rig.one()
    folder = names.recording_folder(chunk.announcement, chunk.recording)
    away = ArchiveUnavailableError("away")
    rig.archive.fail_next(away, on="create", matching=".sha256")

    assert (await rig.attempt()).state is ChunkState.ARCHIVED
    assert f"{folder}manifest.0001.json" in rig.archive.objects
    assert f"{folder}manifest.0001.sha256" not in rig.archive.objects
    await rig.work_off()

    await rig.assert_home(chunk, state=ChunkState.ARCHIVED)
    receipt = rig.receipt(chunk)
    assert receipt is not None
    lines = rig.archive.objects[f"{folder}manifest.0001.sha256"].decode().splitlines()
    assert f"{receipt.content.sha256}  0000-{chunk.key}.mp4" in lines


async def test_queue_that_is_away_does_not_kill_a_chunk() -> None:
    """Siblings can't be seen without the queue: the chunk comes back for them."""
    rig = Rig()
    chunk = await rig.one()
    lease = await rig.lease()
    rig.queue.trouble = "disk I/O error"

    await rig.drive(rig.runner.run(lease))
    rig.queue.trouble = None

    assert rig.receipt(chunk) is not None
    assert (await rig.queued(chunk)).state is ChunkState.LEASED
    await rig.work_off()
    await rig.assert_home(chunk, state=ChunkState.DELETED)
    assert rig.asked(chunk.content_location) == 1
