"""An inbox in memory; the contract suite holds it to handlers.inbox.InboxQueue."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace

from worker.errors import QueueUnavailableError
from worker.model import ReceivedMessage
from worker.ports import Clock


@dataclass(slots=True, kw_only=True)
class _Kept:
    message: ReceivedMessage
    visible_at: float


class MemoryInbox:
    """`failing` names the calls that fail now; `calls` are those made so far."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._kept: dict[str, _Kept] = {}
        self._numbers = itertools.count(1)
        self.poisoned: list[str] = []
        self.failing: set[str] = set()
        self.calls: list[str] = []

    @property
    def texts(self) -> list[str]:
        """What is in it, hidden or not."""
        return [kept.message.text for kept in self._kept.values()]

    async def send(self, text: str) -> None:
        number = str(next(self._numbers))
        message = ReceivedMessage(id=number, receipt="", text=text, times=0)
        self._kept[number] = _Kept(message=message, visible_at=self._clock.monotonic())

    async def receive(
        self, count: int, *, hide_seconds: int
    ) -> Sequence[ReceivedMessage]:
        self._called("receive")
        now = self._clock.monotonic()
        due = [kept for kept in self._kept.values() if kept.visible_at <= now]
        for kept in due[:count]:
            kept.visible_at = now + hide_seconds
            kept.message = replace(
                kept.message,
                receipt=f"receipt-{next(self._numbers)}",
                times=kept.message.times + 1,
            )
        return [kept.message for kept in due[:count]]

    async def hide(self, message: ReceivedMessage, *, seconds: int) -> None:
        self._called("hide")
        if self._is_ours(message):
            self._kept[message.id].visible_at = self._clock.monotonic() + seconds

    async def delete(self, message: ReceivedMessage) -> None:
        self._called("delete")
        if self._is_ours(message):
            del self._kept[message.id]

    async def poison(self, text: str) -> None:
        self._called("poison")
        self.poisoned.append(text)

    def _is_ours(self, message: ReceivedMessage) -> bool:
        kept = self._kept.get(message.id)
        return kept is not None and kept.message.receipt == message.receipt

    def _called(self, call: str) -> None:
        self.calls.append(call)
        if call in self.failing:
            raise QueueUnavailableError(f"no {call} now")
