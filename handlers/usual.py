"""Events as ACS sends nearly all of them, read in one go into what they announce. Pure.

Who reads with care (handlers/envelope.py, handlers/recordings.py) takes four times as long,
and a batch has hundreds of them. The rule: what is read here is what would come of that, to
the letter; whatever is not exactly as documented (a field that is unknown, absent or odd,
another chunk, a character that needs an escape) is left to it.
"""

from datetime import datetime, timedelta
from typing import Annotated, NamedTuple

import msgspec
from msgspec import Meta, Struct

from handlers import recordings, registry
from handlers.envelope import moment
from handlers.recordings import Announced
from handlers.registry import EventKind
from worker import byos, deadline, names
from worker.model import Announcement, Chunk, Sibling

_Id = Annotated[str, Meta(min_length=1, max_length=recordings.MAX_ID_CHARS)]
_Long = Annotated[str, Meta(min_length=1, max_length=recordings.MAX_TOPIC_CHARS)]
_Location = Annotated[str, Meta(min_length=1, max_length=recordings.MAX_LOCATION_CHARS)]
_Word = Annotated[str, Meta(min_length=1, max_length=recordings.MAX_WORD_CHARS)]
_Index = Annotated[int, Meta(ge=0, le=recordings.MAX_INDEX)]
_Duration = Annotated[int, Meta(ge=0, le=recordings.MAX_DURATION_MS)]


class _Shape(Struct, gc=False, forbid_unknown_fields=True, rename="camel"):
    """What nothing may be added to: what we don't know could be anything."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}(…)"  # it may hold what no log may


class _Chunk(_Shape):
    document_id: _Id
    index: _Index
    content_location: _Location
    metadata_location: _Location | None = None
    delete_location: _Location | None = None
    end_reason: _Word | None = None


class _Storage(_Shape):
    recording_chunks: Annotated[list[_Chunk], Meta(min_length=1, max_length=1)]


class _Data(_Shape):
    recording_storage_info: _Storage
    recording_start_time: str | None = None
    recording_duration_ms: _Duration | None = None
    recording_content_type: _Word | None = None
    recording_channel_type: _Word | None = None
    recording_format_type: _Word | None = None
    session_end_reason: _Word | None = None
    storage_type: _Word | None = None
    recording_id: _Id | None = None


class _GridEvent(_Shape):
    """https://learn.microsoft.com/azure/event-grid/event-schema"""

    id: _Id
    topic: _Long
    subject: _Long
    event_type: _Word
    event_time: str
    data: _Data
    data_version: str = ""
    metadata_version: str = ""


class _CloudEvent(_Shape, rename=None):
    """https://learn.microsoft.com/azure/event-grid/cloud-event-schema"""

    id: _Id
    source: _Long
    subject: _Long
    type: _Word
    time: str
    data: _Data
    specversion: str = ""

    @property
    def topic(self) -> str:
        return self.source

    @property
    def event_type(self) -> str:
        return self.type

    @property
    def event_time(self) -> str:
        return self.time


_GRID = msgspec.json.Decoder(_GridEvent)
_CLOUD = msgspec.json.Decoder(_CloudEvent)


class Usual(NamedTuple):
    """An event of a recording, and what it announces."""

    topic: str
    time: datetime | None
    announced: Announced


def read(text: str, *, received_at: datetime, retention: timedelta) -> Usual | None:
    """Read an event that ACS sent as it always does; None: read it with care."""
    if not _is_plain(text):
        return None
    decoder = _GRID if '"eventType"' in text else _CLOUD
    try:
        event: _GridEvent | _CloudEvent = decoder.decode(text)
    except msgspec.DecodeError:
        return None
    kind = registry.kind_of(event.event_type)
    if kind is not EventKind.RECORDING or _is_exported(event.data):
        return None
    about = _announcement(event, text)
    chunk = _chunk(event, about, received_at=received_at, retention=retention)
    announced = Announced(
        chunks=(chunk,), problems=(), weight_bytes=recordings.SIBLING_BYTES
    )
    return Usual(topic=about.topic, time=about.event_time, announced=announced)


def _is_plain(text: str) -> bool:
    """Whether no string in it can hold a control character, a quote or a lone surrogate."""
    return text.isascii() and "\\" not in text and "\x7f" not in text


def _is_exported(data: _Data) -> bool:
    return (data.storage_type or "").casefold() == byos.STORAGE_TYPE


def _announcement(event: _GridEvent | _CloudEvent, text: str) -> Announcement:
    data = event.data
    told = recordings.subject_ids(event.subject)
    return Announcement(
        event_id=event.id,
        topic=event.topic,
        subject=event.subject,
        event_time=moment(event.event_time),
        call_id=told.get("call"),
        server_call_id=told.get("servercallid"),
        recording_id=told.get("recordingid") or data.recording_id,
        recording_start_time=moment(data.recording_start_time),
        recording_duration_ms=data.recording_duration_ms,
        content_type=data.recording_content_type,
        channel_type=data.recording_channel_type,
        format_type=data.recording_format_type,
        session_end_reason=data.session_end_reason,
        storage_type=data.storage_type,
        raw=text,
    )


def _chunk(
    event: _GridEvent | _CloudEvent,
    about: Announcement,
    *,
    received_at: datetime,
    retention: timedelta,
) -> Chunk:
    (said,) = event.data.recording_storage_info.recording_chunks
    key = names.chunk_key(said.document_id, said.content_location)
    alone = (Sibling(key=key, index=said.index, end_reason=said.end_reason),)
    return Chunk(
        key=key,
        recording=recordings.recording_of(about, alone),
        document_id=said.document_id,
        index=said.index,
        content_location=said.content_location,
        metadata_location=said.metadata_location,
        delete_location=said.delete_location,
        end_reason=said.end_reason,
        announcement=about,
        announced=alone,
        received_at=received_at,
        expires_at=deadline.expires_at(
            received_at=received_at,
            event_time=about.event_time,
            recording_start=about.recording_start_time,
            index=said.index,
            retention=retention,
        ),
    )
