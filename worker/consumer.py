"""The loop: take a slot, lease a chunk, have it run. Stops by draining.

A chunk is leased only when a slot is free, so that no lease runs out waiting in memory.
"""

import asyncio
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from random import Random
from typing import Protocol

import structlog

from worker.breaker import Breaker
from worker.errors import QueueUnavailableError
from worker.model import Lane, Lease
from worker.ports import ChunkQueue, Clock
from worker.retry import SYSTEM_RANDOM
from worker.runner import Runner
from worker.settlement import LONGEST_DELAY, Release
from worker.telemetry import spans
from worker.vigil import Vigil

POLL_SECONDS = 1.0
"""How long an idle consumer sleeps at first: another process may have put something."""
TROUBLE_SECONDS = 5.0
MOST_DOUBLINGS = 10
log: structlog.typing.FilteringBoundLogger = structlog.get_logger(__name__)


class Halt(Protocol):
    """What an operator may say of all work."""

    async def is_paused(self) -> bool: ...


@dataclass(slots=True, kw_only=True)
class Outage:
    """Trouble of the queue: told when it begins, and when it is over."""

    clock: Clock
    since_s: float | None = None

    def goes_on(self, error: QueueUnavailableError) -> None:
        if self.since_s is None:
            self.since_s = self.clock.monotonic()
            log.error("queue.unavailable", error=str(error))

    def is_over(self) -> None:
        if self.since_s is not None:
            after_s = round(self.clock.monotonic() - self.since_s, 3)
            self.since_s = None
            log.info("queue.resumed", after_s=after_s)


@dataclass(slots=True)
class Pulse:
    """Signs of life, for whoever asks how the loop is."""

    turned_at: datetime | None = None
    """When it last came round: it does so every few seconds, whatever it waits for."""
    turned_s: float | None = None
    """The same by the clock that never jumps."""
    leased_at: datetime | None = None
    queue_problem: str | None = None
    """Why the queue gave nothing at the last turn, as a reason; None: it answered, or the loop
    wants nothing of it.
    """
    is_halted: bool = False
    """What an operator said, as of the last turn that asked."""
    is_draining: bool = False

    def turn(self, clock: Clock) -> None:
        self.turned_at, self.turned_s = clock.now(), clock.monotonic()


