"""The endpoint that Event Grid posts to: HTTP in, one outcome, one status.

The rule: whatever may heal is answered 503; the table is `statuses.status_of`. Who sends is
asked before a byte of the body is read, and what looks like Event Grid's is never taken for
a stranger's: not with a bad key, not at a wrong path.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from aiohttp import web

from handlers import binary_mode, connections, reading, statuses
from handlers import health as probes
from handlers.auth import Auth, Verdict
from handlers.budget import BodyBudget, CrowdedOutError, Hold, Turns
from handlers.callbacks import CallbackRoute
from handlers.connections import ConnectionTable
from handlers.finishing import AtWork
from handlers.health import Health, Phase
from handlers.limits import Limits
from handlers.listening import Connection, ListeningRunner
from handlers.receiver import Received
from handlers.refusals import Refusals, RefusedError, delivery_count
from handlers.statuses import Consent, Refusal
from handlers.weight import weight_bytes
from worker.clock import SystemClock
from worker.ports import Clock

PATH = "/api/events"
CALLBACKS_PATH = "/api/callbacks"
GRACE_SECONDS = 25.0
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
ORIGIN_HEADER = "WebHook-Request-Origin"
TRACE_HEADER = "traceparent"
_EVENT_GRID_PREFIX = "aeg-"
_NO_DELIVERIES = frozenset({"GET", "HEAD", "OPTIONS"})
TURNED_AWAY: web.AppKey[Counter[str]] = web.AppKey("turned_away", Counter)
"""How many deliveries were turned away before they were understood, by reason."""
CALLBACKS: web.AppKey[Counter[str]] = web.AppKey("callbacks", Counter)
"""How many callbacks came, by type; only where they are taken."""
CONNECTIONS: web.AppKey[ConnectionTable] = web.AppKey("connections", ConnectionTable)
BODIES: web.AppKey[BodyBudget] = web.AppKey("bodies", BodyBudget)
_PARTS: web.AppKey["_Parts"] = web.AppKey("parts")
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class DeliveryReceiver(Protocol):
    """What the endpoint needs of handlers.receiver."""

    async def receive(
        self,
        body: bytes,
        *,
        origin: str,
        delivery_count: int | None = None,
        event_header: str = "",
        traceparent: str = "",
    ) -> Received: ...


class Aside(Protocol):
    """Who had better take a delivery while so many are at work, itself counted, if not the
    receiver: see handlers.deferring.
    """

    def __call__(
        self, body: bytearray, *, event_header: str, at_work: int
    ) -> DeliveryReceiver | None: ...


def _nobody(*_body: object, **_told: object) -> None:
    """All goes to the receiver."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Parts:
    """What the app shares with the server that it runs in."""

    limits: Limits
    refusals: Refusals
    table: ConnectionTable
    bodies: BodyBudget
    at_work: AtWork
    turns: Turns
    clock: Clock


def webhook_app(  # noqa: PLR0913 - what it is made of
    receiver: DeliveryReceiver,
    auth: Auth,
    health: Health,
    *,
    origins: frozenset[str] = EVENT_GRID_ORIGINS,
    limits: Limits | None = None,
    clock: Clock | None = None,
    callbacks: CallbackRoute | None = None,
    aside: Aside = _nobody,
) -> web.Application:
    """Build the public endpoint: deliveries, both handshakes, probes. For webhook_runner.

    Callbacks are taken within the same limits; None: there is no such path. `aside` says what
    had better be sorted later.
    """
    limits, clock = limits or Limits(), clock or SystemClock()
    parts = _parts_of(limits, clock)
    app = web.Application()
    app[_PARTS], app[CONNECTIONS] = parts, parts.table
    app[TURNED_AWAY], app[BODIES] = parts.refusals.counts, parts.bodies
    app.cleanup_ctx.append(_swept)
    webhook = _Webhook(receiver, auth, health, parts, aside)
    known_origins = frozenset(origin.casefold() for origin in origins)

    async def consent(request: web.Request) -> web.Response:
        return _consent(request, known_origins)

    if callbacks is not None:
        _add_callbacks(app, callbacks, health)
    elsewhere = _Elsewhere({"POST": webhook.deliver, "OPTIONS": consent}, parts)
    app.add_routes(
        [
            web.post(PATH, webhook.deliver, expect_handler=_not_yet),
            web.options(PATH, consent, expect_handler=_not_yet),
            *probes.routes(health),
            web.route("*", "/{path:.*}", elsewhere.answer, expect_handler=_not_yet),
        ]
    )
    return app


