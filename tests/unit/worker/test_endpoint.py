"""An endpoint as it is named: what opens it is kept apart, and goes nowhere in the clear."""

from collections.abc import Sequence

import pytest

from tests import canaries
from tests.canaries import seen
from worker.endpoint import Endpoint, EndpointError, endpoint_of

HOST = "https://calls.example/api/events"
KEY = canaries.OTHER_KEY


def header_of(endpoint: Endpoint) -> str | None:
    return endpoint.headers.get("x-functions-key")


def test_url_is_used_as_it_is_and_shown_without_its_query() -> None:
    """Event Grid sends the query with every request."""
    endpoint = endpoint_of(f"{HOST}?code={KEY}&x=%20#part", keys=["unused"])

    assert endpoint.url == f"{HOST}?code={KEY}&x=%20"
    assert endpoint.shown == HOST
    assert header_of(endpoint) is None
    assert (endpoint.host, endpoint.port) == ("calls.example", 443)
    assert seen(repr(endpoint)) == []


@pytest.mark.parametrize(
    ("query", "headers", "sent"),
    [
        ("", [], "first"),
        ("?x=1", ["X-Other: 1"], "first"),
        ("?code=", [], "first"),
        ("", ["X-Functions-Key: mine"], None),
        ("", ["Authorization: Bearer mine"], None),
        ("?code=mine", [], None),
    ],
)
def test_key_of_the_settings_is_the_last_choice(
    query: str, headers: Sequence[str], sent: str | None
) -> None:
    """What was said on the command line is meant."""
    endpoint = endpoint_of(HOST + query, headers=headers, keys=["first", "second"])

    assert header_of(endpoint) == sent
    assert endpoint.has_credential


def test_endpoint_without_any_key_is_one_too() -> None:
    """Not every receiver wants one, and a doctor has to see what comes of none."""
    assert not endpoint_of(HOST).has_credential


def test_secrets_are_known_as_typed_and_as_meant() -> None:
    """Logs redact both."""
    endpoint = endpoint_of(f"{HOST}?code=a%2Bb", headers=["Authorization: Bearer c"])

    assert {"a%2Bb", "a+b", "Bearer c"} <= set(endpoint.secrets)


@pytest.mark.parametrize(
    "url",
    [
        f"calls.example/api/events?code={KEY}",
        f"ftp://calls.example/?code={KEY}",
        f"https://calls.example/ ?code={KEY}",
        f"https:///api/events?code={KEY}",
        f"https://calls.example:{KEY}/",
        f"https://[::1/?code={KEY}",
        f"https://calls..example/?code={KEY}",
        f"https://{'a' * 64}.example/?code={KEY}",
        f"https://me:{KEY}@calls.example/",
        f"http://calls.example/?code={KEY}",
        f"http://10.0.0.1/?code={KEY}",
    ],
)
def test_what_is_no_endpoint_is_told_without_its_key(url: str) -> None:
    """One line that says what it must be."""
    with pytest.raises(EndpointError) as caught:
        endpoint_of(url)

    assert seen(f"{caught.value} {caught.value.hint}") == []
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "header",
    [KEY, f"two words: {KEY}", f"aeg-event-type: {KEY}", f"X: {KEY}\n", "webhook-x: 1"],
)
def test_odd_header_is_named_by_its_number(header: str) -> None:
    """Its text may be the key."""
    with pytest.raises(EndpointError, match="--header 2 ") as caught:
        endpoint_of(HOST, headers=["X-Good: 1", header])

    assert seen(str(caught.value)) == []


@pytest.mark.parametrize("host", ["127.0.0.1:8080", "localhost", "[::1]:1"])
def test_plain_http_is_for_this_machine(host: str) -> None:
    """Nobody listens on loopback; beyond it, that has to be said."""
    assert endpoint_of(f"http://{host}/x?code=k").is_loopback


def test_plain_http_can_be_said_aloud() -> None:
    """As within a cluster, behind what ends TLS; with and without a key the reason differs."""
    plain = "http://worker.calls.svc:8080/api/events"

    assert not endpoint_of(plain, keys=["k"], is_plain_allowed=True).is_https
    with pytest.raises(
        EndpointError, match="the key and the events would go to worker"
    ):
        endpoint_of(plain, keys=["k"])
    with pytest.raises(EndpointError, match=r"^the events would go to worker"):
        endpoint_of(plain)


def test_every_credential_can_be_replaced() -> None:
    """By one that is wrong, wherever it stood; all else stays."""
    endpoint = endpoint_of(
        f"{HOST}?x=1&code={KEY}&y", headers=[f"Authorization: Bearer {KEY}", "X-A: b"]
    )
    keyed = endpoint_of(HOST, keys=[KEY])

    wrong = endpoint.with_credential("not it")

    assert wrong.url == f"{HOST}?x=1&code=not%20it&y"
    assert wrong.headers == {"Authorization": "Bearer not it", "X-A": "b"}
    assert keyed.with_credential("no").headers == {"x-functions-key": "no"}
    assert keyed.with_credential("no").url == HOST


def test_other_paths_of_the_host_have_no_query() -> None:
    """Probes ask for no key."""
    endpoint = endpoint_of(f"https://calls.example:8443/api/events?code={KEY}")

    assert endpoint.beside("/readyz") == "https://calls.example:8443/readyz"
