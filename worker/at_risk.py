"""Tells of chunks at risk, which have little time left, and of what may become so unseen."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from operator import attrgetter
from typing import Protocol

import structlog

from worker import notices, siblings
from worker.errors import QueueUnavailableError, RetryableError
from worker.model import ChunkState, QueueCounts, QueuedChunk
from worker.notices import Notices
from worker.ports import Clock, QueueListing
from worker.sight import Sight

LOOK_SECONDS = 60.0
MOST_LOOKED_AT = 1000
"""Of the chunks with the earliest deadlines; the rest come up as these are settled."""
log: structlog.typing.FilteringBoundLogger = structlog.get_logger(__name__)


class WatchedQueue(QueueListing, Protocol):
    """What the watch needs of a queue."""

    async def counts(self, *, at_risk_within: timedelta) -> QueueCounts: ...


@dataclass(slots=True, kw_only=True)
class RiskWatch:
    """Says how many chunks have less than `within` left, and writes a notice for each
    recording with one that is not in the archive; without `notices` nobody else is told.
    What it sees on the way is for metrics and health too: a look may cost money.
    """

    queue: WatchedQueue
    notices: Notices | None
    clock: Clock
    within: timedelta
    sight: Sight
    _written: frozenset[str] = field(default_factory=frozenset)
    _home: frozenset[str] = field(default_factory=frozenset)
    """Rows of chunks that only wait for their siblings, or for their delete."""

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
            except QueueUnavailableError as error:
                log.error("queue.unavailable", error=str(error))
            except RetryableError as error:
                log.error("notice.failed", reason=error.reason, error=str(error))
            except Exception:
                # A firewall: notices must not end the worker.
                log.exception("notice.failed")
            await self.clock.sleep(LOOK_SECONDS)

    async def look(self) -> None:
        """Be loud about the chunks that are at risk now, long before they are lost."""
        counts = await self.sight.look(self.queue, within=self.within)
        if counts.is_sorting_late(self.clock.now()):
            since = counts.deferred_since
            log.error(
                "deferred.late",
                deliveries=counts.deferred,
                since=since.isoformat() if since else None,
            )
        if not counts.at_risk:
            return
        oldest = counts.oldest_deadline
        log.error(
            "chunks.at_risk",
            chunks=counts.at_risk,
            oldest_deadline=oldest.isoformat() if oldest else None,
        )
        if self.notices is not None:
            await self._tell(self.notices)

    async def _tell(self, told: Notices) -> None:
        now = self.clock.now()
        entries = await self._chunks_at_risk()
        self._home &= {entry.row for entry in entries}
        known: set[str] = set()
        for chunks in _by_recording(entries):
            notice_id = notices.risk_id(chunks[0].chunk, now)
            if notice_id not in self._written:
                lacking = [c for c in chunks if not await self._is_home(told, c)]
                if not lacking:
                    continue
                await told.recording_at_risk(lacking)
            known.add(notice_id)
        self._written = frozenset(known)

    async def _is_home(self, told: Notices, entry: QueuedChunk) -> bool:
        if entry.row in self._home:
            return True
        _, receipt = await siblings.identified(told.archive, entry.chunk)
        if receipt is not None:
            self._home |= {entry.row}
        return receipt is not None

    async def _chunks_at_risk(self) -> list[QueuedChunk]:
        latest = self.clock.now() + self.within
        found: list[QueuedChunk] = []
        for state in (ChunkState.PENDING, ChunkState.LEASED):
            found += await self.queue.list(state=state, limit=MOST_LOOKED_AT)
        return [entry for entry in found if entry.chunk.expires_at < latest]


def _by_recording(entries: Sequence[QueuedChunk]) -> list[list[QueuedChunk]]:
    recording = attrgetter("chunk.recording")
    ordered = sorted(entries, key=recording)
    return [list(group) for _, group in itertools.groupby(ordered, key=recording)]
