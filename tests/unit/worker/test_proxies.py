"""Proxies are chosen by the environment, and never for loopback."""

import pytest
from yarl import URL

from worker.proxies import address_for, proxy_for

SOURCE = URL("https://us-storage.asm.skype.com/v1/objects/a", encoded=True)


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http", "https", "no", "all"):
        monkeypatch.delenv(f"{name}_proxy", raising=False)
        monkeypatch.delenv(f"{name.upper()}_PROXY", raising=False)


def test_proxy_is_none_without_a_setting() -> None:
    """Without HTTPS_PROXY requests go straight to the source."""
    assert proxy_for(SOURCE) is None


@pytest.mark.parametrize("address", ["http://proxy.example:3128", "proxy.example:3128"])
def test_proxy_comes_from_the_environment(
    monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    """HTTPS_PROXY names the proxy, with or without a scheme."""
    monkeypatch.setenv("HTTPS_PROXY", address)

    proxy = proxy_for(SOURCE)

    assert proxy is not None
    assert proxy.url == URL("http://proxy.example:3128")
    assert proxy.headers == {}


def test_proxy_login_is_sent_as_a_header(monkeypatch: pytest.MonkeyPatch) -> None:
    """A login in HTTPS_PROXY is sent to the proxy and not kept in its URL."""
    monkeypatch.setenv("HTTPS_PROXY", "http://user:p%40ss@proxy.example:3128")

    proxy = proxy_for(SOURCE)

    assert proxy is not None
    assert proxy.url == URL("http://proxy.example:3128")
    assert proxy.headers == {"Proxy-Authorization": "Basic dXNlcjpwQHNz"}


def test_address_of_a_proxy_has_its_login(monkeypatch: pytest.MonkeyPatch) -> None:
    """For a client that takes both as one."""
    monkeypatch.setenv("HTTPS_PROXY", "http://user:p%40ss@proxy.example:3128")

    assert str(address_for(SOURCE)) == "http://user:p%40ss@proxy.example:3128"


def test_proxy_is_bypassed_for_exempt_hosts(monkeypatch: pytest.MonkeyPatch) -> None:
    """NO_PROXY exempts a host and its subdomains."""
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:3128")
    monkeypatch.setenv("NO_PROXY", "asm.skype.com")

    assert proxy_for(SOURCE) is None


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:8080/", "https://[::1]:8080/", "http://localhost:8080/"]
)
def test_proxy_never_sees_loopback(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """Plain http to this machine is not handed to a proxy on the network."""
    monkeypatch.setenv("HTTP_PROXY", "http://proxy.example:3128")
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:3128")

    assert proxy_for(URL(url, encoded=True)) is None
