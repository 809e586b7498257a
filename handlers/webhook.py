"""The endpoint that Event Grid posts to: HTTP in, one outcome, one status.

The rule: 400, 401, 403, 404 and 413 are never sent again, so they are a decision to throw
away; whatever may heal is answered 503. `_answer` is the only place that picks a status.
https://learn.microsoft.com/azure/event-grid/delivery-and-retry
"""

import asyncio
import re
from collections import Counter
from collections.abc import Mapping
from enum import StrEnum
from typing import Protocol, assert_never

import aiohttp
import structlog
from aiohttp import web

from handlers import binary_mode
from handlers import health as probes
from handlers.auth import Auth, Verdict
from handlers.health import Health
from handlers.receiver import Received, ReceivedKind

PATH = "/api/events"
BUDGET_SECONDS = 25.0
"""Event Grid waits 30 s for the answer."""
MIB = 1024 * 1024
MAX_BODY_BYTES = 8 * MIB
"""Far over the 1 MB that Event Grid sends at most."""
MAX_BODIES_BYTES = 64 * MIB
"""All bodies in memory together."""
MAX_HEADER_BYTES = 32 * 1024
RETRY_AFTER_SECONDS = "30"
EVENT_GRID_ORIGINS = frozenset(
    {
        "eventgrid.azure.net",
        "eventgrid.azure.us",
        "eventgrid.azure.cn",
        "eventgrid.azure.eaglex.ic.gov",
        "eventgrid.azure.microsoft.scloud",
    }
)
EVENT_HEADER = "aeg-event-type"
COUNT_HEADER = "aeg-delivery-count"
ORIGIN_HEADER = "WebHook-Request-Origin"
_EVENT_GRID_PREFIX = "aeg-"
_COUNT = re.compile(r"[0-9]{1,6}")
TURNED_AWAY: web.AppKey[Counter[str]] = web.AppKey("turned_away", Counter)
"""How many deliveries were turned away before they were understood, by reason."""

log: structlog.typing.FilteringBoundLogger = structlog.get_logger(__name__)


class DeliveryReceiver(Protocol):
    """What the endpoint needs of handlers.receiver."""

    async def receive(
        self,
        body: bytes,
        *,
        origin: str,
        delivery_count: int | None = None,
        event_header: str = "",
    ) -> Received: ...


class Refusal(StrEnum):
    """Why a delivery was turned away before the receiver could say anything about it."""

    STRANGER = "unauthorized"
    BAD_CREDENTIAL = "bad-credential"
    """Event Grid's headers, but not our key: a rotated key must not lose recordings."""
    UNABLE = "cannot-authenticate"
    """What it takes to tell ours from strangers can't be had: our trouble, not theirs."""
    DRAINING = "draining"
    TOO_LARGE = "too-large"
    """Nothing legal is. Not 413, which is final: should Event Grid's limit ever grow, its
    retries leave time to notice, and its dead letters keep the event."""
    TOO_MANY = "too-many-bytes"
    UNREADABLE = "unreadable"
    """Cut off, or its encoding is broken: only the same bytes sent again can mend that."""
    TIMEOUT = "timeout"
    BUG = "bug"


_LOUD = frozenset({Refusal.BAD_CREDENTIAL, Refusal.UNABLE})
"""A human must look: these won't heal by themselves, and recordings wait."""


class _RefusedError(Exception):
    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal)
        self.refusal = refusal


def webhook_app(
    receiver: DeliveryReceiver,
    auth: Auth,
    health: Health,
    *,
    origins: frozenset[str] = EVENT_GRID_ORIGINS,
    budget_seconds: float = BUDGET_SECONDS,
) -> web.Application:
    """Build the public endpoint: deliveries, both handshakes, probes."""
    app = web.Application(client_max_size=MAX_BODY_BYTES)
    app[TURNED_AWAY] = Counter()
    webhook = _Webhook(
        receiver, auth, health, turned_away=app[TURNED_AWAY], budget=budget_seconds
    )
    known_origins = frozenset(origin.casefold() for origin in origins)

    async def consent(request: web.Request) -> web.Response:
        return _consent(request, known_origins)

    app.add_routes(
        [
            web.post(PATH, webhook.deliver),
            web.options(PATH, consent),
            *probes.routes(health),
        ]
    )
    return app


def webhook_runner(
    app: web.Application, *, grace_seconds: float = BUDGET_SECONDS
) -> web.AppRunner:
    """Run the app without an access log, for the query holds the key.

    `cleanup` waits `grace_seconds` for the deliveries that it has begun to answer.
    Header limits are wide: aiohttp would answer 400 to a long token, and 400 is final.
    """
    return web.AppRunner(
        app,
        access_log=None,
        shutdown_timeout=grace_seconds,
        max_field_size=MAX_HEADER_BYTES,
        max_line_size=MAX_HEADER_BYTES,
    )


