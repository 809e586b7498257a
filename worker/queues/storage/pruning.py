"""What was settled long ago leaves the ledger.

Only what can make nothing undiscoverable goes: of a delivery whose chunks all have their
proof, or their tombstone, in the archive. What leads to the rest goes last: killed at any
line and run again, it ends the same.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime

from worker import names as archive_names
from worker.errors import NewerFormatError
from worker.model import Chunk, Pruned, RecordingKey
from worker.queues.entries import entry_id
from worker.queues.storage import names
from worker.queues.storage.ledger import Ledger, Standing
from worker.queues.storage.means import Means
from worker.queues.storage.names import (
    RANK,
    DueName,
    Mark,
    NoNameError,
    PartName,
    Ref,
    parse_due,
)
from worker.queues.storage.parallel import in_parallel
from worker.stored import StoredFormatError

_SETTLED = {Mark.ARCHIVED, Mark.DELETED, Mark.MOVED, Mark.DEAD}
"""A death is judged by its own name."""


@dataclass(slots=True, kw_only=True)
class _Due:
    """All names of one announcement at one time."""

    due: DueName
    is_named: bool = False
    standing: Standing = field(default_factory=Standing)
    marked: list[tuple[int, str]] = field(default_factory=list)

    @property
    def is_settled(self) -> bool:
        """Where its own name is gone, this was begun before."""
        return not self.is_named or self.standing.mark in _SETTLED

    @property
    def names(self) -> list[str]:
        """In the order in which they may go: what says that it is settled is the last."""
        return [str(self.due), *(name for _, name in sorted(self.marked))]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruning:
    """Removes what expired and was settled `before` then; with `dead`, what was given up."""

    means: Means
    before: datetime
    dead: bool
    dry_run: bool

    @property
    def _ledger(self) -> Ledger:
        return self.means.ledger

    async def run(self) -> Pruned:
        entries = deliveries = 0
        async for part, endings in self._ledger.deliveries_in(names.DELIVERIES):
            if part.hour >= self.before:
                break
            chunks = await self._prunable(part, endings)
            if chunks is None:
                continue
            entries += len(chunks)
            deliveries += "json" in endings
            if not self.dry_run:
                await self._erase_part(part, chunks)
        if not self.dry_run:
            await self._erase_due()
        return Pruned(entries=entries, deliveries=deliveries)

    async def _prunable(
        self, part: PartName, endings: set[str]
    ) -> Sequence[tuple[Ref, Chunk]] | None:
        """Its chunks, if nothing of it is needed any more."""
        if "json" not in endings:
            return ()
        is_fanned = "fanned" in endings or not part.chunks
        known = None
        with suppress(StoredFormatError, NewerFormatError):
            known = await self._ledger.parts.part(part)
        if known is None or not is_fanned:
            return None
        chunks = list(known.refs())
        for ref, chunk in chunks:
            if chunk.expires_at >= self.before or not await self._is_over(ref, chunk):
                return None
        for recording in {chunk.recording for _, chunk in chunks}:
            if await self._has_work(recording):
                return None
        return chunks

    async def _has_work(self, recording: RecordingKey) -> bool:
        """Whoever closes it looks at all that was announced, by whatever delivery."""
        async for _, named in self._ledger.entries(names.recording_folder(recording)):
            ref = names.parse_ref(named)
            try:
                chunk = await self._ledger.parts.chunk(ref)
            except NewerFormatError:
                return True
            except StoredFormatError:
                continue
            if chunk is not None and await self._is_at_work(ref, chunk):
                return True
        return False

    async def _is_at_work(self, ref: Ref, chunk: Chunk) -> bool:
        row = entry_id(chunk)
        due = names.due_name(chunk.expires_at, row=row, ref=str(ref))
        is_moved = False
        async for found in self._due_in(str(due)):
            if not found.is_settled:
                return True
            is_moved |= found.standing.mark is Mark.MOVED
        return is_moved and await self._is_moved_to_work(due, chunk)

    async def _is_moved_to_work(self, due: DueName, chunk: Chunk) -> bool:
        """When it is due by then, the receipt knows; without one it is at work, or dead."""
        receipt = await self._ledger.proof(chunk)
        if receipt is None:
            death = await self._ledger.last_death(chunk.recording, due.row)
            is_dead = death is not None and not death[1]
            return not is_dead and not await self._is_erased(chunk)
        at = names.whole_second(receipt.expires_at)
        async for found in self._due_in(str(replace(due, at=at))):
            if not found.is_settled:
                return True
        return False

    async def _is_over(self, ref: Ref, chunk: Chunk) -> bool:
        row = entry_id(chunk)
        death = await self._ledger.last_death(chunk.recording, row)
        if death is None and self.dead:
            # It goes behind this name, and may be gone already: it was judged before.
            listed, *_ = names.index_names(chunk, row=row, ref=str(ref))
            if await self._ledger.read(listed) is None:
                return True
        if await self._is_at_work(ref, chunk):
            return False
        if death is not None and not death[1]:
            return self.dead
        return await self._ledger.is_proven(chunk) or await self._is_erased(chunk)

    async def _is_erased(self, chunk: Chunk) -> bool:
        name = archive_names.erased_name(chunk.key)
        return await self._ledger.read(name) is not None

    async def _erase_part(
        self, part: PartName, chunks: Sequence[tuple[Ref, Chunk]]
    ) -> None:
        async def erase_names(of: tuple[Ref, Chunk]) -> None:
            ref, chunk = of
            row = entry_id(chunk)
            *by_name, _ = names.index_names(chunk, row=row, ref=str(ref))
            prefix = f"{names.DEAD}{chunk.recording}/{row}."
            # What ends a death goes behind it.
            dead = [name async for name in self._ledger.names(prefix)]
            dead.sort(key=lambda name: name.endswith(f".{names.REVIVED}"))
            for name in (*by_name, *dead):
                await self._ledger.erase(name)

        await in_parallel(chunks, erase_names)
        for name in (part.document, part.fanned, part.urgent):
            await self._ledger.erase(name)

    async def _erase_due(self) -> None:
        """When they were due, of deliveries that are gone."""
        known: dict[PartName, bool] = {}
        async for found in self._due_in(names.DUE):
            if found.due.at >= self.before:
                return
            part = names.parse_ref(found.due.ref).part
            if part not in known:
                known = {part: await self._ledger.read(part.document) is not None}
            if not known[part] and found.is_settled:
                for name in found.names:
                    await self._ledger.erase(name)

    async def _due_in(self, prefix: str) -> AsyncIterator[_Due]:
        found: _Due | None = None
        async for name in self._ledger.names(prefix):
            try:
                due, mark = parse_due(name)
            except NoNameError:
                continue
            if found is None or found.due != due:
                if found is not None:
                    yield found
                found = _Due(due=due)
            if mark is None:
                found.is_named = True
            else:
                found.marked.append((RANK[mark[1]], name))
                found.standing.note(*mark)
        if found is not None:
            yield found
