"""What an answer of the source means: the status table, the error table, the header rules.

Pure but for the types of aiohttp. Messages name the host and nothing else of a URL.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus

import aiohttp

from worker import names
from worker.errors import (
    PermanentError,
    RetryableError,
    SourceAddressError,
    SourceAnswerError,
    SourceChangedError,
    SourceForbiddenError,
    SourceNotFoundError,
    SourceUnavailableError,
    ThrottledError,
    TruncatedError,
)
from worker.model import SourceFacts
from worker.sources.resolving import AddressesRefusedError
from worker.stored import Receipt

KEPT_HEADERS = (
    "Content-Type",
    "Content-Length",
    "Content-Range",
    "Last-Modified",
    "Date",
    "ETag",
    "Server",
    "MS-CV",
    "X-Data-Center-Alias",
)
"""Of an answer's headers only these reach the receipt."""
MAX_HEADER_CHARS = 256
REDIRECTS = frozenset(
    {
        HTTPStatus.MOVED_PERMANENTLY,
        HTTPStatus.FOUND,
        HTTPStatus.SEE_OTHER,
        HTTPStatus.TEMPORARY_REDIRECT,
        HTTPStatus.PERMANENT_REDIRECT,
    }
)
DELETED = frozenset(
    {
        HTTPStatus.OK,
        HTTPStatus.ACCEPTED,
        HTTPStatus.NO_CONTENT,
        HTTPStatus.NOT_FOUND,
        HTTPStatus.GONE,
    }
)
"""Answers after which the chunk is gone; 404 and 410 say that it was already."""

_ERROR_OF_STATUS: Mapping[int, type[RetryableError]] = {
    HTTPStatus.UNAUTHORIZED: SourceForbiddenError,
    HTTPStatus.FORBIDDEN: SourceForbiddenError,
    HTTPStatus.NOT_FOUND: SourceNotFoundError,
    HTTPStatus.GONE: SourceNotFoundError,
    HTTPStatus.REQUEST_TIMEOUT: SourceUnavailableError,
    HTTPStatus.TOO_MANY_REQUESTS: ThrottledError,
}
_ErrorRow = tuple[type[Exception], type[RetryableError], str]
_ERROR_OF_EXCEPTION: tuple[_ErrorRow, ...] = (
    (TimeoutError, SourceUnavailableError, "no answer in time"),
    (aiohttp.ClientPayloadError, TruncatedError, "body was cut"),
    (
        aiohttp.ClientConnectorCertificateError,
        SourceUnavailableError,
        "certificate is not trusted",
    ),
    (aiohttp.ClientSSLError, SourceUnavailableError, "TLS failed"),
    (aiohttp.ClientProxyConnectionError, SourceUnavailableError, "proxy unreachable"),
    (aiohttp.ClientHttpProxyError, SourceUnavailableError, "proxy refused"),
    (aiohttp.ClientConnectorDNSError, SourceUnavailableError, "name does not resolve"),
    (aiohttp.ClientResponseError, SourceAnswerError, "answer is not HTTP"),
)
_ANY_OTHER: _ErrorRow = (Exception, SourceUnavailableError, "connection failed")
TRANSPORT_ERRORS = (aiohttp.ClientError, OSError)
"""All that a request can raise from below; TimeoutError is an OSError."""

_CONTENT_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18})", re.ASCII)
_LENGTH = re.compile(r"\d{1,18}", re.ASCII)
_NUMBER = re.compile(r"\d{1,9}(?:\.\d{1,6})?", re.ASCII)
_CODINGS = frozenset({"gzip", "x-gzip", "deflate", "br", "zstd", "compress"})
"""Those that are repeated; what else a source says may be anything."""
_NOT_MEDIA = ("text/html", "application/problem+json", "application/problem+xml")
_MILLISECOND_HEADERS = ("retry-after-ms", "x-ms-retry-after-ms")
_Headers = Mapping[str, str]


class UnprovenDeleteError(PermanentError):
    """A delete was asked for with a receipt that doesn't allow it. Nothing was sent."""

    reason = "unproven-delete"
    hint = "recording-worker recordings verify"


