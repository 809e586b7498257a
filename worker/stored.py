"""Documents that outlive the process: their shapes, and the one codec for all of them.

Everything stored carries `"v": 1`. A newer version raises NewerFormatError: whoever reads
it leaves it to a newer worker. Bytes are deterministic: sorted keys, two spaces.
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar

from pydantic import ConfigDict, TypeAdapter, ValidationError, with_config

from worker import names
from worker.errors import NewerFormatError, WorkerError
from worker.model import (
    BlockDigest,
    Chunk,
    ChunkKey,
    DeleteAnswer,
    RecordingKey,
    Sibling,
)
from worker.tracebacks import message_of

FORMAT_VERSION = 1
T = TypeVar("T")


class StoredFormatError(WorkerError):
    """A stored document is not what its name promises."""

    reason = "stored-format"
    hint = "recording-worker recordings list"


@with_config(ConfigDict(extra="ignore"))
@dataclass(frozen=True, slots=True, kw_only=True)
class ProvenObject:
    """One object in the archive and how it was proven.

    `sha256` is of the whole as read back; None under `checksum`, where only the blocks were
    hashed as they arrived. `blocks_sha256` is the sha256 of the blocks' binary digests, each
    block `block_bytes` long but for the last.
    """

    name: str
    size_bytes: int
    sha256: str | None
    block_bytes: int
    blocks_sha256: str
    verified: str
    etag: str | None
    version: str | None
    last_modified: datetime
    protection: dict[str, str]
    source_host: str
    source_date: str | None
    source_last_modified: str | None
    source_headers: dict[str, str]


@with_config(ConfigDict(extra="ignore"))
@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """Proof that one chunk lies in the archive as the source sent it.

    `flags` are the reasons for which it must never be deleted at the source; empty: none.
    ACS gives no checksum: the proof is of what arrived, complete by its announced size.
    """

    worker_version: str
    worker_instance: str
    key: ChunkKey
    recording: RecordingKey
    recording_folder: str
    document_id: str
    index: int
    end_reason: str | None
    resource: str | None
    content_path: str = field(repr=False)
    """Path and query of what was asked for; the host varies by region."""
    metadata_path: str | None = field(repr=False)
    delete_location: str | None = field(repr=False)
    event: dict[str, Any] = field(repr=False)
    announced: tuple[Sibling, ...]
    recording_duration_ms: int | None
    chunk_duration_ms: float | None
    content: ProvenObject
    metadata: ProvenObject | None
    structure: str
    flags: tuple[str, ...]
    received_at: datetime
    archived_at: datetime
    expires_at: datetime
    attempts: int


@with_config(ConfigDict(extra="ignore"))
@dataclass(frozen=True, slots=True, kw_only=True)
class SourceDeleted:
    """What the source answered to the delete of one chunk."""

    key: ChunkKey
    worker_version: str
    worker_instance: str
    answer: DeleteAnswer


@with_config(ConfigDict(extra="ignore"))
@dataclass(frozen=True, slots=True, kw_only=True)
class Erased:
    """The tombstone of one chunk: that it was here, and went by an operator's will.

    Nothing of it is of the people in the call. `key` names a document that is nowhere any
    more, and must stay: a replayed event is known by it. Call and recording ids, which lead
    to people by the logs of others, are left out (ADR 14).
    """

    worker_version: str
    key: ChunkKey
    recording: RecordingKey
    index: int
    content_bytes: int | None
    """None: the chunk was announced, and never archived."""
    metadata_bytes: int | None
    reason: str
    """One of the reasons of `recordings erase`: words of an operator might name somebody."""
    erased_at: datetime
    erased_by: str


@with_config(ConfigDict(extra="ignore"))
@dataclass(frozen=True, slots=True, kw_only=True)
class Erasing:
    """The tombstones that an erasure is about to make: whoever is killed knows them again."""

    recording: RecordingKey
    chunks: tuple[Erased, ...]


@with_config(ConfigDict(extra="ignore"))
@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """A recording was put under legal hold, or released from it."""

    worker_version: str
    recording: RecordingKey
    held: bool
    reason: str
    at: datetime
    by: str


@with_config(ConfigDict(extra="ignore"))
@dataclass(frozen=True, slots=True, kw_only=True)
class Control:
    """An operator paused all work, or had it go on."""

    worker_version: str
    paused: bool
    reason: str
    at: datetime
    by: str


@with_config(ConfigDict(extra="ignore"))
@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayedBlob:
    """A blob of dead letters whose events were taken: the next replay passes it by."""

    worker_version: str
    container: str
    """Its URL, without a signature."""
    blob: str
    etag: str
    events: int
    to: str
    """`queue`, or the endpoint that took them."""
    at: datetime
    by: str


@with_config(ConfigDict(extra="ignore"))
@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestChunk:
    """One archived chunk in a manifest; names are relative to the manifest's folder."""

    key: ChunkKey
    document_id: str
    index: int
    end_reason: str | None
    content: str
    size_bytes: int
    sha256: str | None
    metadata: str | None
    metadata_size_bytes: int | None
    metadata_sha256: str | None
    duration_ms: float | None
    flags: tuple[str, ...]
    receipt: str


@with_config(ConfigDict(extra="ignore"))
@dataclass(frozen=True, slots=True, kw_only=True)
class MissingChunk:
    """One announced or implied chunk that is not in the archive, and why."""

    index: int
    key: ChunkKey | None
    reason: str


