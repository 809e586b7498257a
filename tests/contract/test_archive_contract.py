"""What every archive must do; one suite over the fake and the real ones."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from tests.azurite import Azurite
from tests.blobs import blob_archive
from tests.fakes.archive import MemoryArchive
from tests.fakes.clock import ManualClock
from worker.abilities import Digesting
from worker.archives.directory import DirectoryArchive
from worker.archives.object_names import ArchiveNameError
from worker.errors import AlreadyExistsError, IntegrityError
from worker.keeping import ErasableArchive, HoldingArchive
from worker.model import BlockDigest
from worker.ops import finding
from worker.ports import Archive

BLOCK_BYTES = 1024
NAME = "recordings/2026/03/01/call/0000-doc.mp4"
BAD_NAMES = [
    "",
    "/a",
    "a/",
    "a//b",
    ".",
    "..",
    "../a",
    "a/../b",
    "a/./b",
    "a\\b",
    "a/b\0",
    "a/b\n",
    "a/\udcff",
    "a/" + "x" * 256,
    "a/" + "é" * 128,
    "/".join(["abcdefgh"] * 120),
    ".staging/a",
]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture(
    params=["memory", "directory", "directory-prefix", "blob", "blob-prefix"]
)
async def archive(
    request: pytest.FixtureRequest, tmp_path: Path, clock: ManualClock
) -> AsyncIterator[Archive]:
    if request.param.startswith("blob"):
        account: Azurite = request.getfixturevalue("azurite")
        name = request.getfixturevalue("unique_name")("contract")
        prefix = "team/one" if request.param == "blob-prefix" else ""
        async with blob_archive(
            account, name, prefix=prefix, clock=clock, block_bytes=BLOCK_BYTES
        ) as blobs:
            yield blobs
        return
    if request.param == "memory":
        yield MemoryArchive(clock=clock, block_bytes=BLOCK_BYTES)
        return
    prefix = "team/one" if request.param == "directory-prefix" else ""
    opened = DirectoryArchive(
        tmp_path / "archive",
        clock=clock,
        prefix=prefix,
        reserve_bytes=0,
        block_bytes=BLOCK_BYTES,
    )
    async with opened:
        yield opened


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def sample(size: int) -> bytes:
    return hashlib.shake_128(b"sample").digest(size)


async def names(archive: Archive, prefix: str) -> list[str]:
    return [name async for name in archive.list(prefix)]


async def write_all(archive: Archive, name: str, data: bytes) -> None:
    async with archive.writer(name) as writer:
        for offset in range(0, len(data), BLOCK_BYTES):
            await writer.write(offset, data[offset : offset + BLOCK_BYTES])
        await writer.commit(size=len(data))


async def test_blocks_in_any_order_become_one_object(archive: Archive) -> None:
    """Blocks written last to first commit to the whole, with its size."""
    data = sample(2 * BLOCK_BYTES + 7)

    async with archive.writer(NAME) as writer:
        last = await writer.write(2 * BLOCK_BYTES, data[2 * BLOCK_BYTES :])
        await writer.write(BLOCK_BYTES, memoryview(data)[BLOCK_BYTES : 2 * BLOCK_BYTES])
        await writer.write(0, bytearray(data[:BLOCK_BYTES]))
        stored = await writer.commit(size=len(data))

    assert last == sha256(data[2 * BLOCK_BYTES :])
    assert await archive.read(NAME) == data
    assert (stored.name, stored.size_bytes) == (NAME, len(data))
    assert stored.last_modified.utcoffset() == timedelta()
    assert await archive.stat(NAME) == stored


async def test_blocks_may_be_written_at_once(archive: Archive) -> None:
    """Blocks that are written concurrently land each in its place."""
    data = sample(16 * BLOCK_BYTES)

    async with archive.writer(NAME) as writer:
        async with asyncio.TaskGroup() as group:
            for offset in range(0, len(data), BLOCK_BYTES):
                block = data[offset : offset + BLOCK_BYTES]
                group.create_task(writer.write(offset, block))
        await writer.commit(size=len(data))

    assert await archive.read(NAME) == data


async def test_written_buffer_is_free_again(archive: Archive) -> None:
    """A buffer that is reused after `write` does not change what was written."""
    async with archive.writer(NAME) as writer:
        buffer = bytearray(b"a" * BLOCK_BYTES)
        await writer.write(0, buffer)
        buffer[:] = b"b" * BLOCK_BYTES
        await writer.write(BLOCK_BYTES, buffer)
        await writer.commit(size=2 * BLOCK_BYTES)

    assert await archive.read(NAME) == b"a" * BLOCK_BYTES + b"b" * BLOCK_BYTES


async def test_block_may_be_written_again(archive: Archive) -> None:
    """A retry that writes the same block once more changes nothing."""
    async with archive.writer(NAME) as writer:
        first = await writer.write(0, b"same")
        again = await writer.write(0, b"same")
        await writer.commit(size=4)

    assert first == again
    assert await archive.read(NAME) == b"same"


async def test_object_is_invisible_until_commit(archive: Archive) -> None:
    """Before its commit an object can't be read, found or listed."""
    async with archive.writer(NAME) as writer:
        await writer.write(0, b"data")

        assert await archive.read(NAME) is None
        assert await archive.stat(NAME) is None
        assert await names(archive, "") == []


