"""SIGTERM: finish what is in flight, take nothing new, or leave it to another at once."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from samples.acs import Fault
from tests.e2e import events
from tests.e2e.stores import Stores
from tests.e2e.world import WatchfulStandIn, World, check_home, receipt_in
from worker.model import ChunkState

DOCUMENT = "0-eus-d1-slow"
SLOWLY = 20 * 1024
"""Bytes per second: the content takes more than a second."""


@pytest.fixture
async def slow_world(stores: Stores, tmp_path: Path) -> AsyncIterator[World]:
    """A world whose source is slow."""
    async with WatchfulStandIn(stores, bytes_per_second=SLOWLY) as acs:
        yield World(folder=tmp_path, acs=acs, stores=stores)


async def test_stop_drains(slow_world: World) -> None:
    """The chunk in flight comes home; meanwhile probes and deliveries are answered 503."""
    body, original = events.fresh_chunk(slow_world.acs, DOCUMENT)

    async with slow_world.running("serve") as worker:
        url = await worker.url()
        assert await events.get(url.replace("/api/events", "/readyz")) == 200
        assert await events.post(url, body) == 200
        await slow_world.acs.wait_for_read(DOCUMENT)
        worker.terminate()
        await worker.wait_for("worker.draining", chunks=1)
        assert await events.get(url.replace("/api/events", "/readyz")) == 503
        assert await events.get(url.replace("/api/events", "/livez")) == 200
        assert await events.post(url, body) == 503
        assert await worker.ended() == 0

    await check_home(slow_world, {DOCUMENT: original})


async def test_second_signal_cuts_the_drain(world: World) -> None:
    """The lease is released unspent, so that another worker takes over at once."""
    lasting = replace(world, settings={"WORKER_LEASE_SECONDS": "3600"})
    body, original = events.fresh_chunk(world.acs, DOCUMENT)
    world.acs.plan(DOCUMENT, "content", [Fault.hang().always()])

    async with lasting.running("serve", WORKER_DRAIN_SECONDS="3600") as worker:
        assert await events.post(await worker.url(), body) == 200
        await world.acs.wait_for_read(DOCUMENT)
        worker.terminate()
        await worker.wait_for("worker.draining", chunks=1)
        worker.terminate()
        assert await worker.ended() == 0

    (entry,) = await world.entries()
    assert (entry.state, entry.attempts) == (ChunkState.PENDING, 0)
    assert entry.leased_by is None
    world.acs.plan(DOCUMENT, "content", [])
    other = await lasting.run("consume", "--until-empty")
    assert other.code == 0
    await check_home(world, {DOCUMENT: original})
    (entry,) = await world.entries()
    assert entry.state is ChunkState.DELETED
    receipt = await receipt_in(world.stores, entry.chunk.key)
    assert receipt is not None
    assert receipt.attempts == 1


async def test_drain_ends_when_its_time_is_over(world: World) -> None:
    """WORKER_DRAIN_SECONDS bounds the stop; what is still in flight is released."""
    body, _ = events.fresh_chunk(world.acs, DOCUMENT)
    world.acs.plan(DOCUMENT, "content", [Fault.hang().always()])

    async with world.running("serve", WORKER_DRAIN_SECONDS="0") as worker:
        assert await events.post(await worker.url(), body) == 200
        await world.acs.wait_for_read(DOCUMENT)
        assert await worker.stop() == 0

    (entry,) = await world.entries()
    assert (entry.state, entry.attempts) == (ChunkState.PENDING, 0)
