"""One endpoint while it is looked at: what all checks ask through."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import aiohttp

from samples.event_grid import EventGrid, Schema
from samples.grid import sending
from samples.grid.handshakes import Reply
from samples.grid.sending import NoAnswerError, Request
from worker.endpoint import Endpoint
from worker.ports import Clock
from worker.subscribing import open_session, subscription_of, trust

SUBSCRIPTION = "recording-worker-doctor"
Resolve = Callable[[str, int], Awaitable[list[str]]]
"""Addresses of a host and port. Raises OSError."""


AFTER_SILENCE_SECONDS = 5.0
"""Who did not answer in all the time that Event Grid grants is not given that again."""


@dataclass(slots=True, kw_only=True)
class Patience:
    """How long an answer is waited for: less, once there was none."""

    seconds: float

    def heard(self, *, anything: bool) -> None:
        if not anything:
            self.seconds = min(self.seconds, AFTER_SILENCE_SECONDS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """One endpoint while it is looked at."""

    endpoint: Endpoint
    schemas: Sequence[Schema]
    session: aiohttp.ClientSession
    tls: ssl.SSLContext
    clock: Clock
    patience: Patience
    resolve: Resolve

    @asynccontextmanager
    async def grid(
        self, schema: Schema, *, endpoint: Endpoint | None = None
    ) -> AsyncIterator[EventGrid]:
        """Event Grid with a subscription for it."""
        subscription = subscription_of(
            endpoint or self.endpoint, schema, name=SUBSCRIPTION
        )
        async with EventGrid(
            subscription, session=self.session, answer_seconds=self.patience.seconds
        ) as grid:
            yield grid

    async def ask(self, request: Request) -> Reply:
        """One plain request. Raises NoAnswerError."""
        try:
            return await sending.ask(
                self.session, request, answer_seconds=self.patience.seconds
            )
        except NoAnswerError:
            self.patience.heard(anything=False)
            raise


async def resolved(host: str, port: int) -> list[str]:
    """Addresses of a name, as the system resolves it. Raises OSError."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(each[4][0]) for each in found]


@asynccontextmanager
async def visiting(
    endpoint: Endpoint,
    *,
    schemas: Sequence[Schema],
    clock: Clock,
    answer_seconds: float,
    tls: ssl.SSLContext | None = None,
    resolve: Resolve = resolved,
) -> AsyncIterator[Visit]:
    """Whom the machine trusts, unless `tls` says otherwise; one session for all checks."""
    tls = tls or await trust()
    async with open_session(endpoint, tls=tls) as session:
        yield Visit(
            endpoint=endpoint,
            schemas=schemas,
            session=session,
            tls=tls,
            clock=clock,
            patience=Patience(seconds=answer_seconds),
            resolve=resolve,
        )
