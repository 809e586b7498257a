"""One delivery in, one durable outcome: the same for the webhook, replay and an inbox.

The rule: whatever is acknowledged is durable first. All chunks of a delivery go into the
queue in one write; events that can't become chunks are quarantined one by one.
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Protocol

import structlog

from handlers import registry
from handlers.sorting import IsLeftAlone, Reject, Sorted, Sorter
from worker.errors import MalformedEventError, WorkerError
from worker.model import Deferred, Delivery, PutResult
from worker.ports import Clock
from worker.stored import StoredFormatError
from worker.telemetry import meters, spans
from worker.telemetry.instruments import (
    DELIVERIES,
    DELIVERY_DURATION,
    EVENTS,
    NO_REASON,
    SUBSCRIPTIONS_DELETED,
)
from worker.telemetry.spans import DeliverySpan

MAX_ALONE = 20
"""More bad events than this in one delivery are quarantined as one body."""
_MAX_LOGGED_CHARS = 200
_NOTHING_PUT = PutResult(enqueued=0, duplicates=0)

log: structlog.typing.FilteringBoundLogger = structlog.get_logger(__name__)


class DeliveryQueue(Protocol):
    """What a receiver needs of ports.ChunkQueue."""

    async def put(self, delivery: Delivery) -> PutResult: ...


class BodyQuarantine(Protocol):
    """What a receiver needs of handlers.quarantine."""

    async def put(self, body: bytes, why: str, received_at: datetime) -> str: ...


class ReceivedKind(StrEnum):
    """What became of a delivery; all but UNAVAILABLE are durable, and final for the sender."""

    ACCEPTED = "accepted"
    VALIDATION = "validation"
    IGNORED = "ignored"
    MALFORMED = "malformed"
    """Nothing in it could be understood or stored; all of it is in quarantine."""
    DEFERRED = "deferred"
    """All of it is kept as it came, and will be sorted later."""
    UNAVAILABLE = "unavailable"
    """Our own trouble: send it again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """The outcome of one delivery; counts are events but for those of chunks.

    They are 0 for one that is deferred: nobody looked yet.
    """

    kind: ReceivedKind
    events: int = 0
    chunks: int = 0
    duplicates: int = 0
    ignored: int = 0
    exported: int = 0
    """Chunks that stay in the user's own storage, unlooked at."""
    quarantined: int = 0
    validation_code: str | None = field(default=None, repr=False)
    reason: str | None = None

    @property
    def is_rejected(self) -> bool:
        return self.kind in {ReceivedKind.MALFORMED, ReceivedKind.UNAVAILABLE}


