"""A long list of recordings, made by several processes where a processor is the limit.

From a directory, one process reads and decodes a few thousand manifests a second, whatever
the disk could give. Each day goes to one of them, and what comes back is what is printed.
A store that is asked over a network would be no faster for it (ADR 19).
"""

import asyncio
import os
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, aclosing
from dataclasses import dataclass
from typing import Generic, TypeVar

from worker import names
from worker.abilities import FolderListing
from worker.ops import finding
from worker.ops.ahead import ahead
from worker.ops.recording_rows import RecordingRow
from worker.ops.recordings import recordings_list
from worker.ports import Archive

T = TypeVar("T")
ALONE = 2000
"""So many take less time than a process needs to start."""
MOST = 8
"""Processes: whoever prints keeps up with no more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing(Generic[T]):
    """What is asked for. Other processes get it pickled: functions must be importable.

    `show` makes of a row what is printed, or None of one that is left out. `day` and `call`
    are as in recordings_list.
    """

    opened: Callable[[], AbstractAsyncContextManager[Archive]]
    show: Callable[[RecordingRow], T | None]
    day: str = ""
    call: str = ""

    async def of(self, archive: Archive, day: str) -> AsyncIterator[T | None]:
        """One day, month or year, in the order of names."""
        async for row in recordings_list(archive, day=day, call=self.call):
            yield self.show(row)

    def shown(self, day: str) -> list[T]:
        """The same whole, in a process that has nothing else to do."""

        async def look() -> list[T]:
            async with self.opened() as archive:
                every = self.of(archive, day)
                return [shown async for shown in every if shown is not None]

        return asyncio.run(look())


async def in_order(listing: Listing[T]) -> AsyncGenerator[T, None]:
    """All of it; holds what is shown of a few days.

    Looks itself until it saw ALONE recordings: most archives have no more. Then a process
    for each processor does.
    """
    at_once = min(_processors(), MOST)
    async with listing.opened() as archive:
        days = await _days(archive, listing.day) if at_once > 1 else [listing.day]
        seen = done = 0
        for day in days:
            if seen >= ALONE:
                break
            async for shown in listing.of(archive, day):
                seen += 1
                if shown is not None:
                    yield shown
            done += 1
        if rest := days[done:]:
            async with aclosing(
                _elsewhere(listing, archive, rest, at_once=at_once)
            ) as every:
                async for shown in every:
                    yield shown


def _processors() -> int:
    """Those that this process may run on: in a container perhaps one of many (`--cpuset-cpus`)."""
    return (
        len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    )


async def _days(archive: Archive, day: str) -> Sequence[str]:
    if not isinstance(archive, FolderListing):
        return [day]
    return [day async for day in finding.days(archive, day)]


async def _elsewhere(
    listing: Listing[T], archive: Archive, days: Sequence[str], *, at_once: int
) -> AsyncGenerator[T, None]:
    # Start-up cost: few lists are so long.
    from anyio import BrokenWorkerProcess, CapacityLimiter, to_process

    limiter = CapacityLimiter(at_once)

    async def look(day: str) -> list[T]:
        try:
            return await to_process.run_sync(
                listing.shown, day, cancellable=True, limiter=limiter
            )
        except (BrokenWorkerProcess, OSError):
            # Ended from outside, or none may be started: slower, and nothing is missing.
            return await asyncio.to_thread(listing.shown, day)

    # They begin by `python -m`: nothing is for them in the folder where the command is typed.
    os.environ["PYTHONSAFEPATH"] = "1"
    # Twice as many as there are processes: none waits for what is printed.
    async with aclosing(ahead(days, look, most=2 * at_once)) as every:
        async for _, found in every:
            # Each opened what is there now: of a disk that is gone, an empty folder.
            await archive.stat(names.RECORDINGS.rstrip("/"))
            for shown in found:
                yield shown
