"""The Blob archive against Azurite: what the port's contract can't see."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from azure.storage.blob import BlobBlock
from structlog.testing import capture_logs

from tests.azurite import Azurite
from tests.blobs import Proxied, blob_archive, proxied_archive
from tests.conftest import UniqueName
from tests.fakes.clock import START
from tests.storage_proxy import Fault
from worker import __version__
from worker.archives import blob_read_back, blob_store
from worker.archives.blob_block_ids import BlockId, origin_tag
from worker.archives.blob_options import BlobOptions, Tier
from worker.errors import AlreadyExistsError, ArchiveConflictError
from worker.model import BlockDigest
from worker.ports import Archive, BlockWriter

BLOCK_BYTES = 1024
FOLDER = "recordings/2026/03/01/call-1/6721b9a7677e69ca/"
NAME = f"{FOLDER}0000-0-eus-d1-doc1.mp4"
DATA = hashlib.shake_128(b"sample").digest(3 * BLOCK_BYTES + 7)
OFFSETS = range(0, len(DATA), BLOCK_BYTES)
ORIGIN = f"{len(DATA)} today /v1/objects/doc/content/video"


@pytest.fixture
async def behind(azurite: Azurite, unique_name: UniqueName) -> AsyncIterator[Proxied]:
    async with proxied_archive(azurite, unique_name("blob")) as opened:
        yield opened


def block_at(offset: int, data: bytes = DATA) -> bytes:
    return data[offset : offset + BLOCK_BYTES]


def digest_at(offset: int, data: bytes = DATA) -> BlockDigest:
    block = block_at(offset, data)
    sha256 = hashlib.sha256(block).hexdigest()
    return BlockDigest(offset=offset, length=len(block), sha256=sha256)


async def write(writer: BlockWriter, *offsets: int, data: bytes = DATA) -> None:
    for offset in offsets:
        await writer.write(offset, block_at(offset, data))


async def write_whole(archive: Archive, name: str = NAME, data: bytes = DATA) -> None:
    async with archive.writer(name) as writer:
        await write(writer, *range(0, len(data), BLOCK_BYTES), data=data)
        await writer.commit(size=len(data))


async def left_behind(archive: Archive, *offsets: int, origin: str = ORIGIN) -> None:
    """What a worker leaves that ends before its commit."""
    async with archive.writer(NAME) as writer:
        await writer.held(origin)
        await write(writer, *offsets)


async def test_blob_says_what_it_is(behind: Proxied) -> None:
    """Type, digests, size and identities are in the one write that makes the blob."""
    await write_whole(behind.archive)

    found = await behind.container.get_blob_client(NAME).get_blob_properties()
    told = dict(found.metadata)
    del told[blob_store.WRITE_ID]
    assert found.content_settings.content_type == "video/mp4"
    digests = b"".join(bytes.fromhex(digest_at(at).sha256) for at in OFFSETS)
    assert told == {
        "name": NAME,
        "worker": __version__,
        "size": str(len(DATA)),
        "blocks_sha256": hashlib.sha256(digests).hexdigest(),
    }
    assert await behind.container.get_blob_client(NAME).get_blob_tags() == {
        "day": "2026-03-01",
        "call": "call-1",
        "recording": "6721b9a7677e69ca",
        "document": "0-eus-d1-doc1",
    }


async def test_blob_of_one_block_is_hashed_as_a_whole(behind: Proxied) -> None:
    """What is known of all bytes is said: sha256 and Content-MD5."""
    await write_whole(behind.archive, data=b"short")

    found = await behind.container.get_blob_client(NAME).get_blob_properties()
    assert found.metadata["sha256"] == hashlib.sha256(b"short").hexdigest()
    md5 = hashlib.md5(b"short", usedforsecurity=False).digest()
    assert found.content_settings.content_md5 == bytearray(md5)


async def test_blocks_go_in_few_requests(behind: Proxied) -> None:
    """One look before the first block, one after the commit, and nothing between."""
    await write_whole(behind.archive)

    stages = ["stage"] * len(OFFSETS)
    assert behind.proxy.operations() == ["head", *stages, "commit", "head"]


async def test_small_object_goes_in_one_request(behind: Proxied) -> None:
    """It is kept until its commit, and then put; a document needs not even a look."""
    await write_whole(behind.archive, data=b"short")
    await behind.archive.create("receipts/aa/doc.json", b"{}")

    assert behind.proxy.operations() == ["put", "head", "put"]


async def test_long_document_is_created_in_blocks(behind: Proxied) -> None:
    """What is too long for one request is one object all the same, create-only."""
    data = DATA * 400
    await behind.archive.create("quarantine/long.json", data)

    with pytest.raises(AlreadyExistsError):
        await behind.archive.create("quarantine/long.json", data)
    assert await behind.archive.read("quarantine/long.json") == data
    assert "stage" in behind.proxy.operations()


async def test_nothing_is_sent_to_a_taken_name(behind: Proxied) -> None:
    """Blocks are only hashed, to be compared; the commit says that the name is taken."""
    await write_whole(behind.archive)
    behind.proxy.seen.clear()

    async with behind.archive.writer(NAME) as writer:
        assert await writer.write(0, block_at(0)) == digest_at(0).sha256
        await write(writer, *OFFSETS[1:])
        with pytest.raises(AlreadyExistsError):
            await writer.commit(size=len(DATA))

    assert behind.proxy.operations() == ["head"]


async def test_name_taken_meanwhile_is_not_overwritten(behind: Proxied) -> None:
    """Of two writers at once the second finds the name taken, at its commit."""
    async with behind.archive.writer(NAME) as second:
        await write(second, *OFFSETS, data=DATA[::-1])
        await write_whole(behind.archive)
        with pytest.raises(AlreadyExistsError):
            await second.commit(size=len(DATA))

    assert await behind.archive.read(NAME) == DATA


async def test_blocks_left_behind_are_held(behind: Proxied) -> None:
    """A successor takes over what lies there, in whatever order it came, and commits it."""
    await left_behind(behind.archive, OFFSETS[3], OFFSETS[0])

    async with behind.archive.writer(NAME) as writer:
        held = await writer.held(ORIGIN)
        await write(writer, OFFSETS[1], OFFSETS[2])
        await writer.commit(size=len(DATA))

    assert held == [digest_at(OFFSETS[0]), digest_at(OFFSETS[3])]
    assert await behind.archive.read(NAME) == DATA
    assert behind.proxy.operations().count("stage") == len(OFFSETS)


async def test_whole_left_behind_only_lacks_the_commit(behind: Proxied) -> None:
    """A worker killed just before its commit leaves no byte to be sent again."""
    await left_behind(behind.archive, *OFFSETS)

    async with behind.archive.writer(NAME) as writer:
        await writer.held(ORIGIN)
        await writer.commit(size=len(DATA))

    assert await behind.archive.read(NAME) == DATA


@pytest.mark.parametrize("origin", ["", f"{len(DATA)} yesterday /v1/objects/doc"])
async def test_blocks_of_another_origin_are_not_held(
    behind: Proxied, origin: str
) -> None:
    """The source has other bytes now: none of the old ones are mixed with them."""
    await left_behind(behind.archive, *OFFSETS, origin=origin)

    async with behind.archive.writer(NAME) as writer:
        assert await writer.held(ORIGIN) == []
        await write(writer, *OFFSETS, data=DATA[::-1])
        await writer.commit(size=len(DATA))

    assert await behind.archive.read(NAME) == DATA[::-1]


async def test_blocks_without_an_origin_are_not_held(behind: Proxied) -> None:
    """What a stream left is nobody's: how far it came is not known to be how it went on."""
    async with behind.archive.writer(NAME) as writer:
        await write(writer, *OFFSETS)

    async with behind.archive.writer(NAME) as writer:
        assert await writer.held(ORIGIN) == []


