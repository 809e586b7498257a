"""What operators said of all work, as a worker follows it."""

from datetime import timedelta

import pytest
from structlog.testing import capture_logs

from tests.fakes.archive import MemoryArchive
from tests.fakes.clock import START, ManualClock
from worker import names, pauses
from worker.errors import ArchiveForbiddenError, ArchiveUnavailableError
from worker.pauses import FULL_LOOK_SECONDS, Latest, Pauses
from worker.stored import Control, encode


@pytest.fixture
def archive() -> MemoryArchive:
    return MemoryArchive()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


def control(*, paused: bool, reason: str = "storage is moved") -> Control:
    return Control(
        worker_version="1", paused=paused, reason=reason, at=START, by="operator"
    )


async def say(archive: MemoryArchive, number: int, *, paused: bool) -> None:
    await archive.create(names.control_name(number), encode(control(paused=paused)))


async def test_nobody_ever_paused(archive: MemoryArchive) -> None:
    """The usual case."""
    assert await pauses.latest(archive) == Latest()
    assert Latest().pause is None


async def test_highest_number_counts(archive: MemoryArchive) -> None:
    """By number, not by name or time; files of others are passed by."""
    await say(archive, 1, paused=True)
    await say(archive, 2, paused=False)
    await archive.create("control/readme.txt", b"")
    assert (await pauses.latest(archive)).pause is None

    await say(archive, 3, paused=True)

    found = await pauses.latest(archive)
    assert (found.number, found.pause) == (3, control(paused=True))


@pytest.mark.parametrize("damage", [b"", b"{", b'{"v": 1}'])
async def test_damaged_one_says_nothing(archive: MemoryArchive, damage: bytes) -> None:
    """What was said before it goes on, and what comes behind it counts."""
    await say(archive, 1, paused=True)
    await archive.create(names.control_name(2), damage)
    found = await pauses.latest(archive)
    assert (found.number, found.pause is not None) == (2, True)
    first = Latest(number=1, control=control(paused=True))
    assert (await pauses.behind(archive, first)).number == 2

    await say(archive, 3, paused=False)

    assert (await pauses.behind(archive, first)).pause is None


async def test_only_damaged_ones_say_nothing(archive: MemoryArchive) -> None:
    """Work goes on, and their numbers are taken."""
    await archive.create(names.control_name(1), b"{")

    assert await pauses.latest(archive) == Latest(number=1)


async def test_worker_follows_and_tells_each_change_once(
    archive: MemoryArchive, clock: ManualClock
) -> None:
    """Who, why and since when; how long it was."""
    following = Pauses(archive=archive, clock=clock)
    with capture_logs() as logs:
        assert not await following.is_paused()
        await say(archive, 1, paused=True)
        clock.advance(1)
        assert await following.is_paused()
        clock.advance(1)
        assert await following.is_paused()
        await say(archive, 2, paused=False)
        clock.advance(58)
        assert not await following.is_paused()

    assert logs == [
        {
            "event": "consumer.paused",
            "log_level": "warning",
            "scope": "operator",
            "reason": "storage is moved",
            "by": "operator",
            "since": START.isoformat(),
        },
        {
            "event": "consumer.resumed",
            "log_level": "info",
            "scope": "operator",
            "after_s": 60.0,
        },
    ]


async def test_worker_that_starts_in_a_pause_tells_it(
    archive: MemoryArchive, clock: ManualClock
) -> None:
    """Whoever restarts it must see why nothing happens."""
    await say(archive, 1, paused=True)

    with capture_logs() as logs:
        assert await Pauses(archive=archive, clock=clock).is_paused()

    assert [line["event"] for line in logs] == ["consumer.paused"]


async def test_one_look_counts_for_a_while_and_costs_one_read(
    archive: MemoryArchive, clock: ManualClock
) -> None:
    """A busy loop asks at every turn."""
    await say(archive, 1, paused=True)
    following = Pauses(archive=archive, clock=clock, look_seconds=10)
    await following.is_paused()
    archive.calls.clear()

    for _ in range(9):
        clock.advance(1)
        assert await following.is_paused()
    assert archive.calls == []
    clock.advance(1)
    await following.is_paused()

    assert archive.calls == [("read", "control/000002.json")]


@pytest.mark.parametrize("paused", [True, False])
async def test_worker_follows_when_old_documents_have_left_the_archive(
    archive: MemoryArchive, clock: ManualClock, *, paused: bool
) -> None:
    """By the container's rules: a pause must not go on for a worker that saw it, nor may one
    that begins anew at the first number be missed.
    """
    await say(archive, 1, paused=False)
    await say(archive, 2, paused=not paused)
    following = Pauses(archive=archive, clock=clock)
    assert await following.is_paused() is not paused
    archive.lose(names.control_name(1))
    archive.lose(names.control_name(2))
    if paused:
        await say(archive, 1, paused=True)

    clock.advance(FULL_LOOK_SECONDS)

    assert await following.is_paused() is paused


@pytest.mark.parametrize("kind", [ArchiveUnavailableError, ArchiveForbiddenError])
@pytest.mark.parametrize("paused", [True, False])
async def test_archive_in_trouble_changes_nothing(
    archive: MemoryArchive, clock: ManualClock, kind: type[Exception], *, paused: bool
) -> None:
    """A pause neither begins nor ends by that."""
    await say(archive, 1, paused=paused)
    following = Pauses(archive=archive, clock=clock)
    await following.is_paused()
    await say(archive, 2, paused=not paused)
    archive.fail_next(kind("away"), on="read")
    clock.advance(1)

    assert await following.is_paused() is paused

    clock.advance(1)
    assert await following.is_paused() is not paused


async def test_what_only_a_newer_worker_can_read_changes_nothing(
    archive: MemoryArchive, clock: ManualClock
) -> None:
    """It may say anything."""
    await say(archive, 1, paused=True)
    following = Pauses(archive=archive, clock=clock)
    await following.is_paused()
    await archive.create(names.control_name(2), b'{"v": 2}')
    clock.advance(timedelta(seconds=5).total_seconds())

    assert await following.is_paused()
