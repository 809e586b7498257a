"""What a token must say to be ours; pure.

https://learn.microsoft.com/entra/identity-platform/access-token-claims-reference
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, TypeGuard

from yarl import URL

LEEWAY_SECONDS = 300
"""By how much clocks may differ; as much as Microsoft's own libraries allow."""
_STS = "https://sts.windows.net"
_STS_OF_CHINA = "https://sts.chinacloudapi.cn"
_CALLER = ("appid", "azp")
"""As a token of version 1.0 names who asked for it, and as one of 2.0 does."""


class Check(StrEnum):
    """What a token is held against, in this order."""

    SHAPE = "shape"
    ALGORITHM = "algorithm"
    KEY = "key"
    SIGNATURE = "signature"
    EXPIRY = "expiry"
    START = "start"
    ISSUER = "issuer"
    AUDIENCE = "audience"
    TENANT = "tenant"
    CALLER = "caller"
    ROLE = "role"


class Expectation(Protocol):
    """What a bearer's claims are held against."""

    def failed_check(self, claims: Mapping[str, object], *, now: float) -> Check | None:
        """Return the first check that signed claims fail; None: they are ours."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpectedOfCalls:
    """What Call Automation says in the token of a callback: it knows no tenant.

    https://learn.microsoft.com/azure/communication-services/how-tos/call-automation/secure-webhook-endpoint
    """

    issuer: str
    """`https://acscallautomation.communication.azure.com`, without a slash at the end."""
    audiences: frozenset[str]
    """Immutable ids of the ACS resources that are ours."""

    def failed_check(self, claims: Mapping[str, object], *, now: float) -> Check | None:
        issuers = {self.issuer, f"{self.issuer}/"}
        results = (
            *_times(claims, now),
            (Check.ISSUER, _is_any(claims.get("iss"), of=issuers)),
            (Check.AUDIENCE, _is_any(claims.get("aud"), of=self.audiences)),
        )
        return next((check for check, is_met in results if not is_met), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What the claims of our tokens are: in any case, but for the role."""

    authority: str
    """`https://login.microsoftonline.com`, without a slash at the end."""
    tenant: str
    audiences: frozenset[str]
    callers: frozenset[str]
    role: str = ""

    @property
    def issuers(self) -> frozenset[str]:
        """Of a token of version 1.0, and of one of 2.0: the app's manifest decides which.

        That of 1.0 has a host of its own, in China another one than everywhere else.
        https://learn.microsoft.com/answers/questions/1190472
        """
        host = URL(self.authority).raw_host or ""
        sts = _STS_OF_CHINA if host.endswith(".cn") else _STS
        return frozenset(
            {f"{sts}/{self.tenant}/", f"{self.authority}/{self.tenant}/v2.0"}
        )

    def failed_check(self, claims: Mapping[str, object], *, now: float) -> Check | None:
        return failed_check(claims, expected=self, now=now)


def failed_check(
    claims: Mapping[str, object], *, expected: Expected, now: float
) -> Check | None:
    """Return the first check that signed claims fail; None: they are ours.

    Of any type, absent, or more of them than there should be: none of that raises.
    """
    named = [claims[claim] for claim in _CALLER if claim in claims]
    results = (
        *_times(claims, now),
        (Check.ISSUER, _is_any(claims.get("iss"), of=expected.issuers)),
        (Check.AUDIENCE, _is_any(claims.get("aud"), of=expected.audiences)),
        (Check.TENANT, _is_any(claims.get("tid"), of={expected.tenant})),
        (
            Check.CALLER,
            bool(named) and all(_is_any(each, of=expected.callers) for each in named),
        ),
        (Check.ROLE, _has_role(claims.get("roles"), expected.role)),
    )
    return next((check for check, is_met in results if not is_met), None)


def _times(claims: Mapping[str, object], now: float) -> tuple[tuple[Check, bool], ...]:
    ends, begins = claims.get("exp"), claims.get("nbf", 0)
    return (
        (Check.EXPIRY, _is_whole(ends) and ends + LEEWAY_SECONDS > now),
        (Check.START, _is_whole(begins) and begins - LEEWAY_SECONDS <= now),
    )


def said(claims: Mapping[str, object], check: Check) -> object:
    """Return what the claims said where a check failed, for an operator who sets things up."""
    names = {
        Check.ISSUER: ("iss",),
        Check.AUDIENCE: ("aud",),
        Check.TENANT: ("tid",),
        Check.CALLER: _CALLER,
    }
    found = (claims[name] for name in names.get(check, ()) if name in claims)
    return next(found, None)


def _is_whole(said: object) -> TypeGuard[int]:
    return type(said) is int


def _is_any(said: object, *, of: frozenset[str] | set[str]) -> bool:
    return isinstance(said, str) and said.casefold() in {each.casefold() for each in of}


def _has_role(said: object, role: str) -> bool:
    return not role or (isinstance(said, list) and role in said)
