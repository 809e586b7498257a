"""Saved events to a deployed endpoint, as Event Grid would deliver them: `replay --to`.

Once each and in order, in both schemas as they were saved; dead letters go out as the events
that they were. No handshake: that belongs to a subscription. What Event Grid could not have
sent, for it is no event, goes byte for byte, for the endpoint to judge.
"""

import json
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from itertools import groupby

import aiohttp

from samples.event_grid import (
    EventGrid,
    Fate,
    JsonObject,
    Outcome,
    Schema,
    events_in,
    schema_of,
)
from samples.grid import sending
from samples.grid.messages import size_of, type_of
from samples.grid.verdicts import RESOLUTION_ERROR, SOCKET_ERROR
from worker.endpoint import Endpoint
from worker.errors import WorkerError
from worker.ops.letters import Taken
from worker.posting import SCHEMA_NAMES, Bodies
from worker.subscribing import open_session, subscription_of, trust

SUBSCRIPTION = "replay"
OWN_TYPES = "microsoft.eventgrid."
"""What Event Grid says of a subscription itself: not for another time, nor for another one."""
_REASON = "deadletterreason"
_ADDED = frozenset(
    {
        *(_REASON, "deliveryattempts", "lastdeliveryoutcome", "lasthttpstatuscode"),
        *("publishtime", "lastdeliveryattempttime"),
    }
)
"""What an event gains on its way to the dead letters, in whatever case.
https://learn.microsoft.com/azure/event-grid/delivery-and-retry#dead-letter-events"""


class UnreachableError(WorkerError):
    """Nobody is there; says what was seen, and the endpoint without its query."""

    reason = "unreachable"
    hint = "recording-worker doctor --endpoint URL"


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """One request that is to be made; no events: `body` goes as it is."""

    file: str
    number: int
    of: int
    schema: Schema | None
    events: tuple[JsonObject, ...] = field(repr=False)
    body: bytes = field(repr=False)

    @property
    def size_bytes(self) -> int:
        return sum(map(size_of, self.events)) if self.events else len(self.body)

    @property
    def what(self) -> str:
        """`2 events in CloudEvents (1 of 3)`."""
        if self.schema is None:
            return "no event, as it is"
        count = len(self.events)
        counted = "1 event" if count == 1 else f"{count} events"
        part = f" ({self.number} of {self.of})" if self.of > 1 else ""
        return f"{counted} in {SCHEMA_NAMES[self.schema]}{part}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Redelivered:
    """One batch, and what came of it."""

    batch: Batch
    outcome: Outcome

    @property
    def is_taken(self) -> bool:
        return self.outcome.verdict.fate is Fate.DELIVERED


@dataclass(frozen=True, slots=True, kw_only=True)
class RedeliveredRow:
    """One request; JSON fields of `replay --to --json`: additions only."""

    file: str
    number: int
    of: int
    schema: Schema | None
    events: int
    size_bytes: int
    outcome: str
    """`delivered`, `refused`, or `would-post`."""
    status: int | None
    verdict: str | None
    """What Event Grid would do about it."""


