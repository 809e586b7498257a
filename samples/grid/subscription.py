"""An event subscription: where events go, in which schema, how many at once, for how long."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Literal, Self

Schema = Literal["eventgrid", "cloudevents"]
ARM_SCHEMAS: Mapping[str, Schema] = {
    "EventGridSchema": "eventgrid",
    "CloudEventSchemaV1_0": "cloudevents",
}
DEMO_TOPIC = (
    "/subscriptions/3c6f1b0e-2f5d-4f6e-9d0a-7b8e5a1c2d34/resourceGroups/recordings"
    "/providers/Microsoft.Communication/CommunicationServices/contoso"
)
"""The topic of the sample events, in the case of an ARM id."""
ATTEMPTS = range(1, 31)
TTL_MINUTES = range(1, 1441)
BATCH_EVENTS = range(1, 5001)
BATCH_KIB = range(1, 1025)
MAX_HEADERS = 10
MAX_HEADER_BYTES = 4096
RESERVED_PREFIX = "aeg-"


class SubscriptionError(ValueError):
    """Event Grid would not create such a subscription."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscription:
    """What Event Grid knows of one subscriber; the defaults are Event Grid's own.

    `endpoint` is the whole URL: its query is part of every request. `headers` are the
    delivery properties, `token` goes out as `Authorization: Bearer`; none of the three is
    printed. Raises SubscriptionError where Event Grid has other limits.
    https://learn.microsoft.com/azure/event-grid/delivery-and-retry
    https://learn.microsoft.com/azure/event-grid/delivery-properties
    """

    name: str
    endpoint: str = field(repr=False)
    schema: Schema = "eventgrid"
    topic: str = DEMO_TOPIC
    max_events_per_batch: int = 1
    preferred_batch_kib: int = 64
    time_to_live: timedelta = timedelta(minutes=1440)
    max_attempts: int = 30
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    token: str | None = field(default=None, repr=False)
    included_event_types: frozenset[str] = frozenset()
    """Which types are for this subscriber; none: all."""
    dead_letter_container: str | None = None
    """Without one, what can't be delivered is dropped."""
    is_handshake_bare: bool = False
    """Whether the handshake goes without `headers` and `token`: not documented."""

    def __post_init__(self) -> None:
        _within("max_attempts", self.max_attempts, ATTEMPTS)
        minutes = self.time_to_live // timedelta(minutes=1)
        _within("time_to_live in minutes", minutes, TTL_MINUTES)
        _within("max_events_per_batch", self.max_events_per_batch, BATCH_EVENTS)
        _within("preferred_batch_kib", self.preferred_batch_kib, BATCH_KIB)
        if len(self.headers) > MAX_HEADERS:
            raise SubscriptionError(f"more than {MAX_HEADERS} delivery properties")
        for name, value in self.headers.items():
            _check_header(name, value)

    @classmethod
    def from_arm(
        cls, properties: Mapping[str, Any], *, name: str, endpoint: str
    ) -> Self:
        """Read what ARM calls the properties of `Microsoft.EventGrid/eventSubscriptions`.

        https://learn.microsoft.com/azure/templates/microsoft.eventgrid/eventsubscriptions
        """
        batches = _properties(properties, "destination")
        retries = properties.get("retryPolicy", {})
        included = properties.get("filter", {}).get("includedEventTypes") or ()
        dead_letters = _properties(properties, "deadLetterDestination")
        schema = properties.get("eventDeliverySchema", "EventGridSchema")
        if schema not in ARM_SCHEMAS:
            raise SubscriptionError(
                f"eventDeliverySchema {schema!r} is not for webhooks"
            )
        return cls(
            name=name,
            endpoint=endpoint,
            schema=ARM_SCHEMAS[schema],
            max_events_per_batch=batches.get("maxEventsPerBatch", 1),
            preferred_batch_kib=batches.get("preferredBatchSizeInKilobytes", 64),
            time_to_live=timedelta(
                minutes=retries.get("eventTimeToLiveInMinutes", 1440)
            ),
            max_attempts=retries.get("maxDeliveryAttempts", 30),
            included_event_types=frozenset(included),
            dead_letter_container=dead_letters.get("blobContainerName"),
        )


def _properties(of: Mapping[str, Any], part: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = (of.get(part) or {}).get("properties", {})
    return found


def _within(what: str, value: int, legal: range) -> None:
    if value not in legal:
        raise SubscriptionError(
            f"{what} is {value}, not {legal.start} to {legal.stop - 1}"
        )


def _check_header(name: str, value: str) -> None:
    if name.casefold().startswith(RESERVED_PREFIX):
        raise SubscriptionError(
            f"delivery property {name!r}: {RESERVED_PREFIX} is taken"
        )
    if len(value.encode()) > MAX_HEADER_BYTES:
        raise SubscriptionError(
            f"delivery property {name!r} is longer than {MAX_HEADER_BYTES} bytes"
        )
