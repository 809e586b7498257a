"""A Blob archive in Azurite, opened as the worker opens it."""

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from azure.storage.blob.aio import ContainerClient

from tests.azurite import Azurite
from tests.fakes.clock import HurriedClock
from tests.storage_proxy import StorageProxy
from worker.archives.blob import BlobArchive
from worker.archives.blob_options import BlobOptions
from worker.clock import SystemClock
from worker.ports import Clock
from worker.storage_clients import open_identity
from worker.storage_places import Service, parse, parse_connection_string

SEED = 7


@asynccontextmanager
async def blob_archive(
    account: Azurite,
    container: str,
    *,
    prefix: str = "",
    sas: str = "",
    clock: Clock | None = None,
    block_bytes: int = 1024,
    options: BlobOptions | None = None,
    create: bool = True,
) -> AsyncIterator[BlobArchive]:
    """An archive in this container; `account` may be a proxy before Azurite."""
    url = account.container(container, prefix) + (f"?{sas}" if sas else "")
    told = parse_connection_string(account.connection_string)
    async with (
        open_identity(told) as identity,
        BlobArchive(
            parse(url, Service.BLOB),
            identity,
            clock=clock or SystemClock(),
            random=random.Random(SEED),  # noqa: S311 - jitter
            options=options or BlobOptions(),
            block_bytes=block_bytes,
            create=create,
        ) as archive,
    ):
        yield archive


@dataclass(frozen=True, slots=True, kw_only=True)
class Proxied:
    """An archive behind a proxy, and its container as it really is."""

    proxy: StorageProxy
    archive: BlobArchive
    container: ContainerClient


@asynccontextmanager
async def proxied_archive(
    azurite: Azurite,
    container: str,
    *,
    clock: Clock | None = None,
    block_bytes: int = 1024,
    options: BlobOptions | None = None,
) -> AsyncIterator[Proxied]:
    """Waits between retries pass a hundred times faster, without a clock given."""
    direct = ContainerClient.from_connection_string(
        azurite.connection_string, container
    )
    async with StorageProxy(azurite.blob_url) as proxy, direct:
        account = Azurite(blob_url=proxy.url, queue_url=azurite.queue_url)
        async with blob_archive(
            account,
            container,
            clock=clock or HurriedClock(),
            block_bytes=block_bytes,
            options=options,
        ) as archive:
            proxy.seen.clear()
            yield Proxied(proxy=proxy, archive=archive, container=direct)
