"""An answer of the source: its status and headers, and above all Content-Range."""

import math
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

from multidict import CIMultiDict

from tests.fakes.clock import START
from tests.fuzz import mutations
from tests.fuzz.target import Target, fields_of
from worker import stored
from worker.errors import RetryableError
from worker.model import SourceFacts
from worker.sources import answers
from worker.stored import ProvenObject

HOST = "eu.asm.skype.com"
MOST_BYTES = 10**18


def check(data: bytes) -> None:
    """`STATUS FIRST_BYTES OFFSET LENGTH` on the first line, then headers."""
    first, rest = fields_of(data.decode(errors="surrogateescape"), 2)
    status, first_bytes, offset, length = _numbers(first)
    headers = CIMultiDict(
        (name.strip(), value.strip())
        for name, _, value in (line.partition(":") for line in rest.split("\n"))
    )
    _check_error(status, headers)
    try:
        facts = answers.facts_from_first(
            status, headers, host=HOST, first_bytes=max(first_bytes, 1)
        )
    except RetryableError as error:
        str(error).encode()
        return
    _check_facts(facts, status)
    first_length = answers.first_length(facts, first_bytes=max(first_bytes, 1))
    assert first_length is None or 1 <= first_length <= MOST_BYTES
    try:
        asked = answers.asked_range(offset, length, facts=facts)
    except ValueError:
        return
    assert 0 <= asked.start <= asked.end < asked.total == facts.size_bytes
    _check_part(status, headers, asked, facts)


def _check_error(status: int, headers: Mapping[str, str]) -> None:
    error = answers.error_from_status(status, headers, host=HOST, now=START)
    assert str(error) == f"{HOST} answered {status}"
    after = error.retry_after
    assert after is None or (math.isfinite(after) and after >= 0), after


def _check_facts(facts: SourceFacts, status: int) -> None:
    assert facts.size_bytes is None or 1 <= facts.size_bytes < MOST_BYTES, facts
    assert facts.ranged == (status == 206), facts
    assert not facts.ranged or facts.size_bytes is not None, facts
    assert set(facts.headers) <= set(answers.KEPT_HEADERS), facts
    assert all(
        len(value) <= answers.MAX_HEADER_CHARS for value in facts.headers.values()
    )
    written = stored.encode(_proven(facts))
    assert stored.encode(stored.decode(ProvenObject, written)) == written


def _check_part(
    status: int,
    headers: Mapping[str, str],
    asked: answers.ContentRange,
    facts: SourceFacts,
) -> None:
    try:
        answers.check_part(status, headers, asked=asked, facts=facts)
    except RetryableError as error:
        str(error).encode()
        return
    assert f"bytes {asked.start}-{asked.end}/{asked.total}" == _said(headers)


def _said(headers: Mapping[str, str]) -> str:
    """The Content-Range without leading zeros, which change nothing."""
    unit, _, numbers = headers["Content-Range"].partition(" ")
    span, _, total = numbers.partition("/")
    start, _, end = span.partition("-")
    return f"{unit} {int(start)}-{int(end)}/{int(total)}"


def _proven(facts: SourceFacts) -> ProvenObject:
    """What of an answer reaches the receipt."""
    return ProvenObject(
        name="recordings/content.mp4",
        size_bytes=facts.size_bytes or 0,
        sha256=None,
        block_bytes=1,
        blocks_sha256="",
        verified="read-back",
        etag=None,
        version=None,
        last_modified=datetime(2026, 3, 1, tzinfo=UTC),
        protection={},
        source_host=facts.host,
        source_date=facts.date,
        source_last_modified=facts.last_modified,
        source_headers=facts.headers,
    )


def _numbers(line: str) -> tuple[int, int, int, int]:
    """The numbers of the first line; 0 for what is none, or is too long for a status."""
    found = [int(w) if w.isascii() and w.isdigit() else 0 for w in line[:80].split(" ")]
    status, first_bytes, offset, length = [*found, 0, 0, 0, 0][:4]
    return status % 1000, first_bytes, offset, length


def _seeds() -> Iterable[bytes]:
    ranges = (
        "bytes 0-99/1000",
        "bytes 0-999/1000",
        "bytes 100-199/1000",
        "bytes 0-0/1",
    )
    for told in ranges:
        yield (
            f"206 100 100 100\nContent-Range: {told}\nContent-Length: 100"
            "\nLast-Modified: Sun, 01 Mar 2026 12:00:00 GMT\nContent-Type: video/mp4"
        ).encode()
    yield b"200 100 0 100\nContent-Length: 1000\nContent-Type: video/mp4"
    yield b"206 100 0 100\nContent-Range: bytes 0-99/1000\nContent-Length: 100"
    yield b"503 0 0 0\nRetry-After: 7\nContent-Type: text/html"
    yield b"429 0 0 0\nx-ms-retry-after-ms: 1500"
    yield b"503 0 0 0\nRetry-After: Sun, 01 Mar 2026 12:00:30 GMT\nContent-Encoding: gzip"


ANSWER = Target(name="answer", check=check, seeds=_seeds, mutate=mutations.of_lines)
