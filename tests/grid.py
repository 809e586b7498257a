"""Subscriptions, events and endpoints for the tests of the stand-in for Event Grid."""

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from aiohttp import web

from samples.event_grid import EventGrid
from samples.grid.messages import JsonObject, in_schema
from samples.grid.subscription import Subscription

PATH = "/api/events?code=a%2Bb%7E&x="
"""Its query is written as nobody else would write it."""
Answering = Callable[[web.BaseRequest, bytes], Awaitable[web.StreamResponse]]


@dataclass(slots=True, kw_only=True)
class Endpoint:
    """A server that answers as it is told, and keeps what it was sent."""

    url: str = ""
    seen: list[tuple[web.BaseRequest, bytes]] = field(default_factory=list)

    def grid(
        self,
        *,
        answer_seconds: float = 5,
        session: aiohttp.ClientSession | None = None,
        **changes: Any,
    ) -> EventGrid:
        """The stand-in, subscribed to this endpoint."""
        told = {"name": "Recordings", "endpoint": self.url, **changes}
        return EventGrid(
            Subscription(**told), session=session, answer_seconds=answer_seconds
        )


URL = "http://127.0.0.1:1/api/events?code=secret"


def a_subscription(**changes: Any) -> Subscription:
    return Subscription(**{"name": "recordings", "endpoint": URL, **changes})


def an_event(number: int = 0, *, bytes_of_data: int = 0) -> JsonObject:
    return {
        "id": f"event-{number}",
        "topic": "/topic",
        "subject": "/recording/call/1",
        "eventType": "Microsoft.Communication.RecordingFileStatusUpdated",
        "eventTime": "2026-03-01T12:00:00.1234567Z",
        "dataVersion": "1.0",
        "metadataVersion": "1",
        "data": {"filler": "x" * bytes_of_data},
    }


def a_cloud_event() -> JsonObject:
    return in_schema(an_event(), "cloudevents")


@asynccontextmanager
async def serving(
    answering: Answering, *, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Endpoint]:
    """Start a server on a free port of loopback."""
    endpoint = Endpoint()

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        body = await request.read()
        endpoint.seen.append((request, body))
        return await answering(request, body)

    runner = web.ServerRunner(web.Server(handle), shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
    await site.start()
    scheme = "https" if tls else "http"
    endpoint.url = f"{scheme}://127.0.0.1:{runner.addresses[0][1]}{PATH}"
    try:
        yield endpoint
    finally:
        await runner.cleanup()


def answer(**response: Any) -> Answering:
    """The same answer to everything."""

    async def always(_request: web.BaseRequest, _body: bytes) -> web.Response:
        return web.Response(**response)

    return always
