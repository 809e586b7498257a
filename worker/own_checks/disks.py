"""Where archive and queue lie on this machine: the file system, room, and who may write."""

import asyncio
import os
import stat
from collections.abc import Sequence
from pathlib import Path

from worker import filesystems
from worker.ops.doctor import Finding, failed, noted, passed, skipped
from worker.own_checks.deployment import Deployment

MIB = 1024 * 1024
QUEUE_RESERVE_MIB = 64
"""What a queue's file and its log should always find."""
SOON = 4
"""So many times the reserve, and it is worth a look."""


async def archive_disk(deployment: Deployment) -> Sequence[Finding]:
    """The disk of an archive in a directory."""
    settings = deployment.settings
    if settings.archive_place:
        return []
    return await asyncio.to_thread(
        _look,
        "disk of archive",
        settings.archive_directory,
        reserve_mib=settings.archive_reserve_mib,
        is_real=settings.is_source_real,
    )


async def queue_disk(deployment: Deployment) -> Sequence[Finding]:
    """The disk of a queue in a file."""
    settings = deployment.settings
    if settings.queue_place:
        return []
    return await asyncio.to_thread(
        _look,
        "disk of queue",
        settings.queue_file.parent,
        reserve_mib=QUEUE_RESERVE_MIB,
        is_real=settings.is_source_real,
    )


def _look(
    check: str, folder: Path, *, reserve_mib: int, is_real: bool
) -> Sequence[Finding]:
    folder = folder.absolute()
    there = next(each for each in (folder, *folder.parents) if each.is_dir())
    kind = _kind_of(check, there, is_real=is_real)
    return [kind, _room_of(check, there, reserve_mib), *_openness(check, folder)]


def _kind_of(check: str, folder: Path, *, is_real: bool) -> Finding:
    mounts = filesystems.read_mountinfo()
    why = filesystems.why_unsafe(folder, mounts)
    if why is None:
        kind = filesystems.kind_at(folder.resolve(), mounts)
        if kind is None:
            return skipped(check, "this system does not tell on what it lies")
        return passed(check, f"on {kind}")
    told = failed if is_real else noted
    return told(check, why, f"df -T {folder}")


def _room_of(check: str, folder: Path, reserve_mib: int) -> Finding:
    status = os.statvfs(folder)
    free_mib = status.f_bavail * status.f_frsize // MIB
    seen = f"{free_mib} MiB free, {reserve_mib} of them in reserve"
    if free_mib <= reserve_mib:
        means = "nothing more is taken in"
        return failed(check, seen, f"df -h {folder}", means=means)
    if free_mib <= SOON * reserve_mib:
        return noted(check, seen, f"df -h {folder}")
    return passed(check, seen)


def _openness(check: str, folder: Path) -> list[Finding]:
    """Everybody on a machine may write to what has that bit, and no proof outlasts it."""
    if not folder.is_dir() or not folder.stat().st_mode & stat.S_IWOTH:
        return []
    seen = "everybody on this machine may write there"
    return [failed(check, seen, f"chmod o-w {folder}")]
