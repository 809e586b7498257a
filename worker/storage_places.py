"""Where in Azure Storage something lies, read from its URL, and who we are there. Pure.

The account is in the host (`https://ACCOUNT.blob.core.windows.net/NAME/PREFIX`) or, with an
emulator, first in the path (`http://127.0.0.1:10000/devstoreaccount1/NAME/PREFIX`). A shared
access signature may follow as the query; it is a secret and never part of a message.
"""

import ipaddress
import re
from dataclasses import dataclass, field
from enum import StrEnum
from urllib.parse import urlsplit

_NAME = re.compile(r"(?=.{3,63}$)[a-z0-9]+(?:-[a-z0-9]+)*", re.ASCII)
"""https://learn.microsoft.com/rest/api/storageservices/naming-and-referencing-containers--blobs--and-metadata"""
_HOST = re.compile(
    r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)*",
    re.ASCII,
)
_SEGMENT = re.compile(r"(?!\.+$)[A-Za-z0-9._-]+", re.ASCII)
_SCHEMES = ("https://", "http://")
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


def is_url(text: str) -> bool:
    """Whether a setting means Azure Storage, and not something on this machine's disk."""
    return text.startswith(_SCHEMES)


def parse(text: str, service: Service) -> Place:
    """Read a URL. Raises NoPlaceError, which says what is wrong and never the signature."""
    try:
        parts = urlsplit(text)
        host, port = (parts.hostname or "").casefold(), parts.port
    except ValueError:
        raise NoPlaceError("is not a URL") from None
    if parts.scheme not in {"https", "http"} or parts.username is not None:
        raise NoPlaceError(f"is not https://ACCOUNT.{service}.core.windows.net/NAME")
    is_emulator = _is_emulator(host)
    if parts.scheme == "http" and not is_emulator:
        raise NoPlaceError("must be https, unless it is an emulator's")
    if f".{_other(service)}." in host:
        raise NoPlaceError(f"is of the {_other(service)} service, not of {service}")
    shown = f"[{host}]" if ":" in host else host
    base = f"{parts.scheme}://{shown}" + ("" if port is None else f":{port}")
    segments = parts.path.strip("/").split("/")
    account = segments.pop(0) if is_emulator else host.partition(".")[0]
    base += f"/{account}" if is_emulator else ""
    return _place(segments, account, base, service=service, sas=parts.query)


def _is_emulator(host: str) -> bool:
    """Whether the account is in the path: the host is an address or a bare name."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        if not _HOST.fullmatch(host):
            raise NoPlaceError("has no host name") from None
        return "." not in host
    return True


def _other(service: Service) -> Service:
    return Service.QUEUE if service is Service.BLOB else Service.BLOB


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
        return self.endpoints[place.service].casefold() == place.account_url.casefold()


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
        service: told.get(f"{service}endpoint", "").rstrip("/")
        or (f"{protocol}://{account}.{service}.{suffix}" if account else "")
        for service in Service
    }
    if not any(endpoints.values()):
        raise NoPlaceError("has neither AccountName nor BlobEndpoint")
    if key and not account:
        raise NoPlaceError("has an AccountKey but no AccountName")
    return ConnectionString(
        account=account, endpoints=endpoints, key=key, sas=sas.lstrip("?")
    )
