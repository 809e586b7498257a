"""Where in Azure Storage something lies, read from its URL, and who we are there. Pure.

The account is in the host (`https://ACCOUNT.blob.core.windows.net/NAME/PREFIX`) or, with an
emulator, first in the path (`http://127.0.0.1:10000/devstoreaccount1/NAME/PREFIX`). A shared
access signature may follow as the query; it is a secret and never part of a message.
"""

import base64
import binascii
import ipaddress
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

_NAME = re.compile(r"(?=.{3,63}$)[a-z0-9]+(?:-[a-z0-9]+)*", re.ASCII)
"""https://learn.microsoft.com/rest/api/storageservices/naming-and-referencing-containers--blobs--and-metadata"""
_HOST = re.compile(
    r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)*",
    re.ASCII,
)
_SEGMENT = re.compile(r"(?!\.+$)[A-Za-z0-9._-]+", re.ASCII)
_SCHEMES = ("https://", "http://")
_USUAL_PORTS = {"https": 443, "http": 80}
_SERVICES = frozenset({"blob", "queue", "dfs", "file", "table", "web"})
_SIGNATURE = re.compile(r"(?:^|&)sig=([^&]+)", re.IGNORECASE)
LONGEST_QUEUE_NAME = 56
"""Room for `-poison` behind it."""


class Service(StrEnum):
    """A part of a storage account; its word in hosts."""

    BLOB = "blob"
    QUEUE = "queue"


class NoPlaceError(ValueError):
    """The URL or the connection string leads nowhere."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A container (with a prefix, maybe) or a queue. `account_url` has no slash at its end."""

    service: Service
    account_url: str
    account: str
    name: str
    prefix: str = ""
    sas: str = field(default="", repr=False)

    @property
    def url(self) -> str:
        """Without the signature."""
        return "/".join(filter(None, (self.account_url, self.name, self.prefix)))

    @property
    def is_plain_http(self) -> bool:
        return self.account_url.startswith("http:")


def is_url(text: str) -> bool:
    """Whether a setting means Azure Storage, and not something on this machine's disk."""
    return text.startswith(_SCHEMES)


def parse(text: str, service: Service) -> Place:
    """Read a URL. Raises NoPlaceError, which says what is wrong and never the signature."""
    parts = _split(text, service)
    host = (parts.hostname or "").casefold()
    is_emulator = _is_emulator(host)
    if parts.scheme == "http" and not is_emulator:
        raise NoPlaceError("must be https, unless it is an emulator's")
    of = _SERVICES.intersection(host.split(".")[1:-2])
    if of and service not in of:
        raise NoPlaceError(f"is of the {min(of)} service, not of {service}")
    if parts.query and not _SIGNATURE.search(parts.query):
        raise NoPlaceError("has a query that is no shared access signature")
    segments = parts.path.strip("/").split("/")
    account = segments.pop(0) if is_emulator else host.partition(".")[0]
    base = _origin(parts) + (f"/{account}" if is_emulator else "")
    return _place(segments, account, base, service=service, sas=parts.query)


def _split(text: str, service: Service) -> SplitResult:
    shape = f"is not https://ACCOUNT.{service}.core.windows.net/NAME"
    try:
        parts = urlsplit(text)
        _origin(parts)
    except ValueError:
        raise NoPlaceError(shape) from None
    odd = parts.username is not None or "#" in text
    if parts.scheme not in _USUAL_PORTS or not parts.hostname or odd:
        raise NoPlaceError(shape)
    return parts


def _origin(parts: SplitResult) -> str:
    """Scheme, host and port, in one way of writing."""
    host = (parts.hostname or "").casefold()
    shown = f"[{host}]" if ":" in host else host
    is_usual = parts.port in {None, _USUAL_PORTS.get(parts.scheme)}
    return f"{parts.scheme}://{shown}" + ("" if is_usual else f":{parts.port}")


