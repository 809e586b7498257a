"""Chunks in the user's own storage: proven where they lie, and nobody's to delete."""

from dataclasses import replace
from datetime import timedelta

import pytest

from tests import media
from tests.factories import SOURCE, a_chunk, an_announcement, some_chunks
from tests.fakes.clock import START
from tests.fakes.exports import MemoryExports
from tests.unit.worker.rig import Rig, killed_at, metadata_of
from worker import byos, names
from worker.errors import (
    ExportForbiddenError,
    HostNotAllowedError,
    SourceForbiddenError,
    SourceUnavailableError,
)
from worker.model import Chunk, ChunkState, Stored
from worker.sources.hosts import HostRules

OWN = "https://contoso.blob.core.windows.net/calls"
ELSEWHERE = "https://contoso.blob.core.windows.net/private"
EXPORTED = an_announcement(storage_type="AzureBlob")
AT_ACS = HostRules([".asm.skype.com"]).check
DAY = timedelta(days=1)


def exported(chunk: Chunk, *, container: str = OWN) -> Chunk:
    """The chunk as ACS announces it from a container; laid out as is documented."""
    stem = f"{container}/20260301/call-1/record-guid/{chunk.index}"
    content = f"{stem}-audiomp4.{chunk.document_id}.mp4"
    key = names.chunk_key(chunk.document_id, content)
    siblings = tuple(
        replace(sibling, key=key) if sibling.key == chunk.key else sibling
        for sibling in chunk.announced
    )
    return replace(
        chunk,
        key=key,
        content_location=content,
        metadata_location=f"{stem}-acsmetadata.{chunk.document_id}.json",
        delete_location=f"{SOURCE}/v1/objects/{chunk.document_id}",
        announced=siblings,
    )


class Desk(Rig):
    """A rig whose worker may read a container of the user's own."""

    def __init__(self) -> None:
        super().__init__()
        self.own = MemoryExports(OWN, self.clock)
        self.exports = self.own
        self.restart()

    def export(self, chunk: Chunk, *, content: bytes | None = None) -> None:
        """Have ACS write the chunk into the container."""
        data = media.mp4(media=b"x" * 2000) if content is None else content
        self.own.put(chunk.content_location, data)
        if chunk.metadata_location is not None:
            self.own.put(chunk.metadata_location, metadata_of(chunk))

    def assert_never_asked(self, *chunks: Chunk) -> None:
        """Nothing of these went to the source: no read, and above all no delete."""
        asked = {request.location for request in self.source.requests}
        for chunk in chunks:
            locations = {chunk.content_location, chunk.metadata_location}
            assert asked.isdisjoint({*locations, chunk.delete_location})

    def copied(self) -> list[str]:
        return [
            name
            for name in self.archive.objects
            if name.startswith("recordings/") and "/manifest." not in name
        ]


@pytest.fixture
def desk() -> Desk:
    """A source, an archive, and a container where nothing lies yet."""
    return Desk()


@pytest.fixture
def chunk() -> Chunk:
    """A recording of one chunk, exported."""
    return exported(a_chunk(announcement=EXPORTED))


@pytest.mark.parametrize(
    ("storage_type", "location", "is_exported"),
    [
        ("AzureBlob", f"{OWN}/a.mp4", True),
        ("azureblob", f"{OWN}/a.mp4", True),
        ("AzureBlob", f"{SOURCE}/v1/objects/d/content/video", False),
        ("AzureCommunicationsServices", f"{OWN}/a.mp4", False),
        (None, f"{OWN}/a.mp4", False),
    ],
)
def test_exported_is_what_is_said_to_be_and_is_not_at_the_source(
    storage_type: str | None, location: str, *, is_exported: bool
) -> None:
    """Both the event and the host decide: a failed export lies at the source."""
    chunk = a_chunk(announcement=an_announcement(storage_type=storage_type))

    assert byos.is_exported(chunk, location, AT_ACS) is is_exported


@pytest.mark.parametrize(
    ("location", "is_left"),
    [
        (f"{OWN}/a.mp4", True),
        ("https://contoso.z12.blob.storage.azure.net/calls/a.mp4", True),
        ("https://contoso.blob.core.usgovcloudapi.net/calls/a.mp4", True),
        ("http://127.0.0.1:10000/devstoreaccount1/calls/a.mp4", True),
        (f"{SOURCE}/v1/objects/d/content/video", False),
        ("https://new-storage.asyncgw.example.com/v1/objects/d/content/video", False),
        ("http://us-storage.asm.skype.com/v1/objects/d/content/video", False),
        ("http://contoso.blob.core.windows.net/calls/a.mp4", False),
        ("https://blob.core.windows.net@evil.example/a.mp4", False),
        ("https://[::1/a.mp4", False),
    ],
)
def test_only_what_lies_in_blob_storage_is_left_alone(
    location: str, *, is_left: bool
) -> None:
    """A host that nobody knows may be a new one of the source: that is not passed over."""
    chunk = a_chunk(announcement=EXPORTED, content_location=location)

    found = byos.is_left_alone(chunk, AT_ACS, hosts={"127.0.0.1:10000"})

    assert found is is_left


