"""Pausing all work, and having it go on."""

from dataclasses import dataclass
from datetime import datetime

from worker import __version__, names, pauses
from worker.errors import AlreadyExistsError
from worker.ports import Archive
from worker.stored import Control, encode


@dataclass(frozen=True, slots=True, kw_only=True)
class PauseReport:
    """What is so now; JSON fields of `pause --json` and `resume --json`: additions only."""

    paused: bool
    changed: bool
    """Whether it was this command that made it so, or would."""
    since: datetime | None
    by: str | None
    reason: str | None
    dry_run: bool


async def set_paused(
    archive: Archive,
    *,
    paused: bool,
    reason: str,
    by: str,
    at: datetime,
    dry_run: bool,
) -> PauseReport:
    """Say that work is paused, or goes on; whoever says what is so already changes nothing.

    Of several who say it at once one is first, and the others find it so.
    """
    wanted = Control(
        worker_version=__version__, paused=paused, reason=reason, at=at, by=by
    )
    while True:
        known = await pauses.latest(archive)
        if bool(known.pause) is paused:
            return _report(known.control, paused=paused, changed=False, dry_run=dry_run)
        if not dry_run:
            try:
                name = names.control_name(known.number + 1)
                await archive.create(name, encode(wanted))
            except AlreadyExistsError:
                continue
        return _report(wanted, paused=paused, changed=True, dry_run=dry_run)


def _report(
    control: Control | None, *, paused: bool, changed: bool, dry_run: bool
) -> PauseReport:
    return PauseReport(
        paused=paused,
        changed=changed,
        since=control.at if control else None,
        by=control.by if control else None,
        reason=control.reason if control else None,
        dry_run=dry_run,
    )
