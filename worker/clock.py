"""The real clock: the one place that asks the machine for the time."""

import asyncio
import time
from datetime import UTC, datetime


class SystemClock:
    """Satisfies ports.Clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
