"""Requests as they come off the wire, to the endpoint with all that is behind it."""

import asyncio
import re
import socket
from collections.abc import Iterable
from dataclasses import dataclass, field
from urllib.parse import quote

from handlers.auth import KeyAuth
from handlers.health import Health
from handlers.receiver import ReceivedKind, Receiver
from handlers.statuses import Consent, Refusal, status_of
from handlers.webhook import PATH, webhook_app, webhook_runner
from samples import events_dir
from tests.factories import RETENTION
from tests.fakes.clock import ManualClock
from tests.fuzz import mutations
from tests.fuzz.target import Target
from tests.unit.handlers.bodies import SmallQuarantine, SmallQueue, a_body, a_validation

KEY = "the-key"
ANSWER_SECONDS = 15
TURNS = 60
"""Of the event loop; a delivery takes about ten."""
TABLE = {
    status_of(outcome) for kind in (ReceivedKind, Refusal, Consent) for outcome in kind
}
FINAL = {400, 401, 403, 404, 413}
"""Never sent again: for what looks like Event Grid's, only once it is kept."""
_SHAPE = re.compile(r"aeg-|webhook-request-origin$", re.IGNORECASE)
_IN_A_URL = "%&=+;/?:@!$'()*,~-._"
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]{0,4000}")
_METHOD = re.compile(r"[A-Z]{1,16}")
_FRAMING = {"host", "connection", "content-length", "transfer-encoding", "upgrade"}
"""What says where a request ends is not for the sender of an event to choose."""
_MOST_HEADERS = 60


@dataclass(slots=True)
class Stores:
    """What the endpoint puts things into."""

    queue: SmallQueue = field(default_factory=SmallQueue)
    quarantine: SmallQuarantine = field(default_factory=SmallQuarantine)

    @property
    def has_something(self) -> bool:
        return bool(self.queue.deliveries or self.quarantine.bodies)


def check_request(data: bytes) -> None:
    """A request that HTTP allows: `METHOD TARGET`, header lines, an empty line, the body."""
    head, _, body = data.partition(b"\n\n")
    first, *lines = head.decode("latin-1").split("\n")
    method, _, target = first.partition(" ")
    method = method if _METHOD.fullmatch(method) and method != "CONNECT" else "POST"
    target = target if target.startswith("/") else f"/{target}"
    headers = _headers(lines)
    told = [
        f"{method} {quote(target, safe=_IN_A_URL)} HTTP/1.1",
        *("Host: worker.example", "Connection: close", f"Content-Length: {len(body)}"),
        *headers,
    ]
    asked = "\r\n".join([*told, "", ""]).encode("latin-1") + body
    stores = Stores()
    statuses = asyncio.run(_statuses(asked, stores))
    assert len(statuses) == 1, statuses
    is_grid = any(_SHAPE.match(header.partition(":")[0]) for header in headers)
    if is_grid and method not in {"GET", "HEAD", "OPTIONS"} and FINAL & set(statuses):
        assert stores.has_something, statuses


def check_wire(data: bytes) -> None:
    """Whatever comes, for as long as it comes."""
    asyncio.run(_statuses(data, Stores()))


def _headers(lines: Iterable[str]) -> list[str]:
    """Those that HTTP allows: Event Grid sends no others."""
    pairs = (line.partition(":") for line in lines)
    told = [(name.strip(), value.strip(" \t")) for name, _, value in pairs]
    return [
        f"{name}: {value}"
        for name, value in told[:_MOST_HEADERS]
        if _NAME.fullmatch(name)
        and name.lower() not in _FRAMING
        and _VALUE.fullmatch(value)
    ]


async def _statuses(asked: bytes, stores: Stores) -> list[int]:
    """Have a server of its own answer, over a pair of sockets; all of them are of the table."""
    clock = ManualClock()
    receiver = Receiver(stores.queue, stores.quarantine, clock, retention=RETENTION)
    app = webhook_app(receiver, KeyAuth((KEY,)), Health(_ready, clock))
    runner = webhook_runner(app, grace_seconds=0)
    ours, theirs = socket.socketpair()
    try:
        await runner.setup()
        server = runner.server
        assert server is not None
        loop = asyncio.get_running_loop()
        await loop.connect_accepted_socket(server, sock=theirs)
        answer = await _exchange(ours, asked)
    finally:
        await runner.cleanup()
    found = re.findall(rb"HTTP/1\.[01] (\d{3}) ", answer)
    statuses = [int(status) for status in found if not status.startswith(b"1")]
    assert set(statuses) <= TABLE, statuses
    return statuses


async def _exchange(ours: socket.socket, asked: bytes) -> bytes:
    """Say it all, and listen to the end; who has nothing to answer by then never will.

    A server hangs up on whoever does, so that the end is said only after a while.
    """
    reader, writer = await asyncio.open_connection(sock=ours)
    writer.write(asked)
    for _ in range(TURNS):
        await asyncio.sleep(0)
    if not reader.at_eof():
        writer.write_eof()
    async with asyncio.timeout(ANSWER_SECONDS):
        try:
            return await reader.read()
        except ConnectionResetError:
            return b""
        finally:
            writer.close()


async def _ready() -> None:
    """Always."""


def _request_seeds() -> Iterable[bytes]:
    body = (events_dir() / "one-chunk.event-grid.json").read_bytes()
    grid = "aeg-event-type: Notification\naeg-delivery-count: 1"
    kind = "Content-Type: application/json; charset=utf-8"
    origin = "WebHook-Request-Origin: eventgrid.azure.net"
    known = f"POST {PATH}?code={KEY}"
    for first, headers, content in (
        (known, f"{grid}\n{kind}", body),
        (f"POST {PATH}", f"x-functions-key: {KEY}\n{kind}\nExpect: 100-continue", body),
        (known, "Content-Encoding: gzip\nContent-Type: text/plain", body),
        (known, "aeg-event-type: SubscriptionValidation", a_body(a_validation())),
        (known, "aeg-event-type: Unsubscribe", b"[]"),
        (f"POST {PATH}?code=wrong", f"{grid}\nAuthorization: Bearer a.b.c", body),
        (f"PUT /{PATH}/?code={KEY}", f"{grid}\nContent-Encoding: deflate", b""),
        (known, "ce-type: a\nce-id: 1\nContent-Encoding: identity", b"{}"),
        (f"OPTIONS {PATH}", origin, b""),
        ("GET /readyz", "Accept: */*", b""),
    ):
        yield f"{first}\n{headers}\n\n".encode() + content


def _wire_seeds() -> Iterable[bytes]:
    start = f"POST {PATH}?code={KEY} HTTP/1.1\r\nHost: a\r\n"
    body = a_body(a_validation()).decode()
    yield f"{start}Content-Length: {len(body)}\r\n\r\n{body}".encode()
    yield f"{start}Transfer-Encoding: chunked\r\n\r\n2\r\n[]\r\n0\r\n\r\n".encode()
    yield (f"{start}Content-Length: 2\r\n\r\n[]" * 2).encode()
    yield f"{start}Expect: 100-continue\r\nContent-Length: 2\r\n\r\n[]".encode()
    yield b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\nGET /readyz HTTP/1.0\r\n\r\n"


REQUEST = Target(
    name="request",
    check=check_request,
    seeds=_request_seeds,
    mutate=mutations.of_lines,
)
WIRE = Target(
    name="wire", check=check_wire, seeds=_wire_seeds, mutate=mutations.of_lines
)
