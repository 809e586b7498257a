"""`python -m tests.bench.slow`: connections that never come to the end of their bodies.

Each has our key and Event Grid's headers, and sends a byte now and then. One that is closed
or answered is opened anew, so that there are always as many. Runs until SIGTERM, then prints
how many were open. Reads its orders as JSON from stdin.
"""

import asyncio
import json
import signal
import statistics
import sys
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from urllib.parse import urlsplit

from tests.bench.load import READY_LINE

TURNS = 50
"""Parts of a round; in each as many connections send their byte."""
AGAIN_SECONDS = 0.5
OPEN_SECONDS = 5.0
"""A server may allow fewer: then as many as it does."""
BODY_BYTES = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class SlowOrders:
    """How many connections, and how often each sends a byte."""

    url: str
    connections: int
    every_seconds: float


@dataclass(slots=True, kw_only=True)
class SlowOutcome:
    """How many were open, most of the time, and how often one was cut off."""

    open: float = 0
    cut: int = 0


class SlowConnection(asyncio.Protocol):
    """One request whose body comes byte by byte."""

    def __init__(self, head: bytes) -> None:
        self._head = head
        self._left = BODY_BYTES
        self._transport: asyncio.Transport | None = None
        self.over = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if isinstance(transport, asyncio.Transport):
            self._transport = transport
            transport.write(self._head + b"[")

    def send(self) -> None:
        """One more blank, which a body may have any number of; never the last byte."""
        self._left -= 1
        if self._transport is not None and self._left > 1:
            self._transport.write(b" ")

    def data_received(self, _: bytes) -> None:
        if self._transport is not None:
            self._transport.close()

    def connection_lost(self, _: Exception | None) -> None:
        self.over.set()


@dataclass(slots=True)
class Slow:
    """All connections; `run` ends when it is cancelled."""

    orders: SlowOrders
    open: set[SlowConnection] = field(default_factory=set)
    all_open: asyncio.Event = field(default_factory=asyncio.Event)
    counted: list[int] = field(default_factory=list)
    opened: int = 0

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(self.orders.connections):
                group.create_task(self._keep_one())
            group.create_task(self._send())

    def outcome(self) -> SlowOutcome:
        cut = max(self.opened - self.orders.connections, 0)
        return SlowOutcome(open=statistics.median(self.counted), cut=cut)

    async def _keep_one(self) -> None:
        target = urlsplit(self.orders.url)
        head = (
            f"POST {target.path}?{target.query} HTTP/1.1\r\nHost: {target.netloc}\r\n"
            "Content-Type: application/json\r\naeg-event-type: Notification\r\n"
            f"aeg-delivery-count: 0\r\nContent-Length: {BODY_BYTES}\r\n\r\n"
        )
        while True:
            with suppress(OSError):
                await self._hold_one(
                    head.encode(), target.hostname or "", target.port or 80
                )
            await asyncio.sleep(AGAIN_SECONDS)

    async def _hold_one(self, head: bytes, host: str, port: int) -> None:
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(
            lambda: SlowConnection(head), host, port
        )
        self.opened += 1
        self.open.add(connection)
        if len(self.open) == self.orders.connections:
            self.all_open.set()
        await connection.over.wait()
        self.open.discard(connection)

    async def _send(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(OPEN_SECONDS):
                await self.all_open.wait()
        sys.stdout.write(READY_LINE)
        sys.stdout.flush()
        while True:
            self.counted.append(len(self.open))
            connections = tuple(self.open)
            for turn in range(TURNS):
                for connection in connections[turn::TURNS]:
                    connection.send()
                await asyncio.sleep(self.orders.every_seconds / TURNS)


async def _run(orders: SlowOrders) -> SlowOutcome:
    slow = Slow(orders)
    running = asyncio.create_task(slow.run())
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, running.cancel)
    with suppress(asyncio.CancelledError):
        await running
    return slow.outcome()


def main() -> None:
    """Carry out the orders."""
    orders = SlowOrders(**json.load(sys.stdin))
    print(json.dumps(asdict(asyncio.run(_run(orders)))))


if __name__ == "__main__":
    main()
