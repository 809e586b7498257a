"""Wires the ways in: the webhook, the inbox that Event Grid fills, and what both put into."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from urllib.parse import urlsplit

import structlog
from aiohttp import web

from handlers.auth import AnyAuth, Auth, KeyAuth, OpenAuth
from handlers.callbacks import CallbackReceiver, CallbackRoute
from handlers.deferring import Backlog
from handlers.health import Health, Probe
from handlers.inbox import Inbox
from handlers.limits import Limits
from handlers.quarantine import Quarantine
from handlers.receiver import Received, Receiver
from handlers.sorting import IsLeftAlone
from handlers.webhook import (
    deliveries_at_work,
    webhook_app,
    webhook_runner,
    work_finished,
)
from worker import __version__, byos
from worker.abilities import Deferring
from worker.clock import SystemClock
from worker.descriptors import most_descriptors
from worker.model import Delivery, PutResult
from worker.ports import Archive, ChunkQueue
from worker.settings import Settings
from worker.settings_shapes import Listen
from worker.sources.hosts import HostRules

CALM = 2
"""No more deliveries at work than these hardly notice what else is done."""

log: structlog.typing.FilteringBoundLogger = structlog.get_logger(__name__)


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


def backlog_of(
    settings: Settings,
    receiver: Receiver,
    queue: ChunkQueue,
    *,
    is_busy: Callable[[], bool] = lambda: False,
) -> Backlog | None:
    """What is deferred; None: this queue keeps no such deliveries."""
    if not isinstance(queue, Deferring):
        return None
    return Backlog(
        receiver,
        queue,
        SystemClock(),
        hide_seconds=settings.lease_seconds,
        is_busy=is_busy,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class WaysIn:
    """Who receives for a process, and what it reads itself, where that is there."""

    receiver: Receiver
    inbox: Inbox | None
    backlog: Backlog | None

    @property
    def reading(self) -> Sequence[Inbox | Backlog]:
        """Those that are there."""
        return [each for each in (self.inbox, self.backlog) if each is not None]


@asynccontextmanager
async def open_ways_in(
    settings: Settings,
    *,
    queue: ChunkQueue,
    archive: Archive,
    nudge: asyncio.Event,
    cut: asyncio.Event,
    is_busy: Callable[[], bool] = lambda: False,
) -> AsyncIterator[WaysIn]:
    """All but the webhook; `is_busy` says of that one when deferred deliveries had better wait."""
    receiver = receiver_of(settings, queue=queue, archive=archive, nudge=nudge)
    async with open_inbox(settings, receiver, cut=cut) as inbox:
        yield WaysIn(
            receiver=receiver,
            inbox=inbox,
            backlog=backlog_of(settings, receiver, queue, is_busy=is_busy),
        )


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


class _Late:
    """Stands in for a receiver that is not there yet, or no more: nobody asks it then."""

    receiver: Receiver
    backlog: Backlog | None = None

    async def receive(
        self,
        body: bytes,
        *,
        origin: str,
        delivery_count: int | None = None,
        event_header: str = "",
        traceparent: str = "",
    ) -> Received:
        return await self.receiver.receive(
            body,
            origin=origin,
            delivery_count=delivery_count,
            event_header=event_header,
            traceparent=traceparent,
        )

    def aside(
        self, body: bytearray, *, event_header: str, at_work: int
    ) -> Backlog | None:
        """Satisfies webhook.Aside."""
        backlog = self.backlog
        if backlog is None:
            return None
        wants = backlog.wants(body, event_header=event_header, at_work=at_work)
        return backlog if wants else None


class Endpoint:
    """The webhook as it listens: a delivery is answered 503 but for while it is `taking`."""

    def __init__(self, app: web.Application, health: Health, late: _Late) -> None:
        self.url = ""
        self.health = health
        self._app = app
        self._late = late

    def is_busy(self) -> bool:
        """Whether what can wait had better do so."""
        return deliveries_at_work(self._app) > CALM

    @asynccontextmanager
    async def taking(
        self, receiver: Receiver, ready: Probe, backlog: Backlog | None = None
    ) -> AsyncIterator[None]:
        """Take deliveries; leaving waits for those that are being stored."""
        self._late.receiver, self._late.backlog = receiver, backlog
        self.health.open(ready)
        try:
            yield
        finally:
            self.health.drain()
            await work_finished(self._app)


@asynccontextmanager
async def listening(
    settings: Settings, *, own_key: str = ""
) -> AsyncIterator[Endpoint]:
    """Listen before anything else is open, and after: refused connections cost more than 503.

    With `own_key` for those who post from this very process, nobody's token is asked for.
    """
    late = _Late()
    health = Health(None, SystemClock())
    limits = Limits()
    limits = replace(
        limits, connections=min(limits.connections, most_descriptors() // 2)
    )
    async with (
        open_auth(settings, own_key=own_key) as auth,
        open_callbacks(settings, own_key=own_key) as callbacks,
    ):
        app = webhook_app(
            late, auth, health, limits=limits, callbacks=callbacks, aside=late.aside
        )
        endpoint = Endpoint(app, health, late)
        async with _served(webhook_runner(app), settings.listen) as endpoint.url:
            log.info("worker.listening", listen=endpoint.url)
            yield endpoint


@asynccontextmanager
async def open_webhook(
    settings: Settings,
    *,
    queue: ChunkQueue,
    archive: Archive,
    nudge: asyncio.Event,
    own_key: str = "",
) -> AsyncIterator[Endpoint]:
    """Listen and take deliveries at once; see `listening` and `taking`."""
    receiver = receiver_of(settings, queue=queue, archive=archive, nudge=nudge)
    async with (
        listening(settings, own_key=own_key) as endpoint,
        endpoint.taking(receiver, queue.ready),
    ):
        yield endpoint


@asynccontextmanager
async def open_auth(settings: Settings, *, own_key: str = "") -> AsyncIterator[Auth]:
    """Who may post. With a tenant its authority's keys are loaded, from now on and ahead;
    that they can't be had is told to who needs them, and stops no start.
    """
    keys = [key.get_secret_value() for key in settings.webhook_keys]
    if own_key:
        yield KeyAuth([*keys, own_key])
    elif settings.webhook_entra_tenant:
        async with _open_token_auth(settings) as by_token:
            yield AnyAuth([KeyAuth(keys), by_token])
    else:
        yield KeyAuth(keys) if keys else OpenAuth()


@asynccontextmanager
async def _open_token_auth(settings: Settings) -> AsyncIterator[Auth]:
    # Start-up cost: cryptography is for those who use it.
    from handlers.claims import Expected
    from handlers.entra import TokenAuth
    from handlers.jwks import Authority
    from handlers.signing_keys import SigningKeys

    clock = SystemClock()
    expected = Expected(
        authority=settings.webhook_entra_authority,
        tenant=settings.webhook_entra_tenant,
        audiences=frozenset(settings.webhook_entra_audiences),
        callers=frozenset(settings.webhook_entra_callers),
        role=settings.webhook_entra_role,
    )
    authority = Authority(
        url=expected.authority, tenant=expected.tenant, version=__version__
    )
    keys = SigningKeys(authority.load_keys, clock=clock)
    async with keys.refreshed():
        yield TokenAuth(expected, keys, clock=clock)


@asynccontextmanager
async def open_callbacks(
    settings: Settings, *, own_key: str = ""
) -> AsyncIterator[CallbackRoute | None]:
    """Who may call back, where somebody may; nobody may in a process of our own."""
    if own_key or not settings.callbacks_resources:
        yield None
        return
    # Start-up cost: cryptography is for those who use it.
    from handlers.claims import ExpectedOfCalls
    from handlers.entra import TokenAuth
    from handlers.jwks import CallAutomation
    from handlers.signing_keys import SigningKeys

    clock = SystemClock()
    expected = ExpectedOfCalls(
        issuer=settings.callbacks_issuer,
        audiences=frozenset(settings.callbacks_resources),
    )
    issuer = CallAutomation(url=expected.issuer, version=__version__)
    keys = SigningKeys(issuer.load_keys, clock=clock)
    async with keys.refreshed():
        auth = TokenAuth(expected, keys, clock=clock)
        yield CallbackRoute(receiver=CallbackReceiver(), auth=auth)


@asynccontextmanager
async def _served(runner: web.AppRunner, at: Listen) -> AsyncIterator[str]:
    """Where, as a URL."""
    await runner.setup()
    try:
        await web.TCPSite(runner, at.host, at.port).start()
        host, port, *_ = runner.addresses[0]
        where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        yield f"http://{where}/api/events"
    finally:
        await runner.cleanup()
