"""A queue in memory, held to the same contract as the real one."""

import itertools
import secrets
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from random import Random

from worker import names
from worker.errors import LeaseLostError, QueueUnavailableError
from worker.model import (
    Attempt,
    Chunk,
    ChunkKey,
    ChunkState,
    Delivery,
    Forgotten,
    HeldUp,
    Lane,
    Lease,
    LeaseToken,
    Pruned,
    PutResult,
    QueueCounts,
    QueuedChunk,
    RecordingKey,
    Redriven,
)
from worker.ports import Clock
from worker.queues.entries import bounded, entry_id, lapse_delay, resource_of
from worker.queues.merging import merged


@dataclass(slots=True, kw_only=True)
class _Entry:
    """One chunk in the queue; `leased_from` and `leased_by` count while it is leased."""

    row: str
    order: int
    chunk: Chunk
    enqueued_at: datetime
    not_before: datetime
    state: ChunkState = ChunkState.PENDING
    attempts: int = 0
    lease: Lease | None = None
    leased_from: ChunkState = ChunkState.PENDING
    leased_by: str | None = None
    woken: bool = False
    reason: str | None = None
    error: str | None = None
    note: str | None = None
    settled_at: datetime | None = None

    @property
    def is_alive(self) -> bool:
        """Its bytes are not safe yet, and it is not given up."""
        is_leased = self.lease is not None
        return (self.leased_from if is_leased else self.state) is ChunkState.PENDING

    @property
    def order_key(self) -> tuple[datetime, int]:
        return self.chunk.expires_at, self.order

    def end_lease(self, state: ChunkState) -> None:
        self.state = state
        self.lease = None


