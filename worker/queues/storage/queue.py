"""The queue on Azure Storage Queues: NAME, NAME-urgent (polled first) and NAME-poison.

Messages carry no facts of their own: what was announced lies in the archive, in the ledger
under `announced/`, before a delivery is acknowledged. A message that is lost, sent twice or
late changes nothing but the time at which a chunk comes home.
"""

import asyncio
import math
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import AsyncExitStack, suppress
from datetime import datetime, timedelta
from random import Random
from types import TracebackType
from typing import Self

import structlog

from worker.errors import (
    ConfigError,
    LeaseLostError,
    QueueUnavailableError,
    WorkerError,
)
from worker.model import (
    Attempt,
    ChunkKey,
    ChunkState,
    Delivery,
    Forgotten,
    Lane,
    Lease,
    Pruned,
    PutResult,
    QueueCounts,
    QueuedChunk,
    Rebuilt,
    RecordingKey,
    Redriven,
)
from worker.ports import Archive, Clock
from worker.queues.storage import forgetting, messages, redriving, settling, tidying
from worker.queues.storage.arriving import Arriving
from worker.queues.storage.channel import Channel
from worker.queues.storage.leasing import Leasing
from worker.queues.storage.ledger import Ledger
from worker.queues.storage.looking import Looking
from worker.queues.storage.means import Means
from worker.queues.storage.messages import DeliveryMessage
from worker.queues.storage.parallel import in_parallel
from worker.queues.storage.parts import NewPart, parts_of
from worker.queues.storage.pruning import Pruning
from worker.queues.storage.rescue import Rescue
from worker.queues.storage.settling import Again
from worker.storage_clients import Identity
from worker.storage_places import Place

URGENT = "-urgent"
POISON = "-poison"
log: structlog.typing.FilteringBoundLogger = structlog.get_logger(__name__)


