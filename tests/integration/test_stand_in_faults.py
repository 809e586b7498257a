"""The stand-in for ACS makes the trouble that a test asks of it."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace

import aiohttp
import pytest

from samples.acs import Fault, StandIn
from samples.answers import NO_HEAD, status_answer
from samples.faults import FOREIGN_DOCUMENT_ID, FaultKind
from tests.signed_client import (
    BODY,
    DEADLINE_S,
    DOC,
    METADATA,
    SignedClient,
    problem,
    signed_client,
)


@pytest.fixture
async def client() -> AsyncIterator[SignedClient]:
    async with signed_client(StandIn()) as client:
        client.acs.put(DOC, content=BODY, metadata=METADATA)
        yield client


@pytest.mark.parametrize(
    ("fault", "status", "content_range", "length"),
    [
        (Fault.status(503), 503, None, None),
        (Fault.status(799), 799, None, None),
        (Fault.status(204), 204, None, 0),
        (Fault.html_400(), 400, None, None),
        (Fault.empty(), 206, "bytes 100-199/10240", 0),
        (Fault.ignore_ranges(), 200, "bytes 0-10239/10240", 10240),
        (Fault.no_length(), 200, None, 10240),
        (Fault.wrong_range(), 206, "bytes 101-200/10240", 100),
        (Fault.wrong_total(), 206, "bytes 100-199/10241", 100),
        (Fault.short_body(), 206, "bytes 100-199/10240", 50),
        (Fault.slow(0.001), 206, "bytes 100-199/10240", 100),
    ],
    ids=str,
)
async def test_fault_changes_the_answer(
    client: SignedClient,
    fault: Fault,
    status: int,
    content_range: str | None,
    length: int | None,
) -> None:
    """A planned fault is met once; the next request is answered as ever."""
    client.acs.plan(DOC, "content", [fault])

    got = await client.content("bytes=100-199")
    again = await client.content("bytes=100-199")

    assert (got.status, got.content_range) == (status, content_range)
    assert length is None or len(got.body) == length
    assert (again.status, again.body) == (206, BODY[100:200])


async def test_wrong_range_of_the_whole_object_is_not_the_whole(
    client: SignedClient,
) -> None:
    """Where no bytes follow, the wrong range claims a longer object."""
    client.acs.plan(DOC, "content", [Fault.wrong_range()])

    got = await client.content()

    assert (got.status, got.content_range) == (206, "bytes 1-10240/10241")


async def test_no_length_is_chunked(client: SignedClient) -> None:
    """Without a length the body is framed in chunks, and nobody says how long it is."""
    client.acs.plan(DOC, "content", [Fault.no_length()])

    got = await client.content()

    assert "Content-Length" not in got.headers
    assert got.headers["Transfer-Encoding"] == "chunked"
    assert got.body == BODY


async def test_wrong_bytes_differ_in_one_bit(client: SignedClient) -> None:
    """The body is as long as asked for, and one bit is another."""
    client.acs.plan(DOC, "content", [Fault.wrong_bytes()])

    got = await client.content("bytes=0-9")

    assert got.status == 206
    assert got.body == bytes([0, 1, 2, 3, 4, 4, 6, 7, 8, 9])


async def test_changed_last_modified_is_another_date(client: SignedClient) -> None:
    """Only the date of the object is another."""
    before = await client.content()
    client.acs.plan(DOC, "content", [Fault.changed_last_modified()])

    after = await client.content()

    assert before.headers["Last-Modified"] != after.headers["Last-Modified"]
    assert before.body == after.body


@pytest.mark.parametrize("retry_after", [7, "Fri, 31 Dec 2027 23:59:59 GMT"])
async def test_status_says_when_to_come_back(
    client: SignedClient, retry_after: float | str
) -> None:
    """A status can carry Retry-After, as seconds or as a date."""
    client.acs.plan(DOC, "content", [Fault.status(429, retry_after=retry_after)])

    got = await client.content()

    assert got.status == 429
    assert got.headers["Retry-After"] == str(retry_after)
    assert problem(got)["title"] == "Too Many Requests"


@pytest.mark.parametrize("after", [0, 5000])
async def test_cut_ends_the_connection_in_the_middle(
    client: SignedClient, after: int
) -> None:
    """The bytes up to the cut arrive, and the connection ends before the announced length."""
    client.acs.plan(DOC, "content", [Fault.cut_after(after)])
    url = client.regional(client.acs.locations(DOC).content)
    arrived = bytearray()

    async with client.session.get(url, headers=client.signed("GET", url)) as answer:
        with pytest.raises(aiohttp.ClientPayloadError):
            await _read_into(arrived, answer)

    assert answer.headers["Content-Length"] == str(len(BODY))
    assert bytes(arrived) == BODY[:after]


async def _read_into(arrived: bytearray, answer: aiohttp.ClientResponse) -> None:
    async for piece in answer.content.iter_any():
        arrived += piece


async def test_cut_can_come_before_the_head(client: SignedClient) -> None:
    """The connection ends without a word."""
    client.acs.plan(DOC, "content", [Fault.cut_after(NO_HEAD).always()])

    with pytest.raises(aiohttp.ServerDisconnectedError):
        await client.content()

    assert client.acs.requests[0].status == 0


@pytest.mark.parametrize("listener", ["global", "regional"])
async def test_planned_redirect_is_met_at_either_listener(
    client: SignedClient, listener: str
) -> None:
    """Whichever listener is asked next sends the client elsewhere, once."""
    client.acs.plan(DOC, "content", [Fault.redirect_to("https://evil.example/x")])
    url = client.acs.locations(DOC).content
    url = client.regional(url) if listener == "regional" else url

    got = await client.ask("GET", url)
    again = await client.ask("GET", url)

    assert (got.status, got.headers["Location"]) == (302, "https://evil.example/x")
    assert again.headers.get("Location") != "https://evil.example/x"


async def test_global_listener_leaves_other_faults_alone(client: SignedClient) -> None:
    """A fault of the object waits for the regional listener."""
    client.acs.plan(DOC, "content", [Fault.status(503)])

    assert (await client.ask("GET", client.acs.locations(DOC).content)).status == 302
    assert (await client.content()).status == 503


async def test_unauthentic_request_meets_no_fault(client: SignedClient) -> None:
    """What is refused spends no fault."""
    client.acs.plan(DOC, "content", [Fault.status(503)])
    url = client.regional(client.acs.locations(DOC).content)

    assert (await client.ask_with("GET", url, headers={})).status == 401
    assert (await client.content()).status == 503


async def test_faults_are_met_in_order_by_their_part(client: SignedClient) -> None:
    """Each request meets the next fault of its own part."""
    client.acs.plan(DOC, "content", [Fault.status(503), Fault.status(500)])

    statuses = [
        (await client.metadata()).status,
        (await client.content()).status,
        (await client.content()).status,
        (await client.content()).status,
    ]

    assert statuses == [200, 503, 500, 200]


async def test_persistent_fault_stays(client: SignedClient) -> None:
    """A persistent fault is met by every request until the plan is another."""
    client.acs.plan(DOC, "content", [Fault.status(500), Fault.status(503).always()])
    statuses = [(await client.content()).status for _ in range(4)]
    client.acs.plan(DOC, "content", [])

    assert statuses == [500, 503, 503, 503]
    assert (await client.content()).status == 200


async def test_foreign_metadata_name_another_document(client: SignedClient) -> None:
    """Foreign metadata are sound JSON about a document that isn't this one."""
    client.acs.plan(DOC, "metadata", [Fault.foreign_metadata()])

    foreign = json.loads((await client.metadata()).body)

    assert foreign["chunkDocumentId"] == FOREIGN_DOCUMENT_ID
    assert (await client.metadata()).body == METADATA


