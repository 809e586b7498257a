"""Which of the queue's entries are meant: by state, reason, call, worker, age, time left."""

from dataclasses import dataclass
from datetime import datetime

from worker.model import ChunkState, QueuedChunk

HOME = {ChunkState.ARCHIVED, ChunkState.DELETED}


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """What all of an entry must be; what is None, or empty, doesn't matter."""

    state: ChunkState | None = None
    reasons: tuple[str, ...] = ()
    call: str | None = None
    """How its call's id, or its server call id, begins."""
    worker: str | None = None
    """Who holds it."""
    received_before: datetime | None = None
    expires_before: datetime | None = None
    """What is home can't expire, and is not taken by this."""

    @property
    def is_empty(self) -> bool:
        """Whether it would take everything; a state alone chooses nothing."""
        chosen = (self.reasons, self.call, self.worker)
        return not (any(chosen) or self.received_before or self.expires_before)

    def takes(self, queued: QueuedChunk) -> bool:
        return (
            self.state in {None, queued.state}
            and (not self.reasons or (queued.reason or "") in self.reasons)
            and self.worker in {None, queued.leased_by}
            and self._is_of_call(queued)
            and self._is_of_time(queued)
        )

    def _is_of_call(self, queued: QueuedChunk) -> bool:
        announcement = queued.chunk.announcement
        ids = (announcement.call_id, announcement.server_call_id)
        return self.call is None or any(
            id_ and id_.startswith(self.call) for id_ in ids
        )

    def _is_of_time(self, queued: QueuedChunk) -> bool:
        received, expires = self.received_before, self.expires_before
        is_old = received is None or queued.chunk.received_at <= received
        if expires is None or not is_old:
            return is_old
        return queued.state not in HOME and queued.chunk.expires_at <= expires