@dataclass(frozen=True, slots=True, kw_only=True)
class ContentRange:
    """Bytes [start, end] of `total`."""

    start: int
    end: int
    total: int

    @property
    def length(self) -> int:
        return self.end - self.start + 1


def refuse_unproven(location: str, proof: Receipt) -> None:
    """Raise UnprovenDeleteError unless the receipt proves what lies at the location."""
    if proof.flags:
        raise UnprovenDeleteError(f"receipt is flagged: {', '.join(proof.flags)}")
    refuse_other(location, proof.document_id)


def refuse_other(location: str, document_id: str) -> None:
    """Raise UnprovenDeleteError unless a delete there takes this document, and no more."""
    if not names.belongs(location, document_id):
        raise UnprovenDeleteError("delete location is not of the proven document")
    if names.view_of(location) not in names.DELETE_VIEWS:
        raise UnprovenDeleteError("delete location is of no documented form")


def error_from_status(
    status: int, headers: _Headers, *, host: str, now: datetime
) -> RetryableError:
    """Map an answer that is no success to what the worker does about it."""
    retry_after = parse_retry_after(headers, now=now)
    kind = _ERROR_OF_STATUS.get(status)
    if kind is None:
        kind = _error_of_other_status(status, is_timed=retry_after is not None)
    return kind(f"{host} answered {status}", retry_after=retry_after)


def _error_of_other_status(status: int, *, is_timed: bool) -> type[RetryableError]:
    if status == HTTPStatus.SERVICE_UNAVAILABLE and is_timed:
        return ThrottledError
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return SourceUnavailableError
    return SourceAnswerError


def error_from_exception(error: Exception, *, host: str) -> RetryableError:
    """Map what aiohttp or the socket raised. Its own text may hold a URL: not quoted."""
    cause = getattr(error, "os_error", None)
    if isinstance(cause, AddressesRefusedError):
        return SourceAddressError(
            f"{host} leads to {cause.shown}, and WORKER_SOURCE_ADDRESSES is public"
        )
    rows = (row for row in _ERROR_OF_EXCEPTION if isinstance(error, row[0]))
    _, kind, words = next(rows, _ANY_OTHER)
    return kind(f"{host}: {words}")


def error_from_cut(error: Exception, *, host: str, came: int) -> RetryableError:
    """Map what ended a body early: a lost connection there is a cut, not an outage."""
    if isinstance(error, TimeoutError):
        return SourceUnavailableError(f"{host}: no more after {came} bytes")
    return TruncatedError(f"{host}: body was cut after {came} bytes")


def parse_retry_after(headers: _Headers, *, now: datetime) -> float | None:
    """Seconds that the source asks to wait: Azure's milliseconds, seconds, or a date."""
    for name in _MILLISECOND_HEADERS:
        if _NUMBER.fullmatch(headers.get(name, "")):
            return float(headers[name]) / 1000
    text = headers.get("Retry-After", "").strip()
    if _NUMBER.fullmatch(text):
        return float(text)
    return _seconds_until(text, now)


def _seconds_until(date: str, now: datetime) -> float | None:
    at = _moment(date)
    return None if at is None else max((at - now).total_seconds(), 0.0)


def date_of(headers: _Headers) -> datetime | None:
    """When the far side says it answered."""
    return _moment(headers.get("Date", ""))


def _moment(date: str) -> datetime | None:
    try:
        at = parsedate_to_datetime(date)
    except (ValueError, OverflowError):
        return None
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def facts_from_first(
    status: int, headers: _Headers, *, host: str, first_bytes: int
) -> SourceFacts:
    """Read a 200 or 206 to the first range; SourceAnswerError if it can't be the chunk."""
    _check_is_media(headers, host)
    if status == HTTPStatus.PARTIAL_CONTENT:
        size: int | None = _total_of_first_range(headers, host, first_bytes)
    else:
        size = _size_of_whole(headers, host)
    return SourceFacts(
        host=host,
        size_bytes=size,
        last_modified=headers.get("Last-Modified"),
        date=headers.get("Date"),
        ranged=status == HTTPStatus.PARTIAL_CONTENT,
        headers={
            name: headers[name][:MAX_HEADER_CHARS]
            for name in KEPT_HEADERS
            if name in headers
        },
    )


