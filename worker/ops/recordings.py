"""The recordings in the archive: what is there, what is missing, what the source still has.

A recording's manifest says it all; before there is one, its receipts do.
"""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from worker import announced, names, recording
from worker.errors import NewerFormatError
from worker.model import ChunkKey
from worker.ops import finding
from worker.ops.finding import Folder, stored
from worker.ports import Archive
from worker.stored import (
    Manifest,
    ManifestChunk,
    MissingChunk,
    Receipt,
    SourceDeleted,
    StoredFormatError,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordingRow:
    """One recording; JSON fields of `recordings list --json`: additions only."""

    recording: str
    call_id: str
    recording_id: str | None
    day: str
    started_at: datetime | None
    complete: bool
    chunks: int
    size_bytes: int
    missing: tuple[MissingChunk, ...]
    manifest: int | None
    """The number of the current manifest; None: not all chunks are settled yet."""
    folder: str
    problem: str | None
    """Why the manifest or a receipt could not be read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkRow:
    """One archived chunk; part of `recordings show --json`: additions only."""

    index: int
    key: str
    document_id: str
    content: str
    size_bytes: int
    sha256: str | None
    metadata: str | None
    duration_ms: float | None
    verified: str | None
    flags: tuple[str, ...]
    archived_at: datetime | None
    source_expires_at: datetime | None
    source_deleted: bool
    source_deleted_at: datetime | None
    source_status: int | None
    receipt: str

    @property
    def is_external(self) -> bool:
        """Whether it was proven in the user's own storage; `content` is its URL then."""
        return names.is_external(self.content)


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordingDetail:
    """One recording with its chunks; JSON fields of `recordings show --json`."""

    recording: RecordingRow
    duration_ms: int | None
    ended: str | None
    chunks: tuple[ChunkRow, ...]


async def recordings_list(
    archive: Archive, *, day: str = ""
) -> AsyncIterator[RecordingRow]:
    """Every recording by day; `day` (`2026`, `2026/03`, `2026/03/01`) is where to look."""
    async for folder in finding.folders(archive, finding.within(day)):
        yield (await _read(archive, folder)).recording


async def recordings_show(
    archive: Archive, text: str, *, day: str = ""
) -> Sequence[RecordingDetail]:
    """Recordings that an id means (finding.find), with what their receipts say."""
    found = []
    async for folder in finding.find(archive, text, day=day):
        detail = await _read(archive, folder)
        chunks = [await _with_source(archive, chunk) for chunk in detail.chunks]
        found.append(replace(detail, chunks=tuple(chunks)))
    return found


async def _read(archive: Archive, folder: Folder) -> RecordingDetail:
    try:
        number = folder.manifest_number
        name = names.manifest_name(folder.path, number) if number else ""
        manifest = await stored(archive, name, Manifest) if name else None
        if manifest:
            return _from_manifest(folder, manifest, number)
        return _from_receipts(folder, await _receipts(archive, folder))
    except (NewerFormatError, StoredFormatError) as error:
        return _detail(folder, problem=str(error))


async def _receipts(archive: Archive, folder: Folder) -> list[Receipt]:
    found = [
        await stored(archive, names.receipt_name(key), Receipt) for key in folder.keys
    ]
    return sorted((r for r in found if r), key=lambda receipt: receipt.index)


def _from_manifest(
    folder: Folder, manifest: Manifest, number: int | None
) -> RecordingDetail:
    chunks = tuple(_from_manifest_chunk(folder, chunk) for chunk in manifest.chunks)
    detail = _detail(folder, chunks=chunks, missing=manifest.missing)
    row = replace(
        detail.recording,
        call_id=manifest.call_id or folder.call,
        recording_id=manifest.recording_id,
        started_at=manifest.started_at,
        complete=manifest.complete,
        manifest=number,
    )
    return replace(
        detail, recording=row, duration_ms=manifest.duration_ms, ended=manifest.ended
    )


def _from_receipts(folder: Folder, receipts: list[Receipt]) -> RecordingDetail:
    siblings = announced.union(receipt.announced for receipt in receipts)
    held = {receipt.key for receipt in receipts}
    missing = tuple(
        MissingChunk(index=sibling.index, key=key, reason=recording.NOT_ARCHIVED)
        for key, sibling in siblings.items()
        if key not in held
    )
    chunks = tuple(_from_receipt(receipt) for receipt in receipts)
    return _detail(folder, chunks=chunks, missing=missing)


def _detail(
    folder: Folder,
    *,
    chunks: tuple[ChunkRow, ...] = (),
    missing: tuple[MissingChunk, ...] = (),
    problem: str | None = None,
) -> RecordingDetail:
    row = RecordingRow(
        recording=folder.recording,
        call_id=folder.call,
        recording_id=None,
        day=folder.day,
        started_at=None,
        complete=False,
        chunks=len(chunks),
        size_bytes=sum(chunk.size_bytes for chunk in chunks),
        missing=missing,
        manifest=None,
        folder=folder.path,
        problem=problem,
    )
    return RecordingDetail(recording=row, duration_ms=None, ended=None, chunks=chunks)


def _from_manifest_chunk(folder: Folder, chunk: ManifestChunk) -> ChunkRow:
    metadata = chunk.metadata
    return ChunkRow(
        index=chunk.index,
        key=chunk.key,
        document_id=chunk.document_id,
        content=_absolute(folder, chunk.content),
        size_bytes=chunk.size_bytes,
        sha256=chunk.sha256,
        metadata=_absolute(folder, metadata) if metadata else None,
        duration_ms=chunk.duration_ms,
        verified=None,
        flags=chunk.flags,
        archived_at=None,
        source_expires_at=None,
        source_deleted=False,
        source_deleted_at=None,
        source_status=None,
        receipt=chunk.receipt,
    )


def _absolute(folder: Folder, relative: str) -> str:
    """The name behind a manifest's; `../` steps lead out of the folder to the top."""
    if names.is_external(relative):
        return relative
    outside = relative.startswith("../")
    return relative.lstrip("./") if outside else folder.path + relative


def _from_receipt(receipt: Receipt) -> ChunkRow:
    return ChunkRow(
        index=receipt.index,
        key=receipt.key,
        document_id=receipt.document_id,
        content=receipt.content.name,
        size_bytes=receipt.content.size_bytes,
        sha256=receipt.content.sha256,
        metadata=receipt.metadata.name if receipt.metadata else None,
        duration_ms=receipt.chunk_duration_ms,
        verified=receipt.content.verified,
        flags=receipt.flags,
        archived_at=receipt.archived_at,
        source_expires_at=receipt.expires_at,
        source_deleted=False,
        source_deleted_at=None,
        source_status=None,
        receipt=names.receipt_name(receipt.key),
    )


async def _with_source(archive: Archive, chunk: ChunkRow) -> ChunkRow:
    """What only the receipt knows, and what the source answered to the delete."""
    key = ChunkKey(chunk.key)
    receipt = await stored(archive, names.receipt_name(key), Receipt)
    deleted = await stored(archive, names.source_deleted_name(key), SourceDeleted)
    row = _from_receipt(receipt) if receipt else chunk
    if deleted is None:
        return row
    return replace(
        row,
        source_deleted=True,
        source_deleted_at=deleted.answer.at,
        source_status=deleted.answer.status,
    )
