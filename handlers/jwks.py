"""The keys that an authority signs tokens with: fetched within bounds, and read with care.

https://learn.microsoft.com/entra/identity-platform/access-tokens#validate-tokens
"""

import asyncio
import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import aiohttp
from jwt import PyJWK
from jwt.exceptions import PyJWTError
from yarl import URL

from worker.errors import WorkerError
from worker.proxies import proxy_for

MAX_SET_BYTES = 256 * 1024
"""Entra's set has some 15 KiB."""
MAX_KEY_NAME = 200
ALGORITHM = "RS256"
_RSA_BITS = range(2048, 8192 + 1)
_ANY_TENANT = "{tenantid}"
_LONGEST_REASON = 300


class KeySetError(WorkerError):
    """The authority gave no set of keys that can be used."""

    reason = "key-set"
    hint = "recording-worker config"


@dataclass(frozen=True, slots=True, kw_only=True)
class Authority:
    """Entra ID, or its like in another cloud, as the issuer of one tenant's tokens."""

    url: str
    """`https://login.microsoftonline.com`, without a slash at the end."""
    tenant: str
    version: str
    """Ours, for User-Agent."""

    @property
    def keys_url(self) -> URL:
        """Where its keys lie; they sign tokens of version 1.0 as well."""
        return URL(f"{self.url}/{self.tenant}/discovery/v2.0/keys")

    async def load_keys(self) -> Mapping[str, PyJWK]:
        """Return its keys by name, at least one; sets no limit of time. Raises KeySetError."""
        body = await _fetched(self.keys_url, version=self.version)
        return _some(keys_in(body, tenant=self.tenant), self.keys_url)


@dataclass(frozen=True, slots=True, kw_only=True)
class CallAutomation:
    """Call Automation, as the issuer of the tokens of its callbacks."""

    url: str
    """`https://acscallautomation.communication.azure.com`, without a slash at the end."""
    version: str
    """Ours, for User-Agent."""

    @property
    def configuration_url(self) -> URL:
        """Where it says where its keys are."""
        return URL(f"{self.url}/calling/.well-known/acsopenidconfiguration")

    async def load_keys(self) -> Mapping[str, PyJWK]:
        """As Authority does; keys that it says lie elsewhere are not taken."""
        said = await _fetched(self.configuration_url, version=self.version)
        keys_url = _keys_url_in(said, like=self.configuration_url)
        if keys_url is None:
            host = self.configuration_url.raw_authority
            raise KeySetError(f"{host} does not say where its keys are")
        body = await _fetched(keys_url, version=self.version)
        return _some(keys_in(body, tenant=None), keys_url)


def _keys_url_in(body: bytes, *, like: URL) -> URL | None:
    """Where the keys are, if that is where `like` is."""
    try:
        keys_url = URL(json.loads(body)["jwks_uri"])
        is_there = keys_url.origin() == like.origin()
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    return keys_url if is_there else None


def _some(keys: dict[str, PyJWK], url: URL) -> Mapping[str, PyJWK]:
    if not keys:
        raise KeySetError(f"{url.raw_authority} sent no key that signs tokens")
    return keys


async def _fetched(url: URL, *, version: str) -> bytes:
    host = url.raw_authority
    proxy = proxy_for(url)
    try:
        async with (
            await _new_session(version) as session,
            session.get(
                url,
                allow_redirects=False,
                proxy=proxy.url if proxy else None,
                proxy_headers=proxy.headers if proxy else None,
            ) as answer,
        ):
            return await _read(answer, host=host)
    except (aiohttp.ClientError, OSError, ValueError) as error:
        why = " ".join(str(error).split())[:_LONGEST_REASON]
        kind = type(error).__name__
        raise KeySetError(
            f"{host}: {kind}: {why}" if why else f"{host}: {kind}"
        ) from error


async def _new_session(version: str) -> aiohttp.ClientSession:
    """One for each load: connections don't last an hour, and trust may change."""
    context = await asyncio.to_thread(ssl.create_default_context)
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(ssl=context),
        timeout=aiohttp.ClientTimeout(total=None),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        headers={
            "User-Agent": f"recording-worker/{version}",
            "Accept-Encoding": "identity",
        },
    )


async def _read(answer: aiohttp.ClientResponse, *, host: str) -> bytes:
    if answer.status != HTTPStatus.OK:
        raise KeySetError(f"{host} answered {answer.status}")
    body = bytearray()
    async for piece in answer.content.iter_any():
        body += piece
        if len(body) > MAX_SET_BYTES:
            raise KeySetError(f"{host} sent more than a set of keys")
    return bytes(body)


def keys_in(body: bytes, *, tenant: str | None) -> dict[str, PyJWK]:
    """Take the keys that may sign the tenant's tokens; what is anything else is left out.
    None: there are no tenants.

    Of two keys with one name the first is taken. A body that is no set has no keys.
    """
    try:
        said = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    listed = said.get("keys") if isinstance(said, dict) else None
    keys: dict[str, PyJWK] = {}
    for each in listed if isinstance(listed, list) else ():
        name = each.get("kid") if isinstance(each, dict) else None
        if not isinstance(name, str) or not 0 < len(name) <= MAX_KEY_NAME:
            continue
        key = _key_from(each, tenant=tenant)
        if key is not None:
            keys.setdefault(name, key)
    return keys


def _key_from(said: dict[str, Any], *, tenant: str | None) -> PyJWK | None:
    if not _signs_tokens(said) or not _is_for(tenant, said.get("issuer")):
        return None
    # Only the public half, whatever else is in it.
    public = {"kty": "RSA", "n": said.get("n"), "e": said.get("e")}
    try:
        key = PyJWK(public, algorithm=ALGORITHM)
    except PyJWTError:
        return None
    return key if int(key.key.key_size) in _RSA_BITS else None


def _signs_tokens(said: dict[str, Any]) -> bool:
    if said.get("kty") != "RSA":
        return False
    return said.get("use") in (None, "sig") and said.get("alg") in (None, ALGORITHM)


def _is_for(tenant: str | None, issuer: object) -> bool:
    """Whether a key is for every tenant, or for ours: some are for personal accounts only."""
    if issuer is None or tenant is None:
        return True
    named = issuer.casefold() if isinstance(issuer, str) else ""
    return _ANY_TENANT in named or f"/{tenant}/" in named
