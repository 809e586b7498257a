"""Names to addresses, as a test has them: the seam of worker/sources/session.py."""

import ipaddress
import socket
from dataclasses import dataclass, field

from aiohttp.abc import AbstractResolver, ResolveResult


@dataclass(slots=True)
class ScriptedResolver(AbstractResolver):
    """Answers a name with these addresses, at `port` if one is given; and notes who asked."""

    answers: dict[str, list[str]] = field(default_factory=dict)
    port: int | None = None
    asked: list[str] = field(default_factory=list)
    is_closed: bool = False

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        del family
        self.asked.append(host)
        if host not in self.answers:
            raise socket.gaierror(socket.EAI_NONAME, "name or service not known")
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=self.port or port,
                family=family_of(address),
                proto=socket.IPPROTO_TCP,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for address in self.answers[host]
        ]

    async def close(self) -> None:
        self.is_closed = True


def family_of(address: str) -> socket.AddressFamily:
    """Which family of sockets dials the address."""
    version = ipaddress.ip_address(address).version
    return socket.AF_INET if version == 4 else socket.AF_INET6
