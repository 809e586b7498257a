"""A recording as a file for people: chunks in order in one, or each as it is.

The archive is only read. What is not in the file is told: chunks that are missing, time
that passed between chunks, pauses.
"""

import asyncio
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from fractions import Fraction
from itertools import pairwise
from pathlib import Path, PurePosixPath

from worker import evidence, names
from worker.errors import IntegrityError, WorkerError
from worker.evidence import MetadataFacts
from worker.ops import joining, metadata
from worker.ops.joining import Joined, Part
from worker.ops.new_file import new_file, refuse_taken
from worker.ops.reading import ArchiveFile
from worker.ops.recording_rows import ChunkRow, RecordingDetail
from worker.ops.recordings import recordings_show
from worker.ports import Archive

KINDS = ("mp4", "mp3", "wav")
SHORTEST_GAP = timedelta(seconds=1)
"""Less than this passes between any two chunks of a recording."""


class NoSuchExportError(WorkerError):
    """What was asked for is not there to be exported, or is not one thing."""

    reason = "no-such-export"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportedChunk:
    """One chunk in the file; part of `recordings export --json`: additions only."""

    index: int
    document_id: str
    starts_at_s: float
    duration_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """What is not in the file, and where it would be; part of `recordings export --json`."""

    at_s: float
    lacks_s: float | None
    """None: nobody knows how much."""
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportReport:
    """What was written; JSON fields of `recordings export --json`: additions only.

    Empty `chunks`: one object as it is.
    """

    recording: str
    file: str
    size_bytes: int
    duration_s: float | None
    chunks: tuple[ExportedChunk, ...]
    gaps: tuple[Gap, ...]
    pauses: tuple[Gap, ...]
    missing: tuple[int, ...]
    """Indexes that the archive does not hold."""
    problem: str | None = None
    """Why nobody can tell whether that is all: the manifest or a receipt can't be read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Said:
    """What a chunk's metadata says of its time."""

    facts: MetadataFacts
    told: metadata.Told


async def recordings_export(
    archive: Archive, text: str, *, out: Path, force: bool = False
) -> ExportReport | None:
    """Join all chunks of one recording into `out`; None: the archive knows no such.

    A recording of one chunk is copied as it is. Raises FileTakenError, NotJoinableError,
    NoSuchExportError, ExtraMissingError.
    """
    detail = await _one(archive, text)
    if detail is None:
        return None
    refuse_taken(out, force=force)
    chunks = _in_order(detail)
    if len(chunks) == 1:
        row = chunks[0]
        await _copy(archive, row.content, row.sha256, out=out, force=force)
        whole = Joined(
            index=row.index,
            starts_at=Fraction(0),
            duration=Fraction(row.duration_ms or 0) / 1000,
        )
        joined: Sequence[Joined] = [whole]
    else:
        joined = await _join(archive, chunks, out=out, force=force)
    written = [
        ExportedChunk(
            index=row.index,
            document_id=row.document_id,
            starts_at_s=float(at.starts_at),
            duration_s=float(at.duration),
        )
        for row, at in zip(chunks, joined, strict=True)
    ]
    said = [await _said(archive, row) for row in chunks]
    return _report(detail, out, written, said)


async def recordings_export_chunk(
    archive: Archive,
    text: str,
    *,
    chunk: str | None,
    out: Path,
    is_metadata: bool = False,
    force: bool = False,
) -> ExportReport | None:
    """Copy one chunk's content or metadata as it is, and compare its hash on the way.

    `chunk` is its index or its documentId; None: the only one there is.
    """
    detail = await _one(archive, text)
    if detail is None:
        return None
    row = _meant(detail, chunk, text)
    name = row.metadata if is_metadata else row.content
    if name is None:
        raise NoSuchExportError(f"chunk {row.index} has no metadata")
    sha256 = None if is_metadata else row.sha256
    await _copy(archive, name, sha256, out=out, force=force)
    return _report(detail, out, [], [])


async def _one(archive: Archive, text: str) -> RecordingDetail | None:
    found = await recordings_show(archive, text)
    if len(found) > 1:
        keys = ", ".join(detail.recording.folder for detail in found[:5])
        hint = f"recording-worker recordings show {text}"
        raise NoSuchExportError(f"{len(found)} recordings: {keys}", hint=hint)
    return found[0] if found else None


def _in_order(detail: RecordingDetail) -> Sequence[ChunkRow]:
    """All chunks by index, if they can be one file."""
    rows = sorted(detail.chunks, key=lambda row: row.index)
    key = detail.recording.recording
    if not rows:
        raise NoSuchExportError(
            "none of its chunks is archived",
            hint=f"recording-worker recordings show {key}",
        )
    kinds = {_kind(row) for row in rows}
    if len(rows) > 1 and (len(kinds) > 1 or not kinds.issubset(KINDS)):
        said = ", ".join(sorted(kinds))
        raise joining.NotJoinableError(
            f"its chunks are {said or 'of no kind'}", hint=_single(key, rows[0].index)
        )
    for one, other in pairwise(rows):
        if one.index == other.index:
            raise joining.NotJoinableError(
                f"two documents are chunk {one.index}",
                hint=_single(key, one.document_id),
            )
    return rows


def _kind(row: ChunkRow) -> str:
    return PurePosixPath(row.content).suffix.removeprefix(".")


