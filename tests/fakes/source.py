"""A source in memory that meets planned faults; the contract suite holds it to the port.

It speaks the faults of the stand-in for ACS, so that one list of troubles serves both.
"""

import asyncio
from collections import defaultdict, deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from email.utils import format_datetime
from urllib.parse import urlsplit

from samples.faults import FOREIGN_DOCUMENT_ID, OTHER_LAST_MODIFIED, Fault, FaultKind
from tests.fakes.clock import ManualClock
from worker.errors import (
    HostNotAllowedError,
    NoCredentialError,
    RetryableError,
    SourceAnswerError,
    SourceChangedError,
    SourceNotFoundError,
    TruncatedError,
)
from worker.model import DeleteAnswer, SourceFacts
from worker.ports import Clock
from worker.sources.answers import DELETED, error_from_status, refuse_unproven
from worker.stored import Receipt

PIECE_BYTES = 16 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One request as the source saw it. A delete has neither offset nor length."""

    method: str
    location: str
    offset: int = 0
    length: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Body:
    """What one answer brings: `data`, then an error, a silence, or its end."""

    data: bytes
    error: Exception | None = None
    hangs: bool = False


class ScriptedSource:
    """Satisfies ports.Source. `objects`, `requests` and `deleted` are there to look at.

    Faults are spent one per request, as with the stand-in; an exception is raised.
    `resource` names the one ACS resource whose chunks it serves; None: all.
    """

    def __init__(
        self,
        *,
        clock: Clock | None = None,
        host: str = "us-storage.asm.skype.com",
        resource: str | None = None,
    ) -> None:
        self._clock = clock or ManualClock()
        self._host = host
        self._resource = resource
        self._faults: dict[str, deque[Fault | Exception]] = defaultdict(deque)
        self._last_modified = format_datetime(self._clock.now(), usegmt=True)
        self.objects: dict[str, bytes] = {}
        self.requests: list[Asked] = []
        self.deleted: list[str] = []
        self.send_nothing = False
        """Bodies end at once, without an error."""
        self.most_at_once = 0
        self._at_once = 0
        self._body_faults: deque[int] = deque()

    def put(self, location: str, data: bytes) -> None:
        """Have `data` behind a location."""
        self.objects[location] = data

    def plan(self, location: str, *faults: Fault | Exception) -> None:
        """Make the next requests for this location meet these faults, in order."""
        self._faults[location] = deque(faults)

    def fail_bodies(self, *, after: int, times: int) -> None:
        """Cut the next bodies after so many bytes, whatever else is planned for them."""
        self._body_faults = deque([after] * times)

    def check(self, location: str) -> None:
        if urlsplit(location).netloc != self._host:
            raise HostNotAllowedError("host is not allowed")

    @asynccontextmanager
    async def open(
        self, location: str, *, resource: str | None, first_bytes: int
    ) -> AsyncIterator["ScriptedObject"]:
        self._admit(location, resource)
        fault = await self._ask("GET", location, offset=0, length=first_bytes)
        data = self._stored(location)
        if _kind(fault) is FaultKind.REDIRECT_TO:
            raise HostNotAllowedError("host is not allowed")
        facts = self._facts(data, fault, first_bytes=first_bytes)
        piece = data[:first_bytes] if facts.ranged else data
        first = _spoiled(piece, fault, location=location)
        yield ScriptedObject(self, location, facts=facts, first=first)

    async def delete(self, location: str, *, proof: Receipt) -> DeleteAnswer:
        refuse_unproven(location, proof)
        self._admit(location, proof.resource)
        fault = await self._ask("DELETE", location)
        status = self._delete(location, fault)
        if _kind(fault) is FaultKind.CUT_AFTER:
            raise TruncatedError("the answer to the delete was lost")
        if status not in DELETED:
            raise self._refusal(status, fault)
        return DeleteAnswer(
            status=status,
            host=self._host,
            at=self._clock.now(),
            hops=(f"{self._host} {status}",),
        )

    def _delete(self, location: str, fault: Fault | None) -> int:
        """Delete all locations of the object, unless the fault prevents it."""
        stem = _object_of(location)
        mine = [each for each in self.objects if _object_of(each) == stem]
        if fault is None or fault.lets_delete:
            for each in mine:
                del self.objects[each]
            self.deleted += [location] if mine else []
        if fault is not None and fault.kind is FaultKind.STATUS:
            return int(fault.number)
        return 200 if mine else 404

    def _admit(self, location: str, resource: str | None) -> None:
        self.check(location)
        if self._resource not in (None, resource):
            raise NoCredentialError(f"no key for the ACS resource {resource!r}")

    async def _ask(
        self, method: str, location: str, *, offset: int = 0, length: int = 0
    ) -> Fault | None:
        """Note the request, and meet what its fault does before any answer."""
        self.requests.append(
            Asked(method=method, location=location, offset=offset, length=length)
        )
        fault = self._next_fault(location)
        if isinstance(fault, Exception):
            raise fault
        await asyncio.sleep(0)
        if fault is None:
            return None
        if fault.kind is FaultKind.SLOW:
            await self._clock.sleep(fault.number)
        if fault.kind is FaultKind.HANG and fault.number < 0:
            await asyncio.get_running_loop().create_future()
        if fault.kind is FaultKind.HTML_400 or _is_refusal(fault, method):
            status = int(fault.number) or 400
            raise self._refusal(status, fault)
        return fault

    def _next_fault(self, location: str) -> Fault | Exception | None:
        plan = self._faults[location]
        if not plan:
            return None
        if isinstance(plan[0], Fault) and plan[0].is_persistent:
            return plan[0]
        return plan.popleft()

    def _refusal(self, status: int, fault: Fault | None) -> RetryableError:
        headers = {}
        if fault is not None and fault.retry_after is not None:
            headers["Retry-After"] = str(fault.retry_after)
        now = self._clock.now()
        return error_from_status(status, headers, host=self._host, now=now)

    def _stored(self, location: str) -> bytes:
        data = self.objects.get(location)
        if data is None:
            raise SourceNotFoundError(f"{self._host} answered 404")
        if not data:
            raise SourceAnswerError(f"{self._host} sent 0 bytes")
        return data

    def _facts(
        self, data: bytes, fault: Fault | None, *, first_bytes: int
    ) -> SourceFacts:
        kind, size = _kind(fault), len(data)
        is_changed = kind is FaultKind.CHANGED_LAST_MODIFIED
        if kind is FaultKind.WRONG_TOTAL:
            if size <= first_bytes:
                raise SourceAnswerError("another range than the first")
            size += 1
        return SourceFacts(
            host=self._host,
            size_bytes=None if kind is FaultKind.NO_LENGTH else size,
            last_modified=OTHER_LAST_MODIFIED if is_changed else self._last_modified,
            date=format_datetime(self._clock.now(), usegmt=True),
            ranged=kind not in (FaultKind.NO_LENGTH, FaultKind.IGNORE_RANGES),
            headers={"Content-Type": "application/octet-stream"},
        )

    async def part(
        self, location: str, offset: int, *, length: int, facts: SourceFacts
    ) -> "_Body":
        """Answer a ranged read of what was opened with these facts."""
        fault = await self._ask("GET", location, offset=offset, length=length)
        data = self._stored(location)
        last_modified, total = self._last_modified, len(data)
        match _kind(fault):
            case FaultKind.WRONG_TOTAL:
                total += 1
            case FaultKind.CHANGED_LAST_MODIFIED:
                last_modified = OTHER_LAST_MODIFIED
            case FaultKind.REDIRECT_TO:
                raise HostNotAllowedError("host is not allowed")
            case FaultKind.IGNORE_RANGES | FaultKind.NO_LENGTH:
                raise SourceAnswerError("no part of what was opened")
            case _:
                pass
        if (total, last_modified) != (facts.size_bytes, facts.last_modified):
            raise SourceChangedError("the object changed meanwhile")
        return _spoiled(data[offset : offset + length], fault, location=location)

    async def play(self, body: "_Body") -> AsyncGenerator[bytes, None]:
        """Yield a body in pieces, and end it as it should end."""
        if self._body_faults:
            body = _cut_body(body.data, self._body_faults.popleft())
        if self.send_nothing:
            body = _Body(data=b"")
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            for start in range(0, len(body.data), PIECE_BYTES):
                await asyncio.sleep(0)
                yield body.data[start : start + PIECE_BYTES]
            if body.hangs:
                await asyncio.get_running_loop().create_future()
            if body.error is not None:
                raise body.error
        finally:
            self._at_once -= 1


class ScriptedObject:
    """Satisfies ports.OpenedObject."""

    def __init__(
        self, source: ScriptedSource, location: str, *, facts: SourceFacts, first: _Body
    ) -> None:
        self._source = source
        self._location = location
        self._facts = facts
        self._first = first

    @property
    def facts(self) -> SourceFacts:
        return self._facts

    def first(self) -> AsyncGenerator[bytes, None]:
        return self._source.play(self._first)

    async def read(self, offset: int, length: int) -> AsyncGenerator[bytes, None]:
        length = min(length, (self._facts.size_bytes or 0) - offset)
        body = await self._source.part(
            self._location, offset, length=length, facts=self._facts
        )
        async for piece in self._source.play(body):
            yield piece


def _kind(fault: Fault | None) -> FaultKind | None:
    return None if fault is None else fault.kind


def _is_refusal(fault: Fault, method: str) -> bool:
    """Whether a status fault refuses a GET; what it does to a delete is told there."""
    return fault.kind is FaultKind.STATUS and method == "GET"


def _object_of(location: str) -> str:
    """The part of a location that all of its object's locations share."""
    return "/".join(location.split("/")[:6])


