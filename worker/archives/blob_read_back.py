"""Hashing a whole blob as the service gives it: ranges side by side, digests in order."""

import asyncio
from collections.abc import Iterator
from typing import Protocol

from worker.archives.read_back import Digests
from worker.archives.threads import Threads
from worker.errors import IntegrityError
from worker.model import ReadBack
from worker.storage_clients import RANGE_BYTES

PIECE_BYTES = RANGE_BYTES
"""One range: long, for what costs is the request."""
RANGES = 2
"""Of one blob at once: one comes while one is hashed."""
MOST_PIECES = 4
"""Of all blobs at once: the bound on what reading back holds."""


class Ranges(Protocol):
    """Where a reader gets its pieces from."""

    async def get(self, name: str, offset: int, length: int) -> bytes | None: ...


class BlobReader:
    """Reads blobs back; all of them share one bound on memory, `room`."""

    def __init__(
        self, store: Ranges, threads: Threads, *, room: asyncio.Semaphore | None = None
    ) -> None:
        self._store = store
        self._threads = threads
        self._room = room or asyncio.Semaphore(MOST_PIECES)

    async def digest(self, name: str, *, size: int, block_bytes: int) -> ReadBack:
        """Read it to its end. IntegrityError if not all of it can be read."""
        digests = Digests(block_bytes)
        queue = _InOrder(digests, self._threads)
        offsets = iter(range(0, size, PIECE_BYTES))
        try:
            async with asyncio.TaskGroup() as group:
                for number in range(RANGES):
                    work = self._work(name, offsets, queue, size=size)
                    group.create_task(work, name=f"read-back-{number}")
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from None
        return digests.result(size_bytes=size)

    async def _work(
        self, name: str, offsets: Iterator[int], queue: "_InOrder", *, size: int
    ) -> None:
        for offset in offsets:
            # Room is given in the order of asking: a piece that waits for its turn never
            # keeps it from the one that it waits for.
            async with self._room:
                piece = await self._store.get(name, offset, PIECE_BYTES)
                if piece is None:
                    raise IntegrityError(f"{name!r} is no longer in the archive")
                # A short one would leave the next to wait for a turn that never comes.
                if len(piece) != min(PIECE_BYTES, size - offset):
                    raise IntegrityError(f"{len(piece)} bytes came of {name!r}")
                await queue.add(offset, piece)


class _InOrder:
    """Feeds pieces to the digests in the order of their offsets, each as a whole."""

    def __init__(self, digests: Digests, threads: Threads) -> None:
        self._digests = digests
        self._threads = threads
        self._fed = 0
        self._turn = asyncio.Condition()

    async def add(self, offset: int, piece: bytes) -> None:
        """Wait for the piece's turn and hash it."""
        async with self._turn:
            await self._turn.wait_for(lambda: self._fed == offset)
        view = memoryview(piece)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._threads.run(self._digests.add_whole, view))
            group.create_task(self._threads.run(self._digests.add_blocks, view))
        async with self._turn:
            self._fed += len(piece)
            self._turn.notify_all()
