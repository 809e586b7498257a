"""One world per test, on the embedded stores and on Azurite's."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.e2e.stores import AzuriteStores, FolderStores, Stores
from tests.e2e.world import WatchfulStandIn, World

LIMIT_SECONDS = 60
"""Several processes start in a test, and Azurite and its SDK take their time."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give the tests here more time, unless they say so themselves."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(LIMIT_SECONDS))


@pytest.fixture(params=["embedded", "azure"])
async def stores(
    request: pytest.FixtureRequest, tmp_path: Path
) -> AsyncIterator[Stores]:
    """An archive and a queue where nothing has been put yet."""
    if request.param == "embedded":
        yield FolderStores(folder=tmp_path)
        return
    async with AzuriteStores(request.getfixturevalue("own_account")) as stores:
        yield stores


@pytest.fixture
def hasty(world: World) -> World:
    """A world whose leases are short, so that the next worker need not wait long."""
    return replace(world, settings={"WORKER_LEASE_SECONDS": "1"})


@pytest.fixture
async def world(stores: Stores, tmp_path: Path) -> AsyncIterator[World]:
    """A folder where nothing has run yet, and a source that has all samples."""
    async with WatchfulStandIn(stores) as acs:
        acs.serve_samples()
        yield World(folder=tmp_path, acs=acs, stores=stores)
