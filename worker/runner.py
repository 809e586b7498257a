"""One attempt at one chunk, from lease to settlement, and its one canonical log line.

Every exception of an attempt ends here as a settlement: the firewall between chunks.
"""

import asyncio
import random
from collections.abc import Coroutine
from dataclasses import dataclass, replace
from typing import Any

import structlog
from structlog.contextvars import bound_contextvars

from worker import measures, retry, tombstones
from worker.attempt import AttemptLog, Observer
from worker.breaker import Breaker, Transition
from worker.errors import (
    BugError,
    LeaseLostError,
    QueueUnavailableError,
    RetryableError,
    SourceUnavailableError,
    WorkerError,
)
from worker.held import HeldLease, to_its_end
from worker.model import ChunkState, Lease
from worker.notices import Notices
from worker.pipeline import Pipeline
from worker.ports import ChunkQueue, Clock
from worker.settlement import (
    Complete,
    DeadLetter,
    Nothing,
    Release,
    Reschedule,
    Settlement,
    decide,
)
from worker.telemetry import spans
from worker.tracebacks import words_of

ATTEMPT_LONGEST_SECONDS = 6 * 3600
"""A stalled connection is cut after seconds; this ends an attempt that merely crawls."""
log: structlog.typing.FilteringBoundLogger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Runner:
    """Runs attempts."""

    queue: ChunkQueue
    pipeline: Pipeline
    clock: Clock
    breaker: Breaker
    observer: Observer
    random: random.Random
    lease_seconds: float
    notices: Notices | None = None
    """None: nobody is told."""

    async def run(self, lease: Lease) -> None:
        """Attempt the chunk and settle; raises nothing but cancellation, which releases."""
        chunk = lease.chunk
        ids = {"recording": chunk.recording, "chunk": chunk.key, "index": chunk.index}
        with spans.attempt(lease) as span, bound_contextvars(**ids, **span.fields):
            record = AttemptLog(
                clock=self.clock, expires_at=chunk.expires_at, span=span
            )
            held = HeldLease(lease, queue=self.queue, clock=self.clock)
            try:
                with measures.working(), record.timed("total"):
                    settlement = await self._settlement(held, record)
            except asyncio.CancelledError:
                self.breaker.gave_up_probe(resource=chunk.announcement.resource)
                await to_its_end(self._end(held, record, Release()))
                raise
            await to_its_end(self._end(held, record, settlement))

    async def give_back(self, lease: Lease, settlement: Release) -> None:
        """Return a chunk that was leased but may not be worked on now."""
        held = HeldLease(lease, queue=self.queue, clock=self.clock)
        await to_its_end(self._settle(held, settlement))

    async def _end(
        self, held: HeldLease, record: AttemptLog, settlement: Settlement
    ) -> None:
        """Settle, and say how the attempt ended."""
        settlement = await self._settle(held, settlement)
        if isinstance(settlement, DeadLetter):
            await self._mourn(held.lease, record, settlement)
        self._report(held.lease, record, settlement)

    async def _settlement(self, held: HeldLease, record: AttemptLog) -> Settlement:
        """Process the chunk, or decide what its failure comes to; the lease is renewed."""
        try:
            async with held.extended(self.lease_seconds):
                return await self._decided(held.lease, record)
        except LeaseLostError:
            self.breaker.gave_up_probe(resource=held.lease.chunk.announcement.resource)
            measures.lease_lost()
            return Nothing()

    async def _decided(self, lease: Lease, record: AttemptLog) -> Settlement:
        try:
            async with asyncio.timeout(ATTEMPT_LONGEST_SECONDS):
                settlement = await self.pipeline.process(lease, record)
        except WorkerError as error:
            return await self._failed(lease, record, error)
        except TimeoutError:
            slow = SourceUnavailableError("the attempt took too long")
            return await self._failed(lease, record, slow)
        except Exception as error:
            # The firewall: one chunk's bug stays its own.
            log.exception("attempt.crashed")
            bug = BugError(words_of(error))
            return await self._failed(lease, record, bug)
        resource = lease.chunk.announcement.resource
        for resumed in self.breaker.succeeded(
            resource=resource, source_answered=record.source_answered
        ):
            _log_resumed(resumed)
        self.breaker.gave_up_probe(resource=resource)
        return settlement

    async def _failed(
        self, lease: Lease, record: AttemptLog, error: WorkerError
    ) -> Settlement:
        settlement = decide(
            error,
            now=self.clock.now(),
            expires_at=record.expires_at,
            delay_seconds=retry.backoff(lease.attempts, random=self.random),
            archived=record.archived,
        )
        if isinstance(settlement, DeadLetter):
            self.breaker.gave_up_probe(resource=lease.chunk.announcement.resource)
            return await self._lose(lease, record, settlement)
        if isinstance(settlement, Reschedule):
            settlement = replace(settlement, expires_at=record.expires_at)
            return self._paused(lease, error, settlement)
        self.breaker.gave_up_probe(resource=lease.chunk.announcement.resource)
        return settlement

    def _paused(
        self, lease: Lease, error: WorkerError, settlement: Reschedule
    ) -> Settlement:
        """What a failure comes to if it is that of all chunks alike: no attempt is spent."""
        resource = lease.chunk.announcement.resource
        if not isinstance(error, RetryableError):
            self.breaker.gave_up_probe(resource=resource)
            return settlement
        opened = self.breaker.failed(error, key=lease.chunk.key, resource=resource)
        if opened is not None:
            _log_paused(opened)
        again = self.breaker.comes_back(error, resource=resource)
        if again is None:
            return settlement
        return Release(not_before=again, reason=error.reason, error=str(error))

    async def _lose(
        self, lease: Lease, record: AttemptLog, settlement: DeadLetter
    ) -> Settlement:
        """Before a chunk dies, its recording's manifest is given the chance to say so."""
        try:
            record.told = await self.pipeline.lose(lease, settlement.reason)
        except (RetryableError, QueueUnavailableError) as error:
            delay = retry.backoff(lease.attempts, random=self.random)
            return Reschedule.after(delay, error, now=self.clock.now())
        except WorkerError as error:
            record.told = True
            log.error("manifest.failed", reason=error.reason, error=str(error))
        except Exception:
            # The firewall, again: a chunk that can't be mourned must not stop the others.
            record.told = True
            log.exception("manifest.failed")
        return await self._noted(lease, settlement)

    async def _noted(self, lease: Lease, settlement: DeadLetter) -> Settlement:
        """Before a chunk dies, what others are told of it is written down."""
        if self.notices is None:
            return settlement
        try:
            await self.notices.chunk_dead_lettered(lease, settlement.reason)
        except RetryableError as error:
            delay = retry.backoff(lease.attempts, random=self.random)
            return Reschedule.after(delay, error, now=self.clock.now())
        except Exception:
            # The firewall, again: what can't be told must not stop the others.
            log.exception("notice.failed")
        return settlement

    async def _mourn(
        self, lease: Lease, record: AttemptLog, settlement: DeadLetter
    ) -> None:
        """After a chunk's death: siblings that waited for it wait in vain.

        Siblings that died at the same time each took the others for being at work; now one
        of them sees that nothing is.
        """
        await _tried(self.queue.wake(lease.chunk.recording))
        if not record.told:
            await _tried(self.pipeline.lose(lease, settlement.reason))

    async def _settle(self, held: HeldLease, settlement: Settlement) -> Settlement:
        """Settle; what can't be settled now is left to the lease's lapse."""
        try:
            await held.settle(settlement)
        except LeaseLostError:
            measures.lease_lost()
            log.warning("lease.lost")
            return Nothing()
        except QueueUnavailableError as error:
            log.error("queue.unavailable", error=str(error))
            return Nothing()
        return settlement

    def _report(self, lease: Lease, record: AttemptLog, settlement: Settlement) -> None:
        """The canonical line, and a word to whoever watches."""
        chunk = lease.chunk
        outcome, reason, level = _outcome(settlement)
        _tell(record, settlement, outcome=outcome)
        if outcome in _STAGES:
            self.observer.stage(chunk, outcome)
        self.observer.explain(chunk, reason)
        measures.attempt_ended(record, outcome, settlement, now=self.clock.now())
        started_at = self.clock.now().timestamp() - record.seconds["total"]
        log.log(
            level,
            "chunk.finished",
            outcome=outcome,
            reason=reason,
            attempt=lease.attempts,
            retries=record.stats.retries,
            bytes=record.stats.bytes,
            **{f"{step}_s": round(s, 3) for step, s in record.seconds.items()},
            queued_s=round(started_at - lease.enqueued_at.timestamp(), 3),
            until_expiry_s=round(
                (record.expires_at - self.clock.now()).total_seconds()
            ),
            blob=record.blob,
            flags=record.flags,
        )