class StorageQueue:
    """Satisfies ports.ChunkQueue, QueueListing and QueueMending; an async context manager.

    `create`: make the queues that are missing, where that is allowed. What a human must mend
    raises ConfigError, whose hint is a command; a service that is down comes back.
    """

    keeps_waiting = False

    def __init__(  # noqa: PLR0913 - what a queue needs to know
        self,
        place: Place,
        identity: Identity,
        *,
        archive: Archive,
        clock: Clock,
        worker: str,
        random: Random,
        lease_seconds: float = 60,
        create: bool = True,
    ) -> None:
        def channel(suffix: str) -> Channel:
            return Channel(place, identity, suffix=suffix, clock=clock, random=random)

        self._create = create
        self._means = Means(
            ledger=Ledger(archive, clock),
            usual=channel(""),
            urgent=channel(URGENT),
            poison=channel(POISON),
            clock=clock,
            random=random,
            worker=worker,
            lease_seconds=max(1, math.ceil(lease_seconds)),
        )
        self._arriving = Arriving(ledger=self._means.ledger, clock=clock)
        self._looking = Looking(means=self._means, arriving=self._arriving)
        self._rescue = Rescue(means=self._means)
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        means = self._means
        async with AsyncExitStack() as undo:
            for channel in (means.usual, means.urgent, means.poison):
                await undo.enter_async_context(channel)
                await self._make_sure_of(channel)
            self._stack = undo.pop_all()
        return self

    async def _make_sure_of(self, channel: Channel) -> None:
        try:
            await channel.make_sure(create=self._create)
        except QueueUnavailableError as error:
            if error.hint is not None:
                raise ConfigError([f"queue: {error}"], hint=error.hint) from error
            log.error("queue.unavailable", error=str(error))

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._stack.aclose()

    async def put(self, delivery: Delivery) -> PutResult:
        """Also raises MalformedEventError, for text that no file can hold.

        A part that is known is sent again all the same: it may have been lost on its way.
        """
        means = self._means
        parts = parts_of(delivery, now=means.clock.now())
        fresh: list[int] = []
        known: set[ChunkKey] = set()

        async def store(part: NewPart) -> None:
            if await means.ledger.create(part.name.document, part.data):
                fresh.append(part.name.chunks)
            else:
                known.update(part.keys)

        async def send(part: NewPart) -> None:
            message = DeliveryMessage(part=part.name.document)
            channel = means.channel_for(part.name.expires_at)
            await channel.send(messages.encode(message))

        await in_parallel(parts, store)
        self._arriving.forget()
        await in_parallel([part for part in parts if part.name.chunks], send)
        total = sum(part.name.chunks for part in parts)
        return PutResult(
            enqueued=sum(fresh),
            duplicates=total - sum(fresh),
            known=frozenset(known),
        )

    async def lease(
        self,
        count: int,
        *,
        paused: Collection[str] = (),
        lane: Lane = Lane.DEADLINE,
    ) -> Sequence[Lease]:
        """In the order of the lane only as far as one answer of the service goes."""
        if count <= 0:
            return []
        await self._rescue.if_due()
        leasing = Leasing(means=self._means, count=count, paused=paused, lane=lane)
        work = asyncio.ensure_future(leasing.run())
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            # Nobody will work on these: give them back now, not when they lapse.
            leasing.is_stopped = True
            with suppress(WorkerError):
                await self._release_all(await work)
            raise

    async def _release_all(self, leases: Sequence[Lease]) -> None:
        for lease in leases:
            with suppress(LeaseLostError):
                await self.release(lease)

    async def extend(self, lease: Lease) -> Lease:
        return await settling.extend(self._means, lease)

    async def complete(self, lease: Lease, state: ChunkState, *, note: str) -> None:  # noqa: ARG002 - the attempt's line says it
        await settling.complete(self._means, lease, state)

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
        again = Again(
            not_before=not_before,
            reason=reason,
            error=error,
            archived=archived,
            others_close=others_close,
            expires_at=expires_at,
        )
        await settling.reschedule(self._means, lease, again)

    async def dead_letter(self, lease: Lease, *, reason: str, error: str) -> None:
        await settling.dead_letter(self._means, lease, reason=reason, error=error)

    async def release(
        self,
        lease: Lease,
        *,
        not_before: datetime | None = None,
        reason: str | None = None,  # noqa: ARG002 - the attempt's line says it
        error: str | None = None,  # noqa: ARG002 - the attempt's line says it
    ) -> None:
        await settling.release(self._means, lease, not_before)

    async def announced(self, recording: RecordingKey) -> Sequence[QueuedChunk]:
        """As far as deliveries are fanned out; the others come a moment later."""
        return await self._looking.announced(recording)

    async def naming(self, document_id: str) -> Sequence[QueuedChunk]:
        return await self._looking.naming(document_id)

    async def wake(self, recording: RecordingKey) -> None:
        """Those who wait look for themselves; this only settles what is to be told of them."""
        await self._looking.wake(recording)

    async def next_due(self, *, paused: Collection[str] = ()) -> datetime | None:  # noqa: ARG002 - what is paused is hidden
        return await self._looking.next_due()

    async def first_due(self, *, paused: Collection[str] = ()) -> str | None:  # noqa: ARG002 - the same
        return await self._looking.first_due()

    async def counts(self, *, at_risk_within: timedelta) -> QueueCounts:
        """Announced minus what is marked as settled; what is in flight counts as pending."""
        return await self._looking.counts(at_risk_within=at_risk_within)

    async def ready(self) -> None:
        for channel in self._means.working:
            await channel.check()
        await self._means.ledger.ready()

    async def round_trip(self) -> bool:
        """A probe for each queue that nobody can see; False: this identity may only send."""
        means = self._means
        channels = (means.usual, means.urgent, means.poison)
        return all([await channel.probe() for channel in channels])

    async def list(
        self,
        *,
        state: ChunkState | None = None,
        limit: int = 1000,
        only: Callable[[QueuedChunk], bool] | None = None,
    ) -> Sequence[QueuedChunk]:
        return await self._looking.entries(state=state, limit=limit, only=only)

    def scan(self, *, state: ChunkState | None = None) -> AsyncIterator[QueuedChunk]:
        """The dead, what is due, and what is not fanned out yet."""
        return self._looking.scan(state=state)

    async def find(self, text: str) -> Sequence[QueuedChunk]:
        return await self._looking.find(text)

    async def held_up(self) -> None:
        """A message bears no reason before it is dead."""

    async def attempts(self, row: str) -> Sequence[Attempt]:
        return await self._looking.attempts(row)

    async def settled(self, *, since: datetime) -> Sequence[ChunkKey]:
        return await self._looking.settled(since)

    async def redrive(self, entry: QueuedChunk) -> Redriven:
        return await redriving.redrive(self._means, entry)

    async def give_back(self, entry: QueuedChunk) -> bool:
        """Who holds what is not known here: an entry that is at work gets one more message."""
        return await self._rescue.send_one(entry)

    async def tidy(self) -> int:
        return await tidying.tidy(self._means)

    async def prune(self, *, before: datetime, dead: bool, dry_run: bool) -> Pruned:
        pruning = Pruning(means=self._means, before=before, dead=dead, dry_run=dry_run)
        return await pruning.run()

    async def forget(
        self,
        recording: RecordingKey,
        documents: Collection[str],  # noqa: ARG002 - the ledger knows who was announced where
        *,
        dry_run: bool,
    ) -> Forgotten:
        """As keeping.ForgettingQueue; a delivery that others are in stays until a lifecycle
        rule takes it.
        """
        return await forgetting.forget(self._means, recording, dry_run=dry_run)

    async def rebuild(self, *, dry_run: bool = False) -> Rebuilt:
        """Send a message for every outstanding chunk and delivery: for a lost queue."""
        return await self._rescue.rebuild(dry_run=dry_run)
