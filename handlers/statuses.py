"""What became of a request, and the one table that gives each outcome its status.

The rule: 400, 401, 403, 404 and 413 are never sent again, so they are a decision to throw
away; whatever may heal is answered 503. Event Grid tries that again after 30 s or more.
https://learn.microsoft.com/azure/event-grid/delivery-and-retry
"""

from enum import StrEnum
from functools import cache
from typing import assert_never

from aiohttp import web

from handlers.receiver import ReceivedKind

RETRY_AFTER_SECONDS = "30"
METHODS = "OPTIONS, POST"


class Refusal(StrEnum):
    """Why a delivery was turned away before the receiver could say anything about it."""

    STRANGER = "unauthorized"
    NO_SUCH_PATH = "no-such-path"
    NO_SUCH_METHOD = "no-such-method"
    BAD_CREDENTIAL = "bad-credential"
    """Event Grid's headers, but not our key: a rotated key must not lose recordings."""
    UNABLE = "cannot-authenticate"
    """What it takes to tell ours from strangers can't be had: our trouble, not theirs."""
    WRONG_PLACE = "wrong-place"
    """Event Grid's headers at a path or with a method that takes no deliveries: a front end
    that changes paths must not lose recordings."""
    STARTING = "starting"
    DRAINING = "draining"
    TOO_LARGE = "too-large"
    """Nothing legal is. Not 413, which is final: should Event Grid's limit ever grow, its
    retries leave time to notice, and its dead letters keep the event."""
    TOO_MANY_BYTES = "too-many-bytes"
    TOO_MANY = "too-many-deliveries"
    UNREADABLE = "unreadable"
    """Cut off, empty, or its encoding is broken or unknown: there is nothing to keep, and
    only the same bytes sent again can mend that."""
    UNPARSABLE = "unparsable"
    """No request of HTTP/1, or with a head beyond all limits: nobody knows whose it was."""
    BAD_CALLBACK = "bad-callback"
    """No events, from who is authentic: no recording hangs on it."""
    SLOW = "slow-body"
    TIMEOUT = "timeout"
    BUG = "bug"


LOUD = frozenset({Refusal.BAD_CREDENTIAL, Refusal.UNABLE, Refusal.WRONG_PLACE})
"""A human must look: these won't heal by themselves, and recordings wait."""


class Consent(StrEnum):
    """What the CloudEvents handshake comes to; no delivery hangs on it."""

    GIVEN = "given"
    NO_ORIGIN = "no-origin"
    FOREIGN_ORIGIN = "foreign-origin"


Outcome = ReceivedKind | Refusal | Consent


def answer(outcome: Outcome, *, code: str | None = None) -> web.Response:
    """Build the answer, without a body but for those that a person or a machine reads.

    `code` is that of a validation.
    """
    status = status_of(outcome)
    if outcome is ReceivedKind.VALIDATION:
        return web.json_response({"validationResponse": code}, status=status)
    if outcome is ReceivedKind.MALFORMED:
        return web.Response(status=status, text="malformed, kept in quarantine\n")
    return web.Response(status=status, headers=_HEADERS.get(status))


@cache
def status_of(outcome: Outcome) -> int:
    """The table."""
    match outcome:
        case (
            ReceivedKind.ACCEPTED
            | ReceivedKind.IGNORED
            | ReceivedKind.VALIDATION
            | ReceivedKind.DEFERRED
            | Consent.GIVEN
        ):
            return 200
        case ReceivedKind.MALFORMED | Refusal.BAD_CALLBACK | Consent.NO_ORIGIN:
            return 400
        case Refusal.STRANGER:
            return 401
        case Consent.FOREIGN_ORIGIN:
            return 403
        case Refusal.NO_SUCH_PATH:
            return 404
        case Refusal.NO_SUCH_METHOD:
            return 405
        case (
            ReceivedKind.UNAVAILABLE
            | Refusal.BAD_CREDENTIAL
            | Refusal.UNABLE
            | Refusal.WRONG_PLACE
            | Refusal.STARTING
            | Refusal.DRAINING
            | Refusal.TOO_LARGE
            | Refusal.TOO_MANY_BYTES
            | Refusal.TOO_MANY
            | Refusal.UNREADABLE
            | Refusal.UNPARSABLE
            | Refusal.SLOW
            | Refusal.TIMEOUT
            | Refusal.BUG
        ):
            return 503
        case _:
            assert_never(outcome)


_HEADERS = {405: {"Allow": METHODS}, 503: {"Retry-After": RETRY_AFTER_SECONDS}}
LAST_WORDS = (
    f"HTTP/1.1 503 Service Unavailable\r\nRetry-After: {RETRY_AFTER_SECONDS}\r\n"
    "Content-Length: 0\r\nConnection: close\r\n\r\n"
).encode()
"""To who is given up where no answer can be built: before its request is complete, or while
its delivery is at work."""
