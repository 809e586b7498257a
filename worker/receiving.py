"""Wires the ways in: the webhook, the inbox that Event Grid fills, and what both put into."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from urllib.parse import urlsplit

from aiohttp import web

from handlers.auth import KeyAuth
from handlers.health import Health
from handlers.inbox import Inbox
from handlers.quarantine import Quarantine
from handlers.receiver import Receiver
from handlers.sorting import IsLeftAlone
from handlers.webhook import webhook_app, webhook_runner
from worker import byos
from worker.clock import SystemClock
from worker.model import Delivery, PutResult
from worker.ports import Archive, ChunkQueue
from worker.settings import Settings
from worker.sources.hosts import HostRules


@dataclass(frozen=True, slots=True, kw_only=True)
class NudgingQueue:
    """What the webhook puts into; wakes the consumer of the same process."""

    queue: ChunkQueue
    nudge: asyncio.Event

    async def put(self, delivery: Delivery) -> PutResult:
        result = await self.queue.put(delivery)
        self.nudge.set()
        return result


def receiver_of(
    settings: Settings, *, queue: ChunkQueue, archive: Archive, nudge: asyncio.Event
) -> Receiver:
    """What turns deliveries into queued chunks."""
    clock = SystemClock()
    topics = frozenset(settings.event_topics)
    return Receiver(
        NudgingQueue(queue=queue, nudge=nudge),
        Quarantine(archive, clock),
        clock,
        retention=settings.source_retention,
        topics=topics or None,
        is_left_alone=_left_alone(settings),
    )


def _left_alone(settings: Settings) -> IsLeftAlone | None:
    """Which chunks are not to be queued; None: all are."""
    if settings.byos == "index":
        return None
    hosts = {urlsplit(place.account_url).netloc for place in settings.byos_places}
    check = HostRules(settings.source_hosts).check
    return partial(byos.is_left_alone, check=check, hosts=hosts)


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """The webhook as it listens."""

    health: Health
    url: str


@asynccontextmanager
async def open_webhook(
    settings: Settings, *, queue: ChunkQueue, archive: Archive, nudge: asyncio.Event
) -> AsyncIterator[Endpoint]:
    """Listen; leaving waits for the deliveries that are being answered."""
    receiver = receiver_of(settings, queue=queue, archive=archive, nudge=nudge)
    keys = tuple(key.get_secret_value() for key in settings.webhook_keys)
    health = Health(queue.ready, SystemClock())
    runner = webhook_runner(webhook_app(receiver, KeyAuth(keys), health))
    await runner.setup()
    try:
        site = web.TCPSite(runner, settings.listen.host, settings.listen.port)
        await site.start()
        host, port, *_ = runner.addresses[0]
        at = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        yield Endpoint(health=health, url=f"http://{at}/api/events")
    finally:
        await runner.cleanup()
