"""The client for ACS under TLS: private CAs by SSL_CERT_FILE, tunnels by HTTPS_PROXY."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import trustme

from samples.acs import StandIn
from tests.fakes.clock import ManualClock
from worker.errors import SourceUnavailableError
from worker.limits import ConnectionCeiling
from worker.sources.acs import AcsSource
from worker.sources.hosts import HostRules
from worker.sources.signing import Credentials

DOC = "0-eus-d1-doc"
DATA = bytes(range(256)) * 40
ACS_HOST = "us-storage.asm.skype.com"
ON_ACS = f"https://{ACS_HOST}/v1/objects/{DOC}/content/video"


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http", "https", "no", "all"):
        monkeypatch.delenv(f"{name}_proxy", raising=False)
        monkeypatch.delenv(f"{name.upper()}_PROXY", raising=False)
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """A CA that no system trusts."""
    return trustme.CA()


@pytest.fixture
def ca_file(authority: trustme.CA, tmp_path: Path) -> str:
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(path)
    return str(path)


@pytest.fixture
async def acs(authority: trustme.CA) -> AsyncIterator[StandIn]:
    """The stand-in under TLS, as `localhost` and under a name of ACS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost", ACS_HOST).configure_cert(context)
    names = ("localhost", "localhost")
    clock = ManualClock()
    async with StandIn(ssl_context=context, host_names=names, now=clock.now) as acs:
        acs.put(DOC, content=DATA, metadata=None)
        yield acs


async def brought(acs: StandIn, location: str) -> bytes:
    """What a source that starts now brings from a location."""
    clock = ManualClock()
    source = AcsSource(
        credentials=Credentials.parse(acs.connection_string),
        hosts=HostRules([".asm.skype.com", acs.global_host, acs.regional_host]),
        clock=clock,
        ceiling=ConnectionCeiling(1, clock=clock),
        version="0",
    )
    async with (
        asyncio.timeout(10),
        source,
        source.open(location, resource=None, first_bytes=2 * len(DATA)) as opened,
    ):
        return b"".join([piece async for piece in opened.first()])


async def test_private_ca_is_trusted_when_named(
    acs: StandIn, ca_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SSL_CERT_FILE names the CA of a source, at the time the source starts."""
    monkeypatch.setenv("SSL_CERT_FILE", ca_file)

    assert await brought(acs, acs.locations(DOC).content) == DATA


async def test_unknown_ca_is_an_outage(acs: StandIn) -> None:
    """A certificate that nobody vouches for gets no request."""
    with pytest.raises(SourceUnavailableError, match="certificate is not trusted"):
        await brought(acs, acs.locations(DOC).content)

    assert acs.requests == []


@dataclass(slots=True, kw_only=True)
class Tunnel:
    """A proxy that joins every CONNECT to one port of loopback."""

    port: int
    address: str = ""
    status: str = "200 OK"
    asked: list[str] = field(default_factory=list)
    pumps: set[asyncio.Task[None]] = field(default_factory=set)

    async def join(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Answer one CONNECT, then pass bytes on both ways."""
        head = await reader.readuntil(b"\r\n\r\n")
        self.asked.append(head.decode())
        writer.write(f"HTTP/1.1 {self.status}\r\n\r\n".encode())
        if not self.status.startswith("200"):
            writer.close()
            return
        there, to_there = await asyncio.open_connection("127.0.0.1", self.port)
        self.pumps.add(asyncio.create_task(pump(reader, to_there)))
        self.pumps.add(asyncio.create_task(pump(there, writer)))


async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Pass bytes on until there are no more."""
    try:
        while data := await reader.read(65_536):
            writer.write(data)
    finally:
        writer.close()


@asynccontextmanager
async def tunnel_to(port: int, *, status: str = "200 OK") -> AsyncIterator[Tunnel]:
    tunnel = Tunnel(port=port, status=status)
    server = await asyncio.start_server(tunnel.join, "127.0.0.1", 0)
    host, own_port = server.sockets[0].getsockname()
    tunnel.address = f"{host}:{own_port}"
    try:
        async with server:
            yield tunnel
    finally:
        for task in tunnel.pumps:
            task.cancel()
        await asyncio.gather(*tunnel.pumps, return_exceptions=True)


async def test_proxy_tunnels_to_the_source(
    acs: StandIn, ca_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """HTTPS_PROXY is asked for a tunnel, with its login, and never sees a signature."""
    monkeypatch.setenv("SSL_CERT_FILE", ca_file)
    async with tunnel_to(acs.regional_port) as tunnel:
        monkeypatch.setenv("HTTPS_PROXY", f"http://user:word@{tunnel.address}")

        assert await brought(acs, ON_ACS) == DATA

    assert tunnel.asked[0].startswith(f"CONNECT {ACS_HOST}:443 HTTP/1.1\r\n")
    assert "Proxy-Authorization: Basic dXNlcjp3b3Jk" in tunnel.asked[0]
    assert "HMAC-SHA256" not in tunnel.asked[0]
    assert acs.requests[0].host == ACS_HOST


async def test_proxy_that_refuses_is_an_outage(
    acs: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy that says no to the tunnel is an outage, retryable as any."""
    async with tunnel_to(acs.regional_port, status="407 No") as tunnel:
        monkeypatch.setenv("HTTPS_PROXY", f"http://{tunnel.address}")

        with pytest.raises(SourceUnavailableError, match="proxy refused"):
            await brought(acs, ON_ACS)


async def test_proxy_that_is_down_is_an_outage(
    acs: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy that doesn't answer is named as the trouble."""
    async with tunnel_to(acs.regional_port) as tunnel:
        pass
    monkeypatch.setenv("HTTPS_PROXY", f"http://{tunnel.address}")

    with pytest.raises(SourceUnavailableError, match="proxy unreachable"):
        await brought(acs, ON_ACS)
