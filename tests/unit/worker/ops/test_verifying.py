"""What a verification finds, told apart; each by breaking one thing."""

import hashlib
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from tests.factories import an_announcement, some_chunks
from tests.fakes.archive import MemoryArchive, block_digest
from tests.fakes.clock import START, ManualClock
from tests.fakes.exports import MemoryExports
from tests.unit.worker.ops.test_recordings import receipt_for, store_manifest
from worker import names
from worker.byos import NO_EXPORTS, Exports
from worker.errors import (
    AlreadyExistsError,
    ExportForbiddenError,
    IntegrityError,
    SourceChangedError,
)
from worker.model import Chunk, ChunkKey
from worker.ops import finding
from worker.ops.verifying import Looked, Verifier, together
from worker.stored import Erased, ProvenObject, Receipt, blocks_sha256, encode

NOW = START + timedelta(days=30)
BLOCK = 4
CONTENT, METADATA = b"content of it", b"{}"
PROTECTED = {"immutable_until": (START + timedelta(days=7)).isoformat()}


def proof_of(
    proven: ProvenObject, name: str, data: bytes, /, **changes: object
) -> ProvenObject:
    blocks = [
        block_digest(at, data[at : at + BLOCK]) for at in range(0, len(data), BLOCK)
    ]
    proof = replace(
        proven,
        name=name,
        size_bytes=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        block_bytes=BLOCK,
        blocks_sha256=blocks_sha256(blocks),
    )
    return replace(proof, **changes)  # type: ignore[arg-type]


def proven_receipt(chunk: Chunk, **changes: object) -> Receipt:
    """As the pipeline writes it; `changes` are of the content's proof."""
    receipt = receipt_for(chunk)
    content, metadata = names.content_name(chunk), names.metadata_name(chunk)
    return replace(
        receipt,
        content=proof_of(receipt.content, content, CONTENT, **changes),
        metadata=proof_of(receipt.content, metadata, METADATA),
    )


async def archived(
    archive: MemoryArchive, *, count: int = 2, **changes: object
) -> list[Receipt]:
    """A whole recording with its manifest."""
    announcement = an_announcement()
    receipts = [
        proven_receipt(chunk, **changes)
        for chunk in some_chunks(count, announcement=announcement)
    ]
    for receipt in receipts:
        if not names.is_external(receipt.content.name):
            await archive.create(receipt.content.name, CONTENT)
        assert receipt.metadata
        await archive.create(receipt.metadata.name, METADATA)
        await archive.create(names.receipt_name(receipt.key), encode(receipt))
    await store_manifest(archive, announcement, receipts)
    return receipts


@pytest.fixture
def archive() -> MemoryArchive:
    return MemoryArchive(clock=ManualClock())


async def look(
    archive: MemoryArchive,
    *,
    now: datetime = NOW,
    exports: Exports = NO_EXPORTS,
    kept_for: timedelta | None = None,
    since: datetime | None = None,
) -> Looked:
    """At everything."""
    verifier = Verifier(
        archive=archive, exports=exports, now=now, kept_for=kept_for, since=since
    )
    looks = []
    for name in sorted(archive.objects):
        if name.endswith(".erased.json"):
            looks.append(await verifier.tombstone(name))
        elif name.startswith(names.RECEIPTS):
            looks.append(await verifier.chunk(name))
    folders = [f async for f in finding.folders(archive, names.RECORDINGS)]
    looks += [await verifier.recording(folder) for folder in folders]
    return together(looks)


async def problems(archive: MemoryArchive, **asked: object) -> list[tuple[str, str]]:
    found = await look(archive, **asked)  # type: ignore[arg-type]
    return [(problem.kind, problem.what) for problem in found.problems]


def change(archive: MemoryArchive, name: str, data: bytes) -> None:
    assert name in archive.objects
    archive.objects[name] = data


async def test_whole_archive_has_no_problem(archive: MemoryArchive) -> None:
    """Everything is counted."""
    await archived(archive)

    found = await look(archive)

    assert found.problems == ()
    assert (found.tally.chunks, found.tally.objects) == (2, 4)
    assert found.tally.size_bytes == 2 * len(CONTENT + METADATA)
    assert found.tally.recordings == 1


@pytest.mark.parametrize("what", ["content", "metadata"])
async def test_object_that_is_gone_is_missing(
    archive: MemoryArchive, what: str
) -> None:
    """By its name in the receipt."""
    receipt = (await archived(archive))[0]
    archive.lose(getattr(receipt, what).name)

    (found,) = (await look(archive)).problems

    assert (found.kind, found.what, found.key) == ("missing", what, receipt.key)
    assert found.name == getattr(receipt, what).name


