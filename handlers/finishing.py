"""Deliveries at work: what was begun is finished, though nobody waits for the answer.

The rule: half a put is worse than a late one. Cut off at the end of the time budget, a batch
that the storage is slow with would start over at every retry and never be done; finished
late, it is known by the next one.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

LATE_SECONDS = 120.0
"""How long one may go on after that; its turn is needed again."""
T = TypeVar("T")


class Finishing:
    """Runs work that outlives whoever waits for it."""

    def __init__(self, late_seconds: float = LATE_SECONDS) -> None:
        self._late_seconds = late_seconds
        self._tasks: set[asyncio.Task[Any]] = set()

    async def run(self, work: Coroutine[Any, Any, T], *, then: Callable[[], None]) -> T:
        """Wait for `work`; cancelled, it goes on for `late_seconds`. In the end call `then`."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        # Not in the work: cancelled before its first step it would never get there.
        task.add_done_callback(lambda _: then())
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            asyncio.get_running_loop().call_later(self._late_seconds, task.cancel)
            raise

    async def finish(self, within_seconds: float) -> None:
        """Wait for all that is at work, then cancel what is left."""
        if self._tasks and within_seconds > 0:
            await asyncio.wait(self._tasks, timeout=within_seconds)
        left = list(self._tasks)
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
