"""`pause`, `resume` and `status --watch`, beside workers that run."""

import json

import pytest

from tests.e2e import events
from tests.e2e.world import World, check_home
from worker.model import ChunkState

DOCUMENT = "0-eus-d1-paused"


async def test_paused_workers_receive_and_begin_nothing(world: World) -> None:
    """The delivery is taken and waits; a job ends with 3; resumed, it comes home by itself."""
    body, original = events.fresh_chunk(world.acs, DOCUMENT)
    async with world.running("serve") as worker:
        url = await worker.url()
        paused = await world.run("pause", "--reason", "storage is moved")
        await worker.wait_for("consumer.paused", scope="operator")
        assert await events.post(url, body) == 200

        job = await world.run("consume", "--until-empty")
        (world.folder / "again.json").write_bytes(body)
        replayed = await world.run("replay", "again.json")
        status = await world.run("status", "--json")
        assert [e.state for e in await world.entries()] == [ChunkState.PENDING]
        assert world.acs.reads(DOCUMENT) == 0

        resumed = await world.run("resume")
        await world.wait_until_settled({DOCUMENT})
        assert worker.said("consumer.resumed", scope="operator")

    assert (paused.code, resumed.code, job.code) == (0, 0, 3)
    assert replayed.code == 3
    assert "\npaused   1 wait: " in replayed.out
    told = json.loads(status.out)
    assert (told["paused"], told["pause_reason"]) == (True, "storage is moved")
    assert (status.code, told["pending"]) == (0, 1)
    await check_home(world, {DOCUMENT: original})


async def test_watch_ends_with_0_when_interrupted(world: World) -> None:
    """A line for each look, on both kinds of queue."""
    body, _ = events.fresh_chunk(world.acs, DOCUMENT)
    async with world.running("serve") as worker:
        assert await events.post(await worker.url(), body) == 200
        await world.wait_until_settled({DOCUMENT})
    async with world.running("status", "--watch", "--interval", "0.1") as watching:
        await watching.wait_until(lambda: watching.out.count("\n") > 1)
        watching.interrupt()
        assert await watching.ended() == 0

    assert "1 deleted, 0 dead" in watching.out
    assert "1 chunk, " in watching.out
    assert watching.err == ""


@pytest.mark.parametrize("stores", ["embedded"], indirect=True)
async def test_pause_lets_nothing_die_silently(world: World) -> None:
    """It outlasts the workers, and what is at risk is told as ever."""
    body, _ = events.fresh_chunk(world.acs, DOCUMENT)
    async with world.running("serve") as worker:
        url = await worker.url()
        assert (await world.run("pause", "--reason", "moving")).code == 0
        await worker.wait_for("consumer.paused", scope="operator")
        assert await events.post(url, body) == 200

    async with world.running("serve", WORKER_AT_RISK_HOURS="48") as worker:
        await worker.wait_for("consumer.paused", scope="operator")
        await worker.wait_for("chunks.at_risk", chunks=1)
    checked = await world.run("status", "--check", WORKER_AT_RISK_HOURS="48")

    assert checked.code == 3
    (line,) = checked.out.splitlines()
    assert "1 pending" in line
    assert "1 at risk" in line
    assert line.endswith(": moving")
