"""How fast one connection may send."""

import asyncio

BURST_S = 0.05
"""Credit for time not used: makes up for a sleep that ended late, and no more."""


class Pace:
    """A token bucket: `take` waits until the bytes may be gone."""

    def __init__(self, bytes_per_second: float) -> None:
        self._bytes_per_second = bytes_per_second
        self._free_at = 0.0

    async def take(self, count: int) -> None:
        now = asyncio.get_running_loop().time()
        start = max(self._free_at, now - BURST_S)
        self._free_at = start + count / self._bytes_per_second
        await asyncio.sleep(max(self._free_at - now, 0))
