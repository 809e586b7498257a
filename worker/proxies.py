"""Which proxy a request goes through: what HTTPS_PROXY and NO_PROXY say, read by ourselves.

Not by aiohttp's `trust_env`: that reads .netrc and the environment in a thread for every
request, may send .netrc's password, and hands plain-http loopback traffic to a proxy.
"""

import urllib.request
from dataclasses import dataclass, field

import aiohttp
from yarl import URL

_LOOPBACK = {"127.0.0.1", "::1", "localhost"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Proxy:
    """Where to tunnel through, and what to tell it."""

    url: URL
    headers: dict[str, str] = field(repr=False)


def proxy_for(url: URL) -> Proxy | None:
    """Return the proxy that HTTPS_PROXY and NO_PROXY choose; never one for loopback."""
    proxy = address_for(url)
    if proxy is None:
        return None
    if proxy.user is None:
        return Proxy(url=proxy, headers={})
    login = aiohttp.encode_basic_auth(proxy.user, proxy.password or "")
    return Proxy(url=proxy.with_user(None), headers={"Proxy-Authorization": login})


def address_for(url: URL) -> URL | None:
    """The same as one URL, its login included."""
    host = url.raw_host or ""
    if host in _LOOPBACK or urllib.request.proxy_bypass(host):
        return None
    address = urllib.request.getproxies().get(url.scheme)
    if not address:
        return None
    return URL(address if "://" in address else f"http://{address}")
