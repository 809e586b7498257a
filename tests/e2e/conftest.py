"""One world per test."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.e2e.world import WatchfulStandIn, World


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """A folder where nothing has run yet, and a source that has all samples."""
    async with WatchfulStandIn(tmp_path / "data/archive") as acs:
        acs.serve_samples()
        yield World(folder=tmp_path, acs=acs)
