"""The words of the domain as frozen values; pure, standard library only.

A *delivery* carries events; a *RecordingFileStatusUpdated* event announces the chunks of a
recording; each becomes one `Chunk`, which carries all that any later step needs.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple, NewType

ChunkKey = NewType("ChunkKey", str)
"""Identity of a chunk: the documentId, or a hash that stands in (worker/names.py)."""
RecordingKey = NewType("RecordingKey", str)
"""Short hash that names a recording's folder."""
LeaseToken = NewType("LeaseToken", str)


class ChunkState(StrEnum):
    """Where a chunk stands in the queue. `archived` waits for its siblings or its delete."""

    PENDING = "pending"
    LEASED = "leased"
    ARCHIVED = "archived"
    DELETED = "deleted"
    DEAD = "dead"


class ErasureReason(StrEnum):
    """Why a recording is erased: a word of ours, for one of theirs might name somebody.

    After article 17(1) of the GDPR: https://eur-lex.europa.eu/eli/reg/2016/679/oj#art_17
    """

    REQUEST = "data-subject-request"
    CONSENT = "consent-withdrawn"
    UNNEEDED = "no-longer-needed"
    UNLAWFUL = "unlawful"
    OBLIGATION = "legal-obligation"
    TEST = "test-data"


class Lane(StrEnum):
    """In which order a queue leases what is due."""

    DEADLINE = "deadline"
    """Earliest `expires_at` first."""
    UNTRIED = "untried"
    """Only what was never attempted, earliest `expires_at` first."""
    NEWEST = "newest"
    """Latest `expires_at` first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sibling:
    """One chunk of a recording as announced: enough to find its receipt by name."""

    key: ChunkKey
    index: int
    end_reason: str | None
    is_left_alone: bool = False
    """It lies in the user's own storage, and stays there: nobody brings it home."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Announcement:
    """What one event says about the recording as a whole. Empty string or None: not said.

    `raw` is the event as JSON text with the other chunks left out; it reaches the receipt.
    """

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
    raw: str = field(repr=False)

    @property
    def resource(self) -> str | None:
        """The ACS resource named last in the topic (an ARM id), lower case."""
        marker = "/communicationservices/"
        _, found, rest = self.topic.casefold().partition(marker)
        return rest.strip("/") or None if found else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """One downloadable part of a recording, as announced by one event."""

    key: ChunkKey
    recording: RecordingKey
    document_id: str
    index: int
    content_location: str = field(repr=False)
    metadata_location: str | None = field(repr=False)
    delete_location: str | None = field(repr=False)
    end_reason: str | None
    announcement: Announcement
    announced: tuple[Sibling, ...]
    """All chunks of the same event, this one too, by index."""
    received_at: datetime
    expires_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One POST (or one replayed file, or one inbox message): body as received, and its chunks."""

    body: bytes = field(repr=False)
    received_at: datetime
    origin: str
    """`webhook`, `replay` or `inbox`."""
    chunks: tuple[Chunk, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Deferred:
    """A delivery that is durable as it came, and will be sorted when there is time."""

    body: bytes = field(repr=False)
    received_at: datetime
    origin: str
    delivery_count: int | None
    traceparent: str
    """The sender's own trace, as it was sent; may be empty."""
    id: int = 0
    """Of the queue; 0: not there yet."""
    times: int = 0
    """How often it was taken up to be sorted, this time too; not where it was given back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """Deferred deliveries in hand, and what is told of all that there are, these included."""

    deliveries: Sequence[Deferred] = ()
    oldest_at: datetime | None = None
    """When the first of all came; None: there is none."""
    newest_at: datetime | None = None
    first_id: int = 0
    last_id: int = 0
    """Of all that there are; 0: there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceivedMessage:
    """A message of a Storage Queue in hand, or just sent; `receipt` is the right to settle it."""

    id: str
    receipt: str = field(repr=False)
    text: str = field(repr=False)
    times: int
    """How often it was received, this time too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """Time-limited exclusive right to work on a chunk; `token` fences late workers."""

    chunk: Chunk
    row: str
    """What the queue calls this entry."""
    token: LeaseToken
    attempts: int
    leased_until: datetime
    enqueued_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class PutResult:
    """How many chunks of a delivery were new to the queue, and how many it knew."""

    enqueued: int
    duplicates: int
    known: frozenset[ChunkKey] = field(default=frozenset(), compare=False)
    """Chunks of it that an earlier delivery announced, be they settled by now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rebuilt:
    """How much was sent to a queue again, or would be."""

    chunks: int
    deliveries: int
    unreadable: int = 0
    """Chunks whose announcement can't be read: for these nothing is sent."""


