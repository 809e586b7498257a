"""An entry of the ledger as an operator sees it. Pure."""

from collections.abc import AsyncIterator
from datetime import datetime

from worker import names as archive_names
from worker.model import Attempt, Chunk, ChunkState, QueuedChunk
from worker.queues import columns, entries
from worker.queues.storage.messages import Poison
from worker.queues.storage.names import Death


def queued(row: str, chunk: Chunk, poison: Poison | None = None) -> QueuedChunk:
    """An entry as the ledger knows it: pending, or dead of what the poison says."""
    return QueuedChunk(
        row=row,
        chunk=chunk,
        state=ChunkState.PENDING if poison is None else ChunkState.DEAD,
        attempts=0 if poison is None else poison.attempts,
        not_before=chunk.received_at,
        leased_until=None,
        leased_by=None,
        reason=None if poison is None else poison.reason,
        error=None if poison is None else poison.error,
        enqueued_at=chunk.received_at,
        settled_at=None if poison is None else poison.at,
    )


def outline(death: Death, poison: Poison) -> Chunk:
    """A chunk that can't be read, as far as its death tells."""
    document_id = poison.document_id or ""
    return columns.outline(
        {
            "key": archive_names.safe_id(document_id or death.row),
            "recording": death.recording,
            "document_id": document_id,
            "position": 0,
            "end_reason": None,
            "enqueued_at": entries.micros(poison.at),
            "expires_at": entries.micros(poison.at),
            "resource": "",
            "call_id": None,
            "recording_id": None,
        }
    )


def attempt(poison: Poison) -> Attempt:
    return Attempt(
        number=poison.attempts,
        worker=poison.worker,
        started_at=poison.at,
        ended_at=poison.at,
        outcome=ChunkState.DEAD.value,
        reason=poison.reason,
        error=poison.error,
    )


async def in_state(
    source: AsyncIterator[QueuedChunk], state: ChunkState
) -> AsyncIterator[QueuedChunk]:
    async for queued in source:
        if queued.state is state:
            yield queued


def by_deadline(queued: QueuedChunk) -> datetime:
    return queued.chunk.expires_at


def by_index(queued: QueuedChunk) -> tuple[int, datetime]:
    return queued.chunk.index, queued.enqueued_at


def is_called(queued: QueuedChunk, text: str) -> bool:
    chunk, announcement = queued.chunk, queued.chunk.announcement
    ids = (queued.row, chunk.key, chunk.document_id)
    more = (announcement.call_id, announcement.recording_id, chunk.recording)
    return any(name is not None and name.startswith(text) for name in (*ids, *more))
