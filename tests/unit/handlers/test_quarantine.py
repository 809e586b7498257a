"""Quarantine keeps bodies for replay, within bounds."""

import asyncio

import pytest

from handlers.quarantine import Quarantine, QuarantineFullError
from tests.fakes.archive import MemoryArchive
from tests.fakes.clock import START, ManualClock
from worker import names
from worker.errors import ArchiveFullError, ArchiveUnavailableError


def name_of(body: bytes) -> str:
    """Where a body that came at START lies."""
    return names.quarantine_name(body, START)


@pytest.fixture
def clock() -> ManualClock:
    """Time that the test drives."""
    return ManualClock()


@pytest.fixture
def archive(clock: ManualClock) -> MemoryArchive:
    """An empty archive."""
    return MemoryArchive(clock=clock)


async def test_put_keeps_the_body_and_why(
    archive: MemoryArchive, clock: ManualClock
) -> None:
    """The body lies byte for byte under its name, the reason beside it."""
    name = await Quarantine(archive, clock).put(b"\xffbad", "not UTF-8", START)

    reason = name.removesuffix(".json") + ".reason.txt"
    assert name == name_of(b"\xffbad")
    assert archive.objects == {name: b"\xffbad", reason: b"not UTF-8\n"}


async def test_put_keeps_the_same_body_once(
    archive: MemoryArchive, clock: ManualClock
) -> None:
    """The same body again is fine and changes nothing, in another process too."""
    await Quarantine(archive, clock).put(b"bad", "first", START)
    before = dict(archive.objects)

    again = await Quarantine(archive, clock).put(b"bad", "second", START)

    assert again == name_of(b"bad")
    assert archive.objects == before


async def test_put_after_a_crash_adds_the_reason(
    archive: MemoryArchive, clock: ManualClock
) -> None:
    """A body whose reason was not written gets it when it comes again."""
    archive.fail_next(ArchiveUnavailableError(), on="create", matching="reason")
    quarantine = Quarantine(archive, clock)
    with pytest.raises(ArchiveUnavailableError):
        await quarantine.put(b"bad", "why", START)

    await quarantine.put(b"bad", "why", START)

    assert len(archive.objects) == 2


async def test_put_raises_what_the_archive_raises(
    archive: MemoryArchive, clock: ManualClock
) -> None:
    """Trouble of the archive is not hidden, and a body that failed takes no room."""
    archive.fail_next(ArchiveFullError(), on="create")
    quarantine = Quarantine(archive, clock, most_items=1)

    with pytest.raises(ArchiveFullError):
        await quarantine.put(b"bad", "why", START)

    assert await quarantine.put(b"other", "why", START) == name_of(b"other")


async def test_put_refuses_more_bodies_than_allowed(
    archive: MemoryArchive, clock: ManualClock
) -> None:
    """Full by number: a new body is refused, a known one is not."""
    quarantine = Quarantine(archive, clock, most_items=2)
    for body in (b"1", b"2"):
        await quarantine.put(body, "why", START)

    with pytest.raises(QuarantineFullError):
        await quarantine.put(b"3", "why", START)

    assert await quarantine.put(b"2", "why", START) == name_of(b"2")
    assert name_of(b"3") not in archive.objects


async def test_put_refuses_more_bytes_than_allowed(
    archive: MemoryArchive, clock: ManualClock
) -> None:
    """Full by bytes: what fits exactly is taken, one byte more is not."""
    quarantine = Quarantine(archive, clock, most_bytes=10)
    await quarantine.put(b"12345", "why", START)

    with pytest.raises(QuarantineFullError):
        await quarantine.put(b"123456", "why", START)

    await quarantine.put(b"54321", "why", START)


@pytest.mark.parametrize("bounds", [{"most_items": 2}, {"most_bytes": 6}])
async def test_put_counts_what_is_there(
    archive: MemoryArchive, clock: ManualClock, bounds: dict[str, int]
) -> None:
    """A new process counts what others left, by number and by bytes, and bodies only."""
    for body in (b"one", b"two"):
        await Quarantine(archive, clock).put(body, "why", START)

    with pytest.raises(QuarantineFullError, match="2 bodies in quarantine, 6 bytes"):
        await Quarantine(archive, clock, **bounds).put(b"three", "why", START)


async def test_put_counts_only_once(archive: MemoryArchive, clock: ManualClock) -> None:
    """While there is room the archive is listed at the first use and not again."""
    quarantine = Quarantine(archive, clock)
    clock.advance(3600)
    for body in (b"1", b"2", b"3"):
        await quarantine.put(body, "why", START)

    assert [call for call, _ in archive.calls].count("list") == 1


async def test_put_has_room_again_when_an_operator_made_some(
    archive: MemoryArchive, clock: ManualClock
) -> None:
    """Full is counted anew after a minute, so that no restart is needed."""
    quarantine = Quarantine(archive, clock, most_items=1)
    await quarantine.put(b"old", "why", START)
    archive.lose(name_of(b"old"))
    with pytest.raises(QuarantineFullError):
        await quarantine.put(b"new", "why", START)

    clock.advance(60)

    assert await quarantine.put(b"new", "why", START) == name_of(b"new")


async def test_put_at_once_stays_within_bounds(
    archive: MemoryArchive, clock: ManualClock
) -> None:
    """Bodies that come together don't all take the last place."""
    quarantine = Quarantine(archive, clock, most_items=1)
    puts = [asyncio.create_task(quarantine.put(b"%d" % i, "", START)) for i in range(5)]
    await asyncio.wait(puts)

    refused = [put for put in puts if isinstance(put.exception(), QuarantineFullError)]
    assert len(refused) == 4