def _is_emulator(host: str) -> bool:
    """Whether the account is in the path: the host is an address or a bare name."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        if not _HOST.fullmatch(host):
            raise NoPlaceError("has no host name") from None
        return "." not in host
    return True


def _place(
    segments: list[str], account: str, base: str, *, service: Service, sas: str
) -> Place:
    name, *rest = segments or [""]
    what = "container" if service is Service.BLOB else "queue"
    if not _NAME.fullmatch(name):
        raise NoPlaceError(
            f"names no {what}: 3 to 63 lower-case letters, digits and hyphens"
        )
    if service is Service.QUEUE and (rest or len(name) > LONGEST_QUEUE_NAME):
        raise NoPlaceError(
            f"must end in the queue's name, of {LONGEST_QUEUE_NAME} characters at most"
        )
    if not all(map(_SEGMENT.fullmatch, rest)):
        raise NoPlaceError("has a prefix with odd characters; use A-Z a-z 0-9 . _ -")
    return Place(
        service=service,
        account_url=base,
        account=account,
        name=name,
        prefix="/".join(rest),
        sas=sas,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionString:
    """What AZURE_STORAGE_CONNECTION_STRING says: where, and a key or a signature."""

    account: str
    endpoints: dict[Service, str]
    key: str = field(default="", repr=False)
    sas: str = field(default="", repr=False)

    def is_of(self, place: Place) -> bool:
        """Whether it may be used there: a key of one account is sent to no other."""
        return self.endpoints[place.service] == place.account_url


def parse_connection_string(text: str) -> ConnectionString:
    """Read `DefaultEndpointsProtocol=…;AccountName=…;AccountKey=…`, or one with a SAS."""
    pairs = (part.partition("=") for part in text.strip().strip(";").split(";"))
    told = {name.strip().casefold(): value.strip() for name, _, value in pairs}
    account = told.get("accountname", "")
    key, sas = told.get("accountkey", ""), told.get("sharedaccesssignature", "")
    if not key and not sas:
        raise NoPlaceError("has neither AccountKey nor SharedAccessSignature")
    protocol = told.get("defaultendpointsprotocol", "https")
    suffix = told.get("endpointsuffix", "core.windows.net")
    endpoints = {
        service: told.get(f"{service}endpoint", "")
        or (f"{protocol}://{account}.{service}.{suffix}" if account else "")
        for service in Service
    }
    if not any(endpoints.values()):
        raise NoPlaceError("has neither AccountName nor BlobEndpoint")
    if key and not account:
        raise NoPlaceError("has an AccountKey but no AccountName")
    if key and not is_base64(key):
        raise NoPlaceError("has an AccountKey that is not base64")
    return ConnectionString(
        account=account,
        endpoints={
            service: _endpoint(url, service) for service, url in endpoints.items()
        },
        key=key,
        sas=sas.lstrip("?"),
    )


def _endpoint(url: str, service: Service) -> str:
    if not url:
        return ""
    try:
        parts = _split(url, service)
        _is_emulator((parts.hostname or "").casefold())
    except NoPlaceError:
        raise NoPlaceError(f"has no URL as {service.title()}Endpoint") from None
    if parts.query:
        # It would be shown where endpoints are.
        raise NoPlaceError(f"has a query in {service.title()}Endpoint")
    return _origin(parts) + parts.path.rstrip("/")


def is_base64(text: str) -> bool:
    """Whether a text can be a key."""
    try:
        return bool(base64.b64decode(text, validate=True))
    except (binascii.Error, ValueError):
        return False


def signature_texts(sas: str) -> tuple[str, ...]:
    """What of a shared access signature no log may show, as it stands and decoded."""
    found = _SIGNATURE.findall(sas)
    return tuple(dict.fromkeys((*found, *map(unquote, found))))


def signature_ends_at(sas: str) -> datetime | None:
    """When a shared access signature expires; None if a stored policy says so, or nobody."""
    try:
        at = datetime.fromisoformat(parse_qs(sas).get("se", [""])[0])
    except ValueError:
        return None
    return at if at.tzinfo else at.replace(tzinfo=UTC)
