"""How fast one connection may send."""

import asyncio

MOST_PIECE_BYTES = 64 * 1024
LEAST_PIECE_BYTES = 1024
PIECES_PER_S = 20
BURST_S = 0.05
"""Credit for time not used: makes up for a sleep that ended late, and no more."""


class Pace:
    """A token bucket: `take` waits until the bytes may be gone."""

    def __init__(self, bytes_per_second: float) -> None:
        self._bytes_per_second = bytes_per_second
        self._free_at = 0.0

    @property
    def piece_bytes(self) -> int:
        """How much to send at a time, so that even a slow body comes in many pieces."""
        a_while = int(self._bytes_per_second / PIECES_PER_S)
        return min(max(a_while, LEAST_PIECE_BYTES), MOST_PIECE_BYTES)

    async def take(self, count: int) -> None:
        now = asyncio.get_running_loop().time()
        start = max(self._free_at, now - BURST_S)
        self._free_at = start + count / self._bytes_per_second
        await asyncio.sleep(max(self._free_at - now, 0))