class Receiver:
    """Sorts a delivery, stores it, and says what became of it in one log line."""

    def __init__(
        self,
        queue: DeliveryQueue,
        quarantine: BodyQuarantine,
        clock: Clock,
        *,
        retention: timedelta,
        topics: frozenset[str] | None = None,
        is_left_alone: IsLeftAlone | None = None,
    ) -> None:
        self._queue = queue
        self._quarantine = quarantine
        self._clock = clock
        self._sorter = Sorter(
            retention=retention, topics=topics, is_left_alone=is_left_alone
        )

    async def receive(
        self,
        body: bytes,
        *,
        origin: str,
        delivery_count: int | None = None,
        event_header: str = "",
        traceparent: str = "",
        received_at: datetime | None = None,
    ) -> Received:
        """Make everything in `body` durable, then say so. Safe to repeat.

        `event_header` is what `aeg-event-type` said, where there is one; `traceparent` is the
        sender's own trace, as it was sent. `received_at` is of a delivery that was deferred.
        """
        fields = first_fields(body, origin=origin, delivery_count=delivery_count)
        with spans.delivery(origin, traceparent) as span:
            now, started = self._clock.now(), self._clock.monotonic()
            if received_at is not None:
                deferred_s = round((now - received_at).total_seconds(), 3)
                fields["deferred_s"] = deferred_s
                span.tell(deferred_s=deferred_s)
            received = await self._receive(
                body, received_at or now, event_header, fields, span
            )
            record(
                received,
                fields | span.fields,
                origin=origin,
                seconds=self._clock.monotonic() - started,
                is_later=received_at is not None,
            )
            _tell(span, received, size_bytes=len(body))
        return received

    async def set_aside(self, delivery: Deferred, why: str) -> None:
        """Quarantine a delivery that can't be sorted. Raises ArchiveUnavailableError."""
        reject = Reject(raw=delivery.body, why=why)
        await self._set_aside_whole([reject], delivery.body, delivery.received_at)

    async def _receive(
        self,
        body: bytes,
        received_at: datetime,
        event_header: str,
        fields: dict[str, object],
        span: DeliverySpan,
    ) -> Received:
        found = await self._sorter.sort(body, received_at)
        found.deleted |= registry.says_deleted(event_header)
        delivery = Delivery(
            body=body,
            received_at=received_at,
            origin=str(fields["origin"]),
            chunks=tuple(found.chunks),
        )
        try:
            received = await self._store(found, delivery, span)
        except WorkerError as error:
            received = _unavailable(found, error.reason)
            fields["error"] = str(error)
        if found.oldest_at is not None:
            age = received_at - found.oldest_at
            fields["oldest_event_s"] = round(age.total_seconds(), 1)
        _log_subscription(found)
        return received

    async def _store(
        self, found: Sorted, delivery: Delivery, span: DeliverySpan
    ) -> Received:
        body, received_at = delivery.body, delivery.received_at
        # The queue comes first: a full quarantine must not hold back what can be fetched.
        try:
            put = await self._enqueue(delivery, span)
        except (MalformedEventError, StoredFormatError) as error:
            # Sent again it would fail alike, and 503 would go on until the event is lost.
            return await self._refuse(found, body, received_at, why=str(error))
        await self._set_aside(found, body, received_at)
        return Received(
            kind=_kind(found),
            events=found.events,
            chunks=len(found.chunks),
            duplicates=put.duplicates,
            ignored=found.ignored,
            exported=found.exported,
            quarantined=len(found.rejects),
            validation_code=found.validation_code,
            reason=found.rejects[0].why if found.rejects else None,
        )

    async def _enqueue(self, delivery: Delivery, span: DeliverySpan) -> PutResult:
        if not delivery.chunks:
            return _NOTHING_PUT
        put = await self._queue.put(delivery)
        span.announced(delivery.chunks, put)
        return put

    async def _refuse(
        self, found: Sorted, body: bytes, received_at: datetime, *, why: str
    ) -> Received:
        """Quarantine a body whose chunks the queue can't hold, now or ever."""
        rejects = [Reject(raw=body, why=why), *found.rejects]
        await self._set_aside_whole(rejects, body, received_at)
        return Received(
            kind=ReceivedKind.MALFORMED,
            events=found.events,
            ignored=found.ignored,
            quarantined=len(rejects),
            reason=why,
        )

    async def _set_aside(
        self, found: Sorted, body: bytes, received_at: datetime
    ) -> None:
        """Quarantine bad events alone, or the body as received if none of it is good."""
        if found.rejects and (not found.chunks or len(found.rejects) > MAX_ALONE):
            await self._set_aside_whole(found.rejects, body, received_at)
            return
        for reject in found.rejects:
            name = await self._quarantine.put(reject.raw, reject.why, received_at)
            _log_quarantined(reject, name, events=1)

    async def _set_aside_whole(
        self, rejects: list[Reject], body: bytes, received_at: datetime
    ) -> None:
        why = "\n".join(reject.why for reject in rejects[:MAX_ALONE])
        name = await self._quarantine.put(body, why, received_at)
        worst = next((one for one in rejects if one.malformed), rejects[0])
        _log_quarantined(worst, name, events=len(rejects))


def _kind(found: Sorted) -> ReceivedKind:
    if found.validation_code is not None:
        return ReceivedKind.VALIDATION
    if found.chunks:
        return ReceivedKind.ACCEPTED
    understood = found.ignored or found.deleted
    if found.rejects and all(one.malformed for one in found.rejects) and not understood:
        return ReceivedKind.MALFORMED
    return ReceivedKind.ACCEPTED if found.rejects else ReceivedKind.IGNORED