async def test_blocks_off_the_grid_are_not_held(
    behind: Proxied, azurite: Azurite
) -> None:
    """After a change of the block size the old blocks fit nowhere, unless they do."""
    await left_behind(behind.archive, *OFFSETS)

    async with (
        blob_archive(
            azurite, behind.container.container_name, block_bytes=2 * BLOCK_BYTES
        ) as other,
        other.writer(NAME) as writer,
    ):
        held = await writer.held(ORIGIN)

    assert [block.offset for block in held] == [OFFSETS[0], OFFSETS[2]]


async def test_blocks_that_disagree_are_not_held(behind: Proxied) -> None:
    """Two blocks for one place: neither is believed, and the place is fetched again."""
    await left_behind(behind.archive, *OFFSETS)
    async with behind.archive.writer(NAME) as writer:
        await writer.held(ORIGIN)
        await write(writer, OFFSETS[1], data=DATA[::-1])

    async with behind.archive.writer(NAME) as writer:
        held = await writer.held(ORIGIN)
        await write(writer, OFFSETS[1])
        await writer.commit(size=len(DATA))

    assert [block.offset for block in held] == [0, OFFSETS[2], OFFSETS[3]]
    assert await behind.archive.read(NAME) == DATA


async def test_block_that_is_not_as_long_as_it_says_is_not_held(
    behind: Proxied,
) -> None:
    """An id is believed only as far as the service bears it out."""
    block_id = BlockId(block=digest_at(0), origin=origin_tag(ORIGIN)).encode()
    blob = behind.container.get_blob_client(NAME)
    await blob.stage_block(block_id, DATA[:100])

    async with behind.archive.writer(NAME) as writer:
        assert await writer.held(ORIGIN) == []


