"""The HTTP client below the source: trust, addresses and limits of one aiohttp session."""

import asyncio
import ssl

import aiohttp
from aiohttp.abc import AbstractResolver

from worker.sources.hosts import HostRules
from worker.sources.resolving import SourceResolver

CONNECT_SECONDS = 10.0
READ_SECONDS = 30.0
"""Longest silence within an answer; the whole transfer has no limit here."""
KEEP_ALIVE_SECONDS = 30.0
READ_BUFFER_BYTES = 64 * 1024
"""Per connection; reading pauses at twice this while the archive is busy, or other
connections have their turn. More of it only costs memory: 64 KiB to 2 MiB were measured alike.
"""


async def new_session(
    *, version: str, hosts: HostRules, resolver: AbstractResolver | None = None
) -> aiohttp.ClientSession:
    """Make a session that honours SSL_CERT_FILE and keeps bodies as they were sent.

    It dials what `hosts` admits of the answers of `resolver`, by default the system's.
    Not `trust_env` (worker/proxies.py says why). The TLS context is our own because that of
    aiohttp is made at import.
    """
    context = await asyncio.to_thread(ssl.create_default_context)
    context.set_alpn_protocols(["http/1.1"])
    asked = resolver or aiohttp.ThreadedResolver()
    return aiohttp.ClientSession(
        # The ceiling that all transfers share is the limit, not the connector.
        connector=aiohttp.TCPConnector(
            limit=0,
            ssl=context,
            keepalive_timeout=KEEP_ALIVE_SECONDS,
            resolver=SourceResolver(hosts, asked=asked),
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
