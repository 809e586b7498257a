"""The processes: serve, webhook, consume. Signals, the order of stopping."""

import asyncio
import gc
import signal
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial

import structlog

from handlers.deferring import Backlog
from handlers.inbox import Inbox
from worker import app, opening, receiving
from worker.admin import open_admin
from worker.at_risk import RiskWatch, WatchedQueue
from worker.clock import SystemClock
from worker.consumer import Consumer
from worker.model import ChunkState
from worker.notices import Notices
from worker.ports import ChunkQueue
from worker.receiving import Endpoint
from worker.settings import Settings
from worker.sight import Sight
from worker.standing import Standing
from worker.telemetry.gauges import Gauges
from worker.telemetry.setup import open_telemetry
from worker.telling import open_notices

DONE, NEEDS_ATTENTION = 0, 3
log: structlog.typing.FilteringBoundLogger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Stop:
    """`stopping`: stop leasing and drain; `cut`: cut the drain short."""

    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    cut: asyncio.Event = field(default_factory=asyncio.Event)

    def signalled(self) -> None:
        """A first signal drains, a second cuts."""
        if self.stopping.is_set():
            self.cut.set()
        self.stopping.set()


@contextmanager
def _signals(stop: Stop) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    watched = (signal.SIGTERM, signal.SIGINT)
    for each in watched:
        loop.add_signal_handler(each, stop.signalled)
    try:
        yield
    finally:
        for each in watched:
            loop.remove_signal_handler(each)


@contextmanager
def _at_work(stop: Stop) -> Iterator[None]:
    """All is open: heed signals, and spare the collector what is there to stay.

    A walk over that stops the loop for 0.1 s, deliveries and all; later objects are few.
    https://docs.python.org/3/library/gc.html#gc.freeze
    """
    with _signals(stop):
        gc.collect()
        gc.freeze()
        try:
            yield
        finally:
            gc.unfreeze()


async def run_serve(settings: Settings) -> None:
    """Receive and consume until a signal."""
    stop, nudge = Stop(), asyncio.Event()
    async with (
        receiving.listening(settings) as endpoint,
        _seen(settings, "serve", consumes=True) as standing,
        opening.open_archive(settings) as archive,
        opening.open_queue(settings, create=True, archive=archive) as queue,
        open_notices(settings, archive, cut=stop.cut) as notices,
        app.open_consumer(
            settings,
            queue=queue,
            archive=archive,
            nudge=nudge,
            cut=stop.cut,
            notices=notices,
        ) as consumer,
        receiving.open_ways_in(
            settings,
            queue=queue,
            archive=archive,
            nudge=nudge,
            cut=stop.cut,
            is_busy=endpoint.is_busy,
        ) as ways_in,
        endpoint.taking(ways_in.receiver, queue.ready, ways_in.backlog),
    ):
        standing.consumer = consumer
        watch = _watch(settings, queue, standing, notices)
        with _at_work(stop):
            await _until_stopped(watch, stop, endpoint, consumer, *ways_in.reading)
    log.info("worker.stopped")


async def run_webhook(settings: Settings) -> None:
    """Receive until a signal."""
    stop, nudge = Stop(), asyncio.Event()
    async with (
        receiving.listening(settings) as endpoint,
        _seen(settings, "webhook", consumes=False) as standing,
        opening.open_archive(settings) as archive,
        opening.open_queue(settings, create=True, archive=archive) as queue,
        endpoint.taking(
            receiver := receiving.receiver_of(
                settings, queue=queue, archive=archive, nudge=nudge
            ),
            queue.ready,
            backlog := receiving.backlog_of(
                settings, receiver, queue, is_busy=endpoint.is_busy
            ),
        ),
    ):
        watch = _watch(settings, queue, standing)
        with _at_work(stop):
            await _until_stopped(watch, stop, endpoint, backlog)
    log.info("worker.stopped")


