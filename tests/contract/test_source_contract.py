"""What every source owes: one suite over the scripted fake and the real client."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from typing import Literal, Protocol

import pytest

from samples.acs import Locations, StandIn
from samples.faults import Fault
from tests.fakes.clock import ManualClock
from tests.fakes.source import ScriptedSource
from tests.proofs import a_proof
from worker.errors import (
    HostNotAllowedError,
    PermanentError,
    RetryableError,
    SourceAnswerError,
    SourceChangedError,
    SourceForbiddenError,
    SourceNotFoundError,
    SourceUnavailableError,
    ThrottledError,
    TruncatedError,
)
from worker.limits import ConnectionCeiling
from worker.ports import Source
from worker.sources.acs import AcsSource
from worker.sources.hosts import HostRules
from worker.sources.signing import Credentials

DOC = "0-eus-d1-doc"
DATA = bytes(range(256)) * 400
FIRST = 40_000
FOREIGN = "https://evil.example.com/v1/objects/doc"


class Rig(Protocol):
    """A source, and the hand that puts things into it."""

    @property
    def source(self) -> Source: ...

    def put(self, content: bytes) -> Locations: ...

    def plan(self, part: Literal["content", "delete"], *faults: Fault) -> None: ...

    def holds(self) -> bool: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ScriptedRig:
    source: ScriptedSource

    @property
    def locations(self) -> Locations:
        base = f"https://us-storage.asm.skype.com/v1/objects/{DOC}"
        return Locations(
            content=f"{base}/content/video",
            metadata=f"{base}/content/acsmetadata",
            delete=base,
        )

    def put(self, content: bytes) -> Locations:
        self.source.put(self.locations.content, content)
        self.source.put(self.locations.metadata, b"{}")
        return self.locations

    def plan(self, part: Literal["content", "delete"], *faults: Fault) -> None:
        self.source.plan(getattr(self.locations, part), *faults)

    def holds(self) -> bool:
        return bool(self.source.objects)


@dataclass(frozen=True, slots=True, kw_only=True)
class AcsRig:
    source: AcsSource
    acs: StandIn

    def put(self, content: bytes) -> Locations:
        self.acs.put(DOC, content=content, metadata=b"{}")
        return self.acs.locations(DOC)

    def plan(self, part: Literal["content", "delete"], *faults: Fault) -> None:
        self.acs.plan(DOC, part, faults)

    def holds(self) -> bool:
        return DOC not in self.acs.deleted


@pytest.fixture(params=["scripted", "acs"])
async def rig(request: pytest.FixtureRequest) -> AsyncIterator[Rig]:
    """The fake in one run, the client against the stand-in for ACS in the other."""
    clock = ManualClock(auto=True)
    if request.param == "scripted":
        yield ScriptedRig(source=ScriptedSource(clock=clock))
        return
    async with AsyncExitStack() as stack:
        acs = await stack.enter_async_context(StandIn(now=clock.now))
        source = AcsSource(
            credentials=Credentials.parse(acs.connection_string),
            hosts=HostRules([acs.global_host, acs.regional_host]),
            clock=clock,
            ceiling=ConnectionCeiling(8, clock=clock),
            version="0",
        )
        await stack.enter_async_context(source)
        yield AcsRig(source=source, acs=acs)


async def read(body: AsyncGenerator[bytes, None], into: bytearray) -> bytearray:
    """Read a body to its end, keeping what came before an error."""
    async for piece in body:
        into += piece
    return into


async def open_and_read(rig: Rig, location: str) -> bytearray:
    """Open, and read the first body."""
    came = bytearray()
    opened = rig.source.open(location, resource=None, first_bytes=FIRST)
    async with opened as found:
        return await read(found.first(), came)


async def read_part(
    rig: Rig, location: str, *, offset: int, length: int, into: bytearray
) -> bytearray:
    """Open, read the first body, and read one part."""
    opened = rig.source.open(location, resource=None, first_bytes=FIRST)
    async with opened as found:
        await read(found.first(), bytearray())
        return await read(found.read(offset, length), into)


async def test_source_opens_with_the_first_bytes(rig: Rig) -> None:
    """Opening tells the size and what else was said, and brings the first bytes."""
    location = rig.put(DATA).content

    opened = rig.source.open(location, resource="any", first_bytes=FIRST)
    async with opened as found:
        first = await read(found.first(), bytearray())
        facts = found.facts

    assert first == DATA[:FIRST]
    assert (facts.size_bytes, facts.ranged) == (len(DATA), True)
    assert facts.host
    assert facts.host in location or facts.host.startswith("127.0.0.1")
    assert facts.last_modified
    assert facts.date
    assert facts.headers["Content-Type"] == "application/octet-stream"


@pytest.mark.parametrize("size", [1, FIRST - 1, FIRST, FIRST + 1])
async def test_source_opens_objects_of_any_size(rig: Rig, size: int) -> None:
    """An object shorter than the first range comes whole."""
    location = rig.put(DATA[:size]).content

    assert await open_and_read(rig, location) == DATA[:size][:FIRST]


@pytest.mark.parametrize(
    ("offset", "length"),
    [(FIRST, 1), (FIRST, 30_000), (0, len(DATA)), (len(DATA) - 1, 1), (FIRST, 10**9)],
)
async def test_source_reads_parts(rig: Rig, offset: int, length: int) -> None:
    """A part is exactly the bytes asked for, cut to the size of the object."""
    location = rig.put(DATA).content

    part = await read_part(
        rig, location, offset=offset, length=length, into=bytearray()
    )

    assert part == DATA[offset : offset + length]


async def test_source_may_be_left_before_the_first_body(rig: Rig) -> None:
    """An object that is opened and left unread does no harm."""
    location = rig.put(DATA).content

    for _ in range(20):
        async with rig.source.open(location, resource=None, first_bytes=FIRST):
            pass

    assert await open_and_read(rig, location) == DATA[:FIRST]


@pytest.mark.parametrize("fault", [Fault.ignore_ranges(), Fault.no_length()], ids=str)
async def test_source_without_ranges_is_one_stream(rig: Rig, fault: Fault) -> None:
    """A source that ignores ranges brings all of it as the first body."""
    location = rig.put(DATA).content
    rig.plan("content", fault)

    opened = rig.source.open(location, resource=None, first_bytes=FIRST)
    async with opened as found:
        came = await read(found.first(), bytearray())
        facts = found.facts

    assert came == DATA
    assert not facts.ranged
    is_announced = fault == Fault.ignore_ranges()
    assert facts.size_bytes == (len(DATA) if is_announced else None)


OPENING = [
    (Fault.status(401), SourceForbiddenError),
    (Fault.status(403), SourceForbiddenError),
    (Fault.status(404), SourceNotFoundError),
    (Fault.status(410), SourceNotFoundError),
    (Fault.status(408), SourceUnavailableError),
    (Fault.status(429, retry_after=7), ThrottledError),
    (Fault.status(500), SourceUnavailableError),
    (Fault.status(503), SourceUnavailableError),
    (Fault.status(503, retry_after=7), ThrottledError),
    (Fault.status(416), SourceAnswerError),
    (Fault.html_400(), SourceAnswerError),
    (Fault.empty(), SourceAnswerError),
    (Fault.short_body(), SourceAnswerError),
    (Fault.wrong_range(), SourceAnswerError),
    (Fault.redirect_to(FOREIGN), HostNotAllowedError),
    (Fault.cut_after(100), TruncatedError),
]


@pytest.mark.parametrize(("fault", "kind"), OPENING, ids=str)
async def test_source_maps_what_goes_wrong_with_the_first_answer(
    rig: Rig, fault: Fault, kind: type[Exception]
) -> None:
    """Every trouble of the first answer is one kind of error, once."""
    location = rig.put(DATA).content
    rig.plan("content", fault)

    with pytest.raises(kind) as caught:
        await open_and_read(rig, location)

    assert type(caught.value) is kind
    assert DOC not in str(caught.value)
    assert await open_and_read(rig, location) == DATA[:FIRST]


PARTS = [
    (Fault.status(403), SourceForbiddenError),
    (Fault.status(404), SourceNotFoundError),
    (Fault.status(429), ThrottledError),
    (Fault.status(503), SourceUnavailableError),
    (Fault.html_400(), SourceAnswerError),
    (Fault.empty(), SourceAnswerError),
    (Fault.short_body(), SourceAnswerError),
    (Fault.wrong_range(), SourceAnswerError),
    (Fault.ignore_ranges(), SourceAnswerError),
    (Fault.no_length(), SourceAnswerError),
    (Fault.wrong_total(), SourceChangedError),
    (Fault.changed_last_modified(), SourceChangedError),
    (Fault.redirect_to(FOREIGN), HostNotAllowedError),
]


@pytest.mark.parametrize(("fault", "kind"), PARTS, ids=str)
async def test_source_maps_what_goes_wrong_with_a_part(
    rig: Rig, fault: Fault, kind: type[Exception]
) -> None:
    """A part that is not exactly what was asked for brings no byte."""
    location = rig.put(DATA).content
    rig.plan("content", Fault.slow(0), fault)
    came = bytearray()

    with pytest.raises(kind) as caught:
        await read_part(rig, location, offset=FIRST, length=1000, into=came)

    assert type(caught.value) is kind
    assert not came


@pytest.mark.parametrize("after", [0, 1, 700])
async def test_source_yields_what_came_before_a_cut(rig: Rig, after: int) -> None:
    """A part that is cut yields what came, and says that it is not all."""
    location = rig.put(DATA).content
    rig.plan("content", Fault.slow(0), Fault.cut_after(after))
    came = bytearray()

    with pytest.raises(TruncatedError):
        await read_part(rig, location, offset=FIRST, length=1000, into=came)

    assert came == DATA[FIRST : FIRST + after]


async def test_source_tells_how_long_to_wait(rig: Rig) -> None:
    """What the source asks to wait comes with the error."""
    location = rig.put(DATA).content
    rig.plan("content", Fault.status(429, retry_after=7))

    with pytest.raises(RetryableError) as caught:
        await open_and_read(rig, location)

    assert caught.value.retry_after == 7


async def test_source_refuses_an_empty_object(rig: Rig) -> None:
    """Zero bytes are no chunk; the next try may find it."""
    location = rig.put(b"").content

    with pytest.raises(SourceAnswerError):
        await open_and_read(rig, location)


async def test_source_does_not_know_what_is_not_there(rig: Rig) -> None:
    """A document that the source lacks is not found."""
    location = rig.put(DATA).content.replace(DOC, "another")

    with pytest.raises(SourceNotFoundError):
        await open_and_read(rig, location)


async def test_source_refuses_hosts_off_the_list(rig: Rig) -> None:
    """A location off the allow-list is refused by every operation."""
    rig.put(DATA)

    with pytest.raises(HostNotAllowedError):
        rig.source.check(FOREIGN)
    with pytest.raises(HostNotAllowedError):
        await open_and_read(rig, FOREIGN)
    with pytest.raises(HostNotAllowedError):
        await rig.source.delete(FOREIGN, proof=a_proof("doc"))


async def test_source_lets_allowed_hosts_pass(rig: Rig) -> None:
    """A location on the allow-list passes the check."""
    rig.source.check(rig.put(DATA).content)


async def test_source_deletes_what_is_proven(rig: Rig) -> None:
    """A delete removes the whole document, and its answer is told."""
    locations = rig.put(DATA)

    answer = await rig.source.delete(locations.delete, proof=a_proof(DOC))

    assert answer.status == 200
    assert answer.hops[-1] == f"{answer.host} 200"
    assert answer.at.tzinfo is not None
    assert not rig.holds()
    with pytest.raises(SourceNotFoundError):
        await open_and_read(rig, locations.content)


async def test_source_deletes_twice_with_the_same_end(rig: Rig) -> None:
    """What is already gone is an answer, not an error."""
    locations = rig.put(DATA)

    await rig.source.delete(locations.delete, proof=a_proof(DOC))
    again = await rig.source.delete(locations.delete, proof=a_proof(DOC))

    assert again.status == 404


@pytest.mark.parametrize("status", [200, 202, 204, 404, 410])
async def test_source_takes_these_answers_to_a_delete_as_done(
    rig: Rig, status: int
) -> None:
    """Any answer that says gone, or going, ends the delete."""
    locations = rig.put(DATA)
    rig.plan("delete", Fault.status(status))

    answer = await rig.source.delete(locations.delete, proof=a_proof(DOC))

    assert answer.status == status


DELETES = [
    (Fault.status(401), SourceForbiddenError),
    (Fault.status(409), SourceAnswerError),
    (Fault.status(429, retry_after=7), ThrottledError),
    (Fault.status(500), SourceUnavailableError),
    (Fault.html_400(), SourceAnswerError),
]


@pytest.mark.parametrize(("fault", "kind"), DELETES, ids=str)
async def test_source_maps_what_goes_wrong_with_a_delete(
    rig: Rig, fault: Fault, kind: type[Exception]
) -> None:
    """A refused delete is one kind of error, and the document stays."""
    locations = rig.put(DATA)
    rig.plan("delete", fault)

    with pytest.raises(kind) as caught:
        await rig.source.delete(locations.delete, proof=a_proof(DOC))

    assert type(caught.value) is kind
    assert rig.holds()


async def test_source_survives_a_lost_answer_to_a_delete(rig: Rig) -> None:
    """A delete whose answer never came is retryable at most, and done at the next try."""
    locations = rig.put(DATA)
    rig.plan("delete", Fault.cut_after(0))

    # Over a connection that was used before, the client asks once more by itself.
    with suppress(RetryableError):
        await rig.source.delete(locations.delete, proof=a_proof(DOC))

    assert not rig.holds()
    again = await rig.source.delete(locations.delete, proof=a_proof(DOC))
    assert again.status == 404


@pytest.mark.parametrize(
    ("document_id", "flags"), [(DOC, ("structure",)), ("another", ())]
)
async def test_source_refuses_a_delete_without_proof(
    rig: Rig, document_id: str, flags: tuple[str, ...]
) -> None:
    """A flagged receipt, or one of another document, sends nothing."""
    locations = rig.put(DATA)

    with pytest.raises(PermanentError):
        await rig.source.delete(
            locations.delete, proof=a_proof(document_id, flags=flags)
        )

    assert rig.holds()
