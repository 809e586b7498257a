"""A file on its way to becoming an object: written in any order, published at once or never.

Kill the process after any of these steps and the object is either invisible or whole:
write, fsync of the file, link to its name (create-only), fsync of the folder, unlink here.
"""

import fcntl
import hashlib
import os
import secrets
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime

from worker.archives.object_names import STAGING
from worker.archives.tree import Parts, Tree
from worker.errors import AlreadyExistsError, ArchiveFullError, IntegrityError

OBJECT_MODE = 0o440
"""Write-once, for people at a shell too."""
_CREATE = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
_SWEEP = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_STAGING: Parts = (STAGING,)


class StagingFile:
    """One staged file, under a lock that tells every sweep that its writer lives.

    All methods block. `write` and `sync` may run in several threads at once; the rest only
    when none of them runs.
    """

    def __init__(self, tree: Tree, *, reserve_bytes: int) -> None:
        self._tree = tree
        self._reserve_bytes = reserve_bytes
        self._name = ""
        self._descriptor = -1

    def open(self) -> None:
        """Make the file. Whoever calls this calls `discard`, even if this fails."""
        with self._tree.folder(_STAGING, create=True) as folder:
            check_reserve(folder, self._reserve_bytes)
            self._name, self._descriptor = _create_locked(folder)

    def write(self, offset: int, block: bytearray | memoryview | bytes) -> str:
        """Put the block in its place; returns its sha256."""
        view = memoryview(block).cast("B")
        check_reserve(self._descriptor, self._reserve_bytes + len(view))
        digest = hashlib.sha256(view).hexdigest()
        while view:
            written = os.pwrite(self._descriptor, view, offset)
            view = view[written:]
            offset += written
        return digest

    def sync(self) -> None:
        """Bring what was written so far to the disk, so that `publish` has little to do."""
        _sync_data(self._descriptor)

    def publish(self, parts: Parts, *, size: int, at: datetime) -> None:
        """Give the file its name, durably; AlreadyExistsError if the name is taken."""
        held = os.fstat(self._descriptor).st_size
        if held != size:
            raise IntegrityError(
                f"{held} bytes were staged where {size} were announced"
            )
        os.fchmod(self._descriptor, OBJECT_MODE)
        os.utime(self._descriptor, (at.timestamp(), at.timestamp()))
        _sync_file(self._descriptor)
        with self._tree.folder(parts[:-1], create=True) as folder:
            self._link(folder, parts[-1])
            os.fsync(folder)

    def discard(self) -> None:
        """Give up the staged name and the lock; a published object stays."""
        if self._descriptor < 0:
            return
        try:
            # The root may be gone, or another process may have cleaned up: nothing to do.
            with suppress(FileNotFoundError), self._tree.folder(_STAGING) as folder:
                os.unlink(self._name, dir_fd=folder)
        finally:
            os.close(self._descriptor)

    def _link(self, folder: int, leaf: str) -> None:
        # link, not rename: it fails if the name is taken, even in a race.
        with self._tree.folder(_STAGING) as staging:
            try:
                os.link(self._name, leaf, src_dir_fd=staging, dst_dir_fd=folder)
            except FileExistsError as error:
                # The caller will trust what is there, and the other writer's link may not
                # be durable yet.
                os.fsync(folder)
                raise AlreadyExistsError(f"{leaf!r} exists") from error


@contextmanager
def staged(tree: Tree, *, reserve_bytes: int) -> Iterator[StagingFile]:
    """A staging file for the length of a block, for work that stays in one thread."""
    file = StagingFile(tree, reserve_bytes=reserve_bytes)
    try:
        file.open()
        yield file
    finally:
        file.discard()


def sweep(tree: Tree) -> int:
    """Remove staged files whose writers are dead; returns how many."""
    removed = 0
    with tree.folder(_STAGING, create=True) as folder:
        for name in os.listdir(folder):  # noqa: PTH208 - pathlib knows no descriptors
            removed += _removed_if_dead(folder, name)
    return removed


def probe(tree: Tree, *, reserve_bytes: int, at: datetime) -> None:
    """Prove that a file can be made, synced and linked, and that the reserve is kept."""
    name = f"probe-{secrets.token_hex(8)}"
    with staged(tree, reserve_bytes=reserve_bytes) as file:
        file.write(0, name.encode())
        file.publish((STAGING, name), size=len(name), at=at)
        # The lock is still held: no sweep can have been here.
        with tree.folder(_STAGING) as folder:
            os.unlink(name, dir_fd=folder)


def check_reserve(descriptor: int, needed_bytes: int) -> None:
    """Raise ArchiveFullError unless this much is free where the descriptor lies."""
    free = free_bytes(descriptor)
    if free < needed_bytes:
        raise ArchiveFullError(
            f"{free} bytes free, {needed_bytes} needed with the reserve"
        )


def free_bytes(descriptor: int) -> int:
    """What an unprivileged process may still write to this file system."""
    status = os.fstatvfs(descriptor)
    return status.f_bavail * status.f_frsize


def _create_locked(folder: int) -> tuple[str, int]:
    while True:
        name = secrets.token_hex(8)
        descriptor = os.open(name, _CREATE, 0o600, dir_fd=folder)
        with ExitStack() as on_failure:
            on_failure.callback(os.close, descriptor)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            # A sweep may have come between the open and the lock.
            if _is_named(folder, name, descriptor):
                on_failure.pop_all()
                return name, descriptor


def _is_named(folder: int, name: str, descriptor: int) -> bool:
    try:
        named = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return os.path.samestat(named, os.fstat(descriptor))


def _removed_if_dead(folder: int, name: str) -> bool:
    """Whatever can't be opened, locked or unlinked is alive or not ours: it stays."""
    try:
        descriptor = os.open(name, _SWEEP, dir_fd=folder)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.unlink(name, dir_fd=folder)
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True


def _sync_data(descriptor: int) -> None:
    getattr(os, "fdatasync", os.fsync)(descriptor)


def _sync_file(descriptor: int) -> None:
    os.fsync(descriptor)
    full_sync = getattr(fcntl, "F_FULLFSYNC", None)
    if (
        full_sync is not None
    ):  # macOS: fsync alone leaves the bytes in the drive's cache
        fcntl.fcntl(descriptor, full_sync)
