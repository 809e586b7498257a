"""Probes. Ready means: a delivery can be stored durably now, and nothing else."""

import asyncio
from collections.abc import Awaitable, Callable
from enum import StrEnum

from aiohttp import web

from worker.errors import WorkerError
from worker.ports import Clock

_PROBE_SECONDS = 5.0
_FRESH_SECONDS = 1.0
Probe = Callable[[], Awaitable[None]]


class Phase(StrEnum):
    """Whether this endpoint takes deliveries."""

    STARTING = "starting"
    OPEN = "open"
    DRAINING = "draining"


class Health:
    """The state of this endpoint; `probe` raises a WorkerError if nothing can be stored.

    Without a probe it is starting until `open`. The answer of the probe is good for a
    second, so that strangers can't wear out the queue.
    """

    def __init__(self, probe: Probe | None, clock: Clock) -> None:
        self.phase = Phase.STARTING
        self._clock = clock
        self._probed_at: float | None = None
        self._trouble: str | None = None
        self._turn = asyncio.Lock()
        if probe is not None:
            self.open(probe)

    def open(self, probe: Probe) -> None:
        """Take deliveries from now on."""
        self._probe = probe
        self.phase = Phase.OPEN

    @property
    def draining(self) -> bool:
        """Whether this process is on its way out and takes nothing more."""
        return self.phase is Phase.DRAINING

    def drain(self) -> None:
        """Take nothing more from now on."""
        self.phase = Phase.DRAINING

    async def trouble(self) -> str | None:
        """Say why no delivery can be taken; None: ready."""
        if self.phase is not Phase.OPEN:
            return self.phase.value
        async with self._turn:
            if not self._is_fresh():
                self._trouble = await self._ask()
                self._probed_at = self._clock.monotonic()
        return self._trouble

    def _is_fresh(self) -> bool:
        if self._probed_at is None:
            return False
        return self._clock.monotonic() - self._probed_at < _FRESH_SECONDS

    async def _ask(self) -> str | None:
        try:
            async with asyncio.timeout(_PROBE_SECONDS):
                await self._probe()
        except WorkerError as error:
            return error.reason
        except TimeoutError:
            return "timeout"
        return None


async def _needs_no_body(_request: web.Request) -> None:
    """Invite no body: nobody reads it."""


def routes(health: Health) -> list[web.RouteDef]:
    """Return `/livez` and `/readyz`."""

    async def livez(_request: web.Request) -> web.Response:
        return web.Response(text="alive\n")

    async def readyz(_request: web.Request) -> web.Response:
        trouble = await health.trouble()
        return web.Response(
            text=f"{trouble or 'ready'}\n", status=503 if trouble else 200
        )

    return [
        web.get("/livez", livez, expect_handler=_needs_no_body),
        web.get("/readyz", readyz, expect_handler=_needs_no_body),
    ]
