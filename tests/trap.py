"""A place on loopback that nothing has any business with."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field


@dataclass(slots=True, kw_only=True)
class Trap:
    """Counts who connects, by what they said first; answers nobody."""

    port: int = 0
    caught: list[bytes] = field(default_factory=list)

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def catch(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.caught.append(b"")
        self.caught[-1] = await reader.read(65_536)
        writer.close()


@asynccontextmanager
async def trap() -> AsyncIterator[Trap]:
    """Set one; whoever fell into it fails the test."""
    there = Trap()
    server = await asyncio.start_server(there.catch, "127.0.0.1", 0)
    there.port = server.sockets[0].getsockname()[1]
    async with server:
        yield there
    assert there.caught == []
