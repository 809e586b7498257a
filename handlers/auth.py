"""Who may post: keys, as `?code=` or `x-functions-key:` (the Azure Functions convention)."""

import hashlib
import hmac
from collections.abc import Mapping
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
        """Whether the sender is one of ours; takes seconds at most, and never raises."""
        ...


class KeyAuth:
    """Several keys are active at once, so that they can be rotated. No keys: all may pass.

    Whether no keys is acceptable (loopback, or said aloud) is decided where it is built.
    """

    def __init__(self, keys: tuple[str, ...]) -> None:
        self._digests = tuple(_digest(key) for key in keys)

    async def judge(
        self, headers: Mapping[str, str], query: Mapping[str, str]
    ) -> Verdict:
        """Compare what is offered with every key, in time that tells nothing about them."""
        if not self._digests:
            return Verdict.KNOWN
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


def _digest(key: str) -> bytes:
    # Of one length, whatever the key; a header may hold surrogate escapes.
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()
