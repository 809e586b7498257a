"""A recording as a whole: is it complete, and what does its manifest say? Pure.

ACS says neither how many chunks a recording has nor which is the last. What it says: each
chunk's index, `SessionEnded` as the end reason of the last, and the duration of the whole.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from worker import announced, names
from worker.model import Announcement, ChunkKey, RecordingKey, Sibling
from worker.stored import Manifest, ManifestChunk, MissingChunk, Receipt

DURATION_TOLERANCE_MS = 5_000
"""Chunk durations leave seconds between chunks; the last chunk is never shorter than this."""
NEVER_ANNOUNCED = "never announced"
END_NOT_ANNOUNCED = "no end announced"
NOT_ARCHIVED = "not archived yet"
Ended = Literal["session-ended", "durations"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordingView:
    """What is known of a recording at one moment."""

    recording: RecordingKey
    announcement: Announcement
    folder: str
    announced: Mapping[ChunkKey, Sibling]
    """The union of all announcements."""
    receipts: Mapping[ChunkKey, Receipt]
    dead: Mapping[ChunkKey, str]
    """Announced chunks that were given up, with the reason."""
    alive: frozenset[ChunkKey]
    """Announced chunks that the queue still works on, archived ones left out."""
    is_closed_by_another: bool
    """One of those will look at the recording when it ends, in this folder: an announcement
    that tells another call or day looks in another."""
    deadline: datetime
    """Until when others are awaited: see deadline.recording_deadline."""


def end_of(view: RecordingView) -> Ended | None:
    """How the end of the recording is known, if it is."""
    last = max((sibling.index for sibling in view.announced.values()), default=-1)
    reasons = [s.end_reason for s in view.announced.values() if s.index == last]
    if any(map(announced.is_end, reasons)):
        return "session-ended"
    if any(map(announced.goes_on, reasons)):
        return None
    return "durations" if _durations_add_up(view) else None


def _durations_add_up(view: RecordingView) -> bool:
    whole = view.announcement.recording_duration_ms
    parts: dict[int, float] = {}
    for receipt in view.receipts.values():
        if receipt.chunk_duration_ms is None:
            return False
        # Two documents of one index: the shorter, which claims less, in any order.
        known = parts.get(receipt.index, receipt.chunk_duration_ms)
        parts[receipt.index] = min(known, receipt.chunk_duration_ms)
    if not whole or not parts:
        return False
    return abs(math.fsum(parts.values()) - whole) <= DURATION_TOLERANCE_MS


def missing_of(view: RecordingView) -> tuple[MissingChunk, ...]:
    """What keeps the recording from being complete; empty: nothing."""
    lacking = [
        MissingChunk(
            index=sibling.index, key=key, reason=view.dead.get(key, NOT_ARCHIVED)
        )
        for key, sibling in view.announced.items()
        if key not in view.receipts
    ]
    indexes = {sibling.index for sibling in view.announced.values()}
    last = max(indexes, default=-1)
    lacking += _gaps(indexes, last)
    if end_of(view) is None:
        lacking.append(MissingChunk(index=last + 1, key=None, reason=END_NOT_ANNOUNCED))
    return tuple(sorted(lacking, key=lambda chunk: (chunk.index, chunk.key or "")))


def _gaps(indexes: set[int], last: int) -> list[MissingChunk]:
    """Indexes nobody announced, each run of them by its first: an index is untrusted."""
    firsts = {0} | {index + 1 for index in indexes}
    return [
        MissingChunk(index=first, key=None, reason=NEVER_ANNOUNCED)
        for first in firsts
        if first <= last and first not in indexes
    ]


def manifest_of(view: RecordingView) -> Manifest:
    """The manifest: a function of receipts and announcements, of no clock and no worker."""
    missing = missing_of(view)
    receipts = sorted(view.receipts.values(), key=lambda r: (r.index, r.key))
    return Manifest(
        recording=view.recording,
        recording_id=view.announcement.recording_id,
        call_id=view.announcement.call_id,
        server_call_id=view.announcement.server_call_id,
        started_at=view.announcement.recording_start_time,
        duration_ms=view.announcement.recording_duration_ms,
        complete=not missing,
        ended=end_of(view),
        chunks=tuple(_manifest_chunk(receipt, view.folder) for receipt in receipts),
        missing=missing,
    )


def _manifest_chunk(receipt: Receipt, folder: str) -> ManifestChunk:
    metadata = receipt.metadata
    return ManifestChunk(
        key=receipt.key,
        document_id=receipt.document_id,
        index=receipt.index,
        end_reason=receipt.end_reason,
        content=_relative(receipt.content.name, folder),
        size_bytes=receipt.content.size_bytes,
        sha256=receipt.content.sha256,
        metadata=_relative(metadata.name, folder) if metadata else None,
        metadata_size_bytes=metadata.size_bytes if metadata else None,
        metadata_sha256=metadata.sha256 if metadata else None,
        duration_ms=receipt.chunk_duration_ms,
        flags=receipt.flags,
        receipt=names.receipt_name(receipt.key),
    )


def _relative(name: str, folder: str) -> str:
    """A name below the folder, or with `../` steps out of it (a sibling from another day).

    What lies outside the archive keeps its URL.
    """
    if names.is_external(name):
        return name
    if name.startswith(folder):
        return name.removeprefix(folder)
    return "../" * folder.count("/") + name


def checksums_of(manifest: Manifest) -> bytes:
    """The manifest's hashes in sha256sum format, for `sha256sum -c` in its folder.

    Without those of what lies outside the archive, which no path leads to.
    """
    lines: list[tuple[str | None, str | None]] = []
    for chunk in manifest.chunks:
        lines.append((chunk.sha256, chunk.content))
        lines.append((chunk.metadata_sha256, chunk.metadata))
    return "".join(
        f"{sha256}  {name}\n"
        for sha256, name in lines
        if sha256 and name and not names.is_external(name)
    ).encode()


def supersedes(new: Manifest, current: Manifest) -> bool:
    """Whether `new` says more than `current`; a stale or equal view says nothing new."""
    now_held = {chunk.key for chunk in new.chunks}
    held = {chunk.key for chunk in current.chunks}
    if now_held != held:
        return now_held > held
    if current.complete:
        # A chunk that was announced later, and is missing, unmakes it.
        return any(gap.key is not None for gap in new.missing)
    return new.complete or new.missing != current.missing
