"""Events as Event Grid sends them: schemas, bodies, headers. Pure.

https://learn.microsoft.com/azure/event-grid/cloud-event-schema
https://learn.microsoft.com/azure/event-grid/delivery-properties#message-headers
"""

import json
from collections.abc import Sequence
from datetime import datetime

from samples.grid.subscription import Schema, Subscription

JsonObject = dict[str, object]
ORIGIN = "eventgrid.azure.net"
ORIGIN_HEADER = "WebHook-Request-Origin"
SPEC_VERSION = "1.0"
NOTIFICATION = "Notification"
_CLOUD_NAMES = {
    "topic": "source",
    "subject": "subject",
    "eventType": "type",
    "eventTime": "time",
    "id": "id",
    "data": "data",
}
GRID_TYPE = "application/json; charset=utf-8"
CLOUD_TYPE = "application/cloudevents+json; charset=utf-8"
CLOUD_BATCH_TYPE = "application/cloudevents-batch+json; charset=utf-8"


class SchemaMismatchError(ValueError):
    """Event Grid can't deliver this event in the subscription's schema."""


def events_in(document: object) -> list[JsonObject]:
    """The events of a saved body: an array or one object, dead letters unwrapped.

    Raises ValueError for anything else.
    """
    items = document if isinstance(document, list) else [document]
    return [_unwrapped(item) for item in items]


def schema_of(event: JsonObject) -> Schema:
    """Tell the schemas apart as our receiver does: only one of them has `eventType`."""
    return "eventgrid" if "eventType" in event else "cloudevents"


def type_of(event: JsonObject) -> str:
    """What a subscription filters by."""
    return str(event.get("eventType") or event.get("type") or "")


def in_schema(event: JsonObject, schema: Schema) -> JsonObject:
    """The event as a subscription of this schema gets it.

    Event Grid turns its own schema into CloudEvents, and never the other way round:
    that raises SchemaMismatchError.
    """
    if schema_of(event) == schema:
        return event
    if schema == "eventgrid":
        raise SchemaMismatchError(
            "a CloudEvent can't be delivered in Event Grid's schema"
        )
    cloud: JsonObject = {
        theirs: event[ours] for ours, theirs in _CLOUD_NAMES.items() if ours in event
    }
    cloud["specversion"] = SPEC_VERSION
    cloud["dataschema"] = f"#{event.get('dataVersion', '')}"
    return cloud


def encoded(events: Sequence[JsonObject], subscription: Subscription) -> bytes:
    """The body of a delivery.

    Always an array in Event Grid's schema. A CloudEvent comes alone, as an object, unless
    the subscription asks for batches: how those look at a webhook is not documented; an
    array, as Event Grid's namespaces send it, is assumed.
    """
    return _json(events[0] if _is_lone(events, subscription) else list(events))


def headers_of(
    events: Sequence[JsonObject], subscription: Subscription, *, delivery_count: int
) -> dict[str, str]:
    """The headers of a delivery; `delivery_count` is 0 at the first attempt."""
    first = events[0]
    headers = {
        "Content-Type": content_type(events, subscription),
        **aeg_headers(subscription, NOTIFICATION),
        "aeg-delivery-count": str(delivery_count),
    }
    if subscription.schema == "eventgrid":
        headers["aeg-metadata-version"] = _as_header(first.get("metadataVersion", "1"))
        headers["aeg-data-version"] = _as_header(first.get("dataVersion", ""))
    else:
        headers["aeg-metadata-version"] = SPEC_VERSION
        headers[ORIGIN_HEADER] = ORIGIN
    if len(events) == 1:
        headers["aeg-output-event-id"] = _as_header(first.get("id", ""))
    return headers | bearer(subscription)


def content_type(events: Sequence[JsonObject], subscription: Subscription) -> str:
    """As documented; for batches of CloudEvents as assumed (see `encoded`)."""
    if subscription.schema == "eventgrid":
        return GRID_TYPE
    return CLOUD_TYPE if _is_lone(events, subscription) else CLOUD_BATCH_TYPE


def aeg_headers(subscription: Subscription, event_type: str) -> dict[str, str]:
    """What every POST says; the name arrives in capitals, however it was created."""
    return {
        "aeg-subscription-name": subscription.name.upper(),
        "aeg-event-type": event_type,
        "Accept-Encoding": "gzip, deflate",
    }


def bearer(subscription: Subscription) -> dict[str, str]:
    """The delivery properties and the token."""
    headers = dict(subscription.headers)
    if subscription.token is not None:
        headers["Authorization"] = f"Bearer {subscription.token}"
    return headers


def size_of(event: JsonObject) -> int:
    """How many bytes the event takes in a body."""
    return len(_json(event))


def instant(at: datetime) -> str:
    """A time with the seven digits of .NET."""
    return f"{at:%Y-%m-%dT%H:%M:%S.%f}0Z"


def _as_header(value: object) -> str:
    """Without what no header can hold; what Event Grid makes of that is not documented."""
    return "".join(filter(str.isprintable, str(value)))


def _is_lone(events: Sequence[JsonObject], subscription: Subscription) -> bool:
    is_single = subscription.max_events_per_batch == len(events) == 1
    return subscription.schema == "cloudevents" and is_single


def _unwrapped(item: object) -> JsonObject:
    if not isinstance(item, dict):
        raise ValueError("an event is not an object")  # noqa: TRY004 - as for bad JSON
    inner = item.get("event")
    if "deadLetterProperties" in item and isinstance(inner, dict):
        return inner
    return item


def _json(value: object) -> bytes:
    try:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
    except UnicodeEncodeError:
        # A lone surrogate is legal in JSON, but only as an escape.
        return json.dumps(value, separators=(",", ":")).encode()
