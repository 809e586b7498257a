"""The runbook's way from a loss to a proof, typed as it stands there."""

import json
import shlex
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from azure.storage.blob.aio import ContainerClient

from tests import runbook
from tests.azurite import Azurite
from tests.e2e import events
from tests.e2e.worker_process import Ended
from tests.e2e.world import World

CONTAINER = "https://ACCOUNT.blob.core.windows.net/dead-letters"
LOST, DEAD = "0-eus-d1-lost", "0-eus-d1-dead"
LONGER_SECONDS = 120
"""A dozen processes, one after the other."""


@pytest.fixture
async def letters(own_account: Azurite) -> AsyncIterator[ContainerClient]:
    """Where Event Grid leaves what it gave up."""
    text = own_account.connection_string
    async with ContainerClient.from_connection_string(text, "dead-letters") as client:
        await client.create_container()
        yield client


async def give_up(letters: ContainerClient, body: bytes) -> None:
    """As Event Grid does when its time to live is over."""
    (event,) = json.loads(body)
    dead = event | {"deadLetterReason": "TimeToLiveExceeded", "deliveryAttempts": 9}
    await letters.upload_blob("RECORDINGS/2026/3/1/9/a.json", json.dumps([dead]))


async def lose_a_worker(world: World, body: bytes) -> None:
    """It left a chunk dead, for a host of ACS was not set, and was killed."""
    narrow = {"WORKER_SOURCE_HOSTS": world.acs.regional_host}
    async with replace(world, settings=narrow).running("serve") as worker:
        assert await events.post(await worker.url(), body) == 200
        await worker.wait_for("chunk.finished", outcome="dead")
        worker.kill()


@pytest.mark.timeout(LONGER_SECONDS)
async def test_runbook_leads_from_a_loss_to_a_proof(
    world: World, letters: ContainerClient, own_account: Azurite
) -> None:
    """Each line ends well, but for the first two, which say what is wrong."""
    lost, _ = events.fresh_chunk(world.acs, LOST)
    dead, _ = events.fresh_chunk(world.acs, DEAD)
    await give_up(letters, lost)
    await lose_a_worker(world, dead)

    typed = [line async for line in typing(world, own_account)]

    lines = [line for line, _ in typed]
    codes = [ended.code for _, ended in typed]
    assert codes == [3, 3, *[0] * (len(codes) - 2)], list(
        zip(lines, codes, strict=True)
    )
    assert "1 in " in typed[0][1].out
    assert "recording-worker replay " in typed[0][1].out
    # No delete without proof: what ACS has no more is home.
    assert world.acs.deleted == {LOST, DEAD}
    assert world.acs.unproven == []
    assert (await world.run("recordings", "verify", DEAD)).code == 0


async def typing(world: World, account: Azurite) -> AsyncIterator[tuple[str, Ended]]:
    """The lines of the runbook, with what their words stand for here."""
    here = f"{account.container('dead-letters')}?{account.signature()}"
    for line in runbook.typed_lines(runbook.part_of("From a loss to a proof")):
        told = line.replace(CONTAINER, shlex.quote(here)).replace(
            "CALL", f"call-{LOST}"
        )
        yield line, await world.run(*shlex.split(told))
