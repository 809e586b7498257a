"""Whether a request bears the HMAC signature of the resource, or a token that it takes.

Apart from the worker's code.

https://learn.microsoft.com/azure/communication-services/tutorials/hmac-header-tutorial
"""

import base64
import hashlib
import hmac
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Self
from urllib.parse import urlsplit

MAX_CLOCK_SKEW = timedelta(minutes=15)
_BEARER = "Bearer "
_SCHEME = "HMAC-SHA256 SignedHeaders=x-ms-date;host;x-ms-content-sha256&Signature="


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """The ACS resource whose key signs: its host goes into every signature."""

    host: str
    key: bytes

    @classmethod
    def from_connection_string(cls, text: str) -> Self:
        """Read `endpoint=https://NAME.communication.azure.com/;accesskey=BASE64`."""
        fields = dict(part.split("=", 1) for part in text.split(";") if part)
        host = urlsplit(fields["endpoint"]).netloc
        return cls(host=host, key=base64.b64decode(fields["accesskey"]))


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedRequest:
    """What a signature covers. `target` is path and query as they came over the wire."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes


def refusal(
    request: SignedRequest,
    *,
    resource: Resource,
    tokens: Collection[str] = (),
    now: datetime,
) -> str | None:
    """Why the request is not authentic, or None if it is."""
    headers = request.headers
    authorization = headers.get("Authorization", "")
    if authorization.startswith(_BEARER):
        return _token_refusal(headers, resource=resource, tokens=tokens)
    if not authorization.startswith(_SCHEME):
        return "neither an HMAC signature nor a token"
    if headers.get("x-ms-host") != resource.host:
        return "x-ms-host is not the host of the resource"
    if not _is_recent(headers.get("x-ms-date", ""), now):
        return "x-ms-date is not within 15 minutes"
    digest = base64.b64encode(hashlib.sha256(request.body).digest()).decode()
    if headers.get("x-ms-content-sha256") != digest:
        return "x-ms-content-sha256 is not the hash of the body"
    signature = headers["Authorization"].removeprefix(_SCHEME).encode()
    if not hmac.compare_digest(signature, _signature(request, resource)):
        return "the signature differs"
    return None


def _token_refusal(
    headers: Mapping[str, str], *, resource: Resource, tokens: Collection[str]
) -> str | None:
    if headers.get("x-ms-host") != resource.host:
        return "x-ms-host is not the host of the resource"
    if headers["Authorization"].removeprefix(_BEARER) not in tokens:
        return "the token is unknown, or expired"
    return None


def _is_recent(date: str, now: datetime) -> bool:
    try:
        signed_at = parsedate_to_datetime(date)
    except ValueError:
        return False
    return signed_at.tzinfo is not None and abs(now - signed_at) <= MAX_CLOCK_SKEW


def _signature(request: SignedRequest, resource: Resource) -> bytes:
    date = request.headers["x-ms-date"]
    digest = request.headers["x-ms-content-sha256"]
    text = f"{request.method}\n{request.target}\n{date};{resource.host};{digest}"
    return base64.b64encode(hmac.digest(resource.key, text.encode(), "sha256"))
