"""What the queues' messages say. They only refer to the ledger.

ASCII, so that they survive any XML.
"""

import json
from dataclasses import dataclass, field, replace
from typing import Annotated, Any

from pydantic import AwareDatetime, Field, StringConstraints, TypeAdapter

from worker.errors import NewerFormatError
from worker.model import Chunk, LeaseToken, RecordingKey
from worker.queues.entries import MAX_TEXT_CHARACTERS, bounded, resource_of
from worker.queues.storage.names import (
    DueName,
    Ref,
    due_name,
    parse_part,
    parse_ref,
)
from worker.stored import StoredFormatError

FORMAT_VERSION = 1
MOST_RAW_BYTES = 24 * 1024
"""Of a foreign message within a poisoned one: 64 KiB is the limit of the whole."""
MOST = 2**31
_DAMAGE = (ValueError, KeyError, TypeError, RecursionError, OverflowError)
Row = Annotated[str, StringConstraints(pattern=r"\A[0-9a-f]{32}\z")]
Recording = Annotated[RecordingKey, StringConstraints(pattern=r"\A[0-9a-f]{16}\z")]
Text = Annotated[str, StringConstraints(max_length=MAX_TEXT_CHARACTERS)]
Count = Annotated[int, Field(ge=0, le=MOST)]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryMessage:
    """One part of a delivery whose chunks have no messages yet; `part` names its document."""

    part: str
    missing_since: AwareDatetime | None = None
    """Since when that can't be found."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkMessage:
    """One chunk at work, and all that is known of the work.

    `attempts` were made before `seen`, which is how often the message had been received when
    it was last settled: receptions beyond the next one are attempts that lapsed.
    """

    row: Row
    ref: str
    recording: Recording
    resource: Text
    expires_at: AwareDatetime
    """The earliest deadline known; the ledger has it due then."""
    first_expires_at: AwareDatetime | None = None
    """The deadline before that, if a later one was announced: the ledger may have it yet."""
    attempts: Count = 0
    seen: Annotated[int, Field(ge=-1, le=MOST)] = 0
    archived: bool = False
    looks: Count = 0
    """How often it looked in vain whether its recording is complete."""
    reason: str = ""
    error: str = ""
    missing_since: AwareDatetime | None = None
    """Since when its announcement can't be found."""

    @property
    def due(self) -> DueName:
        return due_name(self.expires_at, row=self.row, ref=self.ref)

    @property
    def former_due(self) -> DueName | None:
        first = self.first_expires_at
        return due_name(first, row=self.row, ref=self.ref) if first else None

    def attempt(self, received: int) -> int:
        """The number of the attempt that begins with this reception."""
        return max(1, self.attempts + received - self.seen)

    def settled(self, *, attempts: int, received: int) -> "ChunkMessage":
        """As it goes back into the queue."""
        return replace(self, attempts=attempts, seen=received)


Message = DeliveryMessage | ChunkMessage
_KINDS: dict[str, TypeAdapter[Any]] = {
    "delivery": TypeAdapter(DeliveryMessage),
    "chunk": TypeAdapter(ChunkMessage),
}


def chunk_message(chunk: Chunk, *, row: str, ref: Ref) -> ChunkMessage:
    """The first message of a chunk."""
    return ChunkMessage(
        row=row,
        ref=str(ref),
        recording=chunk.recording,
        resource=bounded(resource_of(chunk)),
        expires_at=chunk.expires_at,
    )


def encode(message: Message) -> str:
    kind = "delivery" if isinstance(message, DeliveryMessage) else "chunk"
    document = _KINDS[kind].dump_python(message, mode="json")
    return json.dumps({"v": FORMAT_VERSION, "kind": kind, **document})


def decode(text: str) -> Message:
    """Raises NewerFormatError, or StoredFormatError for what is none of ours."""
    try:
        document = json.loads(text)
        if document["v"] > FORMAT_VERSION:
            raise NewerFormatError(f"a message of format {document['v']}")
        message: Message = _KINDS[document["kind"]].validate_python(document)
        if isinstance(message, DeliveryMessage):
            parse_part(message.part)
        else:
            parse_ref(message.ref)
            # Times at the ends of the calendar are in no other time zone.
            str(message.due), str(message.former_due)
    except _DAMAGE as error:
        raise StoredFormatError(f"not a message: {type(error).__name__}") from error
    return message


@dataclass(frozen=True, slots=True, kw_only=True)
class Poison:
    """Why something was given up, for whoever reads the poison queue."""

    reason: str
    error: str
    worker: str
    at: AwareDatetime
    attempts: int
    row: str | None = None
    ref: str | None = None
    recording: str | None = None
    document_id: str | None = None
    expires_at: AwareDatetime | None = None
    """The earliest deadline that was known."""
    raw_base64: str | None = field(default=None, repr=False)
    """A foreign message as it was."""
    raw_stored: str | None = None
    """The object that holds it where it is too long."""


_POISON = TypeAdapter(Poison)


def encode_poison(poison: Poison) -> str:
    told = _POISON.dump_python(poison, mode="json", exclude_none=True)
    return json.dumps({"v": FORMAT_VERSION, "kind": "poison", **told})


def decode_poison(data: str | bytes) -> Poison:
    """Raises StoredFormatError."""
    try:
        return _POISON.validate_json(data)
    except _DAMAGE as error:
        raise StoredFormatError(f"no reason: {type(error).__name__}") from error


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A message in hand: what a lease token says. `receipt` is the right to settle it."""

    queue: str
    """The suffix of its queue's name."""
    id: str
    receipt: str = field(repr=False)
    received: int
    message: ChunkMessage = field(repr=False)

    @property
    def token(self) -> LeaseToken:
        return LeaseToken(_HELD.dump_json(self).decode())


_HELD = TypeAdapter(Held)


def held_from(token: LeaseToken) -> Held:
    return _HELD.validate_json(token)
