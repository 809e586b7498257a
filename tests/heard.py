"""The log lines of this process, as they are written."""

import asyncio

import structlog
from structlog.typing import EventDict

PATIENCE_SECONDS = 10


class Heard:
    """What was logged so far, and a way to wait for more."""

    def __init__(self) -> None:
        self.lines: list[EventDict] = []
        self._wrote = asyncio.Event()

    def __call__(self, _logger: object, _method: str, line: EventDict) -> EventDict:
        self.lines.append(line)
        self._wrote.set()
        raise structlog.DropEvent

    def of(self, event: str) -> list[EventDict]:
        return [line for line in self.lines if line["event"] == event]

    async def wait_for(self, event: str) -> EventDict:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not self.of(event):
                self._wrote.clear()
                await self._wrote.wait()
        return self.of(event)[-1]
