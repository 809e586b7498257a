"""A chunk as columns: how it is written, and read again. Pure."""

import contextlib
import sqlite3
from collections.abc import Mapping, MutableMapping
from datetime import datetime
from typing import Any, NamedTuple

from pydantic import TypeAdapter

from worker import names, stored
from worker.errors import NewerFormatError
from worker.model import (
    Announcement,
    Chunk,
    ChunkKey,
    ChunkState,
    QueuedChunk,
    RecordingKey,
    Sibling,
)
from worker.queues.entries import (
    bounded,
    entry_id,
    instant,
    maybe_instant,
    maybe_micros,
    micros,
    resource_of,
)
from worker.tracebacks import message_of

FORMAT_VERSION = 1
"""Of one chunk's columns. A newer worker's rows are left to it."""
Row = sqlite3.Row | Mapping[str, Any]
Siblings = MutableMapping[str, tuple[Sibling, ...]]
"""Decoded once for all rows of the same text: N chunks have N siblings each."""
_SIBLINGS = TypeAdapter(tuple[Sibling, ...])
_DAMAGE = (TypeError, ValueError, OverflowError)


class StoredChunk(NamedTuple):
    """What `put` writes of one chunk: the columns of the same names.

    Columns and no JSON: writing that took longer than all the rest of a put.
    """

    v: int
    row: str
    key: str
    document_id: str
    located: str | None
    """The document that the content location names, if it is another."""
    recording: str
    resource: str
    position: int
    end_reason: str | None
    not_before: int
    expires_at: int
    enqueued_at: int
    received_at: int
    content_location: str
    metadata_location: str | None
    delete_location: str | None
    event_id: str
    topic: str
    subject: str
    event_time: int | None
    call_id: str | None
    server_call_id: str | None
    recording_id: str | None
    recording_start_time: int | None
    recording_duration_ms: int | None
    content_type: str | None
    channel_type: str | None
    format_type: str | None
    session_end_reason: str | None
    storage_type: str | None
    announced: str | None
    """None: itself alone."""
    said: str | None
    """A digest of what the event says of its siblings, too; None: see `saying`."""
    raw: str | None
    """None: it is a part of the delivery's body, and lies there."""
    raw_at: int | None
    raw_bytes: int | None
    delivery: str
    """The sha256 of its body; in the table its number."""


class Origin(NamedTuple):
    """The delivery that a chunk came with, and where its raw event lies in the body."""

    sha256: str = ""
    raw_at: int | None = None
    raw_bytes: int | None = None


def stored_chunk(
    chunk: Chunk, *, now: datetime, announced: str | None, origin: Origin
) -> StoredChunk:
    """The columns of a chunk, in their order.

    `announced` is `siblings_to_json` of it, or None if it is alone.
    """
    located = names.document_in(chunk.content_location)
    resource = resource_of(chunk)
    at = micros(now)
    return StoredChunk(
        FORMAT_VERSION,
        entry_id(chunk),
        chunk.key,
        chunk.document_id,
        None if located == chunk.document_id else bounded(located),
        chunk.recording,
        resource,
        chunk.index,
        chunk.end_reason,
        at,
        micros(chunk.expires_at),
        at,
        micros(chunk.received_at),
        chunk.content_location,
        chunk.metadata_location,
        chunk.delete_location,
        *_told(chunk.announcement),
        announced,
        announced and _said(chunk, announced),
        chunk.announcement.raw if origin.raw_at is None else None,
        origin.raw_at,
        origin.raw_bytes,
        origin.sha256,
    )


_Text = str | None
_Number = int | None
_Told = tuple[
    *(tuple[str, str, str, _Number, _Text, _Text, _Text, _Number, _Number]),
    *(tuple[_Text, _Text, _Text, _Text, _Text]),
]


def _told(about: Announcement) -> _Told:
    """The columns of an announcement."""
    return (
        about.event_id,
        about.topic,
        about.subject,
        maybe_micros(about.event_time),
        about.call_id,
        about.server_call_id,
        about.recording_id,
        maybe_micros(about.recording_start_time),
        about.recording_duration_ms,
        about.content_type,
        about.channel_type,
        about.format_type,
        about.session_end_reason,
        about.storage_type,
    )


def chunk_within(chunk: StoredChunk, body: bytes, decoded: Siblings) -> Chunk:
    """The chunk as it came with a delivery of this body."""
    raw = chunk.raw
    if raw is None and chunk.raw_at is not None and chunk.raw_bytes is not None:
        raw = body[chunk.raw_at : chunk.raw_at + chunk.raw_bytes].decode()
    return chunk_of(chunk._asdict() | {"raw": raw}, decoded)


def learnt(chunk: Chunk) -> dict[str, Any]:
    """The columns of a chunk to which an announcement has added."""
    text = None if is_alone(chunk) else siblings_to_json(chunk.announced)
    return {
        "end_reason": chunk.end_reason,
        "recording_duration_ms": chunk.announcement.recording_duration_ms,
        "announced": text,
        "said": text and _said(chunk, text),
    }


def saying(chunk: StoredChunk) -> str:
    """All that a later announcement of the chunk could add to; in SQL it is SAYING."""
    if chunk.said is not None:
        return chunk.said
    end_reason = (chunk.end_reason or "").encode().hex().upper()
    duration_ms = chunk.recording_duration_ms
    return f"{chunk.position}/{end_reason}/{'' if duration_ms is None else duration_ms}"


