"""From before the storage is open until after it is closed, deliveries get an answer."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import pytest

from handlers.quarantine import Quarantine
from handlers.receiver import Receiver
from tests.factories import RETENTION
from tests.fakes.archive import MemoryArchive
from tests.fakes.clock import ManualClock
from tests.unit.handlers.bodies import SmallQueue, a_body, a_grid_event
from tests.webhook import WAIT_SECONDS, Sender
from worker import receiving
from worker.errors import QueueUnavailableError
from worker.model import Delivery, PutResult
from worker.receiving import Endpoint
from worker.settings import Settings
from worker.settings_rules import Use

BODY = a_body(a_grid_event())
HEAD = b"POST /api/events HTTP/1.1\r\nHost: worker\r\nContent-Length: %d\r\n" % len(
    BODY
)


class StuckQueue(SmallQueue):
    """Takes a delivery once it is let go; closed, it takes none."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = asyncio.Event()
        self.let_go = asyncio.Event()
        self.is_closed = False

    async def put(self, delivery: Delivery) -> PutResult:
        self.asked.set()
        await self.let_go.wait()
        if self.is_closed:
            raise QueueUnavailableError("closed")
        return await super().put(delivery)

    async def ready(self) -> None:
        """It always is."""


@pytest.fixture
async def endpoint(tmp_path: Path) -> AsyncIterator[Endpoint]:
    """An endpoint that listens and has nothing to put deliveries into."""
    settings = Settings.load(
        {
            "WORKER_SOURCE_HOSTS": "127.0.0.1:9",
            "WORKER_LISTEN": "127.0.0.1:0",
            "WORKER_ARCHIVE": f"file:{tmp_path}/archive",
            "WORKER_QUEUE": f"sqlite:{tmp_path}/queue.db",
        },
        use=Use.WEBHOOK,
    )
    async with receiving.listening(settings) as endpoint:
        yield endpoint


@pytest.fixture
async def client(endpoint: Endpoint) -> AsyncIterator[aiohttp.ClientSession]:
    """Someone who asks it."""
    async with aiohttp.ClientSession(
        endpoint.url.removesuffix("/api/events")
    ) as asking:
        yield asking


async def status(client: aiohttp.ClientSession, path: str) -> tuple[int, str]:
    async with client.get(path) as answer:
        return answer.status, await answer.text()


async def delivered(client: aiohttp.ClientSession) -> int:
    async with client.post("/api/events", data=BODY) as answer:
        return answer.status


def a_receiver(queue: SmallQueue) -> Receiver:
    clock = ManualClock()
    quarantine = Quarantine(MemoryArchive(), clock)
    return Receiver(queue, quarantine, clock, retention=RETENTION)


async def connected(endpoint: Endpoint) -> Sender:
    at = urlsplit(endpoint.url)
    return Sender(*await asyncio.open_connection(at.hostname, at.port))


@pytest.mark.receiver_row(8)
async def test_delivery_has_an_answer_in_every_phase(
    endpoint: Endpoint, client: aiohttp.ClientSession
) -> None:
    """503 before and after, never a refused connection or a 404; alive all the time."""
    queue = StuckQueue()
    queue.let_go.set()
    seen = []
    for taking in (False, True, False):
        if taking:
            async with endpoint.taking(a_receiver(queue), queue.ready):
                seen.append((await delivered(client), await status(client, "/readyz")))
        else:
            seen.append((await delivered(client), await status(client, "/readyz")))
        assert (await status(client, "/livez"))[0] == 200

    assert seen == [
        (503, (503, "starting\n")),
        (200, (200, "ready\n")),
        (503, (503, "draining\n")),
    ]
    assert len(queue.deliveries) == 1


@pytest.mark.receiver_row(8)
async def test_end_waits_for_what_is_being_stored(
    endpoint: Endpoint, client: aiohttp.ClientSession
) -> None:
    """The queue is closed only after the last delivery is in it, and its answer is 200."""
    queue = StuckQueue()
    taking = endpoint.taking(a_receiver(queue), queue.ready)
    await taking.__aenter__()
    posted = asyncio.create_task(delivered(client))
    async with asyncio.timeout(WAIT_SECONDS):
        await queue.asked.wait()
    ending = asyncio.create_task(taking.__aexit__(None, None, None))
    await asyncio.sleep(0)

    assert await delivered(client) == 503
    assert not ending.done()
    queue.let_go.set()
    async with asyncio.timeout(WAIT_SECONDS):
        await ending
    queue.is_closed = True

    assert await posted == 200


@pytest.mark.receiver_row(8)
async def test_body_that_comes_too_late_is_not_stored(endpoint: Endpoint) -> None:
    """Let in before the end, complete after it: 503, and nothing asks a closed queue."""
    queue = StuckQueue()
    sender = await connected(endpoint)
    async with endpoint.taking(a_receiver(queue), queue.ready):
        await sender.send(HEAD, b"Expect: 100-continue\r\n\r\n")
        await sender.interim()
    await sender.send(BODY)

    assert (await sender.answer()).status == 503
    assert not queue.asked.is_set()
    sender.close()