async def test_exported_chunk_is_proven_where_it_lies(desk: Desk, chunk: Chunk) -> None:
    """It gets a receipt that names the blob, a manifest, and no copy."""
    desk.export(chunk)
    await desk.announce(chunk)

    await desk.work_off()

    entry = await desk.queued(chunk)
    assert entry.state is ChunkState.ARCHIVED
    assert desk.watching.notes[-1] == (
        "recording complete; proven in your own storage, where it stays"
    )
    receipt = desk.receipt(chunk)
    assert receipt is not None
    assert receipt.metadata is not None
    assert receipt.content.name == chunk.content_location
    assert receipt.metadata.name == chunk.metadata_location
    assert receipt.content.verified == byos.IN_PLACE
    assert receipt.flags == ()
    assert receipt.delete_location is None
    assert desk.copied() == []
    desk.assert_never_asked(chunk)


async def test_manifest_names_the_blob_by_its_url(desk: Desk, chunk: Chunk) -> None:
    """The URL stands in the manifest as it is, and not in the file for sha256sum."""
    desk.export(chunk)
    await desk.announce(chunk)

    await desk.work_off()

    (manifest,) = desk.manifests(chunk)
    assert manifest.complete
    assert manifest.chunks[0].content == chunk.content_location
    assert manifest.chunks[0].metadata == chunk.metadata_location
    folder = names.recording_folder(chunk.announcement, chunk.recording)
    assert desk.archive.objects[names.checksums_name(folder, 1)] == b""


async def test_signature_in_a_location_is_not_used(desk: Desk, chunk: Chunk) -> None:
    """The receipt names the blob without the query that an event gave."""
    desk.export(chunk)
    location = f"{chunk.content_location}?sv=1&sig=x"
    key = names.chunk_key(chunk.document_id, location)
    signed = replace(chunk, content_location=location, key=key)
    await desk.announce(signed)

    await desk.work_off()

    receipt = desk.receipt(signed)
    assert receipt is not None
    assert receipt.content.name == chunk.content_location


@pytest.mark.parametrize("policy", ["after-recording", "after-chunk"])
async def test_delete_location_is_never_called(
    desk: Desk, chunk: Chunk, policy: str
) -> None:
    """Not of the container, not of ACS, and not one that a later announcement gives."""
    desk.policy = policy  # type: ignore[assignment] # one of them
    desk.restart()
    desk.export(chunk)
    await desk.announce(replace(chunk, delete_location=None))
    await desk.work_off()
    await desk.announce(chunk)
    await desk.announce(replace(chunk, delete_location=chunk.content_location))

    await desk.work_off()

    assert desk.source.deleted == []
    desk.assert_never_asked(chunk)


async def test_failed_export_runs_as_any_chunk(desk: Desk) -> None:
    """The event says AzureBlob, the chunk lies at ACS: fetched, archived, deleted there."""
    chunk = a_chunk(announcement=EXPORTED)
    await desk.put(chunk)

    await desk.work_off()

    entry = await desk.queued(chunk)
    assert entry.state is ChunkState.DELETED
    assert desk.source.deleted == [chunk.delete_location]
    assert desk.own.calls == []


async def test_mixed_recording_has_one_manifest(desk: Desk) -> None:
    """One chunk exported, one rescued: one whole, of which only the rescued is deleted."""
    first, second = some_chunks(2, announcement=EXPORTED)
    first = exported(first)
    second = replace(second, announced=(first.announced[0], second.announced[1]))
    desk.export(first)
    desk.offer(second)
    await desk.announce(first, second)

    await desk.work_off()

    (manifest,) = desk.manifests(first)
    assert manifest.complete
    assert [names.is_external(chunk.content) for chunk in manifest.chunks] == [
        True,
        False,
    ]
    assert desk.source.deleted == [second.delete_location]
    assert desk.source.unproven == []
    folder = names.recording_folder(first.announcement, first.recording)
    listed = desk.archive.objects[names.checksums_name(folder, 1)].decode()
    assert len(listed.splitlines()) == 2
    assert "https://" not in listed


