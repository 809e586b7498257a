"""RecordingFileStatusUpdated to chunks. Pure; shapes only, hosts are the source's business.

The rule: bring home what can be brought home, and never hide what can't. A chunk that can't
be read, and anything that had to be dropped or guessed, is a *problem*: the good chunks are
queued all the same, and whoever has the event quarantines it as well, because a recording
with a lost chunk must be seen. An event without one usable chunk is a MalformedEventError.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import NamedTuple

from handlers import exported
from handlers.envelope import Event, JsonObject, compact, moment
from worker import deadline, names
from worker.errors import MalformedEventError
from worker.model import Announcement, Chunk, ChunkKey, RecordingKey, Sibling

MAX_CHUNKS = 1000
MAX_LOCATION_CHARS = 4096
MAX_TOPIC_CHARS = 4096
MAX_ID_CHARS = 1024
MAX_WORD_CHARS = 256
MAX_INDEX = 2**31 - 1
MAX_DURATION_MS = 2**53
MAX_WEIGHT_BYTES = 32 * 1024 * 1024
SIBLING_BYTES = 100
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_DIGITS = re.compile(r"[0-9]{1,18}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Announced:
    """The chunks of one event by index, and what was wrong with it, one line each.

    `weight_bytes` is about what they take in a queue, where each chunk carries its event and
    its siblings: many chunks times a long event would be far more than the body.
    """

    chunks: tuple[Chunk, ...]
    problems: tuple[str, ...]
    weight_bytes: int


class _Entry(NamedTuple):
    """One element of `recordingChunks`, read."""

    sibling: Sibling
    document_id: str
    content_location: str
    metadata_location: str | None
    delete_location: str | None
    raw: JsonObject

    def __repr__(self) -> str:
        return f"_Entry({self.sibling!r})"


def parse(event: Event, *, received_at: datetime, retention: timedelta) -> Announced:
    """Read every chunk of the event. Raises MalformedEventError if none can be queued."""
    event = exported.without_queries(event)
    listed = _listed(event)
    weight_bytes = _weight(event, len(listed))
    problems: list[str] = []
    entries = _entries(listed, problems)
    if not entries:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise MalformedEventError(problems[0] + more)
    raw = event.text if len(listed) == 1 else ""
    announcement = _announcement(event, problems, raw=raw)
    announced = tuple(dict.fromkeys(entry.sibling for entry in entries))
    recording = recording_of(announcement, announced)
    chunks = [
        _chunk(
            entry,
            _with_raw(announcement, event, entry),
            recording=recording,
            announced=announced,
            received_at=received_at,
            retention=retention,
        )
        for entry in entries
    ]
    return Announced(
        chunks=tuple(chunks), problems=tuple(problems), weight_bytes=weight_bytes
    )


def _chunk(
    entry: _Entry,
    announcement: Announcement,
    *,
    recording: RecordingKey,
    announced: tuple[Sibling, ...],
    received_at: datetime,
    retention: timedelta,
) -> Chunk:
    return Chunk(
        key=entry.sibling.key,
        recording=recording,
        document_id=entry.document_id,
        index=entry.sibling.index,
        content_location=entry.content_location,
        metadata_location=entry.metadata_location,
        delete_location=entry.delete_location,
        end_reason=entry.sibling.end_reason,
        announcement=announcement,
        announced=announced,
        received_at=received_at,
        expires_at=deadline.expires_at(
            received_at=received_at,
            event_time=announcement.event_time,
            recording_start=announcement.recording_start_time,
            index=entry.sibling.index,
            retention=retention,
        ),
    )


def recording_of(
    announcement: Announcement, announced: tuple[Sibling, ...]
) -> RecordingKey:
    first = announced[0] if len(announced) == 1 else min(announced, key=_key_of)
    return names.recording_key(
        recording_id=announcement.recording_id,
        call_id=announcement.call_id or announcement.server_call_id,
        started_at=announcement.recording_start_time,
        fallback=first.key,
    )


def _key_of(sibling: Sibling) -> ChunkKey:
    return sibling.key


def _with_raw(announcement: Announcement, event: Event, entry: _Entry) -> Announcement:
    """The announcement as one chunk has it: its event without the others."""
    if announcement.raw:
        return announcement
    return replace(announcement, raw=_raw(event, [entry.raw]))


def _listed(event: Event) -> list[object]:
    storage = event.data.get("recordingStorageInfo")
    listed = storage.get("recordingChunks") if isinstance(storage, dict) else None
    if not isinstance(listed, list):
        raise MalformedEventError("data has no recordingStorageInfo.recordingChunks")
    if not listed:
        raise MalformedEventError("recordingChunks is empty")
    if len(listed) > MAX_CHUNKS:
        raise MalformedEventError(f"{len(listed)} chunks, over {MAX_CHUNKS}")
    return listed


def _weight(event: Event, chunks: int) -> int:
    event_bytes = len(_raw(event, [])) if chunks > 1 else 0
    weight_bytes = chunks * (event_bytes + chunks * SIBLING_BYTES)
    if weight_bytes > MAX_WEIGHT_BYTES:
        raise MalformedEventError(f"{chunks} chunks of an event this long are too much")
    return weight_bytes


def _raw(event: Event, listed: list[JsonObject]) -> str:
    """The event as JSON with only these of its chunks in it."""
    told = event.data["recordingStorageInfo"]
    others = told if isinstance(told, dict) else {}
    storage = {**others, "recordingChunks": listed}
    data = {**event.data, "recordingStorageInfo": storage}
    return compact({**event.raw, "data": data})


def _entries(listed: Iterable[object], problems: list[str]) -> list[_Entry]:
    entries = []
    for position, item in enumerate(listed):
        try:
            entries.append(_entry(item, position, problems))
        except MalformedEventError as error:
            problems.append(f"chunk {position}: {error}")
    return sorted(entries, key=lambda entry: (entry.sibling.index, entry.sibling.key))


def _entry(item: object, position: int, problems: list[str]) -> _Entry:
    if not isinstance(item, dict):
        raise MalformedEventError("not an object")
    content = _location(item, "contentLocation")
    if content is None:
        raise MalformedEventError("contentLocation is missing")
    document_id = _document_id(item)
    sibling = Sibling(
        key=names.chunk_key(document_id, content),
        index=_index(item, position, problems),
        end_reason=_word(item.get("endReason")),
    )
    flaws: list[str] = []
    metadata = _usable_location(item, "metadataLocation", flaws)
    delete = _usable_location(item, "deleteLocation", flaws)
    problems += [f"chunk {position}: {flaw}; it stays at the source" for flaw in flaws]
    return _Entry(
        sibling=sibling,
        document_id=document_id,
        content_location=content,
        metadata_location=metadata,
        # The call could remove metadata that was never fetched.
        delete_location=None if flaws else delete,
        raw=item,
    )


def _document_id(item: JsonObject) -> str:
    value = item.get("documentId")
    if value is None:
        return ""
    if not isinstance(value, str):
        raise MalformedEventError("documentId is not a string")
    if not _is_clean(value, MAX_ID_CHARS):
        raise MalformedEventError("documentId is too long or has control characters")
    return value


def _index(item: JsonObject, position: int, problems: list[str]) -> int:
    """The chunk's index. One that is not said is guessed, and the guess is a problem.

    The schema calls every field optional, and a chunk that is not fetched is gone in a day.
    """
    value = item.get("index")
    if value is None:
        problems.append(f"chunk {position}: index is missing; its position is taken")
        return position
    index = _whole(value, most=MAX_INDEX)
    if index is None:
        raise MalformedEventError(f"index is not a number from 0 to {MAX_INDEX}")
    return index


def _usable_location(item: JsonObject, name: str, flaws: list[str]) -> str | None:
    """Return a location beside the content's; a bad one doesn't hold the content back."""
    try:
        return _location(item, name)
    except MalformedEventError as error:
        flaws.append(str(error))
        return None


def _location(item: JsonObject, name: str) -> str | None:
    value = item.get(name)
    if value is None or value == "":
        return None
    if not isinstance(value, str):
        raise MalformedEventError(f"{name} is not a string")
    if not _is_clean(value, MAX_LOCATION_CHARS):
        raise MalformedEventError(f"{name} is too long or has control characters")
    return value


def _announcement(event: Event, problems: list[str], *, raw: str) -> Announcement:
    subject = _bounded(event.subject, "subject", problems)
    told = subject_ids(subject)
    data = event.data
    return Announcement(
        event_id=_word(event.id, most=MAX_ID_CHARS) or "",
        topic=_bounded(event.topic, "topic", problems),
        subject=subject,
        event_time=event.time,
        call_id=told.get("call"),
        server_call_id=told.get("servercallid"),
        recording_id=told.get("recordingid")
        or _word(data.get("recordingId"), most=MAX_ID_CHARS),
        recording_start_time=moment(data.get("recordingStartTime")),
        recording_duration_ms=_whole(
            data.get("recordingDurationMs"), most=MAX_DURATION_MS
        ),
        content_type=_word(data.get("recordingContentType")),
        channel_type=_word(data.get("recordingChannelType")),
        format_type=_word(data.get("recordingFormatType")),
        session_end_reason=_word(data.get("sessionEndReason")),
        storage_type=_word(data.get("storageType")),
        raw=raw,
    )


def _bounded(text: str, what: str, problems: list[str]) -> str:
    if _is_clean(text, MAX_TOPIC_CHARS):
        return text
    problems.append(f"{what} is too long or has control characters; it is left out")
    return ""


def subject_ids(subject: str) -> dict[str, str]:
    """`/recording/call/ID/…`: keys and values in turn, in any order, every key optional."""
    segments = subject.strip("/").split("/")
    if segments[0].casefold() == "recording":
        del segments[0]
    pairs = zip(segments[::2], segments[1::2], strict=False)
    return {key.casefold(): value for key, value in pairs if value}


def _whole(value: object, *, most: int) -> int | None:
    """Return a number from 0 to `most`, also from digits in a string; None otherwise."""
    if isinstance(value, str) and _DIGITS.fullmatch(value):
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        return None
    return value if 0 <= value <= most else None


def _word(value: object, *, most: int = MAX_WORD_CHARS) -> str | None:
    """A short text, or None; whatever it was stays in the raw event."""
    if not isinstance(value, str) or not value:
        return None
    return value if _is_clean(value, most) else None


def _is_clean(text: str, most: int) -> bool:
    # What is printable has none, and is told in a fraction of the time.
    return len(text) <= most and (text.isprintable() or not _CONTROL.search(text))
