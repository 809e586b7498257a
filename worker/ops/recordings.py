"""The recordings in the archive: what is there, what is missing, what the source still has.

A recording's manifest says it all; before there is one, its receipts do.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from worker import names
from worker.errors import NewerFormatError
from worker.model import ChunkKey
from worker.ops import finding, metadata
from worker.ops.ahead import ahead
from worker.ops.finding import Folder, stored
from worker.ops.recording_rows import (
    ChunkRow,
    RecordingDetail,
    RecordingRow,
    chunk_from_receipt,
    detail_from_manifest,
    detail_from_receipts,
    row_from_manifest,
    with_delete,
)
from worker.ports import Archive
from worker.stored import (
    Erased,
    Hold,
    Manifest,
    Receipt,
    SourceDeleted,
    StoredFormatError,
    decode,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ErasedRecording:
    """What tombstones say of a recording; JSON fields of `recordings show --json`."""

    recording: str
    erased: tuple[Erased, ...]


async def recordings_list(
    archive: Archive, *, day: str = "", call: str = ""
) -> AsyncIterator[RecordingRow]:
    """Every recording by day; `day` (`2026`, `2026/03`, `2026/03/01`) is where to look.

    `call` is a callId, or its beginning.
    """
    async for folder, manifest in _chosen(archive, day=day, call=call):
        row = _row(folder, manifest)
        if row is None:
            row = (await _read(archive, folder, manifest)).recording
        if folder.is_marked:
            row = await _with_state(archive, folder, row)
        yield row


async def recordings_read(
    archive: Archive, *, day: str = "", call: str = ""
) -> AsyncIterator[RecordingDetail]:
    """The same with their chunks, as manifests or receipts name them."""
    async for folder, manifest in _chosen(archive, day=day, call=call):
        yield await _read(archive, folder, manifest)


async def recordings_show(
    archive: Archive, text: str, *, day: str = ""
) -> Sequence[RecordingDetail]:
    """Recordings that an id means (finding.find), with what their receipts say."""
    found = []
    async for folder in finding.find(archive, text, day=day):
        number = folder.manifest_number
        name = names.manifest_name(folder.path, number) if number else ""
        manifest = await archive.read(name) if name else None
        detail = await _read(archive, folder, manifest)
        chunks = [await _with_source(archive, chunk) for chunk in detail.chunks]
        row = await _with_state(archive, folder, detail.recording)
        found.append(replace(detail, recording=row, chunks=tuple(chunks)))
    return found


async def recordings_erased(archive: Archive, text: str) -> Sequence[ErasedRecording]:
    """What tombstones say of a recording: by its key, its recordingId or a documentId."""
    by_recording: dict[str, list[Erased]] = {}
    async for tombstone in finding.erased(archive, text):
        by_recording.setdefault(tombstone.recording, []).append(tombstone)
    return [
        ErasedRecording(recording=key, erased=tuple(sorted(chunks, key=_index)))
        for key, chunks in sorted(by_recording.items())
    ]


def _index(tombstone: Erased) -> tuple[int, str]:
    return tombstone.index, tombstone.key


async def _chosen(
    archive: Archive, *, day: str, call: str
) -> AsyncIterator[tuple[Folder, bytes | None]]:
    every = finding.with_manifests(archive, finding.within(day))
    exact = names.safe_id(call).casefold()
    async for folder, manifest in every:
        its = folder.call.casefold() if call else ""
        if not call or its == exact or its.startswith(call.casefold()):
            yield folder, manifest


def _row(folder: Folder, manifest: bytes | None) -> RecordingRow | None:
    """One line of a long list: cheap, where there is a manifest that can be read."""
    with suppress(NewerFormatError, StoredFormatError):
        if manifest is not None:
            return row_from_manifest(folder, decode(Manifest, manifest))
    return None


async def _read(
    archive: Archive, folder: Folder, manifest: bytes | None
) -> RecordingDetail:
    """By the manifest; by the receipts where there is none, or one that can't be read."""
    problem = None
    try:
        if manifest is not None:
            return detail_from_manifest(folder, decode(Manifest, manifest))
    except (NewerFormatError, StoredFormatError) as error:
        problem = str(error)
    receipts, unread = await _receipts(archive, folder)
    detail = detail_from_receipts(folder, receipts)
    row = replace(
        detail.recording, manifest=folder.manifest_number, problem=problem or unread
    )
    return replace(detail, recording=row)


async def _receipts(
    archive: Archive, folder: Folder
) -> tuple[list[Receipt], str | None]:
    """Those that can be read, by index; and why another one can't be."""

    async def read(key: ChunkKey) -> Receipt | str | None:
        try:
            return await stored(archive, names.receipt_name(key), Receipt)
        except (NewerFormatError, StoredFormatError) as error:
            return str(error)

    found = [receipt async for _, receipt in ahead(folder.keys, read)]
    receipts = [each for each in found if isinstance(each, Receipt)]
    problems = [each for each in found if isinstance(each, str)]
    receipts.sort(key=lambda receipt: receipt.index)
    return receipts, next(iter(problems), None)


async def _with_state(
    archive: Archive, folder: Folder, row: RecordingRow
) -> RecordingRow:
    """What operators did to it; costs a read only where they did anything."""
    hold = folder.hold_number
    if hold is None and not folder.is_erasing:
        return row
    name = names.hold_name(folder.path, hold) if hold else ""
    try:
        held = await stored(archive, name, Hold) if name else None
        is_held = held is not None and held.held
    except (NewerFormatError, StoredFormatError) as error:
        # `recordings erase` refuses as well, as long as nobody knows.
        is_held = True
        row = replace(row, problem=row.problem or str(error))
    return replace(row, on_hold=is_held, erasing=folder.is_erasing)


async def _with_source(archive: Archive, chunk: ChunkRow) -> ChunkRow:
    """What only the receipt and the metadata know, and the source's answer to the delete."""
    try:
        return await _proven(archive, chunk)
    except (NewerFormatError, StoredFormatError) as error:
        return replace(chunk, problem=str(error))


async def _proven(archive: Archive, chunk: ChunkRow) -> ChunkRow:
    key = ChunkKey(chunk.key)
    receipt = await stored(archive, names.receipt_name(key), Receipt)
    deleted = await stored(archive, names.source_deleted_name(key), SourceDeleted)
    row = chunk_from_receipt(receipt) if receipt else chunk
    if row.metadata and not names.is_external(row.metadata):
        told = metadata.told_by(await archive.read(row.metadata) or b"")
        row = replace(row, pauses=told.pauses)
    if receipt is None:
        tombstone = await stored(archive, names.erased_name(key), Erased)
        row = replace(row, erased=tombstone is not None)
    return with_delete(row, deleted)
