"""What this process last saw of the queue, for whoever asks without waiting."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

from worker.errors import BugError, WorkerError
from worker.model import ChunkState, QueueCounts, QueuedChunk
from worker.ports import Clock

UNSEEN_AFTER = timedelta(minutes=10)
"""A look is due every minute, and none at a queue that answers takes that long."""
NO_ANSWER = "no-answer"
"""What is wrong with a look that neither succeeds nor fails."""


class SeenQueue(Protocol):
    """What a look needs of a queue."""

    async def counts(self, *, at_risk_within: timedelta) -> QueueCounts: ...

    async def list(
        self, *, state: ChunkState | None = None, limit: int = 1000
    ) -> Sequence[QueuedChunk]: ...


@dataclass(slots=True, kw_only=True)
class Sight:
    """The last look that succeeded stays as it was while later ones fail, or hang."""

    clock: Clock
    counts: QueueCounts | None = None
    waiting_since: datetime | None = None
    """When the pending chunk whose deadline comes first was queued; None: none is pending."""
    looked_at: datetime | None = None
    failure: str | None = None
    """Why the last look failed, as a reason of worker/errors.py; None: it did not."""
    _since_s: float = field(init=False)
    """When the last look ended, or the first could begin, by the clock that never jumps."""

    def __post_init__(self) -> None:
        self._since_s = self.clock.monotonic()

    @property
    def problem(self) -> str | None:
        """Why the queue is not seen; None: it is, or nobody has looked yet."""
        since_s = self.clock.monotonic() - self._since_s
        is_hanging = since_s > UNSEEN_AFTER.total_seconds()
        return NO_ANSWER if is_hanging else self.failure

    async def look(self, queue: SeenQueue, *, within: timedelta) -> QueueCounts:
        """Look. Raises what the queue raises, and remembers its reason."""
        try:
            counts = await queue.counts(at_risk_within=within)
            first: Sequence[QueuedChunk] = ()
            if counts.by_state.get(ChunkState.PENDING):
                first = await queue.list(state=ChunkState.PENDING, limit=1)
        except Exception as error:
            ours = error if isinstance(error, WorkerError) else BugError
            self.failure = ours.reason
            self._since_s = self.clock.monotonic()
            raise
        self._since_s = self.clock.monotonic()
        self.counts, self.failure = counts, None
        self.waiting_since = first[0].enqueued_at if first else None
        self.looked_at = self.clock.now()
        return counts
