"""Clients of Azure's SDK show what they were given to whom they were told, and no more."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from aiohttp import web
from azure.core.exceptions import HttpResponseError

from tests.fakes.clock import START
from tests.topic import KEY
from worker import sdk_options, storage_places
from worker.acs import rooms
from worker.acs.calls import transfer_state
from worker.acs.clients import open_clients
from worker.acs.resources import Resource
from worker.acs.trouble import AcsAnswerError, AcsRefusedError, AcsUnavailableError
from worker.errors import TopicUnavailableError
from worker.storage_clients import Identity, container_client, queue_client
from worker.storage_places import Place, Service
from worker.stored import Notice
from worker.topics.event_grid import EventGridTopic

SAS = "sv=2022-11-02&sig=c2lnbmF0dXJl"
NOBODY = Identity(connection_string=None, token=None)


@dataclass(slots=True, kw_only=True)
class Listener:
    """Notes what it is asked; answers 200, sends to `elsewhere`, or says nothing."""

    url: str = ""
    elsewhere: str = ""
    is_silent: bool = False
    asked: list[web.Request] = field(default_factory=list)

    async def answer(self, request: web.Request) -> web.Response:
        self.asked.append(request)
        if self.is_silent:
            await asyncio.Event().wait()
        if self.elsewhere:
            there = f"{self.elsewhere}{request.path}"
            return web.Response(status=307, headers={"Location": there})
        return web.Response()


@asynccontextmanager
async def listening() -> AsyncIterator[Listener]:
    listener = Listener()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", listener.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        listener.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield listener
    finally:
        await runner.cleanup()


@pytest.fixture
async def service() -> AsyncIterator[Listener]:
    async with listening() as listener:
        yield listener


@pytest.fixture
async def other() -> AsyncIterator[Listener]:
    """Whoever was not named."""
    async with listening() as listener:
        yield listener


Asking = Callable[[Listener], Awaitable[None]]


def place_at(service: Listener, kind: Service) -> Place:
    url = f"{service.url}/account/calls?{SAS}"
    return storage_places.parse(url, kind)


async def ask_for_blobs(service: Listener) -> None:
    place = place_at(service, Service.BLOB)
    async with container_client(place, NOBODY) as client:
        await client.get_container_properties()


async def ask_for_messages(service: Listener) -> None:
    place = place_at(service, Service.QUEUE)
    async with queue_client(place, NOBODY) as client:
        await client.clear_messages()


async def tell(service: Listener) -> None:
    notice = Notice(id="1", type="T", subject="s", time=START, data={})
    endpoint = f"{service.url}/api/events"
    async with EventGridTopic.open(endpoint, key=KEY, source="urn:us") as topic:
        await topic.publish([notice])


async def ask_for_a_call(service: Listener) -> None:
    resource = Resource(name="acs", endpoint=service.url, key=KEY)
    async with open_clients(resource) as clients:
        await transfer_state(clients, "c1")


async def ask_for_a_room(service: Listener) -> None:
    resource = Resource(name="acs", endpoint=service.url, key=KEY)
    async with open_clients(resource) as clients:
        await rooms.get(clients, "1")


ASKING = pytest.mark.parametrize(
    "ask", [ask_for_blobs, ask_for_messages, tell, ask_for_a_call, ask_for_a_room]
)


@ASKING
async def test_environment_adds_nothing_to_a_request(
    ask: Asking,
    service: Listener,
    other: Listener,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The password of .netrc stays here, and loopback traffic goes to no proxy."""
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password hunter2\n")
    monkeypatch.setenv("NETRC", str(netrc))
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.setenv(name, other.url)
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)

    with suppress(HttpResponseError, AcsAnswerError):
        await ask(service)

    assert other.asked == []
    (request,) = service.asked
    assert not request.headers.get("Authorization", "").startswith("Basic")


@ASKING
async def test_credential_does_not_follow_a_redirect(
    ask: Asking, service: Listener, other: Listener
) -> None:
    """It is for the host that was named, and for no other."""
    service.elsewhere = other.url

    with pytest.raises((HttpResponseError, TopicUnavailableError, AcsRefusedError)):
        await ask(service)

    assert len(service.asked) == 1
    assert other.asked == []


@pytest.mark.parametrize("ask", [ask_for_a_call, ask_for_a_room])
async def test_silence_of_acs_has_an_end(
    ask: Asking, service: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one that all clients have, and not the minutes of the SDK."""
    monkeypatch.setattr(sdk_options, "READ_SECONDS", 0.2)
    service.is_silent = True

    async with asyncio.timeout(10):
        with pytest.raises(AcsUnavailableError, match="did not answer"):
            await ask(service)
