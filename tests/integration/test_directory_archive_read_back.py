"""The directory archive's read-back: from the disk itself, and honest about its trouble."""

import asyncio
import errno
import fcntl
import os
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.clock import ManualClock
from worker.archives.directory import DirectoryArchive
from worker.errors import (
    ArchiveUnavailableError,
    IntegrityError,
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


def open_descriptors() -> int:
    return len(os.listdir("/dev/fd"))  # noqa: PTH208 - one look


def failing(number: int) -> Callable[..., Any]:
    def fail(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    return fail


async def test_cancelled_read_back_closes_the_file(
    archive: DirectoryArchive, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A read-back cut while it reads leaves no descriptor and no thread behind."""
    await archive.create(NAME, b"data")
    begun, go_on = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()
    preadv = os.preadv

    def slow(descriptor: int, buffers: list[memoryview], offset: int) -> int:
        loop.call_soon_threadsafe(begun.set)
        go_on.wait(PATIENCE_S)
        return preadv(descriptor, buffers, offset)

    monkeypatch.setattr(os, "preadv", slow)
    before = open_descriptors()
    task = asyncio.create_task(archive.read_back(NAME, block_bytes=BLOCK_BYTES))
    await asyncio.wait_for(begun.wait(), PATIENCE_S)
    task.cancel()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, PATIENCE_S)

    assert open_descriptors() == before


async def test_unreadable_object_fails_its_integrity(
    archive: DirectoryArchive, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sector that can't be read back asks for another name, not for patience."""
    await archive.create(NAME, b"data")
    monkeypatch.setattr(os, "preadv", failing(errno.EIO))

    with pytest.raises(IntegrityError):
        await archive.read_back(NAME, block_bytes=BLOCK_BYTES)


async def test_disk_that_fails_ahead_of_the_hashing_is_reported(
    archive: DirectoryArchive, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error of the read that runs ahead comes out as it is, not in a group."""
    await archive.create(NAME, bytes(5 * 1024 * 1024))
    preadv = os.preadv

    def fail_later(descriptor: int, buffers: list[memoryview], offset: int) -> int:
        if offset:
            raise OSError(errno.ESTALE, "stale")
        return preadv(descriptor, buffers, offset)

    monkeypatch.setattr(os, "preadv", fail_later)

    with pytest.raises(ArchiveUnavailableError):
        await archive.read_back(NAME, block_bytes=BLOCK_BYTES)


async def test_object_that_ends_early_fails_its_integrity(
    archive: DirectoryArchive, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A read-back that does not get as many bytes as the file has proves nothing."""
    await archive.create(NAME, b"data")
    monkeypatch.setattr(os, "preadv", lambda *_: 0)

    with pytest.raises(IntegrityError):
        await archive.read_back(NAME, block_bytes=BLOCK_BYTES)


async def test_read_back_goes_past_the_page_cache(
    archive: DirectoryArchive, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cached pages are dropped and, where the file system can, reads are direct."""
    data = os.urandom(3 * BLOCK_BYTES + 5)
    await archive.create(NAME, data)
    asked: list[str] = []
    advise, control = os.posix_fadvise, fcntl.fcntl

    def advised(descriptor: int, offset: int, length: int, advice: int) -> None:
        asked.append("drop" if advice == os.POSIX_FADV_DONTNEED else "other")
        advise(descriptor, offset, length, advice)

    def controlled(descriptor: int, command: int, value: int) -> int:
        asked.append("direct" if value & os.O_DIRECT else "cached")
        return control(descriptor, command, value)

    monkeypatch.setattr(os, "posix_fadvise", advised)
    monkeypatch.setattr(fcntl, "fcntl", controlled)
    back = await archive.read_back(NAME, block_bytes=BLOCK_BYTES)

    assert back.size_bytes == len(data)
    assert asked[:2] == ["drop", "direct"]


@pytest.mark.parametrize("refusal", ["at open", "at read"])
async def test_file_system_without_direct_reads_is_read_anyway(
    archive: DirectoryArchive, monkeypatch: pytest.MonkeyPatch, refusal: str
) -> None:
    """Where direct reads are refused, the file is read as usual and the result is the same."""
    await archive.create(NAME, os.urandom(3 * BLOCK_BYTES + 5))
    expected = await archive.read_back(NAME, block_bytes=BLOCK_BYTES)
    control, preadv = fcntl.fcntl, os.preadv
    flags: list[int] = []

    def controlled(descriptor: int, command: int, value: int) -> int:
        if value and refusal == "at open":
            raise OSError(errno.EINVAL, "no direct reads")
        flags.append(value)
        return 0 if value else control(descriptor, command, value)

    def refuse_direct(descriptor: int, buffers: list[memoryview], offset: int) -> int:
        if flags[-1:] == [os.O_DIRECT]:
            raise OSError(errno.EINVAL, "not aligned")
        return preadv(descriptor, buffers, offset)

    monkeypatch.setattr(fcntl, "fcntl", controlled)
    monkeypatch.setattr(os, "preadv", refuse_direct)

    assert await archive.read_back(NAME, block_bytes=BLOCK_BYTES) == expected


async def test_where_the_system_has_no_direct_reads_the_cache_is_turned_off(
    archive: DirectoryArchive, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On macOS the file is read with its caching off."""
    await archive.create(NAME, b"data")
    commands: list[tuple[int, int]] = []

    def controlled(_: int, command: int, value: int) -> int:
        commands.append((command, value))
        return 0

    monkeypatch.setattr(fcntl, "F_NOCACHE", 48, raising=False)
    monkeypatch.setattr(fcntl, "fcntl", controlled)
    monkeypatch.delattr(os, "posix_fadvise")
    back = await archive.read_back(NAME, block_bytes=BLOCK_BYTES)

    assert back.size_bytes == 4
    assert commands == [(48, 1)]
