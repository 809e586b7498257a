"""Entra tokens for ACS: one for all its resources, fetched ahead of its end, by one at a time.

https://learn.microsoft.com/azure/communication-services/concepts/authentication
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Protocol

from azure.core.credentials import AccessTokenInfo
from azure.core.exceptions import AzureError, ClientAuthenticationError
from yarl import URL

from worker.entra import why_no_token
from worker.errors import (
    IdentityRefusedError,
    RetryableError,
    TokenUnavailableError,
)
from worker.ports import Clock
from worker.sources.signing import host_of, resource_of

SCOPE = "https://communication.azure.com//.default"
"""The second slash is ACS's own."""
AHEAD = timedelta(minutes=4)
"""azure-identity keeps a token of its own until 5 minutes before its end."""
LONGEST_FETCH_SECONDS = 15.0
AGAIN_AFTER_SECONDS = 5.0
"""Whoever needs a token this soon after a failure is told of that one."""
RENEW_EVERY_SECONDS = 60.0
"""Refusals that come sooner mean us, not the token: another one would change nothing."""
_BEARER = "Bearer "


class Issuer(Protocol):
    """What Tokens needs of worker.entra.MachineIdentity."""

    async def get_token_info(self, *scopes: str) -> AccessTokenInfo: ...

    async def forget(self) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class _Token:
    text: str = field(repr=False)
    refresh_at: datetime
    expires_at: datetime


class Tokens:
    """The token that requests to ACS bear.

    One that nears its end is replaced by the first who sees that; the others go on with it
    meanwhile, and all do if there is no other to be had.
    """

    def __init__(self, issuer: Issuer, *, clock: Clock) -> None:
        self._issuer = issuer
        self._clock = clock
        self._token: _Token | None = None
        self._failure: RetryableError | None = None
        self._again_at = 0.0
        self._renewable_at = 0.0
        self._fetching = asyncio.Lock()

    async def text(self) -> str:
        """Return a token that is valid now. Raises TokenUnavailable-, IdentityRefusedError."""
        usable = self._usable()
        if usable and (
            self._clock.now() < usable.refresh_at or self._fetching.locked()
        ):
            return usable.text
        async with self._fetching:
            if self._token is not usable and (newer := self._usable()):
                return newer.text
            return await self._refreshed(usable)

    async def renewed(self, refused: str) -> bool:
        """Whether there is another token than the refused one, fetched now if need be."""
        async with self._fetching:
            held = self._token
            if held is None or held.text != refused:
                return held is not None
            now = self._clock.monotonic()
            if now < self._renewable_at:
                return False
            self._renewable_at = now + RENEW_EVERY_SECONDS
            await self._issuer.forget()
            self._token = None
            return await self._refreshed(None) != refused

    def _usable(self) -> _Token | None:
        token = self._token
        return token if token and self._clock.now() < token.expires_at else None

    async def _refreshed(self, usable: _Token | None) -> str:
        """Fetch; on failure the token that is still usable serves, else the failure is told."""
        if self._failure is None or self._clock.monotonic() >= self._again_at:
            try:
                self._token = await self._fetched()
            except RetryableError as error:
                self._failure = error
                self._again_at = self._clock.monotonic() + AGAIN_AFTER_SECONDS
            else:
                self._failure = None
                return self._token.text
        if usable is None:
            raise type(self._failure)(str(self._failure))
        return usable.text

    async def _fetched(self) -> _Token:
        try:
            async with asyncio.timeout(LONGEST_FETCH_SECONDS):
                info = await self._issuer.get_token_info(SCOPE)
        except (AzureError, OSError, ValueError) as error:
            raise _error_from(error) from error
        return _token_of(info, now=self._clock.now())


def _token_of(info: AccessTokenInfo, *, now: datetime) -> _Token:
    expires_at = datetime.fromtimestamp(info.expires_on, UTC)
    refresh_at = expires_at - AHEAD
    if info.refresh_on is not None:
        refresh_at = datetime.fromtimestamp(info.refresh_on, UTC)
    if refresh_at <= now:
        # One that lives for minutes only is not asked for at every request.
        refresh_at = now + (expires_at - now) / 2
    return _Token(text=info.token, refresh_at=refresh_at, expires_at=expires_at)


_ERRORS: tuple[tuple[type[Exception], type[RetryableError], str], ...] = (
    (
        ClientAuthenticationError,
        IdentityRefusedError,
        "no identity gets a token for ACS",
    ),
    (ValueError, IdentityRefusedError, "the identity is not set up"),
    (TimeoutError, TokenUnavailableError, "no token for ACS in time"),
    (Exception, TokenUnavailableError, "no token for ACS"),
)


def _error_from(error: Exception) -> RetryableError:
    """Map what azure-identity raised, in one line."""
    kind, words = next(row[1:] for row in _ERRORS if isinstance(error, row[0]))
    reason = why_no_token(error)
    return kind(f"{words}: {reason}" if reason else words)


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenCredential:
    """One ACS resource that knows us by Entra. Satisfies signing.Credential."""

    resource: str
    host: str
    tokens: Tokens = field(repr=False)

    @classmethod
    def of(cls, endpoint: str, tokens: Tokens) -> "TokenCredential":
        """For `https://NAME.communication.azure.com`. Raises ValueError for another shape."""
        host = host_of(endpoint)
        if host is None:
            raise ValueError("not the https endpoint of an ACS resource")
        return cls(resource=resource_of(host), host=host, tokens=tokens)

    async def headers(self, *, method: str, url: URL, at: datetime) -> dict[str, str]:  # noqa: ARG002 - a token signs nothing
        return {
            "x-ms-host": self.host,
            "x-ms-return-client-request-id": "true",
            "Authorization": _BEARER + await self.tokens.text(),
        }

    async def renewed(self, refused: Mapping[str, str]) -> bool:
        token = refused["Authorization"].removeprefix(_BEARER)
        return await self.tokens.renewed(token)
