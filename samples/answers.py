"""What the recorded service answers, as values; pure.

Recorded by the live tests of the Microsoft SDKs: ranges, a Content-Range on a plain 200 too,
problem+json for its own errors, an HTML page for a malformed Range, no ETag, no Content-MD5.
"""

import json
import re
from dataclasses import dataclass, field, replace
from http import HTTPStatus

from samples.content import Content, MemoryContent

_RANGE = re.compile(r"bytes=(\d*)-(\d*)", re.ASCII)
NO_HEAD = -1
"""In place of a count of body bytes: not even the head goes out."""
_TRACE_ID = "00000000-0000-4000-8000-000000000001"
_HTML_400 = b"""<!DOCTYPE HTML PUBLIC "-//W3C//DTD HTML 4.01//EN">\r
<HTML><HEAD><TITLE>Bad Request</TITLE></HEAD>\r
<BODY><h2>Bad Request - Invalid Header</h2>\r
<hr><p>HTTP Error 400. The request has an invalid header name.</p>\r
</BODY></HTML>\r
"""
_NOTHING = MemoryContent(b"")


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One answer, down to how its bytes go out."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    content: Content = _NOTHING
    offset: int = 0
    length: int = 0
    is_chunked: bool = False
    """Chunked framing: no Content-Length."""
    delay_s: float = 0.0
    cut_after: int | None = None
    """Close the connection after so many bytes of the body, or NO_HEAD."""
    hangs_after: int | None = None
    """Say no more after so many bytes of the body, or NO_HEAD."""

    @property
    def is_object(self) -> bool:
        """Whether the body is (part of) a stored object."""
        return self.status in (HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT)


@dataclass(frozen=True, slots=True, kw_only=True)
class BytesRange:
    """Bytes [start, end] of an object, as a Range header asks for them."""

    start: int
    end: int


def object_answer(
    content: Content, *, range_header: str | None, last_modified: str
) -> Answer:
    """Answer a GET of a stored object."""
    headers = {
        "Content-Type": "application/octet-stream",
        "Cache-Control": "no-cache, max-age=0, s-maxage=0, private",
        "Last-Modified": last_modified,
        "Accept-Ranges": "bytes",
    }
    if range_header is None:
        return _whole(content, headers)
    if not _is_range(range_header):
        return html_400()
    part = _asked_range(range_header, content.size)
    if part is None:
        headers["Content-Range"] = f"bytes */{content.size}"
        return Answer(
            status=HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, headers=headers
        )
    headers["Content-Range"] = f"bytes {part.start}-{part.end}/{content.size}"
    return Answer(
        status=HTTPStatus.PARTIAL_CONTENT,
        headers=headers,
        content=content,
        offset=part.start,
        length=part.end - part.start + 1,
    )


def _whole(content: Content, headers: dict[str, str]) -> Answer:
    size = content.size
    if size:
        # Recorded: the service says so on a 200 too.
        headers["Content-Range"] = f"bytes 0-{size - 1}/{size}"
    return Answer(status=HTTPStatus.OK, headers=headers, content=content, length=size)


def _is_range(header: str) -> bool:
    match = _RANGE.fullmatch(header)
    if match is None or match.groups() == ("", ""):
        return False
    first, last = match.groups()
    return not (first and last and int(first) > int(last))


def _asked_range(header: str, size: int) -> BytesRange | None:
    """Return the range within the object, or None if it begins behind the end."""
    first, _, last = header.removeprefix("bytes=").partition("-")
    if not first:
        start, end = max(size - int(last), 0), size - 1
    else:
        start, end = int(first), min(int(last or size), size - 1)
    return BytesRange(start=start, end=end) if start <= end else None


def html_400() -> Answer:
    """The page that the service has sent for a malformed Range since April 2025."""
    headers = {"Content-Type": "text/html; charset=us-ascii"}
    return _small(HTTPStatus.BAD_REQUEST, headers, _HTML_400)


def unauthorized(path: str, *, message: str) -> Answer:
    return _problem(
        HTTPStatus.UNAUTHORIZED, title="Unauthorized", instance=path, message=message
    )


def not_found(document_id: str) -> Answer:
    detail = f"The document {document_id} does not exist or it is already deleted."
    return _problem(
        HTTPStatus.NOT_FOUND,
        title="The document not found.",
        detail=detail,
        instance=f"/microsoft/ic3/ams/live/eus/trace-id/{_TRACE_ID}",
        message=detail,
    )


def status_answer(status: int, *, retry_after: float | str | None = None) -> Answer:
    """Answer `status`: an error with a problem as its body, all else with none."""
    headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
    if status < HTTPStatus.BAD_REQUEST:
        return replace(empty(status), headers=headers)
    title = _phrase(status)
    answer = _problem(status, title=title, instance="/", message=title)
    answer.headers.update(headers)
    return answer


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"


def empty(status: int) -> Answer:
    return Answer(status=status)


def redirect(location: str) -> Answer:
    return Answer(status=HTTPStatus.FOUND, headers={"Location": location})


def _problem(status: int, **fields: str) -> Answer:
    body = {"status": status, **fields, "traceId": _TRACE_ID}
    headers = {"Content-Type": "application/problem+json; charset=utf-8"}
    return _small(status, headers, json.dumps(body).encode())


def _small(status: int, headers: dict[str, str], body: bytes) -> Answer:
    return Answer(
        status=status,
        headers=headers,
        content=MemoryContent(body),
        length=len(body),
    )