def _parts_of(limits: Limits, clock: Clock) -> _Parts:
    return _Parts(
        limits=limits,
        refusals=Refusals(clock),
        table=ConnectionTable(limits.connections),
        bodies=BodyBudget(),
        at_work=AtWork(limits.budget_seconds + limits.late_seconds),
        turns=Turns(most=limits.turns),
        clock=clock,
    )


def _add_callbacks(
    app: web.Application, callbacks: CallbackRoute, health: Health
) -> None:
    called = _Webhook(callbacks.receiver, callbacks.auth, health, app[_PARTS])
    app[CALLBACKS] = callbacks.receiver.counts
    app.router.add_post(CALLBACKS_PATH, called.deliver, expect_handler=_not_yet)


def webhook_runner(
    app: web.Application, *, grace_seconds: float = GRACE_SECONDS
) -> web.AppRunner:
    """Run the app within its limits, and without an access log: the query holds the key.

    `cleanup` waits `grace_seconds` for the deliveries that it has begun to answer.
    """
    parts = app[_PARTS]
    return ListeningRunner(
        app,
        limits=parts.limits,
        table=parts.table,
        refusals=parts.refusals,
        grace_seconds=grace_seconds,
    )


def deliveries_at_work(app: web.Application) -> int:
    """How many are being sorted or stored just now."""
    return len(app[_PARTS].at_work)


async def work_finished(app: web.Application) -> None:
    """Wait until nothing is at work any more, for as long as a delivery may take."""
    parts = app[_PARTS]
    await parts.at_work.finish(parts.limits.budget_seconds)


async def _swept(app: web.Application) -> AsyncIterator[None]:
    """Keep all times for as long as the app runs; then cut what nobody waits for."""
    parts = app[_PARTS]

    def sweep(now: float) -> None:
        parts.table.sweep(now)
        parts.at_work.sweep(now)

    every = parts.limits.sweep_seconds
    sweeping = asyncio.create_task(
        connections.keep_sweeping(sweep, parts.clock, every=every)
    )
    yield
    sweeping.cancel()
    with suppress(asyncio.CancelledError):
        await sweeping
    await parts.at_work.finish(0)


async def _not_yet(_request: web.Request) -> None:
    """Invite no body before it is known who sends it."""


