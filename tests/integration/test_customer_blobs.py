"""Trouble with the user's own containers: what each kind of it is to a chunk."""

import hashlib
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from azure.storage.blob import (
    StandardBlobTier,
)
from azure.storage.blob.aio import ContainerClient

from tests import azurite as emulator
from tests.azurite import Azurite
from tests.conftest import UniqueName
from tests.fakes.clock import ManualClock
from tests.storage_proxy import Fault, StorageProxy
from worker import storage_places
from worker.archives.customer_blobs import CustomerBlobs
from worker.errors import (
    ExportForbiddenError,
    ExportNotFoundError,
    SourceChangedError,
    SourceUnavailableError,
    ThrottledError,
)
from worker.storage_clients import open_identity
from worker.storage_places import Place, Service

NOBODY = "http://127.0.0.1:9"


@pytest.fixture
async def container(
    azurite: Azurite, unique_name: UniqueName
) -> AsyncIterator[ContainerClient]:
    """A container with one blob in it."""
    async with ContainerClient.from_connection_string(
        azurite.connection_string, unique_name("exports")
    ) as container:
        await container.create_container()
        await container.upload_blob("a.mp4", b"0123456789")
        yield container


@pytest.fixture
def place(azurite: Azurite, container: ContainerClient) -> Place:
    """The container, as it is listed."""
    url = azurite.container(container.container_name)
    return storage_places.parse(url, Service.BLOB)


@asynccontextmanager
async def reading(
    place: Place, *, permission: str = "r"
) -> AsyncIterator[CustomerBlobs]:
    """The container as somebody with this permission sees it; no wait takes any time."""
    sas = emulator.container_signature(place.name, permission=permission)
    async with (
        open_identity(None) as identity,
        CustomerBlobs(
            [replace(place, sas=sas)],
            identity,
            clock=ManualClock(auto=True),
            random=random.Random(1),  # noqa: S311 - jitter
        ) as blobs,
    ):
        yield blobs


async def test_refusal_is_no_trouble_of_archive_or_source(place: Place) -> None:
    """Who may not read is told so, and nothing that is shared is paused for it."""
    async with reading(place, permission="l") as blobs:
        with pytest.raises(ExportForbiddenError) as refused:
            await blobs.stat(f"{place.url}/a.mp4")

    assert refused.value.scope is None
    assert "sig=" not in str(refused.value)


async def test_missing_container_is_a_refusal(place: Place) -> None:
    """A container that was listed and is not there holds nothing to wait for."""
    gone = replace(place, name=f"{place.name}-gone")
    async with reading(gone) as blobs:
        name = blobs.name_of(f"{gone.url}/a.mp4")
        with pytest.raises(ExportForbiddenError) as missing:
            await blobs.read_range(name, 0, 1, etag=None)

    assert "there is no such container" in str(missing.value)


async def test_blob_that_vanishes_is_not_found(
    place: Place, container: ContainerClient
) -> None:
    """Looked at, and then gone: there is no such blob."""
    async with reading(place) as blobs:
        stored = await blobs.stat(f"{place.url}/a.mp4")
        assert stored is not None
        await container.delete_blob("a.mp4")

        assert await blobs.stat(stored.name) is None
        # With a condition Azurite says of a missing blob that it does not meet it.
        with pytest.raises((ExportNotFoundError, SourceChangedError)):
            await blobs.read_back(stored, block_bytes=4)


async def test_blob_in_the_archive_tier_is_awaited(
    place: Place, container: ContainerClient
) -> None:
    """It can't be read before somebody takes it out of there, and the error says so."""
    blob = container.get_blob_client("a.mp4")
    await blob.set_standard_blob_tier(StandardBlobTier.ARCHIVE)
    async with reading(place) as blobs:
        with pytest.raises(SourceUnavailableError, match="archive tier"):
            await blobs.read_range(f"{place.url}/a.mp4", 0, 4, etag=None)


@pytest.fixture
async def proxy(azurite: Azurite) -> AsyncIterator[StorageProxy]:
    """Azurite behind a network that can be told to fail."""
    async with StorageProxy(azurite.blob_url) as proxy:
        yield proxy


@pytest.mark.parametrize(
    "fault",
    [
        Fault.status(503, "ServerBusy", retry_after=3),
        Fault.status(500, "InternalError"),
        Fault.reset(),
        Fault.cut(after_bytes=4),
    ],
    ids=str,
)
async def test_passing_trouble_is_not_noticed(
    place: Place, proxy: StorageProxy, fault: Fault
) -> None:
    """A range that failed is asked for again, and what was cut is not taken for whole."""
    there = replace(place, account_url=proxy.url)
    proxy.plan(fault, on="get")
    async with reading(there) as blobs:
        stored = await blobs.stat(f"{there.url}/a.mp4")
        assert stored is not None
        found = await blobs.read_back(stored, block_bytes=4)

    assert found.sha256 == hashlib.sha256(b"0123456789").hexdigest()
    assert proxy.operations() == ["head", "get", "get"]


async def test_throttling_for_long_is_left_to_the_queue(
    place: Place, proxy: StorageProxy
) -> None:
    """A wait that is too long for an attempt is told with the error."""
    there = replace(place, account_url=proxy.url)
    proxy.plan(Fault.status(503, "ServerBusy", retry_after=300), on="head")
    async with reading(there) as blobs:
        with pytest.raises(ThrottledError) as throttled:
            await blobs.stat(f"{there.url}/a.mp4")

    assert throttled.value.retry_after == 300
    assert throttled.value.scope is None


async def test_service_that_is_away_is_retried(place: Place) -> None:
    """No answer is trouble that passes."""
    away = replace(place, account_url=f"{NOBODY}/{place.account}")
    async with reading(away) as blobs:
        with pytest.raises(SourceUnavailableError) as trouble:
            await blobs.stat(f"{away.url}/a.mp4")

    assert trouble.value.scope is None
