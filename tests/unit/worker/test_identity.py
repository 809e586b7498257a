"""One document announced in different ways: nothing unseen is deleted, nothing is swallowed."""

from dataclasses import replace
from datetime import timedelta

import pytest

from tests.factories import SOURCE, a_chunk, an_announcement
from tests.unit.worker.rig import Rig
from worker import names, siblings
from worker.closing import DeletePolicy
from worker.errors import ArchiveUnavailableError, SourceForbiddenError
from worker.model import ChunkState

OBJECTS = f"{SOURCE}/v1/objects/0-eus-d1-doc1"


async def settle_all(rig: Rig, *, at_once: int = 2) -> None:
    await rig.work_off(at_once=at_once)
    assert rig.source.unproven == []


async def test_complete_announcement_after_one_without_metadata_brings_all_home() -> (
    None
):
    """The first receipt is of the content alone: it can't stand for content and metadata."""
    rig = Rig()
    whole = a_chunk()
    await rig.put(replace(whole, metadata_location=None))
    await rig.attempt()
    await rig.put(whole)

    await settle_all(rig)

    chunk, receipt = await siblings.identified(rig.archive, whole)
    assert receipt is not None
    assert receipt.metadata is not None
    assert receipt.flags == ()
    assert chunk.key == names.other_key(whole) != whole.key
    assert rig.source.deleted == [whole.delete_location]


async def test_two_contents_of_one_document_are_both_home_before_the_delete() -> None:
    """The delete takes the whole document, so every announced part must have a receipt."""
    video = a_chunk()
    audio = replace(video, content_location=f"{OBJECTS}/content/audio")
    for order in ((video, audio), (audio, video)):
        for at_once in (1, 2):
            rig = Rig()
            await rig.put(*order)
            await settle_all(rig, at_once=at_once)

            for each in order:
                _, receipt = await siblings.identified(rig.archive, each)
                assert receipt is not None
                assert receipt.content_path == names.location_path(
                    each.content_location
                )
            assert set(rig.source.deleted) == {video.delete_location}


async def test_document_with_a_part_that_was_given_up_is_kept_at_the_source() -> None:
    """Nobody has seen what the dead entry pointed to, so it is not to be destroyed."""
    rig = Rig()
    video = a_chunk()
    audio = replace(video, content_location="https://elsewhere.example/v1/objects/x")
    audio = replace(audio, key=video.key)
    await rig.put(video)
    await rig.announce(audio)

    await settle_all(rig)

    states = {q.state for q in await rig.queue.announced(video.recording)}
    assert states == {ChunkState.ARCHIVED, ChunkState.DEAD}
    assert rig.source.deleted == []


async def test_false_first_announcement_does_not_swallow_the_real_chunk() -> None:
    """Content that is really the metadata is flagged; the real content comes home."""
    rig = Rig()
    real = a_chunk()
    false = replace(real, content_location=real.metadata_location or "")
    rig.offer(real)
    await rig.announce(false)
    await rig.attempt()
    await rig.announce(real)

    await settle_all(rig)

    _, receipt = await siblings.identified(rig.archive, real)
    assert receipt is not None
    assert receipt.flags == ()
    assert rig.archive.objects[receipt.content.name] == rig.contents[real.key]


async def test_recording_deletes_only_what_is_its_own() -> None:
    """An event for another recording that names this one's document deletes nothing."""
    rig = Rig()
    mine = replace(a_chunk(end_reason="ChunkMaximumTimeExceeded"))
    await rig.put(mine)
    await rig.attempt()
    other = an_announcement(recording_id="another")
    theirs = a_chunk(
        announcement=other, delete_location=f"{OBJECTS}/content/deletedata"
    )
    await rig.announce(theirs)

    await rig.attempt()

    assert rig.source.deleted == []


async def test_chunks_that_die_at_the_same_time_are_told_in_a_manifest() -> None:
    """Each takes the other for being at work; after both are dead one sees that none is."""
    rig = Rig()
    chunks = await rig.several(2)
    rig.source.objects.clear()
    rig.clock.advance(25 * 3600)

    await rig.work_off(at_once=2)

    (manifest,) = rig.manifests(chunks[0])
    assert [gap.reason for gap in manifest.missing] == ["source-expired"] * 2


