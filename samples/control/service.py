"""The control API of one ACS resource on loopback, as the official clients ask it.

    async with ControlStandIn() as acs:
        client = CallAutomationClient(acs.url, AzureKeyCredential(KEY))

(`from_connection_string` of the clients makes https of any endpoint.)
It takes what is signed with the resource's key or bears one of its `tokens`; a POST that
says its Repeatability-Request-ID again is answered as before and done no second time.
"""

import ssl
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Self
from urllib.parse import quote, unquote

from aiohttp import web

from samples.control import replies, routes
from samples.control.callbacks import Caller
from samples.control.calls import Calls
from samples.control.recordings import Recordings
from samples.control.replies import RefusedError, Reply
from samples.control.rooms import Rooms
from samples.signature import Resource, SignedRequest, refusal

KEY = "bm90IGEgc2VjcmV0OiB0aGUga2V5IG9mIHRoZSBzdGFuZC1pbiBmb3IgQUNT"
RESOURCE_ID = "00000000-aaaa-4bbb-8ccc-000000000001"
LOOPBACK = "127.0.0.1"
SHUTDOWN_S = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlRequest:
    """One request as it arrived, authentic or not."""

    method: str
    target: str
    """Path and query as they came over the wire."""
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes = field(repr=False)


class ControlStandIn:
    """An async context manager, on a port of its own; `page_size` is that of lists."""

    def __init__(
        self,
        *,
        port: int = 0,
        page_size: int = 2,
        ssl_context: ssl.SSLContext | None = None,
        host_name: str = LOOPBACK,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.url = ""
        self.tokens: set[str] = set()
        self.requests: list[ControlRequest] = []
        self.recordings = Recordings()
        self.rooms = Rooms(now)
        self.calls = Calls()
        self.callbacks = Caller(audience=RESOURCE_ID, now=now)
        self.page_size = page_size
        self.planned: list[Reply] = []
        """Answers to the next requests, whatever they are."""
        self._answered: dict[str, Reply] = {}
        self._port = port
        self._ssl_context = ssl_context
        self._host_name = host_name
        self._now = now
        self._listeners = AsyncExitStack()

    @property
    def connection_string(self) -> str:
        return f"endpoint={self.url}/;accesskey={KEY}"

    async def __aenter__(self) -> Self:
        runner = web.ServerRunner(web.Server(self._handle), shutdown_timeout=SHUTDOWN_S)
        await runner.setup()
        self._listeners.push_async_callback(runner.cleanup)
        self._listeners.push_async_callback(self.callbacks.close)
        site = web.TCPSite(runner, LOOPBACK, self._port, ssl_context=self._ssl_context)
        await site.start()
        scheme = "https" if self._ssl_context else "http"
        self.url = f"{scheme}://{self._host_name}:{runner.addresses[0][1]}"
        self.callbacks.issuer = self.url
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._listeners.aclose()

    async def _handle(self, request: web.BaseRequest) -> web.Response:
        asked = ControlRequest(
            method=request.method,
            target=request.raw_path,
            path=request.rel_url.path,
            query=dict(request.query),
            headers=dict(request.headers),
            body=await request.read(),
        )
        self.requests.append(asked)
        reply = self._public(asked) or self._refused(request, asked)
        reply = reply or self._answer(asked)
        headers = {"api-supported-versions": "2025-03-13, 2026-03-12"} | reply.headers
        if reply.body is None:
            return web.Response(status=reply.status, headers=headers)
        return web.json_response(reply.body, status=reply.status, headers=headers)

    def _public(self, asked: ControlRequest) -> Reply | None:
        """What anyone may ask for: how callbacks can be told to be ours."""
        documents = {
            "/calling/.well-known/acsopenidconfiguration": self.callbacks.configuration,
            "/calling/keys": self.callbacks.keys,
        }
        document = documents.get(asked.path)
        return Reply(status=HTTPStatus.OK, body=document()) if document else None

    def _refused(self, request: web.BaseRequest, asked: ControlRequest) -> Reply | None:
        resource = Resource.from_connection_string(self.connection_string)
        whys = [
            refusal(
                SignedRequest(
                    method=asked.method,
                    target=target,
                    # Here the host that is asked is the resource's own.
                    headers={**asked.headers, "x-ms-host": request.host},
                    body=asked.body,
                ),
                resource=resource,
                tokens=self.tokens,
                now=self._now(),
            )
            for target in _signed_targets(request.raw_path)
        ]
        if None in whys:
            return None
        return replies.error(HTTPStatus.UNAUTHORIZED, "Denied", f"Denied: {whys[0]}.")

    def _answer(self, asked: ControlRequest) -> Reply:
        if self.planned:
            return self.planned.pop(0)
        repeated = asked.headers.get("Repeatability-Request-ID", "")
        if asked.method == "POST" and repeated in self._answered:
            return self._answered[repeated]
        try:
            if "api-version" not in asked.query:
                raise replies.bad_request("api-version is missing.")
            reply = routes.answer(self, asked)
        except RefusedError as error:
            return error.reply
        if asked.method == "POST" and repeated:
            if "Repeatability-First-Sent" not in asked.headers:
                return replies.bad_request("Repeatability-First-Sent is missing.").reply
            self._answered[repeated] = reply
        return reply

    def page_url(self, path: str, skip: int) -> str:
        """Where the next page of a list is."""
        return f"{self.url}{path}?skip={skip}"


def _signed_targets(target: str) -> tuple[str, ...]:
    """What a signature may be of: the clients of Microsoft differ in what they quote.

    That of Rooms signs what is decoded; the asynchronous one of Call Automation signs `%3D`
    where aiohttp sends `=`.
    """
    path, mark, query = target.partition("?")
    decoded = unquote(path)
    return target, unquote(target), quote(decoded, safe="/:") + mark + query
