"""Deliveries that come faster than they can be sorted: kept whole now, sorted when there is time.

The rule is that of the receiver: whatever is acknowledged is durable first. To keep a delivery
takes one insert, and a fraction of the time that it takes to sort it, so that a flood is
answered in milliseconds. What is kept waits in the queue's file, and whoever opens that next
sorts it; a worker that is killed meanwhile sorts it again, and finds duplicates.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from enum import Enum, auto

import structlog

from handlers import registry
from handlers.receiver import (
    Received,
    ReceivedKind,
    Receiver,
    first_fields,
    record,
)
from handlers.stopping import unless
from worker.abilities import Deferring
from worker.errors import WorkerError
from worker.model import Deferred, Taken
from worker.ports import Clock

CROWD = 16
"""So many deliveries at work don't wait long for each other; of more, some are deferred."""
LONG_BYTES = 64 * 1024
"""`preferredBatchSizeInKilobytes` is 64: what is longer takes the longest to sort."""
CALM_SECONDS = 0.5
"""Nothing deferred for so long: the flood is over."""
MOST_BEHIND = timedelta(minutes=10)
"""Whoever is so late defers no more: senders then wait, and come again."""
PAGE = 32
PAGE_BYTES = 1024 * 1024
SIDE_BY_SIDE = 8
"""They share their commits, and take the loop for some milliseconds."""
PATIENCE = timedelta(minutes=1)
"""Whoever is so late sorts more at once, and rests less, flood or not."""
LONG_REST, SHORT_REST = 4.0, 1.0
"""In a flood the loop is left to deliveries for so many times as long as it sorted."""
LONGEST_REST_SECONDS = 1.0
BUDGET_SECONDS = 25.0
"""As for a delivery that somebody waits for."""
POLL_SECONDS = 5.0
"""What another process left is looked for as often, and what can't be sorted is tried again."""
MOST_CRASHES = 10
"""It met a bug, or its worker died, so often: it is set aside for a human."""

log: structlog.typing.FilteringBoundLogger = structlog.get_logger(__name__)


class _Ended(Enum):
    """How it ended that a delivery was taken up."""

    SETTLED = auto()
    PUT_OFF = auto()
    """Our trouble, which heals: it comes back, however often."""
    CRASHED = auto()
    """It met a bug: it comes back, but not for ever."""