def row_of(batch: Batch, sent: Redelivered | None = None) -> RedeliveredRow:
    done = "delivered" if sent and sent.is_taken else "refused"
    return RedeliveredRow(
        file=batch.file,
        number=batch.number,
        of=batch.of,
        schema=batch.schema,
        events=len(batch.events),
        size_bytes=batch.size_bytes,
        outcome=done if sent else "would-post",
        status=sent.outcome.status if sent else None,
        verdict=sent.outcome.verdict.words if sent else None,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a replay would send, in order, and how many events it would leave out."""

    batches: tuple[Batch, ...]
    left_out: int
    """Handshakes, and notices of a subscription's end."""


def plan_of(bodies: Bodies) -> Plan:
    """Decide what goes into which request; pure."""
    batches: list[Batch] = []
    left_out = 0
    for name, body in bodies:
        events = _events(body)
        if events is None:
            as_it_is = Batch(
                file=name, number=1, of=1, schema=None, events=(), body=body
            )
            batches.append(as_it_is)
            continue
        ours = [
            each
            for each in events
            if not type_of(each).casefold().startswith(OWN_TYPES)
        ]
        left_out += len(events) - len(ours)
        batches += _batches(name, ours)
    return Plan(batches=tuple(batches), left_out=left_out)


async def redeliver(
    endpoint: Endpoint, plan: Plan, *, answer_seconds: float
) -> AsyncIterator[Redelivered]:
    """Send one after the other. Raises UnreachableError as soon as nobody is there."""
    async with open_redelivery(endpoint, answer_seconds=answer_seconds) as redelivery:
        for batch in plan.batches:
            yield await redelivery.send(batch)


@asynccontextmanager
async def open_redelivery(
    endpoint: Endpoint, *, answer_seconds: float
) -> AsyncIterator["Redelivery"]:
    """One session, and a subscription for each schema."""
    async with (
        open_session(endpoint, tls=await trust()) as session,
        AsyncExitStack() as stack,
    ):
        grids: dict[Schema, EventGrid] = {}
        for schema in SCHEMA_NAMES:
            subscription = subscription_of(endpoint, schema, name=SUBSCRIPTION)
            grids[schema] = await stack.enter_async_context(
                EventGrid(subscription, session=session, answer_seconds=answer_seconds)
            )
        yield Redelivery(
            endpoint=endpoint,
            session=session,
            grids=grids,
            answer_seconds=answer_seconds,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Redelivery:
    """Sends batch by batch. Satisfies ops.letters.Taker."""

    endpoint: Endpoint
    session: aiohttp.ClientSession
    grids: Mapping[Schema, EventGrid]
    answer_seconds: float

    @property
    def to(self) -> str:
        return self.endpoint.shown

    async def send(self, batch: Batch) -> Redelivered:
        """Raises UnreachableError if nobody is there."""
        if batch.schema is None:
            outcome = await _send_as_it_is(
                self.session,
                self.endpoint,
                batch.body,
                answer_seconds=self.answer_seconds,
            )
        else:
            outcome = await self.grids[batch.schema].deliver(batch.events)
        if outcome.verdict in {SOCKET_ERROR, RESOLUTION_ERROR}:
            raise UnreachableError(f"{self.endpoint.shown}: {outcome.seen}")
        return Redelivered(batch=batch, outcome=outcome)

    async def take(self, name: str, body: bytes) -> Taken:
        """All batches of one file; the first that is refused tells what is wrong."""
        sent = [await self.send(batch) for batch in plan_of([(name, body)]).batches]
        refused = next((each for each in sent if not each.is_taken), None)
        return Taken(
            is_taken=refused is None,
            status=refused.outcome.status if refused else HTTPStatus.OK,
            events=sum(len(each.batch.events) for each in sent),
            error=refused.outcome.verdict.words if refused else None,
        )


async def _send_as_it_is(
    session: aiohttp.ClientSession,
    endpoint: Endpoint,
    body: bytes,
    *,
    answer_seconds: float,
) -> Outcome:
    request = sending.Request(
        method="POST",
        url=endpoint.url,
        headers={"Content-Type": "application/json", **endpoint.headers},
        body=body,
    )
    return await sending.deliver(session, request, answer_seconds=answer_seconds)


def _events(body: bytes) -> list[JsonObject] | None:
    """The events of a file as they first were; None if one of them is none."""
    try:
        events = events_in(json.loads(body))
    except (ValueError, RecursionError):
        return None
    is_all = bool(events) and all(map(type_of, events))
    return [original_of(event) for event in events] if is_all else None


def original_of(event: JsonObject) -> JsonObject:
    """A dead letter as the event that it was."""
    if _REASON not in map(str.casefold, event):
        return event
    return {
        name: value for name, value in event.items() if name.casefold() not in _ADDED
    }


def _batches(name: str, events: Sequence[JsonObject]) -> Iterator[Batch]:
    """Batches are of one schema each; what stands together stays in order."""
    split = [
        (schema, batch)
        for schema, alike in groupby(events, schema_of)
        for batch in _grid(schema).batches(alike)
    ]
    for number, (schema, batch) in enumerate(split, start=1):
        yield Batch(
            file=name,
            number=number,
            of=len(split),
            schema=schema,
            events=tuple(batch),
            body=b"",
        )


def _grid(schema: Schema) -> EventGrid:
    """One that only splits; it is not entered."""
    nowhere = Endpoint(url="https://nowhere.invalid/")
    return EventGrid(subscription_of(nowhere, schema, name=SUBSCRIPTION))
