"""A stand-in for the media service of ACS, as the recorded sessions of the SDKs show it.

Two listeners on loopback: the *global* one answers 302 to the *regional* one, which serves

    GET    /v1/objects/{documentId}/content/video          also for wav and mp3
    GET    /v1/objects/{documentId}/content/acsmetadata
    DELETE /v1/objects/{documentId}[/content/deletedata]

Both refuse what is neither signed with the resource's key nor bears one of its `tokens`. In
a test:

    async with StandIn() as acs:
        acs.put("doc", content=b"...", metadata=b"{}")
        acs.plan("doc", "content", [Fault.cut_after(100), Fault.status(503)])
        location = acs.locations("doc").content

As a process of its own, until SIGINT: `python -m samples.acs --help`. The control API of ACS
(recordings, rooms, calls) has a stand-in too: `samples/control/`.
"""

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Iterable
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Self
from urllib.parse import quote
from weakref import WeakKeyDictionary

from aiohttp import web

from samples import answers
from samples.addressing import addressed
from samples.answers import Answer
from samples.catalogue import SampleObject, load_catalogue
from samples.content import Content, MemoryContent, SyntheticContent
from samples.faults import Fault
from samples.objects import OBJECTS, Objects, Part, StoredObject, Target
from samples.pace import Pace
from samples.signature import Resource, SignedRequest, refusal
from samples.wire import SeenRequest, send

__all__ = [
    "DEMO_CONNECTION_STRING",
    "Fault",
    "Locations",
    "SeenRequest",
    "StandIn",
    "SyntheticContent",
]

