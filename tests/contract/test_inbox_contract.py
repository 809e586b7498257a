"""What every inbox keeps: the fake that the handlers are tested with, and Azure's queue."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from random import SystemRandom

import pytest

from handlers.inbox import PAGE_MESSAGES, InboxQueue
from tests.azurite import Azurite
from tests.conftest import UniqueName
from tests.fakes.clock import ManualClock
from tests.fakes.inbox import MemoryInbox
from worker import storage_places
from worker.clock import SystemClock
from worker.entra import MachineIdentity
from worker.queues.inbox_queue import POISON, InboxStorageQueue
from worker.storage_clients import Identity, queue_client
from worker.storage_places import Service

ODD_TEXTS = ["", "{}", '<a>&"é😀\r\n', "bm90IGpzb24=", "x" * 65_536]


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """An inbox, and how Event Grid and an operator see it."""

    queue: InboxQueue
    send: Callable[[str], Awaitable[None]]
    poisoned: Callable[[], Awaitable[list[str]]]


async def _memory() -> AsyncIterator[Opened]:
    inbox = MemoryInbox(ManualClock())

    async def poisoned() -> list[str]:
        return inbox.poisoned

    yield Opened(queue=inbox, send=inbox.send, poisoned=poisoned)


async def _azurite(azurite: Azurite, name: str) -> AsyncIterator[Opened]:
    place = storage_places.parse(azurite.queue(name), Service.QUEUE)
    account = storage_places.parse_connection_string(azurite.connection_string)
    identity = Identity(connection_string=account, token=MachineIdentity())
    async with (
        InboxStorageQueue(
            place, identity, clock=SystemClock(), random=SystemRandom()
        ) as queue,
        queue_client(place, identity) as sender,
        queue_client(place, identity, suffix=POISON) as poison,
    ):

        async def send(text: str) -> None:
            await sender.send_message(text)

        async def poisoned() -> list[str]:
            return [m.content async for m in poison.receive_messages()]

        yield Opened(queue=queue, send=send, poisoned=poisoned)


@pytest.fixture(params=["memory", "azurite"])
async def opened(
    request: pytest.FixtureRequest, unique_name: UniqueName
) -> AsyncIterator[Opened]:
    """An empty inbox."""
    if request.param == "memory":
        async for opened in _memory():
            yield opened
        return
    azurite: Azurite = request.getfixturevalue("azurite")
    async for opened in _azurite(azurite, unique_name("inbox")):
        yield opened


async def test_received_message_is_hidden(opened: Opened) -> None:
    """What one reader has received, no other gets for now."""
    await opened.send("one")

    (message,) = await opened.queue.receive(PAGE_MESSAGES, hide_seconds=60)

    assert (message.text, message.times) == ("one", 1)
    assert await opened.queue.receive(PAGE_MESSAGES, hide_seconds=60) == []


async def test_message_comes_back_when_told(opened: Opened) -> None:
    """A message comes back as late as it was told to, one delivery older."""
    await opened.send("one")
    (message,) = await opened.queue.receive(1, hide_seconds=60)

    await opened.queue.hide(message, seconds=0)

    (again,) = await opened.queue.receive(1, hide_seconds=60)
    assert (again.id, again.text, again.times) == (message.id, "one", 2)


async def test_deleted_message_stays_away(opened: Opened) -> None:
    """A deleted message is gone, and deleting it again does nothing."""
    await opened.send("one")
    (message,) = await opened.queue.receive(1, hide_seconds=60)

    await opened.queue.delete(message)
    await opened.queue.delete(message)
    await opened.queue.hide(message, seconds=0)

    assert await opened.queue.receive(1, hide_seconds=60) == []


async def test_message_of_somebody_else_is_left_alone(opened: Opened) -> None:
    """Who was too slow can't take a message from whoever has received it since."""
    await opened.send("one")
    (slow,) = await opened.queue.receive(1, hide_seconds=60)
    await opened.queue.hide(slow, seconds=0)
    (message,) = await opened.queue.receive(1, hide_seconds=60)

    await opened.queue.delete(slow)
    await opened.queue.hide(slow, seconds=0)

    assert await opened.queue.receive(1, hide_seconds=60) == []
    await opened.queue.hide(message, seconds=0)
    assert len(await opened.queue.receive(1, hide_seconds=60)) == 1


async def test_page_is_bounded(opened: Opened) -> None:
    """No more messages are received than asked for."""
    for number in range(3):
        await opened.send(str(number))

    page = await opened.queue.receive(2, hide_seconds=60)

    assert len(page) == 2
    assert len(await opened.queue.receive(PAGE_MESSAGES, hide_seconds=60)) == 1


async def test_texts_are_as_sent(opened: Opened) -> None:
    """Whatever a message says arrives as it is, and one odd message spoils no page."""
    for text in ODD_TEXTS:
        await opened.send(text)

    page = await opened.queue.receive(PAGE_MESSAGES, hide_seconds=60)

    assert [message.text for message in page] == ODD_TEXTS


async def test_poison_is_kept(opened: Opened) -> None:
    """What is poison can be found in the poison queue."""
    await opened.queue.poison('{"reason": "é"}')

    assert await opened.poisoned() == ['{"reason": "é"}']
