"""The requests themselves: no redirects, 30 s for an answer, and words for every trouble."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import aiohttp
from yarl import URL

from samples.grid.handshakes import Reply
from samples.grid.verdicts import (
    RESOLUTION_ERROR,
    SOCKET_ERROR,
    TIMED_OUT,
    Outcome,
    Verdict,
    verdict_of,
)

Late = Callable[[Outcome], None]
"""Hears of an answer that came after its delivery had been given up."""
MAX_REPLY_BYTES = 64 * 1024
"""A longer answer to a handshake is none."""
_NO_NAME = "the name can't be resolved"


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request to an endpoint, whose query is part of its URL as it is."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes = b""


class NoAnswerError(Exception):
    """There was no answer; says what was seen, never the URL."""

    def __init__(self, seen: str, verdict: Verdict) -> None:
        super().__init__(seen)
        self.seen = seen
        self.verdict = verdict

    @property
    def outcome(self) -> Outcome:
        return Outcome(status=None, seen=self.seen, verdict=self.verdict)


async def ask(
    session: aiohttp.ClientSession, request: Request, *, answer_seconds: float | None
) -> Reply:
    """Send, and read the answer; None: however long it takes. Raises NoAnswerError."""
    try:
        async with (
            asyncio.timeout(answer_seconds),
            session.request(
                request.method,
                URL(request.url, encoded=True),
                data=request.body or None,
                headers=request.headers,
                allow_redirects=False,
            ) as answer,
        ):
            return Reply(
                status=answer.status,
                headers=answer.headers,
                body=await _start_of(answer),
            )
    except TimeoutError as error:
        raise no_answer_within(answer_seconds or 0) from error
    except UnicodeError as error:
        # A label that is empty or too long: it is the resolver that chokes on it.
        raise NoAnswerError(_NO_NAME, RESOLUTION_ERROR) from error
    except aiohttp.ClientError as error:
        raise _no_answer(error) from error


async def deliver(
    session: aiohttp.ClientSession, request: Request, *, answer_seconds: float | None
) -> Outcome:
    """Send, and say what the status, or the lack of one, means."""
    try:
        reply = await ask(session, request, answer_seconds=answer_seconds)
    except NoAnswerError as error:
        return error.outcome
    return Outcome(
        status=reply.status,
        seen=f"answered {reply.status}",
        verdict=verdict_of(reply.status),
    )


def no_answer_within(seconds: float) -> NoAnswerError:
    return NoAnswerError(f"no answer within {seconds:g} s", TIMED_OUT)


async def _start_of(answer: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for part in answer.content.iter_any():
        body += part
        if len(body) > MAX_REPLY_BYTES:
            break
    return bytes(body)


def _no_answer(error: aiohttp.ClientError) -> NoAnswerError:
    """The one table of what can go wrong below HTTP."""
    match error:
        case aiohttp.ClientConnectorDNSError():
            return NoAnswerError(_NO_NAME, RESOLUTION_ERROR)
        case aiohttp.ClientConnectorCertificateError():
            return NoAnswerError("the certificate is not trusted", SOCKET_ERROR)
        case aiohttp.ClientSSLError():
            return NoAnswerError("TLS failed", SOCKET_ERROR)
        case aiohttp.ClientConnectorError():
            return NoAnswerError(_why_no_connection(error), SOCKET_ERROR)
        case aiohttp.ServerDisconnectedError() | aiohttp.ClientOSError():
            return NoAnswerError(
                "the connection was cut before the answer", SOCKET_ERROR
            )
        case _:
            return NoAnswerError(_why_no_http(error), SOCKET_ERROR)


def _why_no_connection(error: aiohttp.ClientConnectorError) -> str:
    if isinstance(error, aiohttp.ClientProxyConnectionError):
        return "no connection to the proxy"
    refused = isinstance(error.os_error, ConnectionRefusedError)
    return "connection refused" if refused else "no connection"


def _why_no_http(error: aiohttp.ClientError) -> str:
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return f"the proxy answered {error.status}"
    if isinstance(error, aiohttp.InvalidURL | aiohttp.NonHttpUrlClientError):
        return "the URL is none of https or http"
    return "the answer is not HTTP"
