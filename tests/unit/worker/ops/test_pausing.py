"""Pausing all work, and having it go on."""

import asyncio

from tests.fakes.archive import MemoryArchive
from tests.fakes.clock import START
from worker import pauses
from worker.ops.pausing import PauseReport, set_paused


async def say(
    archive: MemoryArchive, *, paused: bool, by: str = "ann", dry_run: bool = False
) -> PauseReport:
    return await set_paused(
        archive, paused=paused, reason=f"of {by}", by=by, at=START, dry_run=dry_run
    )


async def test_pause_and_resume_are_kept_with_who_and_why() -> None:
    """Each is a document of its own; nothing is edited."""
    archive = MemoryArchive()

    paused = await say(archive, paused=True)
    resumed = await say(archive, paused=False, by="bob")

    assert paused == PauseReport(
        paused=True, changed=True, since=START, by="ann", reason="of ann", dry_run=False
    )
    assert (resumed.paused, resumed.changed, resumed.by) == (False, True, "bob")
    assert sorted(archive.objects) == ["control/000001.json", "control/000002.json"]
    assert (await pauses.latest(archive)).pause is None


async def test_what_is_so_already_is_told_and_not_said_again() -> None:
    """Run again after a kill it is done; the first who said it counts."""
    archive = MemoryArchive()
    await say(archive, paused=True)

    again = await say(archive, paused=True, by="bob")

    assert (again.changed, again.by, again.reason) == (False, "ann", "of ann")
    assert len(archive.objects) == 1
    never = await say(MemoryArchive(), paused=False)
    assert (never.changed, never.since, never.by) == (False, None, None)


async def test_dry_run_writes_nothing() -> None:
    """It says what would be so."""
    archive = MemoryArchive()

    report = await say(archive, paused=True, dry_run=True)

    assert (report.changed, report.paused, report.dry_run) == (True, True, True)
    assert archive.objects == {}


async def test_of_several_at_once_one_is_first() -> None:
    """The others find it so."""
    archive = MemoryArchive()

    reports = await asyncio.gather(
        *(say(archive, paused=True, by=f"o{n}") for n in range(5))
    )

    assert [report.changed for report in reports].count(True) == 1
    assert len({report.by for report in reports}) == 1
    assert len(archive.objects) == 1