def _single(key: str, chunk: object) -> str:
    return f"recording-worker recordings export {key} --chunk {chunk} -o FILE"


def _meant(detail: RecordingDetail, chunk: str | None, text: str) -> ChunkRow:
    rows = [
        row
        for row in detail.chunks
        if chunk is None or chunk in {str(row.index), row.document_id, row.key}
    ]
    if len(rows) != 1:
        which = "which chunk?" if chunk is None else f"no chunk {chunk!r}"
        if rows and chunk is not None:
            which = f"{len(rows)} documents are chunk {chunk}"
        raise NoSuchExportError(which, hint=f"recording-worker recordings show {text}")
    return rows[0]


async def _join(
    archive: Archive, chunks: Sequence[ChunkRow], *, out: Path, force: bool
) -> Sequence[Joined]:
    joining.needed()
    files = [await _opened(archive, row.content) for row in chunks]
    parts = [
        Part(index=row.index, file=file)
        for row, file in zip(chunks, files, strict=True)
    ]

    def write() -> Sequence[Joined]:
        with new_file(out, force=force) as file:
            return joining.join(_one_by_one(parts), file, kind=_kind(chunks[0]))

    try:
        return await asyncio.to_thread(write)
    except joining.NotJoinableError as error:
        hint = _single(PurePosixPath(chunks[0].content).parent.name, chunks[0].index)
        raise joining.NotJoinableError(str(error), hint=hint) from error


def _one_by_one(parts: Sequence[Part]) -> Iterator[Part]:
    """A chunk that is done keeps no bytes."""
    for part in parts:
        yield part
        part.file.close()


async def _opened(archive: Archive, name: str) -> ArchiveFile:
    if names.is_external(name):
        raise NoSuchExportError(f"it lies in your own storage: {name}")
    stored = await archive.stat(name)
    if stored is None:
        raise NoSuchExportError(f"the archive lost {name!r}")
    return ArchiveFile(archive, name, size=stored.size_bytes)


async def _copy(
    archive: Archive, name: str, sha256: str | None, *, out: Path, force: bool
) -> None:
    file = await _opened(archive, name)

    def write() -> None:
        hashed = hashlib.sha256()
        with new_file(out, force=force) as target:
            while data := file.read():
                hashed.update(data)
                target.write(data)
            if sha256 not in {None, hashed.hexdigest()}:
                raise IntegrityError(f"{name!r} is not what its receipt proves")

    await asyncio.to_thread(write)


async def _said(archive: Archive, row: ChunkRow) -> _Said:
    data = await archive.read(row.metadata) if row.metadata else None
    return _Said(
        facts=evidence.metadata_facts(data or b""), told=metadata.told_by(data or b"")
    )


def _report(
    detail: RecordingDetail,
    out: Path,
    written: Sequence[ExportedChunk],
    said: Sequence[_Said],
) -> ExportReport:
    return ExportReport(
        recording=detail.recording.recording,
        file=str(out),
        size_bytes=out.stat().st_size,
        duration_s=_end(written[-1]) if written else None,
        chunks=tuple(written),
        gaps=tuple(_gaps(detail, written, said)),
        pauses=tuple(_pauses(written, said)),
        missing=tuple(gap.index for gap in detail.recording.missing if written),
        problem=detail.recording.problem if written else None,
    )


def _end(chunk: ExportedChunk) -> float:
    return chunk.starts_at_s + chunk.duration_s


def _gaps(
    detail: RecordingDetail, written: Sequence[ExportedChunk], said: Sequence[_Said]
) -> Iterator[Gap]:
    """What is missing by index, and what time passed between chunks that are not."""
    for absent in detail.recording.missing if written else ():
        before = [chunk for chunk in written if chunk.index < absent.index]
        at = _end(before[-1]) if before else 0.0
        yield Gap(
            at_s=at, lacks_s=None, reason=f"chunk {absent.index}: {absent.reason}"
        )
    for (one, its), (other, others) in pairwise(zip(written, said, strict=True)):
        passed = _between(its.facts, others.facts)
        if passed is not None and passed >= SHORTEST_GAP:
            yield Gap(
                at_s=_end(one),
                lacks_s=passed.total_seconds(),
                reason=f"between chunk {one.index} and {other.index}",
            )


def _between(one: MetadataFacts, other: MetadataFacts) -> timedelta | None:
    if one.chunk_end is None or other.chunk_start is None:
        return None
    return other.chunk_start - one.chunk_end


def _pauses(written: Sequence[ExportedChunk], said: Sequence[_Said]) -> Iterator[Gap]:
    """Where recording was paused. Pauses take no time in the file: those before one count."""
    for chunk, its in zip(written, said, strict=False):
        paused = timedelta()
        for pause in its.told.pauses:
            lasted = timedelta(milliseconds=pause.duration_ms)
            within = 0.0
            if pause.started_at and its.facts.chunk_start:
                since = pause.started_at - its.facts.chunk_start - paused
                within = min(max(since.total_seconds(), 0.0), chunk.duration_s)
            paused += lasted
            yield Gap(
                at_s=chunk.starts_at_s + within,
                lacks_s=lasted.total_seconds(),
                reason=f"paused in chunk {chunk.index}",
            )
