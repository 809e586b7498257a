"""What networks and a busy service do to the Storage Queue: a proxy before Azurite fails."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from functools import partial

import pytest

from tests.azurite import Azurite
from tests.conftest import UniqueName
from tests.contract.queues import PATIENCE_SECONDS, a_storage_queue
from tests.factories import a_delivery, some_chunks
from tests.fakes.archive import MemoryArchive
from tests.fakes.clock import START
from tests.integration.storage_world import (
    HOUR,
    World,
    eventually,
    leased,
    leased_and_released,
)
from tests.storage_proxy import Fault, StorageProxy
from worker.clock import SystemClock
from worker.errors import ConfigError, LeaseLostError, QueueUnavailableError
from worker.model import ChunkState
from worker.queues.storage.queue import StorageQueue

FAULTS = [
    Fault.status(503, "ServerBusy", retry_after=0.1),
    Fault.status(500, "OperationTimedOut"),
    Fault.status(429, "TooManyRequests", retry_after=0.1),
    Fault.reset(),
    Fault.lost_answer(),
    Fault.cut(after_bytes=1),
]
OPERATIONS = ["put_message", "get_messages", "update_message", "delete_message"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Faulty:
    """A queue behind a proxy, and the world behind both."""

    proxy: StorageProxy
    queue: StorageQueue
    world: World


@pytest.fixture
async def faulty(azurite: Azurite, unique_name: UniqueName) -> AsyncIterator[Faulty]:
    world = World(azurite=azurite, name=unique_name("faults"))
    async with StorageProxy(azurite.queue_url) as proxy:
        account = replace(azurite, queue_url=proxy.url)
        queue = a_storage_queue(
            account,
            world.name,
            archive=world.archive,
            clock=SystemClock(),
            lease_seconds=1,
        )
        async with queue:
            yield Faulty(proxy=proxy, queue=queue, world=world)


async def work_off(queue: StorageQueue) -> bool:
    """Lease, hold on, wait once and complete; whether nothing is left."""
    for lease in await queue.lease(2):
        try:
            extended = await queue.extend(lease)
            await queue.complete(extended, ChunkState.DELETED, note="")
        except LeaseLostError:
            # The answer to our own change was lost: the chunk comes back.
            continue
    return await queue.next_due() is None


@pytest.mark.parametrize("on", OPERATIONS)
@pytest.mark.parametrize("fault", FAULTS, ids=str)
async def test_chunks_survive_every_fault_once(
    faulty: Faulty, fault: Fault, on: str
) -> None:
    """On whichever operation: all chunks end once, and no message is left."""
    now = SystemClock().now()
    chunks = some_chunks(2, expires_at=now + 24 * HOUR, received_at=now)
    faulty.proxy.plan(fault, on=on)

    await faulty.queue.put(a_delivery(*chunks, received_at=now))
    await eventually(lambda: work_off(faulty.queue))

    assert on in faulty.proxy.operations()
    assert await faulty.world.sizes() == [0, 0]
    entries = await faulty.queue.list()
    assert {entry.chunk for entry in entries} == set(chunks)
    assert {entry.state for entry in entries} == {ChunkState.DELETED}


async def test_service_that_stays_busy_is_told_in_one_line(faulty: Faulty) -> None:
    """After some tries; when it asks for a long wait, at once."""
    busy = Fault.status(503, "ServerBusy", retry_after=90)
    faulty.proxy.plan(busy, on="put_message", times=99)

    with pytest.raises(QueueUnavailableError, match="it asks to come back in 90 s"):
        await faulty.queue.put(a_delivery(*some_chunks(1)))

    assert faulty.proxy.operations().count("put_message") == 1


async def test_put_that_failed_is_whole_when_it_comes_again(faulty: Faulty) -> None:
    """What was stored of a delivery that was not acknowledged is no second delivery."""
    now = SystemClock().now()
    chunks = some_chunks(1, expires_at=now + 24 * HOUR, received_at=now)
    delivery = a_delivery(*chunks, received_at=now)
    faulty.proxy.plan(Fault.status(403, "AuthorizationFailure"), on="put_message")
    with pytest.raises(QueueUnavailableError, match="may not do that"):
        await faulty.queue.put(delivery)

    await faulty.queue.put(delivery)

    assert len(await leased(faulty.queue, 1)) == 1
    assert len(await faulty.queue.list()) == 1


async def test_cancelled_lease_gives_back_what_it_got(faulty: Faulty) -> None:
    """Cut while it asks for more, a worker holds nothing of what it was given before."""
    now = SystemClock().now()
    chunks = some_chunks(2, expires_at=now + 24 * HOUR, received_at=now)
    await faulty.queue.put(a_delivery(*chunks, received_at=now))
    await leased_and_released(faulty.queue, 2)
    faulty.proxy.seen.clear()
    busy = Fault.status(503, "ServerBusy", retry_after=2)
    faulty.proxy.plan(busy, on="get_messages", skip=2)
    leasing = asyncio.ensure_future(faulty.queue.lease(9))
    await eventually(partial(has_asked, faulty.proxy, times=3))

    leasing.cancel()
    await asyncio.wait({leasing}, timeout=PATIENCE_SECONDS)

    assert leasing.cancelled()
    leases = await leased(faulty.queue, 2)
    assert {lease.attempts for lease in leases} == {1}


async def has_asked(proxy: StorageProxy, *, times: int) -> bool:
    return proxy.operations().count("get_messages") >= times


REFUSALS = {
    "expired signature": (
        Fault.status(
            403,
            "AuthenticationFailed",
            detail="Signature not valid in the specified time frame",
        ),
        "expired or not valid",
    ),
    "clock skew": (
        Fault.status(
            403,
            "AuthenticationFailed",
            detail="The date header in the request is incorrect.",
        ),
        "clock is wrong",
    ),
    "skewed token": (Fault.status(403, "RequestTimeTooSkewed"), "clock is wrong"),
    "no token": (Fault.status(403, "NoAuthenticationInformation"), "credential"),
    "wrong key": (Fault.status(403, "AuthenticationFailed"), "credential"),
    "firewall": (Fault.status(403, "AuthorizationFailure"), "not from here"),
    "disabled": (Fault.status(403, "AccountIsDisabled"), "disabled"),
}


@pytest.mark.parametrize(("fault", "text"), REFUSALS.values(), ids=REFUSALS)
async def test_refusal_at_the_start_is_told_with_a_hint(
    azurite: Azurite, unique_name: UniqueName, fault: Fault, text: str
) -> None:
    """What a human must mend stops the start, in one line."""
    async with StorageProxy(azurite.queue_url) as proxy:
        proxy.plan(fault, times=99)
        account = replace(azurite, queue_url=proxy.url)
        queue = a_storage_queue(
            account,
            unique_name("refused"),
            archive=MemoryArchive(),
            clock=SystemClock(),
        )

        with pytest.raises(ConfigError, match=text) as refused:
            await queue.__aenter__()

    assert refused.value.hint
    assert len(refused.value.problems) == 1
    assert "\n" not in str(refused.value)


async def test_who_may_only_send_is_ready(
    azurite: Azurite, unique_name: UniqueName
) -> None:
    """A webhook of its own needs no right to look into the queue."""
    world = World(azurite=azurite, name=unique_name("sender"))
    async with world.worker():
        pass
    may_not = Fault.status(403, "AuthorizationPermissionMismatch")
    async with StorageProxy(azurite.queue_url) as proxy:
        proxy.plan(may_not, on="peek_messages", times=99)
        proxy.plan(may_not, on="create_queue", times=99)
        account = replace(azurite, queue_url=proxy.url)
        async with a_storage_queue(
            account, world.name, archive=world.archive, clock=world.clock
        ) as queue:
            await queue.ready()
            await queue.put(a_delivery(*some_chunks(1, expires_at=START + HOUR)))

    assert await world.sizes() == [1, 0]


async def test_service_that_is_down_is_waited_for(
    azurite: Azurite, unique_name: UniqueName
) -> None:
    """A start during an outage is no failure: the worker asks again."""
    world = World(azurite=azurite, name=unique_name("down"))
    async with world.worker():
        pass
    async with StorageProxy(azurite.queue_url) as proxy:
        proxy.plan(Fault.status(503, "ServerBusy", retry_after=90), times=3)
        account = replace(azurite, queue_url=proxy.url)
        async with a_storage_queue(
            account, world.name, archive=world.archive, clock=SystemClock()
        ) as queue:
            assert await queue.lease(1) == []
