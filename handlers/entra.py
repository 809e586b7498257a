"""Who may post: bearers of a token that Entra ID issued to Event Grid for this endpoint, or
that Call Automation signs for a callback.

Event Grid sends it as `Authorization: Bearer` with every delivery, never in the query.
https://learn.microsoft.com/azure/event-grid/secure-webhook-delivery
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import jwt
import structlog
from jwt import PyJWK
from jwt.exceptions import InvalidSignatureError, PyJWTError
from jwt.types import Options

from handlers import claims
from handlers.auth import Verdict
from handlers.claims import Check, Expectation
from handlers.few_lines import FewLines
from handlers.jwks import ALGORITHM
from handlers.signing_keys import KeysUnavailableError
from worker.ports import Clock

MAX_TOKEN_CHARS = 16 * 1024
"""Entra's have 1 to 3 KiB."""
MAX_REMEMBERED = 32
_TOKEN = re.compile(r"[\w-]+\.[\w-]+\.[\w-]+", re.ASCII)
_SHOWABLE = re.compile(r"[A-Za-z0-9:/._~-]{1,128}")
_OPTIONS: Options = {
    # Ours to check (handlers/claims.py): PyJWT knows no clock but the machine's.
    "verify_exp": False,
    "verify_nbf": False,
    "verify_iat": False,
    "verify_iss": False,
    "verify_aud": False,
}

log: structlog.typing.FilteringBoundLogger = structlog.get_logger(__name__)


class Keys(Protocol):
    """What TokenAuth needs of handlers.signing_keys."""

    async def find(self, name: str) -> PyJWK | None: ...


class _RefusedError(Exception):
    def __init__(self, check: Check, *, found: object = None) -> None:
        super().__init__(check)
        self.check = check
        self.found = found


@dataclass(frozen=True, slots=True, kw_only=True)
class _Verified:
    """What a token said, and the key that it was verified with."""

    key_name: str
    key: PyJWK
    claims: Mapping[str, Any] = field(repr=False)


class TokenAuth:
    """Knows who bears a token of ours.

    Event Grid bears one token for hours, and a signature takes longer than all the rest of
    a delivery's admission: a few of those that passed are remembered, by digest.
    """

    def __init__(self, expected: Expectation, keys: Keys, *, clock: Clock) -> None:
        self._expected = expected
        self._keys = keys
        self._clock = clock
        self._passed: dict[bytes, _Verified] = {}
        self._lines = FewLines(clock)

    async def judge(
        self,
        headers: Mapping[str, str],
        query: Mapping[str, str],  # noqa: ARG002 - a token in a URL ends in somebody's log
    ) -> Verdict:
        """Say which check a token failed, and nothing of the token itself."""
        scheme, _, token = headers.get("Authorization", "").strip().partition(" ")
        if scheme.casefold() != "bearer":
            return Verdict.STRANGER
        try:
            await self._verify(token.strip())
        except KeysUnavailableError:
            return Verdict.UNABLE
        except _RefusedError as error:
            self._say(error)
            return Verdict.STRANGER
        return Verdict.KNOWN

    def _say(self, error: _RefusedError) -> None:
        """Anyone can send a token that is none: not a line for each."""
        check = error.check.value
        if self._lines.may_say(check):
            found, unsaid = _showable(error.found), self._lines.unsaid(check)
            log.warning("token.refused", check=check, found=found, **unsaid)

    async def _verify(self, token: str) -> None:
        """Raises _Refused-, KeysUnavailableError."""
        if len(token) > MAX_TOKEN_CHARS or not _TOKEN.fullmatch(token):
            raise _RefusedError(Check.SHAPE)
        digest = hashlib.sha256(token.encode()).digest()
        verified = await self._verified(token, self._passed.get(digest))
        said, now = verified.claims, self._clock.now().timestamp()
        check = self._expected.failed_check(said, now=now)
        if check is not None:
            raise _RefusedError(check, found=claims.said(said, check))
        self._remember(digest, verified)

    async def _verified(self, token: str, before: _Verified | None) -> _Verified:
        """As `before`, if the authority still has the key of then; else by the signature."""
        name = before.key_name if before else _key_name(token)
        key = await self._keys.find(name)
        if key is None:
            raise _RefusedError(Check.KEY)
        if before and before.key is key:
            return before
        return _Verified(key_name=name, key=key, claims=_signed_claims(token, key))

    def _remember(self, digest: bytes, verified: _Verified) -> None:
        self._passed.pop(digest, None)
        self._passed[digest] = verified
        if len(self._passed) > MAX_REMEMBERED:
            del self._passed[next(iter(self._passed))]


def _key_name(token: str) -> str:
    try:
        header = jwt.get_unverified_header(token)
    except PyJWTError as error:
        raise _RefusedError(Check.SHAPE) from error
    if header.get("alg") != ALGORITHM:
        raise _RefusedError(Check.ALGORITHM)
    name = header.get("kid")
    if not isinstance(name, str):
        raise _RefusedError(Check.KEY)
    return name


def _signed_claims(token: str, key: PyJWK) -> Mapping[str, Any]:
    """Return what whoever has the key signed, be it about us or not."""
    try:
        return jwt.decode(token, key, algorithms=[ALGORITHM], options=_OPTIONS)
    except InvalidSignatureError as error:
        raise _RefusedError(Check.SIGNATURE) from error
    except PyJWTError as error:
        raise _RefusedError(Check.SHAPE) from error


def _showable(found: object) -> str | None:
    return found if isinstance(found, str) and _SHOWABLE.fullmatch(found) else None
