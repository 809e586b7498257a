"""A deployed endpoint, as an operator names it: where, and what opens it.

The rule: what opens it is printed nowhere, and goes over the network in the clear only if
that is said aloud. A key on a command line is seen by everybody on the machine, so the
environment can give it: WORKER_WEBHOOK_KEYS.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from urllib.parse import SplitResult, parse_qsl, quote, urlsplit

from handlers.auth import KEY_HEADER, KEY_QUERY
from samples.grid.subscription import DEMO_TOPIC
from worker import settings_shapes
from worker.errors import WorkerError

_CREDENTIAL_HEADERS = frozenset({KEY_HEADER, "authorization"})
_URL = re.compile(r"https?://[!-~]+", re.IGNORECASE)
_HEADER = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([ -~]*)")
_RESERVED = ("aeg-", "webhook-")
"""Those of Event Grid itself."""


class EndpointError(WorkerError):
    """What was given is no endpoint that Event Grid could deliver to."""

    reason = "endpoint"
    hint = "recording-worker doctor --help"


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Where deliveries go. `url` is the whole, its query part of every request."""

    url: str = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    topic: str = DEMO_TOPIC
    """Whose events they are: an endpoint may take those of some topics only."""

    @property
    def shown(self) -> str:
        """Without its query."""
        return self.url.partition("?")[0]

    @property
    def host(self) -> str:
        return _split(self.url).hostname or ""

    @property
    def port(self) -> int:
        return _split(self.url).port or (443 if self.is_https else 80)

    @property
    def is_https(self) -> bool:
        return self.url[:8].casefold() == "https://"

    @property
    def is_loopback(self) -> bool:
        return settings_shapes.is_loopback(self.host)

    @property
    def has_credential(self) -> bool:
        """Whether anything opens it, as far as can be told from the outside."""
        named = {name.casefold() for name in self.headers}
        return not named.isdisjoint(_CREDENTIAL_HEADERS) or bool(_key_in(self.url))

    @property
    def secrets(self) -> tuple[str, ...]:
        """What no log may show, as it is typed and as it is meant."""
        query = urlsplit(self.url).query
        parts = [part.partition("=")[2] for part in query.split("&")]
        values = [value for _, value in parse_qsl(query)]
        return tuple({*parts, *values, *self.headers.values()})

    def beside(self, path: str) -> str:
        """The URL of another path on the same host, without a query."""
        parts = _split(self.url)
        return f"{parts.scheme}://{parts.netloc}{path}"

    def with_credential(self, text: str) -> "Endpoint":
        """The same, with this in place of everything that opens it."""
        headers = {
            name: _in_place_of(name, value, text)
            for name, value in self.headers.items()
        }
        base, mark, query = self.url.partition("?")
        pairs = [
            f"{name}={quote(text, safe='')}"
            if name == KEY_QUERY
            else f"{name}{eq}{value}"
            for name, eq, value in (pair.partition("=") for pair in query.split("&"))
        ]
        return replace(self, url=base + mark + "&".join(pairs), headers=headers)


def endpoint_of(
    text: str,
    *,
    headers: Sequence[str] = (),
    keys: Sequence[str] = (),
    is_plain_allowed: bool = False,
) -> Endpoint:
    """Read a URL and `Name: value` headers. Raises EndpointError, without either's values.

    A key in the URL or among the headers goes first, then the first of `keys`.
    """
    parts = _checked(text)
    endpoint = Endpoint(url=text.partition("#")[0], headers=_headers(headers))
    if keys and not endpoint.has_credential:
        more = {**endpoint.headers, KEY_HEADER: keys[0]}
        endpoint = replace(endpoint, headers=more)
    if not (endpoint.is_https or endpoint.is_loopback or is_plain_allowed):
        what = "the key and the events" if endpoint.has_credential else "the events"
        raise EndpointError(
            f"{what} would go to {parts.hostname} in the clear: Event Grid takes https",
            hint="say --plain-http if nobody listens on the way, as within a cluster",
        )
    return endpoint


def _checked(text: str) -> SplitResult:
    shape = "must be https://HOST/api/events, with its query"
    if not _URL.fullmatch(text):
        raise EndpointError(f"the endpoint's URL {shape}")
    parts = _split(text)
    if not parts.hostname:
        raise EndpointError(f"the endpoint's URL {shape}")
    if "@" in parts.netloc:
        raise EndpointError(
            "the endpoint's URL has a user: Event Grid takes none",
            hint="--header 'Authorization: ...'",
        )
    return parts


def _split(text: str) -> SplitResult:
    try:
        parts = urlsplit(text)
        _ = parts.port  # raises as well
        (parts.hostname or "").encode("idna")  # and an empty or too long label
    except ValueError:
        raise EndpointError("the endpoint's URL has no such host or port") from None
    return parts


def _headers(texts: Sequence[str]) -> dict[str, str]:
    headers = {}
    for number, text in enumerate(texts, start=1):
        match = _HEADER.fullmatch(text)
        if match is None:
            raise EndpointError(f"--header {number} is not 'Name: value'")
        name, value = match.groups()
        if name.casefold().startswith(_RESERVED):
            raise EndpointError(f"--header {number} is one that Event Grid sets itself")
        headers[name] = value.strip()
    return headers


def _key_in(url: str) -> str:
    return dict(parse_qsl(urlsplit(url).query)).get(KEY_QUERY, "")


def _in_place_of(name: str, value: str, text: str) -> str:
    match name.casefold():
        case "authorization":
            return f"Bearer {text}"
        case lowered if lowered == KEY_HEADER:
            return text
        case _:
            return value
