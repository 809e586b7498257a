"""New messages for what the ledger knows: for what ages behind a backlog, or was lost.

A message too many is cheap: the receipt in the archive ends it. One too few loses a chunk.
"""

from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from typing import TypeVar

import structlog

from worker.errors import NewerFormatError
from worker.model import ChunkState, QueuedChunk, Rebuilt
from worker.queues.storage import messages, names
from worker.queues.storage.channel import Channel
from worker.queues.storage.ledger import DueEntry
from worker.queues.storage.means import HOUR, URGENT_WITHIN, Means
from worker.queues.storage.messages import ChunkMessage, DeliveryMessage
from worker.queues.storage.names import DueName, Mark, PartName
from worker.queues.storage.parallel import in_parallel
from worker.stored import StoredFormatError

T = TypeVar("T")
EVERY_SECONDS = 300.0
AGAIN_SECONDS = 30.0
"""How soon the next look comes after one that did not reach the end."""
MOST_AT_ONCE = 256
BACK = 24 * HOUR
"""What expired longer ago than this is gone at the source."""
DELIVERIES_BACK = 48 * HOUR
BATCH = 64
log: structlog.typing.FilteringBoundLogger = structlog.get_logger(__name__)


@dataclass(slots=True, kw_only=True)
class Rescue:
    """Looks now and then; many workers look at different times."""

    means: Means
    next_s: float = field(init=False)

    def __post_init__(self) -> None:
        now_s = self.means.clock.monotonic()
        self.next_s = now_s + self.means.random.uniform(0, EVERY_SECONDS)

    async def if_due(self) -> None:
        now_s = self.means.clock.monotonic()
        if now_s < self.next_s:
            return
        self.next_s = now_s + self.means.random.uniform(0.75, 1.25) * EVERY_SECONDS
        if await self.run() >= MOST_AT_ONCE:
            self.next_s = now_s + AGAIN_SECONDS

    async def run(self) -> int:
        """Have what is about to expire in the urgent queue, once; how much that was."""
        parts = await _some(self._overdue())
        entries = await _some(self._left_behind())
        await in_parallel(parts, self._promote_part)
        await in_parallel(entries, self._promote)
        if parts or entries:
            log.warning("queue.rescued", chunks=len(entries), deliveries=len(parts))
        return max(len(parts), len(entries))

    async def _overdue(self) -> AsyncIterator[PartName]:
        """Deliveries that should have been fanned out by now, or were not urgent then."""
        now = self.means.clock.now()
        async for part, is_urgent in self.means.ledger.unfanned(
            now - DELIVERIES_BACK, now
        ):
            is_late = now - part.hour >= 2 * HOUR
            if not is_urgent and (
                is_late or _has_become_urgent(part, part.expires_at, now)
            ):
                yield part

    async def _left_behind(self) -> AsyncIterator[tuple[DueEntry, ChunkMessage]]:
        """Chunks with little time left that were put into the usual queue.

        What can't be read is passed by here, or it would take the place of others at each look.
        """
        now = self.means.clock.now()
        async for entry in self.means.ledger.due(now - BACK, now + URGENT_WITHIN):
            is_known = any(standing.is_urgent for standing in entry.refs.values())
            if entry.state is not ChunkState.PENDING or entry.is_moved or is_known:
                continue
            part = names.parse_ref(entry.ref).part
            if not _has_become_urgent(part, entry.at, now):
                continue
            message = await self._message(entry)
            if message is not None:
                yield entry, message

    async def _promote_part(self, part: PartName) -> None:
        await _send_part(self.means.urgent, part)
        await self.means.ledger.create(part.urgent)

    async def _promote(self, left: tuple[DueEntry, ChunkMessage]) -> None:
        entry, message = left
        await self.means.urgent.send(messages.encode(message))
        await self.means.ledger.mark(entry.due, Mark.URGENT)

    async def _message(self, entry: DueEntry) -> ChunkMessage | None:
        """None for what can't be read."""
        ref = names.parse_ref(entry.ref)
        with suppress(NewerFormatError, StoredFormatError):
            chunk = await self.means.ledger.parts.chunk(ref)
            if chunk is not None:
                message = messages.chunk_message(chunk, row=entry.row, ref=ref)
                is_archived = entry.state is ChunkState.ARCHIVED
                return replace(
                    message,
                    expires_at=entry.expires_at(chunk),
                    archived=is_archived,
                )
        return None

    async def send_one(self, queued: QueuedChunk) -> bool:
        """A message for one entry, if it is at work and can be read."""
        at = names.whole_second(queued.chunk.expires_at)
        second = DueName(at=at, row="", ref="").second
        async for entry in self.means.ledger.due_in(f"{second}{queued.row}."):
            message = await self._message(entry) if entry.is_outstanding else None
            if message is not None:
                await self._send_again(entry, message)
                return True
        return False

    async def rebuild(self, *, dry_run: bool) -> Rebuilt:
        """A message for all that is outstanding: for queues that were lost."""
        known: list[bool] = []
        deliveries = 0

        async def send_again(entry: DueEntry) -> None:
            message = await self._message(entry)
            known.append(message is not None)
            if message is not None and not dry_run:
                await self._send_again(entry, message)

        async for batch in _batches(self.means.ledger.due_in(names.DUE)):
            outstanding = [entry for entry in batch if entry.is_outstanding]
            await in_parallel(outstanding, send_again)
        async for parts in _batches(self.means.ledger.unfanned_in(names.DELIVERIES)):
            deliveries += len(parts)
            if not dry_run:
                await in_parallel([part for part, _ in parts], self._send_part_again)
        rebuilt = Rebuilt(
            chunks=known.count(True),
            deliveries=deliveries,
            unreadable=known.count(False),
        )
        if not dry_run:
            told = {"worker": self.means.worker, **asdict(rebuilt)}
            log.warning("queue.rebuilt", **told)
        return rebuilt

    async def _send_again(self, entry: DueEntry, message: ChunkMessage) -> None:
        await self.means.send(message)
        if self.means.is_urgent(message.expires_at):
            await self.means.ledger.mark(entry.due, Mark.URGENT)

    async def _send_part_again(self, part: PartName) -> None:
        await _send_part(self.means.channel_for(part.expires_at), part)


async def _send_part(channel: Channel, part: PartName) -> None:
    message = DeliveryMessage(part=part.document)
    await channel.send(messages.encode(message))


def _has_become_urgent(part: PartName, expires_at: datetime, now: datetime) -> bool:
    """What was urgent when it came was put into the urgent queue then."""
    was_urgent = expires_at - part.hour < URGENT_WITHIN
    return not was_urgent and expires_at - now < URGENT_WITHIN


async def _some(source: AsyncIterator[T]) -> list[T]:
    found: list[T] = []
    async for each in source:
        found.append(each)
        if len(found) >= MOST_AT_ONCE:
            break
    return found


async def _batches(source: AsyncIterator[T]) -> AsyncIterator[list[T]]:
    batch: list[T] = []
    async for each in source:
        batch.append(each)
        if len(batch) >= BATCH:
            yield batch
            batch = []
    if batch:
        yield batch