async def test_leaving_without_commit_discards(archive: Archive) -> None:
    """A writer that is left without commit leaves nothing, and the name free."""
    async with archive.writer(NAME) as writer:
        await writer.write(0, b"abandoned")

    assert await names(archive, "") == []
    await archive.create(NAME, b"kept")
    assert await archive.read(NAME) == b"kept"


async def test_empty_object_can_be_stored(archive: Archive) -> None:
    """No blocks make an object of no bytes."""
    async with archive.writer(NAME) as writer:
        stored = await writer.commit(size=0)
    back = await archive.read_back(NAME, block_bytes=BLOCK_BYTES)

    assert stored.size_bytes == 0
    assert await archive.read(NAME) == b""
    assert (back.size_bytes, back.sha256, back.blocks) == (0, sha256(b""), ())


@pytest.mark.parametrize(
    ("blocks", "size"),
    [
        ({0: b"x" * BLOCK_BYTES}, BLOCK_BYTES + 1),
        ({0: b"x" * BLOCK_BYTES}, BLOCK_BYTES - 1),
        ({BLOCK_BYTES: b"x"}, BLOCK_BYTES + 1),
        ({BLOCK_BYTES: b"x"}, 1),
        ({0: b"x", BLOCK_BYTES: b"x"}, BLOCK_BYTES + 1),
        ({0: b"x" * BLOCK_BYTES, 2 * BLOCK_BYTES: b"x"}, BLOCK_BYTES + 1),
        ({}, 1),
    ],
    ids=["short", "long", "no start", "shifted", "short middle", "gap", "nothing"],
)
async def test_blocks_that_are_not_the_whole_are_refused(
    archive: Archive, blocks: dict[int, bytes], size: int
) -> None:
    """A commit whose blocks don't make up the size raises, and nothing appears."""
    async with archive.writer(NAME) as writer:
        for offset, block in blocks.items():
            await writer.write(offset, block)
        with pytest.raises(IntegrityError):
            await writer.commit(size=size)

    assert await archive.stat(NAME) is None


@pytest.mark.parametrize(
    ("offset", "length"), [(1, 1), (0, BLOCK_BYTES + 1), (0, 0), (-BLOCK_BYTES, 0)]
)
async def test_what_is_not_a_block_is_refused(
    archive: Archive, offset: int, length: int
) -> None:
    """Blocks off the grid, too long or empty are the caller's mistake."""
    async with archive.writer(NAME) as writer:
        assert writer.block_bytes == BLOCK_BYTES
        with pytest.raises(ValueError, match="not a block"):
            await writer.write(offset, bytes(length))


async def test_taken_name_is_refused(archive: Archive) -> None:
    """Neither `commit` nor `create` replaces an object."""
    await archive.create(NAME, b"first")

    with pytest.raises(AlreadyExistsError):
        await archive.create(NAME, b"second")
    with pytest.raises(AlreadyExistsError):
        await write_all(archive, NAME, b"third")

    assert await archive.read(NAME) == b"first"
    assert await names(archive, "") == [NAME]


async def test_one_of_many_racing_creates_wins(archive: Archive) -> None:
    """Of writers that race for a name exactly one succeeds, and its bytes are there."""

    async def attempt(data: bytes) -> bytes | None:
        try:
            await archive.create(NAME, data)
        except AlreadyExistsError:
            return None
        return data

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(attempt(bytes([number]))) for number in range(20)]
    winners = [task.result() for task in tasks if task.result() is not None]

    assert winners == [await archive.read(NAME)]


