"""Bytes to events: both schemas, one object or many, dead-letter shapes too. Pure.

The rule: a body is refused as a whole only when its items can't be told apart; every item
in it stands or falls alone. Numbers that JSON or Python can't carry (NaN, 1e999, a thousand
digits) stay as text and lone surrogates become U+FFFD, so that nothing below trips on them.
"""

import base64
import binascii
import json
import math
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal

from handlers import items
from handlers.weight import Room
from worker.errors import MalformedEventError

Schema = Literal["eventgrid", "cloudevents"]
JsonObject = dict[str, object]
_Container = JsonObject | list[object]

MAX_EVENTS = 5000
"""`maxEventsPerBatch` ends here; what comes after these is one malformed item."""
MAX_DEPTH = 64
MAX_TYPE_CHARS = 512
_MAX_INT_DIGITS = 19
_SANE_YEARS = range(2000, 2200)
_SURROGATE_ESCAPE = re.compile(r"\\u[dD][89a-fA-F]")
_SURROGATE = re.compile("[\ud800-\udfff]")
_SPEC_VERSION = (
    "specversion",
    "specVersion",
)  # the second: as the public example has it


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One event of a delivery, whatever its schema. Empty string: not said.

    `raw` is the event as received, unwrapped, with `data` as an object where it could be
    decoded; `data` is empty where it could not.
    """

    schema: Schema
    id: str
    type: str
    topic: str
    subject: str
    time: datetime | None
    data: JsonObject = field(repr=False)
    raw: JsonObject = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class MalformedEvent:
    """One item of a delivery that is no event; `raw` is its JSON."""

    raw: bytes = field(repr=False)
    why: str


def parse(body: bytes) -> list[Event | MalformedEvent]:
    """Read a delivery. Raises MalformedEventError only if no item can be told apart."""
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise MalformedEventError(f"not UTF-8 at byte {error.start}") from error
    room = Room()
    room.take(text)
    found = _items(text)
    events = [_event(item, room) for item in found[:MAX_EVENTS]]
    if beyond := found[MAX_EVENTS:]:
        raw = b"[" + b",".join(map(_raw, beyond)) + b"]"
        why = f"{len(found)} events, over {MAX_EVENTS}"
        events.append(MalformedEvent(raw=raw, why=why))
    return events


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


def _items(text: str) -> list[object]:
    """What JSON has for each event, or a MalformedEvent in its place."""
    try:
        document = _load(text)
    except MalformedEventError:
        apart = items.told_apart(text)
        if apart is None:
            raise
        return [_alone(item) for item in apart]
    if isinstance(document, dict):
        return [document]
    if not isinstance(document, list):
        raise MalformedEventError("neither an object nor an array")
    if not document:
        raise MalformedEventError("an empty array")
    return document


def _alone(text: str) -> object:
    try:
        return _load(text)
    except MalformedEventError as error:
        return MalformedEvent(raw=text.encode(), why=str(error))


def _event(item: object, room: Room) -> Event | MalformedEvent:
    if isinstance(item, MalformedEvent):
        return item
    if not isinstance(item, dict):
        return _malformed(item, "an event is not an object")
    raw = _unwrapped(item)
    # Not told by `specversion`: the public example misspells it as `specVersion`.
    is_cloud = "eventType" not in raw
    kind = raw.get("type" if is_cloud else "eventType")
    if not isinstance(kind, str) or not 0 < len(kind) <= MAX_TYPE_CHARS:
        return _malformed(item, "an event has no type")
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
    )


def _malformed(item: object, why: str) -> MalformedEvent:
    return MalformedEvent(raw=_raw(item), why=why)


def _raw(item: object) -> bytes:
    return item.raw if isinstance(item, MalformedEvent) else compact(item).encode()


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
            data = _load(data)
    except (MalformedEventError, binascii.Error, ValueError):
        return None
    return data if isinstance(data, dict) else None


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _load(text: str) -> object:
    try:
        value: object = _DECODER.decode(text)
    except RecursionError as error:
        raise MalformedEventError(f"nested deeper than {MAX_DEPTH}") from error
    except json.JSONDecodeError as error:
        raise MalformedEventError(f"not JSON at character {error.pos}") from error
    if text.count("{") + text.count("[") > MAX_DEPTH and _is_too_deep(value):
        raise MalformedEventError(f"nested deeper than {MAX_DEPTH}")
    return _scrubbed(value) if _SURROGATE_ESCAPE.search(text) else value


def _is_too_deep(document: object) -> bool:
    level = _containers([document])
    for _ in range(MAX_DEPTH):
        level = [inner for outer in level for inner in _containers(outer)]
        if not level:
            return False
    return True


def _containers(outer: _Container) -> list[_Container]:
    inside = outer.values() if isinstance(outer, dict) else outer
    return [inner for inner in inside if isinstance(inner, (dict, list))]


def _scrubbed(value: object) -> object:
    """Lone surrogates are legal in JSON but can't be written as UTF-8 any more."""
    if isinstance(value, str):
        return _SURROGATE.sub("\N{REPLACEMENT CHARACTER}", value)
    if isinstance(value, list):
        return [_scrubbed(item) for item in value]
    if isinstance(value, dict):
        return {_scrubbed(name): _scrubbed(item) for name, item in value.items()}
    return value


def _int_or_text(digits: str) -> int | str:
    return int(digits) if len(digits) <= _MAX_INT_DIGITS else digits


def _float_or_text(digits: str) -> float | str:
    number = float(digits)
    return number if math.isfinite(number) else digits


_DECODER = json.JSONDecoder(
    parse_int=_int_or_text, parse_float=_float_or_text, parse_constant=str
)
_ENCODER = json.JSONEncoder(
    separators=(",", ":"), allow_nan=False, check_circular=False
)
