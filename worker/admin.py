"""The admin listener: `/metrics`, `/health` and `/livez`, for those who look after a worker.

It shows no secret and nothing of an event, and it takes nothing in. That it can't listen
stops no work, and however many ask, they hold none up: recordings matter more than numbers
about them.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

import msgspec
import structlog
from aiohttp import web

from worker.settings_shapes import Listen
from worker.standing import Standing
from worker.threads import in_daemon

if TYPE_CHECKING:
    # Start-up cost: see worker/telemetry/setup.py.
    from prometheus_client import CollectorRegistry

LINKS = "/metrics\n/health\n/livez\n"
MOST_CONNECTIONS = 32
"""A few who look, and their browsers."""
LAST_WORDS_SECONDS = 1.0
"""How long a stop waits for answers that are under way."""
log: structlog.typing.FilteringBoundLogger = structlog.get_logger(__name__)


@asynccontextmanager
async def open_admin(
    at: Listen | None, standing: Standing, registry: "CollectorRegistry | None"
) -> AsyncIterator[None]:
    """Listen while the body runs, if there is an address and it can be had.

    Two workers of one machine have one default address: the second says so and works on.
    """
    if at is None:
        yield
        return
    runner = _Runner(
        admin_app(standing, registry),
        shutdown_timeout=LAST_WORDS_SECONDS,
    )
    await runner.setup()
    try:
        await _listen(runner, at)
        yield
    finally:
        await runner.cleanup()


async def _listen(runner: web.AppRunner, at: Listen) -> None:
    try:
        await web.TCPSite(runner, at.host, at.port).start()
    except OSError as error:
        log.warning(
            "admin.unavailable",
            listen=str(at),
            error=error.strerror,
            hint="WORKER_ADMIN_LISTEN=127.0.0.1:0 takes any free port, off takes none",
        )
        return
    host, port, *_ = runner.addresses[0]
    log.info("admin.listening", listen=f"http://{Listen(host=host, port=port)}")


def admin_app(
    standing: Standing, registry: "CollectorRegistry | None"
) -> web.Application:
    """The routes. Without a registry there are no metrics."""
    pages = _Pages(standing, registry)
    app = web.Application()
    app.add_routes(
        [
            web.get("/", pages.links),
            web.get("/metrics", pages.metrics),
            web.get("/health", pages.health),
            web.get("/livez", pages.livez),
        ]
    )
    return app


class _Server(web.Server):
    """Takes every new connection in, and has the oldest give way: whoever keeps all of them
    open, on purpose or not, keeps nobody out.
    """

    def __init__(self, inner: web.Server) -> None:
        super().__init__(
            inner.request_handler,
            request_factory=inner.request_factory,
            access_log=None,
        )
        self._open: dict[web.RequestHandler, asyncio.Transport] = {}

    def connection_made(
        self, handler: web.RequestHandler, transport: asyncio.Transport
    ) -> None:
        super().connection_made(handler, transport)
        if len(self._open) >= MOST_CONNECTIONS:
            self._open.pop(next(iter(self._open))).abort()
        self._open[handler] = transport

    def connection_lost(
        self, handler: web.RequestHandler, exc: BaseException | None = None
    ) -> None:
        self._open.pop(handler, None)
        super().connection_lost(handler, exc)


class _Runner(web.AppRunner):
    """Runs an app behind a _Server."""

    async def _make_server(self) -> web.Server:
        return _Server(await super()._make_server())


class _Scrape:
    """The text of `/metrics`, made by one thread at a time, beside the loop.

    It takes milliseconds in which a loop would answer no delivery and renew no lease. Who
    asks while it is being made gets the same: numbers of now are wanted, not one's own.
    """

    def __init__(self, registry: "CollectorRegistry") -> None:
        self._registry = registry
        self._making: asyncio.Task[bytes] | None = None

    async def text(self) -> bytes:
        if self._making is None or self._making.done():
            self._making = asyncio.create_task(self._made(), name="scrape")
        # Who goes away takes it from nobody else.
        return await asyncio.shield(self._making)

    async def _made(self) -> bytes:
        from prometheus_client import generate_latest

        return await in_daemon("scrape", partial(generate_latest, self._registry))


class _Pages:
    """What is answered."""

    def __init__(
        self, standing: Standing, registry: "CollectorRegistry | None"
    ) -> None:
        self._standing = standing
        self._scrape = None if registry is None else _Scrape(registry)

    async def metrics(self, _: web.Request) -> web.Response:
        if self._scrape is None:
            return web.Response(status=404, text="OTEL_SDK_DISABLED is true\n")
        from prometheus_client import CONTENT_TYPE_LATEST

        headers = {"Content-Type": CONTENT_TYPE_LATEST}
        return web.Response(body=await self._scrape.text(), headers=headers)

    async def health(self, _: web.Request) -> web.Response:
        report = self._standing.report()
        return web.Response(
            body=msgspec.json.encode(report),
            content_type="application/json",
            status=200 if report.is_well else 503,
        )

    async def livez(self, _: web.Request) -> web.Response:
        is_stalled = self._standing.is_stalled
        return web.Response(
            text="stalled\n" if is_stalled else "alive\n",
            status=503 if is_stalled else 200,
        )

    async def links(self, _: web.Request) -> web.Response:
        return web.Response(text=LINKS)
