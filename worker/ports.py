"""What the engine needs from the world. Adapters and fakes are held to these contracts.

Ports speak domain only: no SDK type and no SDK exception crosses them.
"""

from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Callable,
    Collection,
    Mapping,
    Sequence,
)
from contextlib import AbstractAsyncContextManager
from datetime import datetime, timedelta
from typing import Protocol

from worker.model import (
    Attempt,
    BlockDigest,
    ChunkKey,
    ChunkState,
    DeleteAnswer,
    Delivery,
    Lane,
    Lease,
    Pruned,
    PutResult,
    QueueCounts,
    QueuedChunk,
    ReadBack,
    RecordingKey,
    Redriven,
    SourceFacts,
    Stored,
)
from worker.stored import Notice, Receipt


class Clock(Protocol):
    """Time as a dependency: a simulation runs the engine on virtual time."""

    def now(self) -> datetime:
        """The wall clock, aware, UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds that only grow; for durations."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        ...


class ChunkQueue(Protocol):
    """Chunks to bring home, by earliest `expires_at`.

    An entry is known by a hash of documentId, its three locations, the ACS resource, and what
    decides its name in the archive: whatever else is said again is a duplicate. Every write
    is durable when it returns. Trouble of the queue itself is `QueueUnavailableError`.
    """

    @property
    def keeps_waiting(self) -> bool:
        """Whether a chunk that waits stays here while siblings are at work (`others_close`).

        If not, whoever closes the recording does it for all that left.
        """
        ...

    async def put(self, delivery: Delivery) -> PutResult:
        """Store the delivery's body and all its chunks, durably: all or none.

        A chunk whose entry is pending, leased or waiting as archived is a duplicate; one whose
        entry is dead or done becomes pending again with attempts at 0.

        A duplicate makes its entry more urgent, never less. If it says more of the same
        recording (an end, siblings, a duration) the entry learns that and forgets nothing, and
        the recording's waiting chunks wake: with what they know now it may be complete.
        """
        ...

    async def lease(
        self,
        count: int,
        *,
        paused: Collection[str] = (),
        lane: Lane = Lane.DEADLINE,
    ) -> Sequence[Lease]:
        """Lease up to `count` due chunks, in the order of `lane`.

        DEADLINE is the rule. UNTRIED keeps a backlog of failing chunks, whose deadlines are
        the earliest, from holding every slot: whoever keeps some slots for it still brings
        home what was just announced. NEWEST lets a half-open probe be another chunk than the
        one that failed before, so that one bad chunk can't keep a credential paused.

        Chunks of the ACS resources in `paused` ('' means: no resource named) stay. Lapsed
        leases are reclaimed on the way: as they were, behind a delay that grows with the
        attempts, so that a chunk that crashes its worker can't starve the others.
        The attempt is counted before it runs.
        """
        ...

    async def extend(self, lease: Lease) -> Lease:
        """Renew the lease. Raises LeaseLostError, changing nothing, if the token is stale."""
        ...

    async def complete(self, lease: Lease, state: ChunkState, *, note: str) -> None:
        """End the lease for good: `state` is ARCHIVED or DELETED, `note` says more.

        Raises LeaseLostError, changing nothing, if the token is stale; so do the other three.
        """
        ...

    async def reschedule(  # noqa: PLR0913 - all that a queue may need to know
        self,
        lease: Lease,
        *,
        not_before: datetime,
        reason: str,
        error: str,
        archived: bool = False,
        others_close: bool = False,
        expires_at: datetime | None = None,
    ) -> None:
        """End the lease; the chunk is due again at `not_before`.

        `archived`: its bytes are safe and it waits for its siblings or its delete.
        `others_close`: siblings at work will look at the recording when they end, so that a
        queue that can't wake this chunk need not keep it.
        `expires_at`: a deadline learnt meanwhile; kept if it is earlier than the known one.
        """
        ...

    async def dead_letter(self, lease: Lease, *, reason: str, error: str) -> None:
        """Park the chunk where an operator sees it."""
        ...

    async def release(
        self,
        lease: Lease,
        *,
        not_before: datetime | None = None,
        reason: str | None = None,
        error: str | None = None,
    ) -> None:
        """Give the chunk back, the attempt unspent; some queues keep the reason."""
        ...

    async def announced(self, recording: RecordingKey) -> Sequence[QueuedChunk]:
        """Every chunk that any delivery announced for this recording.

        Chunks that were announced alike may share one tuple of siblings.
        """
        ...

    async def naming(self, document_id: str) -> Sequence[QueuedChunk]:
        """Every chunk, of any recording, that names this document: by its id, or by the
        content location. A delete at the source would take all of them.
        """
        ...

    async def wake(self, recording: RecordingKey) -> None:
        """Make the recording's waiting archived chunks due now. A hint: may do nothing.

        One that is leased now, and is about to wait, is due again as soon as it does.
        """
        ...

    async def next_due(self, *, paused: Collection[str] = ()) -> datetime | None:
        """When the next chunk can be leased; None if nothing is pending, leased or waiting."""
        ...

    async def first_due(self, *, paused: Collection[str] = ()) -> str | None:
        """A name for what could be leased now, and could for longest; None if nothing could.

        It is the same for as long as that waits, and nobody leases it.
        """
        ...

    async def counts(self, *, at_risk_within: timedelta) -> QueueCounts:
        """Count by state; `at_risk`: alive, not archived, and less than this time left."""
        ...

    async def ready(self) -> None:
        """Prove that a delivery could be stored now, or raise QueueUnavailableError."""
        ...


class QueueListing(Protocol):
    """What an operator asks of a queue."""

    async def list(
        self,
        *,
        state: ChunkState | None = None,
        limit: int = 1000,
        only: Callable[[QueuedChunk], bool] | None = None,
    ) -> Sequence[QueuedChunk]:
        """Entries by `expires_at`, of those that `only` says yes to."""
        ...

    def scan(self, *, state: ChunkState | None = None) -> AsyncIterator[QueuedChunk]:
        """All entries, without holding them all, in an order of the queue's own.

        What changes meanwhile is told as it was or as it is, and never twice.
        """
        ...

    async def find(self, text: str) -> Sequence[QueuedChunk]:
        """Entries one of whose ids is or starts with `text`: row, key, documentId, call, and the
        recording by its id or its key, which is what tables show.
        """
        ...

    async def attempts(self, row: str) -> Sequence[Attempt]:
        """All attempts at one entry, oldest first."""
        ...

    async def settled(self, *, since: datetime) -> Sequence[ChunkKey]:
        """Who ended archived or deleted since then: some minutes, for a rate."""
        ...


class QueueMending(Protocol):
    """What an operator does to a queue; each may be done again, also after a kill."""

    async def redrive(self, entry: QueuedChunk) -> Redriven:
        """Have a dead entry pending again, due now, attempts at 0; its attempts are kept."""
        ...

    async def give_back(self, entry: QueuedChunk) -> bool:
        """Have an entry that a worker holds due now, as it was before; whether one held it.

        Whoever holds it all the same loses the lease, or does the same beside the next. A
        queue that knows who that is leaves it to another who leased it since it was listed.
        """
        ...

    async def tidy(self) -> int:
        """Have what is dead no more out of the sight of whoever watches for the dead."""
        ...

    async def prune(self, *, before: datetime, dead: bool, dry_run: bool) -> Pruned:
        """Forget what expired and was settled before then, with what was received of it.

        Of the dead only if `dead` says so; never what is at work, nor a recording that has a
        chunk at work. What is home is known by its receipt as before.
        """
        ...


class BlockWriter(Protocol):
    """One object on its way into the archive; invisible until `commit`.

    Blocks come in any order, each offset once more at most (a retry writes the same bytes).
    """

    @property
    def block_bytes(self) -> int:
        """Blocks start at multiples of this and are this long, but for the last."""
        ...

    async def held(self, origin: str) -> Sequence[BlockDigest]:
        """Blocks that an earlier writer of this name left behind, by offset; they count as
        written and need not be fetched again.

        `origin` says what the source has now (size, Last-Modified): blocks of another origin
        are none of this object's. Called once at most, before the first `write`.
        """
        ...

    async def write(self, offset: int, block: bytearray | memoryview | bytes) -> str:
        """Take one block; returns its sha256 (hex). The buffer is free again on return."""
        ...

    async def commit(self, *, size: int) -> Stored:
        """Make the object visible, durably, create-only.

        Raises AlreadyExistsError if the name is taken (nothing is overwritten, not even in
        a race) and IntegrityError if the blocks don't make up `size` bytes.
        """
        ...


class Archive(Protocol):
    """A write-once store of objects by name (`a/b/c.ext`). Nothing is overwritten or renamed.

    Errors: ArchiveUnavailableError, ArchiveFullError, ArchiveForbiddenError.
    """

    def writer(self, name: str) -> AbstractAsyncContextManager[BlockWriter]:
        """Open a block writer; what is left without commit is no object.

        An archive that can keeps its blocks for the next writer of the name (`held`).
        """
        ...

    async def create(self, name: str, data: bytes) -> Stored:
        """Store a small object, durably; AlreadyExistsError if the name is taken."""
        ...

    async def read(self, name: str) -> bytes | None:
        """Return a small object, or None if there is none."""
        ...

    async def read_range(self, name: str, offset: int, length: int) -> bytes:
        """Return bytes [offset, offset + length), fewer at the end."""
        ...

    async def read_back(self, name: str, *, block_bytes: int) -> ReadBack:
        """Read the whole object as stored, past any cache of ours, and hash it."""
        ...

    async def stat(self, name: str) -> Stored | None:
        """Return what is stored under the name, or None."""
        ...

    def list(self, prefix: str) -> AsyncIterator[str]:
        """Names that start with `prefix`, in order, without holding them all."""
        ...

    def unmet(self, protection: Mapping[str, str]) -> Sequence[str]:
        """Which protections this archive was asked for that `protection` lacks.

        `protection` is what an object has, as read back (Stored.protection). What lacks one
        is never deleted at the source.
        """
        ...

    async def seal(self, name: str) -> None:
        """Do what waits until the object is proven, as a tier that can't be read from.

        May be done again at any time.
        """
        ...

    async def ready(self) -> None:
        """Prove that the archive can be reached, or raise one of its errors."""
        ...


class OpenedObject(Protocol):
    """One object at the source, opened by its first answer."""

    @property
    def facts(self) -> SourceFacts: ...

    def first(self) -> AsyncGenerator[bytes, None]:
        """The body of the first answer: the first range, or all of it. Once only.

        May end early (a cut body raises TruncatedError); go on with `read`. Read it to its
        end or leave the context: until then it holds a connection. Close the generator.
        """
        ...

    def read(self, offset: int, length: int) -> AsyncGenerator[bytes, None]:
        """Yield bytes [offset, offset + length), from a fresh signed request.

        Yields never more than asked for. Raises TruncatedError after yielding what came if
        the body is cut, SourceAnswerError or SourceChangedError if the answer can't be a
        part of what was opened.
        """
        ...


class Source(Protocol):
    """Where chunks come from. Errors: see worker/errors.py, `Source…`, Throttled, Truncated.

    `resource` is the ACS resource of the event (Announcement.resource): it picks the key.
    Locations off the allow-list raise HostNotAllowedError before any byte is sent.
    """

    def open(
        self, location: str, *, resource: str | None, first_bytes: int
    ) -> AbstractAsyncContextManager[OpenedObject]:
        """Ask for the first `first_bytes` bytes and learn size and abilities."""
        ...

    async def delete(self, location: str, *, proof: Receipt) -> DeleteAnswer:
        """Delete the chunk that `proof` proves. Already gone (404) is an answer, not an error."""
        ...

    def check(self, location: str) -> None:
        """Raise HostNotAllowedError unless credentials may be sent to this location."""
        ...


class Topic(Protocol):
    """Where others hear of what happened here."""

    async def publish(self, notices: Sequence[Notice]) -> None:
        """Publish all of them, durably at the far side, or raise.

        TopicUnavailableError: try again later. NoticeRefusedError: one of them at least is
        not taken; which one shows when they are published apart.
        """
        ...
