"""A proxy before Azurite that can be told to fail, as networks and busy services do.

    async with StorageProxy(azurite.blob_url) as proxy:
        proxy.plan(Fault.status(503, retry_after=1), on="commit")
        ...  # `proxy.url` in place of `azurite.blob_url`

Requests are passed on as they are: the signatures that Azurite checks don't cover the host.
"""

import asyncio
import io
from collections.abc import Callable, Collection, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Self
from urllib.parse import urlsplit

import aiohttp
from aiohttp import web
from multidict import CIMultiDict
from yarl import URL

LOOPBACK = "127.0.0.1"
LONGEST_HANG_S = 20.0
"""Ends a hang whose client doesn't leave; by then its test has failed."""
_HOP_HEADERS = {"connection", "host", "keep-alive", "transfer-encoding"}
_CONDITIONS = {"if-match", "if-none-match"}
_NO_DEFAULTS = ("Content-Type", "Accept", "Accept-Encoding", "User-Agent")
"""Headers that a client would add, and that are signed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One way to fail."""

    kind: str
    code: int = 0
    error_code: str = ""
    detail: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    after_bytes: int = 0

    def __str__(self) -> str:
        parts = (self.kind, self.code or "", self.error_code, *self.headers.values())
        return "-".join(str(part) for part in parts if part)

    @classmethod
    def status(
        cls,
        code: int,
        error_code: str,
        *,
        detail: str = "",
        retry_after: float | None = None,
    ) -> Self:
        """An answer as the service refuses; `detail` is of an AuthenticationFailed."""
        after = {} if retry_after is None else {"Retry-After": f"{retry_after:g}"}
        return cls(
            kind="status",
            code=code,
            error_code=error_code,
            detail=detail,
            headers=after,
        )

    @classmethod
    def reset(cls, *, after_bytes: int = 0) -> Self:
        """The connection is reset after so many bytes of the request's body."""
        return cls(kind="reset", after_bytes=after_bytes)

    @classmethod
    def lost_answer(cls) -> Self:
        """The service does it, and the answer is lost."""
        return cls(kind="lost answer")

    @classmethod
    def cut(cls, *, after_bytes: int) -> Self:
        """The answer's body ends early."""
        return cls(kind="cut", after_bytes=after_bytes)

    @classmethod
    def deaf(cls) -> Self:
        """The service does it whatever the condition; for requests that are not signed."""
        return cls(kind="deaf")

    @classmethod
    def hang(cls) -> Self:
        """No answer, until the client leaves."""
        return cls(kind="hang")


@dataclass(slots=True, kw_only=True)
class Seen:
    """One request as it arrived; `status` fills in with the answer, and stays 0 without."""

    operation: str
    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    status: int = 0


Matches = Callable[[Seen], bool]


@dataclass(slots=True, kw_only=True)
class _Planned:
    fault: Fault
    on: str | None
    matches: Matches
    skip: int
    times: int
    optional: bool
    is_met: bool = False

    def is_for(self, seen: Seen) -> bool:
        """Whether the request meets it; counts those that fit."""
        if self.on not in {None, seen.operation} or not self.matches(seen):
            return False
        if self.skip > 0:
            self.skip -= 1
            return False
        self.times -= 1
        self.is_met = True
        return self.times >= 0


