"""Chunks and deliveries for everyone's tests: whole by default, any field to choose.

What depends on another field follows it: `a_chunk(document_id="d2")` has the locations, the
key and the siblings of d2; `a_chunk(announcement=...)` the recording of that announcement.
"""

import json
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TypedDict, Unpack

from tests.fakes.clock import START
from worker import names
from worker.model import (
    Announcement,
    Chunk,
    ChunkKey,
    Deferred,
    Delivery,
    HeldUp,
    RecordingKey,
    Sibling,
)

SOURCE = "https://us-storage.asm.skype.com"
TOPIC = (
    "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/recordings"
    "/providers/Microsoft.Communication/CommunicationServices/"
)
RETENTION = timedelta(hours=24)


class AnnouncementFields(TypedDict, total=False):
    """What of an Announcement a test may choose."""

    event_id: str
    topic: str
    subject: str
    event_time: datetime | None
    call_id: str | None
    server_call_id: str | None
    recording_id: str | None
    recording_start_time: datetime | None
    recording_duration_ms: int | None
    content_type: str | None
    channel_type: str | None
    format_type: str | None
    session_end_reason: str | None
    storage_type: str | None
    raw: str


class ChunkFields(TypedDict, total=False):
    """What of a Chunk a test may choose."""

    key: ChunkKey
    recording: RecordingKey
    document_id: str
    index: int
    content_location: str
    metadata_location: str | None
    delete_location: str | None
    end_reason: str | None
    announcement: Announcement
    announced: tuple[Sibling, ...]
    received_at: datetime
    expires_at: datetime


def an_announcement(
    *, resource: str = "calls", **overrides: Unpack[AnnouncementFields]
) -> Announcement:
    """An mp4 recording of ten minutes, in one chunk; `resource` names it in the topic."""
    recording_id = overrides.get("recording_id", "recording-1")
    default = Announcement(
        event_id="event-1",
        topic=f"{TOPIC}{resource}",
        subject=f"/recording/call/call-1/recordingId/{recording_id}",
        event_time=START,
        call_id="call-1",
        server_call_id=None,
        recording_id="recording-1",
        recording_start_time=START - timedelta(minutes=10),
        recording_duration_ms=600_000,
        content_type="AudioVideo",
        channel_type="Mixed",
        format_type="Mp4",
        session_end_reason="CallEnded",
        storage_type="AzureCommunicationsServices",
        raw=json.dumps({"id": "event-1", "data": {}}),
    )
    return replace(default, **overrides)


def a_chunk(*, host: str = SOURCE, **overrides: Unpack[ChunkFields]) -> Chunk:
    """The only chunk of a recording, announced at START; expires 24 hours later.

    `host` (scheme and all) is the source in its locations.
    """
    document_id = overrides.get("document_id", "0-eus-d1-doc1")
    index = overrides.get("index", 0)
    objects = f"{host}/v1/objects/{document_id}"
    content = overrides.get("content_location", f"{objects}/content/video")
    key = overrides.get("key", names.chunk_key(document_id, content))
    end_reason = overrides.get("end_reason", "SessionEnded")
    announcement = overrides.get("announcement") or an_announcement()
    default = Chunk(
        key=key,
        recording=recording_of(announcement),
        document_id=document_id,
        index=index,
        content_location=content,
        metadata_location=f"{objects}/content/acsmetadata",
        delete_location=objects,
        end_reason=end_reason,
        announcement=announcement,
        announced=(Sibling(key=key, index=index, end_reason=end_reason),),
        received_at=START,
        expires_at=START + RETENTION,
    )
    return replace(default, **overrides)


def some_chunks(
    count: int, *, host: str = SOURCE, **overrides: Unpack[ChunkFields]
) -> tuple[Chunk, ...]:
    """All chunks of one recording, each announced with the others; the last one ends it.

    `document_id` is the stem of theirs: `stem-0`, `stem-1`, ...
    """
    chunks = [_nth_chunk(index, count, host, overrides) for index in range(count)]
    announced = tuple(sibling for chunk in chunks for sibling in chunk.announced)
    return tuple(replace(chunk, announced=announced) for chunk in chunks)


def _nth_chunk(index: int, count: int, host: str, overrides: ChunkFields) -> Chunk:
    stem = overrides.get("document_id", "0-eus-d1-doc1")
    fields: ChunkFields = {
        **overrides,
        "document_id": f"{stem}-{index}",
        "index": index,
        "end_reason": "SessionEnded" if index == count - 1 else "ChunkIsFull",
    }
    return a_chunk(host=host, **fields)


def a_delivery(
    *chunks: Chunk,
    body: bytes | None = None,
    received_at: datetime = START,
    origin: str = "webhook",
) -> Delivery:
    """One POST that announces `chunks`; its body depends on them alone unless given."""
    documents = [chunk.document_id for chunk in chunks]
    return Delivery(
        body=json.dumps(documents).encode() if body is None else body,
        received_at=received_at,
        origin=origin,
        chunks=chunks,
    )


def a_deferred(body: bytes, *, received_at: datetime = START) -> Deferred:
    """One POST that is kept as it came."""
    return Deferred(
        body=body,
        received_at=received_at,
        origin="webhook",
        delivery_count=0,
        traceparent="",
    )


def recording_of(announcement: Announcement) -> RecordingKey:
    """The recording that an announcement speaks of."""
    return names.recording_key(
        recording_id=announcement.recording_id,
        call_id=announcement.call_id,
        started_at=announcement.recording_start_time,
    )


def held_up(
    chunks: int, reason: str = "source-forbidden", *, error: str = "403"
) -> HeldUp:
    """What the chunks of one resource wait for alike."""
    return HeldUp(
        scope="credential",
        resource="calls",
        reason=reason,
        error=error,
        chunks=chunks,
        since=START,
    )
