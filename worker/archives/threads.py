"""Blocking disk work, off the event loop; a hop in progress is never abandoned."""

import asyncio
import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, ParamSpec, TypeVar

from worker.archives.disk_errors import error_from_os

P = ParamSpec("P")
T = TypeVar("T")
NICENESS = 5
"""By how much these threads stand back where processors are short: a delivery that waits for
its answer goes first. By no more, for one that has to wait may be holding the interpreter."""


class Threads:
    """A small pool of its own, so that slow disks don't starve other users of threads."""

    def __init__(self, count: int) -> None:
        self._pool = ThreadPoolExecutor(
            count, thread_name_prefix="archive", initializer=_stand_back
        )

    async def run(
        self, work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run `work` in a thread; its OSError comes out as an archive's error.

        A cancelled caller still waits for work that has begun: it uses the caller's buffer
        and descriptors, which are free again only after it.
        """
        submitted = self._pool.submit(work, *args, **kwargs)
        future = asyncio.wrap_future(submitted)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            if not submitted.cancel():
                with suppress(asyncio.CancelledError):  # raised again below
                    await outlast(future)
            raise
        except OSError as error:
            raise error_from_os(error) from error

    async def finish(self, work: Callable[[], None]) -> None:
        """Run `work`, which cleans up, even if the caller is cancelled meanwhile."""
        future = asyncio.wrap_future(self._pool.submit(work))
        await outlast(future)
        try:
            future.result()
        except OSError as error:
            raise error_from_os(error) from error

    async def close(self) -> None:
        """Wait for the threads to end."""
        await asyncio.to_thread(self._pool.shutdown)


def _stand_back() -> None:
    # Elsewhere niceness is of the whole process.
    if sys.platform == "linux":
        os.nice(NICENESS)


async def outlast(future: asyncio.Future[Any]) -> None:
    """Wait until it is done; a cancellation that comes meanwhile is raised only then."""
    cancelled: asyncio.CancelledError | None = None
    while not future.done():
        try:
            await asyncio.wait([future])
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled
