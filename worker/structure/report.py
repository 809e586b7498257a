"""What a structural check reads, and what it finds."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal

Read = Callable[[int, int], Awaitable[bytes]]
"""Gives bytes [offset, offset + length) of the object, fewer at its end."""
MediaKind = Literal["mp4", "wav", "mp3", "unknown"]
AHEAD_BYTES = 16 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class StructureReport:
    """Whether the bytes are one whole piece of media, and why (not)."""

    ok: bool
    kind: MediaKind
    detail: str
    duration_ms: float | None


class BrokenMediaError(Exception):
    """Why a check gives up; every check turns it into its report."""


class Window:
    """Many small reads out of few larger ones; never more memory than AHEAD_BYTES."""

    def __init__(self, read: Read, size: int) -> None:
        self._read = read
        self._size = size
        self._start = 0
        self._data = b""

    async def at(self, offset: int, length: int) -> bytes:
        """Bytes [offset, offset + length), fewer at the end; `length` is the caller's constant."""
        begin = offset - self._start
        if begin < 0 or begin + length > len(self._data):
            ahead = min(max(length, AHEAD_BYTES), self._size - offset)
            self._data = await self._read(offset, ahead) if ahead > 0 else b""
            self._start = offset
            begin = 0
        return self._data[begin : begin + length]


def broken(kind: MediaKind, error: BrokenMediaError) -> StructureReport:
    """The report of a check that gave up."""
    return StructureReport(ok=False, kind=kind, detail=str(error), duration_ms=None)