def _tell(record: AttemptLog, settlement: Settlement, *, outcome: str) -> None:
    """The same for the trace, in words of ours alone."""
    record.span.tell(
        outcome=outcome, bytes=record.stats.bytes, retries=record.stats.retries
    )
    match settlement:
        case Reschedule(reason=reason, archived=True):
            record.span.tell(reason=reason)
        case (
            Reschedule(reason=reason)
            | DeadLetter(reason=reason)
            | Release(reason=str(reason))
        ):
            record.span.tell(reason=reason)
            record.span.failed(reason)
        case Nothing():
            record.span.failed("lease-lost")
        case Complete() | Release():
            pass


async def _tried(work: Coroutine[Any, Any, object]) -> None:
    """Do what may fail without harm to the chunk: what comes behind it is done all the same."""
    try:
        await work
    except WorkerError as error:
        log.error("manifest.failed", reason=error.reason, error=str(error))
    except Exception:
        log.exception("manifest.failed")


_STAGES = {"deleted", "dead", "rescheduled"}
_INFO, _WARNING, _ERROR = 20, 30, 40


def _outcome(settlement: Settlement) -> tuple[str, str, int]:
    """The settlement in words: outcome, reason, log level."""
    match settlement:
        case Complete(state=state, note=note):
            return _done(state, note), note, _INFO
        case Reschedule(archived=True, reason=reason, error=error):
            return "archived", f"{reason}: {error}", _INFO
        case Reschedule(reason=reason, error=error):
            return "rescheduled", f"{reason}: {error}", _WARNING
        case DeadLetter(reason=reason, error=error):
            return "dead", f"{reason}: {error}", _ERROR
        case Release(reason=str(reason), error=error):
            return "released", f"{reason}: {error}", _INFO
        case Release():
            return "released", "", _INFO
        case Nothing():
            return "lost", "", _WARNING


def _done(state: ChunkState, note: str) -> str:
    if note.startswith(tombstones.ERASED):
        return tombstones.ERASED
    return "deleted" if state is ChunkState.DELETED else "archived"


def _log_paused(paused: Transition) -> None:
    log.error("consumer.paused", scope=paused.target, reason=paused.reason)


def _log_resumed(resumed: Transition) -> None:
    after = resumed.paused_for
    log.info(
        "consumer.resumed",
        scope=resumed.target,
        after_s=round(after.total_seconds(), 1) if after else None,
    )
