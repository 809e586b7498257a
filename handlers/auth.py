"""Who may post: bearers of a key, as `?code=` or `x-functions-key:` (the Azure Functions
convention), or of whatever another part knows (handlers/entra.py)."""

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Protocol

KEY_HEADER = "x-functions-key"
KEY_QUERY = "code"


class Verdict(StrEnum):
    """What we know of a sender."""

    KNOWN = "known"
    STRANGER = "stranger"
    UNABLE = "unable"
    """Ours or not: what it takes to tell can't be had at the moment."""


class Auth(Protocol):
    """Decides from headers and query alone, before a byte of the body is read."""

    async def judge(
        self, headers: Mapping[str, str], query: Mapping[str, str]
    ) -> Verdict:
        """Whether the sender is one of ours.

        Takes seconds at most, and never raises for anything that they sent.
        """
        ...


class OpenAuth:
    """Knows everyone. Whether that will do (loopback, or said aloud) is decided elsewhere."""

    async def judge(
        self,
        headers: Mapping[str, str],  # noqa: ARG002 - nothing is asked for
        query: Mapping[str, str],  # noqa: ARG002 - the same
    ) -> Verdict:
        return Verdict.KNOWN


class KeyAuth:
    """Several keys are active at once, so that they can be rotated."""

    def __init__(self, keys: Sequence[str]) -> None:
        self._digests = tuple(_digest(key) for key in keys)

    async def judge(
        self, headers: Mapping[str, str], query: Mapping[str, str]
    ) -> Verdict:
        """Compare what is offered with every key, in time that tells nothing about them."""
        found = False
        for offered in (headers.get(KEY_HEADER), query.get(KEY_QUERY)):
            if offered:
                found |= self._knows(_digest(offered))
        return Verdict.KNOWN if found else Verdict.STRANGER

    def _knows(self, offered: bytes) -> bool:
        found = False
        for digest in self._digests:
            found |= hmac.compare_digest(digest, offered)
        return found


class AnyAuth:
    """One credential suffices: whoever one part knows is known."""

    def __init__(self, parts: Sequence[Auth]) -> None:
        self._parts = parts

    async def judge(
        self, headers: Mapping[str, str], query: Mapping[str, str]
    ) -> Verdict:
        """Ask the parts in order, until one knows the sender."""
        verdicts = set()
        for part in self._parts:
            verdict = await part.judge(headers, query)
            if verdict is Verdict.KNOWN:
                return verdict
            verdicts.add(verdict)
        return Verdict.UNABLE if Verdict.UNABLE in verdicts else Verdict.STRANGER


def _digest(key: str) -> bytes:
    # Of one length, whatever the key; a header may hold surrogate escapes.
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()
