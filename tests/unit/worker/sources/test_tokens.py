"""Tokens: fetched seldom, ahead of their end, by one at a time, and shown to nobody."""

import asyncio
from dataclasses import dataclass, field
from datetime import timedelta

import pytest
from azure.core.credentials import AccessTokenInfo
from azure.core.exceptions import (
    ClientAuthenticationError,
    HttpResponseError,
    ServiceRequestError,
)
from yarl import URL

from tests.fakes.clock import START, ManualClock
from worker.errors import (
    IdentityRefusedError,
    RetryableError,
    TokenUnavailableError,
)
from worker.sources import tokens as module
from worker.sources.tokens import SCOPE, TokenCredential, Tokens

HOUR = 3600
URL_OF_CHUNK = URL("https://storage.asm.skype.com/v1/objects/doc/content/video")


@dataclass(slots=True, kw_only=True)
class ScriptedIssuer:
    """Issues `token-1`, `token-2`, … that live for `lifetime_s`; or fails."""

    clock: ManualClock
    lifetime_s: int = HOUR
    refresh_in_s: int | None = None
    failure: Exception | None = None
    is_open: asyncio.Event = field(default_factory=asyncio.Event)
    scopes: list[str] = field(default_factory=list)
    forgotten: int = 0
    arrived: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def get_token_info(self, *scopes: str) -> AccessTokenInfo:
        async with self.arrived:
            self.scopes.extend(scopes)
            self.arrived.notify_all()
        await self.is_open.wait()
        if self.failure:
            raise self.failure
        now = int(self.clock.now().timestamp())
        refresh_in = self.refresh_in_s
        return AccessTokenInfo(
            f"token-{len(self.scopes)}",
            now + self.lifetime_s,
            refresh_on=None if refresh_in is None else now + refresh_in,
        )

    async def wait_for_requests(self, count: int) -> None:
        async with asyncio.timeout(5), self.arrived:
            await self.arrived.wait_for(lambda: len(self.scopes) >= count)

    async def forget(self) -> None:
        self.forgotten += 1


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def issuer(clock: ManualClock) -> ScriptedIssuer:
    issuer = ScriptedIssuer(clock=clock)
    issuer.is_open.set()
    return issuer


@pytest.fixture
def tokens(issuer: ScriptedIssuer, clock: ManualClock) -> Tokens:
    return Tokens(issuer, clock=clock)


async def test_token_is_fetched_once(tokens: Tokens, issuer: ScriptedIssuer) -> None:
    """Not for each request, and for the scope of ACS with both its slashes."""
    found = {await tokens.text() for _ in range(10)}

    assert found == {"token-1"}
    assert issuer.scopes == ["https://communication.azure.com//.default"]


async def test_requests_at_once_share_one_fetch(
    tokens: Tokens, issuer: ScriptedIssuer
) -> None:
    """However many start together, the identity is asked once."""
    issuer.is_open.clear()
    asking = [asyncio.ensure_future(tokens.text()) for _ in range(20)]
    await issuer.wait_for_requests(1)
    issuer.is_open.set()

    assert set(await asyncio.gather(*asking)) == {"token-1"}
    assert issuer.scopes == [SCOPE]


async def test_token_is_replaced_ahead_of_its_end(
    tokens: Tokens, issuer: ScriptedIssuer, clock: ManualClock
) -> None:
    """Minutes before it ends the next one is there; until then nobody asks."""
    await tokens.text()
    clock.advance(HOUR - module.AHEAD.total_seconds() - 1)
    assert await tokens.text() == "token-1"

    clock.advance(2)

    assert await tokens.text() == "token-2"
    assert len(issuer.scopes) == 2


async def test_issuer_may_want_it_replaced_sooner(
    tokens: Tokens, issuer: ScriptedIssuer, clock: ManualClock
) -> None:
    """A managed identity says when it wants to be asked again."""
    issuer.refresh_in_s = 600
    await tokens.text()
    clock.advance(599)
    assert await tokens.text() == "token-1"

    clock.advance(1)

    assert await tokens.text() == "token-2"


