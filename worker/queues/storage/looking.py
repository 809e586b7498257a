"""What the queue is asked, answered from the ledger. Changes nothing, but for `wake`.

A Storage Queue can't be looked through: what is in flight can't be told from what waits, and
counts as pending. Looks at everything go two days back and three ahead, and to all dead.
"""

from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from worker.errors import (
    ArchiveForbiddenError,
    NewerFormatError,
    QueueUnavailableError,
)
from worker.model import (
    Attempt,
    Chunk,
    ChunkKey,
    ChunkState,
    QueueCounts,
    QueuedChunk,
    RecordingKey,
)
from worker.queues.entries import entry_id
from worker.queues.merging import merged
from worker.queues.storage import messages, names, shown
from worker.queues.storage.arriving import Arriving
from worker.queues.storage.ledger import DueEntry, Ledger
from worker.queues.storage.means import HOUR, Means
from worker.queues.storage.messages import Poison
from worker.queues.storage.names import Death, DueName, Mark, NoNameError
from worker.stored import StoredFormatError

BACK = 48 * HOUR
AHEAD = 72 * HOUR
SOON = timedelta(seconds=1)
LONG = HOUR
"""Longer than any backoff: what is due then keeps nobody waiting."""
PENDING = {None, Mark.PENDING}
UNSETTLED = {*PENDING, Mark.WAITING, Mark.ARCHIVED}
MOST_PROVEN = 256
"""Chunks whose receipts are looked up at one look; more than these are work to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Looking:
    """Answers questions."""

    means: Means
    arriving: Arriving

    @property
    def _ledger(self) -> Ledger:
        return self.means.ledger

    def _window(self) -> tuple[datetime, datetime]:
        now = self.means.clock.now()
        return now - BACK, now + AHEAD

    def _came(self) -> tuple[datetime, datetime]:
        """Deliveries that are looked at: an hour ahead, for clocks differ."""
        now = self.means.clock.now()
        return now - BACK, now + HOUR

    async def next_due(self) -> datetime | None:
        """None only if no queue holds a message; what waits for its recording waits long."""
        now = self.means.clock.now()
        sizes = [await channel.size() for channel in self.means.working]
        if not any(sizes):
            return None
        if await self.first_due() is not None:
            return now
        async for _ in self._ledger.unfanned(*self._came()):
            return now + SOON
        return await self._next_deadline() or now + SOON

    async def first_due(self) -> str | None:
        """The id of a message; it keeps it for as long as it is in its queue."""
        for channel in self.means.working:
            first = await channel.first_visible()
            if first is not None:
                return first
        return None

    async def _next_deadline(self) -> datetime | None:
        """Of what only waits for its recording; None if something is at work."""
        waits: datetime | None = None
        is_over = False
        looked_up = 0
        async for entry in self._ledger.due(*self._window()):
            if not entry.is_outstanding:
                continue
            if entry.state is ChunkState.PENDING:
                looked_up += 1
                if looked_up > MOST_PROVEN or not await self._is_proven(entry):
                    return None
            if entry.at > self.means.clock.now():
                waits = waits or entry.at
            else:
                is_over = True
        return self.means.clock.now() + LONG if is_over and waits is None else waits

    async def counts(self, *, at_risk_within: timedelta) -> QueueCounts:
        tally = _Tally(before=self.means.clock.now() + at_risk_within)
        async for entry in self._ledger.due(*self._window()):
            if not entry.is_moved and entry.state is not ChunkState.DEAD:
                tally.add(await self._state(entry, tally), entry.at)
        async for part, _ in self._ledger.unfanned(*self._came()):
            tally.add(ChunkState.PENDING, part.expires_at, times=part.chunks)
        dead: Counter[str] = Counter()
        async for death in self._ledger.deaths():
            dead[death.reason] += 1
        tally.states[ChunkState.DEAD] = dead.total()
        return QueueCounts(
            by_state={state: tally.states[state] for state in ChunkState},
            dead=dict(dead),
            at_risk=tally.at_risk,
            oldest_deadline=tally.oldest,
        )

    async def _state(self, entry: DueEntry, tally: "_Tally") -> ChunkState:
        is_alarm = entry.state is ChunkState.PENDING and entry.at < tally.before
        if not is_alarm or tally.looked_up >= MOST_PROVEN:
            return entry.state
        tally.looked_up += 1
        return ChunkState.ARCHIVED if await self._is_proven(entry) else entry.state

    async def _is_proven(self, entry: DueEntry) -> bool:
        """Its bytes are safe, though nobody marked it so: others close for it, or it was cut."""
        chunk = await self._readable(entry.ref)
        return chunk is not None and await self._has_receipt(chunk)

    async def _has_receipt(self, chunk: Chunk) -> bool:
        """What may not be known counts as unproven: the public half need not see receipts."""
        try:
            return await self._ledger.is_proven(chunk)
        except QueueUnavailableError as error:
            if isinstance(error.__cause__, ArchiveForbiddenError):
                return False
            raise

    async def entries(
        self,
        *,
        state: ChunkState | None,
        limit: int,
        only: Callable[[QueuedChunk], bool] | None = None,
    ) -> Sequence[QueuedChunk]:
        found: dict[str, QueuedChunk] = {}
        for source in self._sources(state):
            taken = 0
            async for queued in source:
                if taken >= limit:
                    break
                if queued.row not in found and (only is None or only(queued)):
                    found[queued.row] = queued
                    taken += 1
        return sorted(found.values(), key=shown.by_deadline)[:limit]

    async def scan(self, *, state: ChunkState | None) -> AsyncIterator[QueuedChunk]:
        """What died counts as dead, whatever else is known of it; and is told once."""
        told: set[str] = set()
        for source in self._sources(state):
            async for queued in source:
                if queued.row not in told:
                    told.add(queued.row)
                    yield queued

    def _sources(self, state: ChunkState | None) -> list[AsyncIterator[QueuedChunk]]:
        """Where entries of this state may be: of each, those that are in it."""

        def is_wanted(queued: QueuedChunk) -> bool:
            # What is proven is archived, marked or not.
            is_open = queued.state is ChunkState.PENDING
            return state in {None, queued.state, *([ChunkState.ARCHIVED] * is_open)}

        dead, due = self._dead(), self._due(is_wanted)
        sources = {
            ChunkState.DEAD: [dead],
            ChunkState.PENDING: [due, self._unfanned()],
            ChunkState.ARCHIVED: [due],
            ChunkState.DELETED: [due],
            ChunkState.LEASED: [],
        }
        if state is None:
            return [dead, due, self._unfanned()]
        return [shown.in_state(source, state) for source in sources[state]]

    async def find(self, text: str) -> Sequence[QueuedChunk]:
        found: dict[str, QueuedChunk] = {}
        due = self._due(lambda queued: shown.is_called(queued, text))
        for source in (self._dead(), due, self._unfanned()):
            async for queued in source:
                if shown.is_called(queued, text):
                    found.setdefault(queued.row, queued)
        return sorted(found.values(), key=shown.by_deadline)

    async def attempts(self, row: str) -> Sequence[Attempt]:
        """Those that a row died of: the others are not written down."""
        found = []
        async for name in self._ledger.names(names.DEAD):
            with suppress(NoNameError):
                death, is_revived = names.parse_death(name)
                if death.row == row and not is_revived:
                    found.append(shown.attempt(await self._told(death)))
        return found

    async def settled(self, since: datetime) -> Sequence[ChunkKey]:
        """As their marks have it, by this machine's clock and others'."""
        found: list[ChunkKey] = []
        async for entry in self._ledger.due(*self._window()):
            at = entry.settled_at
            is_home = entry.state in {ChunkState.ARCHIVED, ChunkState.DELETED}
            if is_home and not entry.is_moved and at is not None and at >= since:
                chunk = await self._readable(entry.ref)
                found += [chunk.key] if chunk else []
        return found

    async def announced(self, recording: RecordingKey) -> Sequence[QueuedChunk]:
        found = await self._listed(names.recording_folder(recording))
        return sorted(found, key=shown.by_index)

    async def naming(self, document_id: str) -> Sequence[QueuedChunk]:
        """What only was acknowledged counts as well: a delete must not take it."""
        listed = await self._listed(names.document_folder(document_id))
        found = {
            queued.row: queued
            for queued in listed
            if document_id in names.documents_of(queued.chunk)
        }
        for chunk in await self.arriving.naming(document_id):
            row = entry_id(chunk)
            found.setdefault(row, shown.queued(row, chunk))
        return list(found.values())

    async def wake(self, recording: RecordingKey) -> None:
        """A message can't be called. But what others close for is settled here: it has no
        message any more that would do it.
        """
        announced: dict[str, Chunk] = {}
        seconds = set()
        async for row, ref in self._ledger.entries(names.recording_folder(recording)):
            chunk = await self._readable(ref)
            if chunk is not None:
                announced[row] = chunk
                seconds.add(names.due_name(chunk.expires_at, row=row, ref=ref).second)
        for second in seconds:
            async for entry in self._ledger.due_in(second):
                if entry.row in announced:
                    await self._settle(entry, announced[entry.row])

    async def _settle(self, entry: DueEntry, chunk: Chunk) -> None:
        """Mark what the archive says of a chunk that nobody settled, by all its names."""
        for due in entry.dues_in({Mark.MOVED}):
            await self._settle_moved(due, chunk)
        unsettled = entry.dues_in(UNSETTLED)
        if unsettled and await self._ledger.is_deleted(chunk):
            for due in unsettled:
                await self._ledger.mark(due, Mark.DELETED)
            return
        pending = entry.dues_in(PENDING)
        if pending and await self._ledger.is_proven(chunk):
            for due in pending:
                await self._ledger.mark(due, Mark.ARCHIVED)

    async def _settle_moved(self, due: DueName, chunk: Chunk) -> None:
        """The same where a deadline was learnt meanwhile; the receipt knows which."""
        receipt = await self._ledger.proof(chunk)
        at = None if receipt is None else names.whole_second(receipt.expires_at)
        if at is None or at >= due.at:
            return
        async for entry in self._ledger.due_in(str(replace(due, at=at))):
            await self._settle(entry, chunk)

    async def _listed(self, folder: str) -> list[QueuedChunk]:
        """What a folder's names lead to, all announcements of a row as one."""
        chunks: dict[str, Chunk] = {}
        async for row, ref in self._ledger.entries(folder):
            chunk = await self._chunk(ref)
            if chunk is not None:
                chunks[row] = merged(chunks.get(row, chunk), chunk)
        dead: dict[str, Death] = {}
        for recording in {chunk.recording for chunk in chunks.values()}:
            async for death in self._ledger.deaths(recording):
                dead[death.row] = death
        found = []
        for row, chunk in chunks.items():
            poison = await self._told(dead[row]) if row in dead else None
            found.append(shown.queued(row, chunk, poison))
        return found

    async def _dead(self) -> AsyncIterator[QueuedChunk]:
        async for death in self._ledger.deaths():
            poison = await self._told(death)
            chunk = await self._readable(poison.ref) if poison.ref else None
            yield shown.queued(death.row, chunk or shown.outline(death, poison), poison)

    async def _due(
        self, is_wanted: Callable[[QueuedChunk], bool]
    ) -> AsyncIterator[QueuedChunk]:
        """What is proven counts as archived, marked or not: as `counts` has it."""
        looked_up = 0
        async for entry in self._ledger.due(*self._window()):
            if entry.is_moved or entry.state is ChunkState.DEAD:
                continue
            chunk = await self._readable(entry.ref)
            if chunk is None:
                continue
            chunk = replace(chunk, expires_at=entry.expires_at(chunk))
            queued = replace(
                shown.queued(entry.row, chunk),
                state=entry.state,
                settled_at=entry.settled_at,
            )
            if not is_wanted(queued):
                continue
            if queued.state is ChunkState.PENDING and looked_up < MOST_PROVEN:
                looked_up += 1
                if await self._has_receipt(chunk):
                    queued = replace(queued, state=ChunkState.ARCHIVED)
            yield queued

    async def _unfanned(self) -> AsyncIterator[QueuedChunk]:
        async for name, _ in self._ledger.unfanned(*self._came()):
            with suppress(StoredFormatError, NewerFormatError):
                part = await self._ledger.parts.part(name)
                for _, chunk in part.refs() if part else ():
                    yield shown.queued(entry_id(chunk), chunk)

    async def _readable(self, ref: str) -> Chunk | None:
        """What can be shown."""
        with suppress(NewerFormatError):
            return await self._chunk(ref)
        return None

    async def _chunk(self, ref: str) -> Chunk | None:
        """None for what is no more. Raises NewerFormatError: better not to judge by less."""
        with suppress(StoredFormatError, NoNameError):
            return await self._ledger.parts.chunk(names.parse_ref(ref))
        return None

    async def _told(self, death: Death) -> Poison:
        """What is known of a death; its name says the least of it."""
        data = await self._ledger.read(death.document)
        with suppress(StoredFormatError):
            return messages.decode_poison(data or b"")
        now = self.means.clock.now()
        return Poison(reason=death.reason, error="", worker="", at=now, attempts=0)


@dataclass(slots=True, kw_only=True)
class _Tally:
    """The numbers as they add up. `before`: what expires by then is at risk."""

    before: datetime
    states: Counter[ChunkState] = field(default_factory=Counter)
    at_risk: int = 0
    looked_up: int = 0
    oldest: datetime | None = None

    def add(self, state: ChunkState, expires_at: datetime, *, times: int = 1) -> None:
        self.states[state] += times
        if state is ChunkState.PENDING:
            self.at_risk += times if expires_at < self.before else 0
            self.oldest = min(self.oldest or expires_at, expires_at)
