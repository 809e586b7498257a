"""The inbox on Azurite: what Event Grid puts there, what is missing, what is forbidden."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

import pytest
from azure.storage.queue import QueueSasPermissions, generate_queue_sas
from azure.storage.queue.aio import QueueClient
from structlog.testing import capture_logs

from handlers.inbox import HIDE_SECONDS, PAGE_MESSAGES, Inbox
from handlers.receiver import Receiver
from samples import events_dir
from tests import azurite as emulator
from tests.azurite import Azurite
from tests.conftest import UniqueName
from tests.factories import RETENTION
from tests.fakes.clock import START, HurriedClock, ManualClock
from tests.storage_proxy import Fault, StorageProxy
from tests.unit.handlers.bodies import SmallQuarantine
from worker import storage_places
from worker.entra import MachineIdentity
from worker.errors import ConfigError, QueueUnavailableError
from worker.queues.inbox_queue import POISON, InboxStorageQueue
from worker.queues.sqlite import SqliteQueue
from worker.queues.storage.channel import OPERATION
from worker.storage_clients import Identity, queue_client
from worker.storage_places import Place, Service

GOOD = ("one-chunk.event-grid.json", "one-chunk.cloud-event.json")
BAD = "malformed/not-an-event.json"
NOBODY = "http://127.0.0.1:9"


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """An inbox on Azurite, with a queue of chunks on disk behind it."""

    place: Place
    identity: Identity
    inbox: Inbox
    queue: SqliteQueue
    quarantine: SmallQuarantine
    messages: QueueClient

    async def send(self, sample: str, *, plain: bool = False) -> None:
        body = (events_dir() / sample).read_bytes()
        text = body.decode() if plain else base64.b64encode(body).decode()
        await self.messages.send_message(text)

    async def left(self) -> int:
        """How many messages there are, hidden ones too."""
        properties = await self.messages.get_queue_properties()
        return properties.approximate_message_count or 0


@pytest.fixture
def place(azurite: Azurite, unique_name: UniqueName) -> Place:
    """A queue that is not there yet."""
    return storage_places.parse(azurite.queue(unique_name("inbox")), Service.QUEUE)


@pytest.fixture
def owner(azurite: Azurite) -> Identity:
    """Who may do all."""
    account = storage_places.parse_connection_string(azurite.connection_string)
    return Identity(connection_string=account, token=MachineIdentity())


NOBODYS = Identity(connection_string=None, token=MachineIdentity())


def signed(place: Place, permission: str) -> Place:
    """The place with a signature that permits just this."""
    sas = generate_queue_sas(
        emulator.ACCOUNT,
        place.name,
        emulator.KEY,
        permission=QueueSasPermissions.from_string(permission),
        expiry=datetime.now(UTC) + timedelta(hours=1),
    )
    return replace(place, sas=sas)


def an_inbox(place: Place, identity: Identity) -> InboxStorageQueue:
    return InboxStorageQueue(
        place,
        identity,
        clock=HurriedClock(),
        random=Random(1),  # noqa: S311 - jitter
    )


@asynccontextmanager
async def opened(place: Place, identity: Identity, path: Path) -> AsyncIterator[Desk]:
    clock = ManualClock(START)
    quarantine = SmallQuarantine()
    async with (
        SqliteQueue(
            path / "queue.db",
            clock=clock,
            worker="test",
            random=Random(1),  # noqa: S311 - jitter
        ) as queue,
        an_inbox(place, identity) as storage,
        queue_client(place, identity) as messages,
    ):
        receiver = Receiver(queue, quarantine, clock, retention=RETENTION)
        inbox = Inbox(receiver, storage, clock, cut=asyncio.Event())
        yield Desk(
            place=place,
            identity=identity,
            inbox=inbox,
            queue=queue,
            quarantine=quarantine,
            messages=messages,
        )


@pytest.fixture
async def desk(place: Place, owner: Identity, tmp_path: Path) -> AsyncIterator[Desk]:
    """An inbox that was just created."""
    async with opened(place, owner, tmp_path) as desk:
        yield desk


@pytest.fixture
async def proxy(azurite: Azurite) -> AsyncIterator[StorageProxy]:
    """Azurite's queues behind a network that can be told to fail."""
    async with StorageProxy(azurite.queue_url) as proxy:
        yield proxy


