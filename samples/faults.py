"""Trouble that the stand-in makes on request: values, and what each does to an answer."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from http import HTTPStatus
from typing import Self

from samples import answers
from samples.answers import NO_HEAD, Answer
from samples.content import MemoryContent

FOREIGN_DOCUMENT_ID = "0-wus-d99-ffffffffffffffffffffffffffffffff"
"""The document that `Fault.foreign_metadata` claims to describe."""
OTHER_LAST_MODIFIED = "Mon, 01 Jan 2001 00:00:00 GMT"


class FaultKind(StrEnum):
    """The kinds of trouble; a fault prints as its kind and number."""

    STATUS = "status"
    HTML_400 = "html_400"
    CUT_AFTER = "cut_after"
    EMPTY = "empty"
    IGNORE_RANGES = "ignore_ranges"
    NO_LENGTH = "no_length"
    WRONG_RANGE = "wrong_range"
    WRONG_TOTAL = "wrong_total"
    CHANGED_LAST_MODIFIED = "changed_last_modified"
    REDIRECT_TO = "redirect_to"
    SHORT_BODY = "short_body"
    WRONG_BYTES = "wrong_bytes"
    SLOW = "slow"
    HANG = "hang"
    FOREIGN_METADATA = "foreign_metadata"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One fault, spent by one request; `always()` makes it stay."""

    kind: FaultKind
    number: float = 0
    """A status, a count of bytes, or seconds: as the kind says."""
    retry_after: float | str | None = None
    url: str = ""
    is_persistent: bool = False

    def __str__(self) -> str:
        return f"{self.kind}-{self.number:g}" if self.number else str(self.kind)

    def always(self) -> Self:
        """Return the same fault, for every request from now on."""
        return replace(self, is_persistent=True)

    @classmethod
    def status(cls, code: int, retry_after: float | str | None = None) -> Self:
        """Answer this status. On a delete, 2xx deletes all the same."""
        return cls(kind=FaultKind.STATUS, number=code, retry_after=retry_after)

    @classmethod
    def html_400(cls) -> Self:
        return cls(kind=FaultKind.HTML_400)

    @classmethod
    def cut_after(cls, count: int) -> Self:
        """Close the connection after `count` bytes of the body; NO_HEAD: without a word.

        Where there is no body, there is no word either: a cut delete deletes, unheard.
        """
        return cls(kind=FaultKind.CUT_AFTER, number=count)

    @classmethod
    def empty(cls) -> Self:
        """The right status with a body of 0 bytes."""
        return cls(kind=FaultKind.EMPTY)

    @classmethod
    def ignore_ranges(cls) -> Self:
        """The whole object with 200, whatever range was asked for."""
        return cls(kind=FaultKind.IGNORE_RANGES)

    @classmethod
    def no_length(cls) -> Self:
        """The whole object with 200, chunked: nobody says how long it is."""
        return cls(kind=FaultKind.NO_LENGTH)

    @classmethod
    def wrong_range(cls) -> Self:
        """206 whose Content-Range names other bytes, as many as asked for."""
        return cls(kind=FaultKind.WRONG_RANGE)

    @classmethod
    def wrong_total(cls) -> Self:
        """A Content-Range whose total is one more."""
        return cls(kind=FaultKind.WRONG_TOTAL)

    @classmethod
    def changed_last_modified(cls) -> Self:
        return cls(kind=FaultKind.CHANGED_LAST_MODIFIED)

    @classmethod
    def redirect_to(cls, url: str) -> Self:
        """302 to `url`, from whichever listener is asked first."""
        return cls(kind=FaultKind.REDIRECT_TO, url=url)

    @classmethod
    def short_body(cls) -> Self:
        """Half the bytes, and a Content-Length that agrees; the Content-Range doesn't."""
        return cls(kind=FaultKind.SHORT_BODY)

    @classmethod
    def wrong_bytes(cls) -> Self:
        """All the bytes, with one bit flipped in the middle."""
        return cls(kind=FaultKind.WRONG_BYTES)

    @classmethod
    def slow(cls, seconds: float) -> Self:
        """The right answer, that much later."""
        return cls(kind=FaultKind.SLOW, number=seconds)

    @classmethod
    def hang(cls, after: int = NO_HEAD) -> Self:
        """No answer until the client leaves, or no more after `after` bytes of the body."""
        return cls(kind=FaultKind.HANG, number=after)

    @classmethod
    def foreign_metadata(cls) -> Self:
        """Metadata that name another document as theirs."""
        return cls(kind=FaultKind.FOREIGN_METADATA)

    @property
    def lets_delete(self) -> bool:
        """Whether a delete that meets this fault takes effect."""
        if self.kind is FaultKind.STATUS:
            return self.number < HTTPStatus.MULTIPLE_CHOICES
        return self.kind not in _REPLACED


