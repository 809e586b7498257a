"""Proof: what is read back is what was sent, under the first name that proves right."""

import hashlib

import pytest

from tests.factories import a_chunk
from tests.unit.worker.rig import BLOCK, Rig, metadata_of
from worker import names
from worker.errors import (
    AlreadyExistsError,
    ArchiveConflictError,
    ArchiveUnavailableError,
    IntegrityError,
)
from worker.model import BlockDigest, Chunk, ChunkState
from worker.proving import MOST_CANDIDATES
from worker.stored import ProvenObject, Receipt, blocks_sha256

CONTENT = names.content_name(a_chunk())
METADATA = names.metadata_name(a_chunk())


def second(name: str) -> str:
    """The second candidate of a name."""
    stem, dot, rest = name.partition(".")
    return f"{stem}.r2{dot}{rest}"


def proven(rig: Rig, chunk: Chunk) -> Receipt:
    receipt = rig.receipt(chunk)
    assert receipt is not None
    return receipt


async def test_proof_is_of_what_was_read_back() -> None:
    """Size, hash of the whole, hash over the blocks: anyone can check them again."""
    rig = Rig()
    chunk = await rig.one()

    await rig.work_off()

    content, data = proven(rig, chunk).content, rig.contents[chunk.key]
    blocks = [data[at : at + BLOCK] for at in range(0, len(data), BLOCK)]
    over_blocks = b"".join(hashlib.sha256(block).digest() for block in blocks)
    assert (content.name, content.size_bytes) == (CONTENT, len(data))
    assert content.sha256 == hashlib.sha256(data).hexdigest()
    assert content.blocks_sha256 == hashlib.sha256(over_blocks).hexdigest()
    assert (content.block_bytes, content.verified) == (BLOCK, "read-back")
    assert content.etag is not None
    assert ("read_back", CONTENT) in rig.archive.calls
    assert ("read_back", METADATA) in rig.archive.calls


async def test_proof_by_checksum_reads_nothing_back() -> None:
    """Under `checksum` only a whole of one block has a hash of its own."""
    rig = Rig(verify="checksum")
    chunk = await rig.one()

    await rig.work_off()

    receipt = proven(rig, chunk)
    assert "read_back" not in {operation for operation, _ in rig.archive.calls}
    assert (receipt.content.verified, receipt.content.sha256) == ("checksum", None)
    assert receipt.metadata is not None
    whole = hashlib.sha256(metadata_of(chunk)).hexdigest()
    assert receipt.metadata.sha256 == whole
    assert (await rig.queued(chunk)).state is ChunkState.DELETED


@pytest.mark.parametrize("name", [CONTENT, METADATA])
async def test_wrong_read_back_goes_to_the_next_candidate(name: str) -> None:
    """What reads back wrong is left as it is; the receipt names the proven one."""
    rig = Rig()
    chunk = await rig.one()
    rig.archive.corrupt(name)

    await rig.work_off()

    receipt = proven(rig, chunk)
    objects: dict[str, ProvenObject | None] = {
        CONTENT: receipt.content,
        METADATA: receipt.metadata,
    }
    found = objects[name]
    assert found is not None
    assert found.name == second(name)
    assert rig.archive.objects[name] != rig.archive.objects[second(name)]
    assert (await rig.queued(chunk)).state is ChunkState.DELETED
    assert rig.source.unproven == []


@pytest.mark.parametrize("verify", ["read-back", "checksum"])
@pytest.mark.parametrize("size", [1, BLOCK, None])
async def test_name_with_other_content_is_left_alone(
    verify: str, size: int | None
) -> None:
    """A name taken by something else, longer or shorter or as long, keeps it."""
    rig = Rig(verify="checksum" if verify == "checksum" else "read-back")
    chunk = await rig.one()
    other = b"x" * (size or len(rig.contents[chunk.key]))
    await rig.archive.create(CONTENT, other)

    await rig.work_off()

    assert rig.archive.objects[CONTENT] == other
    assert proven(rig, chunk).content.name == second(CONTENT)
    assert (await rig.queued(chunk)).state is ChunkState.DELETED


@pytest.mark.parametrize("verify", ["read-back", "checksum"])
async def test_name_with_the_same_content_is_adopted(verify: str) -> None:
    """What an earlier attempt left is proven, not stored twice; always by reading it."""
    rig = Rig(verify="checksum" if verify == "checksum" else "read-back")
    chunk = await rig.one()
    await rig.archive.create(CONTENT, rig.contents[chunk.key])

    await rig.work_off()

    content = proven(rig, chunk).content
    assert (content.name, content.verified) == (CONTENT, "read-back")
    await rig.assert_home(chunk, state=ChunkState.DELETED)


async def test_lost_answer_to_a_commit_is_made_up_for() -> None:
    """A commit that took effect unheard is found by the next attempt, and adopted."""
    rig = Rig()
    chunk = await rig.one()
    away = ArchiveUnavailableError("away")
    rig.archive.fail_next(away, on="commit", matching=CONTENT, late=True)

    assert (await rig.attempt()).reason == "archive-unavailable"
    await rig.work_off()

    await rig.assert_home(chunk, state=ChunkState.DELETED)


async def test_candidates_come_to_an_end() -> None:
    """An archive that reads back wrong every time fails the attempt, not the chunk."""
    rig = Rig()
    chunk = await rig.one()
    for candidate in range(1, MOST_CANDIDATES + 1):
        rig.archive.corrupt(names.content_name(chunk, candidate=candidate))

    entry = await rig.attempt()

    assert (entry.state, entry.reason) == (ChunkState.PENDING, "integrity")
    assert rig.receipt(chunk) is None
    assert rig.source.deleted == []


async def test_taken_name_that_holds_nothing_is_a_conflict() -> None:
    """A name that exists and doesn't is left to the next candidate."""
    rig = Rig()
    chunk = await rig.one()
    rig.archive.fail_next(AlreadyExistsError("ghost"), on="commit", matching=CONTENT)

    await rig.work_off()

    assert proven(rig, chunk).content.name == second(CONTENT)


async def test_mismatch_is_told_apart_from_a_conflict() -> None:
    """The last candidate's own error is raised: whether it was ours or another's."""
    rig = Rig()
    chunk = await rig.one()
    for candidate in range(1, MOST_CANDIDATES + 1):
        await rig.archive.create(
            names.content_name(chunk, candidate=candidate), b"other"
        )
    lease = await rig.lease()

    with pytest.raises(ArchiveConflictError, match="holds other content"):
        await rig.drive(rig.pipeline.process(lease, rig.record(lease)))

    assert not issubclass(ArchiveConflictError, IntegrityError)


def test_blocks_sha256_is_over_binary_digests_in_order() -> None:
    """Golden: sha256 over sha256('a') and sha256('b')."""
    digests = [hashlib.sha256(each).digest() for each in (b"a", b"b")]
    blocks = [
        BlockDigest(offset=at, length=1, sha256=digest.hex())
        for at, digest in enumerate(digests)
    ]

    assert blocks_sha256(blocks) == hashlib.sha256(b"".join(digests)).hexdigest()
    assert blocks_sha256(blocks[::-1]) != blocks_sha256(blocks)