@pytest.mark.receiver_row(12)
@pytest.mark.parametrize("plain", [False, True], ids=["base64", "plain"])
async def test_events_of_both_schemas_become_chunks(desk: Desk, *, plain: bool) -> None:
    """Each message is an event, however it is written; it goes when its chunk is durable."""
    for sample in GOOD:
        await desk.send(sample, plain=plain)

    turns: list[None] = []
    assert await desk.inbox.empty(asyncio.Event(), turned=lambda: turns.append(None))

    assert len(turns) > 1
    assert len(await desk.queue.list()) == len(GOOD)
    assert await desk.left() == 0


async def test_bad_message_is_poison_with_its_reason(
    desk: Desk, owner: Identity
) -> None:
    """It leaves the inbox for the poison queue, and the good one beside it is received."""
    await desk.send(BAD)
    await desk.messages.send_message("neither base64 nor JSON")
    await desk.send(GOOD[0])

    await desk.inbox.empty(asyncio.Event())

    async with queue_client(desk.place, owner, suffix=POISON) as poison:
        texts = [m.content async for m in poison.receive_messages()]
    whys = sorted(json.loads(text)["reason"] for text in texts)
    assert whys == ["an event has no type", "not JSON at character 0"]
    assert len(desk.quarantine.bodies) == 2
    assert len(await desk.queue.list()) == 1
    assert await desk.left() == 0


async def test_worker_that_dies_before_the_delete_does_no_harm(
    desk: Desk, place: Place, owner: Identity
) -> None:
    """The message comes back, is received as a duplicate, and then it is deleted."""
    await desk.send(GOOD[0])
    async with an_inbox(place, owner) as of_the_dead:
        (message,) = await of_the_dead.receive(PAGE_MESSAGES, hide_seconds=HIDE_SECONDS)
        await of_the_dead.hide(message, seconds=0)  # so much time has passed

    with capture_logs() as logs:
        await desk.inbox.empty(asyncio.Event())
        await desk.send(GOOD[0])
        await desk.inbox.empty(asyncio.Event())

    accepted = [line for line in logs if line["event"] == "delivery.accepted"]
    assert [line["delivery_count"] for line in accepted] == [1, 0]
    assert [line["duplicates"] for line in accepted] == [0, 1]
    assert len(await desk.queue.list()) == 1
    assert await desk.left() == 0


async def test_two_readers_share_an_inbox(
    desk: Desk, place: Place, owner: Identity, tmp_path: Path
) -> None:
    """Several workers read one inbox; together they receive each message."""
    for sample in GOOD * 2:
        await desk.send(sample)

    other_folder = tmp_path / "other"
    other_folder.mkdir()
    async with opened(place, owner, other_folder) as other, asyncio.TaskGroup() as both:
        for reader in (desk, other):
            both.create_task(reader.inbox.empty(asyncio.Event()))

    assert await desk.left() == 0


async def test_inbox_that_vanishes_is_awaited(desk: Desk) -> None:
    """A queue that was deleted is trouble, with the command that creates it as the hint."""
    await desk.messages.delete_queue()

    with capture_logs() as logs:
        assert not await desk.inbox.empty(asyncio.Event())
        await desk.messages.create_queue()
        assert await desk.inbox.empty(asyncio.Event())

    assert [line["event"] for line in logs] == ["inbox.unavailable", "inbox.resumed"]
    assert logs[0]["error"].startswith("there is no such queue (404 QueueNotFound, ")
    assert logs[0]["hint"].startswith(
        f"az storage queue create --name {desk.place.name}"
    )