async def test_fault_of_a_body_spares_an_error(client: SignedClient) -> None:
    """Where there is no body of an object, there is nothing to spoil."""
    client.acs.plan(DOC, "content", [Fault.wrong_bytes()])

    assert (await client.content("bytes=99999-")).status == 416


@pytest.mark.parametrize(
    ("fault", "status", "is_deleted"),
    [
        (Fault.status(503), 503, False),
        (Fault.status(202), 202, True),
        (Fault.status(204), 204, True),
        (Fault.html_400(), 400, False),
        (Fault.redirect_to("https://evil.example/"), 302, False),
        (Fault.slow(0.001), 200, True),
    ],
    ids=str,
)
async def test_fault_of_a_delete_says_whether_it_happened(
    client: SignedClient,
    fault: Fault,
    status: int,
    is_deleted: bool,  # noqa: FBT001 - a parameter
) -> None:
    """An error deletes nothing; any 2xx deletes."""
    client.acs.plan(DOC, "delete", [fault])

    assert (await client.delete()).status == status
    assert (DOC in client.acs.deleted) == is_deleted


async def test_cut_delete_happens_and_its_answer_is_lost(client: SignedClient) -> None:
    """The chunk is gone, and nobody hears of it."""
    client.acs.plan(DOC, "delete", [Fault.cut_after(0).always()])

    with pytest.raises(aiohttp.ServerDisconnectedError):
        await client.delete()

    assert client.acs.deleted == {DOC}


@pytest.mark.parametrize("after", [NO_HEAD, 100])
async def test_hanging_answer_ends_when_the_client_leaves(
    client: SignedClient, after: int
) -> None:
    """A hanging answer says no more, and holds up neither others nor the end."""
    client.acs.plan(DOC, "content", [Fault.hang(after)])
    hanging = asyncio.create_task(client.content(), name="hanging")
    async with asyncio.timeout(DEADLINE_S):
        await client.acs.wait_for_requests(1)

    assert (await client.content()).body == BODY
    assert not hanging.done()
    hanging.cancel()
    with pytest.raises(asyncio.CancelledError):
        await hanging
    assert client.acs.requests[0].bytes_sent == max(after, 0)


async def test_end_does_not_wait_for_a_hanging_answer() -> None:
    """Leaving the stand-in cuts what still hangs."""
    async with (
        asyncio.timeout(DEADLINE_S),
        asyncio.TaskGroup() as group,
        aiohttp.ClientSession() as session,
        StandIn() as acs,
    ):
        acs.put(DOC, content=BODY, metadata=None)
        acs.plan(DOC, "content", [Fault.hang().always()])
        client = SignedClient(acs=acs, session=session)
        hanging = group.create_task(_expect_disconnect(client), name="hanging")
        await acs.wait_for_requests(1)
        await acs.__aexit__()
        await hanging


async def _expect_disconnect(client: SignedClient) -> None:
    with pytest.raises(aiohttp.ClientError):
        await client.content()


def test_every_kind_of_fault_prints_as_its_name() -> None:
    """Faults name themselves, so that a test's id says what went wrong."""
    assert str(Fault.cut_after(100)) == "cut_after-100"
    assert str(Fault.empty()) == "empty"
    assert replace(Fault.empty(), kind=FaultKind.HTML_400).always().is_persistent


def test_status_below_400_has_no_body() -> None:
    """Only errors explain themselves."""
    assert status_answer(202, retry_after=3).headers == {"Retry-After": "3"}
    assert status_answer(202).length == 0