async def test_sibling_that_is_left_alone_is_not_waited_for() -> None:
    """Under `ignore` the rescued chunk's recording is incomplete at once, and says why."""
    rig = Rig()
    first, second = some_chunks(2, announcement=EXPORTED)
    first = exported(first)
    left = replace(first.announced[0], is_left_alone=True)
    second = replace(second, announced=(left, second.announced[1]))
    await rig.put(second)

    entry = await rig.attempt()

    assert entry.state is ChunkState.ARCHIVED
    assert entry.settled_at == START
    (manifest,) = rig.manifests(second)
    assert [(gap.key, gap.reason) for gap in manifest.missing] == [
        (first.key, "left in your own storage")
    ]
    assert rig.source.deleted == []


async def test_sibling_that_was_left_alone_once_completes_the_recording(
    desk: Desk,
) -> None:
    """Announced again under `index`, it is proven, and the recording is whole."""
    first, second = some_chunks(2, announcement=EXPORTED)
    first = exported(first)
    whole = (first.announced[0], second.announced[1])
    left = replace(whole[0], is_left_alone=True)
    await desk.put(replace(second, announced=(left, whole[1])))
    await desk.work_off()
    desk.export(first)
    await desk.announce(replace(first, announced=whole))

    await desk.work_off()

    assert [each.complete for each in desk.manifests(first)] == [False, True]
    assert desk.source.deleted == [second.delete_location]


@pytest.mark.parametrize("part", ["content_location", "metadata_location"])
async def test_container_that_is_not_listed_is_not_read(
    desk: Desk, chunk: Chunk, part: str
) -> None:
    """The event is untrusted: the chunk is dead, with the reason, and nothing was asked."""
    other = exported(a_chunk(announcement=EXPORTED), container=ELSEWHERE)
    location = getattr(other, part)
    chunk = replace(chunk, **{part: location})
    desk.export(chunk)
    await desk.announce(chunk)

    await desk.work_off()

    entry = await desk.queued(chunk)
    assert (entry.state, entry.reason) == (ChunkState.DEAD, HostNotAllowedError.reason)
    assert location not in {name for _, name in desk.own.calls}
    assert desk.receipt(chunk) is None
    desk.assert_never_asked(chunk)


async def test_content_at_the_source_is_not_lost_for_its_metadata() -> None:
    """With metadata that may not be read the content is archived, and the chunk dead."""
    rig = Rig()
    chunk = a_chunk(announcement=EXPORTED)
    rig.offer(chunk)
    chunk = replace(chunk, metadata_location=f"{OWN}/0-acsmetadata.json")
    await rig.announce(chunk)

    await rig.work_off()

    entry = await rig.queued(chunk)
    assert (entry.state, entry.reason) == (ChunkState.DEAD, HostNotAllowedError.reason)
    assert rig.archive.objects[names.content_name(chunk)] == rig.contents[chunk.key]
    assert rig.source.deleted == []


@pytest.mark.parametrize("exported_part", ["content_location", "metadata_location"])
async def test_chunk_in_two_places_is_kept_at_the_source(
    desk: Desk, chunk: Chunk, exported_part: str
) -> None:
    """One part in the archive and one in the user's own storage: flagged, never deleted."""
    rescued = a_chunk(announcement=EXPORTED)
    location = getattr(chunk, exported_part)
    split = replace(rescued, **{exported_part: location})
    key = names.chunk_key(split.document_id, split.content_location)
    split = replace(split, key=key, announced=(replace(split.announced[0], key=key),))
    desk.offer(rescued)
    desk.export(chunk)
    await desk.announce(split)

    await desk.work_off()

    receipt = desk.receipt(split)
    assert receipt is not None
    assert "metadata-elsewhere" in receipt.flags
    assert desk.source.deleted == []


async def test_nothing_is_read_unless_it_is_wanted(chunk: Chunk) -> None:
    """Without `index` an exported chunk that is queued yet is dead, and says why."""
    rig = Rig()
    await rig.announce(chunk)

    await rig.work_off()

    entry = await rig.queued(chunk)
    assert (entry.state, entry.reason) == (ChunkState.DEAD, HostNotAllowedError.reason)
    assert "WORKER_BYOS=index" in str(entry.error)


async def test_blob_that_changed_is_not_what_was_proven(
    desk: Desk, chunk: Chunk
) -> None:
    """The receipt stands for one version; another one of the same size is not it."""
    desk.export(chunk)
    await desk.announce(chunk)
    await desk.work_off()
    desk.export(chunk)
    await desk.announce(chunk)

    await desk.work_off()

    entry = await desk.queued(chunk)
    assert (entry.state, entry.reason) == (ChunkState.DEAD, "archive-lost")


