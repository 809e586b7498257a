"""What every reader of the user's own containers keeps: the fake, and Azure's blobs."""

import hashlib
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

import pytest
from azure.storage.blob.aio import ContainerClient

from tests.azurite import Azurite
from tests.conftest import UniqueName
from tests.fakes.clock import ManualClock
from tests.fakes.exports import MemoryExports
from worker import storage_places
from worker.archives.blob_read_back import PIECE_BYTES
from worker.archives.customer_blobs import CustomerBlobs
from worker.byos import Exports
from worker.clock import SystemClock
from worker.errors import HostNotAllowedError, SourceChangedError
from worker.storage_clients import open_identity
from worker.storage_places import Service

BLOCK = 1024 * 1024
OWN = "https://contoso.blob.core.windows.net/calls"


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A listed container at `url`, and how ACS writes into it."""

    exports: Exports
    url: str
    write: Callable[[str, bytes], Awaitable[None]]


async def _memory() -> AsyncIterator[Opened]:
    exports = MemoryExports(OWN, ManualClock())

    async def write(blob: str, data: bytes) -> None:
        exports.put(f"{OWN}/{blob}", data)

    yield Opened(exports=exports, url=OWN, write=write)


async def _azurite(azurite: Azurite, container: str) -> AsyncIterator[Opened]:
    url = azurite.container(container)
    place = storage_places.parse(url, Service.BLOB)
    account = storage_places.parse_connection_string(azurite.connection_string)
    async with (
        open_identity(account) as identity,
        CustomerBlobs(
            [place],
            identity,
            clock=SystemClock(),
            random=random.Random(1),  # noqa: S311 - jitter
        ) as exports,
        ContainerClient.from_connection_string(
            azurite.connection_string,
            container,
            max_single_put_size=BLOCK,
            max_block_size=BLOCK,
        ) as client,
    ):
        await client.create_container()

        async def write(blob: str, data: bytes) -> None:
            await client.upload_blob(blob, data, overwrite=True)

        yield Opened(exports=exports, url=url, write=write)


@pytest.fixture(params=["memory", "azurite"])
async def opened(
    request: pytest.FixtureRequest, unique_name: UniqueName
) -> AsyncIterator[Opened]:
    """A container where nothing lies yet."""
    if request.param == "memory":
        async for opened in _memory():
            yield opened
        return
    azurite: Azurite = request.getfixturevalue("azurite")
    async for opened in _azurite(azurite, unique_name("exports")):
        yield opened


async def test_blob_is_hashed_as_it_lies(opened: Opened) -> None:
    """The whole and each block, over several pieces."""
    data = random.Random(2).randbytes(PIECE_BYTES + BLOCK + 5)  # noqa: S311
    await opened.write("20260203/call/0-audio.mp3", data)
    name = opened.exports.name_of(f"{opened.url}/20260203/call/0-audio.mp3?sig=x")
    stored = await opened.exports.stat(name)
    assert stored is not None

    found = await opened.exports.read_back(stored, block_bytes=BLOCK)

    assert name == stored.name == f"{opened.url}/20260203/call/0-audio.mp3"
    assert found.size_bytes == stored.size_bytes == len(data)
    assert found.sha256 == hashlib.sha256(data).hexdigest()
    assert [block.sha256 for block in found.blocks] == [
        hashlib.sha256(data[at : at + BLOCK]).hexdigest()
        for at in range(0, len(data), BLOCK)
    ]


async def test_ranges_are_read(opened: Opened) -> None:
    """Any range of the version that was looked at, shorter at its end."""
    await opened.write("a.mp4", b"0123456789")
    name = f"{opened.url}/a.mp4"
    stored = await opened.exports.stat(name)
    assert stored is not None

    parts = [
        await opened.exports.read_range(name, offset, length, etag=stored.etag)
        for offset, length in ((0, 4), (8, 10))
    ]

    assert parts == [b"0123", b"89"]


async def test_what_is_not_there_is_told(opened: Opened) -> None:
    """No blob, no facts."""
    assert await opened.exports.stat(f"{opened.url}/none.mp4") is None


async def test_changed_blob_is_not_mixed_with_what_it_was(opened: Opened) -> None:
    """A blob that was written anew can't be read as the one that was looked at."""
    name = f"{opened.url}/a.mp4"
    await opened.write("a.mp4", b"one")
    stored = await opened.exports.stat(name)
    assert stored is not None
    await opened.write("a.mp4", b"two")

    with pytest.raises(SourceChangedError):
        await opened.exports.read_back(stored, block_bytes=BLOCK)
    with pytest.raises(SourceChangedError):
        await opened.exports.read_range(name, 0, 1, etag=stored.etag)
    newer = await opened.exports.stat(name)
    assert newer is not None
    assert newer.etag != stored.etag


async def test_other_containers_are_refused(opened: Opened) -> None:
    """What lies beside the listed container has no name, and is not looked at."""
    beside = opened.url + "-beside/a.mp4"

    with pytest.raises(HostNotAllowedError):
        opened.exports.name_of(beside)
    with pytest.raises(HostNotAllowedError):
        await opened.exports.stat(beside)
