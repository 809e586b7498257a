"""An object of the archive as a file, for code that reads in a thread: never all of it."""

import asyncio
import io
from collections import OrderedDict
from concurrent.futures import Future
from typing import Protocol

BLOCK_BYTES = 4 * 1024 * 1024
KEPT_BLOCKS = 4
"""Where it reads, what comes next, and where sound and picture lie apart."""


class RangeReader(Protocol):
    """What a file needs of ports.Archive."""

    async def read_range(self, name: str, offset: int, length: int) -> bytes: ...


class ArchiveFile:
    """Reads ahead by one block. Made in the loop's thread, read in another; not closed
    before that has ended.

    Raises what the archive raises.
    """

    def __init__(self, archive: RangeReader, name: str, *, size: int) -> None:
        self._archive = archive
        self._name = name
        self._size = size
        self._loop = asyncio.get_running_loop()
        self._at = 0
        self._blocks = OrderedDict[int, Future[bytes]]()

    def read(self, length: int = -1) -> bytes:
        """Some bytes from where it stands, fewer at the end of a block; none at the end."""
        if self._at >= self._size:
            return b""
        number, start = divmod(self._at, BLOCK_BYTES)
        block = self._block(number)
        data = block[start:] if length < 0 else block[start : start + length]
        self._at += len(data)
        return data

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """As any file."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}
        self._at = base[whence] + offset
        return self._at

    def tell(self) -> int:
        """As any file."""
        return self._at

    def close(self) -> None:
        """Ask for nothing more."""
        while self._blocks:
            self._blocks.popitem()[1].cancel()

    def _block(self, number: int) -> bytes:
        for wanted in (number, number + 1):
            if wanted not in self._blocks and wanted * BLOCK_BYTES < self._size:
                self._blocks[wanted] = self._ask(wanted)
        self._blocks.move_to_end(number)
        while len(self._blocks) > KEPT_BLOCKS:
            self._blocks.popitem(last=False)[1].cancel()
        return self._blocks[number].result()

    def _ask(self, number: int) -> Future[bytes]:
        asked = self._archive.read_range(self._name, number * BLOCK_BYTES, BLOCK_BYTES)
        return asyncio.run_coroutine_threadsafe(asked, self._loop)
