"""A recording that is erased leaves the ledger, and so do deliveries that spoke of nothing else.

The messages can't be found; one that still comes finds the tombstone.
"""

from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field

from worker import tombstones
from worker.errors import NewerFormatError
from worker.model import Chunk, Forgotten, RecordingKey
from worker.queues.storage import names
from worker.queues.storage.ledger import DueEntry, Ledger
from worker.queues.storage.looking import AHEAD, BACK
from worker.queues.storage.means import Means
from worker.queues.storage.names import Mark, NoNameError, PartName
from worker.stored import StoredFormatError


@dataclass(slots=True, kw_only=True)
class _Found:
    """What the ledger has of one recording."""

    chunks: dict[tuple[str, str], Chunk | None] = field(default_factory=dict)
    """By row and ref; None: its delivery is gone already."""
    due: dict[str, list[DueEntry]] = field(default_factory=dict)
    """By row, wherever it moved to."""
    at_work: set[str] = field(default_factory=set)


async def forget(means: Means, recording: RecordingKey, *, dry_run: bool) -> Forgotten:
    """As keeping.ForgettingQueue. What leads to the rest goes last."""
    ledger = means.ledger
    found = await _find(means, recording)
    whole, shared = await _deliveries(ledger, recording, found)
    rows = {row for row, _ in found.chunks} - found.at_work
    if not dry_run:
        for row in sorted(rows):
            await _forget_row(ledger, recording, row, found)
        for part in whole:
            for name in (part.document, part.fanned, part.urgent):
                await ledger.erase(name)
        for row, ref in found.chunks:
            if row in rows:
                await ledger.erase(f"{names.recording_folder(recording)}{row}.{ref}")
    return Forgotten(
        entries=len(rows),
        deliveries=len(whole),
        shared=shared,
        at_work=len(found.at_work),
    )


async def _find(means: Means, recording: RecordingKey) -> _Found:
    ledger = means.ledger
    found = _Found()
    async for row, ref in ledger.entries(names.recording_folder(recording)):
        found.chunks[row, ref] = await _chunk(ledger, ref)
    if not found.chunks:
        return found
    rows = {row for row, _ in found.chunks}
    async for entry in _due(means, found):
        known = found.due.setdefault(entry.row, []) if entry.row in rows else None
        if known is not None and entry.at not in {each.at for each in known}:
            known.append(entry)
    for (row, _), chunk in found.chunks.items():
        if chunk is not None and await _is_at_work(ledger, chunk, found.due.get(row)):
            found.at_work.add(row)
    return found


async def _due(means: Means, found: _Found) -> AsyncIterator[DueEntry]:
    """What is listed when they were to expire, however long ago; and all that is of now, for
    a deadline that was learnt later is listed elsewhere.
    """
    seconds = {
        names.due_name(chunk.expires_at, row=row, ref=ref).second
        for (row, ref), chunk in found.chunks.items()
        if chunk is not None
    }
    for second in sorted(seconds):
        async for entry in means.ledger.due_in(second):
            yield entry
    now = means.clock.now()
    async for entry in means.ledger.due(now - BACK, now + AHEAD):
        yield entry


async def _is_at_work(
    ledger: Ledger, chunk: Chunk, entries: list[DueEntry] | None
) -> bool:
    """Whether a worker may have it, or have to do with it."""
    alive = [entry for entry in entries or () if entry.is_outstanding]
    if not alive:
        return False
    if await tombstones.of_chunk(ledger.archive, chunk) is not None:
        return False
    if any(entry.standing.mark is Mark.WAITING for entry in alive):
        return True
    return not await ledger.is_proven(chunk)


async def _chunk(ledger: Ledger, ref: str) -> Chunk | None:
    with suppress(StoredFormatError, NewerFormatError, NoNameError):
        return await ledger.parts.chunk(names.parse_ref(ref))
    return None


async def _deliveries(
    ledger: Ledger, recording: RecordingKey, found: _Found
) -> tuple[list[PartName], int]:
    """Parts of deliveries that are of this recording alone; and how many are not.

    The body as received lies in the first part, whatever the others are of.
    """
    folders: dict[str, bool] = {}
    """By what the names of a delivery begin with; whether something of it is at work."""
    for row, ref in found.chunks:
        part = names.parse_ref(ref).part
        prefix = f"{names.hour_folder(part.hour)}{part.digest}."
        folders[prefix] = folders.get(prefix, False) or row in found.at_work
    whole: list[PartName] = []
    shared = 0
    for prefix, is_at_work in sorted(folders.items()):
        known = {_part(name) async for name in ledger.names(prefix)}
        parts = [each for each in known if each is not None]
        is_whole = all([await _is_all_of(ledger, each, recording) for each in parts])
        if is_whole and not is_at_work:
            whole += parts
        else:
            shared += 1
    return whole, shared


def _part(name: str) -> PartName | None:
    """Also by a name beside it: a kill may have left no more than that."""
    with suppress(NoNameError):
        return names.parse_part(name)[0]
    return None


async def _is_all_of(ledger: Ledger, name: PartName, recording: RecordingKey) -> bool:
    with suppress(StoredFormatError, NewerFormatError):
        part = await ledger.parts.part(name)
        return part is None or all(c.recording == recording for c in part.chunks)
    return False


async def _forget_row(
    ledger: Ledger, recording: RecordingKey, row: str, found: _Found
) -> None:
    """All names of one entry but those in the recording's folder, which lead to it."""
    for (its, ref), chunk in found.chunks.items():
        if its == row and chunk is not None:
            for document in sorted(names.documents_of(chunk)):
                await ledger.erase(f"{names.document_folder(document)}{row}.{ref}")
    for entry in found.due.get(row, ()):
        for ref in entry.refs:
            due = names.DueName(at=entry.at, row=row, ref=ref)
            for name in [name async for name in ledger.names(str(due))]:
                await ledger.erase(name)
    dead = f"{names.DEAD}{recording}/{row}."
    for name in [name async for name in ledger.names(dead)]:
        await ledger.erase(name)