@pytest.mark.parametrize(
    ("data", "detail"),
    [
        (b"Content of it", "other bytes: sha256 differs"),
        (b"short", "5 bytes where 13 were proven"),
    ],
)
async def test_other_bytes_are_altered(
    archive: MemoryArchive, data: bytes, detail: str
) -> None:
    """One byte is enough."""
    receipt = (await archived(archive))[0]
    change(archive, receipt.content.name, data)

    (found,) = (await look(archive)).problems

    assert (found.kind, found.detail) == ("altered", detail)


async def test_object_that_can_not_be_read_is_altered(archive: MemoryArchive) -> None:
    """It is there, and its bytes are not to be had."""
    receipt = (await archived(archive))[0]
    archive.fail_next(
        IntegrityError("unreadable"), on="read_back", matching=receipt.content.name
    )

    assert await problems(archive) == [("altered", "content")]


async def test_content_without_a_hash_is_held_against_its_blocks(
    archive: MemoryArchive,
) -> None:
    """As WORKER_VERIFY=checksum leaves it."""
    receipt = (await archived(archive, sha256=None))[0]
    assert await problems(archive) == []
    change(archive, receipt.content.name, CONTENT.swapcase())

    (found,) = (await look(archive)).problems

    assert found.detail == "other bytes: sha256 of the blocks differs"


async def test_object_whose_protection_is_over_may_have_expired(
    archive: MemoryArchive,
) -> None:
    """Nobody told a rule: it is said, and counts. Before that day it is missing."""
    receipt = (await archived(archive, protection=PROTECTED))[0]
    archive.lose(receipt.content.name)

    assert await problems(archive) == [("expired", "content")]
    assert await problems(archive, now=START) == [("missing", "content")]


async def test_object_that_a_rule_removed_is_no_problem(archive: MemoryArchive) -> None:
    """If the operator tells the rule, and it was time."""
    receipt = (await archived(archive))[0]
    archive.lose(receipt.content.name)

    found = await look(archive, kept_for=timedelta(days=30))
    early = await problems(archive, kept_for=timedelta(days=31))

    assert (found.problems, found.tally.expired) == ((), 1)
    assert early == [("missing", "content")]


@pytest.mark.parametrize(
    ("document", "kind"), [(b"torn", "altered"), (b'{"v": 2}', "unreadable")]
)
async def test_documents_that_can_not_be_read_are_told_apart(
    archive: MemoryArchive, document: bytes, kind: str
) -> None:
    """Damage, or a newer version; a receipt, a manifest and a tombstone."""
    receipts = await archived(archive)
    for name in (
        names.receipt_name(receipts[0].key),
        names.manifest_name(receipts[0].recording_folder, 1),
    ):
        change(archive, name, document)
    await archive.create(names.erased_name(ChunkKey("gone")), document)

    found = await problems(archive)

    assert sorted(found) == [(kind, "manifest"), (kind, "receipt"), (kind, "tombstone")]


async def test_receipt_of_another_chunk_is_altered(archive: MemoryArchive) -> None:
    """Its name and its key must agree."""
    first, second = await archived(archive)
    change(archive, names.receipt_name(first.key), encode(second))

    assert ("altered", "receipt") in await problems(archive)


async def test_receipt_that_is_gone_is_missed_by_the_manifest(
    archive: MemoryArchive,
) -> None:
    """And its files are orphans; an erased one is not missed."""
    receipt = (await archived(archive))[0]
    archive.lose(names.receipt_name(receipt.key))

    assert sorted(await problems(archive)) == [
        ("missing", "receipt"),
        ("orphaned", "file"),
        ("orphaned", "file"),
    ]
    archive.lose(receipt.content.name)
    assert receipt.metadata
    archive.lose(receipt.metadata.name)
    await archive.create(names.erased_name(receipt.key), tombstone_of(receipt))
    found = await look(archive)
    assert (found.problems, found.tally.erased) == ((), 1)


def tombstone_of(receipt: Receipt) -> bytes:
    tombstone = Erased(
        worker_version="1",
        key=receipt.key,
        recording=receipt.recording,
        index=receipt.index,
        content_bytes=1,
        metadata_bytes=1,
        reason="data-subject-request",
        erased_at=START,
        erased_by="ann",
    )
    return encode(tombstone)


async def test_erasure_that_did_not_end_is_told(archive: MemoryArchive) -> None:
    """A tombstone beside the receipt that it stands for."""
    receipt = (await archived(archive))[0]
    await archive.create(names.erased_name(receipt.key), tombstone_of(receipt))

    assert await problems(archive) == [("erased", "tombstone")]


