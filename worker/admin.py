"""The admin listener: `/metrics`, `/health` and `/livez`, for those who look after a worker.

It shows no secret and nothing of an event, and it takes nothing in. That it can't listen
stops no work: recordings matter more than numbers about them.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import msgspec
import structlog
from aiohttp import web

from worker.settings_shapes import Listen
from worker.standing import Standing

if TYPE_CHECKING:
    # Start-up cost: see worker/telemetry/setup.py.
    from prometheus_client import CollectorRegistry

LINKS = "/metrics\n/health\n/livez\n"
_LAST_WORDS_SECONDS = 1.0
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
    runner = web.AppRunner(
        admin_app(standing, registry),
        access_log=None,
        shutdown_timeout=_LAST_WORDS_SECONDS,
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


class _Pages:
    """What is answered."""

    def __init__(
        self, standing: Standing, registry: "CollectorRegistry | None"
    ) -> None:
        self._standing = standing
        self._registry = registry

    async def metrics(self, _: web.Request) -> web.Response:
        if self._registry is None:
            return web.Response(status=404, text="OTEL_SDK_DISABLED is true\n")
        from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

        headers = {"Content-Type": CONTENT_TYPE_LATEST}
        return web.Response(body=generate_latest(self._registry), headers=headers)

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
