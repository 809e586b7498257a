"""The authority's keys at hand: loaded ahead of need, by one at a time, kept through outages.

Who bears a token under a key that nobody knows costs the authority one request in
`COOL_DOWN_SECONDS` at most, however many names they invent.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager

import structlog
from jwt import PyJWK

from handlers.jwks import KeySetError
from worker.errors import WorkerError
from worker.ports import Clock

REFRESH_SECONDS = 3600.0
"""Microsoft asks for once in 24 hours; a key that was withdrawn is gone within this."""
KEPT_SECONDS = 24 * 3600.0
"""How long keys serve while no others can be had. Then nobody is known by them: an outage
that long may be somebody keeping a withdrawn key alive."""
COOL_DOWN_SECONDS = 30.0
"""Event Grid comes back after as long."""
LOAD_SECONDS = 5.0
"""How long a load may take, and so the longest that a delivery waits here."""
NO_KEYS: Mapping[str, PyJWK] = {}
Load = Callable[[], Awaitable[Mapping[str, PyJWK]]]

log: structlog.typing.FilteringBoundLogger = structlog.get_logger(__name__)


class KeysUnavailableError(WorkerError):
    """Whether there is such a key can't be told now."""

    reason = "keys-unavailable"
    hint = "recording-worker config"


class SigningKeys:
    """The keys by name. `refreshed` loads them at once and from then on."""

    def __init__(self, load: Load, *, clock: Clock) -> None:
        self._load = load
        self._clock = clock
        self._keys = NO_KEYS
        self._loaded_at = 0.0
        self._loading: asyncio.Task[None] | None = None
        self._again_at = clock.monotonic()
        self._failing_since: float | None = None
        self._told_usable: bool | None = None

    async def find(self, name: str) -> PyJWK | None:
        """Return the key of that name; None: there is none.

        Waits for a load, if at all, `LOAD_SECONDS` at most. Raises KeysUnavailableError if
        the key is not at hand and the authority did not answer when it was last asked.
        """
        found = self._usable().get(name)
        if found is None:
            await self._reload_unless_just_done()
            found = self._usable().get(name)
        if found is None and self._failing_since is not None:
            raise KeysUnavailableError("the authority's keys can't be had")
        return found

    @asynccontextmanager
    async def refreshed(self) -> AsyncIterator[None]:
        """Load now, and again and again while the body runs."""
        refreshing = asyncio.create_task(self._keep_fresh(), name="signing keys")
        try:
            yield
        finally:
            tasks = {refreshing, *([self._loading] if self._loading else [])}
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    async def _keep_fresh(self) -> None:
        while True:
            await self._reload()
            is_failing = self._failing_since is not None
            await self._clock.sleep(
                COOL_DOWN_SECONDS if is_failing else REFRESH_SECONDS
            )

    def _usable(self) -> Mapping[str, PyJWK]:
        age = self._clock.monotonic() - self._loaded_at
        return self._keys if age <= KEPT_SECONDS else NO_KEYS

    async def _reload_unless_just_done(self) -> None:
        if self._loading is None and self._clock.monotonic() < self._again_at:
            return
        await self._reload()

    async def _reload(self) -> None:
        """Wait for the load that runs, or for a new one.

        It is a task of its own: whoever wanted it first may go away, the others wait on.
        """
        if self._loading is None:
            self._loading = asyncio.create_task(self._load_once(), name="load of keys")
        await asyncio.wait({self._loading})

    async def _load_once(self) -> None:
        try:
            keys = await self._loaded_in_time()
        except KeySetError as error:
            self._failed(str(error))
        except Exception as error:  # noqa: BLE001 - a firewall: the keys at hand serve on
            self._failed(str(error), bug=error)
        else:
            self._succeeded(keys)
        finally:
            self._again_at = self._clock.monotonic() + COOL_DOWN_SECONDS
            self._loading = None

    async def _loaded_in_time(self) -> Mapping[str, PyJWK]:
        loading = asyncio.ensure_future(self._load())
        timer = asyncio.ensure_future(self._clock.sleep(LOAD_SECONDS))
        try:
            await asyncio.wait({loading, timer}, return_when=asyncio.FIRST_COMPLETED)
            if not loading.done():
                raise KeySetError(f"no answer within {LOAD_SECONDS:.0f} s")
            return loading.result()
        finally:
            loading.cancel()
            timer.cancel()
            await asyncio.wait({loading, timer})

    def _succeeded(self, keys: Mapping[str, PyJWK]) -> None:
        now = self._clock.monotonic()
        self._keys, self._loaded_at = keys, now
        if self._failing_since is not None:
            log.info("authority.resumed", after_s=round(now - self._failing_since, 1))
        self._failing_since = self._told_usable = None

    def _failed(self, why: str, *, bug: Exception | None = None) -> None:
        """Say so once; and once more when the keys at hand have become too old."""
        if self._failing_since is None:
            self._failing_since = self._clock.monotonic()
        is_usable = bool(self._usable())
        if is_usable is not self._told_usable:
            self._told_usable = is_usable
            write = log.warning if is_usable else log.error
            write("authority.unavailable", error=why, exc_info=bug)
