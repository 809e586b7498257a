"""Recordings and chunks as `recordings list` and `recordings show` print them.

Made of a manifest, or, before there is one, of receipts. Pure.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from worker import announced, names, recording
from worker.ops.finding import Folder
from worker.ops.metadata import Pause
from worker.stored import Manifest, ManifestChunk, MissingChunk, Receipt, SourceDeleted
from worker.telemetry import spans


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
    """Why the manifest, a receipt or the hold could not be read."""
    server_call_id: str | None = None
    duration_ms: int | None = None
    """Of the whole, as the event says it."""
    chunks_ms: float | None = None
    """Of the chunks that are here, as their metadata says it; None: one doesn't say."""
    on_hold: bool = False
    erasing: bool = False
    """An erasure was begun, and has not come to its end."""


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
    pauses: tuple[Pause, ...] = ()
    """When recording was paused, as the metadata says it."""
    erased: bool = False
    problem: str | None = None
    """Why what the receipt, or a document beside it, says could not be read."""
    trace_id: str | None = None
    """Of the chunk's trace, if anybody traced; None where no receipt was read."""

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

    @property
    def paths(self) -> list[str]:
        """Names of all contents and metadata documents; URLs of those outside the archive."""
        return [
            name
            for chunk in self.chunks
            for name in (chunk.content, chunk.metadata)
            if name
        ]


def row_from_manifest(folder: Folder, manifest: Manifest) -> RecordingRow:
    """One line of a long list: cheap."""
    return RecordingRow(
        recording=folder.recording,
        call_id=manifest.call_id or folder.call,
        recording_id=manifest.recording_id,
        day=folder.day,
        started_at=manifest.started_at,
        complete=manifest.complete,
        chunks=len(manifest.chunks),
        size_bytes=sum([chunk.size_bytes for chunk in manifest.chunks]),
        missing=manifest.missing,
        manifest=folder.manifest_number,
        folder=folder.path,
        problem=None,
        server_call_id=manifest.server_call_id,
        duration_ms=manifest.duration_ms,
        chunks_ms=_sum([chunk.duration_ms for chunk in manifest.chunks]),
    )


def detail_from_manifest(folder: Folder, manifest: Manifest) -> RecordingDetail:
    """The recording with the chunks that its manifest names."""
    return RecordingDetail(
        recording=row_from_manifest(folder, manifest),
        duration_ms=manifest.duration_ms,
        ended=manifest.ended,
        chunks=tuple(_from_manifest_chunk(folder, each) for each in manifest.chunks),
    )


def detail_from_receipts(
    folder: Folder, receipts: Sequence[Receipt]
) -> RecordingDetail:
    """The recording as far as it has come home."""
    siblings = announced.union(receipt.announced for receipt in receipts)
    here = {receipt.key for receipt in receipts}
    missing = tuple(
        MissingChunk(index=sibling.index, key=key, reason=recording.NOT_ARCHIVED)
        for key, sibling in siblings.items()
        if key not in here
    )
    durations = (receipt.recording_duration_ms for receipt in receipts)
    duration = next((each for each in durations if each is not None), None)
    row = replace(
        empty_row(folder),
        chunks=len(receipts),
        size_bytes=sum(receipt.content.size_bytes for receipt in receipts),
        missing=missing,
        duration_ms=duration,
        chunks_ms=_sum([receipt.chunk_duration_ms for receipt in receipts]),
    )
    return RecordingDetail(
        recording=row,
        duration_ms=duration,
        ended=None,
        chunks=tuple(map(chunk_from_receipt, receipts)),
    )


def empty_row(folder: Folder) -> RecordingRow:
    """A recording of which only the folder is known."""
    return RecordingRow(
        recording=folder.recording,
        call_id=folder.call,
        recording_id=None,
        day=folder.day,
        started_at=None,
        complete=False,
        chunks=0,
        size_bytes=0,
        missing=(),
        manifest=None,
        folder=folder.path,
        problem=None,
    )


def _sum(durations: Sequence[float | None]) -> float | None:
    said = [each for each in durations if each is not None]
    return sum(said) if said and len(said) == len(durations) else None


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


def chunk_from_receipt(receipt: Receipt) -> ChunkRow:
    """One chunk as its proof says it."""
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
        trace_id=spans.trace_id(spans.key_of(receipt)),
    )


def with_delete(row: ChunkRow, deleted: SourceDeleted | None) -> ChunkRow:
    """The same, with what the source answered to the delete, if it was asked."""
    if deleted is None:
        return row
    return replace(
        row,
        source_deleted=True,
        source_deleted_at=deleted.answer.at,
        source_status=deleted.answer.status,
    )
