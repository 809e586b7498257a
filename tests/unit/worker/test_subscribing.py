"""What Event Grid would need to deliver to an endpoint, made of what the machine has."""

import pytest

from worker.endpoint import endpoint_of
from worker.subscribing import proxy_of


@pytest.fixture(autouse=True)
def _proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for scheme in ("HTTP", "HTTPS"):
        monkeypatch.setenv(f"{scheme}_PROXY", "http://proxy.example:3128")
    for name in ("NO_PROXY", "no_proxy", "http_proxy", "https_proxy"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "127.0.0.2", "localhost", "LOCALHOST", "[::1]", "[0:0:0:0:0:0:0:1]"],
)
def test_what_may_be_plain_http_does_not_leave_this_machine(host: str) -> None:
    """A proxy would see the key, and has another 127.0.0.2."""
    assert proxy_of(endpoint_of(f"http://{host}:8080/api/events?code=k")) is None


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_the_proxy_of_the_environment_is_for_all_others(scheme: str) -> None:
    """As for the worker's own requests."""
    endpoint = endpoint_of(f"{scheme}://calls.example/", is_plain_allowed=True)

    assert str(proxy_of(endpoint)) == "http://proxy.example:3128"
