"""All writes through one thread, as many in one transaction as are waiting.

A durable commit costs one sync of the disk however much it holds. While one batch is being
committed the next one gathers; whoever waits is told after COMMIT has returned. A write that
fails fails alone: the batch is rolled back and run again, each write behind a savepoint.

After COMMIT, before anyone is told, comes a look whether the path still leads to the file
that was opened: what was written into one that was moved or removed is lost, so that all of
the batch has failed.
"""

import asyncio
import contextlib
import sqlite3
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from worker.errors import QueueUnavailableError, WorkerError
from worker.queues import puts, schema
from worker.queues.connection import DatabaseThread, unavailable
from worker.queues.puts import Put

T = TypeVar("T")
Write = Callable[[sqlite3.Connection], T]
"""Runs inside a transaction, perhaps twice. A WorkerError means that it changed nothing."""
Waiting = tuple[Write[Any], asyncio.Future[Any]]
MAX_BATCH = 256
_FOREIGN = (sqlite3.Error, ValueError, OverflowError)
"""What SQLite raises, and what its module raises for values that SQLite can't hold."""


class GroupCommit:
    """Runs writes durably; one that was cancelled while it waited may still be done."""

    def __init__(
        self,
        path: Path,
        connect: Callable[[], sqlite3.Connection],
        *,
        check_file: Callable[[], None],
    ) -> None:
        self._path = path
        self._check_file = check_file
        self._thread = DatabaseThread(path, connect)
        self._waiting: deque[Waiting] = deque()
        self._is_open = False
        self._idle = asyncio.Event()

    async def open(self) -> None:
        await self._thread.open()
        self._idle.set()
        self._is_open = True

    async def close(self) -> None:
        """Refuse what comes now, finish what came before."""
        self._is_open = False
        try:
            await self._idle.wait()
        finally:
            # Nothing is left unless this was cancelled.
            self._refuse_waiting()
            await self._thread.close()

    def submit(self, write: Write[T]) -> asyncio.Future[T]:
        """Queue the write; the future is done when it is durable."""
        if not self._is_open:
            raise QueueUnavailableError(f"the queue is not open ({str(self._path)!r})")
        loop = asyncio.get_running_loop()
        done: asyncio.Future[T] = loop.create_future()
        self._waiting.append((write, done))
        if self._idle.is_set():
            self._idle.clear()
            # One turn of the loop later, so that whoever is ready to write joins the batch.
            loop.call_soon(self._commit_next)
        return done

    def _refuse_waiting(self) -> None:
        for _, done in self._waiting:
            if not done.done():
                done.set_exception(QueueUnavailableError("closed before the write"))
        self._waiting.clear()

    def _commit_next(self) -> None:
        batch = self._next_batch()
        if not batch:
            self._idle.set()
            return
        writes = [write for write, _ in batch]
        commit = self._thread.run(lambda db: self._commit(db, writes))
        commit.add_done_callback(lambda commit: self._resolve(batch, commit))

    def _commit(
        self, db: sqlite3.Connection, writes: Sequence[Write[Any]]
    ) -> list[Any]:
        outcomes = _commit(db, writes, self._path)
        self._check_file()
        return outcomes

    def _next_batch(self) -> list[Waiting]:
        batch: list[Waiting] = []
        while self._waiting and len(batch) < MAX_BATCH:
            write, done = self._waiting.popleft()
            if not done.done():
                batch.append((write, done))
        return batch

    def _resolve(self, batch: list[Waiting], commit: asyncio.Future[list[Any]]) -> None:
        # First the next batch: the disk works while the loop tells whoever waited.
        self._commit_next()
        error = commit.exception()
        outcomes = commit.result() if error is None else [error] * len(batch)
        for (_, done), outcome in zip(batch, outcomes, strict=True):
            if done.done():
                continue
            if isinstance(outcome, BaseException):
                done.set_exception(outcome)
            else:
                done.set_result(outcome)


async def unless_cancelled(
    work: asyncio.Future[T], give_back: Callable[[T], Awaitable[None]]
) -> T:
    """What was taken; whoever is cancelled gives it back now, not when its time is over."""
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        with contextlib.suppress(WorkerError):
            await give_back(await work)
        raise


def _commit(
    db: sqlite3.Connection, writes: Sequence[Write[Any]], path: Path
) -> list[Any]:
    """Return what each write returned or raised, once all are durable."""
    with schema.transaction(db):
        try:
            return _together(db, writes)
        except _FOREIGN:
            if db.in_transaction:
                db.execute("ROLLBACK")
        db.execute("BEGIN IMMEDIATE")
        return [_apart(db, write, path) for write in writes]


def _together(db: sqlite3.Connection, writes: Sequence[Write[Any]]) -> list[Any]:
    batch = [write for write in writes if isinstance(write, Put)]
    results = iter(puts.put_all(db, batch) if batch else ())
    return [
        next(results) if isinstance(write, Put) else _outcome(db, write)
        for write in writes
    ]


def _outcome(db: sqlite3.Connection, write: Write[Any]) -> object:
    try:
        return write(db)
    except WorkerError as error:
        return error


def _apart(db: sqlite3.Connection, write: Write[Any], path: Path) -> object:
    db.execute("SAVEPOINT one_write")
    try:
        return _outcome(db, write)
    except _FOREIGN as error:
        db.execute("ROLLBACK TO one_write")
        return unavailable(error, path) if isinstance(error, sqlite3.Error) else error
    finally:
        db.execute("RELEASE one_write")
