"""The directory archive when the disk refuses, lies late, or the worker is cut."""

import asyncio
import errno
import os
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.clock import ManualClock
from worker.archives import directory_writer
from worker.archives.directory import DirectoryArchive
from worker.errors import (
    ArchiveForbiddenError,
    ArchiveFullError,
    ArchiveUnavailableError,
    RetryableError,
)

BLOCK_BYTES = 4096
NAME = "recordings/2026/object.bin"
PATIENCE_S = 10
KILLED_WRITER = Path(__file__).with_name("killed_writer.py")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "archive"


@pytest.fixture
async def archive(root: Path) -> AsyncIterator[DirectoryArchive]:
    opened = DirectoryArchive(
        root, clock=ManualClock(), reserve_bytes=0, block_bytes=BLOCK_BYTES
    )
    async with opened:
        yield opened


def staged(root: Path) -> list[Path]:
    return list((root / ".staging").iterdir())


def open_descriptors() -> int:
    return len(os.listdir("/dev/fd"))  # noqa: PTH208 - one look


def failing(number: int) -> Callable[..., Any]:
    def fail(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    return fail


@pytest.mark.parametrize("call", ["pwrite", "fsync", "link", "mkdir", "fchmod"])
@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (errno.ENOSPC, ArchiveFullError),
        (errno.EDQUOT, ArchiveFullError),
        (errno.EACCES, ArchiveForbiddenError),
        (errno.EPERM, ArchiveForbiddenError),
        (errno.EROFS, ArchiveForbiddenError),
        (errno.EIO, ArchiveUnavailableError),
        (errno.EOPNOTSUPP, ArchiveUnavailableError),
        (errno.EXDEV, ArchiveUnavailableError),
    ],
)
async def test_disk_errors_come_out_as_the_archives_own(
    archive: DirectoryArchive,
    root: Path,
    monkeypatch: pytest.MonkeyPatch,
    call: str,
    number: int,
    expected: type[RetryableError],
) -> None:
    """Whichever call the disk refuses: the error says what it means, and nothing is left."""
    before = open_descriptors()
    with monkeypatch.context() as patched:
        patched.setattr(os, call, failing(number))
        with pytest.raises(expected, match=errno.errorcode[number]):
            await archive.create(NAME, b"data")

    assert await archive.stat(NAME) is None
    assert staged(root) == []
    assert open_descriptors() == before


