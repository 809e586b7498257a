"""Which blob of which listed container a location means. Pure; an event is untrusted."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import SplitResult, unquote, urlsplit

from worker.errors import HostNotAllowedError
from worker.storage_places import Place

_PORTS = {"https": 443, "http": 80}
_SEPARATORS = re.compile(r"[/\\]")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Located:
    """A blob of a listed container. `url` is as announced, without a query."""

    place: Place
    blob: str
    url: str


def locate(location: str, places: Iterable[Place]) -> Located:
    """The blob that a location means, or HostNotAllowedError if it is in none of `places`.

    A query of the location is dropped: it could be somebody else's signature.
    """
    try:
        parts = urlsplit(location)
        found = [
            Located(place=place, blob=blob, url=_url(parts))
            for place in places
            if (blob := _blob_in(place, parts))
        ]
    except ValueError:
        raise HostNotAllowedError("location is not a URL") from None
    if not found:
        raise HostNotAllowedError(
            f"{parts.hostname}: its container is not one of WORKER_BYOS_CONTAINERS"
        )
    return found[0]


def _url(parts: SplitResult) -> str:
    return f"{parts.scheme}://{parts.netloc}{parts.path}"


def _blob_in(place: Place, parts: SplitResult) -> str:
    """The name of the blob if it is below the place, else nothing."""
    account = urlsplit(place.account_url)
    container = f"{account.path}/{place.name}/"
    if _origin(parts) != _origin(account) or not parts.path.startswith(container):
        return ""
    blob = unquote(parts.path.removeprefix(container), errors="strict")
    below = f"{place.prefix}/" if place.prefix else ""
    # A server may fold `a/../b` into b, which no prefix would have let through.
    has_dots = not {".", ".."}.isdisjoint(_SEPARATORS.split(blob))
    if has_dots or _CONTROL.search(blob) or not blob.startswith(below):
        return ""
    return "" if blob == below else blob


def _origin(parts: SplitResult) -> tuple[str, str | None, int | None, str | None]:
    port = parts.port or _PORTS.get(parts.scheme)
    return parts.scheme, parts.hostname, port, parts.username