class Backlog:
    """What is deferred: takes it in, and sorts it when there is time.

    Who takes up a delivery has it for `hide_seconds`. `is_busy` says when sorting had better
    wait for others on the same loop.
    """

    def __init__(
        self,
        receiver: Receiver,
        queue: Deferring,
        clock: Clock,
        *,
        hide_seconds: float,
        is_busy: Callable[[], bool] = lambda: False,
    ) -> None:
        self._receiver = receiver
        self._queue = queue
        self._clock = clock
        self._hide_seconds = hide_seconds
        self._is_busy = is_busy
        self._arrived = asyncio.Event()
        self._calm_at = self._young_until = 0.0
        self._oldest_at: datetime | None = None
        self._owed: Sequence[int] = ()

    def wants(
        self, body: bytes | bytearray, *, event_header: str, at_work: int
    ) -> bool:
        """Whether to defer a delivery that comes while so many are at work, itself counted.

        Not what is said about a subscription: that is answered, or told, at once.
        """
        is_much = at_work > CROWD or len(body) > LONG_BYTES
        if not is_much and self._clock.monotonic() >= self._calm_at:
            return False
        if self._is_behind(MOST_BEHIND):
            return False
        if registry.may_be_of_subscription(event_header, body):
            return False
        if is_much:
            self._calm_at = self._clock.monotonic() + CALM_SECONDS
        return True

    def _is_behind(self, most: timedelta) -> bool:
        now = self._clock.now()
        return now - (self._oldest_at or now) > most

    async def receive(
        self,
        body: bytes,
        *,
        origin: str,
        delivery_count: int | None = None,
        event_header: str = "",  # noqa: ARG002 - says nothing that the body doesn't
        traceparent: str = "",
    ) -> Received:
        """Make `body` durable as it is, then say so. Safe to repeat."""
        delivery = Deferred(
            body=body,
            received_at=self._clock.now(),
            origin=origin,
            delivery_count=delivery_count,
            traceparent=traceparent if traceparent.isascii() else "",
        )
        fields = first_fields(body, origin=origin, delivery_count=delivery_count)
        started = self._clock.monotonic()
        received = Received(kind=ReceivedKind.DEFERRED)
        try:
            await self._queue.defer(delivery)
            self._arrived.set()
        except WorkerError as error:
            received = Received(kind=ReceivedKind.UNAVAILABLE, reason=error.reason)
            fields["error"] = str(error)
        record(received, fields, origin=origin, seconds=self._since(started))
        return received

    async def run(self, stopping: asyncio.Event) -> None:
        """Sort until `stopping` is set, which cuts it short: what is left is durable."""
        await unless(stopping, self._keep_sorting())

    async def empty(
        self, stopping: asyncio.Event, *, turned: Callable[[], None] | None = None
    ) -> bool:
        """Sort all that is there now; whether all of it came to its end.

        `turned` is called at each turn: a long backlog is no standstill.
        """
        return bool(await unless(stopping, self._empty(turned or (lambda: None))))

    async def _empty(self, turned: Callable[[], None]) -> bool:
        last_id: int | None = None
        behind = 0
        is_settled = True
        try:
            while True:
                turned()
                taken = await self._take(behind=behind, up_to=last_id)
                # What comes meanwhile is for those who come later.
                last_id = taken.last_id if last_id is None else last_id
                if not taken.deliveries:
                    is_one_left = 0 < taken.first_id <= last_id
                    return is_settled and not is_one_left
                # Each once: what can't be sorted now would come round for ever.
                behind = taken.deliveries[-1].id
                ends = await self._sort_page(taken.deliveries)
                is_settled = is_settled and ends == {_Ended.SETTLED}
        except WorkerError as error:
            _tell_unavailable(error)
            return False

    async def _keep_sorting(self) -> None:
        while True:
            self._arrived.clear()
            try:
                taken = await self._take()
                if not taken.deliveries:
                    await self._wait()
                elif _Ended.SETTLED not in await self._sort_page(taken.deliveries):
                    await self._clock.sleep(POLL_SECONDS)
            except WorkerError as error:
                _tell_unavailable(error)
                await self._clock.sleep(POLL_SECONDS)

    async def _take(self, *, behind: int = 0, up_to: int | None = None) -> Taken:
        """Take a page, and learn how it stands, whoever else is at work on this file."""
        await self._give_back()
        taken = await self._queue.take_deferred(
            most=PAGE,
            most_bytes=PAGE_BYTES,
            hide_seconds=self._hide_seconds,
            behind=behind,
            up_to=up_to,
        )
        self._oldest_at = taken.oldest_at
        if taken.newest_at is not None:
            age_s = (self._clock.now() - taken.newest_at).total_seconds()
            # Of a clock that was wrong it may be below 0.
            left_s = CALM_SECONDS - max(age_s, 0)
            self._young_until = self._clock.monotonic() + left_s
        return taken

    async def _sort_page(self, page: Sequence[Deferred]) -> set[_Ended]:
        """How they ended; what a stop, or trouble of the queue, leaves is given back."""
        left = list(page)
        ended: set[_Ended] = set()
        try:
            while left:
                some = left[: self._at_once()]
                started = self._clock.monotonic()
                ends = await asyncio.gather(*(self._sort(each) for each in some))
                took_s = self._since(started)
                await self._settle(some, ends)
                del left[: len(some)]
                ended |= set(ends)
                await self._rest(took_s)
        except (asyncio.CancelledError, WorkerError):
            self._owed = [each.id for each in left]
            with suppress(WorkerError):
                await self._give_back()
            raise
        return ended

    async def _give_back(self) -> None:
        """A queue that fails is no crash: until it can be told, nothing else is taken."""
        if self._owed:
            await self._queue.give_back_deferred(self._owed)
            self._owed = ()

    def _at_once(self) -> int:
        is_pressed = self._is_flooded() and not self._is_behind(PATIENCE)
        return 1 if is_pressed else SIDE_BY_SIDE

    def _is_flooded(self) -> bool:
        until = max(self._calm_at, self._young_until)
        return self._is_busy() or self._clock.monotonic() < until

    async def _rest(self, took_s: float) -> None:
        """In a flood the loop is left to deliveries for a while."""
        if self._is_flooded():
            rest = SHORT_REST if self._is_behind(PATIENCE) else LONG_REST
            await self._clock.sleep(min(rest * took_s, LONGEST_REST_SECONDS))

    async def _settle(self, some: Sequence[Deferred], ends: Sequence[_Ended]) -> None:
        by_end: dict[_Ended, list[int]] = {end: [] for end in _Ended}
        for delivery, end in zip(some, ends, strict=True):
            by_end[end].append(delivery.id)
        if put_off := by_end[_Ended.PUT_OFF]:
            seconds = self._hide_seconds
            await self._queue.give_back_deferred(put_off, hide_seconds=seconds)
        if settled := by_end[_Ended.SETTLED]:
            await self._queue.drop_deferred(settled)

    async def _sort(self, delivery: Deferred) -> _Ended:
        try:
            async with asyncio.timeout(BUDGET_SECONDS):
                if delivery.times > MOST_CRASHES:
                    await self._receiver.set_aside(delivery, "a bug of the worker")
                    return _Ended.SETTLED
                received = await self._receiver.receive(
                    delivery.body,
                    origin=delivery.origin,
                    delivery_count=delivery.delivery_count,
                    traceparent=delivery.traceparent,
                    received_at=delivery.received_at,
                )
        except TimeoutError:
            log.warning("deferred.unavailable", error="timeout")
            return _Ended.PUT_OFF
        except WorkerError as error:
            _tell_unavailable(error)
            return _Ended.PUT_OFF
        except Exception:
            # The firewall: a delivery that meets a bug must not stop the others.
            log.exception("deferred.crashed", deliveries=delivery.times)
            return _Ended.CRASHED
        is_trouble = received.kind is ReceivedKind.UNAVAILABLE
        return _Ended.PUT_OFF if is_trouble else _Ended.SETTLED

    async def _wait(self) -> None:
        """Until something arrived here, or it is time to look for what others left."""
        with suppress(TimeoutError):
            async with asyncio.timeout(POLL_SECONDS):
                await self._arrived.wait()

    def _since(self, started: float) -> float:
        return self._clock.monotonic() - started


def _tell_unavailable(error: WorkerError) -> None:
    log.warning("deferred.unavailable", error=str(error), hint=error.hint)