@pytest.mark.parametrize("call", ["pwrite", "fsync", "link"])
async def test_archive_that_cannot_store_is_not_ready(
    archive: DirectoryArchive, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """`ready` tries all that an object needs, hard links too."""
    monkeypatch.setattr(os, call, failing(errno.EIO))

    with pytest.raises(ArchiveUnavailableError):
        await archive.ready()


async def test_short_writes_are_continued(
    archive: DirectoryArchive, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that takes a block in pieces gets all of them."""
    pwrite = os.pwrite

    def reluctant(descriptor: int, data: memoryview, offset: int) -> int:
        return pwrite(descriptor, data[:1000], offset)

    monkeypatch.setattr(os, "pwrite", reluctant)
    data = os.urandom(BLOCK_BYTES)
    await archive.create(NAME, data)

    assert await archive.read(NAME) == data


async def test_short_reads_are_continued(
    archive: DirectoryArchive, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that gives a range in pieces is asked until it has given all."""
    pread = os.pread
    data = os.urandom(BLOCK_BYTES)
    await archive.create(NAME, data)

    def reluctant(descriptor: int, length: int, offset: int) -> bytes:
        return pread(descriptor, min(length, 1000), offset)

    monkeypatch.setattr(os, "pread", reluctant)

    assert await archive.read_range(NAME, 1, 3000) == data[1:3001]


async def test_file_that_shrinks_under_a_read_ends_it(
    archive: DirectoryArchive, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A read that gets less than the size promised returns what there is."""
    await archive.create(NAME, b"data")
    monkeypatch.setattr(os, "pread", lambda *_: b"")

    assert await archive.read(NAME) == b""


async def test_failed_sync_behind_the_writer_is_never_forgotten(
    archive: DirectoryArchive, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sync that failed once fails the object, though the next sync would succeed."""
    monkeypatch.setattr(directory_writer, "SYNC_BYTES", 2 * BLOCK_BYTES)
    failed = asyncio.Event()
    loop = asyncio.get_running_loop()

    def fail_once(_: int) -> None:
        monkeypatch.setattr(os, "fdatasync", os.fsync)
        loop.call_soon_threadsafe(failed.set)
        raise OSError(errno.EIO, "lost pages")

    monkeypatch.setattr(os, "fdatasync", fail_once)
    async with archive.writer(NAME) as writer:
        await writer.write(0, bytes(BLOCK_BYTES))
        await writer.write(BLOCK_BYTES, bytes(BLOCK_BYTES))
        await asyncio.wait_for(failed.wait(), PATIENCE_S)
        with pytest.raises(ArchiveUnavailableError):
            await writer.commit(size=2 * BLOCK_BYTES)
        await writer.write(2 * BLOCK_BYTES, bytes(BLOCK_BYTES))
        with pytest.raises(ArchiveUnavailableError):
            await writer.write(3 * BLOCK_BYTES, bytes(BLOCK_BYTES))

    assert await archive.stat(NAME) is None


async def test_writer_waits_for_a_disk_that_lags(
    archive: DirectoryArchive, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a sync lags, one more sync's worth is taken and then no more."""
    monkeypatch.setattr(directory_writer, "SYNC_BYTES", 2 * BLOCK_BYTES)
    syncing, go_on = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def lag(descriptor: int) -> None:
        loop.call_soon_threadsafe(syncing.set)
        go_on.wait(PATIENCE_S)
        os.fsync(descriptor)

    monkeypatch.setattr(os, "fdatasync", lag)
    blocks = [os.urandom(BLOCK_BYTES) for _ in range(7)]
    async with archive.writer(NAME) as writer:
        for number in range(5):
            await writer.write(number * BLOCK_BYTES, blocks[number])
        await asyncio.wait_for(syncing.wait(), PATIENCE_S)
        sixth = asyncio.create_task(writer.write(5 * BLOCK_BYTES, blocks[5]))
        stuck, _ = await asyncio.wait([sixth], timeout=0.05)
        go_on.set()
        await asyncio.wait_for(sixth, PATIENCE_S)
        await writer.write(6 * BLOCK_BYTES, blocks[6])
        await writer.commit(size=7 * BLOCK_BYTES)

    assert not stuck
    assert await archive.read(NAME) == b"".join(blocks)


async def test_cancelled_write_outlasts_its_thread(
    archive: DirectoryArchive, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However often it is cancelled, a write ends only when no thread reads its buffer."""
    begun, go_on = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()
    pwrite = os.pwrite
    seen: list[bytes] = []

    def slow(descriptor: int, data: memoryview, offset: int) -> int:
        loop.call_soon_threadsafe(begun.set)
        go_on.wait(PATIENCE_S)
        seen.append(bytes(data))
        return pwrite(descriptor, data, offset)

    async def write() -> None:
        async with archive.writer(NAME) as writer:
            await writer.write(0, bytearray(b"buffer"))

    monkeypatch.setattr(os, "pwrite", slow)
    before = open_descriptors()
    task = asyncio.create_task(write())
    await asyncio.wait_for(begun.wait(), PATIENCE_S)
    for _ in range(3):
        task.cancel()
        await asyncio.sleep(0)
    assert not task.done()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, PATIENCE_S)

    assert seen == [b"buffer"]
    assert staged(root) == []
    assert open_descriptors() == before


async def test_leaving_waits_for_the_sync_behind(
    archive: DirectoryArchive, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A writer that is given up closes its file only when no sync uses it any more."""
    monkeypatch.setattr(directory_writer, "SYNC_BYTES", BLOCK_BYTES)
    begun, go_on = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()
    synced: list[int] = []

    def slow(descriptor: int) -> None:
        loop.call_soon_threadsafe(begun.set)
        go_on.wait(PATIENCE_S)
        synced.append(os.fstat(descriptor).st_size)

    async def write() -> None:
        async with archive.writer(NAME) as writer:
            await writer.write(0, bytes(BLOCK_BYTES))
            await begun.wait()

    monkeypatch.setattr(os, "fdatasync", slow)
    task = asyncio.create_task(write())
    await asyncio.wait_for(begun.wait(), PATIENCE_S)
    done, _ = await asyncio.wait([task], timeout=0.05)
    go_on.set()
    await asyncio.wait_for(task, PATIENCE_S)

    assert not done
    assert synced == [BLOCK_BYTES]


async def test_cancelled_clean_up_still_cleans_up(
    archive: DirectoryArchive, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cancellation that arrives while the staged file is discarded passes after that."""
    begun, go_on = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()
    unlink = os.unlink

    def slow(name: str, *, dir_fd: int) -> None:
        loop.call_soon_threadsafe(begun.set)
        go_on.wait(PATIENCE_S)
        unlink(name, dir_fd=dir_fd)

    async def write() -> None:
        async with archive.writer(NAME):
            pass

    monkeypatch.setattr(os, "unlink", slow)
    before = open_descriptors()
    task = asyncio.create_task(write())
    await asyncio.wait_for(begun.wait(), PATIENCE_S)
    task.cancel()
    await asyncio.sleep(0)
    assert not task.done()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, PATIENCE_S)

    assert staged(root) == []
    assert open_descriptors() == before


async def test_clean_up_that_fails_is_the_archives_error(
    archive: DirectoryArchive, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A staged file that can't be removed is reported, and its descriptor is closed."""
    before = open_descriptors()
    monkeypatch.setattr(os, "unlink", failing(errno.EROFS))

    with pytest.raises(ArchiveForbiddenError):
        async with archive.writer(NAME):
            pass

    assert open_descriptors() == before
