"""Signed requests to the source: each takes a slot, follows redirects by hand, and is checked.

By hand, because every hop is checked against the allow-list and signed anew, and because a
DELETE has to stay one.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http import HTTPStatus

import aiohttp
from yarl import URL

from worker.errors import (
    SourceAnswerError,
    SourceForbiddenError,
    ThrottledError,
    TruncatedError,
    WorkerError,
)
from worker.limits import ConnectionCeiling
from worker.ports import Clock
from worker.proxies import proxy_for
from worker.sources import answers
from worker.sources.routes import RegionalHosts
from worker.sources.signing import Credential, Credentials, no_credential

MAX_REDIRECTS = 5
SERVED = frozenset({HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT})


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A location that may be asked, and how: `check` passes every hop on the way."""

    url: URL = field(repr=False)
    resource: str | None
    credential: Credential
    check: Callable[[str], URL]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The last answer of a chain of redirects; `hops` are all of them, `HOST STATUS`."""

    response: aiohttp.ClientResponse
    url: URL = field(repr=False)
    hops: tuple[str, ...]

    @property
    def status(self) -> int:
        return self.response.status

    @property
    def host(self) -> str:
        return self.url.raw_authority


class SignedClient:
    """One session's requests, under the ceiling that all transfers share."""

    def __init__(
        self,
        *,
        session: aiohttp.ClientSession,
        credentials: Credentials,
        clock: Clock,
        ceiling: ConnectionCeiling,
    ) -> None:
        self._session = session
        self._credentials = credentials
        self._clock = clock
        self._ceiling = ceiling
        self._regional = RegionalHosts()
        self._turn = asyncio.Lock()

    def target(
        self, location: str, *, resource: str | None, check: Callable[[str], URL]
    ) -> Target:
        """Check a location and choose who asks, before any byte is sent."""
        return Target(
            url=check(location),
            resource=resource,
            credential=self._credentials.for_resource(resource),
            check=check,
        )

    @asynccontextmanager
    async def get(
        self, target: Target, *, offset: int, length: int
    ) -> AsyncIterator[Answer]:
        """Ask for a range and yield a 200 or 206; the slot is held until the end."""
        # Said outright even from 0 on: `bytes=0-…` is how the total becomes known.
        headers = {"Range": f"bytes={offset}-{offset + length - 1}"}
        try:
            url = target.check(self._regional.shortcut(target.url))
            async with (
                self._ceiling.slot(),
                self._answered("GET", url, target=target, headers=headers) as answer,
            ):
                if answer.status not in SERVED:
                    raise self._refusal(answer, target)
                self._regional.learn(target.url, answer.url)
                yield answer
        except WorkerError:
            self._regional.forget(target.url)
            raise

    @asynccontextmanager
    async def look(self, target: Target) -> AsyncIterator[Answer]:
        """Ask for one byte and yield the answer, whatever it is."""
        async with (
            self._ceiling.slot(),
            self._answered(
                "GET", target.url, target=target, headers={"Range": "bytes=0-0"}
            ) as answer,
        ):
            yield answer

    async def body(
        self, answer: Answer, *, expected: int | None
    ) -> AsyncGenerator[bytes, None]:
        """Yield the body as it comes; raise unless it is `expected` bytes long."""
        came = 0
        try:
            async for piece in answer.response.content.iter_any():
                came += len(piece)
                if expected is not None and came > expected:
                    raise SourceAnswerError(f"{answer.host} sent more than announced")
                yield piece
                await self._let_others_on()
        except answers.TRANSPORT_ERRORS as error:
            raise answers.error_from_cut(error, host=answer.host, came=came) from error
        _check_complete(answer, came=came, expected=expected)
        self._ceiling.succeeded()

    async def _let_others_on(self) -> None:
        """Wait for one's turn: of all bodies, one goes on in each turn of the event loop.

        When many bring data at once, all of them in one turn would take so long that a
        delivery, which takes several turns, would be answered a second later. It costs no
        throughput, for turns become as short as the work in them.
        """
        async with self._turn:
            await asyncio.sleep(0)

    @asynccontextmanager
    async def delete(self, target: Target) -> AsyncIterator[Answer]:
        """Ask for the delete and yield an answer that says it is done.

        Never by a remembered route: its 404 would pass for a chunk already deleted.
        """
        async with (
            self._ceiling.slot(),
            self._answered("DELETE", target.url, target=target, headers={}) as answer,
        ):
            if answer.status not in answers.DELETED:
                raise self._refusal(answer, target)
            yield answer

    @asynccontextmanager
    async def _answered(
        self, method: str, url: URL, *, target: Target, headers: dict[str, str]
    ) -> AsyncIterator[Answer]:
        """Send, follow redirects by the same method, and yield the answer to stay with.

        A token that is refused may have been revoked before its time: once there is a new
        one, the same host is asked again.
        """
        hops: tuple[str, ...] = ()
        for _ in range(MAX_REDIRECTS + 1):
            signed = await target.credential.headers(
                method=method, url=url, at=self._clock.now()
            )
            async with await self._send(method, url, headers | signed) as response:
                hops = (*hops, f"{url.raw_authority} {response.status}")
                is_refused = response.status == HTTPStatus.UNAUTHORIZED
                if is_refused and await target.credential.renewed(signed):
                    continue
                if response.status not in answers.REDIRECTS:
                    yield Answer(response=response, url=url, hops=hops)
                    return
                url = target.check(_redirect_location(url, response))
        raise SourceAnswerError(f"{url.raw_authority}: too many redirects")

    async def _send(
        self, method: str, url: URL, headers: dict[str, str]
    ) -> aiohttp.ClientResponse:
        proxy = proxy_for(url)
        try:
            return await self._session.request(
                method,
                url,
                headers=headers,
                allow_redirects=False,
                proxy=proxy.url if proxy else None,
                proxy_headers=proxy.headers if proxy else None,
            )
        except answers.TRANSPORT_ERRORS as error:
            raise answers.error_from_exception(error, host=url.raw_authority) from error

    def _refusal(self, answer: Answer, target: Target) -> WorkerError:
        error = answers.error_from_status(
            answer.status,
            answer.response.headers,
            host=answer.host,
            now=self._clock.now(),
        )
        if isinstance(error, ThrottledError):
            self._ceiling.throttled()
        is_guess = self._credentials.is_guess(target.resource)
        if isinstance(error, SourceForbiddenError) and is_guess:
            return no_credential(target.resource)
        return error


def _redirect_location(url: URL, response: aiohttp.ClientResponse) -> str:
    location = response.headers.get("Location", "")
    if not location:
        raise SourceAnswerError(f"{url.raw_authority} redirects to nowhere")
    if location.startswith("/") and not location.startswith("//"):
        return f"{url.scheme}://{url.raw_authority}{location}"
    return location


def _check_complete(answer: Answer, *, came: int, expected: int | None) -> None:
    if came == 0:
        raise SourceAnswerError(f"{answer.host} sent 0 bytes")
    if expected is not None and came < expected:
        raise TruncatedError(f"{answer.host} sent {came} bytes of {expected}")