def _check_is_media(headers: _Headers, host: str) -> None:
    kind = headers.get("Content-Type", "").partition(";")[0].strip().casefold()
    if kind in _NOT_MEDIA:
        raise SourceAnswerError(f"{host} answered with {kind} instead of the chunk")
    encoding = headers.get("Content-Encoding", "identity").strip().casefold()
    if encoding not in ("identity", ""):
        # Lengths and ranges would count compressed bytes, against our Accept-Encoding.
        told = encoding if encoding in _CODINGS else "something else"
        raise SourceAnswerError(f"{host} answered with content encoded as {told}")


def _total_of_first_range(headers: _Headers, host: str, first_bytes: int) -> int:
    part = _content_range(headers, host)
    if part.start != 0 or part.end != min(first_bytes, part.total) - 1:
        raise SourceAnswerError(f"{host} answered with another range than the first")
    _check_length(headers, host, part.length)
    return part.total


def _size_of_whole(headers: _Headers, host: str) -> int | None:
    length = _content_length(headers, host)
    if "Content-Range" not in headers:
        size = length
    else:
        part = _content_range(headers, host)
        if part.length != part.total:
            raise SourceAnswerError(f"{host} answered 200 with a part")
        _check_length(headers, host, part.total)
        size = part.total
    if size == 0:
        raise SourceAnswerError(f"{host} answered with 0 bytes")
    return size


def first_length(facts: SourceFacts, *, first_bytes: int) -> int | None:
    """How many bytes the first body has; None if nobody said."""
    if facts.ranged and facts.size_bytes is not None:
        return min(first_bytes, facts.size_bytes)
    return facts.size_bytes


def asked_range(offset: int, length: int, *, facts: SourceFacts) -> ContentRange:
    """Cut a range to the object's size. ValueError if there is no such part to ask for."""
    total = facts.size_bytes
    if not facts.ranged or total is None or length < 1 or not 0 <= offset < total:
        raise ValueError(f"no range of {length} bytes at {offset} to ask for")
    return ContentRange(start=offset, end=min(offset + length, total) - 1, total=total)


def check_part(
    status: int, headers: _Headers, *, asked: ContentRange, facts: SourceFacts
) -> None:
    """Raise unless the answer is exactly the asked part of what was opened."""
    _check_is_media(headers, facts.host)
    if status != HTTPStatus.PARTIAL_CONTENT:
        raise SourceAnswerError(f"{facts.host} answered {status} to a range")
    part = _content_range(headers, facts.host)
    if part.total != asked.total:
        raise SourceChangedError(
            f"{facts.host}: size was {asked.total} and is {part.total}"
        )
    if headers.get("Last-Modified") != facts.last_modified:
        raise SourceChangedError(f"{facts.host}: the object was modified meanwhile")
    if part != asked:
        raise SourceAnswerError(f"{facts.host} answered with another range than asked")
    _check_length(headers, facts.host, asked.length)


def _content_range(headers: _Headers, host: str) -> ContentRange:
    match = _CONTENT_RANGE.fullmatch(headers.get("Content-Range", ""))
    if match is None:
        raise SourceAnswerError(f"{host} answered without a valid Content-Range")
    part = ContentRange(start=int(match[1]), end=int(match[2]), total=int(match[3]))
    if not part.start <= part.end < part.total:
        raise SourceAnswerError(f"{host} answered with an impossible Content-Range")
    return part


def _check_length(headers: _Headers, host: str, expected: int) -> None:
    length = _content_length(headers, host)
    if length is not None and length != expected:
        raise SourceAnswerError(f"{host} announced {length} bytes, not {expected}")


def _content_length(headers: _Headers, host: str) -> int | None:
    text = headers.get("Content-Length")
    if text is None:
        return None
    if not _LENGTH.fullmatch(text):
        raise SourceAnswerError(f"{host} answered with an invalid Content-Length")
    return int(text)
