"""Who we are to Azure Communication Services, by resource; and signatures by its key.

Signatures are pure and golden-tested; tokens are in worker/sources/tokens.py. The host that
is signed is that of the ACS resource, whichever host the request goes to; `x-ms-host` tells
the storage host which one that was.
https://learn.microsoft.com/azure/communication-services/tutorials/hmac-header-tutorial
"""

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Protocol

from yarl import URL

from worker.errors import NoCredentialError

_ENDPOINT = re.compile(r"(?i:https)://([A-Za-z0-9.-]+(?::[0-9]{1,5})?)/*", re.ASCII)
_STAND_IN = re.compile(
    r"(?i:http)://((?i:127\.0\.0\.1|\[::1\]|localhost):[0-9]{1,5})/*", re.ASCII
)
_SHAPE = "endpoint=https://NAME.communication.azure.com/;accesskey=KEY"


class Credential(Protocol):
    """What makes requests ours in the eyes of one ACS resource."""

    @property
    def resource(self) -> str:
        """The resource's name: the first label of its host, in lower case."""
        ...

    async def headers(self, *, method: str, url: URL, at: datetime) -> dict[str, str]:
        """Headers for one request; redirects and retries ask anew."""
        ...

    async def renewed(self, refused: Mapping[str, str]) -> bool:
        """After a 401 to `refused` headers: whether new ones say anything new."""
        ...


def host_of(endpoint: str) -> str | None:
    """The host of an ACS resource's endpoint, as it is signed; None: it is no https URL."""
    found = _ENDPOINT.fullmatch(endpoint)
    return found[1] if found else None


def resource_of(host: str) -> str:
    """The name by which an event's topic means the resource."""
    return host.partition(".")[0].casefold()


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyCredential:
    """The access key of one ACS resource. Satisfies Credential; `repr` shows no key."""

    resource: str
    host: str
    key: bytes = field(repr=False)

    @classmethod
    def parse(cls, connection_string: str) -> "KeyCredential":
        """Read `endpoint=…;accesskey=…`. ValueError says what is wrong, never the key."""
        pairs = (part.partition("=") for part in connection_string.split(";"))
        values = {name.strip().lower(): value.strip() for name, _, value in pairs}
        endpoint = values.get("endpoint", "")
        stand_in = _STAND_IN.fullmatch(endpoint)
        host = stand_in[1] if stand_in else host_of(endpoint)
        if host is None:
            raise ValueError(f"connection string has no https endpoint; give {_SHAPE}")
        return cls(
            resource=resource_of(host),
            host=host,
            key=_decoded(values.get("accesskey", "")),
        )

    async def headers(self, *, method: str, url: URL, at: datetime) -> dict[str, str]:
        return signed_headers(self, method=method, url=url, at=at)

    async def renewed(self, refused: Mapping[str, str]) -> bool:  # noqa: ARG002 - a key stays what it is
        return False


def _decoded(key: str) -> bytes:
    try:
        decoded = base64.b64decode(key, validate=True)
    except (binascii.Error, ValueError):
        # The cause quotes no key either, but nothing of it is of use.
        raise ValueError("access key of the connection string is not base64") from None
    if not decoded:
        raise ValueError(f"connection string has no access key; give {_SHAPE}")
    return decoded


class Credentials:
    """Keys and tokens by ACS resource. One alone serves every topic."""

    def __init__(self, credentials: Iterable[Credential]) -> None:
        listed = list(credentials)
        self._by_resource = {each.resource: each for each in listed}
        if not listed:
            raise ValueError("no connection string and no endpoint")
        if len(self._by_resource) < len(listed):
            raise ValueError("two credentials name the same ACS resource")

    @classmethod
    def parse(cls, connection_strings: str) -> "Credentials":
        """Read connection strings separated by white space."""
        return cls(KeyCredential.parse(each) for each in connection_strings.split())

    def for_resource(self, resource: str | None) -> Credential:
        """Choose by the resource. NoCredentialError if several are held, none its."""
        if len(self._by_resource) == 1:
            return next(iter(self._by_resource.values()))
        found = self._by_resource.get((resource or "").casefold())
        if found is None:
            raise no_credential(resource)
        return found

    def is_guess(self, resource: str | None) -> bool:
        """Whether the only credential we hold stands in for that of another resource."""
        return resource is not None and resource.casefold() not in self._by_resource


def no_credential(resource: str | None) -> NoCredentialError:
    """Say whose key is missing."""
    if not resource:
        return NoCredentialError("the event names no ACS resource to choose a key by")
    return NoCredentialError(f"no key for the ACS resource {resource!r}")


def signed_headers(
    credential: KeyCredential, *, method: str, url: URL, at: datetime, body: bytes = b""
) -> dict[str, str]:
    """Return the headers that sign one request, redirects and retries each anew.

    Path and query are signed as they go on the wire, encoding included.
    """
    date = format_datetime(at.astimezone(UTC), usegmt=True)
    content_hash = base64.b64encode(hashlib.sha256(body).digest()).decode()
    text = (
        f"{method.upper()}\n{url.raw_path_qs}\n{date};{credential.host};{content_hash}"
    )
    digest = hmac.digest(credential.key, text.encode(), hashlib.sha256)
    signature = base64.b64encode(digest).decode()
    return {
        "x-ms-date": date,
        "x-ms-content-sha256": content_hash,
        "x-ms-host": credential.host,
        "x-ms-return-client-request-id": "true",
        "Authorization": (
            "HMAC-SHA256 SignedHeaders=x-ms-date;host;x-ms-content-sha256"
            f"&Signature={signature}"
        ),
    }
