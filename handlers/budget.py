"""What all deliveries share: memory for their bodies, and turns to be sorted and stored.

The rule: whoever takes up least goes first. Bodies that are still coming give way, the
largest first, and small deliveries never wait for big ones; so a few slow or huge senders
can't keep the others out.
"""

from collections.abc import Callable

from handlers.limits import KIB, MIB
from worker.limits import MemoryBudget

MAX_BODIES_BYTES = 64 * MIB
"""All bodies in memory together, inflated."""
SMALL_BODY_BYTES = 64 * KIB
"""`preferredBatchSizeInKilobytes` is 64 unless someone changes it."""
RESERVED_BYTES = 8 * MIB
"""Of all bodies together, kept free for small ones."""
SMALL_WORK_BYTES = 16 * MIB
BIG_WORK_BYTES = 64 * MIB
_SMALL_WEIGHT_BYTES = 512 * KIB


class CrowdedOutError(Exception):
    """There is no room, and nobody else who should give way."""


class Hold:
    """The body of one delivery, counted among all others until `release`."""

    def __init__(self, budget: "BodyBudget", give_way: Callable[[], None]) -> None:
        self.body = bytearray()
        self.give_way = give_way
        self._budget = budget

    def append(self, piece: bytes) -> None:
        """Keep one more piece. Raises CrowdedOutError."""
        self._budget.make_room(self, len(piece))
        self.body += piece

    def complete(self) -> None:
        """Give way to nobody any more: the body is whole."""
        self._budget.settle(self)

    def release(self) -> None:
        """Let go; once more does no harm."""
        self._budget.settle(self)
        self._budget.in_use -= len(self.body)
        self.body = bytearray()


class BodyBudget:
    """Ceiling on the bytes of all bodies, with a share of it for small ones."""

    def __init__(
        self,
        total_bytes: int = MAX_BODIES_BYTES,
        *,
        reserved_bytes: int = RESERVED_BYTES,
        small_bytes: int = SMALL_BODY_BYTES,
    ) -> None:
        self.in_use = 0
        self._total = total_bytes
        self._reserved = reserved_bytes
        self._small = small_bytes
        self._sending: dict[Hold, None] = {}

    def open(self, give_way: Callable[[], None]) -> Hold:
        """Begin a body; `give_way` is called when its sender must stop for others."""
        hold = Hold(self, give_way)
        self._sending[hold] = None
        return hold

    def settle(self, hold: Hold) -> None:
        """Take a body for whole, or for given up."""
        self._sending.pop(hold, None)

    def make_room(self, hold: Hold, size_bytes: int) -> None:
        """Count `size_bytes` for this body, at the cost of larger ones if need be."""
        wanted = len(hold.body) + size_bytes
        is_small = wanted <= self._small
        limit = self._total if is_small else self._total - self._reserved
        while self.in_use + size_bytes > limit:
            # Of several as large, the one that has been sending for longest.
            largest = max(self._sending, key=lambda each: len(each.body), default=hold)
            if len(largest.body) < wanted or largest is hold:
                raise CrowdedOutError
            largest.release()
            largest.give_way()
        self.in_use += size_bytes


class Turns:
    """Turns to be at work, in order of asking, by the memory that the work takes."""

    def __init__(
        self,
        *,
        most: int,
        small_bytes: int = SMALL_WORK_BYTES,
        big_bytes: int = BIG_WORK_BYTES,
    ) -> None:
        self.taken = 0
        self._most = most
        self._small = MemoryBudget(small_bytes)
        self._big = MemoryBudget(big_bytes)

    async def take(self, weight_bytes: int) -> "Turn":
        """Wait for a turn, to be ended. Raises CrowdedOutError if too many have asked."""
        if self.taken >= self._most:
            raise CrowdedOutError
        lane = self._small if weight_bytes <= _SMALL_WEIGHT_BYTES else self._big
        size_bytes = min(weight_bytes, lane.total_bytes)
        self.taken += 1
        try:
            await lane.take(size_bytes)
        except BaseException:
            self.taken -= 1
            raise
        return Turn(self, lane, size_bytes)


class Turn:
    """What one delivery at work takes up, until `end`."""

    __slots__ = ("_lane", "_size_bytes", "_turns")

    def __init__(self, turns: Turns, lane: MemoryBudget, size_bytes: int) -> None:
        self._turns = turns
        self._lane = lane
        self._size_bytes = size_bytes

    def end(self) -> None:
        """Leave it to the next one."""
        self._turns.taken -= 1
        self._lane.give_back(self._size_bytes)
