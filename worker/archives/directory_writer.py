"""The directory archive's block writer: one staged file, kept nearly clean while it grows."""

import asyncio
from collections.abc import Sequence
from datetime import UTC

from worker.archives.objects import stored_object
from worker.archives.staging import StagingFile
from worker.archives.threads import Threads, outlast
from worker.archives.tiling import check_tiling
from worker.archives.tree import Parts
from worker.model import BlockDigest, Stored
from worker.ports import Clock

SYNC_BYTES = 4 * 1024 * 1024
"""How much may be written before a sync begins behind it; twice as much waits for it.

It bounds what is left to do at commit, and the page cache that one writer dirties, behind
which the commit of a queue on the same disk may have to wait.
"""


class DirectoryWriter:
    """Satisfies ports.BlockWriter."""

    def __init__(
        self,
        name: str,
        *,
        parts: Parts,
        file: StagingFile,
        threads: Threads,
        clock: Clock,
        block_bytes: int,
    ) -> None:
        self._name = name
        self._parts = parts
        self._file = file
        self._threads = threads
        self._clock = clock
        self._block_bytes = block_bytes
        self._lengths: dict[int, int] = {}
        self._unsynced_bytes = 0
        self._sync: asyncio.Task[None] | None = None

    @property
    def block_bytes(self) -> int:
        return self._block_bytes

    async def held(self, origin: str) -> Sequence[BlockDigest]:  # noqa: ARG002 - the port's
        """What is left in a staging file dies with its writer."""
        return ()

    async def write(self, offset: int, block: bytearray | memoryview | bytes) -> str:
        if offset % self._block_bytes or not 0 < len(block) <= self._block_bytes:
            raise ValueError(f"not a block: {len(block)} bytes at {offset}")
        digest = await self._threads.run(self._file.write, offset, block)
        self._lengths[offset] = len(block)
        self._unsynced_bytes += len(block)
        await self._sync_behind()
        return digest

    async def commit(self, *, size: int) -> Stored:
        await self._end_sync()
        check_tiling(self._lengths, size)
        at = self._clock.now().astimezone(UTC)
        await self._threads.run(self._file.publish, self._parts, size=size, at=at)
        return stored_object(self._name, size=size, at=at)

    async def close(self) -> None:
        """Discard what is staged; a committed object stays."""
        try:
            if self._sync is not None:
                await outlast(self._sync)
                self._sync.exception()  # told already, or of no interest any more
        finally:
            # No thread uses the file any more, so it can be closed.
            await self._threads.finish(self._file.discard)

    async def _sync_behind(self) -> None:
        while self._unsynced_bytes >= SYNC_BYTES:
            if self._sync is None or self._sync.done():
                self._begin_sync()
            elif self._unsynced_bytes < 2 * SYNC_BYTES:
                return
            else:
                await asyncio.wait([self._sync])

    def _begin_sync(self) -> None:
        # A failed sync is never retried: the kernel reports lost pages only once, and a
        # second sync would succeed without them. So its error comes out here every time.
        if self._sync is not None:
            self._sync.result()
        self._unsynced_bytes = 0
        work = self._threads.run(self._file.sync)
        self._sync = asyncio.create_task(work, name="archive-sync")

    async def _end_sync(self) -> None:
        if self._sync is not None:
            await asyncio.wait([self._sync])
            self._sync.result()