async def test_foreign_blocks_are_not_held(behind: Proxied) -> None:
    """Ids of our length that say nothing to us are left alone."""
    blob = behind.container.get_blob_client(NAME)
    await blob.stage_block("x" * 64, b"foreign")

    async with behind.archive.writer(NAME) as writer:
        assert await writer.held(ORIGIN) == []
        await write(writer, *OFFSETS)
        await writer.commit(size=len(DATA))

    assert await behind.archive.read(NAME) == DATA


async def test_blocks_with_ids_of_another_length_lead_to_another_name(
    behind: Proxied,
) -> None:
    """The service refuses ours beside them: a conflict, not trouble of the archive."""
    blob = behind.container.get_blob_client(NAME)
    await blob.stage_block("00000001", b"foreign")

    async with behind.archive.writer(NAME) as writer:
        assert await writer.held(ORIGIN) == []
        with pytest.raises(ArchiveConflictError):
            await write(writer, *OFFSETS)


async def test_nothing_is_held_of_a_taken_name(behind: Proxied) -> None:
    """What is committed is compared, not continued."""
    await write_whole(behind.archive)

    async with behind.archive.writer(NAME) as writer:
        assert await writer.held(ORIGIN) == ()


@pytest.mark.parametrize("tier", ["hot", "cool", "cold"])
async def test_contents_are_written_in_their_tier(
    azurite: Azurite, unique_name: UniqueName, tier: Tier
) -> None:
    """In the commit itself; documents, which are read often, stay where they are."""
    async with blob_archive(
        azurite, unique_name("tier"), options=BlobOptions(tier=tier)
    ) as archive:
        await write_whole(archive)
        await archive.create("receipts/aa/doc.json", b"{}")

        stored = await archive.stat(NAME)
        document = await archive.stat("receipts/aa/doc.json")

        assert stored is not None
        assert stored.protection["tier"] == tier
        assert archive.unmet(stored.protection) == ()
        assert document is not None
        assert document.protection["tier"] == "hot"


async def test_protection_that_the_service_ignores_is_unmet(
    azurite: Azurite, unique_name: UniqueName
) -> None:
    """Azurite takes a policy and a scope and forgets both, as a wrong container would."""
    options = BlobOptions(immutable_days=30, encryption_scope="team")
    async with proxied_archive(azurite, unique_name("worm"), options=options) as behind:
        async with behind.archive.writer(NAME) as writer:
            await write(writer, *OFFSETS)
            stored = await writer.commit(size=len(DATA))

        unmet = behind.archive.unmet(stored.protection)
        commit = next(s for s in behind.proxy.seen if s.operation == "commit")
        stage = next(s for s in behind.proxy.seen if s.operation == "stage")

    assert unmet == ("immutability", "encryption-scope")
    assert commit.headers["x-ms-immutability-policy-mode"] == "Unlocked"
    until = (START + timedelta(days=30)).strftime("%a, %d %b %Y")
    assert commit.headers["x-ms-immutability-policy-until-date"].startswith(until)
    assert commit.headers["If-None-Match"] == "*"
    for seen in (commit, stage):
        assert seen.headers["x-ms-encryption-scope"] == "team"


async def test_seal_moves_to_the_archive_tier_once(
    azurite: Azurite, unique_name: UniqueName
) -> None:
    """Only what nobody has moved yet, so that it may be done again at any time."""
    async with proxied_archive(
        azurite, unique_name("seal"), options=BlobOptions(tier="archive")
    ) as behind:
        await write_whole(behind.archive)
        await behind.archive.seal(NAME)
        await behind.archive.seal(NAME)

        stored = await behind.archive.stat(NAME)
        assert stored is not None
        assert stored.protection["tier"] == "archive"
        assert behind.proxy.operations().count("tier") == 1


