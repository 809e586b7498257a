"""Reading a file from the disk rather than from memory."""

import errno
import fcntl
import mmap
import os
from contextlib import suppress

from worker.archives.tree import Parts, Tree
from worker.errors import IntegrityError

_DIRECT = getattr(os, "O_DIRECT", 0)


class UncachedFile:
    """An open file whose reads go past the page cache where the file system allows it.

    Where it refuses direct reads (tmpfs, some network file systems), clean pages are at
    least dropped first. All methods block.
    """

    def __init__(self, tree: Tree, parts: Parts) -> None:
        self._tree = tree
        self._parts = parts
        self._descriptor = -1
        self.size_bytes = 0
        self.direct = False

    def open(self) -> None:
        """Open the object. Whoever calls this calls `close`, even if this fails."""
        try:
            self._descriptor = self._tree.open_object(self._parts)
        except FileNotFoundError as error:
            raise missing_object(self._parts) from error
        self.size_bytes = os.fstat(self._descriptor).st_size
        self._drop_cache()
        self.direct = self._set_direct()

    def read(self, buffer: mmap.mmap, offset: int) -> int:
        """Fill the buffer from `offset`; returns how much, short only at the end."""
        try:
            return self._fill(buffer, offset)
        except OSError as error:
            if error.errno == errno.EIO:
                # Not unavailable: this object can't be read back, another name may be.
                raise IntegrityError(f"unreadable behind byte {offset}") from error
            if error.errno != errno.EINVAL or not self.direct:
                raise
        self._unset_direct()
        return self._fill(buffer, offset)

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)

    def _fill(self, buffer: mmap.mmap, offset: int) -> int:
        filled = 0
        # Not one read more: behind the end a direct read may be refused as unaligned.
        wanted = min(len(buffer), self.size_bytes - offset)
        with memoryview(buffer) as view:
            while filled < wanted:
                count = os.preadv(self._descriptor, [view[filled:]], offset + filled)
                if count == 0:
                    break
                filled += count
        return filled

    def _drop_cache(self) -> None:
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(self._descriptor, 0, 0, os.POSIX_FADV_DONTNEED)

    def _set_direct(self) -> bool:
        no_cache = getattr(fcntl, "F_NOCACHE", None)
        if no_cache is not None:  # macOS
            fcntl.fcntl(self._descriptor, no_cache, 1)
            return False
        with suppress(OSError):  # EINVAL: this file system has no direct reads
            fcntl.fcntl(self._descriptor, fcntl.F_SETFL, _DIRECT)
            return True
        return False

    def _unset_direct(self) -> None:
        fcntl.fcntl(self._descriptor, fcntl.F_SETFL, 0)
        self.direct = False


def missing_object(parts: Parts) -> IntegrityError:
    """What to raise where an object must be and is not."""
    return IntegrityError(f"{'/'.join(parts)!r} is not in the archive")
