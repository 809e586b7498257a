"""The archive in a container of Azure Blob Storage.

Create-only, and nothing is said of a blob after the write that makes it, so that it works in
a container whose policy forbids changes (WORM).
"""

import hashlib
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC
from functools import partial
from random import Random
from types import TracebackType
from typing import Self

import structlog
from azure.storage.blob import StandardBlobTier

from worker.archives import blob_facts
from worker.archives.blob_keeping import BlobKeeping
from worker.archives.blob_options import BlobOptions
from worker.archives.blob_read_back import BlobReader
from worker.archives.blob_store import BlobStore, Description
from worker.archives.blob_writer import SMALL_BYTES, BlobWriter
from worker.archives.object_names import STAGING, is_segment, segments
from worker.archives.recent import Recent
from worker.archives.threads import Threads
from worker.errors import (
    ArchiveForbiddenError,
    ArchiveUnavailableError,
    ConfigError,
    IntegrityError,
    RetryableError,
)
from worker.model import Kept, ReadBack, Stored
from worker.ports import Clock
from worker.storage_clients import Identity, container_client
from worker.storage_errors import create_command
from worker.storage_places import Place

log: structlog.typing.FilteringBoundLogger = structlog.get_logger(__name__)

THREADS = 3
"""For hashes alone; as many as one object that is read back keeps busy, and one more."""
DOCUMENT_BLOCK_BYTES = 4 * 1024 * 1024
"""For what is created in one piece and is too long for one request."""
_PROBE = f"{STAGING}/probe"
"""No object can have this name."""


class BlobArchive:
    """Satisfies ports.Archive. `create`: make the container if there is none."""

    def __init__(  # noqa: PLR0913 - each is a seam or a setting of its own
        self,
        place: Place,
        identity: Identity,
        *,
        clock: Clock,
        random: Random,
        options: BlobOptions,
        block_bytes: int,
        create: bool,
    ) -> None:
        self._place = place
        self._clock = clock
        self._options = options
        self._block_bytes = block_bytes
        self._create_container = create
        self._threads = Threads(THREADS)
        self._container = container_client(place, identity)
        self._store = BlobStore(
            self._container, place, clock=clock, random=random, options=options
        )
        below = f"{place.prefix}/" if place.prefix else ""
        self._keeping = BlobKeeping(self._container, self._store, below=below)
        self._recent = Recent(clock)
        self._reader = BlobReader(self._store, self._threads)
        self._open = AsyncExitStack()

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as opening:
            opening.push_async_callback(self._threads.close)
            await opening.enter_async_context(self._container)
            await self._start()
            self._open = opening.pop_all()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._open.aclose()

    async def _start(self) -> None:
        """Refuse to start with what a human must mend; a service that is down comes back."""
        try:
            await self._reach()
        except RetryableError as error:
            if error.hint is not None:
                raise ConfigError([f"archive: {error}"], hint=error.hint) from error
            log.warning("archive.unavailable", error=str(error))

    async def _reach(self) -> None:
        try:
            await self.ready()
        except ArchiveForbiddenError as error:
            is_missing = error.hint == create_command(self._place)
            if not is_missing or not self._create_container:
                raise
            await self._make_container(missing=error)

    async def _make_container(self, *, missing: ArchiveForbiddenError) -> None:
        try:
            await self._store.make_container()
        except ArchiveForbiddenError:
            # What helps is to have it made, not to be allowed to.
            raise missing from None
        log.info("archive.created", container=self._place.name)

    @asynccontextmanager
    async def writer(self, name: str) -> AsyncIterator[BlobWriter]:
        segments(name)
        yield BlobWriter(
            name,
            store=self._store,
            threads=self._threads,
            block_bytes=self._block_bytes,
        )

    async def create(self, name: str, data: bytes) -> Stored:
        segments(name)
        if len(data) > SMALL_BYTES:
            return await self._create_large(name, data)
        what = Description(
            digests={"sha256": hashlib.sha256(data).hexdigest()},
            md5=hashlib.md5(data, usedforsecurity=False).digest(),
        )
        said = await self._store.put(name, data, what)
        self._recent.put(name, data)
        if said is None:
            return await self._stat_made(name)
        return Stored(
            name=name,
            size_bytes=len(data),
            etag=said["etag"],
            version=said.get("version_id"),
            last_modified=said["last_modified"].astimezone(UTC),
        )

    async def _create_large(self, name: str, data: bytes) -> Stored:
        writer = BlobWriter(
            name,
            store=self._store,
            threads=self._threads,
            block_bytes=DOCUMENT_BLOCK_BYTES,
            is_content=False,
        )
        for offset in range(0, len(data), DOCUMENT_BLOCK_BYTES):
            block = memoryview(data)[offset : offset + DOCUMENT_BLOCK_BYTES]
            await self._store.retried(partial(writer.write, offset, block))
        return await writer.commit(size=len(data))

    async def _stat_made(self, name: str) -> Stored:
        stored = await self.stat(name)
        if stored is None:
            raise ArchiveUnavailableError(f"{name!r} is not there yet")
        return stored

    async def read(self, name: str) -> bytes | None:
        """Receipts are asked for again and again, and each time costs a request."""
        segments(name)
        data = self._recent.get(name)
        if data is None:
            data = await self._store.get(name)
            if data is not None:
                self._recent.put(name, data)
        return data

    async def read_range(self, name: str, offset: int, length: int) -> bytes:
        segments(name)
        data = await self._store.get(name, offset, length) if length else b""
        if data is None:
            raise IntegrityError(f"{name!r} is not in the archive")
        return data

    async def read_back(self, name: str, *, block_bytes: int) -> ReadBack:
        stored = await self.stat(name)
        if stored is None:
            raise IntegrityError(f"{name!r} is not in the archive")
        return await self._reader.digest(
            name, size=stored.size_bytes, block_bytes=block_bytes
        )

    async def stat(self, name: str) -> Stored | None:
        segments(name)
        properties = await self._store.head(name)
        if properties is None:
            return None
        return blob_facts.stored_from(name, properties)

    async def list(self, prefix: str) -> AsyncIterator[str]:
        *above, _ = prefix.split("/")
        if not all(is_segment(part) for part in above):
            return
        async for name in self._store.names(prefix):
            # Others may keep blobs here, too.
            if all(is_segment(part) for part in name.split("/")):
                yield name

    def unmet(self, protection: Mapping[str, str]) -> Sequence[str]:
        return self._options.unmet(protection, now=self._clock.now())

    async def seal(self, name: str) -> None:
        """Move to the archive tier what nobody has moved anywhere: not what an operator
        brought back from there, and not what a lifecycle rule moved.
        """
        segments(name)
        if not self._options.is_archived_when_proven:
            return
        properties = await self._store.head(name)
        if properties is not None and properties.blob_tier_inferred:
            await self._store.set_tier(name, StandardBlobTier.ARCHIVE)

    async def hold(self, name: str, *, held: bool) -> bool | None:
        segments(name)
        return await self._keeping.hold(name, held=held)

    async def kept(self, prefix: str) -> AsyncIterator[Kept]:
        async for kept in self._keeping.kept(prefix):
            yield kept

    async def erase(self, name: str) -> None:
        segments(name)
        await self._keeping.erase(name)
        self._recent.forget(name)

    async def ready(self) -> None:
        await self._store.get(_PROBE, 0, 1)
