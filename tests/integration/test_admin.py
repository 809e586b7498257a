"""The admin listener under those who ask too often, or never hang up."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress

import aiohttp
import pytest
from prometheus_client import CollectorRegistry, Metric
from prometheus_client.registry import Collector
from structlog.testing import capture_logs

from tests.fakes.clock import ManualClock
from worker import admin
from worker.settings_shapes import Listen
from worker.sight import Sight
from worker.standing import Standing


class SlowCollector(Collector):
    """Counts who collects, and has each wait for the gate."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.collected = 0
        self.begun = threading.Event()
        self.ended = threading.Event()

    def describe(self) -> list[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        self.collected += 1
        self.begun.set()
        is_open = self.gate.wait(20)
        self.ended.set()
        assert is_open
        yield Metric("numbers", "of now", "gauge")


@pytest.fixture
def slow() -> Iterator[SlowCollector]:
    slow = SlowCollector()
    yield slow
    slow.gate.set()


@pytest.fixture
async def url(slow: SlowCollector) -> AsyncIterator[str]:
    async with listening(slow) as url:
        yield url


@asynccontextmanager
async def listening(slow: SlowCollector) -> AsyncIterator[str]:
    registry = CollectorRegistry()
    registry.register(slow)
    clock = ManualClock()
    standing = Standing(
        verb="webhook",
        instance="one",
        clock=clock,
        consumes=False,
        sight=Sight(clock=clock),
    )
    at = Listen(host="127.0.0.1", port=0)
    async with AsyncExitStack() as stack:
        with capture_logs() as lines:
            await stack.enter_async_context(admin.open_admin(at, standing, registry))
        yield lines[0]["listen"]


async def get(session: aiohttp.ClientSession, url: str) -> str:
    async with session.get(url) as got:
        assert got.status == 200
        return await got.text()


async def test_scrapes_hold_up_nobody_and_are_made_one_at_a_time(
    url: str, slow: SlowCollector
) -> None:
    """The loop answers all the while, and who asks meanwhile gets what is being made."""
    async with aiohttp.ClientSession() as session, asyncio.TaskGroup() as group:
        scrapes = [group.create_task(get(session, f"{url}/metrics")) for _ in range(9)]
        assert await asyncio.to_thread(slow.begun.wait, 20)
        for _ in range(9):
            assert await get(session, f"{url}/livez") == "alive\n"
        at_once = slow.collected
        slow.gate.set()

    assert {scrape.result() for scrape in scrapes} == {
        "# HELP numbers of now\n# TYPE numbers gauge\n"
    }
    assert at_once == 1


async def test_scrape_after_a_scrape_is_a_new_one(
    url: str, slow: SlowCollector
) -> None:
    """Numbers of now, not of before."""
    slow.gate.set()
    async with aiohttp.ClientSession() as session:
        for _ in range(2):
            await get(session, f"{url}/metrics")

    assert slow.collected == 2


async def test_connections_that_are_kept_open_keep_nobody_out(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The oldest gives way: it is closed, and the newest is answered."""
    monkeypatch.setattr(admin, "MOST_CONNECTIONS", 3)
    host, _, port = url.removeprefix("http://").partition(":")
    opened = [await asyncio.open_connection(host, int(port)) for _ in range(4)]
    oldest, second = opened[0][0], opened[1]
    assert await oldest.read() == b""

    second[1].write(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
    answer = await second[0].readline()
    for _, writer in opened:
        writer.close()

    assert answer == b"HTTP/1.1 200 OK\r\n"


def test_process_ends_while_a_scrape_hangs(slow: SlowCollector) -> None:
    """A thread of the loop's executor would be waited for, however long it takes."""

    async def scrape_and_stop() -> None:
        async with aiohttp.ClientSession() as session:
            async with listening(slow) as url:
                scrape = asyncio.create_task(get(session, f"{url}/metrics"))
                assert await asyncio.to_thread(slow.begun.wait, 20)
            with suppress(aiohttp.ClientError):
                await scrape

    asyncio.run(scrape_and_stop())

    assert not slow.gate.is_set()
    assert not slow.ended.is_set()
