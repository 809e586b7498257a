"""The client for ACS under TLS: private CAs by SSL_CERT_FILE, tunnels by HTTPS_PROXY, DNS."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import trustme

from samples.acs import StandIn
from samples.faults import Fault
from tests.fakes.clock import ManualClock
from tests.fakes.resolver import ScriptedResolver
from tests.proofs import a_proof
from worker.errors import (
    HostNotAllowedError,
    SourceAddressError,
    SourceUnavailableError,
)
from worker.limits import ConnectionCeiling
from worker.sources.acs import AcsSource
from worker.sources.hosts import HostRules
from worker.sources.session import new_session
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolved:
    """The stand-in, and a source that asks a resolver of the test's for names."""

    acs: StandIn
    source: AcsSource
    resolver: ScriptedResolver

    async def bring(self, location: str) -> bytes:
        opened = self.source.open(location, resource=None, first_bytes=2 * len(DATA))
        async with opened as found:
            return b"".join([piece async for piece in found.first()])


@asynccontextmanager
async def resolving(
    acs: StandIn, *answers: str, host: str = ACS_HOST, public_only: bool = True
) -> AsyncIterator[Resolved]:
    """The name of `host` leads to these addresses, at the port of the stand-in."""
    clock = ManualClock()
    rules = HostRules(
        [".asm.skype.com", acs.global_host, acs.regional_host], public_only=public_only
    )
    resolver = ScriptedResolver(
        {host: list(answers), "localhost": ["127.0.0.1"]}, port=acs.regional_port
    )
    async with (
        asyncio.timeout(20),
        await new_session(version="0", hosts=rules, resolver=resolver) as session,
        AcsSource(
            credentials=Credentials.parse(acs.connection_string),
            hosts=rules,
            clock=clock,
            ceiling=ConnectionCeiling(1, clock=clock),
            version="0",
            session=session,
        ) as source,
    ):
        yield Resolved(acs=acs, source=source, resolver=resolver)


@pytest.fixture
def _trusted(ca_file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", ca_file)


PRIVATE = ("127.0.0.1", "::1", "::ffff:127.0.0.1", "64:ff9b::7f00:1", "169.254.169.254")


@pytest.mark.usefixtures("_trusted")
@pytest.mark.parametrize("address", PRIVATE)
async def test_name_that_leads_into_a_private_network_is_not_dialled(
    acs: StandIn, address: str
) -> None:
    """Even where a server with the right certificate waits there: for it may not last."""
    async with resolving(acs, address) as there:
        with pytest.raises(SourceAddressError) as caught:
            await there.bring(ON_ACS)

    assert acs.requests == []
    assert str(caught.value) == (
        f"{ACS_HOST} leads to {address}, and WORKER_SOURCE_ADDRESSES is public"
    )
    assert caught.value.hint == "recording-worker config"


@pytest.mark.usefixtures("_trusted")
async def test_private_endpoint_is_dialled_where_that_is_said_aloud(
    acs: StandIn,
) -> None:
    """The same name, address and certificate, with WORKER_SOURCE_ADDRESSES=any."""
    async with resolving(acs, "127.0.0.1", public_only=False) as there:
        assert await there.bring(ON_ACS) == DATA

    assert acs.requests[0].host == ACS_HOST


@pytest.mark.usefixtures("_trusted")
async def test_name_is_dialled_again_once_it_leads_elsewhere(acs: StandIn) -> None:
    """What is refused now may heal: no answer that was refused is remembered."""
    async with resolving(acs, "10.0.0.4") as there:
        for _ in range(2):
            with pytest.raises(SourceAddressError):
                await there.bring(ON_ACS)

        assert there.resolver.asked == [ACS_HOST, ACS_HOST]


@pytest.mark.usefixtures("_trusted")
async def test_redirect_into_a_private_network_is_not_followed(acs: StandIn) -> None:
    """An allowed host that an allowed host names is resolved by the same rules."""
    async with resolving(acs, "10.0.0.4") as there:
        document = ON_ACS.removesuffix("/content/video")
        acs.plan(DOC, "content", [Fault.redirect_to(ON_ACS)])
        acs.plan(DOC, "delete", [Fault.redirect_to(document)])
        with pytest.raises(SourceAddressError):
            await there.bring(acs.locations(DOC).content)
        with pytest.raises(SourceAddressError):
            await there.source.delete(acs.locations(DOC).delete, proof=a_proof(DOC))

    assert [seen.method for seen in acs.requests] == ["GET", "DELETE"]
    assert acs.deleted == set()


LITERALS = ("127.0.0.1", "[::1]", "169.254.169.254", "10.0.0.4", "[::ffff:127.0.0.1]")


@pytest.mark.usefixtures("_trusted")
@pytest.mark.parametrize("literal", LITERALS)
async def test_address_in_a_location_gets_no_request(
    acs: StandIn, literal: str
) -> None:
    """No resolver is asked for a literal, so the list refuses it: in an event, or a hop."""
    target = f"https://{literal}:{acs.regional_port}/v1/objects/{DOC}/content/video"
    async with resolving(acs, "10.0.0.4", public_only=False) as there:
        with pytest.raises(HostNotAllowedError):
            await there.bring(target)
        acs.plan(DOC, "content", [Fault.redirect_to(target)])
        with pytest.raises(HostNotAllowedError):
            await there.bring(acs.locations(DOC).content)

        assert there.resolver.asked == ["localhost"]
    assert len(acs.requests) == 1


@pytest.mark.usefixtures("_trusted")
async def test_proxy_may_lie_in_a_private_network(
    acs: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own name alone is resolved here; where the source is, the proxy decides."""
    proxy = "proxy.corp.example"
    async with (
        tunnel_to(acs.regional_port) as tunnel,
        resolving(acs, "127.0.0.1", host=proxy) as there,
    ):
        there.resolver.port = int(tunnel.address.rpartition(":")[2])
        monkeypatch.setenv("HTTPS_PROXY", f"http://{proxy}:3128")

        assert await there.bring(ON_ACS) == DATA

        assert there.resolver.asked == [proxy]