async def test_blob_that_is_gone_is_not_what_was_proven(
    desk: Desk, chunk: Chunk
) -> None:
    """A blob that the user removed since is missed as one of the archive is."""
    desk.export(chunk)
    await desk.announce(chunk)
    await desk.work_off()
    desk.own.remove(chunk.content_location)
    await desk.announce(chunk)

    await desk.work_off()

    entry = await desk.queued(chunk)
    assert (entry.state, entry.reason) == (ChunkState.DEAD, "archive-lost")


async def test_blob_that_is_not_there_yet_is_awaited(desk: Desk, chunk: Chunk) -> None:
    """An export may take longer than its announcement."""
    await desk.announce(chunk)
    entry = await desk.attempt()
    assert (entry.state, entry.reason) == (ChunkState.PENDING, "export-not-found")
    desk.export(chunk)

    await desk.work_off()

    assert (await desk.queued(chunk)).state is ChunkState.ARCHIVED


async def test_blob_that_never_comes_is_given_up(desk: Desk, chunk: Chunk) -> None:
    """Nothing expires there in a day; a day after that it is dead, and the manifest says so."""
    await desk.announce(chunk)

    await desk.work_off()

    entry = await desk.queued(chunk)
    assert (entry.state, entry.reason) == (ChunkState.DEAD, "export-not-found")
    assert entry.settled_at is not None
    assert entry.settled_at >= START + 2 * DAY
    (manifest,) = desk.manifests(chunk)
    assert [gap.reason for gap in manifest.missing] == ["export-not-found"]


async def test_empty_blob_is_not_a_chunk(desk: Desk, chunk: Chunk) -> None:
    """Zero bytes are never done."""
    desk.export(chunk, content=b"")
    await desk.announce(chunk)

    entry = await desk.attempt()

    assert (entry.state, entry.reason) == (ChunkState.PENDING, "source-answer")


async def test_broken_media_are_flagged(desk: Desk, chunk: Chunk) -> None:
    """What lies there is proven as it is, and called what it is."""
    desk.export(chunk, content=b"no film at all" * 100)
    await desk.announce(chunk)

    await desk.work_off()

    receipt = desk.receipt(chunk)
    assert receipt is not None
    assert receipt.flags == ("structure",)


async def test_foreign_metadata_are_flagged(desk: Desk, chunk: Chunk) -> None:
    """Metadata of another document beside the blob are told to the auditor."""
    desk.export(chunk)
    assert chunk.metadata_location is not None
    foreign = metadata_of(chunk, document_id="another")
    desk.own.put(chunk.metadata_location, foreign)
    await desk.announce(chunk)

    await desk.work_off()

    receipt = desk.receipt(chunk)
    assert receipt is not None
    assert receipt.flags == ("metadata-names-another-document",)


async def test_protection_is_not_asked_of_the_users_storage(
    desk: Desk, chunk: Chunk
) -> None:
    """What the archive is asked for is not missing there, nor is a blob there sealed."""
    desk.archive.wants = ("immutability",)
    desk.export(chunk)
    await desk.announce(chunk)

    await desk.work_off()

    receipt = desk.receipt(chunk)
    assert receipt is not None
    assert receipt.flags == ()
    assert desk.archive.sealed == []


async def test_refusal_of_the_users_storage_pauses_nobody_else(desk: Desk) -> None:
    """However many of its chunks fail, those at the source of the same resource go on."""
    many = [
        exported(a_chunk(document_id=f"d{n}", announcement=EXPORTED)) for n in range(12)
    ]
    desk.own.failing = ExportForbiddenError("no")
    await desk.announce(*many)
    for _ in many:
        await desk.attempt()
    rescued = a_chunk(
        document_id="rescued", announcement=an_announcement(recording_id="r")
    )
    await desk.put(rescued)
    assert desk.breaker.paused_resources() == set()
    assert not desk.breaker.is_archive_paused()

    await desk.work_off(until=START + timedelta(hours=1))

    assert (await desk.queued(rescued)).state is ChunkState.DELETED
    assert (await desk.queued(many[0])).reason == "export-forbidden"


