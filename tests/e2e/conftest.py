"""One world per test, on the embedded stores and on Azurite's."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.conftest import UniqueName
from tests.e2e.stores import AzuriteStores, FolderStores, Stores
from tests.e2e.world import WatchfulStandIn, World


@pytest.fixture(params=["embedded", "azure"])
async def stores(
    request: pytest.FixtureRequest, tmp_path: Path, unique_name: UniqueName
) -> AsyncIterator[Stores]:
    """An archive and a queue where nothing has been put yet."""
    if request.param == "embedded":
        yield FolderStores(folder=tmp_path)
        return
    azurite = request.getfixturevalue("azurite")
    async with AzuriteStores(azurite, unique_name) as stores:
        yield stores


@pytest.fixture
async def world(stores: Stores, tmp_path: Path) -> AsyncIterator[World]:
    """A folder where nothing has run yet, and a source that has all samples."""
    async with WatchfulStandIn(stores) as acs:
        acs.serve_samples()
        yield World(folder=tmp_path, acs=acs, stores=stores)
