"""What should be in the archive and is not: by Azure Monitor's count, and by dead letters.

Each chunk that is not here is told with why, how long it can still be saved, and the command
that saves it. What the queue works on is not missing.
"""

import base64
import binascii
import json
import shlex
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

from worker import deadline, names, reports
from worker.errors import NewerFormatError
from worker.model import Chunk, ChunkKey, ChunkState, QueuedChunk, RecordingKey
from worker.ops import finding
from worker.ops.finding import Folder, stored
from worker.ops.summaries import SummaryRow
from worker.ports import Archive
from worker.reports import Gap, Reconciliation
from worker.stored import Erased, Manifest, Receipt, StoredFormatError, decode

DEAD_LETTER, DEAD, NEVER = "dead letter", "dead", "never announced"
UNSEEN = "announced, and not at work"


class Announcing(Protocol):
    """What reconciling asks of a queue."""

    async def announced(self, recording: RecordingKey) -> Sequence[QueuedChunk]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class LetterChunks:
    """What one dead letter announces; `place` is what `replay` takes for it."""

    place: str = field(repr=False)
    chunks: tuple[Chunk, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class MissingRow:
    """One chunk that is not here; JSON fields of `recordings reconcile --json`."""

    recording: str
    recording_id: str | None
    index: int
    document_id: str | None
    why: str
    """`dead letter`, `dead`, `announced, and not at work`, or `never announced`."""
    reason: str | None
    expires_at: datetime | None
    hours_left: float | None
    """None: nobody knows; 0: ACS no longer has it."""
    command: str | None
    """None: no command helps."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconciled:
    """The whole of it."""

    recordings: int
    """As Azure Monitor counts them."""
    chunks: int
    here: int
    erased: int
    at_work: int
    letters: int
    """Chunks in dead letters, home or not."""
    missing: tuple[MissingRow, ...]

    def report(self, *, at: datetime, by: str, version: str) -> Reconciliation:
        """To be kept: it names no call, and no recording but by its key."""
        return Reconciliation(
            worker_version=version,
            by=by,
            at=at,
            recordings=self.recordings,
            chunks=self.chunks,
            here=self.here,
            erased=self.erased,
            at_work=self.at_work,
            letters=self.letters,
            missing=tuple(
                Gap(
                    recording=RecordingKey(row.recording),
                    index=row.index,
                    document_id=row.document_id,
                    why=row.why,
                    expires_at=row.expires_at,
                )
                for row in self.missing
            ),
        )


@dataclass(slots=True, kw_only=True)
class _Recording:
    """What is known of one recording, as it fills in; by index."""

    key: RecordingKey
    row: SummaryRow | None = None
    here: set[int] = field(default_factory=set)
    erased: set[int] = field(default_factory=set)
    entries: dict[int, QueuedChunk] = field(default_factory=dict)
    letters: dict[int, tuple[Chunk, str]] = field(default_factory=dict)

    @property
    def expected(self) -> set[int]:
        counted = set(range(self.row.chunks)) if self.row else set()
        return counted | self.letters.keys()


@dataclass(slots=True, kw_only=True)
class Reconciler:
    """Compares; asks the archive once through, and the queue for each recording not whole."""

    archive: Archive
    queue: Announcing | None
    now: datetime
    retention: timedelta
    _known: dict[RecordingKey, _Recording] = field(default_factory=dict)
    _inner: dict[str, RecordingKey] = field(default_factory=dict)
    _letters: int = 0

    async def run(
        self, rows: Sequence[SummaryRow], letters: AsyncIterator[LetterChunks]
    ) -> Reconciled:
        """Look at everything once."""
        for row in rows:
            self._count(row)
        async for letter in letters:
            for chunk in letter.chunks:
                await self._letter(chunk, letter.place)
        await self._at_archive()
        at_work = 0
        missing: list[MissingRow] = []
        for recording in self._known.values():
            if recording.expected - recording.here:
                await self._at_queue(recording)
                at_work += len(list(_at_work(recording)))
                missing += self._missing(recording)
        known = self._known.values()
        return Reconciled(
            recordings=len(rows),
            chunks=sum(len(each.expected) for each in known),
            here=sum(len(each.here & each.expected) for each in known),
            erased=sum(len(each.erased & each.expected) for each in known),
            at_work=at_work,
            letters=self._letters,
            missing=tuple(sorted(missing, key=_urgency)),
        )

    def _recording(self, key: RecordingKey) -> _Recording:
        return self._known.setdefault(key, _Recording(key=key))

    def _count(self, row: SummaryRow) -> None:
        key = names.recording_key(
            recording_id=row.recording_id, call_id=None, started_at=None
        )
        self._recording(key).row = row
        # Which of the two forms of an id the log has is not documented.
        self._inner[_inner_id(row.recording_id) or row.recording_id] = key

    async def _letter(self, chunk: Chunk, place: str) -> None:
        self._letters += 1
        recording = self._recording(chunk.recording)
        recording.letters.setdefault(chunk.index, (chunk, place))
        key = chunk.key
        if await self.archive.stat(names.receipt_name(key)) is not None:
            recording.here.add(chunk.index)
        elif await self.archive.stat(names.erased_name(key)) is not None:
            recording.erased.add(chunk.index)

    async def _at_archive(self) -> None:
        if not self._known:
            return
        every = finding.with_manifests(self.archive, names.RECORDINGS)
        async for folder, manifest in every:
            known = self._known.get(RecordingKey(folder.recording))
            try:
                told = decode(Manifest, manifest) if manifest is not None else None
            except (NewerFormatError, StoredFormatError):
                told = None
            if known is None and told is not None:
                known = self._by_inner(told)
            if known is not None:
                await self._look(folder, told, known)
        await self._tombstones()

    def _by_inner(self, manifest: Manifest) -> _Recording | None:
        inner = _inner_id(manifest.recording_id or "")
        key = self._inner.get(inner) if inner else None
        return self._known[key] if key else None

    async def _look(
        self, folder: Folder, manifest: Manifest | None, recording: _Recording
    ) -> None:
        if manifest is not None:
            recording.here |= {chunk.index for chunk in manifest.chunks}
        if not recording.expected - recording.here:
            return
        # Late chunks have a receipt before they are in a manifest.
        for key in folder.keys:
            receipt = await self._receipt(key)
            if receipt is not None:
                recording.here.add(receipt.index)

    async def _receipt(self, key: ChunkKey) -> Receipt | None:
        try:
            return await stored(self.archive, names.receipt_name(key), Receipt)
        except (NewerFormatError, StoredFormatError):
            return None

    async def _tombstones(self) -> None:
        async for name in self.archive.list(names.RECEIPTS):
            if not name.endswith(".erased.json"):
                continue
            try:
                tombstone = await stored(self.archive, name, Erased)
            except (NewerFormatError, StoredFormatError):
                continue
            known = self._known.get(tombstone.recording) if tombstone else None
            if tombstone and known:
                known.erased.add(tombstone.index)

    async def _at_queue(self, recording: _Recording) -> None:
        if self.queue is None:
            return
        for entry in await self.queue.announced(recording.key):
            index = entry.chunk.index
            # One that is alive speaks for its index.
            if index not in recording.entries or _is_alive(entry):
                recording.entries[index] = entry

    def _missing(self, recording: _Recording) -> Iterator[MissingRow]:
        gone = recording.expected - recording.here - recording.erased
        for index in sorted(gone - set(_at_work(recording))):
            yield self._row(recording, index)

    def _row(self, recording: _Recording, index: int) -> MissingRow:
        letter = recording.letters.get(index)
        entry = recording.entries.get(index)
        chunk = letter[0] if letter else entry.chunk if entry else None
        expires_at = chunk.expires_at if chunk else self._expiry(recording.row, index)
        left = None if expires_at is None else max(expires_at - self.now, timedelta(0))
        why, command = _remedy(letter, entry)
        return MissingRow(
            recording=recording.key,
            recording_id=_recording_id(recording, chunk),
            index=index,
            document_id=chunk.document_id if chunk else None,
            why=why,
            reason=entry.reason if entry else None,
            expires_at=expires_at,
            hours_left=None if left is None else round(left / timedelta(hours=1), 1),
            command=command,
        )

    def _expiry(self, row: SummaryRow | None, index: int) -> datetime | None:
        """When ACS drops a chunk that nobody announced, by its recording's start and end."""
        if row is None or row.started_at is None:
            return None
        ended_at = row.started_at + (index + 1) * deadline.MAX_CHUNK_DURATION
        if row.length_s is not None:
            longest = deadline.MAX_CHUNK_DURATION * (row.chunks + 1)
            length = min(timedelta(seconds=min(row.length_s, 10**9)), longest)
            ended_at = min(ended_at, row.started_at + length)
        return ended_at + self.retention


def _remedy(
    letter: tuple[Chunk, str] | None, entry: QueuedChunk | None
) -> tuple[str, str | None]:
    """Why a chunk is missing, and the command that saves it, if one does."""
    if entry is not None and entry.state is ChunkState.DEAD:
        return DEAD, f"recording-worker queue redrive {shlex.quote(entry.row)}"
    if letter is not None:
        return DEAD_LETTER, f"recording-worker replay {shlex.quote(letter[1])}"
    if entry is not None:
        return UNSEEN, f"recording-worker queue show {shlex.quote(entry.row)}"
    return NEVER, None


def _recording_id(recording: _Recording, chunk: Chunk | None) -> str | None:
    if recording.row is not None:
        return recording.row.recording_id
    return chunk.announcement.recording_id if chunk else None


def _at_work(recording: _Recording) -> Iterable[int]:
    gone = recording.expected - recording.here
    for index, entry in recording.entries.items():
        if index in gone and _is_alive(entry):
            yield index


def _is_alive(entry: QueuedChunk) -> bool:
    return entry.state in {ChunkState.PENDING, ChunkState.LEASED}


def _urgency(row: MissingRow) -> tuple[bool, float, str, int]:
    """What can still be saved first, the most urgent on top."""
    is_lost = row.hours_left == 0
    left = float("inf") if row.hours_left is None else row.hours_left
    return is_lost, left, row.recording, row.index


def _inner_id(recording_id: str) -> str | None:
    """The id within a recordingId, which is base64 of JSON with `ResourceSpecificId`."""
    try:
        told = json.loads(base64.b64decode(recording_id, validate=True))
        inner = told["ResourceSpecificId"]
    except (binascii.Error, ValueError, KeyError, TypeError, RecursionError):
        return None
    return inner if isinstance(inner, str) else None


async def keep(archive: Archive, report: Reconciliation) -> str:
    """Store the report, and return its name."""
    data = reports.encode(report)
    name = names.reconcile_name(report.at, data)
    await archive.create(name, data)
    return name
