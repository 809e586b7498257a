"""What Call Automation posts to an app: CloudEvents under a token that it signs anew each time.

https://learn.microsoft.com/azure/communication-services/how-tos/call-automation/secure-webhook-endpoint
"""

import asyncio
import itertools
import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property

import aiohttp
import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import (
    RSAPrivateKey,
    generate_private_key,
)

from samples.control.replies import Json

PREFIX = "Microsoft.Communication."
KEY_NAME = "stand-in-1"
LIFETIME = timedelta(minutes=5)
ANSWER_SECONDS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """One callback, and what was answered; 0: nothing."""

    type: str
    data: Json
    status: int


@dataclass(kw_only=True)
class Caller:
    """Signs and posts. `issuer` is whose keys are asked for, `audience` the resource's id."""

    audience: str
    now: Callable[[], datetime]
    issuer: str = ""
    sent: list[Sent] = field(default_factory=list)
    _numbers: "itertools.count[int]" = field(default_factory=itertools.count)
    _posting: set[asyncio.Task[None]] = field(default_factory=set)
    _arrived: asyncio.Condition = field(default_factory=asyncio.Condition)

    @cached_property
    def _key(self) -> RSAPrivateKey:
        return generate_private_key(public_exponent=65537, key_size=2048)

    def configuration(self) -> Json:
        """The OpenID configuration."""
        return {"issuer": self.issuer, "jwks_uri": f"{self.issuer}/calling/keys"}

    def keys(self) -> Json:
        """The set of public keys."""
        public = jwt.algorithms.RSAAlgorithm.to_jwk(
            self._key.public_key(), as_dict=True
        )
        said = {"kty": "RSA", "use": "sig", "kid": KEY_NAME, "alg": "RS256"}
        return {"keys": [said | {"n": public["n"], "e": public["e"]}]}

    def token(self) -> str:
        """A token as it comes with one callback."""
        now = self.now()
        said = {
            "iss": self.issuer,
            "aud": self.audience,
            "iat": int(now.timestamp()),
            "nbf": int(now.timestamp()),
            "exp": int((now + LIFETIME).timestamp()),
        }
        return jwt.encode(said, self._key, "RS256", headers={"kid": KEY_NAME})

    def event(self, kind: str, data: Json) -> Json:
        """One CloudEvent."""
        where = f"calling/callConnections/{data.get('callConnectionId', 'none')}"
        return {
            "id": f"callback-{next(self._numbers)}",
            "source": where,
            "subject": where,
            "type": PREFIX + kind,
            "time": self.now().isoformat(),
            "specversion": "1.0",
            "datacontenttype": "application/json",
            "data": data,
        }

    def tell(self, url: str, kind: str, data: Json) -> None:
        """Post it while the one who asked goes on; nobody is told without a URL."""
        if not url:
            return
        posting = asyncio.create_task(self._post(url, kind, data), name="callback")
        self._posting.add(posting)
        posting.add_done_callback(self._posting.discard)

    async def _post(self, url: str, kind: str, data: Json) -> None:
        headers = {
            "Authorization": f"Bearer {self.token()}",
            "Content-Type": "application/cloudevents-batch+json",
        }
        body = json.dumps([self.event(kind, data)]).encode()
        status = 0
        timeout = aiohttp.ClientTimeout(total=ANSWER_SECONDS)
        with suppress(aiohttp.ClientError, TimeoutError):
            async with (
                aiohttp.ClientSession(timeout=timeout) as session,
                session.post(url, data=body, headers=headers) as answer,
            ):
                status = answer.status
        async with self._arrived:
            self.sent.append(Sent(type=kind, data=data, status=status))
            self._arrived.notify_all()

    async def wait_for(self, count: int) -> list[Sent]:
        """Wait until so many callbacks were answered, or not."""
        async with self._arrived:
            await self._arrived.wait_for(lambda: len(self.sent) >= count)
        return self.sent

    async def close(self) -> None:
        """Wait for those that are on their way."""
        if self._posting:
            await asyncio.wait(self._posting)
