"""`python -m tests.bench.load`: deliveries over keep-alive connections, and how long each took.

A process of its own, on bare asyncio, so that it takes as little as can be of the processors
that it shares with the webhook. Reads its orders as JSON from stdin, prints what came of them.
With `per_second` each delivery has a time at which it ought to go out, and its latency counts
from then, whether or not a connection was free: a server that stalls can't hide it.
`until_broken` deliveries go on until the connections break, so that the server can be killed
under load; those sent after `seconds` are not measured.
"""

import asyncio
import gc
import json
import sys
from collections import deque
from dataclasses import asdict, dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from tests.bench.numbers import NUMBER, spread

READY_LINE = "measured\n"
LONGEST_AFTER_SECONDS = 60.0
TICK_SECONDS = 0.001
_END = b"\r\n\r\n"
_OK = b"HTTP/1.1 200 "
_NO_BODY = b"content-length: 0"


@dataclass(frozen=True, slots=True, kw_only=True)
class Orders:
    """What to send; `body_file` holds one event with NUMBER where its number goes.

    Delivery n carries the events from `(first + n) * events` on, `events` of them.
    """

    url: str
    body_file: str
    connections: int
    seconds: float
    per_second: float | None = None
    events: int = 1
    first: int = 0
    until_broken: bool = True


@dataclass(slots=True, kw_only=True)
class Outcome:
    """What came of it. Numbers below `sent` went out; those in `unheard` got no answer."""

    sent: int = 0
    unheard: list[int] = field(default_factory=list)
    refused: int = 0
    measured: int = 0
    seconds: float = 0.0
    p50_ms: float = 0.0
    p99_ms: float = 0.0
    longest_ms: float = 0.0


class Connection(asyncio.Protocol):
    """One keep-alive connection with at most one delivery on its way."""

    def __init__(self, load: "Load") -> None:
        self._load = load
        self._transport: asyncio.Transport | None = None
        self._answer = b""
        self.number = -1
        self.due = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if isinstance(transport, asyncio.Transport):
            self._transport = transport

    def send(self, number: int, *, due: float) -> None:
        self.number, self.due = number, due
        if self._transport is not None:
            self._transport.write(self._load.request(number))

    def data_received(self, data: bytes) -> None:
        answer = self._answer + data
        if not answer.endswith(_END):
            self._answer = answer
            return
        self._answer = b""
        is_ack = answer.startswith(_OK) and _NO_BODY in answer.lower()
        self._load.answered(self, is_ack=is_ack)

    def connection_lost(self, _: Exception | None) -> None:
        self._load.broke(self)


class Load:
    """All connections, what they are to send, and what was measured."""

    def __init__(self, orders: Orders) -> None:
        self._loop = asyncio.get_running_loop()
        self._orders = orders
        self._head, self._parts = _request_parts(orders)
        self._idle: deque[Connection] = deque()
        self._backlog: deque[float] = deque()
        self._open = 0
        self._latencies: list[float] = []
        self._measured_until = 0.0
        self._last_answer = 0.0
        self._began = 0.0
        self._over = asyncio.Event()
        self.outcome = Outcome()

    def request(self, number: int) -> bytes:
        count = self._orders.events
        first = (self._orders.first + number) * count
        listed = [
            spread(each).join(self._parts) for each in range(first, first + count)
        ]
        return b"%b[%b]" % (self._head, b",".join(listed))

    async def run(self) -> Outcome:
        """Send for as long as ordered, say so, and end when all is answered or broken."""
        target = urlsplit(self._orders.url)
        host, port = target.hostname or "", target.port or 80
        for _ in range(self._orders.connections):
            _, connection = await self._loop.create_connection(
                lambda: Connection(self), host, port
            )
            self._idle.append(connection)
            self._open += 1
        self._began = self._loop.time()
        self._measured_until = self._began + self._orders.seconds
        sending = asyncio.create_task(self._send())
        await asyncio.sleep(self._orders.seconds)
        sys.stdout.write(READY_LINE)
        sys.stdout.flush()
        if not self._orders.until_broken:
            sending.cancel()
            self._backlog.clear()
            self._end_if_idle()
        async with asyncio.timeout(LONGEST_AFTER_SECONDS):
            await self._over.wait()
        sending.cancel()
        return self._result()

    async def _send(self) -> None:
        if self._orders.per_second is None:
            while self._idle:
                self._send_next(self._idle.popleft(), due=self._loop.time())
            return
        due, every = self._began, 1 / self._orders.per_second
        while True:
            now = self._loop.time()
            while due <= now:
                self._backlog.append(due)
                due += every
            while self._backlog and self._idle:
                self._send_next(self._idle.popleft(), due=self._backlog.popleft())
            await asyncio.sleep(TICK_SECONDS)

    def _send_next(self, connection: Connection, *, due: float) -> None:
        connection.send(self.outcome.sent, due=due)
        self.outcome.sent += 1

    def answered(self, connection: Connection, *, is_ack: bool) -> None:
        now = self._loop.time()
        if not is_ack:
            self.outcome.refused += 1
            self.outcome.unheard.append(connection.number)
        elif connection.due < self._measured_until:
            self._latencies.append(now - connection.due)
            self._last_answer = now
        connection.number = -1
        if self._orders.per_second is None:
            self._send_next(connection, due=now)
        elif self._backlog:
            self._send_next(connection, due=self._backlog.popleft())
        else:
            self._idle.append(connection)
            self._end_if_idle()

    def _end_if_idle(self) -> None:
        is_late = self._loop.time() >= self._measured_until
        if is_late and not self._orders.until_broken and len(self._idle) == self._open:
            self._over.set()

    def broke(self, connection: Connection) -> None:
        if connection.number >= 0:
            self.outcome.unheard.append(connection.number)
        if connection in self._idle:
            self._idle.remove(connection)
        self._open -= 1
        if self._open == 0:
            self._over.set()

    def _result(self) -> Outcome:
        found = sorted(self._latencies)
        outcome = self.outcome
        outcome.measured = len(found)
        outcome.seconds = self._last_answer - self._began
        if found:
            outcome.p50_ms = found[len(found) // 2] * 1000
            outcome.p99_ms = found[len(found) * 99 // 100] * 1000
            outcome.longest_ms = found[-1] * 1000
        return outcome


def _request_parts(orders: Orders) -> tuple[bytes, list[bytes]]:
    """The head of every request, and an event as what stands between its numbers."""
    event = Path(orders.body_file).read_bytes()
    length = orders.events * (len(event) + 1) + 1
    target = urlsplit(orders.url)
    head = (
        f"POST {target.path}?{target.query} HTTP/1.1\r\nHost: {target.netloc}\r\n"
        "Content-Type: application/json\r\naeg-event-type: Notification\r\n"
        f"aeg-delivery-count: 0\r\nContent-Length: {length}\r\n\r\n"
    )
    return head.encode(), event.split(NUMBER.encode())


async def _run(orders: Orders) -> Outcome:
    return await Load(orders).run()


def main() -> None:
    """Carry out the orders."""
    orders = Orders(**json.load(sys.stdin))
    # A pause of ours would pass for one of the server's.
    gc.disable()
    sys.stdout.write(json.dumps(asdict(asyncio.run(_run(orders)))))


if __name__ == "__main__":
    main()