@with_config(ConfigDict(extra="ignore"))
@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """A recording as a whole. Made of receipts alone, so that racing workers make one."""

    recording: RecordingKey
    recording_id: str | None
    call_id: str | None
    server_call_id: str | None
    started_at: datetime | None
    duration_ms: int | None
    complete: bool
    ended: str | None
    """How the end is known: `session-ended`, `durations`, or None."""
    chunks: tuple[ManifestChunk, ...]
    missing: tuple[MissingChunk, ...]


@with_config(ConfigDict(extra="ignore"))
@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """What others are to be told; `id` is the same however often it is written or told."""

    id: str
    type: str
    subject: str
    time: datetime
    data: dict[str, Any]


def covers(receipt: Receipt, chunk: Chunk) -> bool:
    """Whether the receipt is for the locations that the chunk was announced with."""
    if receipt.content_path != names.location_path(chunk.content_location):
        return False
    metadata = chunk.metadata_location
    return metadata is None or receipt.metadata_path == names.location_path(metadata)


def blocks_sha256(blocks: Iterable[BlockDigest]) -> str:
    """sha256 (hex) over the blocks' binary digests, in order."""
    hashed = hashlib.sha256()
    for block in blocks:
        hashed.update(bytes.fromhex(block.sha256))
    return hashed.hexdigest()


@with_config(ConfigDict(extra="ignore"))
@dataclass(frozen=True, slots=True)
class _Stamp:
    v: Any


_STAMP = TypeAdapter(_Stamp)
_PROVEN = TypeAdapter(ProvenObject)
_RECEIPT = TypeAdapter(Receipt)
_SOURCE_DELETED = TypeAdapter(SourceDeleted)
_ERASED = TypeAdapter(Erased)
_ERASING = TypeAdapter(Erasing)
_HOLD = TypeAdapter(Hold)
_CONTROL = TypeAdapter(Control)
_REPLAYED = TypeAdapter(ReplayedBlob)
_MANIFEST = TypeAdapter(Manifest)
_NOTICE = TypeAdapter(Notice)
_CHUNK = TypeAdapter(Chunk)
_ADAPTERS: dict[type, TypeAdapter[Any]] = {
    ProvenObject: _PROVEN,
    Receipt: _RECEIPT,
    SourceDeleted: _SOURCE_DELETED,
    Erased: _ERASED,
    Erasing: _ERASING,
    Hold: _HOLD,
    Control: _CONTROL,
    ReplayedBlob: _REPLAYED,
    Manifest: _MANIFEST,
    Notice: _NOTICE,
}
_OUR_END = b'\n  "v": %d\n}\n' % FORMAT_VERSION
"""What `encode` writes last: a line of its own, so that no string can hold it. A listing
decodes a document for each recording, and parses it once."""
_DAMAGE = (ValueError, KeyError, TypeError, RecursionError, ValidationError)


Document = (
    ProvenObject
    | Receipt
    | SourceDeleted
    | Erased
    | Erasing
    | Hold
    | Manifest
    | Notice
    | Control
    | ReplayedBlob
)


def encode(value: Document) -> bytes:
    """Deterministic JSON with `v` and `kind`, for people and machines."""
    return encode_as(_ADAPTERS[type(value)], value)


def encode_as(adapter: TypeAdapter[Any], value: object) -> bytes:
    """The same for a document of another module."""
    document = adapter.dump_python(value, mode="json")
    kind = type(value).__name__.lower()
    stamped = {"v": FORMAT_VERSION, "kind": kind, **document}
    readable = json.loads(
        _without_lone_surrogates(json.dumps(stamped, ensure_ascii=False))
    )
    return (json.dumps(readable, indent=2, sort_keys=True) + "\n").encode()


def _without_lone_surrogates(text: str) -> str:
    """A header of the source may hold bytes that are no text: written, they can't be read."""
    return text.encode(errors="replace").decode()


def decode(kind: type[T], data: bytes) -> T:
    """Read what `encode` wrote. Raises NewerFormatError or StoredFormatError."""
    return decode_as(_ADAPTERS[kind], kind, data)


def decode_as(adapter: TypeAdapter[Any], kind: type[T], data: bytes) -> T:
    """The same for a document of another module."""
    try:
        if not data.endswith(_OUR_END):
            # Not json.loads: where documents are many, this is most of it.
            _refuse_newer(_STAMP.validate_json(data).v)
        value: T = adapter.validate_json(data)
    except _DAMAGE as error:
        raise StoredFormatError(
            f"not a {kind.__name__.lower()}: {_first_line(error)}"
        ) from error
    return value


def _refuse_newer(version: Any) -> None:
    if version > FORMAT_VERSION:
        raise NewerFormatError(f"format {version} is newer than {FORMAT_VERSION}")


def chunk_to_json(chunk: Chunk) -> str:
    """A chunk as a queue keeps it: one compact line."""
    return '{"v":1,"chunk":' + _CHUNK.dump_json(chunk).decode() + "}"


def chunk_from_json(text: str | bytes) -> Chunk:
    """Read what `chunk_to_json` wrote. Raises NewerFormatError or StoredFormatError."""
    try:
        document = json.loads(text)
    except _DAMAGE as error:
        raise StoredFormatError(f"not a chunk: {_first_line(error)}") from error
    return chunk_from_document(document)


def chunk_from_document(document: Any) -> Chunk:
    """The same where it is a part of something larger that was read already."""
    try:
        _refuse_newer(document["v"])
        return _CHUNK.validate_python(document["chunk"])
    except _DAMAGE as error:
        raise StoredFormatError(f"not a chunk: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    """What is wrong first, in one line: pydantic lists everything, with links."""
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False, include_input=False)[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    return message_of(error)