async def test_missing_object_reads_as_none(archive: Archive) -> None:
    """What is not there is None to `read` and `stat`; proof of it can't be had."""
    await archive.create("a/b", b"x")

    assert await archive.read("a/c") is None
    assert await archive.read("c/d/e") is None
    assert await archive.stat("a/c") is None
    with pytest.raises(IntegrityError):
        await archive.read_range("a/c", 0, 1)
    with pytest.raises(IntegrityError):
        await archive.read_back("a/c", block_bytes=BLOCK_BYTES)


async def test_folder_is_not_an_object(archive: Archive) -> None:
    """The beginning of a name is not itself a name."""
    await archive.create("a/b", b"x")

    assert await archive.read("a") is None
    assert await archive.stat("a") is None


@pytest.mark.parametrize(
    ("offset", "length", "expected"),
    [
        (0, 4, b"0123"),
        (8, 4, b"89"),
        (10, 4, b""),
        (99, 4, b""),
        (3, 0, b""),
        (0, 10**12, b"0123456789"),
    ],
)
async def test_range_ends_with_the_object(
    archive: Archive, offset: int, length: int, expected: bytes
) -> None:
    """A range gives what there is of it, and takes no memory for what there isn't."""
    await archive.create(NAME, b"0123456789")

    assert await archive.read_range(NAME, offset, length) == expected


@pytest.mark.parametrize("size", [1, 999, 1000, 1001, 4096, 2_500_003])
async def test_read_back_hashes_whole_and_blocks(archive: Archive, size: int) -> None:
    """Read-back gives size, whole hash and the hash of each block, tail included."""
    data = sample(size)
    await archive.create(NAME, data)

    back = await archive.read_back(NAME, block_bytes=1000)

    assert (back.size_bytes, back.sha256) == (size, sha256(data))
    assert back.blocks == tuple(
        BlockDigest(
            offset=offset,
            length=len(data[offset : offset + 1000]),
            sha256=sha256(data[offset : offset + 1000]),
        )
        for offset in range(0, size, 1000)
    )


async def test_names_are_listed_in_order_by_prefix(archive: Archive) -> None:
    """A prefix is the beginning of the name, not a folder; the order is that of the text."""
    stored = ["a-b", "a/b", "a/b-c", "a/b/c", "a/bc/d", "a.b", "a0", "b/a", "é/a"]
    for name in set(stored) - {"a/b"}:
        await archive.create(name, b"x")
    every = sorted(set(stored) - {"a/b"})

    assert await names(archive, "") == every
    assert await names(archive, "a") == [name for name in every if name[0] == "a"]
    assert await names(archive, "a/b") == ["a/b-c", "a/b/c", "a/bc/d"]
    assert await names(archive, "a/b/") == ["a/b/c"]
    assert await names(archive, "a/b/c") == ["a/b/c"]
    assert await names(archive, "a/b/c/") == []
    assert await names(archive, "nothing/") == []
    assert await names(archive, "../") == []


async def test_digest_says_what_the_read_back_says(archive: Archive) -> None:
    """Where an archive can hash through the caches; without blocks, as a whole alone."""
    if not isinstance(archive, Digesting):
        return
    data = sample(2 * BLOCK_BYTES + 7)
    await archive.create(NAME, data)
    await archive.create("empty", b"")

    back = await archive.read_back(NAME, block_bytes=BLOCK_BYTES)

    assert await archive.digest(NAME, block_bytes=BLOCK_BYTES) == back
    assert await archive.digest(NAME, block_bytes=None) == replace(back, blocks=())
    assert (await archive.digest("empty", block_bytes=None)).sha256 == sha256(b"")
    with pytest.raises(IntegrityError, match="is not in the archive"):
        await archive.digest("nothing", block_bytes=None)


