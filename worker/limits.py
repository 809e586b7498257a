"""What all transfers share: memory for buffers, and connections to the source.

Both are handed out first come, first served, and survive cancellation at any await.
Whoever needs both takes memory before a connection; the other order could deadlock.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from worker.ports import Clock

CUT_SECONDS = 5.0
"""One wave of throttled answers is one piece of news, however many answers it has."""
GROW_SECONDS = 2.0


class _Permits:
    """Counted permits in order of asking."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.in_use = 0
        self._waiters: deque[tuple[int, asyncio.Future[None]]] = deque()

    @property
    def contended(self) -> bool:
        return bool(self._waiters)

    async def take(self, count: int) -> None:
        if not self._waiters and self.in_use + count <= self.limit:
            self.in_use += count
            return
        granted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiter = (count, granted)
        self._waiters.append(waiter)
        try:
            await granted
        except asyncio.CancelledError:
            self._withdraw(waiter)
            raise

    def _withdraw(self, waiter: tuple[int, asyncio.Future[None]]) -> None:
        count, granted = waiter
        if granted.done() and not granted.cancelled():
            self.give_back(count)  # granted in the same tick as the cancellation
            return
        if waiter in self._waiters:
            self._waiters.remove(waiter)
        self._grant()

    def give_back(self, count: int) -> None:
        self.in_use -= count
        self._grant()

    def resize(self, limit: int) -> None:
        self.limit = limit
        self._grant()

    def _grant(self) -> None:
        while self._waiters:
            count, granted = self._waiters[0]
            if granted.cancelled():
                self._waiters.popleft()
                continue
            if self.in_use + count > self.limit:
                return
            self._waiters.popleft()
            self.in_use += count
            granted.set_result(None)


class MemoryBudget:
    """Ceiling on the bytes that all transfers buffer together."""

    def __init__(self, total_bytes: int) -> None:
        if total_bytes < 1:
            raise ValueError("a memory budget is at least one byte")
        self._permits = _Permits(total_bytes)

    @property
    def total_bytes(self) -> int:
        return self._permits.limit

    @property
    def in_use(self) -> int:
        return self._permits.in_use

    @property
    def contended(self) -> bool:
        """Whether someone waits: who holds memory for long should let go and ask again."""
        return self._permits.contended

    def require(self, size_bytes: int) -> None:
        """Raise ValueError if a hold of this size could never be granted."""
        if size_bytes > self.total_bytes:
            raise ValueError(
                f"a buffer of {size_bytes} bytes exceeds the memory budget"
                f" of {self.total_bytes}"
            )

    @asynccontextmanager
    async def hold(self, size_bytes: int) -> AsyncIterator[None]:
        """Wait for `size_bytes` of the budget and keep them."""
        await self.take(size_bytes)
        try:
            yield
        finally:
            self.give_back(size_bytes)

    async def take(self, size_bytes: int) -> None:
        """Wait for `size_bytes` of the budget; whoever has them gives them back."""
        self.require(size_bytes)
        await self._permits.take(size_bytes)

    def give_back(self, size_bytes: int) -> None:
        """Let others have what was taken."""
        self._permits.give_back(size_bytes)


class ConnectionCeiling:
    """How many requests to the source may run at once, over all chunks.

    Additive increase, multiplicative decrease: the limit halves when the source throttles
    and grows by one at a time while answers are good, never above `most`, never under one.
    """

    def __init__(self, most: int, *, clock: Clock, start: int | None = None) -> None:
        if most < 1 or (start is not None and not 1 <= start <= most):
            raise ValueError("a ceiling is at least one connection, and at most `most`")
        self._most = most
        self._clock = clock
        self._permits = _Permits(most if start is None else start)
        self._cut_at: float | None = None
        self._grown_at = clock.monotonic()

    @property
    def most(self) -> int:
        return self._most

    @property
    def limit(self) -> int:
        return self._permits.limit

    @property
    def in_use(self) -> int:
        return self._permits.in_use

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """Wait for one connection and keep it."""
        await self._permits.take(1)
        try:
            yield
        finally:
            self._permits.give_back(1)

    def throttled(self) -> None:
        """The source said: too much."""
        now = self._clock.monotonic()
        if self._cut_at is not None and now - self._cut_at < CUT_SECONDS:
            return
        self._cut_at = self._grown_at = now
        self._permits.resize(max(1, self.limit // 2))

    def succeeded(self) -> None:
        """A request was answered well and to its end."""
        now = self._clock.monotonic()
        if self.limit >= self._most or now - self._grown_at < GROW_SECONDS:
            return
        self._grown_at = now
        self._permits.resize(self.limit + 1)
