"""A recording is erased, and its event is delivered again: nothing comes back."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.azurite import Azurite
from tests.e2e import events
from tests.e2e.stores import AzuriteStores, FolderStores
from tests.e2e.world import WatchfulStandIn, World
from worker import names
from worker.model import ChunkKey

DOCUMENT = "0-eus-d1-801b3f3fc462fe8a01e6810cbff729b8"
ERASE = ("recordings", "erase", DOCUMENT, "--reason", "data-subject-request")


@pytest.fixture(params=["directory", "azure"])
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    if request.param == "directory":
        stores = FolderStores(folder=tmp_path)
        async with WatchfulStandIn(stores) as acs:
            yield World(folder=tmp_path, acs=acs, stores=stores)
        return
    azurite: Azurite = request.getfixturevalue("own_account")
    async with AzuriteStores(azurite) as blobs, WatchfulStandIn(blobs) as acs:
        yield World(folder=tmp_path, acs=acs, stores=blobs)


async def test_replay_of_what_was_erased_brings_nothing_back(
    world: World, tmp_path: Path
) -> None:
    """ACS may still have it: it is not asked, neither for a byte nor to delete."""
    body, _ = events.fresh_chunk(world.acs, DOCUMENT)
    saved = tmp_path / "event.json"
    place(saved, body)
    first = await world.run("replay", str(saved))
    assert first.code == 0, first.err
    erased = await world.run(*ERASE)
    assert erased.code == 0, erased.err
    tombstone = names.erased_name(ChunkKey(DOCUMENT))
    assert await kept(world) == [tombstone]
    asked = len(world.acs.requests)
    _, original = events.fresh_chunk(world.acs, DOCUMENT)
    assert original.content

    again = await world.run("replay", str(saved))
    shown = await world.run("recordings", "show", DOCUMENT)

    assert again.code == 0, again.err
    assert len(world.acs.requests) == asked
    assert await kept(world) == [tombstone]
    assert "erased" in shown.out


def place(path: Path, data: bytes) -> None:
    path.write_bytes(data)


async def kept(world: World) -> list[str]:
    found = await world.stores.names()
    return [name for name in found if not name.startswith("announced/")]
