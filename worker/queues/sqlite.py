"""The queue in one SQLite file, which several processes may share.

Writes go through one thread and are committed in groups; reads have a connection and a
thread of their own, and see what is committed.
"""

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncGenerator, Callable, Collection, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from random import Random
from types import TracebackType
from typing import Self, TypeVar

from worker.errors import MalformedEventError, QueueUnavailableError
from worker.model import (
    Attempt,
    ChunkKey,
    ChunkState,
    Deferred,
    Delivery,
    Forgotten,
    HeldUp,
    Lane,
    Lease,
    Pruned,
    PutResult,
    QueueCounts,
    QueuedChunk,
    RecordingKey,
    Redriven,
    Taken,
)
from worker.ports import Clock
from worker.queues import (
    connection,
    deferring,
    forgetting,
    leases,
    pruning,
    puts,
    reads,
)
from worker.queues.connection import DatabaseThread, OpenedFile
from worker.queues.entries import bounded
from worker.queues.group_commit import GroupCommit, unless_cancelled
from worker.queues.leases import Ending, Leased, LeaseRequest
from worker.tracebacks import message_of

T = TypeVar("T")
NO_OLDER = timedelta(minutes=1)
"""Others write there too, and their clocks may be late."""


class SqliteQueue:
    """Satisfies ports.ChunkQueue, QueueListing and QueueMending, and abilities.Deferring.

    An async context manager. `create=False` opens what exists and raises
    QueueUnavailableError if nothing does.
    """

    keeps_waiting = True

    def __init__(
        self,
        path: Path,
        *,
        clock: Clock,
        worker: str,
        random: Random,
        lease_seconds: float = 60,
        create: bool = True,
    ) -> None:
        self._path = path
        self._clock = clock
        self._worker = worker
        self._random = random
        self._lease_time = timedelta(seconds=lease_seconds)
        self._long_one = asyncio.Lock()
        self._stack = contextlib.AsyncExitStack()
        file = OpenedFile(path, lambda: connection.open_writer(path, create=create))
        self._commits = GroupCommit(path, file.open, check_file=file.check)
        self._reads = DatabaseThread(path, lambda: connection.open_reader(path))

    async def __aenter__(self) -> Self:
        async with contextlib.AsyncExitStack() as undo:
            await self._commits.open()
            undo.push_async_callback(self._commits.close)
            await self._reads.open()
            undo.push_async_callback(self._reads.close)
            self._stack = undo.pop_all()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._stack.aclose()

    async def put(self, delivery: Delivery) -> PutResult:
        """Also raises MalformedEventError, for text that no file can hold."""
        try:
            return await self._write(await self._prepared(delivery))
        except (ValueError, OverflowError) as error:
            raise MalformedEventError(
                f"it can't be stored: {message_of(error)}"
            ) from error

    async def _prepared(self, delivery: Delivery) -> puts.Put:
        now = self._clock.now()
        if len(delivery.chunks) <= puts.CHUNKS_PER_TURN:
            return puts.prepare(delivery, now=now)
        # One long delivery at a time, so that what is short waits for a turn of one alone.
        async with self._long_one:
            return await puts.prepare_in_turns(delivery, now=now)

    async def defer(self, delivery: Deferred) -> None:
        await self._write(lambda db: deferring.keep(db, delivery))

    async def take_deferred(
        self,
        *,
        most: int,
        most_bytes: int,
        hide_seconds: float,
        behind: int = 0,
        up_to: int | None = None,
    ) -> Taken:
        now = self._clock.now()
        asked = deferring.Asked(
            now=now,
            until=now + timedelta(seconds=hide_seconds),
            most=most,
            most_bytes=most_bytes,
            behind=behind,
            up_to=up_to,
        )
        work = self._commits.submit(lambda db: deferring.take(db, asked))
        return await unless_cancelled(
            work,
            lambda taken: self.give_back_deferred([one.id for one in taken.deliveries]),
        )

    async def give_back_deferred(
        self, ids: Collection[int], *, hide_seconds: float = 0
    ) -> None:
        until = self._clock.now() + timedelta(seconds=hide_seconds)
        await self._write(lambda db: deferring.give_back(db, ids, until=until))

    async def drop_deferred(self, ids: Collection[int]) -> None:
        await self._write(lambda db: deferring.drop(db, ids))

    async def lease(
        self,
        count: int,
        *,
        paused: Collection[str] = (),
        lane: Lane = Lane.DEADLINE,
    ) -> Sequence[Lease]:
        work = self._commits.submit(lambda db: self._lease_now(db, count, paused, lane))
        leased = await unless_cancelled(
            work, lambda leased: self._release_all(leased.leases)
        )
        leases.tell(leased)
        return leased.leases

    def _lease_now(
        self, db: sqlite3.Connection, count: int, paused: Collection[str], lane: Lane
    ) -> Leased:
        now = self._clock.now()
        request = LeaseRequest(
            count=count,
            paused=paused,
            lane=lane,
            worker=self._worker,
            now=now,
            until=now + self._lease_time,
            random=self._random,
        )
        return leases.lease_due(db, request)

    async def extend(self, lease: Lease) -> Lease:
        return await self._write(
            lambda db: leases.extend(db, lease, self._clock.now() + self._lease_time)
        )

    async def complete(self, lease: Lease, state: ChunkState, *, note: str) -> None:
        if state not in {ChunkState.ARCHIVED, ChunkState.DELETED}:
            raise ValueError(f"a chunk can't be completed as {state!r}")
        ending = Ending(state=state, outcome=state.value, note=bounded(note))
        await self._settle(lease, ending)

    async def reschedule(  # noqa: PLR0913 - all that a queue may need to know
        self,
        lease: Lease,
        *,
        not_before: datetime,
        reason: str,
        error: str,
        archived: bool = False,
        others_close: bool = False,  # noqa: ARG002 - this queue wakes those who wait
        expires_at: datetime | None = None,
    ) -> None:
        ending = Ending(
            state=ChunkState.ARCHIVED if archived else ChunkState.PENDING,
            outcome="rescheduled",
            not_before=not_before,
            expires_at=expires_at,
            reason=bounded(reason),
            error=bounded(error),
        )
        await self._settle(lease, ending)

    async def dead_letter(self, lease: Lease, *, reason: str, error: str) -> None:
        ending = Ending(
            state=ChunkState.DEAD,
            outcome="dead",
            reason=bounded(reason),
            error=bounded(error),
        )
        await self._settle(lease, ending)

    async def _settle(self, lease: Lease, ending: Ending) -> None:
        await self._write(
            lambda db: leases.settle(db, lease, ending, self._clock.now())
        )

    async def release(
        self,
        lease: Lease,
        *,
        not_before: datetime | None = None,
        reason: str | None = None,
        error: str | None = None,
    ) -> None:
        why = (reason and bounded(reason), error and bounded(error))
        await self._release_all([lease], not_before=not_before, why=why)

    async def _release_all(
        self,
        held: Sequence[Lease],
        *,
        not_before: datetime | None = None,
        why: leases.Why = (None, None),
    ) -> None:
        def release(db: sqlite3.Connection) -> None:
            now = self._clock.now()
            for lease in held:
                leases.release(db, lease, not_before or now, now, why)

        await self._write(release)

    async def wake(self, recording: RecordingKey) -> None:
        await self._write(lambda db: leases.wake(db, recording, self._clock.now()))

    async def forget(
        self, recording: RecordingKey, documents: Collection[str], *, dry_run: bool
    ) -> Forgotten:
        """As keeping.ForgettingQueue; what is deleted is gone from the file as well."""
        # Beside the writer: it is a walk over all bodies.
        unsorted = await self._read(lambda db: deferring.naming(db, documents))
        if dry_run:
            forgotten = await self._read(
                lambda db: forgetting.would_forget(db, recording, documents)
            )
        else:
            forgotten = await self._write(
                lambda db: forgetting.forget(db, recording, documents)
            )
            await self._read(forgetting.drop_log)
        return replace(forgotten, at_work=forgotten.at_work + unsorted)

    async def ready(self) -> None:
        """Write durably, into the file that was opened and not one that replaced it."""
        await self._write(lambda db: leases.beat(db, self._clock.now()))

    async def round_trip(self) -> bool:
        """Whether what is written is read, by another connection: see ops.doctor."""
        before = self._clock.now()
        await self.ready()
        written = await self._read(reads.beaten_at)
        if written is None or written < before - NO_OLDER:
            raise QueueUnavailableError("what is written is not what is read")
        return True

    async def announced(self, recording: RecordingKey) -> Sequence[QueuedChunk]:
        return await self._read(lambda db: reads.announced(db, recording))

    async def naming(self, document_id: str) -> Sequence[QueuedChunk]:
        return await self._read(lambda db: reads.naming(db, document_id))

    async def next_due(self, *, paused: Collection[str] = ()) -> datetime | None:
        return await self._read(lambda db: reads.next_due(db, paused))

    async def first_due(self, *, paused: Collection[str] = ()) -> str | None:
        now = self._clock.now()
        return await self._read(partial(reads.first_due, paused=paused, now=now))

    async def counts(self, *, at_risk_within: timedelta) -> QueueCounts:
        before = self._clock.now() + at_risk_within
        return await self._read(lambda db: reads.counts(db, at_risk_before=before))

    async def list(
        self,
        *,
        state: ChunkState | None = None,
        limit: int = 1000,
        only: Callable[[QueuedChunk], bool] | None = None,
    ) -> Sequence[QueuedChunk]:
        found: list[QueuedChunk] = []
        async with contextlib.aclosing(self.scan(state=state)) as entries:
            async for entry in entries:
                if len(found) >= limit:
                    break
                if only is None or only(entry):
                    found.append(entry)
        return found

    async def scan(
        self, *, state: ChunkState | None = None
    ) -> AsyncGenerator[QueuedChunk, None]:
        """By `expires_at`."""
        page = reads.FIRST_PAGE
        while True:
            page = await self._read(partial(reads.page_behind, page=page, state=state))
            for entry in page.entries:
                yield entry
            if not page.entries:
                return

    async def find(self, text: str) -> Sequence[QueuedChunk]:
        return await self._read(lambda db: reads.find(db, bounded(text)))

    async def attempts(self, row: str) -> Sequence[Attempt]:
        return await self._read(lambda db: reads.attempts(db, row))

    async def held_up(self) -> Sequence[HeldUp]:
        return await self._read(reads.held_up)

    async def settled(self, *, since: datetime) -> Sequence[ChunkKey]:
        return await self._read(lambda db: reads.settled(db, since))

    async def redrive(self, entry: QueuedChunk) -> Redriven:
        return await self._write(
            lambda db: leases.redrive(db, entry.row, self._clock.now())
        )

    async def give_back(self, entry: QueuedChunk) -> bool:
        return await self._write(
            lambda db: leases.give_back(
                db, entry.row, entry.leased_by, self._clock.now()
            )
        )

    async def tidy(self) -> int:
        """The entries themselves are what is watched."""
        return 0

    async def prune(self, *, before: datetime, dead: bool, dry_run: bool) -> Pruned:
        """Batch by batch; the file keeps its size, and uses the room again."""
        if dry_run:
            return await self._read(
                lambda db: pruning.would_prune(db, before, dead=dead)
            )
        entries = deliveries = 0
        while True:
            some = await self._write(
                lambda db: pruning.prune_some(db, before, dead=dead)
            )
            entries, deliveries = entries + some.entries, deliveries + some.deliveries
            if not some.entries and not some.deliveries:
                break
        await self._read(forgetting.drop_log)
        return Pruned(entries=entries, deliveries=deliveries)

    async def _write(self, write: Callable[[sqlite3.Connection], T]) -> T:
        return await self._commits.submit(write)

    async def _read(self, query: Callable[[sqlite3.Connection], T]) -> T:
        return await self._reads.run(query)