async def test_folders_are_listed_with_a_document(archive: Archive) -> None:
    """By the ability to, or one after the other: recordings come alike, in order."""
    above = "recordings/2026/03/01"
    for name in (
        f"{above}/a/r1/0000-d.mp4",
        f"{above}/a/r1/manifest.0001.json",
        f"{above}/a/r1/manifest.0002.json",
        f"{above}/b/r2/0000-d.mp4",
        f"{above}/b/r2/manifest.json",
        f"{above}/b/r3/below/manifest.0001.json",
        f"{above}/stray.txt",
        "recordings/2026/03/02/c/r4/manifest.0001.json",
    ):
        await archive.create(name, name.encode())

    async def found(prefix: str) -> list[tuple[str, tuple[str, ...], bytes | None]]:
        listed = finding.with_manifests(archive, prefix)
        return [(f.recording, f.files, manifest) async for f, manifest in listed]

    first = ("0000-d.mp4", "manifest.0001.json", "manifest.0002.json")
    of_day = [
        ("r1", first, f"{above}/a/r1/manifest.0002.json".encode()),
        ("r2", ("0000-d.mp4", "manifest.json"), None),
    ]
    assert await found(f"{above}/") == of_day
    assert await found(f"{above}/a/r1/") == of_day[:1]
    assert [each[0] for each in await found("recordings/")] == ["r1", "r2", "r4"]
    assert await found("recordings/2027/") == []


@pytest.mark.parametrize("name", BAD_NAMES, ids=ascii)
async def test_dangerous_names_are_refused(archive: Archive, name: str) -> None:
    """A name that some archive could misread is refused by every operation."""
    with pytest.raises(ArchiveNameError):
        await archive.create(name, b"x")
    with pytest.raises(ArchiveNameError):
        await write_all(archive, name, b"x")
    with pytest.raises(ArchiveNameError):
        await archive.read(name)
    with pytest.raises(ArchiveNameError):
        await archive.read_range(name, 0, 1)
    with pytest.raises(ArchiveNameError):
        await archive.read_back(name, block_bytes=1)
    with pytest.raises(ArchiveNameError):
        await archive.stat(name)


async def test_archive_in_order_is_ready(archive: Archive) -> None:
    """`ready` passes and leaves no trace."""
    await archive.ready()

    assert await names(archive, "") == []


def erasable(archive: Archive) -> ErasableArchive:
    assert isinstance(archive, ErasableArchive)
    return archive


async def test_erased_object_is_gone_and_its_name_is_free(archive: Archive) -> None:
    """Once or twice; what lies beside it stays, and what begins like it."""
    beside = NAME.replace("0000", "0001")
    for name in (NAME, beside, f"{NAME}.more"):
        await archive.create(name, b"x")

    await erasable(archive).erase(NAME)
    await erasable(archive).erase(NAME)

    assert await archive.read(NAME) is None
    assert await archive.stat(NAME) is None
    assert await names(archive, "") == [f"{NAME}.more", beside]
    await archive.create(NAME, b"y")
    assert await archive.read(NAME) == b"y"


async def test_last_object_takes_its_folders_with_it(archive: Archive) -> None:
    """Also where folders are real; and they can be made again."""
    await archive.create(NAME, b"x")

    await erasable(archive).erase(NAME)
    await archive.create(NAME, b"y")

    assert await names(archive, "recordings/") == [NAME]


async def test_erasing_what_was_never_there_is_as_good(archive: Archive) -> None:
    """Whoever is killed half-way does it again."""
    await erasable(archive).erase("nowhere/at/all")

    assert await names(archive, "") == []


async def test_all_that_is_kept_is_told_by_name(archive: Archive) -> None:
    """In order, with sizes; nothing of it is held, locked or deleted by itself."""
    await archive.create("a/2", b"xx")
    await archive.create("a/1", b"x")
    await archive.create("b", b"x")

    kept = [each async for each in erasable(archive).kept("a/")]

    assert [(each.name, each.size_bytes) for each in kept] == [("a/1", 1), ("a/2", 2)]
    assert all(each.is_current for each in kept)
    assert not any(each.is_held or each.locked_until for each in kept)
    assert [each.goes_in_days for each in kept] == [None, None]


async def test_hold_is_told_as_it_is_read_back(archive: Archive) -> None:
    """None: where the storage knows no holds, as in Azurite; a directory can't be asked."""
    await archive.create("a", b"x")
    if not isinstance(archive, HoldingArchive):
        assert isinstance(archive, DirectoryArchive)
        return

    told = [await archive.hold("a", held=held) for held in (True, True, False)]

    assert told in ([True, True, False], [None, None, None])