async def test_file_without_a_receipt_is_an_orphan_after_a_day(
    archive: MemoryArchive,
) -> None:
    """Until then it may be on its way."""
    await archived(archive)
    (chunk,) = some_chunks(1, document_id="other")
    await archive.create(names.content_name(chunk), b"x")

    assert await problems(archive, now=START + timedelta(hours=23)) == []
    assert await problems(archive) == [("orphaned", "file")]


@pytest.mark.parametrize(
    "change_of", [{"size_bytes": 1}, {"sha256": "0" * 64}, {"index": 9}]
)
async def test_manifest_that_contradicts_a_receipt_is_altered(
    archive: MemoryArchive, change_of: dict[str, object]
) -> None:
    """Sizes, hashes and indexes; the hashes for sha256sum no longer are the manifest's."""
    receipt = (await archived(archive, count=1))[0]
    if "index" in change_of:
        wrong = replace(receipt, index=9)
    else:
        wrong = replace(receipt, content=replace(receipt.content, **change_of))  # type: ignore[arg-type]
    name = names.manifest_name(receipt.recording_folder, 1)
    archive.lose(name)
    sums = names.checksums_name(receipt.recording_folder, 1)
    kept = archive.objects[sums]
    archive.lose(sums)
    await store_manifest(archive, an_announcement(), [wrong])
    archive.objects[sums] = kept

    found = await problems(archive)

    assert ("altered", "manifest") in found
    assert (("altered", "checksums") in found) == ("sha256" in change_of)


async def test_what_was_archived_before_is_passed_over(archive: MemoryArchive) -> None:
    """`since` is of the moment of archiving."""
    await archived(archive)

    assert (await look(archive, since=START)).tally.chunks == 2
    later = await look(archive, since=START + timedelta(seconds=1))
    assert later.tally.chunks == 0


async def test_object_in_a_tier_that_can_not_be_read_is_not_looked_at(
    archive: MemoryArchive,
) -> None:
    """It is not said to be whole."""
    receipt = (await archived(archive))[0]
    archive.fail_next(
        AlreadyExistsError("archived"), on="read_back", matching=receipt.content.name
    )

    found = await look(archive)

    assert (found.problems, found.tally.not_looked_at) == ((), 1)


async def test_what_goes_meanwhile_is_passed_over(archive: MemoryArchive) -> None:
    """Erased between the listing and the look."""
    receipt = receipt_for(some_chunks(1)[0])
    verifier = Verifier(archive=archive, exports=NO_EXPORTS, now=NOW)
    folder = finding.Folder(
        path=receipt.recording_folder,
        day="2026/03/01",
        call="call-1",
        recording=receipt.recording,
        files=("manifest.0001.json", "0000-a.mp4"),
    )

    assert await verifier.chunk(names.receipt_name(receipt.key)) == Looked()
    assert await verifier.tombstone(names.erased_name(receipt.key)) == Looked()
    assert (await verifier.recording(folder)).problems == ()


CONTAINER = "https://contoso.blob.core.windows.net/calls"
URL = f"{CONTAINER}/0.mp4"


@pytest.fixture
async def outside(archive: MemoryArchive) -> MemoryExports:
    """The contents of a recording lie in the user's own storage."""
    exports = MemoryExports(CONTAINER, ManualClock())
    exports.put(URL, CONTENT)
    await archived(archive, count=1, name=URL)
    return exports


async def test_content_outside_is_looked_at_where_it_lies(
    archive: MemoryArchive, outside: MemoryExports
) -> None:
    """Whole, altered or gone: as within the archive."""
    whole = await look(archive, exports=outside)
    outside.put(URL, b"other")
    altered = await problems(archive, exports=outside)
    outside.remove(URL)
    gone = await problems(archive, exports=outside)

    assert (whole.problems, whole.tally.objects) == ((), 2)
    assert altered == [("altered", "content")]
    assert gone == [("missing", "content")]


async def test_content_that_changes_during_the_look_is_altered(
    archive: MemoryArchive, outside: MemoryExports
) -> None:
    """It is no longer the blob that was proven."""

    async def changed(*_: object, **__: object) -> None:
        raise SourceChangedError("changed")

    outside.read_back = changed  # type: ignore[method-assign, assignment]

    assert await problems(archive, exports=outside) == [("altered", "content")]


async def test_content_outside_that_may_not_be_read_is_not_looked_at(
    archive: MemoryArchive, outside: MemoryExports
) -> None:
    """The settings name no container, or the container refuses: it is said."""
    unnamed = await look(archive)
    outside.failing = ExportForbiddenError("403")
    refused = await look(archive, exports=outside)

    assert (unnamed.problems, unnamed.tally.not_looked_at) == ((), 1)
    assert (refused.problems, refused.tally.not_looked_at) == ((), 1)