class _Webhook:
    """POST: authenticate, read within bounds, receive within the budget, answer."""

    def __init__(
        self,
        receiver: DeliveryReceiver,
        auth: Auth,
        health: Health,
        *,
        turned_away: Counter[str],
        budget: float,
    ) -> None:
        self._receiver = receiver
        self._auth = auth
        self._health = health
        self._turned_away = turned_away
        self._budget_seconds = budget
        self._bytes_held = 0

    async def deliver(self, request: web.Request) -> web.Response:
        """Answer one delivery, whatever happens to it."""
        try:
            async with asyncio.timeout(self._budget_seconds):
                await self._admit(request)
                received = await self._receive(request)
        except _RefusedError as error:
            return self._turn_away(error.refusal, request)
        except TimeoutError:
            return self._turn_away(Refusal.TIMEOUT, request)
        except Exception as error:  # noqa: BLE001 - a firewall: no bug may become a final status
            return self._turn_away(Refusal.BUG, request, bug=error)
        return _answer(received.kind, code=received.validation_code)

    async def _admit(self, request: web.Request) -> None:
        match await self._auth.judge(request.headers, request.query):
            case Verdict.UNABLE:
                raise _RefusedError(Refusal.UNABLE)
            case Verdict.STRANGER:
                raise _RefusedError(
                    Refusal.BAD_CREDENTIAL
                    if _is_event_grid(request.headers)
                    else Refusal.STRANGER
                )
            case Verdict.KNOWN:
                pass
        if self._health.draining:
            raise _RefusedError(Refusal.DRAINING)

    async def _receive(self, request: web.Request) -> Received:
        body = bytearray()
        try:
            await self._read(request, body)
            return await self._receiver.receive(
                binary_mode.as_structured(bytes(body), request.headers),
                origin="webhook",
                delivery_count=_delivery_count(request),
                event_header=request.headers.get(EVENT_HEADER, ""),
            )
        finally:
            self._bytes_held -= len(body)

    async def _read(self, request: web.Request, body: bytearray) -> None:
        """Fill `body` as it comes, counting it among all bodies in memory."""
        try:
            async for part in request.content.iter_any():
                if len(body) + len(part) > MAX_BODY_BYTES:
                    raise _RefusedError(Refusal.TOO_LARGE)
                if self._bytes_held + len(part) > MAX_BODIES_BYTES:
                    raise _RefusedError(Refusal.TOO_MANY)
                body += part
                self._bytes_held += len(part)
        except (web.RequestPayloadError, aiohttp.ClientError, OSError) as error:
            raise _RefusedError(Refusal.UNREADABLE) from error

    def _turn_away(
        self, refusal: Refusal, request: web.Request, *, bug: Exception | None = None
    ) -> web.Response:
        self._turned_away[refusal.value] += 1
        fields = {"reason": refusal.value, "delivery_count": _delivery_count(request)}
        if bug is not None:
            log.error("delivery.rejected", exc_info=bug, **fields)
        elif refusal in _LOUD:
            log.error("delivery.refused", **fields)
        else:
            log.warning("delivery.rejected", **fields)
        return _answer(refusal)


def _answer(
    outcome: ReceivedKind | Refusal, *, code: str | None = None
) -> web.Response:
    """Give every outcome its status."""
    match outcome:
        case ReceivedKind.ACCEPTED | ReceivedKind.IGNORED:
            return web.Response(status=200)
        case ReceivedKind.VALIDATION:
            return web.json_response({"validationResponse": code})
        case ReceivedKind.MALFORMED:
            return web.Response(status=400, text="malformed, kept in quarantine\n")
        case Refusal.STRANGER:
            return web.Response(status=401)
        case (
            ReceivedKind.UNAVAILABLE
            | Refusal.BAD_CREDENTIAL
            | Refusal.UNABLE
            | Refusal.DRAINING
            | Refusal.TOO_LARGE
            | Refusal.TOO_MANY
            | Refusal.UNREADABLE
            | Refusal.TIMEOUT
            | Refusal.BUG
        ):
            return web.Response(
                status=503, headers={"Retry-After": RETRY_AFTER_SECONDS}
            )
        case _:
            assert_never(outcome)


def _consent(request: web.Request, origins: frozenset[str]) -> web.Response:
    """Answer the CloudEvents handshake: the header is the consent, not the status.

    It asks for no key: Event Grid may send none with it, and it lets nobody deliver.
    https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/http-webhook.md
    """
    origin = request.headers.get(ORIGIN_HEADER, "").strip()
    if not origin:
        return web.Response(status=400)
    if origin.casefold() not in origins:
        return web.Response(status=403)
    return web.Response(
        headers={
            "Allow": "POST",
            "WebHook-Allowed-Origin": origin,
            "WebHook-Allowed-Rate": "*",
        }
    )


def _is_event_grid(headers: Mapping[str, str]) -> bool:
    """Whether it is shaped like a delivery of Event Grid, in either schema."""
    named = (name.lower().startswith(_EVENT_GRID_PREFIX) for name in headers)
    return ORIGIN_HEADER in headers or any(named)


def _delivery_count(request: web.Request) -> int | None:
    """How often Event Grid has tried before; 0 the first time."""
    said = request.headers.get(COUNT_HEADER, "")
    return int(said) if _COUNT.fullmatch(said) else None