class StorageProxy:
    """An async context manager, on a port of its own. `seen` is every request, in order.

    Leaving fails if a fault was planned that nobody met: the test would prove nothing.

    Operations on blobs: put, stage, commit, staged, get, head, list, create_container,
    container, tier, metadata, tags, delete; on queues: create_queue, queue, put_message,
    get_messages, peek_messages, update_message, delete_message, clear_messages.
    """

    def __init__(self, service_url: str) -> None:
        parts = urlsplit(service_url)
        self._to = f"{parts.scheme}://{parts.netloc}"
        self._account = parts.path.strip("/")
        self._port = 0
        self._planned: list[_Planned] = []
        self._open = AsyncExitStack()
        self.seen: list[Seen] = []

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as opening:
            session = aiohttp.ClientSession(auto_decompress=False)
            self._session = await opening.enter_async_context(session)
            # A client that leaves must end an answer that hangs.
            server = web.Server(self._handle, handler_cancellation=True)
            runner = web.ServerRunner(server, shutdown_timeout=0.1)
            await runner.setup()
            opening.push_async_callback(runner.cleanup)
            await web.TCPSite(runner, LOOPBACK, 0).start()
            self._port = int(runner.addresses[0][1])
            self._open = opening.pop_all()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        await self._open.aclose()
        if kind is None:
            unmet = self.unmet()
            assert not unmet, f"nobody met {', '.join(unmet)}"

    def unmet(self) -> list[str]:
        """The faults that were planned and that no request has met, but for optional ones."""
        return [
            f"{planned.fault} on {planned.on or 'anything'}"
            for planned in self._planned
            if not (planned.is_met or planned.optional)
        ]

    @property
    def url(self) -> str:
        """The account's URL here, without a slash at the end."""
        return f"http://{LOOPBACK}:{self._port}/{self._account}"

    def plan(
        self,
        fault: Fault,
        *,
        on: str | None = None,
        matches: Matches = lambda _: True,
        skip: int = 0,
        times: int = 1,
        optional: bool = False,
    ) -> None:
        """Let the next `times` requests that fit meet the fault, but not the first `skip`.

        One of them must, unless the fault is `optional`.
        """
        self._planned.append(
            _Planned(
                fault=fault,
                on=on,
                matches=matches,
                skip=skip,
                times=times,
                optional=optional,
            )
        )

    def operations(self) -> list[str]:
        """What was asked for, in order."""
        return [seen.operation for seen in self.seen]

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        seen = _seen(request, self._account)
        fault = next((p.fault for p in self._planned if p.is_for(seen)), None)
        self.seen.append(seen)
        if fault is None:
            return await self._pass_on(request, seen)
        match fault.kind:
            case "status":
                await request.content.read()
                seen.status = fault.code
                return _refusal(request, fault)
            case "cut":
                return await self._pass_on(request, seen, cut_after=fault.after_bytes)
            case "deaf":
                return await self._pass_on(request, seen, is_deaf=True)
            case "lost answer":
                await self._pass_on(request, seen, is_lost=True)
            case "hang":
                await asyncio.sleep(LONGEST_HANG_S)
            case _:
                await _read_some(request, fault.after_bytes)
        return _reset(request, web.Response())

    async def _pass_on(
        self,
        request: web.BaseRequest,
        seen: Seen,
        *,
        cut_after: int | None = None,
        is_lost: bool = False,
        is_deaf: bool = False,
    ) -> web.StreamResponse:
        """Ask Azurite the same, and answer the same."""
        body = await request.content.read()
        async with self._session.request(
            request.method,
            URL(self._to + request.raw_path, encoded=True),
            headers=_end_to_end(request.headers, but=_CONDITIONS if is_deaf else ()),
            data=io.BytesIO(body) if body else None,
            skip_auto_headers=_NO_DEFAULTS,
            allow_redirects=False,
        ) as answer:
            data = await answer.read()
            headers = _end_to_end(answer.headers)
        response = web.StreamResponse(
            status=answer.status, reason=answer.reason, headers=headers
        )
        if is_lost:
            return response
        seen.status = answer.status
        await response.prepare(request)
        if data:
            await response.write(data[:cut_after])
        return response if cut_after is None else _reset(request, response)


async def _read_some(request: web.BaseRequest, count: int) -> None:
    if count:
        await request.content.readexactly(count)


def _end_to_end(
    headers: Mapping[str, str], *, but: Collection[str] = ()
) -> CIMultiDict[str]:
    left_out = {*_HOP_HEADERS, *but}
    kept = [(k, v) for k, v in headers.items() if k.lower() not in left_out]
    return CIMultiDict(kept)


def _reset(
    request: web.BaseRequest, response: web.StreamResponse
) -> web.StreamResponse:
    """Leave the client without the rest of its answer."""
    if request.transport is not None:
        request.transport.abort()
    return response


def _refusal(request: web.BaseRequest, fault: Fault) -> web.Response:
    """https://learn.microsoft.com/rest/api/storageservices/status-and-error-codes2"""
    detail = (
        f"<AuthenticationErrorDetail>{fault.detail}</AuthenticationErrorDetail>"
        if fault.detail
        else ""
    )
    body = (
        f"<?xml version='1.0' encoding='utf-8'?><Error><Code>{fault.error_code}</Code>"
        f"<Message>As planned.</Message>{detail}</Error>"
    )
    return web.Response(
        status=fault.code,
        headers={"x-ms-error-code": fault.error_code, **fault.headers},
        text=None if request.method == "HEAD" else body,
        content_type="application/xml",
    )


def _seen(request: web.BaseRequest, account: str) -> Seen:
    path = request.path.removeprefix(f"/{account}/")
    query = dict(request.query)
    return Seen(
        operation=_operation(request.method, path, query),
        method=request.method,
        path=path,
        query=query,
        headers=request.headers.copy(),
    )


_ON_BLOBS = {
    ("PUT", ""): "put",
    ("PUT", "block"): "stage",
    ("PUT", "blocklist"): "commit",
    ("PUT", "tier"): "tier",
    ("PUT", "metadata"): "metadata",
    ("PUT", "properties"): "metadata",
    ("PUT", "tags"): "tags",
    ("GET", ""): "get",
    ("GET", "blocklist"): "staged",
    ("HEAD", ""): "head",
    ("DELETE", ""): "delete",
}
_ON_MESSAGES = {
    "POST": "put_message",
    "GET": "get_messages",
    "PUT": "update_message",
    "DELETE": "delete_message",
}


def _operation(method: str, path: str, query: Mapping[str, str]) -> str:
    _, _, rest = path.partition("/")
    comp = query.get("comp", "")
    if query.get("restype") == "container":
        created = "create_container" if method == "PUT" else "container"
        return "list" if comp == "list" else created
    if rest == "messages" or rest.startswith("messages/"):
        return _message_operation(method, rest, query)
    if not rest:
        return "create_queue" if method == "PUT" and not comp else "queue"
    return _ON_BLOBS.get((method, comp), f"{method} {comp}".lower())


def _message_operation(method: str, rest: str, query: Mapping[str, str]) -> str:
    if method == "GET" and query.get("peekonly"):
        return "peek_messages"
    if method == "DELETE" and rest == "messages":
        return "clear_messages"
    return _ON_MESSAGES[method]
