"""What each answer of the source means for the chunk."""

from datetime import timedelta
from email.utils import format_datetime

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes.clock import START
from tests.proofs import a_proof
from worker.errors import (
    RetryableError,
    SourceAnswerError,
    SourceChangedError,
    SourceForbiddenError,
    SourceNotFoundError,
    SourceUnavailableError,
    ThrottledError,
    TruncatedError,
)
from worker.model import SourceFacts
from worker.sources import answers
from worker.sources.answers import ContentRange, UnprovenDeleteError

HOST = "us-storage.asm.skype.com"
MODIFIED = "Sun, 01 Mar 2026 11:00:00 GMT"
FACTS = SourceFacts(
    host=HOST,
    size_bytes=1000,
    last_modified=MODIFIED,
    date=None,
    ranged=True,
    headers={},
)
PART = ContentRange(start=100, end=199, total=1000)
PART_HEADERS = {
    "Content-Range": "bytes 100-199/1000",
    "Content-Length": "100",
    "Last-Modified": MODIFIED,
}


@pytest.mark.parametrize(
    ("status", "retry_after", "kind"),
    [
        (401, None, SourceForbiddenError),
        (403, None, SourceForbiddenError),
        (404, None, SourceNotFoundError),
        (410, None, SourceNotFoundError),
        (408, None, SourceUnavailableError),
        (429, None, ThrottledError),
        (429, "7", ThrottledError),
        (503, None, SourceUnavailableError),
        (503, "7", ThrottledError),
        (500, "7", SourceUnavailableError),
        (502, None, SourceUnavailableError),
        (504, None, SourceUnavailableError),
        (599, None, SourceUnavailableError),
        (400, None, SourceAnswerError),
        (416, None, SourceAnswerError),
        (204, None, SourceAnswerError),
        (304, None, SourceAnswerError),
        (418, None, SourceAnswerError),
    ],
)
def test_status_means(
    status: int, retry_after: str | None, kind: type[RetryableError]
) -> None:
    """Each status is one kind of trouble, with what the source asked to wait."""
    headers = {"Retry-After": retry_after} if retry_after else {}

    error = answers.error_from_status(status, headers, host=HOST, now=START)

    assert type(error) is kind
    assert error.retry_after == (float(retry_after) if retry_after else None)
    assert str(error) == f"{HOST} answered {status}"


IN_A_MINUTE = format_datetime(START + timedelta(minutes=1), usegmt=True)
A_MINUTE_AGO = format_datetime(START - timedelta(minutes=1), usegmt=True)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"Retry-After": "7"}, 7),
        ({"Retry-After": " 0.5 "}, 0.5),
        ({"Retry-After": IN_A_MINUTE}, 60),
        ({"Retry-After": IN_A_MINUTE.replace("GMT", "-0000")}, 60),
        ({"Retry-After": A_MINUTE_AGO}, 0),
        ({"Retry-After": "-1"}, None),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "inf"}, None),
        ({"Retry-After": "9" * 400}, None),
        ({"Retry-After": "Fri, 31 Dec 99999 00:00:00 GMT"}, None),
        ({"retry-after-ms": "1500", "Retry-After": "9"}, 1.5),
        ({"x-ms-retry-after-ms": "250"}, 0.25),
        ({"x-ms-retry-after-ms": "nan", "Retry-After": "9"}, 9),
    ],
)
def test_retry_after_is_read_in_all_its_forms(
    headers: dict[str, str], seconds: float | None
) -> None:
    """Seconds, a date, or Azure's milliseconds; nonsense counts as not said."""
    assert answers.parse_retry_after(headers, now=START) == seconds