async def test_success_there_resumes_no_paused_source(desk: Desk, chunk: Chunk) -> None:
    """That a blob of the user's could be read says nothing of the key for ACS."""
    for number in range(3):
        error = SourceForbiddenError("no")
        key = names.chunk_key("", f"location-{number}")
        desk.breaker.failed(error, key=key, resource=chunk.announcement.resource)
    assert desk.breaker.paused_resources()
    desk.export(chunk)
    await desk.announce(chunk)

    await desk.attempt()

    assert desk.breaker.paused_resources()


async def test_metadata_are_tried_for_without_hashing_the_content_again(
    desk: Desk, chunk: Chunk
) -> None:
    """What was hashed is noted while the metadata are not there."""
    desk.export(chunk)
    assert chunk.metadata_location is not None
    desk.own.remove(chunk.metadata_location)
    await desk.announce(chunk)
    reasons = []
    for _ in range(3):
        entry = await desk.attempt()
        reasons.append(entry.reason)
        desk.advance_to(entry.not_before)
    assert reasons == ["metadata-owed"] * 3
    desk.own.put(chunk.metadata_location, metadata_of(chunk))

    await desk.work_off()

    assert desk.own.calls.count(("read_back", chunk.content_location)) == 1
    assert desk.receipt(chunk) is not None


async def test_note_of_a_blob_that_changed_is_not_believed(
    desk: Desk, chunk: Chunk
) -> None:
    """If the content is another one by the time of the metadata, it is hashed anew."""
    desk.export(chunk)
    assert chunk.metadata_location is not None
    desk.own.remove(chunk.metadata_location)
    await desk.announce(chunk)
    entry = await desk.attempt()
    desk.advance_to(entry.not_before)
    newer = media.mp4(media=b"y" * 3000)
    desk.export(chunk, content=newer)

    await desk.work_off()

    receipt = desk.receipt(chunk)
    assert receipt is not None
    assert receipt.content.size_bytes == len(newer)


async def test_trouble_with_the_users_storage_is_retried(
    desk: Desk, chunk: Chunk
) -> None:
    """It costs attempts, and then the chunk is proven."""
    desk.export(chunk)
    desk.own.failing = SourceUnavailableError("not now")
    await desk.announce(chunk)
    entry = await desk.attempt()
    assert (entry.state, entry.reason) == (ChunkState.PENDING, "source-unavailable")
    desk.own.failing = None

    await desk.work_off()

    assert (await desk.queued(chunk)).state is ChunkState.ARCHIVED


async def test_exported_chunk_survives_a_kill_at_every_call(chunk: Chunk) -> None:
    """Killed before any call to archive or queue: the next worker comes to the same end."""
    step, was_killed = 0, True
    while was_killed:
        desk = Desk()
        desk.export(chunk)
        await desk.announce(chunk)

        was_killed = await killed_at(desk, step)
        await desk.work_off()

        assert (await desk.queued(chunk)).state is ChunkState.ARCHIVED
        assert [manifest.complete for manifest in desk.manifests(chunk)] == [True]
        assert desk.source.requests == []
        step += 1
    assert step > 10


async def test_proof_that_can_no_longer_be_looked_at_is_said(
    desk: Desk, chunk: Chunk
) -> None:
    """With `index` taken back, whoever comes again learns why its blob is not looked at."""
    desk.export(chunk)
    await desk.announce(chunk)
    await desk.work_off()
    desk.exports = byos.NO_EXPORTS
    desk.restart()
    await desk.announce(chunk)

    await desk.work_off()

    entry = await desk.queued(chunk)
    assert (entry.state, entry.reason) == (ChunkState.DEAD, HostNotAllowedError.reason)
    assert desk.receipt(chunk) is not None


async def test_nothing_is_read_without_containers() -> None:
    """Whatever is asked of no containers is refused."""
    stored = Stored(
        name=f"{OWN}/a.mp4", size_bytes=1, etag="e", version=None, last_modified=START
    )

    with pytest.raises(HostNotAllowedError):
        await byos.NO_EXPORTS.read_range(stored.name, 0, 1, etag="e")
    with pytest.raises(HostNotAllowedError):
        await byos.NO_EXPORTS.read_back(stored, block_bytes=1)


@pytest.mark.parametrize(
    ("location", "words"),
    [
        ("https://a.blob.core.windows.net/c/b", "a.blob.core.windows.net is not"),
        ("https://me:secret@a.example:8443/c/b", r"^a\.example:8443 is not .*_HOSTS"),
        ("https://[/c/b", "not a URL"),
    ],
)
def test_location_off_every_list_is_refused(location: str, words: str) -> None:
    """For good: what is no URL is none at the next attempt either."""
    with pytest.raises(HostNotAllowedError, match=words):
        byos.NO_EXPORTS.name_of(location)
