"""Small objects that were read or written a moment ago: nothing in an archive changes."""

from collections import OrderedDict
from dataclasses import dataclass, field

from worker.ports import Clock

LONGEST_BYTES = 64 * 1024
MOST_BYTES = 8 * 1024 * 1024
FRESH_SECONDS = 60.0
"""An erasure takes objects away; for so long they may still be seen."""


@dataclass(slots=True)
class Recent:
    """What is there, by name; that something is not there is never remembered."""

    clock: Clock
    _kept: OrderedDict[str, tuple[float, bytes]] = field(default_factory=OrderedDict)
    _bytes: int = 0

    def get(self, name: str) -> bytes | None:
        at, data = self._kept.get(name, (0.0, None))
        if data is None or self.clock.monotonic() - at >= FRESH_SECONDS:
            return None
        return data

    def put(self, name: str, data: bytes) -> None:
        if len(data) > LONGEST_BYTES:
            return
        self._drop(name)
        self._kept[name] = self.clock.monotonic(), data
        self._bytes += len(data)
        while self._bytes > MOST_BYTES:
            self._drop(next(iter(self._kept)))

    def forget(self, name: str) -> None:
        """It was erased."""
        self._drop(name)

    def _drop(self, name: str) -> None:
        _, data = self._kept.pop(name, (0.0, b""))
        self._bytes -= len(data)
