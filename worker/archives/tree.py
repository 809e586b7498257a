"""Folders below a root, entered one by one so that no symbolic link is ever followed."""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from worker.errors import ArchiveUnavailableError

FOLDER_MODE = 0o750
DURABLE_FOLDERS_KEPT = 4096
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
# O_NONBLOCK: a FIFO in the way must not hang the open.
_OBJECT = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC

Parts = tuple[str, ...]


class Tree:
    """A root directory and what lies below it. All methods block.

    FileNotFoundError means that a name is not there; a root that is gone, or is no longer
    the directory that `open` found, raises ArchiveUnavailableError instead: an archive
    whose disk is not mounted must never look empty.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._identity: tuple[int, int] | None = None
        self._durable: dict[Parts, int] = {}

    def open(self, *, create: bool) -> None:
        """Remember which directory the root is; with `create`, make it if need be."""
        if create:
            self._create()
        try:
            status = self._root.stat()
        except FileNotFoundError as error:
            raise _gone() from error
        self._identity = (status.st_dev, status.st_ino)

    def _create(self) -> None:
        missing = [
            path for path in (self._root, *self._root.parents) if not path.exists()
        ]
        self._root.mkdir(FOLDER_MODE, parents=True, exist_ok=True)
        for path in reversed(missing):
            sync_folder(path.parent)

    @contextmanager
    def folder(self, parts: Parts, *, create: bool = False) -> Iterator[int]:
        """Lend a descriptor of the folder; with `create`, it is there durably."""
        with ExitStack() as opened:
            descriptor = self._open_root()
            opened.callback(os.close, descriptor)
            for depth in range(1, len(parts) + 1):
                descriptor = self._enter(descriptor, parts[:depth], create=create)
                opened.callback(os.close, descriptor)
            yield descriptor

    def open_object(self, parts: Parts) -> int:
        """Open a regular file for reading; anything else there is not an object."""
        with self.folder(parts[:-1]) as folder:
            return open_below(folder, parts[-1])[0]

    def _open_root(self) -> int:
        try:
            descriptor = os.open(self._root, _FOLDER)
        except FileNotFoundError as error:
            raise _gone() from error
        status = os.fstat(descriptor)
        if (status.st_dev, status.st_ino) != self._identity:
            os.close(descriptor)
            raise ArchiveUnavailableError("the archive's directory was replaced")
        return descriptor

    def _enter(self, parent: int, path: Parts, *, create: bool) -> int:
        if create:
            with suppress(FileExistsError):
                os.mkdir(path[-1], FOLDER_MODE, dir_fd=parent)
        try:
            descriptor = os.open(path[-1], _FOLDER | os.O_NOFOLLOW, dir_fd=parent)
        except NotADirectoryError:
            # An object where a reader looks for a folder: nothing is below it. A symbolic
            # link stays an error: what lies behind it must not pass for absent.
            if not create and _is_file(parent, path[-1]):
                raise _absent(path[-1]) from None
            raise
        if create:
            self._make_entry_durable(parent, path, os.fstat(descriptor).st_ino)
        return descriptor

    def _make_entry_durable(self, parent: int, path: Parts, inode: int) -> None:
        # Also for a folder that was there: its maker may have died before its own fsync.
        if self._durable.get(path) == inode:
            return
        os.fsync(parent)
        if len(self._durable) >= DURABLE_FOLDERS_KEPT:
            self._durable.clear()
        self._durable[path] = inode


def open_below(folder: int, name: str) -> tuple[int, int]:
    """Open a regular file in an open folder, and tell its size.

    Anything else there is not an object.
    """
    descriptor = os.open(name, _OBJECT, dir_fd=folder)
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        raise _absent(name)
    return descriptor, status.st_size


def _is_file(parent: int, name: str) -> bool:
    return stat.S_ISREG(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode)


def _gone() -> ArchiveUnavailableError:
    return ArchiveUnavailableError("the archive's directory is gone")


def _absent(name: str) -> FileNotFoundError:
    return FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)


def sync_folder(path: Path) -> None:
    """Make the entries of a directory durable."""
    descriptor = os.open(path, _FOLDER)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
