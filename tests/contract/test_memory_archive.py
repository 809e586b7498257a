"""What the archive in memory can do to a test beyond the port."""

import pytest

from tests.fakes.archive import MemoryArchive
from worker.errors import (
    AlreadyExistsError,
    ArchiveFullError,
    ArchiveUnavailableError,
)


async def test_told_failure_hits_the_named_call_once() -> None:
    """Only the operation and name that were told fail, and only as often."""
    archive = MemoryArchive()
    archive.fail_next(ArchiveFullError(), on="create", matching="receipts/")

    await archive.create("other", b"x")
    with pytest.raises(ArchiveFullError):
        await archive.create("receipts/a", b"x")
    await archive.create("receipts/a", b"x")

    assert archive.calls == [
        ("create", "other"),
        ("create", "receipts/a"),
        ("create", "receipts/a"),
    ]


async def test_late_failure_comes_after_the_effect() -> None:
    """An answer that is lost leaves the object there."""
    archive = MemoryArchive()
    archive.fail_next(ArchiveUnavailableError(), on="create", late=True)

    with pytest.raises(ArchiveUnavailableError):
        await archive.create("a", b"x")
    with pytest.raises(AlreadyExistsError):
        await archive.create("a", b"x")


async def test_late_failure_of_a_commit_leaves_the_object() -> None:
    """The same for an object made of blocks."""
    archive = MemoryArchive()
    archive.fail_next(ArchiveUnavailableError(), on="commit", late=True)

    async with archive.writer("a") as writer:
        await writer.write(0, b"x")
        with pytest.raises(ArchiveUnavailableError):
            await writer.commit(size=1)

    assert archive.objects == {"a": b"x"}


async def test_corrupted_object_differs_by_a_bit() -> None:
    """Corruption hits what is stored, or what will be."""
    archive = MemoryArchive()
    await archive.create("now", b"abc")
    archive.corrupt("now")
    archive.corrupt("later")
    await archive.create("later", b"abc")

    assert archive.objects == {"now": b"`bc", "later": b"`bc"}


async def test_lost_object_is_gone() -> None:
    """A lost object is missing to every operation."""
    archive = MemoryArchive()
    await archive.create("a", b"abc")
    archive.lose("a")

    assert await archive.read("a") is None
    assert await archive.stat("a") is None
