"""The user's own containers that ACS exports to: read where they lie, never written.

Several ranges of a blob are read at once, each pinned to the etag that was looked at first,
so that what is hashed is one version of it. All blobs in hand share one bound on memory.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from random import Random
from types import TracebackType
from typing import Any, Self, TypeVar

from azure.core import MatchConditions
from azure.storage.blob.aio import BlobClient, ContainerClient

from worker import retry
from worker.archives.blob_errors import NoBlobError, PastEndError, error_from_azure
from worker.archives.blob_facts import stored_from
from worker.archives.blob_read_back import MOST_PIECES, BlobReader
from worker.archives.customer_locations import Located, locate
from worker.archives.threads import Threads
from worker.errors import (
    ArchiveForbiddenError,
    ExportForbiddenError,
    ExportNotFoundError,
    RetryableError,
    SourceChangedError,
    SourceUnavailableError,
    ThrottledError,
)
from worker.model import ReadBack, Stored
from worker.ports import Clock
from worker.storage_clients import Identity, container_client
from worker.storage_errors import FOREIGN, code_of
from worker.storage_places import Place

THREADS = 3
"""For hashes alone; as many as one blob keeps busy, and one more."""
_ASLEEP = {"BlobArchived", "BlobBeingRehydrated"}
T = TypeVar("T")


class CustomerBlobs:
    """Satisfies byos.Exports for the containers in `places`; an async context manager."""

    def __init__(
        self,
        places: Sequence[Place],
        identity: Identity,
        *,
        clock: Clock,
        random: Random,
    ) -> None:
        self._clients = {place: container_client(place, identity) for place in places}
        self._clock = clock
        self._random = random
        self._threads = Threads(THREADS)
        self._room = asyncio.Semaphore(MOST_PIECES)
        self._open = AsyncExitStack()

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self._threads.close)
            for client in self._clients.values():
                await stack.enter_async_context(client)
            self._open = stack.pop_all()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._open.aclose()

    def name_of(self, location: str) -> str:
        return locate(location, self._clients).url

    async def stat(self, name: str) -> Stored | None:
        located = locate(name, self._clients)
        blob = self._blob(located)
        try:
            properties = await self._retried(blob.get_blob_properties, located.place)
        except ExportNotFoundError:
            return None
        return stored_from(name, properties)

    async def read_range(
        self, name: str, offset: int, length: int, *, etag: str | None
    ) -> bytes:
        located = locate(name, self._clients)
        blob = self._blob(located)
        same: dict[str, Any] = {}
        if etag is not None:
            same = {"etag": etag, "match_condition": MatchConditions.IfNotModified}

        async def read() -> bytes:
            stream = await blob.download_blob(offset, length, **same)
            return b"".join([piece async for piece in stream.chunks()])

        return await self._retried(read, located.place)

    async def read_back(self, stored: Stored, *, block_bytes: int) -> ReadBack:
        version = _Version(self, stored.etag)
        reader = BlobReader(version, self._threads, room=self._room)
        return await reader.digest(
            stored.name, size=stored.size_bytes, block_bytes=block_bytes
        )

    def _blob(self, located: Located) -> BlobClient:
        client: ContainerClient = self._clients[located.place]
        return client.get_blob_client(located.blob)

    async def _retried(self, call: Callable[[], Awaitable[T]], place: Place) -> T:
        async def attempt() -> T:
            try:
                return await call()
            except FOREIGN as error:
                raise _error_from(error, place) from error

        retrying = retry.DOWNLOAD.retrying(clock=self._clock, random=self._random)
        result: T = await retrying(attempt)
        return result


class _Version:
    """One version of a blob, as BlobReader reads it."""

    def __init__(self, blobs: CustomerBlobs, etag: str | None) -> None:
        self._blobs = blobs
        self._etag = etag

    async def get(self, name: str, offset: int, length: int) -> bytes:
        return await self._blobs.read_range(name, offset, length, etag=self._etag)


def _error_from(error: BaseException, place: Place) -> RetryableError:
    """What is trouble with an archive of ours is another thing in the user's storage.

    Neither the archive nor a credential of ACS is paused for it.
    """
    told = error_from_azure(error, place)
    code = code_of(error)
    if isinstance(told, NoBlobError):
        return ExportNotFoundError(str(told))
    if code == "ConditionNotMet" or isinstance(told, PastEndError):
        return SourceChangedError(f"the blob was changed meanwhile ({place.url})")
    if code in _ASLEEP:
        return SourceUnavailableError(f"the blob is in the archive tier ({place.url})")
    if isinstance(told, ArchiveForbiddenError):
        return ExportForbiddenError(str(told))
    retry_after = told.retry_after if isinstance(told, RetryableError) else None
    if retry_after is not None:
        return ThrottledError(str(told), retry_after=retry_after)
    return SourceUnavailableError(str(told))
