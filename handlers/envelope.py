"""Bytes to events: both schemas, one object or many, dead-letter shapes too. Pure.

The rule: a body is refused as a whole only when its items can't be told apart; every item
in it stands or falls alone.
"""

import base64
import binascii
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal, NamedTuple

import msgspec

from handlers import items
from handlers.json_reader import JsonReader, Value
from handlers.weight import Room
from worker.errors import MalformedEventError

Schema = Literal["eventgrid", "cloudevents"]
JsonObject = dict[str, object]

MAX_EVENTS = 5000
"""`maxEventsPerBatch` ends here; what comes after these is one malformed item."""
MAX_TYPE_CHARS = 512
_SANE_YEARS = range(2000, 2200)
_SPEC_VERSION = (
    "specversion",
    "specVersion",
)  # the second: as the public example has it


class Event(NamedTuple):
    """One event of a delivery, whatever its schema. Empty string: not said.

    `raw` is the event as received, unwrapped, with `data` as an object where it could be
    decoded; `data` is empty where it could not. `item` is what it was read from.
    """

    schema: Schema
    id: str
    type: str
    topic: str
    subject: str
    time: datetime | None
    data: JsonObject
    raw: JsonObject
    item: Value

    def __repr__(self) -> str:
        return f"Event(id={self.id!r}, type={self.type!r})"

    @property
    def text(self) -> str:
        """`raw` as JSON: the very text that was received, unless `raw` is another by now."""
        value, text = self.item
        return text if text and value is self.raw else compact(self.raw)


@dataclass(frozen=True, slots=True, kw_only=True)
class MalformedEvent:
    """One item of a delivery that is no event; `raw` is its JSON."""

    raw: bytes = field(repr=False)
    why: str


Item = str | Value
"""One event's text, to be read when its turn comes, or what was read in its place."""


@dataclass(frozen=True, slots=True)
class Batch:
    """The items of a delivery."""

    items: list[Item] = field(repr=False)
    _room: Room

    def event(self, item: Item) -> Event | MalformedEvent:
        """Read one of the items with care."""
        return _event(_read(item), self._room)


def parse(body: bytes) -> list[Event | MalformedEvent]:
    """Read a delivery and all that is in it. Raises as `read`."""
    batch = read(body)
    return [batch.event(item) for item in batch.items]


def read(body: bytes) -> Batch:
    """Tell the items of a delivery apart. Raises MalformedEventError only if none can be."""
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise MalformedEventError(f"not UTF-8 at byte {error.start}") from error
    room = Room()
    room.take(text)
    found = _items(text)
    if beyond := found[MAX_EVENTS:]:
        raw = b"[" + b",".join(_raw(item) for item in beyond) + b"]"
        why = f"{len(found)} events, over {MAX_EVENTS}"
        found[MAX_EVENTS:] = [Value(MalformedEvent(raw=raw, why=why), None)]
    return Batch(found, room)


def moment(value: object) -> datetime | None:
    """Return an ISO 8601 time in UTC; None for anything else, or outside 2000 to 2199.

    The bounds keep arithmetic with it inside the calendar.
    """
    if not isinstance(value, str):
        return None
    try:
        said = datetime.fromisoformat(value)
        if said.tzinfo is not UTC:
            said = said.astimezone(UTC) if said.tzinfo else said.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None
    return said if said.year in _SANE_YEARS else None


def compact(value: object) -> str:
    """JSON text in ASCII, without blanks."""
    return _ENCODER.encode(value)


def _items(text: str) -> list[Item]:
    try:
        found: list[Item] = [str(item, "utf-8") for item in _ARRAY.decode(text)]
    except (msgspec.DecodeError, RecursionError):
        # No array, or one that is no JSON in some place.
        apart = items.told_apart(text)
        found = [*apart] if apart is not None else _values(text)
    if not found:
        raise MalformedEventError("an empty array")
    return found


def _values(text: str) -> list[Item]:
    whole = JsonReader(text).only()
    if isinstance(whole.read, list):
        return [Value(item, None) for item in whole.read]
    if not isinstance(whole.read, dict):
        raise MalformedEventError("neither an object nor an array")
    return [whole]


def _read(item: Item) -> Value:
    if not isinstance(item, str):
        return item
    try:
        return JsonReader(item).only()
    except MalformedEventError as error:
        return Value(MalformedEvent(raw=item.encode(), why=str(error)), None)


def _event(item: Value, room: Room) -> Event | MalformedEvent:
    value = item.read
    if isinstance(value, MalformedEvent):
        return value
    if not isinstance(value, dict):
        return _malformed(value, "an event is not an object")
    raw = _unwrapped(value)
    # Not told by `specversion`: the public example misspells it as `specVersion`.
    is_cloud = "eventType" not in raw
    kind = raw.get("type" if is_cloud else "eventType")
    if not isinstance(kind, str) or not 0 < len(kind) <= MAX_TYPE_CHARS:
        return _malformed(value, "an event has no type")
    data = _data(raw, room)
    if data is not None and data is not raw.get("data"):
        raw = {**raw, "data": data}
        raw.pop("data_base64", None)
    return Event(
        schema="cloudevents" if is_cloud else "eventgrid",
        id=_text(raw.get("id")),
        type=kind,
        topic=_text(raw.get("source" if is_cloud else "topic")),
        subject=_text(raw.get("subject")),
        time=moment(raw.get("time" if is_cloud else "eventTime")),
        data=data or {},
        raw=raw,
        item=item,
    )


def _malformed(item: object, why: str) -> MalformedEvent:
    return MalformedEvent(raw=compact(item).encode(), why=why)


def _raw(item: Item) -> bytes:
    """The JSON of an item that nobody will look at."""
    if isinstance(item, str):
        return item.encode()
    value = item.read
    return value.raw if isinstance(value, MalformedEvent) else compact(value).encode()


def _unwrapped(item: JsonObject) -> JsonObject:
    """Namespace topics wrap what they dead-letter; elsewhere it only gains properties."""
    inner = item.get("event")
    if "deadLetterProperties" in item and isinstance(inner, dict):
        return inner
    return item


def _data(raw: JsonObject, room: Room) -> JsonObject | None:
    """The event's data as an object: plain, encoded twice, or in base64. None: none of it.

    Whether that matters is for whoever knows the type.
    """
    data = raw.get("data")
    try:
        if data is None and isinstance(encoded := raw.get("data_base64"), str):
            data = base64.b64decode(encoded, validate=True).decode("utf-8-sig")
        if isinstance(data, str):
            room.take(data)
            data = JsonReader(data).only().read
    except (MalformedEventError, binascii.Error, ValueError):
        return None
    return data if isinstance(data, dict) else None


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


_ARRAY = msgspec.json.Decoder(list[msgspec.Raw])
_ENCODER = json.JSONEncoder(
    separators=(",", ":"), allow_nan=False, check_circular=False
)
