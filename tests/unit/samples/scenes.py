"""A dispatcher on a test's clock, a scripted endpoint, and a container: a day in a moment."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from random import Random
from typing import Any

from samples.grid.conduct import Conduct
from samples.grid.dispatcher import Dispatcher
from samples.grid.messages import JsonObject
from samples.grid.pending import (
    Happening,
)
from samples.grid.sending import Late
from samples.grid.subscription import Subscription
from samples.grid.verdicts import (
    Outcome,
    Verdict,
    verdict_of,
)
from tests.fakes.clock import START, ManualClock
from tests.grid import a_subscription, an_event

SECOND, MINUTE, HOUR = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)
STEADY: dict[str, Any] = {"jitter": 0.0, "delayed_after": 1_000_000}
"""No chance and no delay in the schedule."""


@dataclass(slots=True, kw_only=True)
class ScriptedGrid:
    """Answers as it is told, the last answer for ever; notes each delivery."""

    subscription: Subscription
    clock: ManualClock
    answers: list[int | Verdict]
    sent: list[tuple[datetime, list[str], int]] = field(default_factory=list)

    async def deliver(
        self,
        events: Sequence[JsonObject],
        *,
        delivery_count: int = 0,
        late: Late | None = None,
    ) -> Outcome:
        assert late is not None
        ids = [str(event["id"]) for event in events]
        self.sent.append((self.clock.now(), ids, delivery_count))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Verdict):
            return Outcome(status=None, seen="no answer", verdict=answer)
        return Outcome(status=answer, seen="answered", verdict=verdict_of(answer))


class MemoryContainer:
    """Blobs by name; away when told so."""

    def __init__(self) -> None:
        self.blobs: dict[str, Any] = {}
        self.tries = 0
        self.is_away = False

    async def put(self, name: str, body: bytes) -> None:
        self.tries += 1
        if self.is_away:
            raise OSError("away")
        self.blobs[name] = json.loads(body)

    @property
    def letters(self) -> list[dict[str, Any]]:
        return [letter for blob in self.blobs.values() for letter in blob]


@dataclass(slots=True, kw_only=True)
class Scene:
    """A dispatcher on a test's clock, and all around it."""

    grid: ScriptedGrid
    clock: ManualClock
    container: MemoryContainer
    dispatcher: Dispatcher
    told: list[Happening]

    def offsets(self) -> list[timedelta]:
        """When each delivery was sent, from the start."""
        return [at - START for at, _, _ in self.grid.sent]

    def heard(self, kind: type) -> list[Any]:
        return [each for each in self.told if isinstance(each, kind)]

    async def publish(self, *numbers: int) -> None:
        self.dispatcher.publish(an_event(number) for number in numbers)
        await self.dispatcher.run()


def a_scene(
    *answers: int | Verdict,
    conduct: dict[str, Any] | None = None,
    has_container: bool = True,
    shape: Any = None,
    **subscription: Any,
) -> Scene:
    clock = ManualClock(auto=True)
    container = MemoryContainer()
    told: list[Happening] = []
    grid = ScriptedGrid(
        subscription=a_subscription(**subscription),
        clock=clock,
        answers=list(answers) or [200],
    )
    dispatcher = Dispatcher(
        grid,
        clock=clock,
        container=container if has_container else None,
        conduct=Conduct(**STEADY | (conduct or {})),
        shape=shape,
        tell=told.append,
    )
    return Scene(
        grid=grid, clock=clock, container=container, dispatcher=dispatcher, told=told
    )


def chance(seed: int) -> Random:
    return Random(seed)  # noqa: S311 - a test's dice


def sums(*steps: timedelta) -> list[timedelta]:
    return [sum(steps[:count], timedelta()) for count in range(len(steps) + 1)]


SCHEDULE = sums(
    10 * SECOND,
    30 * SECOND,
    MINUTE,
    5 * MINUTE,
    10 * MINUTE,
    30 * MINUTE,
    HOUR,
    3 * HOUR,
    6 * HOUR,
    12 * HOUR,
)
