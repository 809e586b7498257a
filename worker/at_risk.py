"""Tells of recordings at risk: those with a chunk that has little time left."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from operator import attrgetter
from typing import Protocol

import structlog

from worker import notices
from worker.errors import QueueUnavailableError, RetryableError
from worker.model import ChunkState, QueueCounts, QueuedChunk
from worker.notices import Notices
from worker.ports import Clock, QueueListing

LOOK_SECONDS = 300.0
MOST_LOOKED_AT = 1000
"""Of the chunks with the earliest deadlines; the rest come up as these are settled."""
log: structlog.typing.FilteringBoundLogger = structlog.get_logger(__name__)


class WatchedQueue(QueueListing, Protocol):
    """What the watch needs of a queue."""

    async def counts(self, *, at_risk_within: timedelta) -> QueueCounts: ...


@dataclass(slots=True, kw_only=True)
class RiskWatch:
    """Writes a notice for each recording with a chunk that has less than `within` left."""

    queue: WatchedQueue
    notices: Notices
    clock: Clock
    within: timedelta
    _written: frozenset[str] = field(default_factory=frozenset)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Look now and again while the body runs."""
        watching = asyncio.create_task(self._run(), name="risk watch")
        try:
            yield
        finally:
            watching.cancel()
            await asyncio.wait({watching})

    async def _run(self) -> None:
        while True:
            try:
                await self.look()
            except (RetryableError, QueueUnavailableError) as error:
                log.error("notice.failed", reason=error.reason, error=str(error))
            except Exception:
                # A firewall: notices must not end the worker.
                log.exception("notice.failed")
            await self.clock.sleep(LOOK_SECONDS)

    async def look(self) -> None:
        """Write what is to be told of the chunks that are at risk now."""
        now = self.clock.now()
        known: set[str] = set()
        for chunks in _by_recording(await self._chunks_at_risk()):
            notice_id = notices.risk_id(chunks[0].chunk, now)
            if notice_id not in self._written:
                await self.notices.recording_at_risk(chunks)
            known.add(notice_id)
        self._written = frozenset(known)

    async def _chunks_at_risk(self) -> list[QueuedChunk]:
        counts = await self.queue.counts(at_risk_within=self.within)
        if not counts.at_risk:
            return []
        latest = self.clock.now() + self.within
        most = min(counts.at_risk, MOST_LOOKED_AT)
        found: list[QueuedChunk] = []
        for state in (ChunkState.PENDING, ChunkState.LEASED):
            found += await self.queue.list(state=state, limit=most)
        return [entry for entry in found if entry.chunk.expires_at < latest]


def _by_recording(entries: Sequence[QueuedChunk]) -> list[list[QueuedChunk]]:
    recording = attrgetter("chunk.recording")
    ordered = sorted(entries, key=recording)
    return [list(group) for _, group in itertools.groupby(ordered, key=recording)]