async def run_consume(settings: Settings, *, until_empty: bool) -> int:
    """Consume until a signal, or until nothing is left: then 3 if chunks are dead.

    An inbox, and what was deferred, is emptied first; 3 as well if it can't be, or a pause
    has chunks wait.
    """
    stop, nudge = Stop(), asyncio.Event()
    async with (
        _seen(settings, "consume", consumes=True) as standing,
        opening.open_archive(settings) as archive,
        opening.open_queue(settings, create=True, archive=archive) as queue,
        open_notices(settings, archive, cut=stop.cut) as notices,
        app.open_consumer(
            settings,
            queue=queue,
            archive=archive,
            nudge=nudge,
            cut=stop.cut,
            notices=notices,
        ) as consumer,
        receiving.open_ways_in(
            settings, queue=queue, archive=archive, nudge=nudge, cut=stop.cut
        ) as ways_in,
    ):
        standing.consumer = consumer
        with _at_work(stop):
            log.info("worker.started", listen=None)
            async with _watch(settings, queue, standing, notices).running():
                is_read = await _consume(
                    stop, consumer, ways_in.reading, until_empty=until_empty
                )
        # Whoever is stopped is not asked: in an outage the question would be its end.
        is_emptied = until_empty and not stop.stopping.is_set()
        within = settings.at_risk_within
        is_left = is_emptied and await _is_left(queue, consumer, within)
    log.info("worker.stopped")
    is_unread = is_emptied and not is_read
    return NEEDS_ATTENTION if is_left or is_unread else DONE


async def _consume(
    stop: Stop,
    consumer: Consumer,
    reading: Iterable[Inbox | Backlog],
    *,
    until_empty: bool,
) -> bool:
    """Whether all was read of what was to be emptied."""
    is_read = True
    async with asyncio.TaskGroup() as group:
        turned = partial(consumer.pulse.turn, consumer.clock)
        for each in reading:
            if until_empty:
                is_read = await each.empty(stop.stopping, turned=turned) and is_read
            else:
                group.create_task(each.run(stop.stopping), name=_name(each))
        await consumer.run(stop.stopping, until_empty=until_empty)
    return is_read


def _name(part: Consumer | Inbox | Backlog) -> str:
    return type(part).__name__.lower()


async def _is_left(queue: ChunkQueue, consumer: Consumer, within: timedelta) -> bool:
    """Whether a human has to look at what an emptied queue still holds."""
    counts = await queue.counts(at_risk_within=within)
    is_paused = await consumer.is_paused()
    waiting = counts.by_state.get(ChunkState.PENDING, 0) if is_paused else 0
    return bool(waiting or counts.by_state.get(ChunkState.DEAD, 0))


async def _until_stopped(
    watch: RiskWatch,
    stop: Stop,
    endpoint: Endpoint,
    *parts: Consumer | Inbox | Backlog | None,
) -> None:
    """Run until a signal; any part that dies ends the process."""
    log.info("worker.started", listen=endpoint.url)
    async with watch.running(), asyncio.TaskGroup() as group:
        for part in parts:
            if part is not None:
                group.create_task(part.run(stop.stopping), name=_name(part))
        await stop.stopping.wait()
        endpoint.health.drain()


def _watch(
    settings: Settings,
    queue: WatchedQueue,
    standing: Standing,
    notices: Notices | None = None,
) -> RiskWatch:
    return RiskWatch(
        queue=queue,
        notices=notices,
        clock=SystemClock(),
        within=settings.at_risk_within,
        sight=standing.sight,
    )


@asynccontextmanager
async def _seen(
    settings: Settings, verb: str, *, consumes: bool
) -> AsyncIterator[Standing]:
    """Have the process counted, and shown to who asks."""
    clock = SystemClock()
    standing = Standing(
        verb=verb,
        instance=settings.instance,
        clock=clock,
        consumes=consumes,
        sight=Sight(clock=clock),
    )
    gauges = Gauges(standing, clock)
    is_scraped = settings.admin_listen is not None
    async with (
        open_telemetry(settings, gauges, scraped=is_scraped) as telemetry,
        open_admin(settings.admin_listen, standing, telemetry.registry),
    ):
        yield standing