DEMO_CONNECTION_STRING = (
    "endpoint=https://contoso.communication.azure.com/;"
    "accesskey=bm90IGEgc2VjcmV0OiB0aGUga2V5IG9mIHRoZSBzdGFuZC1pbiBmb3IgQUNT"
)
LOOPBACK = "127.0.0.1"
SHUTDOWN_S = 0.1
"""How long an answer in the making may hold up the end."""
Answering = Callable[[web.BaseRequest], Awaitable[Answer]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Locations:
    """The three URLs that an event would announce for a document."""

    content: str
    metadata: str
    delete: str


class StandIn:
    """The service for one ACS resource; an async context manager, on ports of its own.

    `bytes_per_second` caps each connection, `latency_s` delays each answer. `host_names`
    (global, regional) stand in URLs instead of 127.0.0.1: with `ssl_context`, a client that
    resolves them to loopback sees the service under a TLS name that it allows. `tokens` are
    those of Entra that it takes; they may come and go. `retention` is how long a document is
    kept, by `now`; None: for ever.
    """

    def __init__(  # noqa: PLR0913 - each is an independent knob of a test
        self,
        *,
        connection_string: str = DEMO_CONNECTION_STRING,
        bytes_per_second: float | None = None,
        latency_s: float = 0.0,
        ssl_context: ssl.SSLContext | None = None,
        host_names: tuple[str, str] | None = None,
        port: int = 0,
        regional_port: int = 0,
        retention: timedelta | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.connection_string = connection_string
        self.tokens: set[str] = set()
        self.requests: list[SeenRequest] = []
        self.global_port = port
        self.regional_port = regional_port
        self._resource = Resource.from_connection_string(connection_string)
        self._bytes_per_second = bytes_per_second
        self._latency_s = latency_s
        self._ssl_context = ssl_context
        self._host_names = host_names or (LOOPBACK, LOOPBACK)
        self._retention = retention
        self._now = now
        self._objects = Objects()
        self._paces: WeakKeyDictionary[asyncio.Transport, Pace] = WeakKeyDictionary()
        self._catalogue: list[SampleObject] = []
        self._arrived = asyncio.Condition()
        self._listeners = AsyncExitStack()

    async def __aenter__(self) -> Self:
        self._catalogue = await asyncio.to_thread(load_catalogue)
        self.regional_port = await self._listen(
            self._answer_regional, port=self.regional_port
        )
        self.global_port = await self._listen(
            self._answer_global, port=self.global_port
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._listeners.aclose()

    async def _listen(self, answer: Answering, *, port: int) -> int:
        async def handle(request: web.BaseRequest) -> web.StreamResponse:
            return await self._handle(request, answer)

        # A client that leaves must end an answer that hangs.
        server = web.Server(handle, handler_cancellation=True)
        runner = web.ServerRunner(server, shutdown_timeout=SHUTDOWN_S)
        await runner.setup()
        self._listeners.push_async_callback(runner.cleanup)
        site = web.TCPSite(runner, LOOPBACK, port, ssl_context=self._ssl_context)
        await site.start()
        return int(runner.addresses[0][1])

    @property
    def global_host(self) -> str:
        """HOST:PORT that events name; it redirects to the regional one."""
        return f"{self._host_names[0]}:{self.global_port}"

    @property
    def regional_host(self) -> str:
        """HOST:PORT that serves the documents."""
        return f"{self._host_names[1]}:{self.regional_port}"

    @property
    def deleted(self) -> set[str]:
        """Documents that a delete has removed and no `put` has brought back."""
        return self._objects.deleted

    def put(
        self,
        document_id: str,
        *,
        content: bytes | Path | Content,
        metadata: bytes | Path | None,
    ) -> None:
        """Have a document; a file is read, whole, whenever it is asked for."""
        now = self._now()
        stored = StoredObject(
            content=_content(content),
            metadata=None if metadata is None else _content(metadata),
            last_modified=format_datetime(now, usegmt=True),
            expires_at=now + self._retention if self._retention else None,
        )
        self._objects.put(document_id, stored)

    def serve_samples(self) -> None:
        """Have every sample document that `samples/media/objects.json` lists."""
        for sample in self._catalogue:
            self.put(
                sample.document_id, content=sample.content, metadata=sample.metadata
            )

    def locations(self, document_id: str) -> Locations:
        """What an event would announce, on the global host."""
        base = f"{self._url(self.global_host)}{OBJECTS}{quote(document_id, safe='')}"
        return Locations(
            content=f"{base}/content/video",
            metadata=f"{base}/content/acsmetadata",
            delete=f"{base}/content/deletedata",
        )

    def address(self, body: bytes) -> bytes:
        """Rewrite the hosts of ACS in an event to this stand-in's global host."""
        return addressed(body, self._url(self.global_host))

    def plan(self, document_id: str, part: Part, faults: Iterable[Fault]) -> None:
        """Let the next requests for this part meet these faults, one each, in order.

        A persistent fault stays. A redirect is met at either listener, all others only at
        the regional one. A request that is not authentic meets none.
        """
        self._objects.plan(document_id, part, faults)

    async def wait_for_requests(self, count: int) -> None:
        """Wait until `count` requests have arrived, answered or not."""
        async with self._arrived:
            await self._arrived.wait_for(lambda: len(self.requests) >= count)

    async def _handle(
        self, request: web.BaseRequest, answer: Answering
    ) -> web.StreamResponse:
        seen = await self._see(request)
        body = await request.read()
        await asyncio.sleep(self._latency_s)
        reply = self._refused(request, body) or await answer(request)
        date = format_datetime(self._now(), usegmt=True)
        reply = replace(reply, headers={"Date": date, **reply.headers})
        return await send(request, reply, seen=seen, pace=self._pace(request))

    async def _see(self, request: web.BaseRequest) -> SeenRequest:
        seen = SeenRequest(
            method=request.method,
            host=request.host,
            path=request.raw_path,
            range=request.headers.get("Range"),
            signed_at=request.headers.get("x-ms-date"),
        )
        async with self._arrived:
            self.requests.append(seen)
            self._arrived.notify_all()
        return seen

    def _refused(self, request: web.BaseRequest, body: bytes) -> Answer | None:
        signed = SignedRequest(
            method=request.method,
            target=request.raw_path,
            headers=request.headers,
            body=body,
        )
        reason = refusal(
            signed, resource=self._resource, tokens=self.tokens, now=self._now()
        )
        if reason is None:
            return None
        return answers.unauthorized(request.path, message=reason)

    async def _answer_global(self, request: web.BaseRequest) -> Answer:
        elsewhere = self._objects.redirected(_target(request))
        regional = self._url(self.regional_host) + request.raw_path
        return elsewhere or answers.redirect(regional)

    async def _answer_regional(self, request: web.BaseRequest) -> Answer:
        self._objects.forget_expired(self._now())
        return await self._objects.answer(
            _target(request), request.headers.get("Range")
        )

    def _url(self, host: str) -> str:
        return f"{'https' if self._ssl_context else 'http'}://{host}"

    def _pace(self, request: web.BaseRequest) -> Pace | None:
        """Return the pace of this request's connection, shared by all its requests."""
        if self._bytes_per_second is None or request.transport is None:
            return None
        return self._paces.setdefault(request.transport, Pace(self._bytes_per_second))


def _content(source: bytes | Path | Content) -> Content | Path:
    return MemoryContent(source) if isinstance(source, bytes) else source


def _target(request: web.BaseRequest) -> Target:
    return Target.of(request.method, request.raw_path)


if __name__ == "__main__":
    # Imported here, because serving from the command line imports this module.
    from samples.serve import main

    main()
