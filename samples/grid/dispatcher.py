"""Event Grid's perseverance: one subscription's events, until delivered, dead or dropped.

It lives on its clock alone: on a test's clock a day passes in a moment. One request at a
time, so that the same seed and the same answers make the same history.
"""

import heapq
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from random import Random
from typing import Protocol

from samples.grid.batches import batches_of
from samples.grid.clock import Clock
from samples.grid.conduct import STEPS, Conduct
from samples.grid.dead_letters import (
    EXHAUSTED,
    EXPIRED,
    Container,
    DeadLetters,
    Shape,
    reason_of,
)
from samples.grid.health import EndpointHealth
from samples.grid.messages import JsonObject, in_schema, type_of
from samples.grid.pending import PROBATION, Attempted, Happening, Pending, Postponed
from samples.grid.sending import Late
from samples.grid.subscription import Subscription
from samples.grid.verdicts import ANSWER_WITHIN, TIMED_OUT, Fate, Outcome

LATE_SUCCESS = timedelta(minutes=3)
"""An answer within this may still spare the retry."""


class Delivering(Protocol):
    """What the dispatcher needs of samples.event_grid.EventGrid."""

    subscription: Subscription

    async def deliver(
        self,
        events: Sequence[JsonObject],
        *,
        delivery_count: int = 0,
        late: Late | None = None,
    ) -> Outcome: ...


