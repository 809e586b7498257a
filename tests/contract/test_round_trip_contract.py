"""A queue can be tried while workers work: what goes in comes out, and nobody else sees it."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.conftest import UniqueName
from tests.contract.queues import (
    WholeQueue,
    memory_rig,
    sqlite_rig,
    storage_rig,
)
from tests.factories import a_chunk, a_delivery
from tests.fakes.clock import ManualClock
from worker.ops.doctor import ProbedQueue


@pytest.fixture(params=["memory", "sqlite", "storage"])
async def queue(
    request: pytest.FixtureRequest, tmp_path: Path, unique_name: UniqueName
) -> AsyncIterator[WholeQueue]:
    clock = ManualClock()
    async with AsyncExitStack() as stack:
        match request.param:
            case "memory":
                yield memory_rig(clock).queue
            case "sqlite":
                rig = await stack.enter_async_context(sqlite_rig(clock, tmp_path))
                yield rig.queue
            case _:
                azurite = request.getfixturevalue("azurite")
                opened = storage_rig(clock, azurite, unique_name("probed"))
                yield (await stack.enter_async_context(opened)).queue


async def test_probe_goes_in_and_out(queue: WholeQueue) -> None:
    """As often as one likes."""
    assert isinstance(queue, ProbedQueue)

    assert await queue.round_trip()
    assert await queue.round_trip()


async def test_probe_is_nobodys_chunk(queue: WholeQueue) -> None:
    """A worker leases what was put, and no more; the queue lists no more."""
    assert isinstance(queue, ProbedQueue)
    await queue.put(a_delivery(a_chunk()))

    await queue.round_trip()

    (lease,) = await queue.lease(10)
    assert lease.chunk == a_chunk()
    assert len(await queue.list()) == 1