@given(st.text())
def test_retry_after_never_crashes(text: str) -> None:
    """Any header is a number of seconds that can be waited, or nothing."""
    seconds = answers.parse_retry_after({"Retry-After": text}, now=START)

    assert seconds is None or seconds >= 0


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (TimeoutError(), SourceUnavailableError),
        (aiohttp.ServerTimeoutError(), SourceUnavailableError),
        (aiohttp.ServerDisconnectedError(), SourceUnavailableError),
        (aiohttp.ClientOSError(104, "reset"), SourceUnavailableError),
        (aiohttp.ClientPayloadError("cut"), TruncatedError),
        (aiohttp.InvalidURL("https://secret"), SourceUnavailableError),
        (ConnectionResetError(), SourceUnavailableError),
    ],
)
def test_exception_means(error: Exception, kind: type[RetryableError]) -> None:
    """Each exception of the client is one kind of trouble, told without its URL."""
    mapped = answers.error_from_exception(error, host=HOST)

    assert type(mapped) is kind
    assert HOST in str(mapped)
    assert "secret" not in str(mapped)


def test_cut_of_a_body_is_told_from_a_silence() -> None:
    """A lost connection truncates; a timeout is an outage of the source."""
    cut = answers.error_from_cut(ConnectionResetError(), host=HOST, came=7)
    silence = answers.error_from_cut(TimeoutError(), host=HOST, came=7)

    assert isinstance(cut, TruncatedError)
    assert isinstance(silence, SourceUnavailableError)


def test_first_range_tells_the_size() -> None:
    """A 206 for the first bytes tells the total, and that ranges work."""
    headers = {
        "Content-Range": "bytes 0-99/1000",
        "Content-Length": "100",
        "Last-Modified": MODIFIED,
        "Date": MODIFIED,
        "Set-Cookie": "no",
        "Server": "x" * 1000,
    }

    facts = answers.facts_from_first(206, headers, host=HOST, first_bytes=100)

    assert (facts.size_bytes, facts.ranged) == (1000, True)
    assert (facts.last_modified, facts.date) == (MODIFIED, MODIFIED)
    assert facts.headers.keys() == headers.keys() - {"Set-Cookie"}
    assert len(facts.headers["Server"]) == 256
    assert answers.first_length(facts, first_bytes=100) == 100


def test_first_range_may_be_longer_than_the_object() -> None:
    """Asking for more than there is brings all of it."""
    headers = {"Content-Range": "bytes 0-36/37"}

    facts = answers.facts_from_first(206, headers, host=HOST, first_bytes=100)

    assert answers.first_length(facts, first_bytes=100) == 37


@pytest.mark.parametrize(
    ("headers", "size"),
    [
        ({"Content-Length": "837"}, 837),
        ({"Content-Length": "837", "Content-Range": "bytes 0-836/837"}, 837),
        ({"Content-Range": "bytes 0-836/837"}, 837),
        ({}, None),
    ],
)
def test_whole_answer_is_one_stream(headers: dict[str, str], size: int | None) -> None:
    """A 200 is read as one stream, of the size that it says, if it says any."""
    facts = answers.facts_from_first(200, headers, host=HOST, first_bytes=100)

    assert (facts.size_bytes, facts.ranged) == (size, False)
    assert answers.first_length(facts, first_bytes=100) == size


@pytest.mark.parametrize(
    ("status", "headers"),
    [
        (206, {}),
        (206, {"Content-Range": "bytes 0-99/*"}),
        (206, {"Content-Range": "bytes */1000"}),
        (206, {"Content-Range": "bytes 0-99/50"}),
        (206, {"Content-Range": "bytes 5-2/1000"}),
        (206, {"Content-Range": "bytes 1-100/1000"}),
        (206, {"Content-Range": "bytes 0-98/1000"}),
        (206, {"Content-Range": "bytes 0-199/1000"}),
        (206, {"Content-Range": "items 0-99/1000"}),
        (206, {"Content-Range": "bytes 0-99/1000", "Content-Length": "99"}),
        (206, {"Content-Range": "bytes 0-99/1000", "Content-Length": "x"}),
        (200, {"Content-Length": "0"}),
        (200, {"Content-Length": "836", "Content-Range": "bytes 0-836/837"}),
        (200, {"Content-Range": "bytes 0-99/837"}),
        (200, {"Content-Length": "9" * 5000}),
        (200, {"Content-Type": "text/html; charset=utf-8"}),
        (200, {"Content-Type": "application/problem+json"}),
        (200, {"Content-Length": "9", "Content-Encoding": "gzip"}),
    ],
)
def test_first_answer_that_cannot_be_the_chunk_is_refused(
    status: int, headers: dict[str, str]
) -> None:
    """Pages, empty bodies and ranges that were not asked for are no chunk."""
    with pytest.raises(SourceAnswerError):
        answers.facts_from_first(status, headers, host=HOST, first_bytes=100)


