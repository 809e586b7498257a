"""The user's own storage as it is wired: the inbox that Event Grid fills, and the containers
that ACS exports to.

Beside worker/app.py the only place that names adapters.
"""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from urllib.parse import urlsplit

from handlers.inbox import Inbox
from handlers.receiver import Receiver
from handlers.sorting import IsLeftAlone
from worker import byos
from worker.byos import NO_EXPORTS, Exports
from worker.clock import SystemClock
from worker.settings import Settings
from worker.sources.hosts import HostRules


@asynccontextmanager
async def open_inbox(
    settings: Settings, receiver: Receiver, *, cut: asyncio.Event
) -> AsyncIterator[Inbox | None]:
    """The inbox that the settings name, if they do."""
    place = settings.inbox_place
    if place is None:
        yield None
        return
    # Start-up cost: the SDK is for those who use it.
    from worker.queues.inbox_queue import InboxStorageQueue
    from worker.storage_clients import open_identity

    async with (
        open_identity(settings.storage_account) as identity,
        InboxStorageQueue(
            place, identity, clock=SystemClock(), random=random.SystemRandom()
        ) as queue,
    ):
        yield Inbox(receiver, queue, SystemClock(), cut=cut)


@asynccontextmanager
async def open_exports(settings: Settings) -> AsyncIterator[Exports]:
    """The containers that may be read; none unless the settings say `index`."""
    if settings.byos != "index":
        yield NO_EXPORTS
        return
    # Start-up cost: the SDK is for those who use it.
    from worker.archives.customer_blobs import CustomerBlobs
    from worker.storage_clients import open_identity

    async with (
        open_identity(settings.storage_account) as identity,
        CustomerBlobs(
            settings.byos_places,
            identity,
            clock=SystemClock(),
            random=random.SystemRandom(),
        ) as blobs,
    ):
        yield blobs


def left_alone(settings: Settings) -> IsLeftAlone | None:
    """Which chunks are not to be queued; None: all are."""
    if settings.byos == "index":
        return None
    hosts = {urlsplit(place.account_url).netloc for place in settings.byos_places}
    check = HostRules(settings.source_hosts).check
    return partial(byos.is_left_alone, check=check, hosts=hosts)