async def test_bad_chunks_do_not_hold_up_good_ones_of_their_credential() -> None:
    """Three that are refused for good, earlier by deadline: the others come home in minutes."""
    rig = Rig()
    bad = [
        a_chunk(
            document_id=f"bad-{n}", announcement=an_announcement(recording_id=f"b{n}")
        )
        for n in range(3)
    ]
    await rig.put(*bad)
    for chunk in bad:
        for location in (chunk.content_location, chunk.metadata_location or ""):
            rig.source.plan(location, *[SourceForbiddenError("403")] * 200)
    await rig.drive(rig._run_all(await rig.queue.lease(3)))
    assert rig.breaker.paused_resources() == {"calls"}
    good = a_chunk(document_id="good", announcement=an_announcement(recording_id="g"))
    await rig.put(good)
    paused_at = rig.clock.now()

    for _ in range(20):
        rig.clock.advance(10)
        for lease in await rig.queue.lease(1, paused=rig.breaker.paused_resources()):
            assert rig.breaker.admit(resource="calls") is None
            await rig.drive(rig.runner.run(lease))

    receipt = rig.receipt(good)
    assert receipt is not None
    assert receipt.archived_at < paused_at + timedelta(minutes=3)


async def test_trouble_of_the_archive_while_dying_waits_for_it() -> None:
    """A chunk is not dead before its recording's manifest could say so."""
    rig = Rig()
    await rig.put(a_chunk(content_location="http://elsewhere.example/x"))
    rig.archive.fail_next(ArchiveUnavailableError("away"), on="create")

    entry = await rig.attempt()

    assert entry.state is ChunkState.PENDING


@pytest.mark.parametrize("policy", ["after-chunk", "after-recording"])
async def test_document_waits_for_what_another_recording_says_of_it(
    policy: DeletePolicy,
) -> None:
    """The delete takes the document, whatever recording an event puts its parts into."""
    rig = Rig(policy=policy)
    video = a_chunk()
    audio = a_chunk(
        content_location=f"{OBJECTS}/content/audio",
        announcement=an_announcement(recording_id="another"),
        expires_at=video.expires_at + timedelta(hours=1),
    )
    await rig.put(video, audio)

    await rig.attempt()
    assert rig.source.deleted == []
    await settle_all(rig)

    for each in (video, audio):
        _, receipt = await siblings.identified(rig.archive, each)
        assert receipt is not None
    assert set(rig.source.deleted) == {video.delete_location}


async def test_document_is_kept_beside_a_dead_entry_without_its_id() -> None:
    """An event that lost the documentId still points to the document."""
    rig = Rig()
    nameless = a_chunk(document_id="", content_location=f"{OBJECTS}/content/audio")
    await rig.announce(nameless)
    rig.clock.advance(25 * 3600)
    entry = await rig.attempt()
    assert entry.state is ChunkState.DEAD
    whole = a_chunk(received_at=rig.clock.now())
    whole = replace(whole, expires_at=rig.clock.now() + timedelta(hours=24))
    await rig.put(whole)

    await settle_all(rig)

    assert rig.receipt(whole) is not None
    assert rig.source.deleted == []


async def test_trouble_while_settling_is_waited_out_and_not_spun_on() -> None:
    """A chunk that wakes its siblings must not wake itself."""
    rig = Rig()
    first, second = await rig.several(2)
    await rig.attempt()
    name = names.source_deleted_name(second.key)
    rig.archive.fail_next(
        ArchiveUnavailableError("away"), on="read", matching=name, times=1
    )

    entry = await rig.attempt()

    assert entry.state is ChunkState.ARCHIVED
    assert entry.not_before > rig.clock.now()
    await settle_all(rig)
    assert set(rig.source.deleted) == {first.delete_location, second.delete_location}


async def test_chunk_that_is_announced_late_and_lost_unmakes_the_complete_manifest() -> (
    None
):
    """What is current says what is missing, though all was there once."""
    rig = Rig()
    chunk = await rig.one()
    await rig.work_off()
    assert [manifest.complete for manifest in rig.manifests(chunk)] == [True]
    late = a_chunk(document_id="late", index=1)
    await rig.announce(late)
    rig.clock.advance(25 * 3600)

    await rig.work_off()

    *_, current = rig.manifests(chunk)
    assert not current.complete
    assert [gap.reason for gap in current.missing] == ["source-expired"]