async def test_short_lived_token_is_not_fetched_for_each_request(
    tokens: Tokens, issuer: ScriptedIssuer, clock: ManualClock
) -> None:
    """One that lives for a minute is used for half of it."""
    issuer.lifetime_s = 60
    await tokens.text()
    clock.advance(29)
    assert await tokens.text() == "token-1"

    clock.advance(1)

    assert await tokens.text() == "token-2"


async def test_others_go_on_while_one_replaces_it(
    tokens: Tokens, issuer: ScriptedIssuer, clock: ManualClock
) -> None:
    """A token near its end still serves; only who replaces it waits."""
    await tokens.text()
    clock.advance(HOUR - 60)
    issuer.is_open.clear()
    replacing = asyncio.ensure_future(tokens.text())
    await issuer.wait_for_requests(2)

    assert await tokens.text() == "token-1"
    issuer.is_open.set()
    assert await replacing == "token-2"
    assert await tokens.text() == "token-2"


async def test_token_serves_to_its_end_if_there_is_no_other(
    tokens: Tokens, issuer: ScriptedIssuer, clock: ManualClock
) -> None:
    """Trouble with the identity shows when the token is over, and not minutes before."""
    await tokens.text()
    issuer.failure = ServiceRequestError("connection refused")
    clock.advance(HOUR - 60)
    assert await tokens.text() == "token-1"
    assert await tokens.text() == "token-1"
    assert len(issuer.scopes) == 2

    clock.advance(60)

    with pytest.raises(TokenUnavailableError):
        await tokens.text()


async def test_failure_is_told_for_a_while_and_then_tried_again(
    tokens: Tokens, issuer: ScriptedIssuer, clock: ManualClock
) -> None:
    """Many who fail at once don't all ask; once the identity is back, so are they."""
    issuer.failure = ServiceRequestError("connection refused")
    for _ in range(5):
        with pytest.raises(TokenUnavailableError, match="connection refused"):
            await tokens.text()
    assert len(issuer.scopes) == 1
    issuer.failure = None

    clock.advance(module.AGAIN_AFTER_SECONDS)

    assert await tokens.text() == "token-2"


async def test_waiting_for_a_fetch_that_fails_is_not_fetching_again(
    tokens: Tokens, issuer: ScriptedIssuer
) -> None:
    """Those who waited are told of the failure, all at once."""
    issuer.is_open.clear()
    issuer.failure = ClientAuthenticationError("nobody")
    asking = [asyncio.ensure_future(tokens.text()) for _ in range(20)]
    await issuer.wait_for_requests(1)
    issuer.is_open.set()

    ended = await asyncio.gather(*asking, return_exceptions=True)

    assert {type(error) for error in ended} == {IdentityRefusedError}
    assert len(issuer.scopes) == 1


async def test_cancelled_fetch_is_taken_over(
    tokens: Tokens, issuer: ScriptedIssuer
) -> None:
    """A chunk that is cut while it fetches the token leaves the fetch to the next."""
    issuer.is_open.clear()
    first = asyncio.ensure_future(tokens.text())
    second = asyncio.ensure_future(tokens.text())
    await issuer.wait_for_requests(1)
    first.cancel()
    issuer.is_open.set()

    assert await second == "token-2"
    assert first.cancelled()


