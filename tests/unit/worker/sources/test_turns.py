"""Bodies that come at once leave the event loop to others in between."""

import asyncio
from itertools import pairwise

import aiohttp

from tests.fakes.clock import ManualClock
from worker.limits import ConnectionCeiling
from worker.sources.client import SignedClient
from worker.sources.signing import Credentials

KEY = "endpoint=https://calls.communication.azure.com/;accesskey=a2V5"


async def test_one_body_goes_on_in_each_turn() -> None:
    """However many bodies have data, a turn of the loop is as short as one piece of one."""
    clock = ManualClock()
    went_on: list[int] = []
    async with aiohttp.ClientSession() as session:
        client = SignedClient(
            session=session,
            credentials=Credentials.parse(KEY),
            clock=clock,
            ceiling=ConnectionCeiling(8, clock=clock),
        )

        async def bring(number: int) -> None:
            await client._let_others_on()
            went_on.append(number)

        async with asyncio.TaskGroup() as group:
            for number in range(8):
                group.create_task(bring(number))
            seen = [0]
            while seen[-1] < 8:
                await asyncio.sleep(0)
                seen.append(len(went_on))

    assert went_on == list(range(8))
    assert max(later - earlier for earlier, later in pairwise(seen)) == 1