async def test_missing_inbox_that_may_not_be_created_stops_the_start(
    place: Place,
) -> None:
    """The start fails with the command that creates the queue."""
    with pytest.raises(ConfigError, match="there is no such queue") as refused:
        async with an_inbox(signed(place, "rp"), NOBODYS):
            pass

    assert refused.value.hint == (
        f"az storage queue create --name {place.name}"
        f" --account-name {place.account} --auth-mode login"
    )


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (
            Fault.status(403, "AuthenticationFailed"),
            "signature is expired or not valid",
        ),
        (Fault.status(403, "RequestTimeTooSkewed"), "clock is wrong"),
        (Fault.status(403, "AccountIsDisabled"), "account is disabled"),
    ],
    ids=["expired", "skewed", "disabled"],
)
async def test_refusal_at_the_start_is_told_with_a_hint(
    place: Place, proxy: StorageProxy, fault: Fault, says: str
) -> None:
    """What a human must mend stops the start, in one line and with a command."""
    proxy.plan(fault, times=2)
    there = replace(signed(place, "rp"), account_url=proxy.url)

    with pytest.raises(ConfigError, match=says) as refused:
        await an_inbox(there, NOBODYS).__aenter__()

    assert refused.value.hint
    assert len(refused.value.problems) == 1
    assert "sig=" not in str(refused.value)


async def test_inbox_is_read_with_no_more_than_the_right_to(
    desk: Desk, place: Place
) -> None:
    """Whoever may only process messages needs no right to create a queue."""
    await desk.send(GOOD[0])

    async with an_inbox(signed(place, "rp"), NOBODYS) as queue:
        (message,) = await queue.receive(1, hide_seconds=HIDE_SECONDS)
        await queue.delete(message)

    assert await desk.left() == 0


async def test_refusal_of_the_service_is_trouble_without_secrets(
    desk: Desk, place: Place
) -> None:
    """Who may not read learns so from the error, which has no signature in it."""
    reader = signed(place, "a")
    async with an_inbox(reader, NOBODYS) as queue:
        with pytest.raises(QueueUnavailableError) as refused:
            await queue.receive(1, hide_seconds=HIDE_SECONDS)

    assert "Authorization" in str(refused.value)
    assert "sig=" not in str(refused.value)
    assert desk.place.name in str(refused.value)


async def test_start_does_not_wait_for_the_service(place: Place) -> None:
    """A service that is down is asked again later."""
    nowhere = replace(signed(place, "rp"), account_url=f"{NOBODY}/{place.account}")

    async with an_inbox(nowhere, NOBODYS) as queue:
        with pytest.raises(QueueUnavailableError):
            await queue.receive(1, hide_seconds=HIDE_SECONDS)


@pytest.mark.parametrize("operation", ["get_messages", "delete_message"])
@pytest.mark.parametrize(
    "fault", [Fault.status(503, "ServerBusy"), Fault.reset()], ids=str
)
async def test_trouble_of_the_service_loses_nothing(
    place: Place,
    owner: Identity,
    tmp_path: Path,
    proxy: StorageProxy,
    operation: str,
    fault: Fault,
) -> None:
    """A message that can't be received is received later; one that can't be deleted stays."""
    there = replace(signed(place, "raup"), account_url=proxy.url)
    async with queue_client(place, owner) as creator:
        await creator.create_queue()
    async with opened(there, NOBODYS, tmp_path) as desk:
        await desk.send(GOOD[0])
        # After a reset aiohttp itself asks once more.
        asked = 2 if fault.kind == "reset" else 1
        proxy.plan(fault, on=operation, times=asked * OPERATION.attempts)
        with capture_logs() as logs:
            assert not await desk.inbox.empty(asyncio.Event())
            await desk.inbox.empty(asyncio.Event())

        assert len(await desk.queue.list()) == 1
    is_deleted = operation != "delete_message"
    async with queue_client(place, owner) as looker:
        properties = await looker.get_queue_properties()
    assert properties.approximate_message_count == (0 if is_deleted else 1)
    said = [line["event"] for line in logs]
    assert said.count("inbox.unavailable") == 1
    assert said.count("inbox.resumed") == is_deleted


async def test_archive_of_the_quarantine_may_be_down(
    place: Place, owner: Identity, tmp_path: Path
) -> None:
    """A bad message whose quarantine fails is neither poison nor lost: it comes back."""
    async with opened(place, owner, tmp_path) as desk:
        desk.quarantine.fails_with = QueueUnavailableError("no quarantine")
        await desk.send(BAD)

        assert not await desk.inbox.empty(asyncio.Event())

        assert await desk.left() == 1
