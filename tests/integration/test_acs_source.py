"""The client for ACS against real sockets: redirects, signatures, slots, whole transfers."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import web

from samples.acs import StandIn
from samples.content import SyntheticContent
from samples.faults import Fault
from tests.fakes.archive import MemoryArchive
from tests.fakes.clock import ManualClock
from tests.proofs import a_proof
from worker.errors import (
    HostNotAllowedError,
    NoCredentialError,
    SourceAnswerError,
    SourceForbiddenError,
    SourceUnavailableError,
    ThrottledError,
    TruncatedError,
)
from worker.limits import ConnectionCeiling, MemoryBudget
from worker.retry import DOWNLOAD
from worker.sources.acs import AcsSource
from worker.sources.answers import UnprovenDeleteError
from worker.sources.hosts import HostRules
from worker.sources.signing import Credentials
from worker.transfer import TransferLimits, TransferStats, fetch

DOC = "0-eus-d1-doc"
DATA = bytes(range(256)) * 400
FIRST = 40_000
BLOCK = 16 * 1024
Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(auto=True)


@pytest.fixture
def ceiling(clock: ManualClock) -> ConnectionCeiling:
    return ConnectionCeiling(8, clock=clock)


@pytest.fixture
async def acs(clock: ManualClock) -> AsyncIterator[StandIn]:
    async with StandIn(now=clock.now) as acs:
        acs.put(DOC, content=DATA, metadata=b"{}")
        yield acs


@pytest.fixture
async def source(
    acs: StandIn, clock: ManualClock, ceiling: ConnectionCeiling
) -> AsyncIterator[AcsSource]:
    hosts = [acs.global_host, acs.regional_host]
    async with a_source(hosts, clock=clock, ceiling=ceiling, acs=acs) as source:
        yield source


def a_source(
    hosts: list[str],
    *,
    clock: ManualClock,
    ceiling: ConnectionCeiling,
    acs: StandIn,
    session: aiohttp.ClientSession | None = None,
) -> AcsSource:
    return AcsSource(
        credentials=Credentials.parse(acs.connection_string),
        hosts=HostRules(hosts),
        clock=clock,
        ceiling=ceiling,
        version="1.2.3",
        session=session,
    )


@asynccontextmanager
async def served(handler: Handler) -> AsyncIterator[str]:
    """A server of one handler; yields its HOST:PORT."""
    runner = web.ServerRunner(web.Server(handler))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def read(body: AsyncGenerator[bytes, None]) -> bytes:
    return b"".join([piece async for piece in body])


async def open_and_read(
    source: AcsSource, location: str, *, resource: str | None = None
) -> bytes:
    opened = source.open(location, resource=resource, first_bytes=FIRST)
    async with opened as found:
        return await read(found.first())


def hosts_asked(acs: StandIn) -> list[str]:
    """`global` or `regional` for each request, in order."""
    names = {acs.global_host: "global", acs.regional_host: "regional"}
    return [names[seen.host] for seen in acs.requests]


async def test_redirect_is_followed_and_remembered(
    acs: StandIn, source: AcsSource
) -> None:
    """The global host is asked once per object; then its region, for metadata too."""
    locations = acs.locations(DOC)

    opened = source.open(locations.content, resource=None, first_bytes=FIRST)
    async with opened as found:
        await read(found.first())
        part = await read(found.read(FIRST, 1000))
    metadata = await open_and_read(source, locations.metadata)

    assert part == DATA[FIRST : FIRST + 1000]
    assert metadata == b"{}"
    assert hosts_asked(acs) == ["global", "regional", "regional", "regional"]


async def test_remembered_region_is_forgotten_after_a_failure(
    acs: StandIn, source: AcsSource
) -> None:
    """After trouble in a region the global host is asked where the object is."""
    location = acs.locations(DOC).content
    acs.plan(DOC, "content", [Fault.slow(0), Fault.status(503)])

    assert await open_and_read(source, location) == DATA[:FIRST]
    with pytest.raises(SourceUnavailableError):
        await open_and_read(source, location)
    assert await open_and_read(source, location) == DATA[:FIRST]

    assert hosts_asked(acs) == [
        *("global", "regional"),
        "regional",
        *("global", "regional"),
    ]


async def test_every_try_is_signed_anew(
    acs: StandIn, source: AcsSource, clock: ManualClock
) -> None:
    """A request an hour later bears a signature of that time, and is accepted."""
    location = acs.locations(DOC).content

    await open_and_read(source, location)
    clock.advance(3600)
    await open_and_read(source, location)

    assert [seen.signed_at for seen in acs.requests] == [
        "Sun, 01 Mar 2026 12:00:00 GMT",
        "Sun, 01 Mar 2026 12:00:00 GMT",
        "Sun, 01 Mar 2026 13:00:00 GMT",
    ]


async def test_first_range_is_asked_for_outright(
    acs: StandIn, source: AcsSource
) -> None:
    """The range that starts at 0 is said, which the official SDK leaves out."""
    await open_and_read(source, acs.locations(DOC).content)

    assert acs.requests[-1].range == f"bytes=0-{FIRST - 1}"


async def test_nothing_is_sent_to_a_host_off_the_list(
    acs: StandIn, source: AcsSource
) -> None:
    """A redirect elsewhere is not followed: no request, no signature arrives there."""
    seen: list[str] = []

    async def trap(request: web.BaseRequest) -> web.StreamResponse:
        seen.append(request.path)
        return web.Response()

    locations = acs.locations(DOC)
    async with served(trap) as foreign:
        elsewhere = Fault.redirect_to(f"http://{foreign}/v1/objects/{DOC}")
        acs.plan(DOC, "content", [elsewhere])
        acs.plan(DOC, "delete", [elsewhere])

        with pytest.raises(HostNotAllowedError):
            await open_and_read(source, locations.content)
        with pytest.raises(HostNotAllowedError):
            await source.delete(locations.delete, proof=a_proof(DOC))

    assert seen == []


async def test_delete_stays_a_delete_over_a_redirect(
    acs: StandIn, source: AcsSource
) -> None:
    """The method is kept, every answer is recorded, and no remembered route is used."""
    locations = acs.locations(DOC)
    await open_and_read(source, locations.content)
    acs.requests.clear()

    answer = await source.delete(locations.delete, proof=a_proof(DOC))

    assert [seen.method for seen in acs.requests] == ["DELETE", "DELETE"]
    assert answer.hops == (f"{acs.global_host} 302", f"{acs.regional_host} 200")
    assert (answer.status, answer.host) == (200, acs.regional_host)
    assert acs.deleted == {DOC}


async def test_delete_is_not_redirected_to_another_document(
    acs: StandIn, source: AcsSource
) -> None:
    """A hop that names another document than the proven one is not followed."""
    acs.put("other", content=DATA, metadata=None)
    other = acs.locations("other").delete
    acs.plan(DOC, "delete", [Fault.redirect_to(other)])

    with pytest.raises(UnprovenDeleteError):
        await source.delete(acs.locations(DOC).delete, proof=a_proof(DOC))

    assert acs.deleted == set()


async def test_unproven_delete_takes_one_document_too(
    acs: StandIn, source: AcsSource
) -> None:
    """Whoever said that it may go said so of that one."""
    acs.put("other", content=DATA, metadata=None)
    other = acs.locations("other").delete
    acs.plan(DOC, "delete", [Fault.redirect_to(other)])
    location = acs.locations(DOC).delete

    with pytest.raises(UnprovenDeleteError):
        await source.delete_unproven(location, resource=None)
    assert acs.deleted == set()

    answer = await source.delete_unproven(location, resource=None)
    assert (answer.status, acs.deleted) == (200, {DOC})


async def test_foreign_key_is_named_when_it_is_refused(
    acs: StandIn, clock: ManualClock, ceiling: ConnectionCeiling
) -> None:
    """A 401 for a chunk of another resource says whose key is missing."""
    wrong = "endpoint=https://contoso.communication.azure.com/;accesskey=d3Jvbmc="
    source = AcsSource(
        credentials=Credentials.parse(wrong),
        hosts=HostRules([acs.global_host, acs.regional_host]),
        clock=clock,
        ceiling=ceiling,
        version="0",
    )
    location = acs.locations(DOC).content
    async with source:
        with pytest.raises(NoCredentialError, match="'adatum'"):
            await open_and_read(source, location, resource="adatum")
        with pytest.raises(SourceForbiddenError):
            await open_and_read(source, location, resource="Contoso")
        with pytest.raises(SourceForbiddenError):
            await open_and_read(source, location)


async def test_throttling_lowers_the_ceiling(
    acs: StandIn, source: AcsSource, ceiling: ConnectionCeiling
) -> None:
    """A 429 halves the connections that all transfers may use; its slot comes back."""
    acs.plan(DOC, "content", [Fault.status(429)])

    with pytest.raises(ThrottledError):
        await open_and_read(source, acs.locations(DOC).content)

    assert (ceiling.limit, ceiling.in_use) == (4, 0)


async def test_good_answers_raise_the_ceiling_again(
    acs: StandIn, source: AcsSource, clock: ManualClock, ceiling: ConnectionCeiling
) -> None:
    """Some time after it was throttled, a body read to its end allows one more."""
    ceiling.throttled()
    clock.advance(60)

    await open_and_read(source, acs.locations(DOC).content)

    assert ceiling.limit == 5


async def test_slot_is_held_for_the_length_of_a_body(
    acs: StandIn, source: AcsSource, ceiling: ConnectionCeiling
) -> None:
    """A connection counts until its body is read, and then not any more."""
    opened = source.open(acs.locations(DOC).content, resource=None, first_bytes=FIRST)

    async with opened as found:
        assert ceiling.in_use == 1
        await read(found.first())
        assert ceiling.in_use == 0
        body = found.read(0, FIRST)
        await anext(body)
        assert ceiling.in_use == 1
        await body.aclose()
        assert ceiling.in_use == 0


async def test_slot_comes_back_when_a_silent_request_is_cancelled(
    acs: StandIn, source: AcsSource, ceiling: ConnectionCeiling
) -> None:
    """Cancelled while the source says nothing, a request leaves no slot taken."""
    acs.plan(DOC, "content", [Fault.hang()])
    task = asyncio.create_task(open_and_read(source, acs.locations(DOC).content))
    async with asyncio.timeout(10):
        await acs.wait_for_requests(2)
    assert ceiling.in_use == 1

    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert ceiling.in_use == 0


@pytest.mark.parametrize("after", [-1, 100])
async def test_silence_of_the_source_is_an_outage(
    acs: StandIn, clock: ManualClock, ceiling: ConnectionCeiling, after: int
) -> None:
    """A source that stops talking, before or in a body, is given up by the timeout."""
    hosts = [acs.global_host, acs.regional_host]
    timeout = aiohttp.ClientTimeout(total=None, sock_read=0.05)
    acs.plan(DOC, "content", [Fault.hang(after)])

    async with aiohttp.ClientSession(timeout=timeout) as session:
        source = a_source(hosts, clock=clock, ceiling=ceiling, acs=acs, session=session)
        async with source:
            with pytest.raises(SourceUnavailableError):
                await open_and_read(source, acs.locations(DOC).content)
        assert not session.closed


async def test_source_that_is_down_is_unavailable(
    acs: StandIn, clock: ManualClock, ceiling: ConnectionCeiling
) -> None:
    """A refused connection is an outage, told without the location."""

    async def nothing(_: web.BaseRequest) -> web.StreamResponse:
        return web.Response()

    async with served(nothing) as host:
        pass
    async with a_source([host], clock=clock, ceiling=ceiling, acs=acs) as source:
        with pytest.raises(SourceUnavailableError) as caught:
            await open_and_read(source, f"http://{host}/v1/objects/{DOC}?sig=secret")

    assert str(caught.value) == f"{host}: connection failed"


async def test_source_must_be_entered(
    acs: StandIn, clock: ManualClock, ceiling: ConnectionCeiling
) -> None:
    """A source that nobody entered has no session to use."""
    source = a_source([acs.global_host], clock=clock, ceiling=ceiling, acs=acs)

    with pytest.raises(RuntimeError, match="not entered"):
        await open_and_read(source, acs.locations(DOC).content)


async def answered_by(
    handler: Handler, *, clock: ManualClock, ceiling: ConnectionCeiling, acs: StandIn
) -> bytes:
    """What a source brings from a server of one handler."""
    async with (
        served(handler) as host,
        a_source([host], clock=clock, ceiling=ceiling, acs=acs) as source,
    ):
        return await open_and_read(source, f"http://{host}/v1/objects/{DOC}?a=%2f")


async def test_request_asks_for_the_bytes_as_they_are(
    acs: StandIn, clock: ManualClock, ceiling: ConnectionCeiling
) -> None:
    """No compression, no cookies, our name, and the path as the event had it."""
    seen: list[web.BaseRequest] = []

    async def note(request: web.BaseRequest) -> web.StreamResponse:
        seen.append(request)
        answer = web.Response(body=b"abc")
        answer.set_cookie("a", "b")
        return answer

    async with served(note) as host:
        # A cookie jar would ignore an IP address anyway.
        named = host.replace("127.0.0.1", "localhost")
        async with a_source([named], clock=clock, ceiling=ceiling, acs=acs) as source:
            for _ in range(2):
                await open_and_read(source, f"http://{named}/v1/%61?a=%2f")

    headers = seen[1].headers
    assert headers["Accept-Encoding"] == "identity"
    assert headers["User-Agent"] == "recording-worker/1.2.3"
    assert "Cookie" not in headers
    assert seen[1].raw_path == "/v1/%61?a=%2f"


async def test_compressed_answer_is_refused(
    acs: StandIn, clock: ManualClock, ceiling: ConnectionCeiling
) -> None:
    """A proxy that compresses in spite of us would make all lengths wrong."""

    async def compress(_: web.BaseRequest) -> web.StreamResponse:
        return web.Response(body=b"abc", headers={"Content-Encoding": "gzip"})

    with pytest.raises(SourceAnswerError, match="gzip"):
        await answered_by(compress, clock=clock, ceiling=ceiling, acs=acs)


async def test_body_longer_than_announced_is_refused(
    acs: StandIn, clock: ManualClock, ceiling: ConnectionCeiling
) -> None:
    """More bytes than the range has, in a framing that hides it, are not taken."""

    async def overdo(_: web.BaseRequest) -> web.StreamResponse:
        headers = {"Content-Range": "bytes 0-2/3"}
        answer = web.Response(status=206, body=b"abcd", headers=headers)
        answer.enable_chunked_encoding()
        return answer

    with pytest.raises(SourceAnswerError, match="more than announced"):
        await answered_by(overdo, clock=clock, ceiling=ceiling, acs=acs)


async def test_stream_of_no_announced_length_and_no_bytes_is_refused(
    acs: StandIn, clock: ManualClock, ceiling: ConnectionCeiling
) -> None:
    """Zero bytes are no chunk, even where nobody said how many there would be."""

    async def say_nothing(_: web.BaseRequest) -> web.StreamResponse:
        answer = web.Response()
        answer.enable_chunked_encoding()
        return answer

    with pytest.raises(SourceAnswerError, match="0 bytes"):
        await answered_by(say_nothing, clock=clock, ceiling=ceiling, acs=acs)


async def test_body_shorter_than_the_range_is_truncated(
    acs: StandIn, clock: ManualClock, ceiling: ConnectionCeiling
) -> None:
    """Fewer bytes than the range has, in a framing that hides it, are not enough."""

    async def underdo(_: web.BaseRequest) -> web.StreamResponse:
        headers = {"Content-Range": "bytes 0-9/10"}
        answer = web.Response(status=206, body=b"abc", headers=headers)
        answer.enable_chunked_encoding()
        return answer

    with pytest.raises(TruncatedError, match="3 bytes of 10"):
        await answered_by(underdo, clock=clock, ceiling=ceiling, acs=acs)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirect_within_the_host_may_be_relative(
    acs: StandIn, clock: ManualClock, ceiling: ConnectionCeiling, status: int
) -> None:
    """A Location without a host stays on the host that was asked."""

    async def move(request: web.BaseRequest) -> web.StreamResponse:
        if request.path == "/moved":
            return web.Response(body=b"abc")
        return web.Response(status=status, headers={"Location": "/moved"})

    came = await answered_by(move, clock=clock, ceiling=ceiling, acs=acs)

    assert came == b"abc"


@pytest.mark.parametrize(
    ("headers", "kind"),
    [
        ({}, SourceAnswerError),
        ({"Location": ""}, SourceAnswerError),
        ({"Location": "/again"}, SourceAnswerError),
        ({"Location": "//evil.example.com/x"}, HostNotAllowedError),
        ({"Location": "elsewhere"}, HostNotAllowedError),
        ({"Location": "https://evil.example.com/x"}, HostNotAllowedError),
    ],
)
async def test_redirect_to_nowhere_elsewhere_or_in_circles_ends(
    acs: StandIn,
    clock: ManualClock,
    ceiling: ConnectionCeiling,
    headers: dict[str, str],
    kind: type[Exception],
) -> None:
    """A redirect is followed only to a place, on the list, a few times."""
    asked: list[str] = []

    async def move(request: web.BaseRequest) -> web.StreamResponse:
        asked.append(request.path)
        return web.Response(status=302, headers=headers)

    with pytest.raises(kind):
        await answered_by(move, clock=clock, ceiling=ceiling, acs=acs)

    assert len(asked) <= 6
    assert ceiling.in_use == 0


FAULTS = [
    Fault.status(429, retry_after=3),
    Fault.status(503),
    Fault.status(401),
    Fault.html_400(),
    Fault.cut_after(0),
    Fault.cut_after(BLOCK + 7),
    Fault.empty(),
    Fault.short_body(),
    Fault.wrong_range(),
    Fault.ignore_ranges(),
    Fault.no_length(),
]


@pytest.mark.parametrize("at", [0, 1, 3])
@pytest.mark.parametrize("fault", FAULTS, ids=str)
async def test_transfer_brings_the_same_bytes_through_a_fault(
    acs: StandIn, source: AcsSource, clock: ManualClock, fault: Fault, at: int
) -> None:
    """With this fault once, in any request, the object arrives whole."""
    acs.plan(DOC, "content", [*([Fault.slow(0)] * at), fault])

    data = await transferred(acs, source, clock)

    assert data == DATA


async def test_transfer_is_cut_in_every_range_twice(
    acs: StandIn, source: AcsSource, clock: ManualClock
) -> None:
    """Two cuts in one range cost two requests, and no byte."""
    # Not in the first: that waits unread until it is known what the archive holds, and a
    # cut meanwhile costs what had come.
    cuts = [Fault.cut_after(1000), Fault.cut_after(1000)]
    acs.plan(DOC, "content", [Fault.slow(0), *cuts])

    assert await transferred(acs, source, clock, ranges=1) == DATA
    asked = [seen.range for seen in acs.requests if seen.host == acs.regional_host]
    starts = [2 * BLOCK + already for already in (0, 1000, 2000)]
    assert asked[1:4] == [f"bytes={start}-{4 * BLOCK - 1}" for start in starts]


async def test_transfer_through_one_connection(
    acs: StandIn, clock: ManualClock
) -> None:
    """With a ceiling of one, many ranges and little memory still come to an end."""
    ceiling = ConnectionCeiling(1, clock=clock)
    hosts = [acs.global_host, acs.regional_host]
    async with a_source(hosts, clock=clock, ceiling=ceiling, acs=acs) as source:
        assert await transferred(acs, source, clock, memory=2 * BLOCK) == DATA

    assert ceiling.in_use == 0


async def transferred(
    acs: StandIn,
    source: AcsSource,
    clock: ManualClock,
    *,
    ranges: int = 4,
    memory: int = 8 * BLOCK,
    archive: MemoryArchive | None = None,
) -> bytes:
    """The content of DOC as it lies in the archive."""
    archive = archive or MemoryArchive(clock=clock, block_bytes=BLOCK)
    async with archive.writer("content.mp4") as writer:
        fetched = await fetch(
            source,
            writer,
            acs.locations(DOC).content,
            resource=None,
            limits=TransferLimits(range_bytes=2 * BLOCK, max_ranges=ranges),
            memory=MemoryBudget(memory),
            clock=clock,
            stats=TransferStats(),
        )
        await writer.commit(size=fetched.size_bytes)
    return archive.objects["content.mp4"]


async def test_first_range_that_is_held_gives_its_connection_back(
    acs: StandIn, clock: ManualClock
) -> None:
    """A ceiling of one is enough to go on where another worker stopped."""
    archive = MemoryArchive(clock=clock, block_bytes=BLOCK)
    ceiling = ConnectionCeiling(1, clock=clock)
    hosts = [acs.global_host, acs.regional_host]
    async with a_source(hosts, clock=clock, ceiling=ceiling, acs=acs) as source:
        # Opening, the second range, and then no more.
        cut = [Fault.slow(0), Fault.slow(0), *[Fault.status(403)] * DOWNLOAD.attempts]
        acs.plan(DOC, "content", cut)
        with pytest.raises(SourceForbiddenError):
            await transferred(acs, source, clock, ranges=1, archive=archive)
        async with asyncio.timeout(10):
            assert await transferred(acs, source, clock, archive=archive) == DATA

    assert [len(blocks) for blocks in archive.left.values()] == [-(-len(DATA) // BLOCK)]


async def test_transfer_brings_a_large_object(
    acs: StandIn, source: AcsSource, clock: ManualClock
) -> None:
    """An object of many ranges arrives in order."""
    content = SyntheticContent(40 * BLOCK + 3, seed=1)
    acs.put(DOC, content=content, metadata=None)

    data = await transferred(acs, source, clock)

    assert data == bytes(content.read(0, content.size))
