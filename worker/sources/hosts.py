"""Which hosts may be sent credentials. Pure; the rule: what was checked is what is dialled.

An event is untrusted, and two parsers that disagree on a URL are how an allow-list is
walked around (`https://good\\@evil`, `https://good#@evil`). So a location is not repaired or
normalised here: it has one plain shape or it is refused, and `check` returns the very
object that the client connects to.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NoReturn
from urllib.parse import unquote

from yarl import URL

from worker.errors import HostNotAllowedError
from worker.sources import addresses

SETTING = "WORKER_SOURCE_HOSTS"
MAX_LOCATION_CHARS = 4096
MAX_HOST_CHARS = 253
HTTPS_PORT = 443
HTTP_PORT = 80
MAX_PORT = 65_535
MOST_DECODINGS = 3
"""A path that changes even more often is no document's."""

_PLAIN = r"A-Za-z0-9._~!$&'()*+,;=:@/"
_ENCODED = r"%[0-9A-Fa-f]{2}"
# No star within a star: what doesn't match must be refused in one pass.
_LOCATION = re.compile(
    r"(?P<scheme>https?)://"
    r"(?P<host>[A-Za-z0-9.-]+|\[::1\])"
    r"(?::(?P<port>[0-9]{1,5}))?"
    rf"(?P<path>/(?:[{_PLAIN}-]|{_ENCODED})*)"
    rf"(?:\?(?P<query>(?:[{_PLAIN}?-]|{_ENCODED})*))?",
    re.ASCII,
)
_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?", re.ASCII)
_LOOPBACK = re.compile(r"(127\.0\.0\.1|\[::1\]|localhost):([0-9]{1,5})", re.ASCII)
_SEPARATORS = re.compile(r"[/\\]")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Location:
    scheme: str
    host: str
    port: int | None
    path: str = field(repr=False)
    query: str | None = field(repr=False)

    @property
    def dialled_port(self) -> int:
        if self.port is not None:
            return self.port
        return HTTPS_PORT if self.scheme == "https" else HTTP_PORT

    @property
    def shown(self) -> str:
        """As much of it as decides: whom and how to ask, and never for what."""
        scheme = "" if self.scheme == "https" else f"{self.scheme}://"
        port = "" if self.port is None else f":{self.port}"
        return f"{scheme}{self.host}{port}"

    def url(self) -> URL:
        port = "" if self.port is None else f":{self.port}"
        query = f"?{self.query}" if self.query else ""
        text = f"{self.scheme}://{self.host}{port}{self.path}{query}"
        return URL(text, encoded=True)


class HostRules:
    """The allow-list: `.suffix`, `exact.host`, and `127.0.0.1:PORT` (or `[::1]`, `localhost`).

    A suffix does not match its bare domain. Loopback entries match by exact host and port
    and are the only ones that may be plain http. Raises ValueError for any other entry.
    Unless `public_only` is given up, names beyond this machine may lead to public addresses
    alone.
    """

    def __init__(self, patterns: Iterable[str], *, public_only: bool = True) -> None:
        self._public_only = public_only
        self._suffixes: list[str] = []
        self._exact: set[str] = set()
        self._loopback: set[tuple[str, int]] = set()
        for pattern in patterns:
            self._add(pattern.strip().lower())

    @property
    def loopback_only(self) -> bool:
        """Whether no host beyond this machine is allowed."""
        return not self._suffixes and not self._exact

    def _add(self, pattern: str) -> None:
        if loopback := _LOOPBACK.fullmatch(pattern):
            self._loopback.add((loopback[1], _port(loopback[2])))
        elif not _is_dns_name(pattern.removeprefix(".")):
            raise ValueError(f"not a source host: {pattern!r}")
        elif pattern.startswith("."):
            self._suffixes.append(pattern)
        else:
            self._exact.add(pattern)

    def check(self, location: str) -> URL:
        """Return the URL to connect to, as it goes on the wire, or HostNotAllowedError."""
        parsed = _parse(location)
        if not self._allows(parsed):
            _refuse(
                f"{parsed.shown} is not an allowed source host: {SETTING} lists them"
            )
        return parsed.url()

    def _allows(self, location: _Location) -> bool:
        if (location.host, location.dialled_port) in self._loopback:
            return True
        if location.scheme != "https" or location.dialled_port != HTTPS_PORT:
            return False
        if not _is_dns_name(location.host):
            return False
        return self._lists(location.host)

    def _lists(self, host: str) -> bool:
        return host in self._exact or host.endswith(tuple(self._suffixes))

    def admits(self, host: str, *, address: str) -> bool:
        """Whether a name that is to be dialled may lead to this address.

        A name that is not of the list is a proxy's, and may lead anywhere.
        """
        name = host.lower()
        if any(name == loopback for loopback, _ in self._loopback):
            # What may be plain http must not leave the machine.
            return addresses.is_loopback(address)
        if not self._public_only or not self._lists(name):
            return True
        return addresses.is_public(address)


def is_loopback(url: URL) -> bool:
    """Whether a checked URL stays on this machine, so that no proxy may see it."""
    return url.raw_host in {"127.0.0.1", "::1", "localhost"}


def _parse(location: str) -> _Location:
    if len(location) > MAX_LOCATION_CHARS:
        _refuse("location is too long")
    match = _LOCATION.fullmatch(location)
    if match is None:
        _refuse("location is not a plain https URL")
    host = match["host"].lower()
    if len(host) > MAX_HOST_CHARS:
        _refuse("host of the location is too long")
    if not _is_plain_path(match["path"]):
        _refuse(f"location on {host} has dot segments or control characters")
    port = None if match["port"] is None else int(match["port"])
    if port is not None and not 0 < port <= MAX_PORT:
        _refuse(f"location on {host} has no such port")
    return _Location(
        scheme=match["scheme"],
        host=host,
        port=port,
        path=match["path"],
        query=match["query"],
    )


def _is_plain_path(path: str) -> bool:
    """Whether every server reads the path alike.

    One may fold `objects/A/../B` into B, of which the name check saw only A; before that it
    may decode twice, or cut `..;x` at the semicolon and `.. ` at the blank.
    """
    for _ in range(MOST_DECODINGS):
        if _CONTROL.search(path) or _has_dot_segments(path):
            return False
        decoded = unquote(path)
        if decoded == path:
            return True
        path = decoded
    return False


def _has_dot_segments(path: str) -> bool:
    segments = (part.partition(";")[0].strip() for part in _SEPARATORS.split(path))
    return not {".", ".."}.isdisjoint(segments)


def _is_dns_name(host: str) -> bool:
    """A full name of plain labels: no IP literal in any notation, no punycode."""
    labels = host.split(".")
    if len(labels) < 2 or len(host) > MAX_HOST_CHARS:  # noqa: PLR2004 - a bare label is no host on a public network
        return False
    if not labels[-1][:1].isalpha():
        return False
    return all(
        _LABEL.fullmatch(label) and not label.startswith("xn--") for label in labels
    )


def _port(text: str) -> int:
    port = int(text)
    if not 0 < port <= MAX_PORT:
        raise ValueError(f"not a port: {text!r}")
    return port


def _refuse(why: str) -> NoReturn:
    raise HostNotAllowedError(why)
