"""Connections to the public endpoint: how many, how long, and who gives way to whom.

The rule: a new connection always gets in, and no stranger can keep a delivery out. When all
places are taken, the connection that is worth least and has been so for longest is closed:
one whose sender nobody knows yet before one whose delivery is coming, and never one whose
delivery is at work, of which there are always fewer than places. Addresses say nothing:
behind a front end all connections come from the same one.
"""

import asyncio
from collections import Counter
from collections.abc import Callable
from enum import IntEnum, StrEnum
from typing import Protocol

import structlog

from worker.ports import Clock

log: structlog.typing.FilteringBoundLogger = structlog.get_logger(__name__)


class Stage(IntEnum):
    """What a connection is there for at the moment; the lowest gives way first."""

    ANSWERED = 0
    """The rest of a body is thrown away that nobody wanted."""
    WAITING = 1
    """No request is complete, and none so far was ours."""
    IDLE = 2
    """No request is complete, and the last one was ours."""
    UNKNOWN = 3
    """A request whose sender is not known yet."""
    SENDING = 4
    """A delivery whose body is still coming."""
    AT_WORK = 5


class Closed(StrEnum):
    """Why a connection was closed by us without a request."""

    SLOW_HEAD = "slow-head"
    LONG_HEAD = "long-head"
    CROWDED_OUT = "crowded-out"
    UNREAD = "unread"
    """Its sender asks and asks, and takes no answer."""


class Place(Protocol):
    """What the table needs to know of a connection."""

    stage: Stage

    def check(self, now: float) -> None:
        """Give up what has taken too long."""
        ...

    def turn_out(self) -> None:
        """Close it at once; what is under way fails as if the sender had gone away.

        Afterwards it takes up nothing, whether or not its sender goes along with that.
        """
        ...


class ConnectionTable:
    """All open connections by stage, and in it by how long they have been in it.

    `taken_in`: how many there ever were; `closed`: by us and without a request, by reason.
    """

    def __init__(self, most: int) -> None:
        self.taken_in = 0
        self.closed: Counter[str] = Counter()
        self._most = most
        self._stages: dict[Stage, dict[Place, None]] = {stage: {} for stage in Stage}
        self._unsaid: Counter[str] = Counter()

    def __len__(self) -> int:
        return sum(map(len, self._stages.values()))

    def count(self, stage: Stage) -> int:
        """How many are in this stage."""
        return len(self._stages[stage])

    def add(self, place: Place) -> None:
        """Take a new one in; if there is no room, another gives way."""
        if len(self) >= self._most and (other := self._least()) is not None:
            self.turn_out(other, Closed.CROWDED_OUT)
        self.taken_in += 1
        self._stages[place.stage][place] = None

    def move(self, place: Place, stage: Stage) -> None:
        """Put it into another stage; one that is closed already stays out."""
        if self._stages[place.stage].pop(place, place) is None:
            self._stages[stage][place] = None
        place.stage = stage

    def discard(self, place: Place) -> None:
        """Forget one that is closed."""
        self._stages[place.stage].pop(place, None)

    def turn_out(self, place: Place, why: Closed) -> None:
        """Close it, count it, forget it."""
        self.discard(place)
        self.closed[why.value] += 1
        self._unsaid[why.value] += 1
        place.turn_out()

    def sweep(self, now: float) -> None:
        """Give up what takes too long, and say how many were closed since the last time."""
        for place in [place for stage in self._stages.values() for place in stage]:
            place.check(now)
        for why, closed in self._unsaid.items():
            log.warning("connections.closed", reason=why, closed=closed, open=len(self))
        self._unsaid.clear()

    def _least(self) -> Place | None:
        for stage in Stage:
            if stage is not Stage.AT_WORK and self._stages[stage]:
                return next(iter(self._stages[stage]))
        return None


async def keep_sweeping(
    sweep: Callable[[float], None], clock: Clock, *, every: float
) -> None:
    """Sweep until cancelled: one task for all connections, not a timer for each."""
    loop = asyncio.get_running_loop()
    while True:
        await clock.sleep(every)
        try:
            sweep(loop.time())
        except Exception as error:
            log.error("connections.unswept", exc_info=error)