def spoil(answer: Answer, fault: Fault, *, document_id: str) -> Answer:
    """Return the answer as this fault makes it."""
    if fault.kind in _REPLACED:
        return _REPLACED[fault.kind](fault)
    if fault.kind in _SENT_OTHERWISE:
        return _SENT_OTHERWISE[fault.kind](answer, fault)
    if not answer.is_object:
        return answer
    if fault.kind is FaultKind.FOREIGN_METADATA:
        own, foreign = document_id.encode(), FOREIGN_DOCUMENT_ID.encode()
        return _changed(answer, lambda body: body.replace(own, foreign))
    return _BODY_FAULTS[fault.kind](answer)


def _status(fault: Fault) -> Answer:
    return answers.status_answer(int(fault.number), retry_after=fault.retry_after)


def _cut(answer: Answer, fault: Fault) -> Answer:
    count = int(fault.number) if answer.length else NO_HEAD
    return replace(answer, cut_after=count)


def _delayed(answer: Answer, fault: Fault) -> Answer:
    return replace(answer, delay_s=fault.number)


def _hanging(answer: Answer, fault: Fault) -> Answer:
    return replace(answer, hangs_after=int(fault.number))


def _empty(answer: Answer) -> Answer:
    return replace(answer, length=0)


def _all_of_it(answer: Answer) -> Answer:
    size = answer.content.size
    headers = answer.headers | {"Content-Range": f"bytes 0-{size - 1}/{size}"}
    return replace(answer, status=HTTPStatus.OK, headers=headers, offset=0, length=size)


def _without_length(answer: Answer) -> Answer:
    whole = _all_of_it(answer)
    dropped = {"Content-Range", "Accept-Ranges"}
    headers = {name: whole.headers[name] for name in whole.headers.keys() - dropped}
    return replace(whole, headers=headers, is_chunked=True)


def _of_another_range(answer: Answer) -> Answer:
    total = answer.content.size + 1
    start, end = answer.offset + 1, answer.offset + answer.length
    headers = answer.headers | {"Content-Range": f"bytes {start}-{end}/{total}"}
    if end < answer.content.size:
        headers["Content-Range"] = f"bytes {start}-{end}/{answer.content.size}"
    return replace(answer, status=HTTPStatus.PARTIAL_CONTENT, headers=headers)


def _of_another_total(answer: Answer) -> Answer:
    start, end = answer.offset, answer.offset + answer.length - 1
    total = answer.content.size + 1
    return _with_header(answer, "Content-Range", f"bytes {start}-{end}/{total}")


def _modified(answer: Answer) -> Answer:
    return _with_header(answer, "Last-Modified", OTHER_LAST_MODIFIED)


def _with_header(answer: Answer, name: str, value: str) -> Answer:
    return replace(answer, headers=answer.headers | {name: value})


def _halved(answer: Answer) -> Answer:
    return replace(answer, length=answer.length // 2)


def _flipped(answer: Answer) -> Answer:
    def flip(body: bytes) -> bytes:
        middle = len(body) // 2
        return body[:middle] + bytes([body[middle] ^ 1]) + body[middle + 1 :]

    return _changed(answer, flip)


def _changed(answer: Answer, change: Callable[[bytes], bytes]) -> Answer:
    """Apply `change` to the body, which is held in memory from here on."""
    body = change(bytes(answer.content.read(answer.offset, answer.length)))
    content = MemoryContent(body)
    return replace(answer, content=content, offset=0, length=len(body))


_REPLACED: Mapping[FaultKind, Callable[[Fault], Answer]] = {
    FaultKind.STATUS: _status,
    FaultKind.HTML_400: lambda _: answers.html_400(),
    FaultKind.REDIRECT_TO: lambda fault: answers.redirect(fault.url),
}
_SENT_OTHERWISE: Mapping[FaultKind, Callable[[Answer, Fault], Answer]] = {
    FaultKind.CUT_AFTER: _cut,
    FaultKind.SLOW: _delayed,
    FaultKind.HANG: _hanging,
}
_BODY_FAULTS: Mapping[FaultKind, Callable[[Answer], Answer]] = {
    FaultKind.EMPTY: _empty,
    FaultKind.IGNORE_RANGES: _all_of_it,
    FaultKind.NO_LENGTH: _without_length,
    FaultKind.WRONG_RANGE: _of_another_range,
    FaultKind.WRONG_TOTAL: _of_another_total,
    FaultKind.CHANGED_LAST_MODIFIED: _modified,
    FaultKind.SHORT_BODY: _halved,
    FaultKind.WRONG_BYTES: _flipped,
}
