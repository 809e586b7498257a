"""An authority on loopback, in place of Entra ID: it has keys, and signs what a test says."""

import asyncio
import base64
import functools
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import jwt
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric.rsa import (
    RSAPrivateKey,
    generate_private_key,
)

from tests.fakes.clock import START

TENANT = "11111111-2222-3333-4444-5555555555aa"
APPLICATION = "99999999-8888-7777-6666-5555555555bb"
URI = "api://recordings.contoso.example/events"
EVENT_GRID = "4962773b-9cdb-44cf-a8bf-237846a00ab7"
ROLE = "AzureEventGridSecureWebhookSubscriber"
DAY = 86_400
V1_ISSUER = f"https://sts.windows.net/{TENANT}/"
WAIT_SECONDS = 10
Claims = dict[str, Any]


def rsa_key(number: int, *, bits: int = 2048) -> RSAPrivateKey:
    """One of any number of keys, each made once in a process."""
    return _made_key(number, bits)


@functools.cache
def _made_key(number: int, bits: int) -> RSAPrivateKey:
    del number
    return generate_private_key(public_exponent=65537, key_size=bits)


def claims_v1(**other: Any) -> Claims:
    """What a token of version 1.0 says; None takes a claim out."""
    said = {
        **_times(),
        "ver": "1.0",
        "iss": V1_ISSUER,
        "aud": URI,
        "tid": TENANT,
        "appid": EVENT_GRID,
        "appidacr": "2",
        "sub": "5555",
        "roles": [ROLE],
    }
    return _changed(said, other)


def claims_v2(authority: str, **other: Any) -> Claims:
    """What a token of version 2.0 of this authority says."""
    said = {
        **_times(),
        "ver": "2.0",
        "iss": f"{authority}/{TENANT}/v2.0",
        "aud": APPLICATION,
        "tid": TENANT,
        "azp": EVENT_GRID,
        "azpacr": "2",
        "sub": "5555",
        "roles": [ROLE],
    }
    return _changed(said, other)


def _times() -> Claims:
    issued = int(START.timestamp())
    return {"iat": issued, "nbf": issued, "exp": issued + DAY}


def _changed(said: Claims, other: Claims) -> Claims:
    return {name: text for name, text in (said | other).items() if text is not None}


def signed(
    claims: Claims, *, key: RSAPrivateKey | None = None, kid: str | None = "key-0"
) -> str:
    """A token as Entra makes them."""
    return jwt.encode(
        claims,
        key or rsa_key(0),
        algorithm="RS256",
        headers={"kid": kid} if kid else {},
    )


def by_hand(header: Claims, claims: Claims, signature: bytes = b"?") -> str:
    """A token that no library would make."""
    parts = (json.dumps(header).encode(), json.dumps(claims).encode(), signature)
    return ".".join(base64.urlsafe_b64encode(p).decode().rstrip("=") for p in parts)


def jwk(number: int, *, bits: int = 2048, **other: Any) -> Claims:
    """A public key as the authority lists it; None takes a member out."""
    public = jwt.algorithms.RSAAlgorithm.to_jwk(
        rsa_key(number, bits=bits).public_key(), as_dict=True
    )
    said = {
        "kty": "RSA",
        "use": "sig",
        "kid": f"key-{number}",
        "n": public["n"],
        "e": public["e"],
        "issuer": "https://login.microsoftonline.com/{tenantid}/v2.0",
    }
    return _changed(said, other)


@dataclass(slots=True, kw_only=True)
class StandInAuthority:
    """Serves the keys of `numbers`; what else it does is for a test to say."""

    url: str = ""
    numbers: list[int] = field(default_factory=lambda: [0])
    status: int = 200
    body: bytes | None = None
    """Instead of the keys."""
    is_open: asyncio.Event = field(default_factory=asyncio.Event)
    """Nothing is answered until it is set."""
    asked: list[str] = field(default_factory=list)
    """The path of each request."""
    _arrived: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def answer(self, request: web.Request) -> web.Response:
        async with self._arrived:
            self.asked.append(request.path)
            self._arrived.notify_all()
        await self.is_open.wait()
        keys = {"keys": [jwk(number) for number in self.numbers]}
        body = json.dumps(keys).encode() if self.body is None else self.body
        return web.Response(
            status=self.status,
            body=body,
            headers={"Location": f"{self.url}/elsewhere"},
        )

    async def wait_for_requests(self, count: int) -> None:
        async with asyncio.timeout(WAIT_SECONDS), self._arrived:
            await self._arrived.wait_for(lambda: len(self.asked) >= count)


@asynccontextmanager
async def stand_in_authority(
    *, ssl_context: ssl.SSLContext | None = None
) -> AsyncIterator[StandInAuthority]:
    """Serve until the end of the context; under TLS as `localhost`."""
    authority = StandInAuthority()
    authority.is_open.set()
    app = web.Application()
    app.router.add_get("/{path:.*}", authority.answer)
    runner = web.AppRunner(app, shutdown_timeout=0)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=ssl_context).start()
        port = runner.addresses[0][1]
        authority.url = f"http://127.0.0.1:{port}"
        if ssl_context is not None:
            authority.url = f"https://localhost:{port}"
        yield authority
    finally:
        authority.is_open.set()
        await runner.cleanup()
