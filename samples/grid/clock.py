"""Whose time it is: a real one, as fast as it is wanted, or one that a test drives."""

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import Protocol


class Clock(Protocol):
    """All that the stand-in asks of a clock; `worker.ports.Clock` satisfies it."""

    def now(self) -> datetime:
        """The time, in UTC."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Let so much of this clock's time pass."""
        ...


class PacedClock:
    """Begins now, and runs `speed` times as fast as the real one."""

    def __init__(self, speed: float = 1.0) -> None:
        self._speed = speed
        self._began_at = datetime.now(UTC)
        self._began = time.monotonic()

    def now(self) -> datetime:
        passed = (time.monotonic() - self._began) * self._speed
        return self._began_at + timedelta(seconds=passed)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds / self._speed)
