"""Day 1 beside an existing script, `never`, and the day on which deletion goes on.

Each time as it is wired, over one queue, one archive and one stand-in for ACS.
"""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from pathlib import Path

import pytest

from tests.factories import an_announcement, some_chunks
from tests.fakes.clock import HurriedClock
from tests.integration import test_chunk_comes_home as engine
from tests.integration.test_chunk_comes_home import World, another, opened
from worker.consumer import Consumer
from worker.model import Chunk, ChunkState

clock = engine.clock


@pytest.fixture
async def world(clock: HurriedClock, tmp_path: Path) -> AsyncIterator[World]:
    async with opened(clock, tmp_path, WORKER_DELETE_SOURCE="never") as world:
        yield world


def restarted(world: World, folder: Path) -> AbstractAsyncContextManager[Consumer]:
    """The next process, which deletes."""
    return another(world.acs, folder, WORKER_DELETE_SOURCE="after-recording")


def a_recording(world: World) -> tuple[Chunk, ...]:
    chunks = some_chunks(
        2,
        host=f"http://{world.acs.global_host}",
        announcement=an_announcement(resource="contoso"),
    )
    world.offer(*chunks)
    return chunks


async def states(world: World, *chunks: Chunk) -> set[ChunkState]:
    return {(await world.queued(chunk)).state for chunk in chunks}


async def test_what_was_complete_stays_until_it_is_announced_again(
    world: World, tmp_path: Path
) -> None:
    """The switch looks back at nothing by itself; a replay of the same events does."""
    chunks = a_recording(world)
    await world.announce(*chunks)
    await world.work()
    assert await states(world, *chunks) == {ChunkState.ARCHIVED}

    async with restarted(world, tmp_path) as deleting:
        await world.work(deleting)
        assert world.acs.deleted == set()

        downloads = [seen for seen in world.requests if seen.method == "GET"]
        await world.announce(*chunks)
        await world.work(deleting)

    assert world.acs.deleted == {chunk.document_id for chunk in chunks}
    assert await states(world, *chunks) == {ChunkState.DELETED}
    assert [seen for seen in world.requests if seen.method == "GET"] == downloads


async def test_recording_that_is_completed_after_the_switch_is_deleted_whole(
    world: World, tmp_path: Path
) -> None:
    """The chunk that came home under `never`, too: the recording decides."""
    whole = a_recording(world)
    first, last = (
        replace(chunk, announced=(chunk.announced[chunk.index],)) for chunk in whole
    )
    await world.announce(first)
    await world.work()
    assert world.files(first)
    assert world.acs.deleted == set()

    async with restarted(world, tmp_path) as deleting:
        await world.announce(last)
        await world.work(deleting)

    assert world.acs.deleted == {first.document_id, last.document_id}
    assert await states(world, first, last) == {ChunkState.DELETED}
