"""Does everything fit together? The checks that raise a flag: archived, but never deleted.

Pure, but for reads of the archived content.
"""

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from worker import names
from worker.errors import HostNotAllowedError
from worker.model import Chunk
from worker.ports import Source
from worker.stored import ProvenObject
from worker.structure import checks

METADATA_LONGEST = 1024 * 1024
"""Real metadata is about 0.8 to 3 KB; more than this is not read."""


class RangeReader(Protocol):
    """What a look at the media needs of ports.Archive."""

    async def read_range(self, name: str, offset: int, length: int) -> bytes: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class MetadataFacts:
    """What the acsmetadata says that we use; None where it doesn't say or can't be read."""

    readable: bool
    document_id: str | None = None
    chunk_start: datetime | None = None
    duration_ms: float | None = None
    paused_ms: float = 0.0
    channels: int | None = None

    @property
    def chunk_end(self) -> datetime | None:
        """When the chunk ended at the latest, if start and duration are said.

        Whether the duration counts pauses is not documented; the later end is the safe one.
        """
        if self.chunk_start is None or self.duration_ms is None:
            return None
        lasted_ms = self.duration_ms + self.paused_ms
        try:
            return self.chunk_start + timedelta(milliseconds=lasted_ms)
        except OverflowError:
            return None


def metadata_facts(data: bytes) -> MetadataFacts:
    """Read the raw acsmetadata, tolerantly: numbers were ints once and floats later."""
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        return MetadataFacts(readable=False)
    if not isinstance(document, dict):
        return MetadataFacts(readable=False)
    return MetadataFacts(
        readable=True,
        document_id=_text(document.get("chunkDocumentId")),
        chunk_start=_time(document.get("chunkStartTime")),
        duration_ms=_duration(document.get("chunkDuration")),
        paused_ms=_paused(document.get("pauseResumeIntervals")),
        channels=_channels(document),
    )


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _time(value: Any) -> datetime | None:
    try:
        time = datetime.fromisoformat(value)
        return time.astimezone(UTC) if time.tzinfo else None
    except (TypeError, ValueError, OverflowError):
        return None


def _duration(value: Any) -> float | None:
    """Milliseconds; a chunk lasts four hours at the most, more than a day is nonsense."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return (
        float(value)
        if 0 <= value <= timedelta(days=1) / timedelta(milliseconds=1)
        else None
    )


def _paused(intervals: Any) -> float:
    """Milliseconds of all pauses that are said."""
    listed = intervals if isinstance(intervals, list) else []
    pauses = [
        _duration(interval.get("duration"))
        for interval in listed
        if isinstance(interval, dict)
    ]
    return sum(pause for pause in pauses if pause is not None)


def _channels(document: dict[str, Any]) -> int | None:
    info = document.get("recordingInfo")
    audio = info.get("audioConfiguration") if isinstance(info, dict) else None
    channels = audio.get("channels") if isinstance(audio, dict) else None
    return channels if isinstance(channels, int) and channels > 0 else None


def identity_flags(chunk: Chunk, metadata: MetadataFacts | None) -> list[str]:
    """Why content, metadata and delete location may not be of one document.

    A document may have more views than those that are documented: what was fetched from
    another is no proof of these.
    """
    flags = []
    if not chunk.document_id:
        flags.append("document-id-missing")
    elif not names.belongs(chunk.content_location, chunk.document_id):
        flags.append("content-not-of-document")
    elif names.view_of(chunk.content_location) != names.CONTENT_VIEW:
        flags.append("content-of-unknown-form")
    flags += _metadata_location_flags(chunk)
    if metadata is None:
        flags.append("metadata-missing")
    elif not metadata.readable:
        flags.append("metadata-unreadable")
    elif metadata.document_id != chunk.document_id:
        flags.append("metadata-names-another-document")
    return flags


def _metadata_location_flags(chunk: Chunk) -> list[str]:
    location = chunk.metadata_location
    if location is None:
        return ["metadata-not-announced"]
    if not chunk.document_id:
        return []
    if not names.belongs(location, chunk.document_id):
        return ["metadata-not-of-document"]
    is_known = names.view_of(location) == names.METADATA_VIEW
    return [] if is_known else ["metadata-of-unknown-form"]


def delete_flags(chunk: Chunk, source: Source) -> list[str]:
    """Why the delete location is not to be called."""
    if chunk.delete_location is None:
        return []
    flags = []
    if not names.belongs(chunk.delete_location, chunk.document_id):
        flags.append("delete-location-not-of-document")
    elif names.view_of(chunk.delete_location) not in names.DELETE_VIEWS:
        flags.append("delete-location-of-unknown-form")
    try:
        source.check(chunk.delete_location)
    except HostNotAllowedError:
        flags.append("delete-host-not-allowed")
    return flags


async def structure_flags(
    archive: RangeReader,
    content: ProvenObject,
    *,
    chunk: Chunk,
    metadata: MetadataFacts | None,
) -> tuple[str, list[str]]:
    """Check the media as archived; returns what was found, and flags."""

    async def read(offset: int, length: int) -> bytes:
        return await archive.read_range(content.name, offset, length)

    format_type = chunk.announcement.format_type
    report = await checks.check_structure(
        read, content.size_bytes, format_type=format_type
    )
    flags = [] if report.ok else ["structure"]
    detail = f"{report.kind}: {report.detail}"
    if metadata is not None and metadata.duration_ms is not None:
        plausible, why = checks.plausible(
            content.size_bytes,
            duration_ms=metadata.duration_ms,
            format_type=format_type,
            channels=metadata.channels,
        )
        if not plausible:
            flags.append("implausible-size")
            detail = f"{detail}; {why}"
    return detail, flags
