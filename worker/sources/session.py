"""The HTTP client below the source: trust, proxies and limits of one aiohttp session."""

import asyncio
import ssl
import urllib.request
from dataclasses import dataclass

import aiohttp
from yarl import URL

from worker.sources.hosts import is_loopback

CONNECT_SECONDS = 10.0
READ_SECONDS = 30.0
"""Longest silence within an answer; the whole transfer has no limit here."""
KEEP_ALIVE_SECONDS = 30.0
READ_BUFFER_BYTES = 64 * 1024
"""Per connection; reading pauses at twice this while the archive is busy, or other
connections have their turn. More of it only costs memory: 64 KiB to 2 MiB were measured alike.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proxy:
    """Where to tunnel through, and what to tell it."""

    url: URL
    headers: dict[str, str]


async def new_session(*, version: str) -> aiohttp.ClientSession:
    """Make a session that honours SSL_CERT_FILE and keeps bodies as they were sent.

    Not `trust_env`: aiohttp would read .netrc and the environment in a thread for every
    request, send .netrc's password instead of our signature, and hand plain-http loopback
    traffic to a proxy. The TLS context is our own because that of aiohttp is made at import.
    """
    context = await asyncio.to_thread(ssl.create_default_context)
    context.set_alpn_protocols(["http/1.1"])
    return aiohttp.ClientSession(
        # The ceiling that all transfers share is the limit, not the connector.
        connector=aiohttp.TCPConnector(
            limit=0, ssl=context, keepalive_timeout=KEEP_ALIVE_SECONDS
        ),
        timeout=aiohttp.ClientTimeout(
            total=None, sock_connect=CONNECT_SECONDS, sock_read=READ_SECONDS
        ),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        read_bufsize=READ_BUFFER_BYTES,
        headers={
            "User-Agent": f"recording-worker/{version}",
            "Accept-Encoding": "identity",
        },
    )


def proxy_for(url: URL) -> Proxy | None:
    """Return the proxy that HTTPS_PROXY and NO_PROXY choose; never one for loopback."""
    host = url.raw_host or ""
    if is_loopback(url) or urllib.request.proxy_bypass(host):
        return None
    address = urllib.request.getproxies().get(url.scheme)
    if not address:
        return None
    proxy = URL(address if "://" in address else f"http://{address}")
    if proxy.user is None:
        return Proxy(url=proxy, headers={})
    login = aiohttp.encode_basic_auth(proxy.user, proxy.password or "")
    return Proxy(url=proxy.with_user(None), headers={"Proxy-Authorization": login})
