"""What Event Grid would need to deliver to a deployed endpoint: a subscription, a session."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
from yarl import URL

from samples.event_grid import Schema, Subscription, SubscriptionError
from worker.endpoint import Endpoint, EndpointError
from worker.posting import MAX_EVENTS_PER_BATCH, PREFERRED_BATCH_KIB
from worker.proxies import address_for


def subscription_of(endpoint: Endpoint, schema: Schema, *, name: str) -> Subscription:
    """As shipped, but for the name. Raises EndpointError where Event Grid has other limits."""
    try:
        return Subscription(
            name=name,
            endpoint=endpoint.url,
            schema=schema,
            topic=endpoint.topic,
            max_events_per_batch=MAX_EVENTS_PER_BATCH,
            preferred_batch_kib=PREFERRED_BATCH_KIB,
            headers=endpoint.headers,
        )
    except SubscriptionError as error:
        raise EndpointError(str(error)) from error


async def trust() -> ssl.SSLContext:
    """Whom this machine trusts: SSL_CERT_FILE, or what the system says."""
    return await asyncio.to_thread(ssl.create_default_context)


def proxy_of(endpoint: Endpoint) -> URL | None:
    """The proxy that the environment has for it, its login included.

    None for this machine, however it is spelt: what may be plain http must not leave it.
    """
    if endpoint.is_loopback:
        return None
    return address_for(URL(endpoint.url, encoded=True))


@asynccontextmanager
async def open_session(
    endpoint: Endpoint, *, tls: ssl.SSLContext
) -> AsyncIterator[aiohttp.ClientSession]:
    """What all requests to the endpoint go through. Whoever asks says how long it may take."""
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(ssl=tls),
        timeout=aiohttp.ClientTimeout(total=None),
        cookie_jar=aiohttp.DummyCookieJar(),
        proxy=proxy_of(endpoint),
        skip_auto_headers={"User-Agent", "Accept"},
    ) as session:
        yield session
