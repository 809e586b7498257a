"""Dead letters back to work, and leases back from workers that are gone."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from worker.errors import WorkerError
from worker.model import ChunkState, QueuedChunk, Redriven
from worker.ops.selecting import Selection
from worker.ports import QueueListing, QueueMending

AT_ONCE = 16
SHORTEST_ID = 4
"""Shorter beginnings would mean half the queue."""


class NotInQueueError(WorkerError):
    """An id that no entry begins with."""

    reason = "not-in-queue"
    hint = "recording-worker queue list"


class MendedQueue(QueueListing, QueueMending, Protocol):
    """What is listed and mended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MendedRow:
    """One entry and what was done to it; JSON fields of `queue redrive|release --json`:
    additions only.
    """

    row: str
    document_id: str
    index: int
    recording: str
    call_id: str | None
    state: ChunkState
    """As it was before."""
    reason: str | None
    attempts: int
    worker: str | None
    expires_at: datetime
    outcome: str
    """`redriven`, `not-dead`, `unreadable`; `released`, `not-held`; or `would-…`."""


async def meant(
    queue: QueueListing, ids: Sequence[str], selection: Selection
) -> AsyncGenerator[QueuedChunk, None]:
    """What is meant by ids, or else by a selection, without holding all of it.

    Raises NotInQueueError for an id of nothing, before anything is told.
    """
    if not ids:
        async for entry in queue.scan(state=selection.state):
            if selection.takes(entry):
                yield entry
        return
    found: dict[str, QueuedChunk] = {}
    for text in ids:
        entries = await queue.find(text) if len(text) >= SHORTEST_ID else ()
        if not entries:
            raise NotInQueueError(f"the queue knows no {text!r}")
        found |= {entry.row: entry for entry in entries}
    for entry in found.values():
        if selection.takes(entry):
            yield entry


async def queue_redrive(
    queue: MendedQueue,
    ids: Sequence[str],
    selection: Selection,
    *,
    dry_run: bool,
) -> AsyncGenerator[MendedRow, None]:
    """Have the dead among them pending again, one after the other, each told once done."""
    batch: list[QueuedChunk] = []
    async for entry in meant(queue, ids, selection):
        if entry.state is not ChunkState.DEAD:
            yield _row(entry, Redriven.NOT_DEAD)
        elif dry_run:
            yield _row(entry, "would-redrive")
        else:
            batch.append(entry)
        if len(batch) >= AT_ONCE:
            async for row in _redriven(queue, batch):
                yield row
            batch = []
    async for row in _redriven(queue, batch):
        yield row
    if not dry_run:
        await queue.tidy()


async def _redriven(
    queue: QueueMending, entries: Sequence[QueuedChunk]
) -> AsyncGenerator[MendedRow, None]:
    """Some at once: each waits for a disk or a service. Who fails hides not what others did."""
    outcomes: dict[str, Redriven] = {}
    failed: list[WorkerError] = []

    async def redrive(entry: QueuedChunk) -> None:
        try:
            outcomes[entry.row] = await queue.redrive(entry)
        except WorkerError as error:
            failed.append(error)

    async with asyncio.TaskGroup() as group:
        for entry in entries:
            group.create_task(redrive(entry), name=f"redrive {entry.row}")
    for entry in entries:
        if entry.row in outcomes:
            yield _row(entry, outcomes[entry.row])
    if failed:
        raise failed[0]


async def queue_release(
    queue: MendedQueue,
    ids: Sequence[str],
    selection: Selection,
    *,
    dry_run: bool,
) -> AsyncGenerator[MendedRow, None]:
    """Have what a worker holds due now; a Storage Queue doesn't say who holds what."""
    async for entry in meant(queue, ids, selection):
        if entry.settled_at is not None:
            yield _row(entry, "not-held")
        elif dry_run:
            yield _row(entry, "would-release")
        else:
            is_released = await queue.give_back(entry)
            yield _row(entry, "released" if is_released else "not-held")


@dataclass(frozen=True, slots=True, kw_only=True)
class PruneReport:
    """What left the queue, or would; JSON fields of `queue prune --json`: additions only."""

    entries: int
    deliveries: int
    before: datetime
    dead: bool
    dry_run: bool


async def queue_prune(
    queue: QueueMending, *, before: datetime, dead: bool, dry_run: bool
) -> PruneReport:
    """Forget what was settled before then."""
    pruned = await queue.prune(before=before, dead=dead, dry_run=dry_run)
    if not dry_run:
        await queue.tidy()
    return PruneReport(
        entries=pruned.entries,
        deliveries=pruned.deliveries,
        before=before,
        dead=dead,
        dry_run=dry_run,
    )


def _row(entry: QueuedChunk, outcome: str) -> MendedRow:
    chunk = entry.chunk
    return MendedRow(
        row=entry.row,
        document_id=chunk.document_id,
        index=chunk.index,
        recording=chunk.recording,
        call_id=chunk.announcement.call_id,
        state=entry.state,
        reason=entry.reason,
        attempts=entry.attempts,
        worker=entry.leased_by,
        expires_at=chunk.expires_at,
        outcome=str(outcome),
    )