def _unavailable(found: Sorted, reason: str) -> Received:
    return Received(
        kind=ReceivedKind.UNAVAILABLE,
        events=found.events,
        chunks=len(found.chunks),
        ignored=found.ignored,
        reason=reason,
    )


def _log_quarantined(reject: Reject, name: str, *, events: int) -> None:
    write = log.error if reject.malformed else log.warning
    write(
        "event.quarantined",
        name=name,
        reason=_shown(reject.why),
        event_id=_shown(reject.event_id),
        events=events,
    )


def _log_subscription(found: Sorted) -> None:
    if found.unanswered is not None:
        log.warning(
            "subscription.refused",
            reason=found.unanswered,
            topic=_shown(found.topic),
        )
    if found.validation_code is not None:
        log.info("subscription.validated", topic=_shown(found.topic))
    if found.deleted:
        meters.add(SUBSCRIPTIONS_DELETED)
        log.warning("subscription.deleted", topic=_shown(found.topic))


def first_fields(
    body: bytes, *, origin: str, delivery_count: int | None
) -> dict[str, object]:
    """What the line of a delivery has before anybody looked into it."""
    return {"origin": origin, "delivery_count": delivery_count, "bytes": len(body)}


def record(
    received: Received,
    fields: dict[str, object],
    *,
    origin: str,
    seconds: float,
    is_later: bool = False,
) -> None:
    """Log what became of a delivery, and count it, but not each try to sort it later."""
    fields["total_s"] = round(seconds, 6)
    if received.kind is ReceivedKind.DEFERRED:
        log.info("delivery.deferred", **fields)
    else:
        _log(received, fields)
    if not (is_later and received.kind is ReceivedKind.UNAVAILABLE):
        _count(received, origin=origin, seconds=None if is_later else seconds)


def _log(received: Received, fields: dict[str, object]) -> None:
    """The one line of a delivery: counts, never its body and never its code."""
    fields |= {
        "outcome": received.kind.value,
        "events": received.events,
        "chunks": received.chunks,
        "duplicates": received.duplicates,
        "ignored": received.ignored,
        "exported": received.exported,
        "quarantined": received.quarantined,
    }
    if received.is_rejected:
        log.warning("delivery.rejected", reason=_shown(received.reason or ""), **fields)
        return
    log.info("delivery.accepted", **fields)


def _count(received: Received, *, origin: str, seconds: float | None) -> None:
    """The same as metrics. What is sent again was not taken in.

    `seconds` is how long the sender waited; None: it was answered long ago.
    """
    outcome, reason = "accepted", NO_REASON
    if received.is_rejected:
        outcome, reason = "rejected", received.kind.value
    elif received.kind is ReceivedKind.DEFERRED:
        outcome = "deferred"
    meters.add(DELIVERIES, origin=origin, outcome=outcome, reason=reason)
    if seconds is not None:
        meters.record(DELIVERY_DURATION, seconds, outcome=outcome)
    if received.kind is ReceivedKind.UNAVAILABLE:
        return
    counts = {
        "chunk": received.chunks - received.duplicates,
        "duplicate": received.duplicates,
        "exported": received.exported,
        "ignored": received.ignored,
        "quarantined": received.quarantined,
    }
    for what, count in counts.items():
        if count:
            meters.add(EVENTS, count, outcome=what)


def _tell(span: DeliverySpan, received: Received, *, size_bytes: int) -> None:
    """The same for the trace, in numbers and words of ours."""
    span.tell(
        outcome=received.kind.value,
        events=received.events,
        chunks=received.chunks,
        duplicates=received.duplicates,
        ignored=received.ignored,
        quarantined=received.quarantined,
        bytes=size_bytes,
    )
    if received.is_rejected:
        span.failed(received.kind.value)


def _shown(text: str) -> str:
    return text[:_MAX_LOGGED_CHARS]
