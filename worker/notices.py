"""What others are told: archived recordings, chunks at risk, chunks given up.

A notice is written into the archive before the chunk is settled, and told later by the
notifier (worker/notifier.py): a kill between the two delays it, and nothing loses it. Name
and id are functions of what happened, so whoever writes it twice writes it once, and whoever
hears it twice can tell.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any
from urllib.parse import quote

from worker import names
from worker.errors import AlreadyExistsError, NewerFormatError
from worker.model import Chunk, Lease, QueuedChunk, RecordingKey
from worker.ports import Archive, Clock
from worker.stored import (
    Manifest,
    ManifestChunk,
    MissingChunk,
    Notice,
    StoredFormatError,
    decode,
    encode,
)

ARCHIVED = "RecordingWorker.RecordingArchived"
AT_RISK = "RecordingWorker.RecordingAtRisk"
DEAD_LETTERED = "RecordingWorker.ChunkDeadLettered"
_DEAD = "chunk-dead-lettered"
MOST_NOTICE_BYTES = 900_000
"""Event Grid takes 1 MB, and what it takes is wrapped a little more than what we store."""
MOST_LISTED = 100
"""How many chunks a notice lists that can't list all."""
MOST_WAITING = 1000


class Outbox:
    """Names of notices that this process wrote, for the notifier in it; bounded.

    Only a hint: what it doesn't hold is found in the archive.
    """

    def __init__(self) -> None:
        self.waiting: dict[str, None] = {}
        self.has_overflowed = False
        self.nudge = asyncio.Event()
        self.told_all = asyncio.Event()

    def put(self, name: str) -> None:
        if len(self.waiting) < MOST_WAITING:
            self.waiting[name] = None
        else:
            self.has_overflowed = True
        self.told_all.clear()
        self.nudge.set()

    def told(self, written: Iterable[str]) -> None:
        for name in written:
            self.waiting.pop(name, None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Notices:
    """Writes notices. `archive_url` is where others find the archive; without a query."""

    archive: Archive
    clock: Clock
    archive_url: str
    outbox: Outbox = field(default_factory=Outbox)

    async def recording_archived(
        self, folder: str, number: int, manifest: Manifest
    ) -> None:
        """Have others told of a manifest, complete or not."""
        at = await self._manifest_time(folder, number)
        notice = archived_notice(
            manifest, folder=folder, number=number, at=at, archive_url=self.archive_url
        )
        await self._write(notice, day=at)

    async def is_written(self, folder: str, number: int) -> bool:
        """Whether others are told, or will be, of the manifest with this number."""
        at = await self._manifest_time(folder, number)
        name = names.notice_name(_archived_id(folder, number), at)
        return await self.archive.stat(name) is not None

    async def chunk_dead_lettered(self, lease: Lease, reason: str) -> None:
        """Have others told that a chunk is given up.

        Under the day on which it was enqueued: a worker that comes to the same end after
        midnight finds what was written before.
        """
        notice = dead_notice(
            lease, reason, at=self.clock.now(), archive_url=self.archive_url
        )
        await self._write(notice, day=lease.enqueued_at)

    async def recording_at_risk(self, chunks: Sequence[QueuedChunk]) -> None:
        """Have others told, once a day, that these chunks of one recording may be lost."""
        now = self.clock.now()
        notice = risk_notice(chunks, at=now, archive_url=self.archive_url)
        await self._write(notice, day=now)

    async def _manifest_time(self, folder: str, number: int) -> datetime:
        """When the manifest was written: the same to whoever asks, whenever."""
        stored = await self.archive.stat(names.manifest_name(folder, number))
        return self.clock.now() if stored is None else stored.last_modified

    async def _write(self, notice: Notice, *, day: datetime) -> None:
        name = names.notice_name(notice.id, day)
        try:
            await self.archive.create(name, encode(notice))
        except AlreadyExistsError:
            # Whoever was first tells it.
            return
        self.outbox.put(name)


async def of_recording(
    archive: Archive, recording: RecordingKey, folders: Iterable[str]
) -> AsyncIterator[str]:
    """All notices of a recording that lies in these folders, and what marks them as told.

    Those of dead chunks are read: their names say nothing of the recording.
    """
    ids = [f"recording-archived-{names.digest(each)[:32]}-" for each in folders]
    stems = (*ids, f"recording-at-risk-{recording}-")
    is_dead = f"{_DEAD}-"
    stem, is_its = "", False
    async for name in archive.list(names.NOTICES):
        file = name.rpartition("/")[2]
        if file.startswith(is_dead) and name.endswith(".json"):
            data = await archive.read(name)
            stem, is_its = name, data is not None and _is_of(data, recording)
        if file.startswith(stems) or (is_its and name.startswith(stem)):
            yield name


def _is_of(data: bytes, recording: RecordingKey) -> bool:
    try:
        return bool(decode(Notice, data).data.get("recording") == recording)
    except (StoredFormatError, NewerFormatError):
        return False


def archived_notice(
    manifest: Manifest, *, folder: str, number: int, at: datetime, archive_url: str
) -> Notice:
    """A manifest with its chunks, or with their number where they are too many.

    `content` and `metadata` are relative to the manifest, as in the manifest itself.
    """
    name = names.manifest_name(folder, number)
    data = {
        "recording": manifest.recording,
        "recordingId": manifest.recording_id,
        "callId": manifest.call_id,
        "startedAt": _iso(manifest.started_at),
        "durationMs": manifest.duration_ms,
        "archiveUrl": archive_url,
        "manifest": name,
        "manifestUrl": f"{archive_url}/{quote(name)}",
        "manifestNumber": number,
        "complete": manifest.complete,
        "chunkCount": len(manifest.chunks),
        "sizeBytes": sum(chunk.size_bytes for chunk in manifest.chunks),
        "chunks": [_chunk(chunk) for chunk in manifest.chunks],
        "missingCount": len(manifest.missing),
        "missing": [_missing(chunk) for chunk in manifest.missing],
        "trimmed": False,
    }
    notice = Notice(
        id=_archived_id(folder, number),
        type=ARCHIVED,
        subject=folder.rstrip("/"),
        time=at,
        data=data,
    )
    return notice if len(encode(notice)) <= MOST_NOTICE_BYTES else _trimmed(notice)


def _trimmed(notice: Notice) -> Notice:
    """Without the chunks: whoever wants them reads the manifest."""
    missing = notice.data["missing"][:MOST_LISTED]
    less = {"chunks": [], "missing": missing, "trimmed": True}
    return replace(notice, data=notice.data | less)


def dead_notice(lease: Lease, reason: str, *, at: datetime, archive_url: str) -> Notice:
    """A chunk that was given up; each time it is enqueued it can die once.

    Without the error's text, which may quote anything.
    """
    chunk = lease.chunk
    died = names.digest(lease.row, lease.enqueued_at.isoformat())[:32]
    data = {
        **_recording_of(chunk, archive_url),
        "documentId": chunk.document_id,
        "index": chunk.index,
        "reason": reason,
        "attempts": lease.attempts,
        "expiresAt": _iso(chunk.expires_at),
    }
    return Notice(
        id=f"{_DEAD}-{died}",
        type=DEAD_LETTERED,
        subject=_subject(chunk),
        time=at,
        data=data,
    )


def risk_notice(
    chunks: Sequence[QueuedChunk], *, at: datetime, archive_url: str
) -> Notice:
    """Chunks of one recording that have little time left; earliest deadline first."""
    by_deadline = sorted(chunks, key=lambda each: each.chunk.expires_at)
    first = by_deadline[0].chunk
    data = {
        **_recording_of(first, archive_url),
        "expiresAt": _iso(first.expires_at),
        "chunkCount": len(chunks),
        "chunks": [_at_risk(each) for each in by_deadline[:MOST_LISTED]],
    }
    return Notice(
        id=risk_id(first, at), type=AT_RISK, subject=_subject(first), time=at, data=data
    )


def risk_id(chunk: Chunk, at: datetime) -> str:
    """The id of what is told of the chunk's recording on that day."""
    return f"recording-at-risk-{chunk.recording}-{at:%Y%m%d}"


def _archived_id(folder: str, number: int) -> str:
    return f"recording-archived-{names.digest(folder)[:32]}-{number:04d}"


def _recording_of(chunk: Chunk, archive_url: str) -> dict[str, Any]:
    return {
        "recording": chunk.recording,
        "recordingId": chunk.announcement.recording_id,
        "callId": chunk.announcement.call_id,
        "archiveUrl": archive_url,
    }


def _subject(chunk: Chunk) -> str:
    return names.recording_folder(chunk.announcement, chunk.recording).rstrip("/")


def _chunk(chunk: ManifestChunk) -> dict[str, Any]:
    return {
        "receipt": chunk.receipt,
        "index": chunk.index,
        "documentId": chunk.document_id,
        "content": chunk.content,
        "sizeBytes": chunk.size_bytes,
        "sha256": chunk.sha256,
        "metadata": chunk.metadata,
        "durationMs": chunk.duration_ms,
        "flags": list(chunk.flags),
    }


def _missing(chunk: MissingChunk) -> dict[str, Any]:
    return {"index": chunk.index, "key": chunk.key, "reason": chunk.reason}


def _at_risk(entry: QueuedChunk) -> dict[str, Any]:
    return {
        "documentId": entry.chunk.document_id,
        "index": entry.chunk.index,
        "expiresAt": _iso(entry.chunk.expires_at),
        "attempts": entry.attempts,
        "reason": entry.reason,
    }


def _iso(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat()