def _spoiled(data: bytes, fault: Fault | None, *, location: str) -> _Body:
    """What a fault makes of the bytes of an answer."""
    spoil = _SPOILED.get(fault.kind) if fault else None
    return spoil(data, fault, location) if spoil and fault else _Body(data=data)


def _cut(data: bytes, fault: Fault, _: str) -> _Body:
    return _cut_body(data, int(fault.number))


def _cut_body(data: bytes, after: int) -> _Body:
    return _Body(data=data[:after], error=TruncatedError("body was cut"))


def _stalled(data: bytes, fault: Fault, _: str) -> _Body:
    return _Body(data=data[: int(fault.number)], hangs=True)


def _refused(*_: object) -> _Body:
    return _Body(data=b"", error=SourceAnswerError("another range than asked"))


def _flipped(data: bytes, *_: object) -> _Body:
    middle = len(data) // 2
    flipped = bytes([data[middle] ^ 1])
    return _Body(data=data[:middle] + flipped + data[middle + 1 :])


def _foreign(data: bytes, _: Fault, location: str) -> _Body:
    own = location.split("/")[5].encode()
    return _Body(data=data.replace(own, FOREIGN_DOCUMENT_ID.encode()))


_SPOILED: Mapping[FaultKind, Callable[[bytes, Fault, str], _Body]] = {
    FaultKind.CUT_AFTER: _cut,
    FaultKind.HANG: _stalled,
    FaultKind.EMPTY: _refused,
    FaultKind.SHORT_BODY: _refused,
    FaultKind.WRONG_RANGE: _refused,
    FaultKind.WRONG_BYTES: _flipped,
    FaultKind.FOREIGN_METADATA: _foreign,
}
