"""The composition root: settings in, wired objects out.

Adapters are named here (source) and in its parts, and nowhere else: worker/opening.py (queue,
archive), worker/receiving.py (webhook, inbox), worker/exporting.py (what ACS exports to) and
worker/telling.py (the topic of those who are told). Everything with a lifetime is an async
context manager, to be entered in the order in which it must be left: queue, archive, source,
web server.
"""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from worker import __version__, exporting
from worker.attempt import NoObserver, Observer
from worker.breaker import Breaker
from worker.byos import Exports
from worker.clock import SystemClock
from worker.closing import Closer
from worker.consumer import POLL_SECONDS, Consumer
from worker.limits import ConnectionCeiling, MemoryBudget
from worker.notices import Notices
from worker.opening import MIB, WholeQueue
from worker.pauses import Pauses
from worker.pipeline import Pipeline
from worker.ports import Archive, ChunkQueue, Clock, Source
from worker.proving import Prover
from worker.runner import Runner
from worker.settings import Settings
from worker.sources.acs import AcsSource
from worker.sources.hosts import HostRules
from worker.sources.signing import Credential, Credentials, KeyCredential
from worker.transfer import TransferLimits

FIRST_CONNECTIONS = 32
"""Where the adaptive ceiling on connections to the source starts: with all that the defaults
allow, so that what a worker needs shows in its first minute and not in its second hour."""

LONGEST_STORAGE_POLL_SECONDS = 10.0


@asynccontextmanager
async def open_consumer(  # noqa: PLR0913 - what it works with, and who is told
    settings: Settings,
    *,
    queue: WholeQueue,
    archive: Archive,
    nudge: asyncio.Event,
    cut: asyncio.Event,
    notices: Notices | None = None,
    observer: Observer | None = None,
) -> AsyncIterator[Consumer]:
    """A consumer with everything below it; `nudge` wakes it, `cut` cuts its drain."""
    clock = SystemClock()
    watcher = observer or NoObserver()
    async with (
        open_source(settings, clock) as source,
        exporting.open_exports(settings) as exports,
    ):
        breaker = Breaker(clock.now)
        closer = _closer(
            settings,
            source=source,
            archive=archive,
            queue=queue,
            exports=exports,
            notices=notices,
        )
        yield Consumer(
            queue=queue,
            runner=_runner(settings, closer, breaker=breaker, observer=watcher),
            clock=clock,
            breaker=breaker,
            slots=settings.max_chunks,
            longest_poll_seconds=_longest_poll(settings),
            halt=Pauses(
                archive=archive, clock=clock, look_seconds=_longest_poll(settings)
            ),
            drain_seconds=settings.drain_seconds,
            nudge=nudge,
            cut=cut,
        )


def _closer(
    settings: Settings,
    *,
    source: Source,
    archive: Archive,
    queue: ChunkQueue,
    exports: Exports,
    notices: Notices | None,
) -> Closer:
    return Closer(
        source=source,
        archive=archive,
        queue=queue,
        clock=SystemClock(),
        policy=settings.delete_source,
        instance=settings.instance,
        exports=exports,
        notices=notices,
    )


def _runner(
    settings: Settings, closer: Closer, *, breaker: Breaker, observer: Observer
) -> Runner:
    return Runner(
        queue=closer.queue,
        pipeline=_pipeline(settings, closer, observer=observer),
        clock=SystemClock(),
        breaker=breaker,
        observer=observer,
        random=random.SystemRandom(),
        lease_seconds=settings.lease_seconds,
        notices=closer.notices,
    )


def _longest_poll(settings: Settings) -> float:
    """An idle consumer asks a file every second, and a service that bills for it seldom."""
    return (
        POLL_SECONDS if settings.queue_place is None else LONGEST_STORAGE_POLL_SECONDS
    )


@asynccontextmanager
async def open_source(settings: Settings, clock: Clock) -> AsyncIterator[AcsSource]:
    """ACS, for as long as the context lasts."""
    most = settings.max_chunks * settings.max_ranges
    keys = [
        KeyCredential.parse(text.get_secret_value())
        for text in settings.connection_strings
    ]
    async with (
        _token_credentials(settings, clock) as tokens,
        AcsSource(
            credentials=Credentials([*keys, *tokens]),
            hosts=HostRules(
                settings.source_hosts,
                public_only=settings.source_addresses == "public",
            ),
            clock=clock,
            ceiling=ConnectionCeiling(
                most, clock=clock, start=min(most, FIRST_CONNECTIONS)
            ),
            version=__version__,
        ) as source,
    ):
        yield source


@asynccontextmanager
async def _token_credentials(
    settings: Settings, clock: Clock
) -> AsyncIterator[list[Credential]]:
    """One identity for all ACS resources that have no key here."""
    if not settings.endpoints:
        yield []
        return
    # Start-up cost: the SDK is for those who use it.
    from worker.entra import MachineIdentity
    from worker.sources.tokens import TokenCredential, Tokens

    async with MachineIdentity() as identity:
        tokens = Tokens(identity, clock=clock)
        yield [TokenCredential.of(endpoint, tokens) for endpoint in settings.endpoints]


def _pipeline(settings: Settings, closer: Closer, *, observer: Observer) -> Pipeline:
    clock = SystemClock()
    range_bytes = settings.block_mib * MIB
    return Pipeline(
        source=closer.source,
        archive=closer.archive,
        clock=clock,
        prover=Prover(
            source=closer.source,
            archive=closer.archive,
            clock=clock,
            memory=MemoryBudget(settings.memory_mib * MIB),
            limits=TransferLimits(
                range_bytes=range_bytes, max_ranges=settings.max_ranges
            ),
            verify=settings.verify,
        ),
        closer=closer,
        observer=observer,
        retention=settings.source_retention,
        instance=settings.instance,
        exports=closer.exports,
    )
