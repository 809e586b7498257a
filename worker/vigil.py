"""Whether work is due that a consumer with free slots is not given."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Protocol

from worker.ports import Clock

VAIN_SECONDS = 300.0
"""A consumer that was given nothing for so long asks whether anything is due,"""
AGAIN_SECONDS = 60.0
"""and then as often as this: a Storage Queue bills for each question."""


class DueQueue(Protocol):
    """What a vigil needs of a queue."""

    async def first_due(self, *, paused: Collection[str] = ()) -> str | None: ...


@dataclass(slots=True)
class Vigil:
    """Of one loop. It believes the second answer, if it names the same chunk: what another
    worker is about to take is due as well, and where chunks trickle in some always is.
    """

    is_overlooking: bool = False
    _since_s: float | None = None
    """When it was first given nothing, or last asked."""
    _is_asking: bool = False
    _was_due: str | None = None

    def over(self) -> None:
        """It was given something, or wanted nothing."""
        self.is_overlooking = self._is_asking = False
        self._since_s = self._was_due = None

    async def in_vain(
        self, queue: DueQueue, clock: Clock, *, paused: Collection[str]
    ) -> None:
        """It wanted something, and was given nothing. Raises QueueUnavailableError."""
        now_s = clock.monotonic()
        if self._since_s is None:
            self._since_s = now_s
        if now_s - self._since_s < (AGAIN_SECONDS if self._is_asking else VAIN_SECONDS):
            return
        self._since_s, self._is_asking = now_s, True
        due = await queue.first_due(paused=paused)
        self.is_overlooking = due is not None and due == self._was_due
        self._was_due = due
