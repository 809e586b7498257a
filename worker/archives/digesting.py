"""Hashing a whole file in one go, in one thread, as whoever reads it next would get it.

Through the page cache, unlike a read-back: the kernel reads ahead, and what it holds needs no
disk. All of it blocks and runs in the archive's threads.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass

from worker.archives.read_back import Digests
from worker.archives.tree import Parts, Tree
from worker.archives.uncached import missing_object
from worker.errors import IntegrityError
from worker.model import ReadBack

PIECE_BYTES = 1024 * 1024
"""Fits into a processor's cache, so that what was read is hashed from there."""


@dataclass(slots=True, kw_only=True)
class FileDigest:
    """One file to be hashed; `stop`, from any thread, lets it end soon, as a file cut short."""

    tree: Tree
    parts: Parts
    block_bytes: int | None
    is_stopped: bool = False

    def stop(self) -> None:
        self.is_stopped = True

    def run(self) -> ReadBack:
        """Read it to its end. IntegrityError if it is not there, or can't be read."""
        try:
            descriptor = self.tree.open_object(self.parts)
        except FileNotFoundError as error:
            raise missing_object(self.parts) from error
        try:
            return self._digest(descriptor)
        finally:
            os.close(descriptor)

    def _digest(self, descriptor: int) -> ReadBack:
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_SEQUENTIAL)
        # Whether the size is the right one is for whoever asks to say.
        size_bytes = os.fstat(descriptor).st_size
        digests = Digests(self.block_bytes or max(size_bytes, 1))
        for piece in self._pieces(descriptor):
            digests.add_whole(piece)
            if self.block_bytes:
                digests.add_blocks(piece)
        return digests.result(size_bytes=size_bytes)

    def _pieces(self, descriptor: int) -> Iterator[memoryview]:
        buffer = memoryview(bytearray(PIECE_BYTES))
        while not self.is_stopped:
            try:
                count = os.readv(descriptor, [buffer])
            except OSError as error:
                raise IntegrityError("a part of it can't be read") from error
            if not count:
                return
            yield buffer[:count]
