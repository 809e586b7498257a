"""What several integration tests share."""

from collections.abc import AsyncIterator

import pytest

from tests.identity import IdentityEndpoint, identity_endpoint
from tests.webhook import Endpoint, serving


@pytest.fixture
async def identity(
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[IdentityEndpoint]:
    """Who gives this machine its tokens, as the environment says."""
    async with identity_endpoint() as endpoint:
        endpoint.describe(monkeypatch)
        yield endpoint


@pytest.fixture
async def endpoint() -> AsyncIterator[Endpoint]:
    """A webhook without any trouble."""
    async with serving() as running:
        yield running
