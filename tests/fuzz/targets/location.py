"""A location of an event, and where a redirect sends: to listed hosts, or nowhere."""

import re
from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any
from urllib.parse import unquote, urlsplit

from yarl import URL

from tests.factories import a_chunk, an_announcement
from tests.fuzz import mutations
from tests.fuzz.target import Target, text_of
from worker import byos, names, storage_places
from worker.archives import customer_locations
from worker.errors import HostNotAllowedError, SourceAnswerError
from worker.sources import client
from worker.sources.hosts import HostRules
from worker.sources.routes import RegionalHosts
from worker.storage_places import Service

SUFFIX, EXACT = ".asm.skype.com", "exact.example.com"
HERE = {("127.0.0.1", 8080), ("::1", 8443), ("localhost", 9)}
RULES = HostRules(
    [SUFFIX, EXACT, "127.0.0.1:8080", "[::1]:8443", "localhost:9"],
)
PLACES = [
    storage_places.parse(url, Service.BLOB)
    for url in (
        "https://contoso.blob.core.windows.net/calls",
        "https://contoso.blob.core.windows.net/others/below/here",
    )
]
_PLAIN = re.compile(r"[!-~]+")


def check(data: bytes) -> None:
    """The location on the first line, a redirect's on the second."""
    first, _, second = data.partition(b"\n")
    location, there = text_of(first), second.decode(errors="surrogateescape")
    names.location_path(location)
    # By the short way and by the long one.
    assert names.document_in(location) == names._document_in(location)
    names.view_of(location)
    _check_export(location)
    url = _checked(location)
    if url is not None:
        _check_redirect(url, there)


def _checked(location: str) -> URL | None:
    """Check what was let through by other means than those that let it through."""
    try:
        url = RULES.check(location)
    except HostNotAllowedError as error:
        str(error).encode(errors="surrogateescape")
        return None
    wire = f"{url.scheme}://{url.raw_authority}{url.raw_path_qs}"
    assert _PLAIN.fullmatch(wire), wire
    assert "\\" not in wire, wire
    parts = urlsplit(wire)
    assert (parts.scheme, parts.hostname) == (url.scheme, url.raw_host), wire
    assert (parts.username, url.user, url.password) == (None, None, None), wire
    assert is_listed(parts.scheme, parts.hostname or "", parts.port), wire
    assert {".", ".."}.isdisjoint(re.split(r"[/\\]", unquote(url.raw_path))), wire
    # Nothing was mended on the way: the text says what is dialled.
    authority = location.split("/")[2].lower()
    assert authority == parts.netloc, wire
    assert location.partition("?")[0].endswith(url.raw_path), wire
    assert str(RULES.check(str(url))) == str(url), wire
    return url


def is_listed(scheme: str, host: str, port: int | None) -> bool:
    """The allow-list of RULES once more, spelled out."""
    dialled = port or {"https": 443, "http": 80}[scheme]
    if (host, dialled) in HERE:
        return True
    label = host.removesuffix(SUFFIX)
    is_there = host == EXACT or (label != host and re.fullmatch(r"[a-z0-9.-]+", label))
    return scheme == "https" and dialled == 443 and bool(is_there)


def _check_redirect(url: URL, there: str) -> None:
    response: Any = SimpleNamespace(headers={"Location": there})
    try:
        target = client._redirect_location(url, response)
    except SourceAnswerError:
        return
    answered = _checked(target)
    if answered is None:
        return
    hosts = RegionalHosts()
    hosts.learn(url, answered)
    assert RULES.check(hosts.shortcut(url)).raw_path_qs == url.raw_path_qs


def _check_export(location: str) -> None:
    """A blob of a listed container, as its name is sent, or nothing."""
    exported = an_announcement(storage_type="AzureBlob")
    chunk = a_chunk(content_location=location, announcement=exported)
    byos.is_left_alone(chunk, RULES.check, hosts=())
    try:
        found = customer_locations.locate(location, PLACES)
    except HostNotAllowedError:
        return
    below = f"{found.place.prefix}/" if found.place.prefix else ""
    assert found.blob.startswith(below), found
    assert {".", ".."}.isdisjoint(re.split(r"[/\\]", found.blob)), found
    assert found.place in PLACES
    parts = urlsplit(found.url)
    assert (parts.hostname, parts.query) == ("contoso.blob.core.windows.net", ""), found
    found.blob.encode()


def _seeds() -> Iterable[bytes]:
    path = "/v1/objects/0-eus-d1-doc/content/video?a=b"
    for origin in (
        *("https://eu.asm.skype.com", "https://exact.example.com:443"),
        *("http://127.0.0.1:8080", "https://[::1]:8443", "http://localhost:9"),
        *("https://contoso.blob.core.windows.net/calls", "https://good@evil.example"),
        "https://contoso.blob.core.windows.net/others/below/here",
    ):
        yield f"{origin}{path}\nhttps://us.asm.skype.com{path}".encode()
        yield f"{origin}{path}\n/v1/objects/other".encode()


LOCATION = Target(name="location", check=check, seeds=_seeds, mutate=mutations.of_lines)
