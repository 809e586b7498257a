"""Deliveries at work: what was begun is finished, though nobody waits for the answer.

The rule: half a put is worse than a late one. Cut off at the end of the time budget, a batch
that the storage is slow with would start over at every retry and never be done; finished
late, it is known by the next one.
"""

import asyncio
from typing import Any, cast


class AtWork:
    """The tasks that are at work, and since when by the clock of the loop."""

    def __init__(self, most_seconds: float) -> None:
        self._most_seconds = most_seconds
        self._since: dict[asyncio.Task[Any], float] = {}

    def __len__(self) -> int:
        return len(self._since)

    def begin(self) -> None:
        """Count the current task among them."""
        self._since[_current()] = asyncio.get_running_loop().time()

    def end(self) -> None:
        """It is done with what must not be cut."""
        del self._since[_current()]

    def sweep(self, now: float) -> None:
        """Cut what has been at work for too long: its turn is needed.

        Once, and then no sooner than as long again: it may have something to clean up.
        """
        for task, since in self._since.items():
            if now - since > self._most_seconds:
                self._since[task] = now
                task.cancel()

    async def finish(self, within_seconds: float) -> None:
        """Wait for all of them, then cut what is left."""
        if self._since and within_seconds > 0:
            await asyncio.wait(list(self._since), timeout=within_seconds)
        left = list(self._since)
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)


def _current() -> asyncio.Task[Any]:
    # Outside of a task there is no handler, and so no work.
    return cast("asyncio.Task[Any]", asyncio.current_task())
