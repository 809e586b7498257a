"""The queue and the archive that the settings name, opened for whoever looks or works.

Apart from worker/app.py, for most commands only look: they need nothing of what speaks to
ACS, which takes longer to import than all the rest.
"""

import random
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Protocol

from worker.archives.directory import DirectoryArchive
from worker.clock import SystemClock
from worker.ops.doctor import ProbedQueue
from worker.ops.status import CountingQueue
from worker.ports import Archive, ChunkQueue, QueueListing, QueueMending
from worker.queues.sqlite import SqliteQueue
from worker.settings import Settings
from worker.storage_places import Place

MIB = 1024 * 1024

SWITCH_SECONDS = 20e-6
"""How soon a thread may ask a busy event loop for the interpreter; for the whole process.

A loop that always has work lets go of the interpreter only for the instant of its `select`,
too short for another thread to wake up in, and each time the thread's wait begins anew. With
CPython's 5 ms the thread never gets to ask, and a commit of 2 ms was seen to take 20 s.
"""


class WholeQueue(
    ChunkQueue, QueueListing, QueueMending, ProbedQueue, CountingQueue, Protocol
):
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
            # A queue may be there before its directory is.
            is_made = create or settings.archive_place is None
            archive = await stack.enter_async_context(
                open_archive(settings, create=is_made)
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
    """The archive that the settings name; `create`: make it if there is none."""
    place = settings.archive_place
    if place is not None:
        async with _blob_archive(settings, place, create=create) as blobs:
            yield blobs
        return
    async with DirectoryArchive(
        settings.archive_directory,
        clock=SystemClock(),
        reserve_bytes=settings.archive_reserve_mib * MIB,
        create=create,
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