@dataclass(slots=True)
class MemoryQueue:
    """Satisfies ports.ChunkQueue and ports.QueueListing.

    `trouble`: while set, every call raises QueueUnavailableError with this text.
    `keeps_waiting`: False lets chunks go whose siblings will close their recording.
    `held`: what it says of chunks that wait alike; None: it can't tell.
    """

    clock: Clock
    worker: str = "memory"
    lease_seconds: float = 60
    random: Random = field(default_factory=lambda: Random(0))  # noqa: S311 - jitter
    trouble: str | None = None
    keeps_waiting: bool = True
    held: tuple[HeldUp, ...] | None = ()
    deliveries: list[Delivery] = field(default_factory=list)
    _entries: dict[str, _Entry] = field(default_factory=dict)
    _history: dict[str, list[Attempt]] = field(default_factory=dict)
    _order: "itertools.count[int]" = field(default_factory=itertools.count)

    async def round_trip(self) -> bool:
        self._check()
        return True

    async def put(self, delivery: Delivery) -> PutResult:
        self._check()
        if delivery.body not in [known.body for known in self.deliveries]:
            self.deliveries.append(delivery)
        chunks: dict[str, Chunk] = {}
        for chunk in delivery.chunks:
            row = entry_id(chunk)
            chunks[row] = merged(chunks.get(row, chunk), chunk)
        known = {chunk.key for row, chunk in chunks.items() if row in self._entries}
        enqueued = sum(self._enqueue(row, chunk) for row, chunk in chunks.items())
        return PutResult(
            enqueued=enqueued,
            duplicates=len(chunks) - enqueued,
            known=frozenset(known),
        )

    def _enqueue(self, row: str, chunk: Chunk) -> bool:
        known = self._entries.get(row)
        if known is not None and known.settled_at is None:
            before, known.chunk = known.chunk, merged(known.chunk, chunk)
            if replace(known.chunk, expires_at=before.expires_at) != before:
                self._wake(known.chunk.recording)
            return False
        now = self.clock.now()
        order = known.order if known else next(self._order)
        self._entries[row] = _Entry(
            row=row, order=order, chunk=chunk, enqueued_at=now, not_before=now
        )
        return True

    async def lease(
        self,
        count: int,
        *,
        paused: Collection[str] = (),
        lane: Lane = Lane.DEADLINE,
    ) -> Sequence[Lease]:
        self._check()
        self._reclaim()
        due = [
            entry
            for entry in self._entries.values()
            if _waits(entry)
            and entry.not_before <= self.clock.now()
            and resource_of(entry.chunk) not in paused
            and (lane is not Lane.UNTRIED or entry.attempts == 0)
        ]
        due.sort(key=lambda entry: entry.order_key, reverse=lane is Lane.NEWEST)
        return [self._lease(entry) for entry in due[:count]]

    def _lease(self, entry: _Entry) -> Lease:
        now = self.clock.now()
        entry.attempts += 1
        entry.leased_from, entry.state = entry.state, ChunkState.LEASED
        entry.leased_by = self.worker
        entry.woken = False
        entry.lease = Lease(
            chunk=entry.chunk,
            row=entry.row,
            token=LeaseToken(secrets.token_hex(16)),
            attempts=entry.attempts,
            leased_until=now + timedelta(seconds=self.lease_seconds),
            enqueued_at=entry.enqueued_at,
        )
        attempt = Attempt(
            number=entry.attempts,
            worker=self.worker,
            started_at=now,
            ended_at=None,
            outcome=None,
            reason=None,
            error=None,
        )
        self._history.setdefault(entry.row, []).append(attempt)
        return entry.lease

    def _reclaim(self) -> None:
        now = self.clock.now()
        for entry in self._entries.values():
            if entry.lease is not None and entry.lease.leased_until <= now:
                entry.end_lease(entry.leased_from)
                entry.not_before = now + lapse_delay(entry.attempts, self.random)
                self._end_attempt(entry, "lapsed")

    async def extend(self, lease: Lease) -> Lease:
        entry = self._held(lease)
        until = self.clock.now() + timedelta(seconds=self.lease_seconds)
        entry.lease = replace(lease, leased_until=until)
        return entry.lease

    async def complete(self, lease: Lease, state: ChunkState, *, note: str) -> None:
        if state not in {ChunkState.ARCHIVED, ChunkState.DELETED}:
            raise ValueError(f"a chunk can't be completed as {state!r}")
        entry = self._held(lease)
        entry.end_lease(state)
        entry.settled_at = self.clock.now()
        entry.reason, entry.error, entry.note = None, None, bounded(note)
        self._end_attempt(entry, state.value, reason=note)

    async def reschedule(
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
        entry = self._held(lease)
        earliest = min(entry.chunk.expires_at, expires_at or entry.chunk.expires_at)
        entry.chunk = replace(entry.chunk, expires_at=earliest)
        entry.end_lease(ChunkState.ARCHIVED if archived else ChunkState.PENDING)
        woken = archived and entry.woken
        entry.not_before = self.clock.now() if woken else not_before
        if archived and others_close and not self.keeps_waiting:
            entry.settled_at = self.clock.now()
        entry.reason, entry.error = bounded(reason), bounded(error)
        self._end_attempt(entry, "rescheduled", reason=reason, error=error)

    async def dead_letter(self, lease: Lease, *, reason: str, error: str) -> None:
        entry = self._held(lease)
        entry.end_lease(ChunkState.DEAD)
        entry.settled_at = self.clock.now()
        entry.reason, entry.error = bounded(reason), bounded(error)
        self._end_attempt(entry, "dead", reason=reason, error=error)

    async def release(
        self,
        lease: Lease,
        *,
        not_before: datetime | None = None,
        reason: str | None = None,
        error: str | None = None,
    ) -> None:
        entry = self._held(lease)
        entry.end_lease(entry.leased_from)
        entry.attempts -= 1
        entry.not_before = not_before or self.clock.now()
        if reason is not None:
            entry.reason, entry.error = bounded(reason), bounded(error or "")
        self._end_attempt(entry, "released", reason=reason, error=error)

    async def announced(self, recording: RecordingKey) -> Sequence[QueuedChunk]:
        self._check()
        found = [e for e in self._entries.values() if e.chunk.recording == recording]
        found.sort(key=lambda entry: (entry.chunk.index, entry.order))
        return [_queued(entry) for entry in found]

    async def naming(self, document_id: str) -> Sequence[QueuedChunk]:
        self._check()
        found = [
            entry
            for entry in self._entries.values()
            if document_id == entry.chunk.document_id
            or names.belongs(entry.chunk.content_location, document_id)
        ]
        return [_queued(entry) for entry in sorted(found, key=lambda e: e.order)]

    async def wake(self, recording: RecordingKey) -> None:
        self._check()
        self._wake(recording)

    def _wake(self, recording: RecordingKey) -> None:
        now = self.clock.now()
        for entry in self._entries.values():
            if entry.chunk.recording != recording:
                continue
            entry.woken = entry.lease is not None
            if entry.state is ChunkState.ARCHIVED and _waits(entry):
                entry.not_before = min(entry.not_before, now)

    async def next_due(self, *, paused: Collection[str] = ()) -> datetime | None:
        self._check()
        times = [
            entry.lease.leased_until if entry.lease else entry.not_before
            for entry in self._entries.values()
            if entry.settled_at is None and resource_of(entry.chunk) not in paused
        ]
        return min(times, default=None)

    async def first_due(self, *, paused: Collection[str] = ()) -> str | None:
        self._check()
        due = [
            (entry.lease.leased_until if entry.lease else entry.not_before, entry.row)
            for entry in self._entries.values()
            if entry.settled_at is None and resource_of(entry.chunk) not in paused
        ]
        first = min(due, default=None)
        return first[1] if first and first[0] <= self.clock.now() else None

    async def counts(self, *, at_risk_within: timedelta) -> QueueCounts:
        self._check()
        entries = list(self._entries.values())
        states = Counter(entry.state for entry in entries)
        dead = [entry for entry in entries if entry.state is ChunkState.DEAD]
        deadlines = [entry.chunk.expires_at for entry in entries if entry.is_alive]
        before = self.clock.now() + at_risk_within
        return QueueCounts(
            by_state={state: states[state] for state in ChunkState},
            dead=dict(Counter(entry.reason or "" for entry in dead)),
            at_risk=sum(deadline < before for deadline in deadlines),
            oldest_deadline=min(deadlines, default=None),
        )

    async def ready(self) -> None:
        self._check()

    async def list(
        self,
        *,
        state: ChunkState | None = None,
        limit: int = 1000,
        only: Callable[[QueuedChunk], bool] | None = None,
    ) -> Sequence[QueuedChunk]:
        found = [
            queued
            async for queued in self.scan(state=state)
            if only is None or only(queued)
        ]
        return found[:limit]

    async def scan(
        self, *, state: ChunkState | None = None
    ) -> AsyncIterator[QueuedChunk]:
        self._check()
        found = [e for e in self._entries.values() if state in {None, e.state}]
        found.sort(key=lambda entry: entry.order_key)
        for entry in found:
            yield _queued(entry)

    async def find(self, text: str) -> Sequence[QueuedChunk]:
        self._check()
        found = [e for e in self._entries.values() if _is_called(e, text)]
        found.sort(key=lambda entry: entry.order_key)
        return [_queued(entry) for entry in found]

    async def attempts(self, row: str) -> Sequence[Attempt]:
        self._check()
        return list(self._history.get(row, ()))

    async def held_up(self) -> Sequence[HeldUp] | None:
        self._check()
        return self.held

    async def settled(self, *, since: datetime) -> Sequence[ChunkKey]:
        self._check()
        done = {ChunkState.ARCHIVED, ChunkState.DELETED}
        return [
            entry.chunk.key
            for entry in self._entries.values()
            if entry.state in done and entry.settled_at and entry.settled_at >= since
        ]

    async def redrive(self, entry: QueuedChunk) -> Redriven:
        self._check()
        known = self._entries.get(entry.row)
        if known is None or known.state is not ChunkState.DEAD:
            return Redriven.NOT_DEAD
        known.state, known.attempts = ChunkState.PENDING, 0
        known.not_before, known.settled_at = self.clock.now(), None
        known.reason, known.error, known.note = None, None, None
        return Redriven.REDRIVEN

    async def tidy(self) -> int:
        self._check()
        return 0

    async def prune(self, *, before: datetime, dead: bool, dry_run: bool) -> Pruned:
        self._check()
        at_work = {
            entry.chunk.recording
            for entry in self._entries.values()
            if entry.settled_at is None
        }
        old = [
            entry
            for entry in self._entries.values()
            if entry.settled_at is not None
            and max(entry.settled_at, entry.chunk.expires_at) < before
            and (dead or entry.state is not ChunkState.DEAD)
            and entry.chunk.recording not in at_work
        ]
        left = {row: e for row, e in self._entries.items() if e not in old}
        known = {entry_id(chunk) for entry in left.values() for chunk in [entry.chunk]}
        bodies = [
            delivery
            for delivery in self.deliveries
            if delivery.received_at < before
            and known.isdisjoint(map(entry_id, delivery.chunks))
        ]
        if not dry_run:
            self._entries = left
            self._history = {r: a for r, a in self._history.items() if r in left}
            self.deliveries = [d for d in self.deliveries if d not in bodies]
        return Pruned(entries=len(old), deliveries=len(bodies))

    async def give_back(self, entry: QueuedChunk) -> bool:
        self._check()
        known = self._entries[entry.row]
        if known.lease is None or known.leased_by != entry.leased_by:
            return False
        await self.release(known.lease)
        return True

    async def forget(
        self, recording: RecordingKey, documents: Collection[str], *, dry_run: bool
    ) -> Forgotten:
        self._check()
        its = [e for e in self._entries.values() if e.chunk.recording == recording]
        settled = [entry for entry in its if entry.settled_at is not None]
        known = {entry.chunk.document_id for entry in its} | set(documents)
        bodies = [
            delivery
            for delivery in self.deliveries
            if any(document.encode() in delivery.body for document in known)
        ]
        if not dry_run:
            for entry in settled:
                del self._entries[entry.row]
                self._history.pop(entry.row, None)
            for delivery in bodies:
                self.deliveries.remove(delivery)
        return Forgotten(
            entries=len(settled),
            deliveries=len(bodies),
            shared=0,
            at_work=len(its) - len(settled),
        )

    def _check(self) -> None:
        if self.trouble is not None:
            raise QueueUnavailableError(self.trouble)

    def _held(self, lease: Lease) -> _Entry:
        self._check()
        entry = self._entries.get(lease.row)
        held = entry.lease if entry is not None else None
        if entry is None or held is None or held.token != lease.token:
            raise LeaseLostError(f"the lease on {lease.row!r} belongs to another")
        return entry

    def _end_attempt(
        self,
        entry: _Entry,
        outcome: str,
        *,
        reason: str | None = None,
        error: str | None = None,
    ) -> None:
        history = self._history[entry.row]
        history[-1] = replace(
            history[-1],
            ended_at=self.clock.now(),
            outcome=outcome,
            reason=None if reason is None else bounded(reason),
            error=None if error is None else bounded(error),
        )


def _waits(entry: _Entry) -> bool:
    return entry.lease is None and entry.settled_at is None


def _is_called(entry: _Entry, text: str) -> bool:
    chunk, announcement = entry.chunk, entry.chunk.announcement
    ids = (entry.row, chunk.key, chunk.document_id)
    more = (announcement.call_id, announcement.recording_id, chunk.recording)
    return any(name is not None and name.startswith(text) for name in (*ids, *more))


def _queued(entry: _Entry) -> QueuedChunk:
    lease = entry.lease
    return QueuedChunk(
        row=entry.row,
        chunk=entry.chunk,
        state=entry.state,
        attempts=entry.attempts,
        not_before=entry.not_before,
        leased_until=lease.leased_until if lease else None,
        leased_by=entry.leased_by if lease else None,
        reason=entry.reason,
        error=entry.error,
        enqueued_at=entry.enqueued_at,
        settled_at=entry.settled_at,
    )
