"""The chunks at work, as an operator sees them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, runtime_checkable
from urllib.parse import urlsplit

from worker.model import Attempt, ChunkState, QueuedChunk, Rebuilt
from worker.ops.hints import hints_for
from worker.ops.selecting import Selection
from worker.ports import QueueListing
from worker.telemetry import spans


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueEntry:
    """One queue entry; JSON fields of `queue list --json`: additions only.

    Of the locations only the host: the rest may bear a credential.
    """

    row: str
    state: ChunkState
    key: str
    document_id: str
    index: int
    recording: str
    recording_id: str | None
    call_id: str | None
    resource: str | None
    source_host: str | None
    expires_at: datetime
    not_before: datetime
    attempts: int
    leased_by: str | None
    leased_until: datetime | None
    reason: str | None
    error: str | None
    received_at: datetime
    enqueued_at: datetime
    settled_at: datetime | None
    hints: tuple[str, ...] = ()
    """Commands that help against the reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueDetail:
    """One entry with its history; JSON fields of `queue show --json`: additions only."""

    entry: QueueEntry
    attempts: tuple[Attempt, ...]
    trace_id: str
    """Of the chunk's trace, if anybody traced."""


@runtime_checkable
class RebuildableQueue(Protocol):
    """A queue that can be made anew from what lies elsewhere."""

    async def rebuild(self, *, dry_run: bool) -> Rebuilt: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class RebuildReport:
    """What was sent again; JSON fields of `queue rebuild --json`: additions only."""

    chunks: int
    deliveries: int
    dry_run: bool
    unreadable: int = 0
    """Chunks whose announcement can't be read: nothing was sent for these."""


async def queue_rebuild(queue: QueueListing, *, dry_run: bool) -> RebuildReport | None:
    """Send again all that is outstanding; None for a queue that is all there is of it."""
    if not isinstance(queue, RebuildableQueue):
        return None
    rebuilt = await queue.rebuild(dry_run=dry_run)
    return RebuildReport(
        chunks=rebuilt.chunks,
        deliveries=rebuilt.deliveries,
        dry_run=dry_run,
        unreadable=rebuilt.unreadable,
    )


async def queue_list(
    queue: QueueListing, selection: Selection, *, limit: int
) -> Sequence[QueueEntry]:
    """Entries by deadline."""
    found = await queue.list(state=selection.state, limit=limit, only=selection.takes)
    return [entry_from(queued) for queued in found]


async def queue_show(queue: QueueListing, text: str) -> Sequence[QueueDetail]:
    """Entries whose row, key, documentId, call or recording is or starts with `text`."""
    found = await queue.find(text)
    return [
        QueueDetail(
            entry=entry_from(queued),
            attempts=tuple(await queue.attempts(queued.row)),
            trace_id=spans.trace_id(queued.chunk.key),
        )
        for queued in found
    ]


def entry_from(queued: QueuedChunk) -> QueueEntry:
    chunk = queued.chunk
    return QueueEntry(
        row=queued.row,
        state=queued.state,
        key=chunk.key,
        document_id=chunk.document_id,
        index=chunk.index,
        recording=chunk.recording,
        recording_id=chunk.announcement.recording_id,
        call_id=chunk.announcement.call_id,
        resource=chunk.announcement.resource,
        source_host=_host(chunk.content_location),
        expires_at=chunk.expires_at,
        not_before=queued.not_before,
        attempts=queued.attempts,
        leased_by=queued.leased_by,
        leased_until=queued.leased_until,
        reason=queued.reason,
        error=queued.error,
        received_at=chunk.received_at,
        enqueued_at=queued.enqueued_at,
        settled_at=queued.settled_at,
        hints=hints_for(queued),
    )


def _host(location: str) -> str | None:
    try:
        return urlsplit(location).hostname
    except ValueError:
        return None
