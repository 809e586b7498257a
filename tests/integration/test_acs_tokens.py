"""ACS asked with tokens: azure-identity, a loopback managed identity, and the stand-in."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest
from aiohttp import web

from samples.acs import StandIn
from samples.faults import Fault
from tests.fakes.clock import ManualClock
from tests.identity import IdentityEndpoint, IssuedTokens
from tests.proofs import a_proof
from worker.entra import MachineIdentity
from worker.errors import (
    HostNotAllowedError,
    IdentityRefusedError,
    SourceForbiddenError,
    TokenUnavailableError,
)
from worker.limits import ConnectionCeiling
from worker.sources import tokens as tokens_module
from worker.sources.acs import AcsSource
from worker.sources.hosts import HostRules
from worker.sources.signing import Credentials
from worker.sources.tokens import TokenCredential, Tokens

DOC = "0-eus-d1-doc"
DATA = bytes(range(256)) * 40
CONTOSO = "https://contoso.communication.azure.com"


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(start=datetime.now(UTC), auto=True)


@pytest.fixture
def issued(identity: IdentityEndpoint) -> IssuedTokens:
    return IssuedTokens(identity)


@pytest.fixture
async def acs(clock: ManualClock, issued: IssuedTokens) -> AsyncIterator[StandIn]:
    async with StandIn(now=clock.now) as acs:
        acs.put(DOC, content=DATA, metadata=b"{}")
        acs.tokens = issued
        yield acs


@asynccontextmanager
async def a_source(
    acs: StandIn, clock: ManualClock, *, endpoint: str = CONTOSO
) -> AsyncIterator[AcsSource]:
    """As the composition root wires it."""
    async with MachineIdentity() as machine:
        tokens = Tokens(machine, clock=clock)
        async with AcsSource(
            credentials=Credentials([TokenCredential.of(endpoint, tokens)]),
            hosts=HostRules([acs.global_host, acs.regional_host]),
            clock=clock,
            ceiling=ConnectionCeiling(8, clock=clock),
            version="1.2.3",
        ) as source:
            yield source


async def read(source: AcsSource, location: str) -> bytes:
    opened = source.open(location, resource="contoso", first_bytes=len(DATA))
    async with opened as found:
        return b"".join([piece async for piece in found.first()])


async def test_chunk_is_read_and_deleted_with_one_token(
    acs: StandIn, clock: ManualClock, identity: IdentityEndpoint
) -> None:
    """The machine's identity is asked once, for ACS; every hop of every request bears it."""
    locations = acs.locations(DOC)
    async with a_source(acs, clock) as source:
        content = await read(source, locations.content)
        metadata = await read(source, locations.metadata)
        answer = await source.delete(locations.delete, proof=a_proof(DOC))

    assert (content, metadata, answer.status) == (DATA, b"{}", 200)
    assert acs.deleted == {DOC}
    assert identity.asked == ["https://communication.azure.com/"]
    assert {seen.status for seen in acs.requests} == {206, 302, 200}
    assert {seen.signed_at for seen in acs.requests} == {None}


async def test_token_goes_to_no_host_off_the_list(
    acs: StandIn, clock: ManualClock
) -> None:
    """A redirect elsewhere is not followed: no request arrives there, and no token."""
    arrived: list[str] = []

    async def trap(request: web.BaseRequest) -> web.StreamResponse:
        arrived.append(request.headers.get("Authorization", ""))
        return web.Response()

    runner = web.ServerRunner(web.Server(trap))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    foreign = f"http://127.0.0.1:{runner.addresses[0][1]}/v1/objects/{DOC}"
    acs.plan(DOC, "content", [Fault.redirect_to(foreign)])
    async with a_source(acs, clock) as source:
        with pytest.raises(HostNotAllowedError):
            await read(source, acs.locations(DOC).content)
    await runner.cleanup()

    assert arrived == []


async def test_token_is_replaced_ahead_of_its_end(
    acs: StandIn, clock: ManualClock, identity: IdentityEndpoint
) -> None:
    """The next request after that bears the new one, and nothing was ever refused."""
    # Over at once for azure-identity, that it may not answer from its own memory; an hour
    # long for us, whose clock is behind.
    identity.lifetime_s = 0
    clock.advance(-3600)
    location = acs.locations(DOC).content
    async with a_source(acs, clock) as source:
        await read(source, location)
        await read(source, location)
        assert len(identity.asked) == 1

        clock.advance(3600 - tokens_module.AHEAD.total_seconds() + 1)
        await read(source, location)

    assert len(identity.asked) == 2
    assert 401 not in {seen.status for seen in acs.requests}


async def test_revoked_token_is_replaced(
    acs: StandIn, clock: ManualClock, identity: IdentityEndpoint, issued: IssuedTokens
) -> None:
    """Refused before its time, the token is fetched anew and the request goes on."""
    location = acs.locations(DOC).content
    async with a_source(acs, clock) as source:
        await read(source, location)
        issued.revoked.add(identity.issued[0])

        assert await read(source, location) == DATA

    assert len(identity.asked) == 2
    assert [seen.status for seen in acs.requests].count(401) == 1


async def test_identity_that_acs_refuses_is_forbidden(
    acs: StandIn, clock: ManualClock, identity: IdentityEndpoint
) -> None:
    """One new token is tried; then it is us, and the identity is not asked for more."""
    acs.tokens = set()
    async with a_source(acs, clock) as source:
        for _ in range(3):
            with pytest.raises(SourceForbiddenError, match="401"):
                await read(source, acs.locations(DOC).content)

    assert len(identity.asked) == 2
    assert len(acs.requests) == 4


async def test_token_is_for_its_own_resource(acs: StandIn, clock: ManualClock) -> None:
    """The storage host is told whose chunk it is; a resource that it isn't refuses."""
    async with a_source(acs, clock, endpoint="https://fabrikam.example") as source:
        opened = source.open(
            acs.locations(DOC).content, resource="fabrikam", first_bytes=10
        )
        with pytest.raises(SourceForbiddenError):
            async with opened:
                pass


async def test_machine_without_an_identity_is_refused(
    acs: StandIn, clock: ManualClock, identity: IdentityEndpoint
) -> None:
    """It is said in one line, before ACS is asked anything."""
    identity.status = 400
    async with a_source(acs, clock) as source:
        with pytest.raises(IdentityRefusedError) as caught:
            await read(source, acs.locations(DOC).content)

    assert "no identity gets a token for ACS" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert acs.requests == []


async def test_identity_that_is_away_is_waited_for(
    acs: StandIn,
    clock: ManualClock,
    identity: IdentityEndpoint,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """While it fails nothing is asked of ACS; once it is back, neither are we late."""
    monkeypatch.setattr(tokens_module, "LONGEST_FETCH_SECONDS", 0.5)
    location = acs.locations(DOC).content
    identity.status = 500
    async with a_source(acs, clock) as source:
        with pytest.raises(TokenUnavailableError, match="in time"):
            await read(source, location)
        assert acs.requests == []

        identity.status = 200
        clock.advance(tokens_module.AGAIN_AFTER_SECONDS)
        assert await read(source, location) == DATA


async def test_sdk_may_ask_the_machine_in_either_way(
    identity: IdentityEndpoint,
) -> None:
    """Older clients of Azure ask for less, and get the same token."""
    async with MachineIdentity() as machine:
        token = await machine.get_token("https://storage.azure.com/.default")
        info = await machine.get_token_info("https://storage.azure.com/.default")

    assert token.token == info.token
    assert identity.asked == ["https://storage.azure.com"]
