"""What App Service offers its apps for a managed identity, on loopback: tokens for the asking."""

import base64
import json
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
from aiohttp import web

HEADER = "only this app"
OBJECT = "22222222-3333-4444-5555-666666666666"
TENANT = "11111111-2222-3333-4444-555555555555"
_CREDENTIALS_OF_OTHERS = (
    *("AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET", "AZURE_TENANT_ID"),
    *("AZURE_FEDERATED_TOKEN_FILE", "AZURE_TOKEN_CREDENTIALS", "MSI_ENDPOINT"),
)


@dataclass(slots=True, kw_only=True)
class IdentityEndpoint:
    """Hands out tokens that nobody signed; `status` other than 200 refuses."""

    url: str = ""
    lifetime_s: int = 3600
    status: int = 200
    asked: list[str] = field(default_factory=list)
    """The resource of each request."""
    issued: list[str] = field(default_factory=list)

    @property
    def variables(self) -> Mapping[str, str]:
        """What the environment of a process says, so that its SDK finds us."""
        return {"IDENTITY_ENDPOINT": self.url, "IDENTITY_HEADER": HEADER}

    def describe(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Make it the only identity of this process."""
        for name in _CREDENTIALS_OF_OTHERS:
            monkeypatch.delenv(name, raising=False)
        for name, text in self.variables.items():
            monkeypatch.setenv(name, text)

    async def answer(self, request: web.Request) -> web.Response:
        resource = request.query["resource"]
        self.asked.append(resource)
        if request.headers.get("X-IDENTITY-HEADER") != HEADER:
            return web.json_response({"message": "who are you"}, status=401)
        if self.status != web.HTTPOk.status_code:
            return web.json_response({"message": "not now"}, status=self.status)
        now = int(time.time())
        token = self._token(resource, now)
        self.issued.append(token)
        return web.json_response(
            {
                "access_token": token,
                "expires_on": str(now + self.lifetime_s),
                "resource": resource,
                "token_type": "Bearer",
            }
        )

    def _token(self, resource: str, now: int) -> str:
        claims = {
            "aud": resource,
            "iss": f"https://sts.windows.net/{TENANT}/",
            "iat": now,
            "nbf": now,
            "exp": now + self.lifetime_s,
            "jti": len(self.issued),
            "oid": OBJECT,
        }
        parts = (json.dumps(part).encode() for part in ({"alg": "none"}, claims))
        words = [base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts]
        return ".".join([*words, "unsigned"])


class IssuedTokens(set[str]):
    """Those of an identity, less what was `revoked`; for a stand-in to take."""

    def __init__(self, identity: IdentityEndpoint) -> None:
        super().__init__()
        self.revoked: set[str] = set()
        self._identity = identity

    def __contains__(self, token: object) -> bool:
        return token in self._identity.issued and token not in self.revoked


@asynccontextmanager
async def identity_endpoint() -> AsyncIterator[IdentityEndpoint]:
    """Serve until the end of the context."""
    endpoint = IdentityEndpoint()
    app = web.Application()
    app.router.add_get("/msi/token", endpoint.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        endpoint.url = f"http://127.0.0.1:{runner.addresses[0][1]}/msi/token"
        yield endpoint
    finally:
        await runner.cleanup()