class Dispatcher:
    """Keeps at it; `tell` hears what happens, as it happens."""

    def __init__(
        self,
        grid: Delivering,
        *,
        clock: Clock,
        container: Container | None = None,
        conduct: Conduct | None = None,
        shape: Shape | None = None,
        tell: Callable[[Happening], None] = lambda _: None,
    ) -> None:
        self._grid = grid
        self._subscription = grid.subscription
        self._clock = clock
        self._conduct = conduct or Conduct()
        self._tell = tell
        self._random = Random(self._conduct.seed)
        self._health = EndpointHealth(self._conduct)
        self._dead = DeadLetters(
            grid.subscription, container, shape=shape, random=self._random
        )
        self._numbers = itertools.count()
        self._pending: dict[int, Pending] = {}
        self._order: list[tuple[datetime, int]] = []

    @property
    def is_idle(self) -> bool:
        """Whether nothing is left to deliver or to dead-letter."""
        return self._next_due() is None

    def publish(self, events: Iterable[JsonObject]) -> None:
        """Take events now; those that the subscription's filter leaves out are not for it.

        Raises SchemaMismatchError for a CloudEvent where Event Grid's schema is asked for.
        """
        now = self._clock.now()
        wanted = self._subscription.included_event_types
        for event in events:
            if not wanted or type_of(event) in wanted:
                converted = in_schema(event, self._subscription.schema)
                number = next(self._numbers)
                self._push(
                    Pending(
                        number=number, event=converted, published_at=now, due_at=now
                    )
                )

    async def run(self, *, until: datetime | None = None) -> None:
        """Deliver until `until`, whatever happens; without it, until nothing is left."""
        while (due := self._next_due()) is not None:
            if until is not None and due > until:
                break
            await self._sleep_until(due)
            await self._turn()
        if until is not None:
            await self._sleep_until(until)

    async def _sleep_until(self, moment: datetime) -> None:
        left = (moment - self._clock.now()).total_seconds()
        if left > 0:
            await self._clock.sleep(left)

    async def _turn(self) -> None:
        """Do what is due."""
        if told := await self._dead.write(self._clock.now()):
            self._tell(told)
        for batch in self._batches(self._take_due()):
            if admitted := self._admitted(batch):
                await self._attempt(admitted)

    def _push(self, pending: Pending) -> None:
        self._pending[pending.number] = pending
        heapq.heappush(self._order, (pending.due_at, pending.number))

    def _next_pending(self) -> Pending | None:
        """The next that is due; what a late answer took back is passed over."""
        while self._order:
            due_at, number = self._order[0]
            pending = self._pending.get(number)
            if pending is not None and pending.due_at == due_at:
                return pending
            heapq.heappop(self._order)
        return None

    def _next_due(self) -> datetime | None:
        pending = self._next_pending()
        moments = [pending.due_at] if pending else []
        if (written := self._dead.next_due) is not None:
            moments.append(written)
        return min(moments, default=None)

    def _take_due(self) -> list[Pending]:
        now = self._clock.now()
        due = []
        while (pending := self._next_pending()) and pending.due_at <= now:
            heapq.heappop(self._order)
            due.append(self._pending.pop(pending.number))
        if self._conduct.is_reordered:
            self._random.shuffle(due)
        return due

    def _batches(self, due: Sequence[Pending]) -> Iterator[list[Pending]]:
        """Those that were tried as often go together, as one header says how often."""
        counts = sorted({pending.attempts for pending in due})
        for count in counts:
            alike = iter([pending for pending in due if pending.attempts == count])
            events = [pending.event for pending in due if pending.attempts == count]
            for batch in batches_of(events, self._subscription):
                yield list(itertools.islice(alike, len(batch)))

    def _admitted(self, batch: Sequence[Pending]) -> list[Pending]:
        """Leave out who is too old, and all if the endpoint is left alone.

        Age is noticed here and nowhere else: at the next attempt.
        """
        now = self._clock.now()
        oldest = now - self._subscription.time_to_live
        self._give_up([p for p in batch if p.published_at <= oldest], EXPIRED)
        young = [p for p in batch if p.published_at > oldest]
        until = self._health.left_alone_until(now)
        if until is None or not young:
            return young
        if self._health.is_hopeless(now):
            waited = [replace(p, outcome=PROBATION, status=None) for p in young]
            self._give_up(waited, reason_of(waited[0]))
            return []
        for pending in young:
            self._push(replace(pending, due_at=until))
        self._tell(Postponed(at=now, events=_ids(young), until=until))
        return []

    def _give_up(self, pendings: Sequence[Pending], reason: str) -> None:
        if not pendings:
            return
        if told := self._dead.add(pendings, reason, at=self._clock.now()):
            self._tell(told)

    async def _attempt(self, batch: Sequence[Pending]) -> None:
        """One request for all, one answer for all."""
        sent_at = self._clock.now()
        count = batch[0].attempts
        outcome = await self._grid.deliver(
            [pending.event for pending in batch],
            delivery_count=count,
            late=partial(self._came_late, batch, sent_at),
        )
        ended_at = self._clock.now()
        if outcome.verdict is TIMED_OUT:
            ended_at = max(ended_at, sent_at + ANSWER_WITHIN)
        self._tell(
            Attempted(
                at=sent_at, events=_ids(batch), delivery_count=count, outcome=outcome
            )
        )
        tried = [pending.attempted(outcome, at=sent_at) for pending in batch]
        self._health.saw(outcome.verdict, events=len(batch), at=ended_at)
        self._settle(tried, outcome, ended_at)

    def _settle(
        self, tried: Sequence[Pending], outcome: Outcome, ended_at: datetime
    ) -> None:
        """Say where the events go from here."""
        if outcome.verdict.fate is Fate.RETRIED:
            self._retry(tried, outcome, ended_at)
        elif outcome.verdict.fate is Fate.FINAL:
            self._give_up(tried, reason_of(tried[0]))
        else:
            self._deliver_again(tried, ended_at)

    def _retry(
        self, tried: Sequence[Pending], outcome: Outcome, ended_at: datetime
    ) -> None:
        most = self._subscription.max_attempts
        self._give_up([p for p in tried if p.attempts >= most], EXHAUSTED)
        left = [p for p in tried if p.attempts < most]
        if not left:
            return
        # One draw for all: a batch that failed as one comes back as one.
        due_at = self._conduct.due_at(
            left[0], outcome.verdict, ended_at=ended_at, random=self._random
        )
        for pending in left:
            self._push(replace(pending, due_at=due_at))

    def _deliver_again(self, tried: Sequence[Pending], at: datetime) -> None:
        share = self._conduct.duplicates
        for pending in tried:
            if not pending.is_again and self._random.random() < share:
                due_at = at + STEPS[0]
                self._push(replace(pending, due_at=due_at, is_again=True))

    def _came_late(
        self, batch: Sequence[Pending], sent_at: datetime, outcome: Outcome
    ) -> None:
        """An answer came after all: try to take the retry back."""
        told = Attempted(
            at=sent_at,
            events=_ids(batch),
            delivery_count=batch[0].attempts,
            outcome=outcome,
            is_late=True,
        )
        in_time = self._clock.now() - sent_at <= LATE_SUCCESS
        noticed = self._random.random() < self._conduct.notices_late
        if outcome.verdict.fate is Fate.DELIVERED and in_time and noticed:
            for pending in batch:
                self._pending.pop(pending.number, None)
        self._tell(told)


def _ids(batch: Sequence[Pending]) -> tuple[str, ...]:
    return tuple(pending.id for pending in batch)
