"""The directory archive against a real file system: what the port's contract can't see."""

# ruff: noqa: ASYNC240 - a test's own look at the disk may block

import asyncio
import errno
import fcntl
import hashlib
import os
import shutil
import stat
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from blockbuster import BlockBuster, blockbuster_ctx
from structlog.testing import capture_logs

from tests.fakes.clock import ManualClock
from worker.archives import digesting, staging, tree, walk
from worker.archives.directory import DirectoryArchive
from worker.errors import (
    ArchiveFullError,
    ArchiveUnavailableError,
    IntegrityError,
)
from worker.model import Listed, Pick

BLOCK_BYTES = 4096
NAME = "recordings/2026/object.bin"


@pytest.fixture(autouse=True)
def blocking_calls_fail() -> Iterator[BlockBuster]:
    with blockbuster_ctx("worker") as blockbuster:
        # Coverage's own, where two threads are the first to get to a file.
        acquire = blockbuster.functions["threading.Lock.acquire"]
        acquire.can_block_in("coverage/collector.py", "lock_data")
        yield blockbuster


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "data" / "archive"


def archive_at(root: Path, *, reserve_bytes: int = 0) -> DirectoryArchive:
    return DirectoryArchive(
        root, clock=ManualClock(), reserve_bytes=reserve_bytes, block_bytes=BLOCK_BYTES
    )


@pytest.fixture
async def archive(root: Path) -> AsyncIterator[DirectoryArchive]:
    async with archive_at(root) as opened:
        yield opened


async def names(archive: DirectoryArchive) -> list[str]:
    return [name async for name in archive.list("")]


def staged(root: Path) -> list[str]:
    return [path.name for path in (root / ".staging").iterdir()]


async def test_archive_makes_its_root(archive: DirectoryArchive, root: Path) -> None:
    """A root that isn't there is made, parents and all."""
    assert await names(archive) == []
    assert root.is_dir()


async def test_root_that_is_a_file_is_refused(root: Path) -> None:
    """An archive that can't start says so, and can be started later."""
    root.parent.mkdir(parents=True)
    root.write_text("in the way")

    with pytest.raises(ArchiveUnavailableError):
        await archive_at(root).__aenter__()

    root.unlink()
    async with archive_at(root) as archive:
        await archive.ready()


async def test_object_is_a_plain_read_only_file(
    archive: DirectoryArchive, root: Path
) -> None:
    """What is archived lies under its own name, can't be written, and is staged no more."""
    await archive.create(NAME, b"data")

    file = root / NAME
    assert file.read_bytes() == b"data"
    assert stat.S_IMODE(file.stat().st_mode) == 0o440
    assert file.stat().st_nlink == 1
    assert staged(root) == []


async def test_staged_file_of_a_dead_writer_is_swept(root: Path) -> None:
    """What a killed process staged is gone after the next start, and that is logged."""
    leftover = root / ".staging" / "leftover"
    leftover.parent.mkdir(parents=True)
    leftover.write_bytes(b"half")
    (root / ".staging" / "folder").mkdir()
    (root / ".staging" / "link").symlink_to(root)

    with capture_logs() as logs:
        async with archive_at(root):
            pass

    assert sorted(staged(root)) == ["folder", "link"]
    assert [(line["event"], line["files"]) for line in logs] == [("archive.swept", 1)]


async def test_staged_file_of_a_live_writer_survives_a_sweep(
    archive: DirectoryArchive, root: Path
) -> None:
    """A second archive that starts beside a writer leaves its blocks alone."""
    async with archive.writer(NAME) as writer:
        await writer.write(0, b"alive")
        async with archive_at(root) as second:
            await writer.commit(size=5)
            assert await second.read(NAME) == b"alive"


