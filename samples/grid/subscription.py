"""An event subscription: where events go, in which schema, how many at once, for how long."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Literal

Schema = Literal["eventgrid", "cloudevents"]
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
