"""The composition root: settings in, wired objects out.

Adapters are named here (queue, archive, source) and in its parts, and nowhere else:
worker/receiving.py (webhook, inbox), worker/exporting.py (what ACS exports to) and
worker/telling.py (the topic of those who are told). Everything with a lifetime is an async
context manager, to be entered in the order in which it must be left: queue, archive, source,
web server.
"""

import asyncio
import random
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Protocol

from worker import __version__, exporting
from worker.archives.directory import DirectoryArchive
from worker.attempt import NoObserver, Observer
from worker.breaker import Breaker
from worker.byos import Exports
from worker.clock import SystemClock
from worker.closing import Closer
from worker.consumer import POLL_SECONDS, Consumer
from worker.limits import ConnectionCeiling, MemoryBudget
from worker.notices import Notices
from worker.ops.doctor import ProbedQueue
from worker.pauses import Pauses
from worker.pipeline import Pipeline
from worker.ports import (
    Archive,
    ChunkQueue,
    Clock,
    QueueListing,
    QueueMending,
    Source,
)
from worker.proving import Prover
from worker.queues.sqlite import SqliteQueue
from worker.runner import Runner
from worker.settings import Settings
from worker.sources.acs import AcsSource
from worker.sources.hosts import HostRules
from worker.sources.signing import Credential, Credentials, KeyCredential
from worker.storage_places import Place
from worker.transfer import TransferLimits

MIB = 1024 * 1024
FIRST_CONNECTIONS = 32
"""Where the adaptive ceiling on connections to the source starts: with all that the defaults
allow, so that what a worker needs shows in its first minute and not in its second hour."""

LONGEST_STORAGE_POLL_SECONDS = 10.0

SWITCH_SECONDS = 20e-6
"""How soon a thread may ask a busy event loop for the interpreter; for the whole process.

A loop that always has work lets go of the interpreter only for the instant of its `select`,
too short for another thread to wake up in, and each time the thread's wait begins anew. With
CPython's 5 ms the thread never gets to ask, and a commit of 2 ms was seen to take 20 s.
"""


class WholeQueue(ChunkQueue, QueueListing, QueueMending, ProbedQueue, Protocol):
    """What every queue of ours is, for those who work, who look, and who mend."""


@asynccontextmanager
async def open_queue(
    settings: Settings, *, create: bool, archive: Archive | None = None
) -> AsyncIterator[WholeQueue]:
    """The queue that the settings name. `create=False` only opens what exists.

    A Storage Queue keeps its announcements in `archive`; without one it opens its own.
    """
    place = settings.queue_place
    async with AsyncExitStack() as stack:
        if place is None:
            yield await stack.enter_async_context(
                _sqlite_queue(settings, create=create)
            )
            return
        if archive is None:
            archive = await stack.enter_async_context(
                open_archive(settings, create=create)
            )
        queue = _storage_queue(settings, place, archive, create=create)
        yield await stack.enter_async_context(queue)


def _sqlite_queue(settings: Settings, *, create: bool) -> SqliteQueue:
    """From here on the process has threads beside its loop that may not be starved by it."""
    sys.setswitchinterval(min(sys.getswitchinterval(), SWITCH_SECONDS))
    return SqliteQueue(
        settings.queue_file,
        clock=SystemClock(),
        worker=settings.instance,
        random=random.SystemRandom(),
        lease_seconds=settings.lease_seconds,
        create=create,
    )


@asynccontextmanager
async def _storage_queue(
    settings: Settings, place: Place, archive: Archive, *, create: bool
) -> AsyncIterator[WholeQueue]:
    # Start-up cost: the SDK is for those who use it.
    from worker.queues.storage.queue import StorageQueue
    from worker.storage_clients import open_identity

    async with (
        open_identity(settings.storage_account) as identity,
        StorageQueue(
            place,
            identity,
            archive=archive,
            clock=SystemClock(),
            worker=settings.instance,
            random=random.SystemRandom(),
            lease_seconds=settings.lease_seconds,
            create=create,
        ) as queue,
    ):
        yield queue


@asynccontextmanager
async def open_archive(
    settings: Settings, *, create: bool = True
) -> AsyncIterator[Archive]:
    """The archive that the settings name; `create`: make the container if there is none."""
    place = settings.archive_place
    if place is not None:
        async with _blob_archive(settings, place, create=create) as blobs:
            yield blobs
        return
    async with DirectoryArchive(
        settings.archive_directory,
        clock=SystemClock(),
        reserve_bytes=settings.archive_reserve_mib * MIB,
    ) as archive:
        yield archive


@asynccontextmanager
async def open_known_archive(settings: Settings) -> AsyncIterator[Archive | None]:
    """The archive, if there is one: looking makes none."""
    if not settings.has_archive:
        yield None
        return
    async with open_archive(settings, create=False) as archive:
        yield archive


@asynccontextmanager
async def _blob_archive(
    settings: Settings, place: Place, *, create: bool
) -> AsyncIterator[Archive]:
    # Start-up cost: the SDK is for those who use it.
    from worker.archives.blob import BlobArchive
    from worker.archives.blob_options import BlobOptions
    from worker.storage_clients import open_identity

    options = BlobOptions(
        tier=settings.blob_tier,
        immutable_days=settings.blob_immutable_days,
        immutable_mode=settings.blob_immutable_mode,
        encryption_scope=settings.blob_encryption_scope,
        tags=settings.blob_tags,
    )
    async with (
        open_identity(settings.storage_account) as identity,
        BlobArchive(
            place,
            identity,
            clock=SystemClock(),
            random=random.SystemRandom(),
            options=options,
            block_bytes=settings.block_mib * MIB,
            create=create,
        ) as archive,
    ):
        yield archive


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