async def test_seal_leaves_what_an_operator_brought_back(
    azurite: Azurite, unique_name: UniqueName
) -> None:
    """A replay does not undo a rehydration that took fifteen hours."""
    async with proxied_archive(
        azurite, unique_name("seal"), options=BlobOptions(tier="archive")
    ) as behind:
        await write_whole(behind.archive)
        await behind.container.get_blob_client(NAME).set_standard_blob_tier("Cool")

        await behind.archive.seal(NAME)

        assert "tier" not in behind.proxy.operations()


async def test_seal_costs_nothing_where_nothing_is_asked(behind: Proxied) -> None:
    """Without an archive tier there is nothing to do."""
    await write_whole(behind.archive)
    behind.proxy.seen.clear()

    await behind.archive.seal(NAME)
    await behind.archive.seal("no/such/object")

    assert behind.proxy.seen == []


async def test_sealed_content_can_not_be_compared(
    azurite: Azurite, unique_name: UniqueName
) -> None:
    """What can't be read leads to the next name, not to a dead end."""
    async with blob_archive(
        azurite, unique_name("seal"), options=BlobOptions(tier="archive")
    ) as archive:
        await write_whole(archive)
        await archive.seal(NAME)

        with pytest.raises(ArchiveConflictError):
            await archive.read_back(NAME, block_bytes=BLOCK_BYTES)


async def test_pieces_are_hashed_in_order_however_they_come(
    behind: Proxied, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first range comes last, and the digests are those of the whole."""
    monkeypatch.setattr(blob_read_back, "PIECE_BYTES", 1000)
    await write_whole(behind.archive)
    busy = Fault.status(503, "ServerBusy", retry_after=5)
    behind.proxy.plan(busy, on="get")

    back = await behind.archive.read_back(NAME, block_bytes=BLOCK_BYTES)

    assert back.sha256 == hashlib.sha256(DATA).hexdigest()
    assert back.blocks == tuple(map(digest_at, OFFSETS))


async def test_reading_back_is_bounded(
    behind: Proxied, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long a blob, and however many at once, few pieces are held."""
    monkeypatch.setattr(blob_read_back, "PIECE_BYTES", 100)
    await write_whole(behind.archive)
    held: list[int] = []
    get = blob_store.BlobStore.get

    async def counted(
        store: blob_store.BlobStore, name: str, offset: int, length: int
    ) -> bytes | None:
        held.append(blob_read_back.MOST_PIECES - behind.archive._reader._room._value)
        return await get(store, name, offset, length)

    monkeypatch.setattr(blob_store.BlobStore, "get", counted)
    async with asyncio.TaskGroup() as group:
        for _ in range(5):
            work = behind.archive.read_back(NAME, block_bytes=BLOCK_BYTES)
            group.create_task(work)

    assert max(held) == blob_read_back.MOST_PIECES


async def test_names_come_page_by_page(
    behind: Proxied, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many there are, no more than a page is held."""
    monkeypatch.setattr(blob_store, "PAGE_NAMES", 3)
    expected = [f"a/{number:02d}" for number in range(8)]
    for name in expected:
        await behind.archive.create(name, b"x")
    behind.proxy.seen.clear()

    assert [name async for name in behind.archive.list("a/")] == expected
    assert behind.proxy.operations() == ["list"] * 3


async def test_foreign_names_are_not_listed(behind: Proxied) -> None:
    """A blob that somebody else put there is none of ours if its name can't be."""
    for name in ("a/one", "a//two", "a/three/"):
        await behind.container.upload_blob(name, b"x")

    assert [name async for name in behind.archive.list("")] == ["a/one"]


async def test_container_is_made_once(
    azurite: Azurite, unique_name: UniqueName
) -> None:
    """The first worker makes it and says so; the second finds it."""
    name = unique_name("made")
    with capture_logs() as logs:
        for _ in range(2):
            async with blob_archive(azurite, name) as archive:
                await archive.ready()

    assert [entry["event"] for entry in logs] == ["archive.created"]
    assert logs[0]["container"] == name


async def test_committed_blocks_are_not_taken_for_left_ones(behind: Proxied) -> None:
    """Blocks that another tool committed under a candidate's name are not ours to go on with."""
    blob = behind.container.get_blob_client(NAME)
    await blob.stage_block("x" * 64, b"foreign")
    await blob.commit_block_list([BlobBlock("x" * 64)])

    async with behind.archive.writer(NAME) as writer:
        assert await writer.held(ORIGIN) == ()
        await write(writer, *OFFSETS)
        with pytest.raises(AlreadyExistsError):
            await writer.commit(size=len(DATA))