async def test_sweep_between_open_and_lock_is_survived(
    archive: DirectoryArchive, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A staged file that is swept before its writer could lock it is made anew."""
    swept: list[str] = []
    lock = fcntl.flock

    def sweep_first(descriptor: int, operation: int) -> None:
        if not swept:
            swept.extend(staged(root))
            (root / ".staging" / swept[0]).unlink()
        lock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", sweep_first)
    await archive.create(NAME, b"data")

    assert len(swept) == 1
    assert await archive.read(NAME) == b"data"


async def test_lost_staging_folder_is_made_again(
    archive: DirectoryArchive, root: Path
) -> None:
    """Whoever cleans up too much does not stop the archive."""
    (root / ".staging").rmdir()

    await archive.create(NAME, b"data")

    assert await archive.read(NAME) == b"data"


async def test_staged_file_that_vanishes_fails_the_commit(
    archive: DirectoryArchive, root: Path
) -> None:
    """A commit whose blocks someone removed raises, and nothing appears."""
    async with archive.writer(NAME) as writer:
        await writer.write(0, b"data")
        shutil.rmtree(root / ".staging")
        with pytest.raises(ArchiveUnavailableError):
            await writer.commit(size=4)

    assert await archive.stat(NAME) is None


async def test_staged_file_that_grew_fails_the_commit(
    archive: DirectoryArchive, root: Path
) -> None:
    """A staged file that is not as long as its blocks is never published."""
    async with archive.writer(NAME) as writer:
        await writer.write(0, b"data")
        os.truncate(root / ".staging" / staged(root)[0], 9)
        with pytest.raises(IntegrityError):
            await writer.commit(size=4)

    assert await archive.stat(NAME) is None


@pytest.mark.parametrize("where", ["recordings", "recordings/2026"])
async def test_symbolic_link_below_the_root_is_not_followed(
    archive: DirectoryArchive, root: Path, tmp_path: Path, where: str
) -> None:
    """No operation leaves the root through a folder that is a link, nor takes it for absent."""
    outside = tmp_path / "outside"
    (outside / "2026").mkdir(parents=True)
    (outside / "2026" / "object.bin").write_bytes(b"secret")
    (outside / "object.bin").write_bytes(b"secret")
    (root / where).parent.mkdir(exist_ok=True)
    (root / where).symlink_to(outside)
    before = sorted(outside.rglob("*"))

    for operation in (
        archive.read(NAME),
        archive.stat(NAME),
        archive.read_back(NAME, block_bytes=1),
        archive.create("recordings/2026/new.bin", b"x"),
    ):
        with pytest.raises(ArchiveUnavailableError):
            await operation

    assert sorted(outside.rglob("*")) == before
    assert await names(archive) == []


async def test_object_that_is_a_symbolic_link_is_not_followed(
    archive: DirectoryArchive, root: Path, tmp_path: Path
) -> None:
    """A link in an object's place is neither read nor replaced nor listed."""
    (tmp_path / "secret").write_bytes(b"secret")
    (root / "object").symlink_to(tmp_path / "secret")

    with pytest.raises(ArchiveUnavailableError):
        await archive.read("object")
    with pytest.raises(Exception, match="exists"):
        await archive.create("object", b"x")

    assert (tmp_path / "secret").read_bytes() == b"secret"
    assert await names(archive) == []


async def test_foreign_entries_are_no_objects(
    archive: DirectoryArchive, root: Path
) -> None:
    """Pipes and names that no archive takes are neither read nor listed."""
    os.mkfifo(root / "pipe")
    (root / "back\\slash").write_bytes(b"x")
    (root / "line\nbreak").write_bytes(b"x")
    await archive.create("object", b"x")

    assert await archive.read("pipe") is None
    assert await archive.stat("pipe") is None
    assert await names(archive) == ["object"]


async def test_archive_whose_root_is_gone_is_unavailable(
    archive: DirectoryArchive, root: Path
) -> None:
    """Without its root the archive fails; it never looks empty, nor comes back elsewhere."""
    await archive.create(NAME, b"data")
    shutil.rmtree(root)

    for operation in (
        archive.read(NAME),
        archive.stat(NAME),
        archive.create("new", b"x"),
        archive.ready(),
        names(archive),
    ):
        with pytest.raises(ArchiveUnavailableError, match="gone"):
            await operation
    assert not root.exists()


async def test_archive_that_is_not_there_is_not_made_by_a_look(root: Path) -> None:
    looking = DirectoryArchive(root, clock=ManualClock(), create=False)

    with pytest.raises(ArchiveUnavailableError, match="gone"):
        async with looking:
            pass

    assert not root.exists()


async def test_archive_whose_root_was_replaced_is_unavailable(
    archive: DirectoryArchive, root: Path
) -> None:
    """An empty directory in the root's place, as after an unmount, is not the archive."""
    await archive.create(NAME, b"data")
    root.rename(root.with_name("moved"))
    root.mkdir()

    with pytest.raises(ArchiveUnavailableError, match="replaced"):
        await archive.read(NAME)


async def test_reserve_is_kept(root: Path) -> None:
    """Where less than the reserve is free nothing is taken, and reading goes on."""
    async with archive_at(root) as archive:
        await archive.create(NAME, b"data")

    async with archive_at(root, reserve_bytes=2**62) as full:
        with pytest.raises(ArchiveFullError):
            await full.create("new", b"x")
        with pytest.raises(ArchiveFullError):
            await full.ready()
        with pytest.raises(ArchiveFullError):
            await full.writer("new").__aenter__()

        assert await full.read(NAME) == b"data"
        assert staged(root) == []


async def test_reserve_is_kept_while_writing(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The block that would eat into the reserve is refused."""
    free = iter([3 * BLOCK_BYTES, 2 * BLOCK_BYTES, 2 * BLOCK_BYTES - 1])
    monkeypatch.setattr(staging, "free_bytes", lambda _: next(free))

    async with (
        archive_at(root, reserve_bytes=BLOCK_BYTES) as archive,
        archive.writer(NAME) as writer,
    ):
        await writer.write(0, bytes(BLOCK_BYTES))
        with pytest.raises(ArchiveFullError):
            await writer.write(BLOCK_BYTES, bytes(BLOCK_BYTES))


async def test_changed_byte_shows_in_the_read_back(
    archive: DirectoryArchive, root: Path
) -> None:
    """Read-back tells what the disk holds now, not what was written."""
    data = bytes(3 * BLOCK_BYTES)
    await archive.create(NAME, data)
    changed = bytearray(data)
    changed[BLOCK_BYTES] = 1
    (root / NAME).chmod(0o640)
    (root / NAME).write_bytes(changed)

    back = await archive.read_back(NAME, block_bytes=BLOCK_BYTES)

    whole, part = hashlib.sha256(changed), hashlib.sha256(bytes(BLOCK_BYTES))
    assert back.sha256 == whole.hexdigest()
    right = [block.sha256 == part.hexdigest() for block in back.blocks]
    assert right == [True, False, True]


async def test_folders_are_listed_one_at_a_time(
    archive: DirectoryArchive, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A listing that stops early has looked into no folder it did not come to."""
    for name in ("a/1", "b/1", "c/1"):
        await archive.create(name, b"x")
    scanned = 0
    scandir = os.scandir

    def counted(path: int) -> "os._ScandirIterator[str]":
        nonlocal scanned
        scanned += 1
        return scandir(path)

    monkeypatch.setattr(os, "scandir", counted)
    first = await anext(aiter(archive.list("")))

    assert first == "a/1"
    assert scanned == 2


async def test_known_folders_are_forgotten_in_time(
    archive: DirectoryArchive, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The memory of durable folders stays bounded, and losing it costs nothing but a sync."""
    monkeypatch.setattr(tree, "DURABLE_FOLDERS_KEPT", 1)

    await archive.create("a/b/c", b"1")
    await archive.create("a/b/d", b"2")

    assert await names(archive) == ["a/b/c", "a/b/d"]
    assert len(archive._tree._durable) == 1


async def test_listing_survives_a_folder_that_vanishes(
    archive: DirectoryArchive, root: Path
) -> None:
    """A folder that goes while the listing is on its way is just not listed."""
    await archive.create("a/1", b"x")
    await archive.create("b/1", b"x")
    listing = archive.list("")
    seen = [await anext(listing)]
    await asyncio.to_thread(shutil.rmtree, root / "b")
    seen += [name async for name in listing]

    assert seen == ["a/1"]


async def test_long_documents_are_not_held_together(
    archive: DirectoryArchive, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step of a listing ends behind the document that goes beyond its bytes."""
    for name in ("a/1", "b/1", "c/1"):
        await archive.create(name, b"xx")
    monkeypatch.setattr(walk, "MOST_BYTES", 3)
    steps: list[int] = []
    folders = walk.Walk.folders

    def counted(self: walk.Walk, most: int, pick: Pick) -> list[Listed]:
        found = folders(self, most, pick)
        steps.append(len(found))
        return found

    monkeypatch.setattr(walk.Walk, "folders", counted)
    listed = [each async for each in archive.list_folders("", pick=lambda _: "1")]

    assert [(each.folder, each.picked) for each in listed] == [
        ("a/", b"xx"),
        ("b/", b"xx"),
        ("c/", b"xx"),
    ]
    assert steps == [2, 1, 0]


async def test_subfolders_are_those_right_below(archive: DirectoryArchive) -> None:
    """In order, none entered; a place that is not there has none."""
    for name in ("x/b/2/3", "x/a/1", "x/file", "y/1"):
        await archive.create(name, b"x")

    assert await archive.subfolders("x/") == ["x/a/", "x/b/"]
    assert await archive.subfolders("z/") == []


async def test_document_that_goes_meanwhile_is_none(archive: DirectoryArchive) -> None:
    """Between the listing of its folder and the read."""
    await archive.create("a/1", b"x")

    listed = [each async for each in archive.list_folders("", pick=lambda _: "gone")]

    assert [each.picked for each in listed] == [None]


async def test_folder_that_can_not_be_listed_is_left_closed(
    archive: DirectoryArchive, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that fails leaves no descriptor behind."""
    await archive.create("a/1", b"x")
    before = len(os.listdir("/dev/fd"))  # noqa: PTH208 - one look

    def fail(_: int) -> None:
        raise OSError(errno.EIO, "disk")

    with monkeypatch.context() as failing:
        failing.setattr(os, "scandir", fail)
        with pytest.raises(ArchiveUnavailableError):
            await names(archive)

    assert len(os.listdir("/dev/fd")) == before  # noqa: PTH208 - one look


async def test_digest_that_nobody_waits_for_ends(
    archive: DirectoryArchive, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever cancels it does not wait for the rest of a long file."""
    await archive.create(NAME, bytes(4 * BLOCK_BYTES))
    monkeypatch.setattr(digesting, "PIECE_BYTES", BLOCK_BYTES)
    began, go_on = threading.Event(), threading.Event()
    readv, reads = os.readv, []

    def slow(descriptor: int, buffers: list[memoryview]) -> int:
        reads.append(descriptor)
        began.set()
        go_on.wait(10)
        return readv(descriptor, buffers)

    monkeypatch.setattr(os, "readv", slow)
    task = asyncio.create_task(archive.digest(NAME, block_bytes=None))
    await asyncio.to_thread(began.wait, 10)
    task.cancel()
    await asyncio.sleep(0)
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert len(reads) == 1


async def test_digest_of_what_can_not_be_read_says_so(
    archive: DirectoryArchive, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bad sector is of this object, not of the archive."""
    await archive.create(NAME, b"x")

    def fail(_descriptor: int, _buffers: list[memoryview]) -> int:
        raise OSError(errno.EIO, "disk")

    monkeypatch.setattr(os, "readv", fail)
    with pytest.raises(IntegrityError, match="can't be read"):
        await archive.digest(NAME, block_bytes=None)