class _Webhook:
    """POST: authenticate, read within bounds, receive within the budget, answer."""

    def __init__(
        self,
        receiver: DeliveryReceiver,
        auth: Auth,
        health: Health,
        parts: _Parts,
        aside: Aside = _nobody,
    ) -> None:
        self._receiver = receiver
        self._aside = aside
        self._auth = auth
        self._health = health
        self._refusals = parts.refusals
        self._at_work = parts.at_work
        self._bodies = parts.bodies
        self._turns = parts.turns

    async def deliver(self, request: web.Request) -> web.Response:
        """Answer one delivery, whatever happens to it."""
        connection = Connection.of(request)
        try:
            await self._admit(request)
            received = await self._receive(request, connection)
        except RefusedError as error:
            if connection.is_given_up:
                return statuses.answer(error.refusal)  # nobody is there to read it
            return self._turn_away(error.refusal, request)
        except Exception as error:  # noqa: BLE001 - a firewall: no bug may become a final status
            return self._refusals.turn_away(Refusal.BUG, request.headers, bug=error)
        return statuses.answer(received.kind, code=received.validation_code)

    async def _admit(self, request: web.Request) -> None:
        self._check_open()
        match await self._auth.judge(request.headers, request.query):
            case Verdict.UNABLE:
                raise RefusedError(Refusal.UNABLE)
            case Verdict.STRANGER:
                raise RefusedError(
                    Refusal.BAD_CREDENTIAL
                    if _is_event_grid(request.headers)
                    else Refusal.STRANGER
                )
            case Verdict.KNOWN:
                pass

    async def _receive(self, request: web.Request, connection: Connection) -> Received:
        connection.sending()
        hold = await reading.read(request, connection, self._bodies)
        connection.at_work()
        self._at_work.begin()
        try:
            return await self._work(hold, request.headers)
        except CrowdedOutError as error:
            raise RefusedError(Refusal.TOO_MANY) from error
        finally:
            self._at_work.end()
            hold.release()

    async def _work(self, hold: Hold, headers: Mapping[str, str]) -> Received:
        """Sort and store it; this goes on though the answer be given up."""
        self._check_open()  # the body may have taken longer than that
        event_header = headers.get(EVENT_HEADER, "")
        aside = None
        # In binary mode the headers may say that it is a handshake.
        if binary_mode.TYPE_HEADER not in headers:
            aside = self._aside(
                hold.body, event_header=event_header, at_work=len(self._at_work)
            )
        # What is not read now takes no more than is counted already.
        turn = await self._turns.take(0 if aside else weight_bytes(hold.body))
        try:
            return await (aside or self._receiver).receive(
                binary_mode.as_structured(bytes(hold.body), headers),
                origin="webhook",
                delivery_count=delivery_count(headers),
                event_header=event_header,
                traceparent=headers.get(TRACE_HEADER, ""),
            )
        finally:
            turn.end()

    def _check_open(self) -> None:
        if self._health.phase is not Phase.OPEN:
            raise RefusedError(_CLOSED[self._health.phase])

    def _turn_away(self, refusal: Refusal, request: web.Request) -> web.Response:
        answer = self._refusals.turn_away(refusal, request.headers)
        if refusal is Refusal.DRAINING:
            answer.force_close()  # the next request finds whoever takes over
        return answer


_CLOSED = {Phase.STARTING: Refusal.STARTING, Phase.DRAINING: Refusal.DRAINING}


class _Elsewhere:
    """Every path and method that has no route of its own."""

    def __init__(self, endpoint: Mapping[str, _Handler], parts: _Parts) -> None:
        self._endpoint = endpoint
        self._refusals = parts.refusals

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Take `//api/events/` for what it means; keep what is Event Grid's; refuse the rest."""
        is_endpoint = _without_slashes(request.path) == _without_slashes(PATH)
        if is_endpoint and (handler := self._endpoint.get(request.method)):
            return await handler(request)
        refusal = Refusal.NO_SUCH_METHOD if is_endpoint else Refusal.NO_SUCH_PATH
        if request.method not in _NO_DELIVERIES and _is_event_grid(request.headers):
            refusal = Refusal.WRONG_PLACE
        return self._refusals.turn_away(refusal, request.headers)


def _without_slashes(path: str) -> list[str]:
    return [segment for segment in path.split("/") if segment]


def _consent(request: web.Request, origins: frozenset[str]) -> web.Response:
    """Answer the CloudEvents handshake: the header is the consent, not the status.

    It asks for no key: Event Grid may send none with it, and it lets nobody deliver.
    https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/http-webhook.md
    """
    origin = request.headers.get(ORIGIN_HEADER, "").strip()
    if not origin:
        return statuses.answer(Consent.NO_ORIGIN)
    if origin.casefold() not in origins:
        return statuses.answer(Consent.FOREIGN_ORIGIN)
    answer = statuses.answer(Consent.GIVEN)
    answer.headers["Allow"] = "POST"
    answer.headers["WebHook-Allowed-Origin"] = origin
    answer.headers["WebHook-Allowed-Rate"] = "*"
    return answer


def _is_event_grid(headers: Mapping[str, str]) -> bool:
    """Whether it is shaped like a delivery of Event Grid, in either schema."""
    named = (name.lower().startswith(_EVENT_GRID_PREFIX) for name in headers)
    return ORIGIN_HEADER in headers or any(named)
