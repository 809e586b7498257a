"""Saved events into an endpoint: as they were saved, or as Event Grid delivers them."""

import json
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from http import HTTPStatus
from itertools import groupby

import aiohttp

from handlers.auth import KEY_HEADER
from samples.event_grid import (
    EventGrid,
    Fate,
    JsonObject,
    Outcome,
    Schema,
    Subscription,
    events_in,
    schema_of,
)
from samples.grid.handshakes import VALIDATION_TYPE
from samples.grid.messages import type_of
from worker.errors import WorkerError

MAX_EVENTS_PER_BATCH = 100
PREFERRED_BATCH_KIB = 256
"""Both as in deploy/event-subscription.json."""
SCHEMA_NAMES: dict[Schema, str] = {
    "eventgrid": "Event Grid's schema",
    "cloudevents": "CloudEvents",
}
Bodies = Iterable[tuple[str, bytes]]
"""Names and contents of files, in order."""


class HandshakeError(WorkerError):
    """Event Grid would not create a subscription for this endpoint."""

    reason = "handshake"
    hint = "recording-worker config"


@dataclass(frozen=True, slots=True, kw_only=True)
class Posted:
    """One file, or a handshake, and what was answered; None: there was no answer."""

    file: str
    """For a handshake that was not saved in a file: its schema."""
    status: int | None
    what: str = ""
    """`handshake`, `4 events`; empty for a body that was sent as it is."""

    @property
    def is_taken(self) -> bool:
        """Whether the webhook has it now."""
        return self.status == HTTPStatus.OK

    @property
    def is_quarantined(self) -> bool:
        """Whether its body is kept: 400 is answered only once it is."""
        return self.status == HTTPStatus.BAD_REQUEST


Posting = Callable[[str, Bodies, str], AsyncIterator[Posted]]
"""Posts the bodies to a URL, one after the other, with a key."""


async def as_saved(url: str, bodies: Bodies, key: str) -> AsyncIterator[Posted]:
    """Post each body byte for byte."""
    async with aiohttp.ClientSession(headers={KEY_HEADER: key}) as session:
        for name, body in bodies:
            yield await _post(session, url, name, body)


async def as_event_grid(url: str, bodies: Bodies, key: str) -> AsyncIterator[Posted]:
    """Post as Event Grid would: a handshake for each schema, batches, its headers.

    A saved validation is a handshake of its own. What Event Grid could not have sent goes
    byte for byte. Raises HandshakeError.
    """
    async with (
        aiohttp.ClientSession(headers={KEY_HEADER: key}) as session,
        AsyncExitStack() as stack,
    ):
        deliveries = _Deliveries(url, key, stack)
        for name, body in bodies:
            events = _deliverable(body)
            if events is None:
                yield await _post(session, url, name, body)
                continue
            for posted in await deliveries.make(name, events):
                yield posted


class _Deliveries:
    """One subscription for each schema that is met; all end with the stack."""

    def __init__(self, url: str, key: str, stack: AsyncExitStack) -> None:
        self._url = url
        self._key = key
        self._stack = stack
        self._grids: dict[Schema, EventGrid] = {}

    async def make(self, name: str, events: list[JsonObject]) -> list[Posted]:
        """Deliver the events of a file; says what was answered to all that it took."""
        posted = []
        for schema, alike in groupby(events, schema_of):
            posted += await self._make_alike(name, schema, list(alike))
        return posted

    async def _make_alike(
        self, name: str, schema: Schema, events: list[JsonObject]
    ) -> list[Posted]:
        """The handshake comes before anything else, and where one was saved."""
        others = [event for event in events if type_of(event) != VALIDATION_TYPE]
        is_saved = len(others) < len(events)
        posted = []
        grid = self._grids.get(schema)
        if grid is None or is_saved:
            grid = grid or await self._open(schema)
            told = name if is_saved else SCHEMA_NAMES[schema]
            posted.append(await _shake_hands(grid, told))
        if others:
            outcomes = [await grid.deliver(batch) for batch in grid.batches(others)]
            status, count = _worst(outcomes).status, len(others)
            what = "1 event" if count == 1 else f"{count} events"
            posted.append(Posted(file=name, status=status, what=what))
        return posted

    async def _open(self, schema: Schema) -> EventGrid:
        subscription = Subscription(
            name="replay",
            endpoint=self._url,
            schema=schema,
            max_events_per_batch=MAX_EVENTS_PER_BATCH,
            preferred_batch_kib=PREFERRED_BATCH_KIB,
            headers={KEY_HEADER: self._key},
        )
        grid = await self._stack.enter_async_context(EventGrid(subscription))
        self._grids[schema] = grid
        return grid


async def _shake_hands(grid: EventGrid, name: str) -> Posted:
    handshake = await grid.handshake()
    if not handshake.is_passed:
        problems = "; ".join(handshake.problems)
        raise HandshakeError(f"Event Grid would not deliver here: {problems}")
    return Posted(file=name, status=handshake.status, what="handshake")


async def _post(
    session: aiohttp.ClientSession, url: str, name: str, body: bytes
) -> Posted:
    async with session.post(url, data=body) as answer:
        return Posted(file=name, status=answer.status)


def _deliverable(body: bytes) -> list[JsonObject] | None:
    """The events of a body; None if one of them is none, for Event Grid has only events."""
    try:
        events = events_in(json.loads(body))
    except (ValueError, RecursionError):
        return None
    return events if events and all(map(type_of, events)) else None


def _worst(outcomes: Sequence[Outcome]) -> Outcome:
    """What a file came to: its first failure, if there is one."""
    failed = (each for each in outcomes if each.verdict.fate is not Fate.DELIVERED)
    return next(failed, outcomes[-1])
