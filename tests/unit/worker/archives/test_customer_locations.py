"""Which locations lead into a listed container, and which only look as if they did."""

import pytest

from worker import storage_places
from worker.archives.customer_locations import locate
from worker.errors import HostNotAllowedError
from worker.storage_places import Service

OWN = "https://contoso.blob.core.windows.net/calls"
EMULATED = "http://127.0.0.1:10000/devstoreaccount1/calls"
PLACES = [
    storage_places.parse(url, Service.BLOB)
    for url in (OWN, EMULATED, "https://other.blob.core.windows.net/calls/of/us?sig=s")
]


@pytest.mark.parametrize(
    ("location", "blob"),
    [
        (f"{OWN}/20260203/call/0-audio.mp3", "20260203/call/0-audio.mp3"),
        (f"{OWN}/a%20b/%C3%A9.mp4", "a b/é.mp4"),
        ("https://CONTOSO.blob.core.windows.net:443/calls/a.mp4", "a.mp4"),
        (f"{EMULATED}/a.mp4", "a.mp4"),
        ("https://other.blob.core.windows.net/calls/of/us/a.mp4", "of/us/a.mp4"),
    ],
)
def test_blob_of_a_listed_container_is_found(location: str, blob: str) -> None:
    """Whatever the path below the container, for ACS documents none."""
    located = locate(location, PLACES)

    assert located.blob == blob
    assert located.url == location


def test_query_and_fragment_are_dropped() -> None:
    """What an event appends is neither sent nor kept: it may be somebody's signature."""
    assert locate(f"{OWN}/a.mp4?sig=secret#part", PLACES).url == f"{OWN}/a.mp4"


@pytest.mark.parametrize(
    "location",
    [
        "https://contoso.blob.core.windows.net/private/a.mp4",
        "https://contoso.blob.core.windows.net/calls-too/a.mp4",
        "https://contoso.blob.core.windows.net/calls",
        "https://contoso.blob.core.windows.net/calls/",
        "https://evil.blob.core.windows.net/calls/a.mp4",
        "https://contoso.blob.core.windows.net.evil.example/calls/a.mp4",
        "https://contoso.blob.core.windows.net@evil.example/calls/a.mp4",
        "https://user@contoso.blob.core.windows.net/calls/a.mp4",
        "https://contoso.blob.core.windows.net:8443/calls/a.mp4",
        "http://contoso.blob.core.windows.net/calls/a.mp4",
        f"{OWN}/../private/a.mp4",
        f"{OWN}/x/%2e%2e/%2e%2e/private/a.mp4",
        f"{OWN}/x/..%2f..%2fprivate/a.mp4",
        f"{OWN}/x\\..\\a.mp4",
        f"{OWN}/a%00.mp4",
        f"{OWN}/%ff.mp4",
        "https://other.blob.core.windows.net/calls/of/them/a.mp4",
        "https://other.blob.core.windows.net/calls/of/us/",
        "https://other.blob.core.windows.net/calls/of/us/../them/a.mp4",
        "http://127.0.0.1:10000/devstoreaccount2/calls/a.mp4",
        "https://[::1/calls/a.mp4",
        "https://contoso.blob.core.windows.net:port/calls/a.mp4",
        "file:///calls/a.mp4",
        "",
    ],
)
def test_everything_else_is_refused(location: str) -> None:
    """Another container, account, port or scheme, and every way out of a container."""
    with pytest.raises(HostNotAllowedError):
        locate(location, PLACES)
