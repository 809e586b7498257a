"""What could not be understood, kept byte for byte for replay. Bounded, write-once.

The body lies alone under its name, so that it can be replayed as it is; why it is there
lies beside it as `….reason.txt`, which no pattern for bodies (`*.json`) matches.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Protocol

from worker import names
from worker.errors import AlreadyExistsError, WorkerError
from worker.model import Stored
from worker.ports import Clock

MOST_BYTES = 256 * 1024 * 1024
MOST_ITEMS = 10_000
_RECOUNT_SECONDS = 60.0
_BODY_SUFFIX = ".json"
_REASON_SUFFIX = ".reason.txt"


class QuarantineFullError(WorkerError):
    """No room for another body: answer 503, for nothing may be lost."""

    reason = "quarantine-full"
    hint = "recording-worker status"


class QuarantineArchive(Protocol):
    """What quarantine needs of ports.Archive."""

    async def create(self, name: str, data: bytes) -> Stored: ...

    async def stat(self, name: str) -> Stored | None: ...

    def list(self, prefix: str) -> AsyncIterator[str]: ...


class Quarantine:
    """Puts bodies aside, one at a time: a flood of bad input must not crowd out good."""

    def __init__(
        self,
        archive: QuarantineArchive,
        clock: Clock,
        *,
        most_bytes: int = MOST_BYTES,
        most_items: int = MOST_ITEMS,
    ) -> None:
        self._archive = archive
        self._clock = clock
        self._most_bytes = most_bytes
        self._most_items = most_items
        self._sizes: dict[str, int] = {}
        self._counted_at: float | None = None
        self._turn = asyncio.Lock()

    async def put(self, body: bytes, why: str, received_at: datetime) -> str:
        """Keep `body` durably and return its name; the same body is kept once a day.

        Raises QuarantineFullError, and what the archive raises.
        """
        name = names.quarantine_name(body, received_at)
        async with self._turn:
            await self._make_sure_of_room(name, len(body))
            with contextlib.suppress(AlreadyExistsError):
                await self._archive.create(name, body)
            self._sizes[name] = len(body)
            reason = name.removesuffix(_BODY_SUFFIX) + _REASON_SUFFIX
            with contextlib.suppress(AlreadyExistsError):
                await self._archive.create(reason, f"{why}\n".encode())
        return name

    async def _make_sure_of_room(self, name: str, size_bytes: int) -> None:
        if self._counted_at is None:
            await self._count()
        if self._has_room(name, size_bytes):
            return
        if self._is_count_old():
            await self._count()
        if not self._has_room(name, size_bytes):
            raise QuarantineFullError(
                f"{len(self._sizes)} bodies in quarantine, {self._bytes()} bytes"
            )

    def _has_room(self, name: str, size_bytes: int) -> bool:
        if name in self._sizes:
            return True
        fits = self._bytes() + size_bytes <= self._most_bytes
        return fits and len(self._sizes) < self._most_items

    def _bytes(self) -> int:
        return sum(self._sizes.values())

    def _is_count_old(self) -> bool:
        counted_at = self._counted_at
        since = self._clock.monotonic() - (counted_at or 0.0)
        return since >= _RECOUNT_SECONDS

    async def _count(self) -> None:
        """Learn what is there. Cut short by a timeout, the next call goes on from here."""
        there: set[str] = set()
        async for name in self._archive.list(names.QUARANTINE):
            if name.endswith(_BODY_SUFFIX):
                there.add(name)
            if len(there) >= self._most_items:
                break
        for gone in self._sizes.keys() - there:
            del self._sizes[gone]
        for name in sorted(there - self._sizes.keys()):
            stored = await self._archive.stat(name)
            self._sizes[name] = stored.size_bytes if stored else 0
        self._counted_at = self._clock.monotonic()