def test_part_that_was_asked_for_passes() -> None:
    """The exact range of the unchanged object is taken, with or without a length."""
    answers.check_part(206, PART_HEADERS, asked=PART, facts=FACTS)
    chunked = {n: v for n, v in PART_HEADERS.items() if n != "Content-Length"}
    answers.check_part(206, chunked, asked=PART, facts=FACTS)


@pytest.mark.parametrize(
    ("status", "changed", "kind"),
    [
        (200, {}, SourceAnswerError),
        (206, {"Content-Range": ""}, SourceAnswerError),
        (206, {"Content-Range": "bytes 101-199/1000"}, SourceAnswerError),
        (206, {"Content-Range": "bytes 100-198/1000"}, SourceAnswerError),
        (206, {"Content-Length": "99"}, SourceAnswerError),
        (206, {"Content-Type": "text/html"}, SourceAnswerError),
        (206, {"Content-Range": "bytes 100-199/1001"}, SourceChangedError),
        (206, {"Last-Modified": "Mon, 02 Mar 2026 11:00:00 GMT"}, SourceChangedError),
    ],
)
def test_part_that_does_not_fit_is_refused(
    status: int, changed: dict[str, str], kind: type[RetryableError]
) -> None:
    """A part of other bytes, another size or another time is not mixed in."""
    with pytest.raises(kind):
        answers.check_part(status, PART_HEADERS | changed, asked=PART, facts=FACTS)


def test_asked_range_ends_with_the_object() -> None:
    """A range is cut to the size of the object."""
    asked = answers.asked_range(900, 500, facts=FACTS)

    assert asked == ContentRange(start=900, end=999, total=1000)
    assert asked.length == 100


@pytest.mark.parametrize(("offset", "length"), [(1000, 1), (-1, 5), (0, 0)])
def test_asked_range_must_exist(offset: int, length: int) -> None:
    """A range outside of the object is the caller's mistake."""
    with pytest.raises(ValueError, match="no range"):
        answers.asked_range(offset, length, facts=FACTS)


@pytest.mark.parametrize(
    ("location", "flags"),
    [
        ("https://h/v1/objects/doc/content/deletedata", ("structure",)),
        ("https://h/v1/objects/other", ()),
        ("https://h/v1/objects/doc/objects/other", ()),
        ("https://h/v1/objects/doc/content/video", ()),
        ("https://h/v1/objects/doc/permissions", ()),
        ("https://h/v1/objects/doc/", ()),
        ("https://h/v1/objects/doc?all=true", ()),
        ("https://h/api/v1/objects/doc", ()),
        ("https://h/objects/doc", ()),
        ("", ()),
    ],
)
def test_delete_without_proof_is_refused(location: str, flags: tuple[str, ...]) -> None:
    """A flagged receipt, one of another document, or what is no documented delete."""
    with pytest.raises(UnprovenDeleteError):
        answers.refuse_unproven(location, a_proof("doc", flags=flags))


@pytest.mark.parametrize(
    "path", ["v1/objects/doc", "v2/objects/doc/content/deletedata"]
)
def test_delete_with_proof_is_let_through(path: str) -> None:
    """A receipt without flags lets its own document be deleted, in both documented forms."""
    answers.refuse_unproven(f"https://h/{path}", a_proof("doc"))


@pytest.mark.parametrize(
    ("encoding", "told"), [("GZIP", "gzip"), ("key-of-somebody", "something else")]
)
def test_encoding_that_is_not_known_is_not_repeated(encoding: str, told: str) -> None:
    """A header of the source may be anything, what it was sent included."""
    with pytest.raises(SourceAnswerError, match=f"encoded as {told}$"):
        answers.facts_from_first(
            200, {"Content-Encoding": encoding}, host=HOST, first_bytes=100
        )