class Redriven(StrEnum):
    """What became of a dead letter that was to be tried again."""

    REDRIVEN = "redriven"
    NOT_DEAD = "not-dead"
    """Another was there first, or it was announced again."""
    UNREADABLE = "unreadable"
    """What announced it can't be read, so that nobody knows where it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruned:
    """How much left the queue, or would."""

    entries: int
    deliveries: int


@dataclass(frozen=True, slots=True, kw_only=True)
class QueuedChunk:
    """One queue entry as an operator sees it."""

    row: str
    chunk: Chunk
    state: ChunkState
    attempts: int
    not_before: datetime
    leased_until: datetime | None
    leased_by: str | None
    reason: str | None
    error: str | None
    enqueued_at: datetime
    settled_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One past attempt at a chunk, for `queue show`."""

    number: int
    worker: str
    started_at: datetime
    ended_at: datetime | None
    outcome: str | None
    reason: str | None
    error: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldUp:
    """Chunks that wait, having failed alike, and none of their kind went through since.

    `scope` and `reason` as in worker/errors.py; `resource`: whose credential, if it is one's.
    """

    scope: str
    resource: str | None
    reason: str
    error: str
    """Of one of them."""
    chunks: int
    since: datetime


SORTED_WITHIN = timedelta(minutes=15)
"""What was deferred is sorted in seconds, and after a flood in minutes, if anybody runs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueCounts:
    """What the queue holds now. `by_state` has every state; `dead` is split by reason."""

    by_state: dict[ChunkState, int]
    dead: dict[str, int]
    at_risk: int
    """Pending or leased with less than the asked-for time left."""
    oldest_deadline: datetime | None
    """The earliest `expires_at` of what is pending or leased."""
    deferred: int = 0
    """Deliveries that are yet to be sorted."""
    deferred_since: datetime | None = None
    """When the oldest of them came."""

    def is_sorting_late(self, now: datetime) -> bool:
        """Whether one waits for longer than it takes where a worker runs and does well."""
        return now - (self.deferred_since or now) > SORTED_WITHIN


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter:
    """One version of a blob of dead letters; `name` is the whole name in its container."""

    name: str
    etag: str
    size_bytes: int
    written_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """What the archive says about one object. `protection` e.g. {'legal_hold': 'true'}."""

    name: str
    size_bytes: int
    etag: str | None
    version: str | None
    last_modified: datetime
    protection: dict[str, str] = field(default_factory=dict)


Pick = Callable[[Sequence[str]], str | None]
"""Which of a folder's files is to be read with the listing, if any."""


class Listed(NamedTuple):
    """The files of one folder, in order, and the bytes of the one that was picked."""

    folder: str
    """Ends in `/`."""
    files: Sequence[str]
    picked: bytes | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """One thing that storage keeps under a name: the object, a version or a snapshot of it."""

    name: str
    size_bytes: int
    is_current: bool
    """The object itself, which `stat` and `read` see."""
    is_held: bool
    """Under legal hold: nobody can delete it."""
    locked_until: datetime | None
    """Until then an immutability policy keeps it."""
    goes_in_days: int | None
    """It was deleted; so long soft delete still keeps it, and then it goes by itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Forgotten:
    """What a queue forgot of a recording, or would."""

    entries: int
    deliveries: int
    """Bodies of deliveries that spoke of nothing else, or were emptied."""
    shared: int
    """Bodies that stay a while: other recordings are in them."""
    at_work: int
    """What stays: entries that are not settled, and deferred deliveries that speak of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockDigest:
    """sha256 (hex) of the bytes [offset, offset + length) of one object."""

    offset: int
    length: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadBack:
    """One object as read back from the archive: what it really holds."""

    size_bytes: int
    sha256: str
    blocks: tuple[BlockDigest, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceFacts:
    """What the source's answer said about an object."""

    host: str
    size_bytes: int | None
    """None: the server announced no size (chunked framing)."""
    last_modified: str | None
    date: str | None
    ranged: bool
    """The server honours ranges, so that other parts can be fetched in parallel."""
    headers: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteAnswer:
    """What the source answered to a delete, redirects included, in order."""

    status: int
    host: str
    at: datetime
    hops: tuple[str, ...]
    """`HOST STATUS` for every answer; no paths, no queries."""
