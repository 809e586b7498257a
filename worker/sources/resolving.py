"""Names of source hosts to addresses: what the allow-list admits is what is dialled.

A name on the list that leads into a private network, by mistake or by whoever answers for
it, gets no connection. An IP literal is not resolved by anybody: the list has none but those
of loopback. With a proxy its own name alone is resolved here.
"""

import socket
from typing import Final

from aiohttp.abc import AbstractResolver, ResolveResult

from worker.sources.hosts import HostRules

MOST_SHOWN: Final = 3


class AddressesRefusedError(OSError):
    """Every address of a source host is one that it may not have."""

    def __init__(self, addresses: list[str]) -> None:
        more = ["…"] if len(addresses) > MOST_SHOWN else []
        self.shown = ", ".join([*addresses[:MOST_SHOWN], *more])
        super().__init__(self.shown)


class SourceResolver(AbstractResolver):
    """Asks another resolver, and keeps what `hosts` admits.

    Raises AddressesRefusedError, an OSError as the connector expects it, if nothing is left.
    """

    def __init__(self, hosts: HostRules, *, asked: AbstractResolver) -> None:
        self._hosts = hosts
        self._asked = asked

    async def resolve(
        self,
        host: str,
        port: int = 0,
        family: socket.AddressFamily = socket.AF_INET,
    ) -> list[ResolveResult]:
        found = await self._asked.resolve(host, port, family)
        admitted = [
            each for each in found if self._hosts.admits(host, address=each["host"])
        ]
        if found and not admitted:
            raise AddressesRefusedError([each["host"] for each in found])
        return admitted

    async def close(self) -> None:
        await self._asked.close()