async def test_silent_identity_is_given_up(
    tokens: Tokens, issuer: ScriptedIssuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An identity that does not answer costs a chunk seconds, not its lease."""
    monkeypatch.setattr(module, "LONGEST_FETCH_SECONDS", 0.01)
    issuer.is_open.clear()

    with pytest.raises(TokenUnavailableError, match="no token for ACS in time"):
        await tokens.text()


@pytest.mark.parametrize(
    ("failure", "kind"),
    [
        (ClientAuthenticationError("nobody"), IdentityRefusedError),
        (ValueError("AZURE_TOKEN_CREDENTIALS is odd"), IdentityRefusedError),
        (HttpResponseError("500"), TokenUnavailableError),
        (ServiceRequestError("refused"), TokenUnavailableError),
        (OSError("no route"), TokenUnavailableError),
    ],
    ids=repr,
)
async def test_failure_says_whether_we_are_refused_or_unanswered(
    tokens: Tokens,
    issuer: ScriptedIssuer,
    failure: Exception,
    kind: type[RetryableError],
) -> None:
    """Both pause this credential alone, and name what an operator looks for."""
    issuer.failure = failure

    with pytest.raises(kind) as caught:
        await tokens.text()

    assert caught.value.scope == "credential"
    assert str(failure) in str(caught.value)


async def test_long_failure_is_one_short_line(
    tokens: Tokens, issuer: ScriptedIssuer
) -> None:
    """A chain of credentials fails in twenty lines; a log gets one."""
    issuer.failure = ClientAuthenticationError("no\n\ttoken " * 200)

    with pytest.raises(IdentityRefusedError) as caught:
        await tokens.text()

    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 400


async def test_refused_token_is_replaced_once(
    tokens: Tokens, issuer: ScriptedIssuer, clock: ManualClock
) -> None:
    """A token may be revoked before its time; if the next one is refused, it is us."""
    refused = await tokens.text()

    assert await tokens.renewed(refused)
    assert issuer.forgotten == 1
    assert await tokens.text() == "token-2"
    assert not await tokens.renewed("token-2")
    clock.advance(module.RENEW_EVERY_SECONDS)
    assert await tokens.renewed("token-2")


async def test_refused_token_that_was_replaced_meanwhile_costs_no_fetch(
    tokens: Tokens, issuer: ScriptedIssuer
) -> None:
    """Of many requests with the same refused token, one renews it for all."""
    refused = await tokens.text()

    renewed = await asyncio.gather(*(tokens.renewed(refused) for _ in range(10)))

    assert all(renewed)
    assert len(issuer.scopes) == 2


async def test_renewal_that_fails_is_trouble_of_the_identity(
    tokens: Tokens, issuer: ScriptedIssuer
) -> None:
    """Refused and without another: the token's trouble is told, not the source's."""
    refused = await tokens.text()
    issuer.failure = ServiceRequestError("connection refused")

    with pytest.raises(TokenUnavailableError):
        await tokens.renewed(refused)

    assert not await tokens.renewed(refused)


async def test_credential_bears_the_token_for_its_resource(tokens: Tokens) -> None:
    """The headers are those of the official client: the token, and whose it is for."""
    credential = TokenCredential.of("https://Contoso.communication.azure.com/", tokens)

    headers = await credential.headers(method="GET", url=URL_OF_CHUNK, at=START)

    assert credential.resource == "contoso"
    assert headers == {
        "x-ms-host": "Contoso.communication.azure.com",
        "x-ms-return-client-request-id": "true",
        "Authorization": "Bearer token-1",
    }
    assert await credential.renewed(headers)
    newer = await credential.headers(method="GET", url=URL_OF_CHUNK, at=START)
    assert newer["Authorization"] == "Bearer token-2"


def test_credential_needs_an_https_endpoint(tokens: Tokens) -> None:
    """No token is for a resource that would be asked in the clear."""
    with pytest.raises(ValueError, match="https endpoint"):
        TokenCredential.of("http://contoso.communication.azure.com", tokens)


async def test_no_repr_shows_a_token(tokens: Tokens) -> None:
    """Neither what holds the token nor what bears it shows it."""
    credential = TokenCredential.of("https://contoso.communication.azure.com", tokens)
    await tokens.text()

    shown = f"{credential!r} {tokens!r} {tokens._token!r}"

    assert "token-1" not in shown


async def test_expired_token_is_not_sent(
    tokens: Tokens, issuer: ScriptedIssuer, clock: ManualClock
) -> None:
    """After its end a token is of no use, however the fetch of the next one goes."""
    await tokens.text()
    clock.advance(timedelta(hours=1).total_seconds())
    issuer.is_open.clear()
    waiting = [asyncio.ensure_future(tokens.text()) for _ in range(3)]
    await issuer.wait_for_requests(2)
    issuer.is_open.set()

    assert await asyncio.gather(*waiting) == ["token-2"] * 3
