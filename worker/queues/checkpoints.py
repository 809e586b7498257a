"""What was committed, from the write-ahead log into the file, beside the writers.

Within a commit, where SQLite does it by itself, it takes about as long again while deliveries
wait for their answers. Here it has a connection and a thread of its own, which no writer waits
for. A log that grows all the same, because there is no moment without a commit, is emptied by
the writer as SQLite would have it (connection.LOG_PAGES).
"""

import asyncio
import contextlib
import sqlite3
from pathlib import Path

from worker.errors import QueueUnavailableError
from worker.queues import connection
from worker.queues.connection import DatabaseThread

EVERY_CHANGES = 2500
"""Rows; a page that is changed by several commits is copied once."""


class Checkpoints:
    """Copies pages whenever enough has been changed; one copying at a time."""

    def __init__(self, path: Path) -> None:
        self._thread = DatabaseThread(path, lambda: connection.open_copier(path))
        self._is_open = False
        self._changes = 0
        self._copied = 0
        self._copying: asyncio.Future[None] | None = None

    async def open(self) -> None:
        await self._thread.open()
        self._is_open = True

    async def close(self) -> None:
        """Wait for the copying that is under way."""
        self._is_open = False
        await self._thread.close()

    def committed(self, changes: int) -> None:
        """Take note of the rows that were ever changed, `changes` by now."""
        self._changes = changes
        if not self._is_open or self._copying is not None:
            return
        if changes - self._copied >= EVERY_CHANGES:
            self._copied = changes
            self._copying = self._thread.run(_copy)
            self._copying.add_done_callback(self._went_on)

    def _went_on(self, copying: asyncio.Future[None]) -> None:
        self._copying = None
        # Nothing is lost with it: the log has all, and the next copying or the writer tries.
        with contextlib.suppress(QueueUnavailableError):
            copying.result()
        self.committed(self._changes)


def _copy(db: sqlite3.Connection) -> None:
    db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
