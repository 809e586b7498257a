"""Both handshakes: what Event Grid asks, and whether an answer satisfies it. Pure.

https://learn.microsoft.com/azure/event-grid/end-point-validation-event-grid-events-schema
https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/http-webhook.md
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from samples.grid.messages import (
    GRID_TYPE,
    ORIGIN,
    ORIGIN_HEADER,
    JsonObject,
    aeg_headers,
    bearer,
    instant,
)
from samples.grid.subscription import Subscription

VALIDATION_TYPE = "Microsoft.EventGrid.SubscriptionValidationEvent"
VALIDATION = "SubscriptionValidation"
RATE_HEADER = "WebHook-Request-Rate"
ALLOWED_ORIGIN_HEADER = "WebHook-Allowed-Origin"
ALLOWED_RATE_HEADER = "WebHook-Allowed-Rate"
RESPONSE_KEY = "validationResponse"
_OK = 200
_REDIRECTS = range(300, 400)
_NO_METHOD = 405
_SUCCESS = range(200, 300)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What the endpoint answered, as far as a handshake cares."""

    status: int
    headers: Mapping[str, str]
    """Case-insensitive, as aiohttp has them."""
    body: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Handshake:
    """Whether Event Grid would create the subscription."""

    status: int | None
    """None: there was no answer."""
    problems: tuple[str, ...]
    """Why it would not: one line each. None of them holds the URL or the code."""
    notes: tuple[str, ...] = ()
    """What it would pass over today, and has not always."""

    @property
    def is_passed(self) -> bool:
        return not self.problems


@dataclass(frozen=True, slots=True, kw_only=True)
class Validation:
    """The question of Event Grid's own schema: repeat this code."""

    code: str = field(repr=False)
    event: JsonObject = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)

    @classmethod
    def of(
        cls, subscription: Subscription, *, ids: tuple[UUID, UUID], now: datetime
    ) -> "Validation":
        """Ask with an event id and a code that are new each time."""
        event_id, code = (str(each) for each in ids)
        event: JsonObject = {
            "id": event_id,
            "topic": subscription.topic,
            "subject": "",
            "data": {"validationCode": code, "validationUrl": _manual_url(code)},
            "eventType": VALIDATION_TYPE,
            "eventTime": instant(now),
            "metadataVersion": "1",
            "dataVersion": "2",
        }
        headers = {
            "Content-Type": GRID_TYPE,
            **aeg_headers(subscription, VALIDATION),
            "aeg-delivery-count": "0",
            "aeg-metadata-version": "1",
            "aeg-data-version": "2",
            **({} if subscription.is_handshake_bare else bearer(subscription)),
        }
        return cls(code=code, event=event, headers=headers)

    def judge(self, reply: Reply) -> Handshake:
        """Hold an answer against what Event Grid takes."""
        return Handshake(
            status=reply.status,
            problems=tuple(self._problems(reply)),
            notes=tuple(_notes(reply)) if reply.status == _OK else (),
        )

    def _problems(self, reply: Reply) -> Iterator[str]:
        if reply.status in _REDIRECTS:
            yield f"answered {reply.status}: the handshake follows no redirect"
        elif reply.status in _SUCCESS and reply.status != _OK:
            yield (
                f"answered {reply.status}: it does for a delivery, but the handshake "
                "takes 200 only"
            )
        elif reply.status != _OK:
            yield f"answered {reply.status} instead of 200"
        else:
            yield from self._body_problems(reply.body)

    def _body_problems(self, body: bytes) -> Iterator[str]:
        said = _object(body)
        if said is None:
            yield "answered 200 without a JSON object; " + _MANUAL
        elif RESPONSE_KEY in said:
            if said[RESPONSE_KEY] != self.code:
                yield f"{RESPONSE_KEY} is not the code that was sent"
        elif found := _misspelt(said):
            yield f"{found!r} has to be {RESPONSE_KEY!r}, in exactly this case"
        else:
            yield f"answered 200 without {RESPONSE_KEY!r}; " + _MANUAL


_MANUAL = (
    "the subscription would wait as AwaitingManualAction for someone to open the "
    "validation URL, and fail after 10 minutes"
)


def consent_headers(subscription: Subscription, *, rate: int | None) -> dict[str, str]:
    """The question of CloudEvents, an OPTIONS: may this origin send (this often a minute)?"""
    headers = {ORIGIN_HEADER: ORIGIN}
    if rate is not None:
        headers[RATE_HEADER] = str(rate)
    return headers | ({} if subscription.is_handshake_bare else bearer(subscription))


def judge_consent(reply: Reply, *, rate: int | None) -> Handshake:
    """The header is the consent; a status alone is none."""
    return Handshake(
        status=reply.status, problems=tuple(_consent_problems(reply, rate=rate))
    )


def _consent_problems(reply: Reply, *, rate: int | None) -> Iterator[str]:
    if reply.status == _NO_METHOD:
        yield "answered 405: OPTIONS does not reach the application"
        return
    if reply.status not in _SUCCESS:
        yield f"answered {reply.status} to OPTIONS"
        return
    allowed = reply.headers.get(ALLOWED_ORIGIN_HEADER)
    if allowed is None:
        yield f"answered {reply.status} without {ALLOWED_ORIGIN_HEADER}: no consent"
    elif allowed.strip().casefold() not in {"*", ORIGIN}:
        yield f"{ALLOWED_ORIGIN_HEADER} is neither {ORIGIN!r} nor '*'"
    if rate is not None and not _is_rate(reply.headers.get(ALLOWED_RATE_HEADER, "")):
        yield f"{ALLOWED_RATE_HEADER} is neither a number nor '*', though a rate was asked"


def _is_rate(said: str) -> bool:
    # Not int(), which reads no more than 4,300 digits.
    is_number = said.isascii() and said.isdecimal()
    return said == "*" or (is_number and bool(said.strip("0")))


def _notes(reply: Reply) -> Iterator[str]:
    if "chunked" in reply.headers.get("Transfer-Encoding", "").casefold():
        # https://github.com/MicrosoftDocs/azure-docs/issues/51296
        yield "the answer is chunked, which broke the handshake once: send Content-Length"
    kind = reply.headers.get("Content-Type", "")
    if kind.partition(";")[0].strip().casefold() != "application/json":
        yield "the answer's Content-Type is not application/json"


def _object(body: bytes) -> JsonObject | None:
    try:
        said = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return said if isinstance(said, dict) else None


def _misspelt(said: JsonObject) -> str | None:
    # https://github.com/MicrosoftDocs/azure-docs/issues/66226
    wanted = RESPONSE_KEY.casefold()
    return next((name for name in said if name.casefold() == wanted), None)


def _manual_url(code: str) -> str:
    """As the service makes them, but of a name that leads nowhere."""
    return (
        "https://rp-stand-in.eventgrid.invalid:553/eventsubscriptions/stand-in/validate"
        f"?id={code}&t=2026-01-01T00:00:00.0000000Z&apiVersion=2023-12-15-preview&token=0"
    )