def is_alone(chunk: Chunk) -> bool:
    """Whether the event announced this chunk and no other."""
    if len(chunk.announced) != 1:
        return False
    (only,) = chunk.announced
    return (only.key, only.index, only.end_reason, only.is_left_alone) == (
        chunk.key,
        chunk.index,
        chunk.end_reason,
        False,
    )


def siblings_to_json(siblings: tuple[Sibling, ...]) -> str:
    """Raise ValueError for text that no file can hold."""
    return _SIBLINGS.dump_json(siblings).decode()


def _said(chunk: Chunk, announced: str) -> str:
    duration_ms = chunk.announcement.recording_duration_ms
    return names.digest(announced, f"{chunk.end_reason} {duration_ms}")[:32]


SAYING = """
coalesce(said, position || '/' || hex(coalesce(end_reason, '')) || '/'
    || coalesce(recording_duration_ms, ''))
"""
_EVENT = """
coalesce(raw, (
    SELECT CAST(substr(body, raw_at + 1, raw_bytes) AS TEXT)
    FROM deliveries WHERE id = chunks.delivery)) AS raw
"""
COLUMNS = ", ".join((*StoredChunk._fields[: StoredChunk._fields.index("raw")], _EVENT))
"""What `chunk_of` reads: of `chunks`, and of the body in which an event lies."""


def chunk_of(row: Row, decoded: Siblings | None = None) -> Chunk:
    """Raise NewerFormatError or StoredFormatError; the earliest `expires_at` seen counts."""
    try:
        if row["v"] > FORMAT_VERSION:
            raise NewerFormatError(f"format {row['v']} is newer than {FORMAT_VERSION}")
        if not isinstance(row["raw"], str):
            raise TypeError("its event is gone")
        return _chunk_of(row, _siblings_of(row, {} if decoded is None else decoded))
    except _DAMAGE as error:
        raise stored.StoredFormatError(f"not a chunk: {message_of(error)}") from error


def _chunk_of(row: Row, siblings: tuple[Sibling, ...]) -> Chunk:
    return Chunk(
        key=ChunkKey(row["key"]),
        recording=RecordingKey(row["recording"]),
        document_id=row["document_id"],
        index=row["position"],
        content_location=row["content_location"],
        metadata_location=row["metadata_location"],
        delete_location=row["delete_location"],
        end_reason=row["end_reason"],
        announcement=_announcement_of(row),
        announced=siblings,
        received_at=instant(row["received_at"]),
        expires_at=instant(row["expires_at"]),
    )


def _announcement_of(row: Row) -> Announcement:
    return Announcement(
        event_id=row["event_id"],
        topic=row["topic"],
        subject=row["subject"],
        event_time=maybe_instant(row["event_time"]),
        call_id=row["call_id"],
        server_call_id=row["server_call_id"],
        recording_id=row["recording_id"],
        recording_start_time=maybe_instant(row["recording_start_time"]),
        recording_duration_ms=row["recording_duration_ms"],
        content_type=row["content_type"],
        channel_type=row["channel_type"],
        format_type=row["format_type"],
        session_end_reason=row["session_end_reason"],
        storage_type=row["storage_type"],
        raw=row["raw"],
    )


def _alone(row: Row) -> Sibling:
    return Sibling(
        key=ChunkKey(row["key"]), index=row["position"], end_reason=row["end_reason"]
    )


def _siblings_of(row: Row, decoded: Siblings) -> tuple[Sibling, ...]:
    text = row["announced"]
    if text is None:
        return (_alone(row),)
    known = decoded.get(text)
    if known is None:
        decoded[text] = known = _SIBLINGS.validate_json(text)
    return known


def queued_chunk(row: sqlite3.Row, decoded: Siblings) -> QueuedChunk:
    """One row as an operator sees it, even if only a newer worker can read its chunk."""
    chunk = outline(row)
    with contextlib.suppress(NewerFormatError, stored.StoredFormatError):
        chunk = chunk_of(row, decoded)
    return QueuedChunk(
        row=row["row"],
        chunk=chunk,
        state=ChunkState(row["state"]),
        attempts=row["attempts"],
        not_before=instant(row["not_before"]),
        leased_until=maybe_instant(row["leased_until"]),
        leased_by=row["leased_by"],
        reason=row["reason"],
        error=row["error"],
        enqueued_at=instant(row["enqueued_at"]),
        settled_at=maybe_instant(row["settled_at"]),
    )


def outline(row: Row) -> Chunk:
    """The chunk as far as the columns know it: enough to list it and to find its receipt."""
    key = ChunkKey(row["key"])
    position, end_reason = row["position"], row["end_reason"]
    return Chunk(
        key=key,
        recording=RecordingKey(row["recording"]),
        document_id=row["document_id"],
        index=position,
        content_location="",
        metadata_location=None,
        delete_location=None,
        end_reason=end_reason,
        announcement=_outlined_announcement(row),
        announced=(_alone(row),),
        received_at=instant(row["enqueued_at"]),
        expires_at=instant(row["expires_at"]),
    )


def _outlined_announcement(row: Row) -> Announcement:
    resource = row["resource"]
    return Announcement(
        event_id="",
        topic=f"/communicationservices/{resource}" if resource else "",
        subject="",
        event_time=None,
        call_id=row["call_id"],
        server_call_id=None,
        recording_id=row["recording_id"],
        recording_start_time=None,
        recording_duration_ms=None,
        content_type=None,
        channel_type=None,
        format_type=None,
        session_end_reason=None,
        storage_type=None,
        raw="{}",
    )
