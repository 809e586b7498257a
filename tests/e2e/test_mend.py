"""What is dead is mended by commands, killed on the way and run again, until it is home."""

import json
import signal
import sys
from pathlib import Path

import pytest

from tests.e2e import events
from tests.e2e.events import Original
from tests.e2e.world import World, receipt_in
from worker.model import ChunkKey, ChunkState

CRASHING = (sys.executable, str(Path(__file__).with_name("crashing_worker.py")))
ELSEWHERE = "127.0.0.1:1"
"""Where no chunk lies: what lies elsewhere is dead at once."""


async def deliver_what_dies(world: World) -> dict[str, Original]:
    """Three chunks, to a worker whose settings are wrong."""
    originals: dict[str, Original] = {}
    async with world.running("serve", WORKER_SOURCE_HOSTS=ELSEWHERE) as worker:
        url = await worker.url()
        for number in range(3):
            document = f"0-eus-d1-mended-{number}"
            body, originals[document] = events.fresh_chunk(world.acs, document)
            assert await events.post(url, body) == 200
        await world.wait_until_settled(originals)
    return originals


@pytest.mark.timeout(120)
async def test_dead_chunks_are_redriven_and_come_home(world: World) -> None:
    """The list says what helps; killed behind the first, run again, the rest follows."""
    originals = await deliver_what_dies(world)

    listed = await world.run("queue", "list", "--reason", "host-not-allowed")
    assert listed.out.count(" dead ") == 3
    assert "hint: recording-worker config --for consume  # 3 host-not" in listed.err
    dry = await world.run("queue", "redrive", "--all", "--dry-run", "--json")
    assert dry.out.count('"would-redrive"') == 3

    first = ("queue", "redrive", "0-eus-d1-mended-0")
    async with world.running("after_redrive", "1", *first, command=CRASHING) as killed:
        assert await killed.ended() == -signal.SIGKILL
    again = await world.run("queue", "redrive", "--reason", "host-not-allowed")
    assert (again.code, again.out.count("redriven      ")) == (0, 2)
    assert json.loads(again.err)["event"] == "queue.redriven"
    assert {e.state for e in await world.entries()} == {ChunkState.PENDING}
    assert await world.stores.poisoned() == 0
    shown = await world.run("queue", "show", "0-eus-d1-mended-0", "--json")
    (died, *_) = json.loads(shown.out)["attempts"]
    assert (died["outcome"], died["reason"]) == ("dead", "host-not-allowed")

    async with world.running("serve"):
        await world.wait_until_settled(originals)
    for document, original in originals.items():
        receipt = await receipt_in(world.stores, ChunkKey(document))
        assert receipt is not None
        assert await world.stores.read(receipt.content.name) == original.content
    assert world.acs.deleted == originals.keys()
    assert world.acs.unproven == []
    late = await world.run("queue", "prune", "--older-than", "3d", "--dry-run")
    assert "chunks          0\n" in late.out
