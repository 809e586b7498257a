"""How every client of Azure's SDK is set up: it shows what it was given, to whom it was told.

Without the environment's doing: aiohttp would send the password in .netrc in the place of
ours, and plain-http loopback traffic to a proxy. Proxies are chosen by worker/proxies.py.

The SDK's own retries are off (`retry_total=0`): by default it waits 20 s before the first,
ignores Retry-After and does not retry 429, and below ours they would multiply.
"""

from typing import TypedDict

from yarl import URL

from worker import __version__
from worker.proxies import address_for

CONNECT_SECONDS = 10
READ_SECONDS = 30
"""Longest silence within an answer."""


class SdkOptions(TypedDict):
    """Keyword arguments that all clients of the SDK take."""

    retry_total: int
    permit_redirects: bool
    connection_timeout: int
    read_timeout: int
    user_agent: str
    use_env_settings: bool
    proxies: dict[str, str] | None


def options_for(url: str) -> SdkOptions:
    """The options of a client that asks this URL, or what is below it."""
    return SdkOptions(
        retry_total=0,
        # A credential goes to the host that was named, and nowhere else.
        permit_redirects=False,
        connection_timeout=CONNECT_SECONDS,
        read_timeout=READ_SECONDS,
        user_agent=f"recording-worker/{__version__}",
        use_env_settings=False,
        proxies=_proxies(URL(url)),
    )


def _proxies(url: URL) -> dict[str, str] | None:
    """The proxy of the environment, as the SDK takes it: by the scheme of what is asked."""
    proxy = address_for(url)
    return None if proxy is None else {url.scheme: str(proxy)}
