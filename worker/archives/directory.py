"""The archive in a directory of a local file system.

Durable when it says so, create-only, and never outside its root: tree.py and staging.py say
how. Every step that touches the disk runs in a thread of the archive's own pool.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

import structlog

from worker.archives import erasing, objects, staging
from worker.archives.digesting import FileDigest
from worker.archives.directory_writer import DirectoryWriter
from worker.archives.object_names import segments
from worker.archives.read_back import digest_file
from worker.archives.staging import StagingFile
from worker.archives.threads import Threads
from worker.archives.tree import Parts, Tree
from worker.archives.uncached import UncachedFile, missing_object
from worker.archives.walk import Walk
from worker.model import Kept, Listed, Pick, ReadBack, Stored
from worker.ports import Clock

log: structlog.typing.FilteringBoundLogger = structlog.get_logger(__name__)

MIB = 1024 * 1024
RESERVE_BYTES = 512 * MIB
BLOCK_BYTES = 1 * MIB
THREADS = 3
"""As many as reading back one object keeps busy: read, and two hashes. With more of them all
objects are no sooner home, but a commit of the queue on the same disk and processors waits."""
MOST_NAMES = 256
"""Of one step of a listing, or folders: each step is a change of threads."""


class DirectoryArchive:
    """Satisfies ports.Archive below `root`, under `prefix` (`a/b`) if one is given.

    `reserve_bytes` stay free on the file system, for whatever else must live there.
    `create=False` opens what exists, and raises ArchiveUnavailableError if nothing does.
    """

    def __init__(
        self,
        root: Path,
        *,
        clock: Clock,
        prefix: str = "",
        reserve_bytes: int = RESERVE_BYTES,
        block_bytes: int = BLOCK_BYTES,
        create: bool = True,
    ) -> None:
        trimmed = prefix.strip("/")
        self._base: Parts = segments(trimmed) if trimmed else ()
        self._tree = Tree(root)
        self._clock = clock
        self._reserve_bytes = reserve_bytes
        self._block_bytes = block_bytes
        self._create_root = create
        self._threads = Threads(THREADS)

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as on_failure:
            on_failure.push_async_callback(self._threads.close)
            swept = await self._threads.run(self._start)
            on_failure.pop_all()
        if swept:
            log.info("archive.swept", files=swept)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._threads.close()

    @asynccontextmanager
    async def writer(self, name: str) -> AsyncIterator[DirectoryWriter]:
        parts = self._parts(name)
        file = StagingFile(self._tree, reserve_bytes=self._reserve_bytes)
        writer = DirectoryWriter(
            name,
            parts=parts,
            file=file,
            threads=self._threads,
            clock=self._clock,
            block_bytes=self._block_bytes,
        )
        try:
            await self._threads.run(file.open)
            yield writer
        finally:
            await writer.close()

    async def create(self, name: str, data: bytes) -> Stored:
        parts = self._parts(name)
        at = self._clock.now().astimezone(UTC)
        await self._threads.run(self._create, parts, data, at)
        return objects.stored_object(name, size=len(data), at=at)

    async def read(self, name: str) -> bytes | None:
        return await self._threads.run(objects.read, self._tree, self._parts(name))

    async def read_range(self, name: str, offset: int, length: int) -> bytes:
        parts = self._parts(name)
        data = await self._threads.run(
            objects.read, self._tree, parts, offset=offset, length=length
        )
        if data is None:
            raise missing_object(parts)
        return data

    async def read_back(self, name: str, *, block_bytes: int) -> ReadBack:
        file = UncachedFile(self._tree, self._parts(name))
        try:
            await self._threads.run(file.open)
            return await digest_file(file, self._threads, block_bytes=block_bytes)
        finally:
            await self._threads.finish(file.close)

    async def digest(self, name: str, *, block_bytes: int | None) -> ReadBack:
        """As abilities.Digesting says."""
        hashing = FileDigest(
            tree=self._tree, parts=self._parts(name), block_bytes=block_bytes
        )
        running = asyncio.create_task(self._threads.run(hashing.run))
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            # A file may be hours of reading.
            hashing.stop()
            await asyncio.gather(running, return_exceptions=True)
            raise

    async def stat(self, name: str) -> Stored | None:
        parts = self._parts(name)
        return await self._threads.run(objects.stat, self._tree, parts, name)

    async def ready(self) -> None:
        at = self._clock.now()
        reserve = self._reserve_bytes
        await self._threads.run(staging.probe, self._tree, reserve_bytes=reserve, at=at)

    async def list(self, prefix: str) -> AsyncIterator[str]:
        """As the port says; holds the entries of one folder per level, and some names."""
        with self._walk(prefix) as walk:
            await self._threads.run(walk.start)
            most = 1  # whoever stops early has had no folder looked into for nothing
            while names := await self._threads.run(walk.names, most):
                for name in names:
                    yield name
                most = min(2 * most, MOST_NAMES)

    async def list_folders(self, prefix: str, *, pick: Pick) -> AsyncIterator[Listed]:
        """As abilities.FolderListing says."""
        with self._walk(prefix) as walk:
            await self._threads.run(walk.start)
            while listed := await self._threads.run(walk.folders, MOST_NAMES, pick):
                for each in listed:
                    yield each

    async def subfolders(self, prefix: str) -> Sequence[str]:
        """As abilities.FolderListing says."""
        with self._walk(prefix) as walk:
            await self._threads.run(walk.start)
            return walk.subfolders()

    def _walk(self, prefix: str) -> Walk:
        return Walk(self._tree, self._base, prefix)

    def unmet(self, protection: Mapping[str, str]) -> Sequence[str]:  # noqa: ARG002 - the port's
        """A directory is asked for none."""
        return ()

    async def seal(self, name: str) -> None:
        """A directory has one tier."""

    async def kept(self, prefix: str) -> AsyncIterator[Kept]:
        """A directory keeps what there is, and nothing else."""
        async for name in self.list(prefix):
            stored = await self.stat(name)
            if stored is not None:
                yield Kept(
                    name=name,
                    size_bytes=stored.size_bytes,
                    is_current=True,
                    is_held=False,
                    locked_until=None,
                    goes_in_days=None,
                )

    async def erase(self, name: str) -> None:
        """Durably; folders that are empty go as well, for their names tell of calls."""
        parts = self._parts(name)
        kept = len(self._base)
        await self._threads.run(erasing.erase, self._tree, parts, keep=kept)

    def _parts(self, name: str) -> Parts:
        return (*self._base, *segments(name))

    def _start(self) -> int:
        self._tree.open(create=self._create_root)
        return staging.sweep(self._tree)

    def _create(self, parts: Parts, data: bytes, at: datetime) -> None:
        with staging.staged(self._tree, reserve_bytes=self._reserve_bytes) as file:
            file.write(0, data)
            file.publish(parts, size=len(data), at=at)
