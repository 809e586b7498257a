"""The webhook on a real server, its parts within reach, and senders of every kind."""

import asyncio
import io
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from aiohttp import web

from handlers.auth import Auth, KeyAuth, Verdict
from handlers.health import Health
from handlers.limits import Limits
from handlers.quarantine import Quarantine
from handlers.receiver import Received, ReceivedKind, Receiver
from handlers.webhook import TURNED_AWAY, webhook_app, webhook_runner
from tests.factories import RETENTION
from tests.fakes.archive import MemoryArchive
from tests.fakes.clock import ManualClock
from tests.unit.handlers.bodies import SmallQueue

KEY = "new&key"
KEYS = ("old-key", KEY)
EVENTS = "/api/events"
GRID = {"aeg-event-type": "Notification", "aeg-delivery-count": "2"}
WAIT_SECONDS = 10


@dataclass(slots=True, kw_only=True)
class Endpoint:
    """A webhook on loopback, its parts within reach."""

    client: aiohttp.ClientSession
    app: web.Application
    port: int
    runner: web.AppRunner
    health: Health
    queue: SmallQueue
    archive: MemoryArchive
    senders: list["Sender"]

    async def post(self, body: bytes, *, key: str | None = KEY) -> tuple[int, str]:
        """Deliver as Event Grid does; return status and text."""
        query = {} if key is None else {"code": key}
        async with self.client.post(
            EVENTS, data=io.BytesIO(body), params=query, headers=GRID
        ) as answer:
            return answer.status, await answer.text()

    async def connect(self) -> "Sender":
        """Open a connection that a test writes to byte for byte."""
        sender = Sender(*await asyncio.open_connection("127.0.0.1", self.port))
        self.senders.append(sender)
        return sender

    def open_connections(self) -> list[web.RequestHandler]:
        """Those that hold a descriptor, whoever counts them."""
        return self.runner.server.connections if self.runner.server else []

    def turned_away(self) -> dict[str, int]:
        """How many deliveries were turned away, by reason."""
        counts = self.app[TURNED_AWAY]
        return dict(counts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One answer as it came; names of headers in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


class Sender:
    """Any sender, however odd: it sends what it is told, and reads whole answers."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._reader = reader
        self._writer = writer

    async def send(self, *parts: bytes) -> None:
        """Send at once what there is."""
        self._writer.write(b"".join(parts))
        await self._writer.drain()

    async def answer(self) -> Answer:
        """Wait for one answer; without a Content-Length there is none."""
        async with asyncio.timeout(WAIT_SECONDS):
            head = (await self._reader.readuntil(b"\r\n\r\n")).decode().splitlines()
            pairs = (line.split(": ", 1) for line in head[1:] if line)
            headers = {name.lower(): value for name, value in pairs}
            body = await self._reader.readexactly(int(headers["content-length"]))
        return Answer(status=int(head[0].split()[1]), headers=headers, body=body)

    async def interim(self) -> bytes:
        """Wait for an answer before the answer: a line and no headers."""
        async with asyncio.timeout(WAIT_SECONDS):
            return await self._reader.readuntil(b"\r\n\r\n")

    async def is_closed(self) -> bool:
        """Wait for the other side to close; False if it says something instead."""
        async with asyncio.timeout(WAIT_SECONDS):
            try:
                return await self._reader.read(1) == b""
            except ConnectionError:
                return True

    def close(self) -> None:
        """Go away."""
        self._writer.close()


@dataclass(slots=True, kw_only=True)
class Parts:
    """What a test may replace."""

    queue: SmallQueue = field(default_factory=SmallQueue)
    archive: MemoryArchive = field(default_factory=MemoryArchive)
    auth: Auth = field(default_factory=lambda: KeyAuth(KEYS))
    receiver: object = None
    quarantine: object = None
    aside: Any = lambda _body, **_told: None
    limits: Limits = field(default_factory=Limits)
    send_buffer_bytes: int = 0
    """Of the machine, for each connection; 0: as it likes."""


class UnableAuth:
    """Can't tell who is who."""

    async def judge(self, *_told: object) -> Verdict:
        return Verdict.UNABLE


class StuckReceiver:
    """Answers when it is let go; smaller bodies than `only_over` at once."""

    def __init__(self, *, only_over: int = 0) -> None:
        self.began = asyncio.Event()
        self.let_go = asyncio.Event()
        self.ended = asyncio.Event()
        self.finished = 0
        self._only_over = only_over

    async def receive(self, body: bytes, **_told: object) -> Received:
        self.began.set()
        try:
            if len(body) > self._only_over:
                await self.let_go.wait()
            self.finished += 1
        finally:
            self.ended.set()
        return Received(kind=ReceivedKind.ACCEPTED)


class BrokenReceiver:
    """Has a bug."""

    async def receive(self, body: bytes, **_told: object) -> Received:
        raise LookupError(len(body))


@asynccontextmanager
async def serving(parts: Parts | None = None) -> AsyncIterator[Endpoint]:
    """Start an endpoint on a free port."""
    parts = parts or Parts()
    clock = ManualClock()
    health = Health(parts.archive.ready, clock)
    quarantine = parts.quarantine or Quarantine(parts.archive, clock)
    receiver = parts.receiver or Receiver(
        parts.queue,
        quarantine,  # type: ignore[arg-type]  # whatever a test put there
        clock,
        retention=RETENTION,
    )
    app = webhook_app(
        receiver,  # type: ignore[arg-type]  # the same
        parts.auth,
        health,
        limits=parts.limits,
        aside=parts.aside,
    )
    runner = webhook_runner(app, grace_seconds=0.1)
    await runner.setup()
    listener = socket.create_server(("127.0.0.1", 0))
    if parts.send_buffer_bytes:
        listener.setsockopt(
            socket.SOL_SOCKET, socket.SO_SNDBUF, parts.send_buffer_bytes
        )
    await web.SockSite(runner, listener).start()
    port = runner.addresses[0][1]
    senders: list[Sender] = []
    try:
        async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as client:
            yield Endpoint(
                client=client,
                app=app,
                port=port,
                runner=runner,
                health=health,
                queue=parts.queue,
                archive=parts.archive,
                senders=senders,
            )
    finally:
        for sender in senders:
            sender.close()
        await runner.cleanup()
