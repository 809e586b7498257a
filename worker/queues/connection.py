"""SQLite connections, each with the one thread that touches it, and what their errors mean."""

import asyncio
import contextlib
import os
import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from worker.errors import QueueUnavailableError
from worker.queues import schema

T = TypeVar("T")
BUSY_SECONDS = 5.0
"""How long one statement waits for another process; Event Grid waits 30 s for an answer."""
CACHED_STATEMENTS = 64
MIB = 1024 * 1024

_DURABLE = (
    "PRAGMA synchronous = FULL",
    # macOS: fsync alone leaves data in the drive's cache.
    "PRAGMA fullfsync = ON",
    "PRAGMA checkpoint_fullfsync = ON",
    "PRAGMA journal_size_limit = " + str(64 * MIB),
)
_WRITING = (
    # KiB; less than a full batch touches would go through the log several times.
    "PRAGMA cache_size = -16384",
)
_MEANING = {
    sqlite3.SQLITE_FULL: "the disk is full",
    sqlite3.SQLITE_BUSY: "another process holds the lock",
    sqlite3.SQLITE_LOCKED: "another connection holds the lock",
    sqlite3.SQLITE_READONLY: "the file is read-only",
    sqlite3.SQLITE_CANTOPEN: "the file can't be opened",
    sqlite3.SQLITE_CORRUPT: "the file is corrupt",
    sqlite3.SQLITE_NOTADB: "the file is not a database",
    sqlite3.SQLITE_IOERR: "the disk failed",
}


def unavailable(error: sqlite3.Error, path: Path) -> QueueUnavailableError:
    """Say what SQLite's error means for the queue."""
    # Errors of the sqlite3 module itself (a closed connection) have no code.
    code = getattr(error, "sqlite_errorcode", 0)
    meaning = _MEANING.get(code & 0xFF, "the queue failed")
    return QueueUnavailableError(f"{meaning}: {error} ({str(path)!r})")


@contextlib.contextmanager
def mapped(path: Path) -> Iterator[None]:
    """Turn every error of SQLite or of the file into QueueUnavailableError."""
    try:
        yield
    except sqlite3.Error as error:
        raise unavailable(error, path) from error
    except OSError as error:
        raise QueueUnavailableError(
            f"the file can't be reached: {error.strerror} ({str(path)!r})"
        ) from error


def open_writer(path: Path, *, create: bool) -> sqlite3.Connection:
    """Open the connection that writes; `create` makes file, folders and tables as needed."""
    if create:
        _make_folder(path.parent)
    with contextlib.ExitStack() as undo:
        db = _connect(path, create=create)
        undo.callback(db.close)
        for pragma in (*_DURABLE, *_WRITING):
            db.execute(pragma)
        if create:
            schema.create(db)
        schema.bring_up(db)
        schema.check(db)
        undo.pop_all()
    return db


def open_reader(path: Path) -> sqlite3.Connection:
    """Open a connection that can't change anything."""
    with contextlib.ExitStack() as undo:
        db = _connect(path, create=False)
        undo.callback(db.close)
        db.execute("PRAGMA query_only = ON")
        schema.check(db)
        undo.pop_all()
    return db


def _connect(path: Path, *, create: bool) -> sqlite3.Connection:
    if not create and not path.exists():
        raise QueueUnavailableError(f"there is no queue at {str(path)!r}")
    db = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={'rwc' if create else 'rw'}",
        uri=True,
        timeout=BUSY_SECONDS,
        isolation_level=None,
        cached_statements=CACHED_STATEMENTS,
    )
    db.row_factory = sqlite3.Row
    return db


def _make_folder(folder: Path) -> None:
    """Make the folder so that it survives a power cut; SQLite syncs what is inside."""
    if folder.exists():
        return
    _make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    parent = os.open(folder.parent, os.O_RDONLY)
    try:
        os.fsync(parent)
    finally:
        os.close(parent)


class OpenedFile:
    """The file behind a connection: is it still the one that its path leads to?"""

    def __init__(self, path: Path, connect: Callable[[], sqlite3.Connection]) -> None:
        self._path = path
        self._connect = connect
        self._identity: tuple[int, int] | None = None

    def open(self) -> sqlite3.Connection:
        with contextlib.ExitStack() as undo:
            db = self._connect()
            undo.callback(db.close)
            self._identity = self._identity_now()
            undo.pop_all()
        return db

    def check(self) -> None:
        """Raise unless what was written is where the next process will look for it."""
        if self._identity_now() != self._identity:
            raise QueueUnavailableError(
                f"the file was replaced while open ({str(self._path)!r})"
            )

    def _identity_now(self) -> tuple[int, int]:
        # While it is open its inode can't be given to another file.
        status = self._path.stat()
        return status.st_dev, status.st_ino


class DatabaseThread:
    """One connection and the one thread that touches it."""

    def __init__(self, path: Path, connect: Callable[[], sqlite3.Connection]) -> None:
        self._path = path
        self._connect = connect
        self._opened: tuple[ThreadPoolExecutor, sqlite3.Connection] | None = None

    async def open(self) -> None:
        with contextlib.ExitStack() as undo:
            thread = ThreadPoolExecutor(1, thread_name_prefix="queue")
            undo.callback(thread.shutdown, wait=False)
            loop = asyncio.get_running_loop()
            db = await loop.run_in_executor(thread, self._mapped, self._connect)
            undo.pop_all()
        self._opened = thread, db

    async def close(self) -> None:
        """Close after all that was asked before."""
        thread, db = self._when_open()
        self._opened = None
        closed = asyncio.get_running_loop().run_in_executor(thread, db.close)
        thread.shutdown(wait=False)
        await closed

    def run(self, work: Callable[[sqlite3.Connection], T]) -> asyncio.Future[T]:
        """Do `work` after all that was asked before; its errors are mapped."""
        thread, db = self._when_open()
        loop = asyncio.get_running_loop()
        return loop.run_in_executor(thread, self._mapped, lambda: work(db))

    def _when_open(self) -> tuple[ThreadPoolExecutor, sqlite3.Connection]:
        if self._opened is None:
            raise QueueUnavailableError(f"the queue is not open ({str(self._path)!r})")
        return self._opened

    def _mapped(self, work: Callable[[], T]) -> T:
        with mapped(self._path):
            return work()
