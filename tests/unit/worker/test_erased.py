"""What was erased stays erased: a replayed event is settled, and nothing is fetched."""

from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from tests.factories import a_chunk, an_announcement, some_chunks
from tests.fakes.archive import MemoryArchive
from tests.tombs import a_tombstone
from tests.unit.worker.rig import Rig
from worker import names, tombstones
from worker.model import ChunkState, RecordingKey
from worker.stored import Manifest, decode


async def test_replay_does_not_resurrect_what_was_erased() -> None:
    """Not a byte is fetched, nothing is deleted at the source, and nothing is archived."""
    rig = Rig()
    chunk = await rig.one()
    await tombstones.make(rig.archive, a_tombstone(chunk))
    before = dict(rig.archive.objects)

    with capture_logs() as logs:
        await rig.work_off()

    assert (await rig.queued(chunk)).state is ChunkState.DELETED
    assert rig.archive.objects == before
    assert rig.source.requests == []
    (line,) = [line for line in logs if line["event"] == "chunk.finished"]
    assert line["outcome"] == "erased"
    assert line["reason"].startswith("erased; the source keeps its copy until")


@pytest.mark.parametrize("policy", ["after-recording", "after-chunk"])
async def test_erasure_that_was_cut_brings_nothing_back(policy: str) -> None:
    """The receipt is still there, its content is gone: it is no loss that anybody is told of."""
    rig = Rig(policy="after-chunk" if policy == "after-chunk" else "after-recording")
    chunk = await rig.one()
    await rig.work_off()
    receipt = rig.receipt(chunk)
    assert receipt is not None
    await tombstones.make(rig.archive, a_tombstone(chunk))
    rig.archive.lose(receipt.content.name)
    calls = len(rig.source.requests)

    await rig.put(chunk)
    await rig.work_off()

    assert (await rig.queued(chunk)).state is ChunkState.DELETED
    assert len(rig.source.requests) == calls


async def test_settlement_says_until_when_the_source_keeps_its_copy() -> None:
    """It can't be deleted there without a proof; the source drops it by itself."""
    rig = Rig()
    chunk = await rig.one()
    await tombstones.make(rig.archive, a_tombstone(chunk))
    (lease,) = await rig.queue.lease(1)

    early = await rig.pipeline._settle_erased(lease.chunk)
    rig.clock.advance(48 * 3600)
    late = await rig.pipeline._settle_erased(lease.chunk)

    until = "the source keeps its copy until 2026-03-02 12:00Z"
    assert getattr(early, "note", "") == f"erased; {until}"
    assert getattr(late, "note", "") == "erased"


async def test_late_chunk_of_an_erased_recording_comes_home_and_says_what_is_erased() -> (
    None
):
    """An acknowledged event is never lost; and nobody waits for what is gone."""
    rig = Rig()
    first, late = some_chunks(2)
    await tombstones.make(rig.archive, a_tombstone(first))

    await rig.put(late)
    await rig.work_off()

    assert rig.receipt(late) is not None
    assert (await rig.queued(late)).state is ChunkState.ARCHIVED
    folder = names.recording_folder(late.announcement, late.recording)
    data = rig.archive.objects[names.manifest_name(folder, 1)]
    (gap,) = decode(Manifest, data).missing
    assert (gap.index, gap.key, gap.reason) == (0, first.key, "erased")


async def test_document_of_two_recordings_has_a_tombstone_for_each() -> None:
    """A false announcement's erasure doesn't take the true one's place, nor hide it."""
    archive = MemoryArchive()
    chunk = a_chunk()
    false = replace(
        chunk,
        recording=RecordingKey("false"),
        announcement=an_announcement(recording_id="false"),
    )

    assert await tombstones.make(archive, a_tombstone(false))
    assert await tombstones.of_chunk(archive, chunk) is None
    assert await tombstones.make(archive, a_tombstone(chunk))
    assert not await tombstones.make(archive, a_tombstone(chunk))

    for each in (chunk, false):
        found = await tombstones.of_chunk(archive, each)
        assert found == a_tombstone(each)
    assert sorted(archive.objects) == [
        names.erased_name(chunk.key),
        names.erased_name(chunk.key, candidate=2),
    ]


async def test_chunk_that_had_another_key_is_known_too() -> None:
    """Its document's receipt was another recording's, and that was erased as well."""
    archive = MemoryArchive()
    chunk = a_chunk()
    others = replace(a_tombstone(chunk), recording=RecordingKey("other"))
    own = replace(a_tombstone(chunk), key=names.other_key(chunk))
    await tombstones.make(archive, others)
    await tombstones.make(archive, own)

    assert await tombstones.of_chunk(archive, chunk) == own
