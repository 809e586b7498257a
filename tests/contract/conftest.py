"""Every queue that there is, for the suites that all of them are held to."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.conftest import UniqueName
from tests.contract.queues import Rig, WholeQueue, memory_rig, sqlite_rig, storage_rig
from tests.fakes.clock import ManualClock


@pytest.fixture(params=["memory", "sqlite", "storage"])
async def rig(
    request: pytest.FixtureRequest, tmp_path: Path, unique_name: UniqueName
) -> AsyncIterator[Rig]:
    clock = ManualClock()
    async with AsyncExitStack() as stack:
        match request.param:
            case "memory":
                yield memory_rig(clock)
            case "sqlite":
                yield await stack.enter_async_context(sqlite_rig(clock, tmp_path))
            case _:
                azurite = request.getfixturevalue("azurite")
                opened = storage_rig(clock, azurite, unique_name("contract"))
                yield await stack.enter_async_context(opened)


@pytest.fixture
def queue(rig: Rig) -> WholeQueue:
    return rig.queue
