"""A client of the stand-in that signs with the SDK's own policy."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
from azure.communication.callautomation._shared.policy import HMACCredentialsPolicy
from azure.core.pipeline import PipelineContext, PipelineRequest
from azure.core.pipeline.transport import HttpRequest

from samples.acs import StandIn

DOC = "0-eus-d12-801b3f3fc462fe8a01e6810cbff729b8"
BODY = bytes(range(256)) * 40
METADATA = json.dumps({"chunkDocumentId": DOC, "chunkIndex": 0}).encode()
DEADLINE_S = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Got:
    """An answer, read to its end."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def content_range(self) -> str | None:
        return self.headers.get("Content-Range")


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedClient:
    """Signs with the SDK's policy, and follows no redirect."""

    acs: StandIn
    session: aiohttp.ClientSession

    def signed(self, method: str, url: str) -> dict[str, str]:
        fields = dict(p.split("=", 1) for p in self.acs.connection_string.split(";"))
        endpoint = fields["endpoint"].rstrip("/")
        request = HttpRequest(method, url)
        policy = HMACCredentialsPolicy(endpoint, fields["accesskey"])
        policy.on_request(PipelineRequest(request, PipelineContext(None)))
        host = {"x-ms-host": endpoint.removeprefix("https://")}
        return dict(request.headers) | host

    def regional(self, url: str) -> str:
        return url.replace(self.acs.global_host, self.acs.regional_host)

    async def ask(
        self, method: str, url: str, *, headers: dict[str, str] | None = None
    ) -> Got:
        sent = self.signed(method, url) | (headers or {})
        return await self.ask_with(method, url, headers=sent)

    async def ask_with(self, method: str, url: str, *, headers: dict[str, str]) -> Got:
        async with (
            asyncio.timeout(DEADLINE_S),
            self.session.request(
                method, url, headers=headers, allow_redirects=False
            ) as answer,
        ):
            body = await answer.read()
            return Got(status=answer.status, headers=dict(answer.headers), body=body)

    async def content(self, asked: str | None = None) -> Got:
        """GET the content of DOC from the regional listener."""
        url = self.regional(self.acs.locations(DOC).content)
        headers = {} if asked is None else {"Range": asked}
        return await self.ask("GET", url, headers=headers)

    async def metadata(self) -> Got:
        return await self.ask("GET", self.regional(self.acs.locations(DOC).metadata))

    async def delete(self) -> Got:
        return await self.ask("DELETE", self.regional(self.acs.locations(DOC).delete))


@asynccontextmanager
async def signed_client(acs: StandIn) -> AsyncIterator[SignedClient]:
    """Run the stand-in, and a client for it."""
    async with acs, aiohttp.ClientSession() as session:
        yield SignedClient(acs=acs, session=session)


def problem(got: Got) -> dict[str, Any]:
    assert got.headers["Content-Type"].startswith("application/problem+json")
    problem: dict[str, Any] = json.loads(got.body)
    return problem
