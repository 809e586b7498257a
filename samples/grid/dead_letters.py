"""What could not be delivered, in a container: after five minutes, in one of three shapes.

https://learn.microsoft.com/azure/event-grid/delivery-and-retry#dead-letter-events
https://learn.microsoft.com/azure/event-grid/dead-letter-event-subscriptions-namespace-topics
"""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from http import HTTPStatus
from pathlib import Path
from random import Random
from typing import Literal, Protocol
from uuid import UUID

from samples.grid.messages import JsonObject, instant
from samples.grid.pending import DeadLettered, Dropped, Pending
from samples.grid.subscription import Subscription

Shape = Literal["eventgrid", "cloudevents", "namespace"]
DELAY = timedelta(minutes=5)
"""From the last attempt to the container."""
PATIENCE = timedelta(hours=4)
"""A container that is away for so long gets nothing of what it missed."""
EXPIRED = "TimeToLiveExceeded"
EXHAUSTED = "MaxDeliveryAttemptsExceeded"


class Container(Protocol):
    """Where the blobs go."""

    async def put(self, name: str, body: bytes) -> None:
        """Write a blob. Raises OSError while the container is away."""
        ...


class DirectoryContainer:
    """A container that is a folder; names with slashes are folders in it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def put(self, name: str, body: bytes) -> None:
        await asyncio.to_thread(self._write, name, body)

    def _write(self, name: str, body: bytes) -> None:
        path = self._folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Letter:
    """One event on its way to the container."""

    pending: Pending
    reason: str
    due_at: datetime
    lost_at: datetime

    def in_shape(self, shape: Shape) -> JsonObject:
        return _SHAPES[shape](self.pending, self.reason)


class DeadLetters:
    """The way to a subscription's container; without a container, everything is dropped."""

    def __init__(
        self,
        subscription: Subscription,
        container: Container | None,
        *,
        shape: Shape | None,
        random: Random,
    ) -> None:
        self._name = subscription.name.upper()
        self._container = container
        self._shape = shape or subscription.schema
        self._random = random
        self._letters: list[_Letter] = []

    @property
    def next_due(self) -> datetime | None:
        """When the next blob is written, if there is something to write."""
        return min((letter.due_at for letter in self._letters), default=None)

    def add(
        self, given_up: Sequence[Pending], reason: str, *, at: datetime
    ) -> Dropped | None:
        """Give events up; says so if they are dropped, for want of a container."""
        if self._container is None:
            return Dropped(at=at, events=_ids(given_up), why=reason)
        due_at = at + DELAY
        self._letters += [
            _Letter(pending=p, reason=reason, due_at=due_at, lost_at=due_at + PATIENCE)
            for p in given_up
        ]
        return None

    async def write(self, now: datetime) -> DeadLettered | Dropped | None:
        """Write what is due into one blob; says what became of it, if anything is."""
        due = [letter for letter in self._letters if letter.due_at <= now]
        if not due or self._container is None:
            return None
        name = blob_name(self._name, now, UUID(int=self._random.getrandbits(128)))
        body = [letter.in_shape(self._shape) for letter in due]
        self._letters = [letter for letter in self._letters if letter.due_at > now]
        try:
            await self._container.put(name, json.dumps(body, indent=2).encode())
        except OSError:
            return self._try_later(due, now)
        events = _ids([letter.pending for letter in due])
        return DeadLettered(at=now, events=events, name=name)

    def _try_later(self, due: Sequence[_Letter], now: datetime) -> Dropped | None:
        # How often it looks for the container is not documented.
        kept = [letter for letter in due if letter.lost_at > now]
        self._letters += [replace(letter, due_at=now + DELAY) for letter in kept]
        lost = [letter.pending for letter in due if letter.lost_at <= now]
        if not lost:
            return None
        return Dropped(at=now, events=_ids(lost), why="the container was away for 4 h")


def blob_name(subscription: str, at: datetime, guid: UUID) -> str:
    """Month, day and hour are not padded: `RECORDINGS/2026/3/1/9/….json`."""
    return f"{subscription}/{at.year}/{at.month}/{at.day}/{at.hour}/{guid}.json"


def reason_of(pending: Pending) -> str:
    """The reason of who was refused for good, in the form that was seen for 400."""
    if pending.status is None:
        return f"UndeliverableDueTo{pending.outcome}"
    phrase = HTTPStatus(pending.status).phrase
    return f"UndeliverableDueToHttp{phrase.replace(' ', '')}"


def _ids(given_up: Sequence[Pending]) -> tuple[str, ...]:
    return tuple(pending.id for pending in given_up)


def _in_event_grid_schema(pending: Pending, reason: str) -> JsonObject:
    told: JsonObject = {
        "deadLetterReason": reason,
        "deliveryAttempts": pending.attempts,
        "lastDeliveryOutcome": pending.outcome,
        "publishTime": instant(pending.published_at),
    }
    if pending.status is not None:
        # Seen (https://stackoverflow.com/questions/52173869), not documented.
        told["lastHttpStatusCode"] = pending.status
    if pending.last_at is not None:
        told["lastDeliveryAttemptTime"] = instant(pending.last_at)
    return pending.event | told


def _as_cloud_event(pending: Pending, reason: str) -> JsonObject:
    """Extension attributes have lower-case names."""
    told = _in_event_grid_schema(replace(pending, event={}), reason)
    return pending.event | {name.lower(): value for name, value in told.items()}


def _wrapped(pending: Pending, reason: str) -> JsonObject:
    """As namespaces have it: what is told stands beside the event."""
    told: JsonObject = {
        "deadletterreason": reason,
        "deliveryattempts": pending.attempts,
        "deliveryresult": pending.outcome,
        "publishutc": instant(pending.published_at),
    }
    if pending.last_at is not None:
        told["deliveryattemptutc"] = instant(pending.last_at)
    return {"deadLetterProperties": told, "event": pending.event}


_SHAPES = {
    "eventgrid": _in_event_grid_schema,
    "cloudevents": _as_cloud_event,
    "namespace": _wrapped,
}
