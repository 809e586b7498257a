"""A queue entry: what it is called, how it is stored, and how it is read again. Pure."""

import contextlib
import sqlite3
from collections.abc import Mapping, MutableMapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any, NamedTuple

from pydantic import TypeAdapter

from worker import names, stored
from worker.errors import MalformedEventError, NewerFormatError
from worker.model import (
    Announcement,
    Chunk,
    ChunkKey,
    ChunkState,
    QueuedChunk,
    RecordingKey,
    Sibling,
)
from worker.tracebacks import message_of

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
LONGEST_LAPSE_SECONDS = 600.0
MAX_TEXT_CHARACTERS = 2000
"""Errors quote what others sent; a row must not grow with it."""
MAX_POSITION = 2**31
"""An index from an untrusted event may be larger than SQLite's integers."""
_SIBLINGS = TypeAdapter(tuple[Sibling, ...])
Siblings = MutableMapping[str, tuple[Sibling, ...]]
"""Decoded once for all rows of the same text: N chunks have N siblings each."""


class StoredChunk(NamedTuple):
    """What `put` writes of one chunk: the columns of the same names."""

    row: str
    key: str
    document_id: str
    located: str
    """The document that the content location names."""
    call_id: str | None
    recording_id: str | None
    recording: str
    resource: str
    position: int
    end_reason: str | None
    not_before: int
    expires_at: int
    enqueued_at: int
    chunk: str
    announced: str
    said: str


def entry_id(chunk: Chunk) -> str:
    """What the queue calls the chunk: a hash of what it is, where, whose, and its name to be.

    Not the key alone: a first event that is false, in whatever it says of these, must not
    swallow the right one.
    """
    return names.digest(
        chunk.document_id,
        chunk.content_location,
        chunk.metadata_location or "",
        chunk.delete_location or "",
        resource_of(chunk),
        names.content_name(chunk),
    )[:32]


def resource_of(chunk: Chunk) -> str:
    """The ACS resource as `lease` and `next_due` name it: '' if the event names none."""
    return chunk.announcement.resource or ""


def lapse_delay(attempts: int, random: Random) -> timedelta:
    """How long a chunk whose lease lapsed waits: 2^attempts seconds, spread, at most 600.

    Not at all the first time: most often the worker was just restarted.
    """
    if attempts <= 1:
        return timedelta(0)
    seconds = min(2.0 ** min(attempts, 10), LONGEST_LAPSE_SECONDS)
    return timedelta(seconds=seconds * random.uniform(0.5, 1.0))


def bounded(text: str) -> str:
    """Return the text as a row may hold it: not too long, and valid Unicode."""
    return text[:MAX_TEXT_CHARACTERS].encode(errors="replace").decode()


def micros(at: datetime) -> int:
    return (at - EPOCH) // MICROSECOND


def maybe_micros(at: datetime | None) -> int | None:
    return None if at is None else micros(at)


def instant(value: int) -> datetime:
    return EPOCH + value * MICROSECOND


def stored_chunk(
    chunk: Chunk, *, now: datetime, announced: str | None = None
) -> StoredChunk:
    """Raise MalformedEventError for text that no file can hold (a lone surrogate).

    `announced` is `siblings_to_json` of the chunk, from whoever has it already.
    """
    try:
        if announced is None:
            announced = siblings_to_json(chunk.announced)
        return StoredChunk(
            row=entry_id(chunk),
            key=chunk.key,
            document_id=chunk.document_id,
            located=bounded(names.document_in(chunk.content_location)),
            call_id=chunk.announcement.call_id,
            recording_id=chunk.announcement.recording_id,
            recording=chunk.recording,
            resource=resource_of(chunk),
            position=max(-MAX_POSITION, min(chunk.index, MAX_POSITION)),
            end_reason=chunk.end_reason,
            not_before=micros(now),
            expires_at=micros(chunk.expires_at),
            enqueued_at=micros(now),
            chunk=stored.chunk_to_json(replace(chunk, announced=())),
            announced=announced,
            said=_said(chunk, announced),
        )
    except ValueError as error:
        raise MalformedEventError(
            f"the chunk can't be stored: {message_of(error)}"
        ) from error


def siblings_to_json(siblings: tuple[Sibling, ...]) -> str:
    """Raise ValueError for text that no file can hold."""
    return _SIBLINGS.dump_json(siblings).decode()


def _said(chunk: Chunk, announced: str) -> str:
    """A digest of all that a later announcement of the chunk could add to."""
    duration_ms = chunk.announcement.recording_duration_ms
    return names.digest(announced, f"{chunk.end_reason} {duration_ms}")[:32]


def chunk_of(
    row: sqlite3.Row | Mapping[str, Any], decoded: Siblings | None = None
) -> Chunk:
    """Raise NewerFormatError or StoredFormatError; the earliest `expires_at` seen counts."""
    chunk = stored.chunk_from_json(row["chunk"])
    siblings = _siblings_of(row["announced"], {} if decoded is None else decoded)
    return replace(chunk, announced=siblings, expires_at=instant(row["expires_at"]))


def _siblings_of(text: str, decoded: Siblings) -> tuple[Sibling, ...]:
    known = decoded.get(text)
    if known is not None:
        return known
    try:
        decoded[text] = siblings = _SIBLINGS.validate_json(text)
    except ValueError as error:
        raise stored.StoredFormatError(
            f"not the siblings: {message_of(error)}"
        ) from error
    return siblings


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
        leased_until=_maybe_instant(row["leased_until"]),
        leased_by=row["leased_by"],
        reason=row["reason"],
        error=row["error"],
        enqueued_at=instant(row["enqueued_at"]),
        settled_at=_maybe_instant(row["settled_at"]),
    )


def _maybe_instant(value: int | None) -> datetime | None:
    return None if value is None else instant(value)


def outline(row: sqlite3.Row | Mapping[str, Any]) -> Chunk:
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
        announced=(Sibling(key=key, index=position, end_reason=end_reason),),
        received_at=instant(row["enqueued_at"]),
        expires_at=instant(row["expires_at"]),
    )


def _outlined_announcement(row: sqlite3.Row | Mapping[str, Any]) -> Announcement:
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
