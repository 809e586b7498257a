"""Hashing a whole object as the disk gives it, with one read ahead of the hashing."""

import asyncio
import hashlib
import mmap

from worker.archives.threads import Threads
from worker.archives.uncached import UncachedFile
from worker.errors import IntegrityError
from worker.model import BlockDigest, ReadBack

PIECE_BYTES = 2 * 1024 * 1024
"""One read; two of them are held. A multiple of every sector, as direct reads need."""


async def digest_file(
    file: UncachedFile, threads: Threads, *, block_bytes: int
) -> ReadBack:
    """Read the open file to its end. IntegrityError if not all of it can be read."""
    digests = Digests(block_bytes)
    # mmap: page-aligned, as direct reads need.
    current, spare = (mmap.mmap(-1, PIECE_BYTES) for _ in range(2))
    offset = 0
    filled = await threads.run(file.read, current, offset)
    while filled:
        offset += filled
        with memoryview(current)[:filled] as piece:
            try:
                async with asyncio.TaskGroup() as group:
                    ahead = group.create_task(threads.run(file.read, spare, offset))
                    group.create_task(threads.run(digests.add_whole, piece))
                    group.create_task(threads.run(digests.add_blocks, piece))
            except ExceptionGroup as errors:
                raise errors.exceptions[0] from None  # only the read can fail
        filled = ahead.result()
        current, spare = spare, current
    return digests.result(size_bytes=file.size_bytes)


class Digests:
    """sha256 of a whole and of each of its blocks, fed with pieces in order.

    `add_whole` and `add_blocks` share nothing: each may run in a thread of its own.
    """

    def __init__(self, block_bytes: int) -> None:
        self._block_bytes = block_bytes
        self._whole = hashlib.sha256()
        self._size_bytes = 0
        self._block = hashlib.sha256()
        self._block_filled = 0
        self._blocks: list[BlockDigest] = []

    def add_whole(self, piece: memoryview) -> None:
        self._whole.update(piece)
        self._size_bytes += len(piece)

    def add_blocks(self, piece: memoryview) -> None:
        while piece:
            part = piece[: self._block_bytes - self._block_filled]
            self._block.update(part)
            self._block_filled += len(part)
            piece = piece[len(part) :]
            if self._block_filled == self._block_bytes:
                self._end_block()

    def result(self, *, size_bytes: int) -> ReadBack:
        """What was read; IntegrityError if it was not all."""
        if self._block_filled:
            self._end_block()
        if self._size_bytes != size_bytes:
            raise IntegrityError(
                f"{self._size_bytes} of {size_bytes} bytes can be read"
            )
        return ReadBack(
            size_bytes=size_bytes,
            sha256=self._whole.hexdigest(),
            blocks=tuple(self._blocks),
        )

    def _end_block(self) -> None:
        offset = self._blocks[-1].offset + self._block_bytes if self._blocks else 0
        digest = self._block.hexdigest()
        block = BlockDigest(offset=offset, length=self._block_filled, sha256=digest)
        self._blocks.append(block)
        self._block, self._block_filled = hashlib.sha256(), 0