@dataclass(frozen=True, slots=True, kw_only=True)
class Consumer:
    """Works through the queue with up to `slots` chunks at once."""

    queue: ChunkQueue
    runner: Runner
    clock: Clock
    breaker: Breaker
    slots: int
    drain_seconds: float
    nudge: asyncio.Event
    """Set by whoever put something into the queue in this process."""
    cut: asyncio.Event
    """Set to cut the drain short (a second signal)."""
    halt: Halt | None = None
    """While it is on, what is in hand ends, and nothing is leased."""
    longest_poll_seconds: float = POLL_SECONDS
    """Asked in vain again and again, it sleeps twice as long each time, up to this."""
    random: Random = SYSTEM_RANDOM
    turns: Iterator[int] = field(default_factory=itertools.count)
    pulse: Pulse = field(default_factory=Pulse)
    vigil: Vigil = field(default_factory=Vigil)

    async def run(self, stopping: asyncio.Event, *, until_empty: bool = False) -> None:
        """Work until `stopping` is set (or nothing is left to do), then drain."""
        working: set[asyncio.Task[None]] = set()
        idle = 0
        outage = Outage(clock=self.clock)
        async with asyncio.TaskGroup() as group:
            while not stopping.is_set():
                self.pulse.turn(self.clock)
                self.nudge.clear()
                leases, pause = await self._lease(self.slots - len(working), outage)
                idle = 0 if leases else idle
                for lease in leases:
                    name = f"chunk {lease.chunk.key}"
                    task = group.create_task(self.runner.run(lease), name=name)
                    working.add(task)
                    task.add_done_callback(working.discard)
                if until_empty and not working and await self._is_over():
                    return
                if not leases or len(working) >= self.slots:
                    sleep = self._sleep(pause, idle)
                    idle = idle + 1 if await self._wait(working, stopping, sleep) else 0
            await self._drain(working)

    def _sleep(self, pause: float, idle: int) -> float:
        """Longer the longer there was nothing, and spread, so that workers ask by turns."""
        longest = max(self.longest_poll_seconds, pause)
        ceiling = min(pause * 2.0 ** min(idle, MOST_DOUBLINGS), longest)
        return pause if ceiling <= pause else self.random.uniform(ceiling / 2, ceiling)

    async def _lease(self, count: int, outage: Outage) -> tuple[list[Lease], float]:
        """Lease for the free slots; and how long to sleep if there is nothing to do."""
        if count <= 0 or self.breaker.is_archive_paused() or await self.is_paused():
            self.vigil.over()
            self.pulse.queue_problem = None
            return [], POLL_SECONDS
        leasing = spans.leasing()
        try:
            leased = await self._lease_by_turns(count)
            await self._watch_over(leased)
        except QueueUnavailableError as error:
            outage.goes_on(error)
            self.pulse.queue_problem = error.reason
            return [], TROUBLE_SECONDS
        outage.is_over()
        self.pulse.queue_problem = None
        leasing.got(leased)
        if leased:
            self.pulse.leased_at = self.clock.now()
        admitted = [lease for lease in leased if await self._is_admitted(lease)]
        return admitted, POLL_SECONDS

    async def _lease_by_turns(self, count: int) -> Sequence[Lease]:
        """By deadline, and at every other turn what failing chunks can't hold up.

        What was never tried is due by deadline too, so a healthy backlog knows one order.
        """
        lane = Lane.DEADLINE
        if next(self.turns) % 2:
            half_open = self.breaker.is_half_open()
            lane = Lane.NEWEST if half_open else Lane.UNTRIED
            count = 1 if half_open else count
        paused = self.breaker.paused_resources()
        leased = await self.queue.lease(count, paused=paused, lane=lane)
        if leased or lane is Lane.DEADLINE:
            return leased
        return await self.queue.lease(count, paused=paused)

    async def _watch_over(self, leased: Sequence[Lease]) -> None:
        if leased:
            self.vigil.over()
            return
        paused = self.breaker.paused_resources()
        await self.vigil.in_vain(self.queue, self.clock, paused=paused)

    async def _is_admitted(self, lease: Lease) -> bool:
        """Half-open lets one probe through; the others go back unspent."""
        resource = lease.chunk.announcement.resource
        come_back = self.breaker.admit(resource=resource)
        if come_back is not None:
            await self.runner.give_back(lease, Release(not_before=come_back))
        return come_back is None

    async def _wait(
        self, working: set[asyncio.Task[None]], stopping: asyncio.Event, pause: float
    ) -> bool:
        """Sleep until a chunk ends, something was put, or it is time to look again.

        Returns whether the time passed and nothing else happened.
        """
        waits = (
            asyncio.ensure_future(stopping.wait()),
            asyncio.ensure_future(self.nudge.wait()),
            asyncio.ensure_future(self.clock.sleep(pause)),
        )
        try:
            done, _ = await asyncio.wait(
                (*waits, *working), return_when=asyncio.FIRST_COMPLETED
            )
            return done == {waits[-1]}
        finally:
            for wait in waits:
                wait.cancel()

    async def is_paused(self) -> bool:
        """Whether an operator has work wait."""
        self.pulse.is_halted = self.halt is not None and await self.halt.is_paused()
        return self.pulse.is_halted

    async def _is_over(self) -> bool:
        """Nothing is left to do, or may be done."""
        return await self.is_paused() or await self._is_empty()

    async def _is_empty(self) -> bool:
        """Nothing is due within the longest backoff: what waits longer waits for others."""
        try:
            next_due = await self.queue.next_due()
        except QueueUnavailableError:
            return False
        return next_due is None or next_due > self.clock.now() + LONGEST_DELAY

    async def _drain(self, working: set[asyncio.Task[None]]) -> None:
        """Let attempts finish for a while, then cancel them; each releases its lease."""
        self.pulse.is_draining = True
        self.pulse.queue_problem = None
        if not working:
            return
        log.info("worker.draining", chunks=len(working))
        cut = asyncio.ensure_future(self.cut.wait())
        grace = asyncio.ensure_future(self.clock.sleep(self.drain_seconds))
        try:
            while working and not (cut.done() or grace.done()):
                await asyncio.wait(
                    {*working, cut, grace}, return_when=asyncio.FIRST_COMPLETED
                )
        finally:
            for task in (*working, cut, grace):
                task.cancel()
