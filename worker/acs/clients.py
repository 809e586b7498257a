"""The official clients for one ACS resource, set up as all of Azure's; and rehearsals.

A rehearsal runs the same client, and keeps the request that would have been sent.
"""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn, Self

import aiohttp
from azure.communication.callautomation.aio import CallAutomationClient
from azure.communication.rooms.aio import RoomsClient
from azure.core.credentials import AzureKeyCredential
from azure.core.credentials_async import AsyncTokenCredential
from azure.core.pipeline import PipelineRequest
from azure.core.pipeline.transport import AioHttpTransport, AsyncHttpTransport
from azure.core.rest import AsyncHttpResponse, HttpRequest
from yarl import URL

from worker.acs.answers import Planned
from worker.acs.resources import Resource
from worker.entra import MachineIdentity
from worker.log import REDACTED
from worker.sdk_options import options_for

if TYPE_CHECKING:
    from types import TracebackType

_NOBODY = "bm9ib2R5"


class WouldSendError(Exception):
    """Ends a rehearsal: `planned` is what would have gone out."""

    def __init__(self, planned: Planned) -> None:
        super().__init__(f"{planned.method} would be sent")
        self.planned = planned


class Rehearsal(AsyncHttpTransport[HttpRequest, AsyncHttpResponse]):
    """A transport that sends nothing, to nobody."""

    async def send(self, request: HttpRequest, **_options: object) -> NoReturn:
        body = request.content
        raise WouldSendError(
            Planned(
                method=request.method,
                url=request.url,
                body=_shown(json.loads(body)) if body else None,
            )
        )

    async def open(self) -> None:
        """There is nothing to open."""

    async def close(self) -> None:
        """There is nothing to close."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: "type[BaseException] | None" = None,
        exc_value: "BaseException | None" = None,
        traceback: "TracebackType | None" = None,
    ) -> None:
        """There is nothing to leave."""


def _shown(body: Any) -> Any:
    """The body without what opens a callback's endpoint."""
    shown = {
        name: f"{said.partition('?')[0]}?{REDACTED}"
        for name, said in body.items()
        if name.endswith("CallbackUri") and "?" in str(said)
    }
    return body | shown


class _AsWritten:
    """A session that sends URLs as they were signed: aiohttp would turn `%3D` into `=`."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    @property
    def auto_decompress(self) -> bool:
        return self._session.auto_decompress

    async def request(
        self, method: str, url: str, **options: Any
    ) -> aiohttp.ClientResponse:
        return await self._session.request(method, URL(url, encoded=True), **options)

    async def __aenter__(self) -> Self:
        return self


@dataclass(frozen=True, slots=True, kw_only=True)
class Clients:
    """Both clients of one resource, for the time that they are open."""

    resource: Resource
    calls: CallAutomationClient
    rooms: RoomsClient


@asynccontextmanager
async def open_clients(
    resource: Resource, *, rehearse: bool = False, request_id: str | None = None
) -> AsyncIterator[Clients]:
    """Open them; `request_id`: what is done under an id once is not done again under it."""
    async with AsyncExitStack() as stack:
        shared = options_for(resource.endpoint)
        transport: AsyncHttpTransport[Any, Any] = Rehearsal()
        credential: AzureKeyCredential | AsyncTokenCredential
        credential = AzureKeyCredential(resource.key or _NOBODY)
        if not rehearse:
            session = await stack.enter_async_context(await _new_session())
            transport = AioHttpTransport(
                session=_AsWritten(session),
                session_owner=False,
                # A transport that is handed to a client has none of its options.
                connection_timeout=shared["connection_timeout"],
                read_timeout=shared["read_timeout"],
            )
            if resource.key is None:
                credential = await stack.enter_async_context(MachineIdentity())
        options: dict[str, Any] = {
            **shared,
            "transport": transport,
            "raw_request_hook": _repeating(request_id),
        }
        calls = CallAutomationClient(resource.endpoint, credential, **options)
        rooms = RoomsClient(resource.endpoint, credential, **options)
        await stack.enter_async_context(calls)
        await stack.enter_async_context(rooms)
        yield Clients(resource=resource, calls=calls, rooms=rooms)


async def _new_session() -> aiohttp.ClientSession:
    """Trust as it is now, and no cookies."""
    context = await asyncio.to_thread(ssl.create_default_context)
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(ssl=context),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
    )


def _repeating(request_id: str | None) -> Callable[[PipelineRequest[Any]], None]:
    """Say the operator's id instead of the client's own, which is new each time.

    https://docs.oasis-open.org/odata/repeatable-requests/v1.0/repeatable-requests-v1.0.html
    """

    def hook(request: PipelineRequest[Any]) -> None:
        headers = request.http_request.headers
        if request_id and "Repeatability-Request-ID" in headers:
            headers["Repeatability-Request-ID"] = request_id

    return hook
