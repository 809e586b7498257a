"""The stand-in for ACS does what the recorded service does.

Requests are signed by the SDK's own policy: the stand-in's check agrees with that, not with
the code of the worker. (The SDK's client itself refuses loopback hosts.)
"""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from samples.acs import StandIn
from tests.signed_client import (
    BODY,
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


async def test_read_signed_by_the_sdk_is_answered(client: SignedClient) -> None:
    """What the SDK's policy signs, the stand-in takes for authentic."""
    got = await client.content()

    assert got.status == 200
    assert got.body == BODY


@pytest.mark.parametrize("host", ["global_host", "regional_host"])
async def test_unsigned_request_is_refused_by_both_listeners(
    client: SignedClient, host: str
) -> None:
    """Without a signature there is 401 with a problem, and nothing else."""
    url = f"http://{getattr(client.acs, host)}/v1/objects/{DOC}/content/video"

    got = await client.ask_with("GET", url, headers={})

    assert got.status == 401
    assert problem(got)["title"] == "Unauthorized"
    assert problem(got).keys() == {
        "title",
        "status",
        "instance",
        "message",
        "traceId",
    }


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("Authorization", "Bearer token"),
        (
            "Authorization",
            "HMAC-SHA256 SignedHeaders=x-ms-date;host;x-ms-content-sha256&Signature=AA==",
        ),
        ("x-ms-host", "storage.asm.skype.com"),
        ("x-ms-host", "fabrikam.communication.azure.com"),
        ("x-ms-content-sha256", "AAAA"),
        ("x-ms-date", "yesterday"),
        ("x-ms-date", "Mon, 01 Jan 2001 00:00:00 GMT"),
        ("x-ms-date", "Mon, 01 Jan 2001 00:00:00 -0000"),
    ],
)
async def test_false_signature_is_refused(
    client: SignedClient, header: str, value: str
) -> None:
    """Another key, host, hash or date than what was signed is refused."""
    url = client.regional(client.acs.locations(DOC).content)

    got = await client.ask_with(
        "GET", url, headers=client.signed("GET", url) | {header: value}
    )

    assert got.status == 401


@pytest.mark.parametrize("host", ["global_host", "regional_host"])
async def test_token_that_was_given_is_taken(client: SignedClient, host: str) -> None:
    """Both listeners take it, with whose it is; they take it no longer than it is given."""
    url = f"http://{getattr(client.acs, host)}/v1/objects/{DOC}/content/video"
    contoso = {"x-ms-host": "contoso.communication.azure.com"}
    bearing = {"Authorization": "Bearer one"} | contoso
    client.acs.tokens.add("one")

    taken = await client.ask_with("GET", url, headers=bearing)
    elsewhere = await client.ask_with(
        "GET", url, headers=bearing | {"x-ms-host": "fabrikam.communication.azure.com"}
    )
    other = await client.ask_with(
        "GET", url, headers=contoso | {"Authorization": "Bearer two"}
    )
    client.acs.tokens.clear()
    late = await client.ask_with("GET", url, headers=bearing)

    assert taken.status in {200, 302}
    assert [got.status for got in (elsewhere, other, late)] == [401, 401, 401]


@pytest.mark.parametrize(
    ("method", "path"),
    [("DELETE", "video"), ("GET", "acsmetadata"), ("GET", "video?a=b")],
)
async def test_signature_of_another_request_is_refused(
    client: SignedClient, method: str, path: str
) -> None:
    """A signature holds for its own method, path and query only."""
    url = client.regional(client.acs.locations(DOC).content)
    other = url.replace("video", path)

    got = await client.ask_with(method, other, headers=client.signed("GET", url))

    assert got.status == 401


async def test_body_other_than_signed_is_refused(client: SignedClient) -> None:
    """The signature holds for the body too."""
    url = client.regional(client.acs.locations(DOC).delete)
    headers = client.signed("DELETE", url)

    async with client.session.delete(url, headers=headers, data=b"more") as answer:
        assert answer.status == 401

    assert client.acs.deleted == set()


@pytest.mark.parametrize(
    ("minutes", "status"), [(0, 200), (14, 200), (-14, 200), (16, 401), (-16, 401)]
)
async def test_signature_holds_for_fifteen_minutes(minutes: int, status: int) -> None:
    """A date more than 15 minutes off the stand-in's clock is refused."""
    now = datetime.now(UTC) + timedelta(minutes=minutes)
    async with signed_client(StandIn(now=lambda: now)) as client:
        client.acs.put(DOC, content=BODY, metadata=None)

        got = await client.content()

    assert got.status == status


@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_global_listener_redirects_to_the_regional_one(
    client: SignedClient, method: str
) -> None:
    """302 with an absolute Location, the same path, and no body."""
    url = client.acs.locations(DOC).content

    got = await client.ask(method, url)

    assert got.status == 302
    assert got.headers["Location"] == client.regional(url)
    assert got.headers["Content-Length"] == "0"


async def test_whole_object_is_answered_as_recorded(client: SignedClient) -> None:
    """A read without Range is 200 with a Content-Range, without ETag or checksum."""
    got = await client.content()

    assert got.headers["Content-Length"] == str(len(BODY))
    assert got.content_range == f"bytes 0-{len(BODY) - 1}/{len(BODY)}"
    assert got.headers["Content-Type"] == "application/octet-stream"
    assert got.headers["Cache-Control"].startswith("no-cache")
    assert got.headers["Server"] == "Kestrel"
    assert {"Last-Modified", "MS-CV", "Date"} <= got.headers.keys()
    assert not {"ETag", "Content-MD5"} & got.headers.keys()


@pytest.mark.parametrize(
    ("asked", "start", "end"),
    [
        ("bytes=0-4", 0, 4),
        ("bytes=100-", 100, 10239),
        ("bytes=-10", 10230, 10239),
        ("bytes=0-268435455", 0, 10239),
        ("bytes=-99999", 0, 10239),
        ("bytes=10239-10239", 10239, 10239),
    ],
)
async def test_range_is_answered_with_its_bytes(
    client: SignedClient, asked: str, start: int, end: int
) -> None:
    """A range is 206, says where it lies, and is cut at the object's end."""
    got = await client.content(asked)

    assert got.status == 206
    assert got.content_range == f"bytes {start}-{end}/10240"
    assert got.headers["Accept-Ranges"] == "bytes"
    assert got.body == BODY[start : end + 1]


@pytest.mark.parametrize("asked", ["bytes=10240-", "bytes=99999-100000", "bytes=-0"])
async def test_range_behind_the_end_is_416(client: SignedClient, asked: str) -> None:
    """A range that begins behind the end can't be satisfied."""
    got = await client.content(asked)

    assert (got.status, got.content_range) == (416, "bytes */10240")


@pytest.mark.parametrize(
    "asked", ["bytes=None", "bytes=5", "bytes=undefined", "bytes=-", "bytes=9-3", "5-9"]
)
async def test_malformed_range_is_an_html_page(
    client: SignedClient, asked: str
) -> None:
    """Since April 2025 a malformed range is 400 with a page for people."""
    got = await client.content(asked)

    assert got.status == 400
    assert got.headers["Content-Type"].startswith("text/html")
    assert b"<HTML>" in got.body


async def test_object_of_no_bytes_has_no_range(client: SignedClient) -> None:
    """An empty object is 200 with nothing, and any range of it is 416."""
    client.acs.put(DOC, content=b"", metadata=None)

    assert ((await client.content()).status, (await client.content()).body) == (
        200,
        b"",
    )
    assert (await client.content("bytes=0-")).status == 416


async def test_metadata_are_raw_bytes(client: SignedClient) -> None:
    """Metadata come as they are, and not as JSON."""
    got = await client.metadata()

    assert got.body == METADATA
    assert got.headers["Content-Type"] == "application/octet-stream"


@pytest.mark.parametrize(
    "path", [f"/v1/objects/{DOC}", f"/v1/objects/{DOC}/content/deletedata"]
)
async def test_delete_removes_content_and_metadata(
    client: SignedClient, path: str
) -> None:
    """Either form of the delete is 200 without a body; then everything is 404."""
    url = f"http://{client.acs.regional_host}{path}"

    first = await client.ask("DELETE", url)
    second = await client.ask("DELETE", url)

    assert (first.status, first.body) == (200, b"")
    assert (second.status, second.body) == (404, b"")
    assert client.acs.deleted == {DOC}
    assert problem(await client.content())["title"] == "The document not found."
    assert (await client.metadata()).status == 404


async def test_document_put_again_is_not_deleted(client: SignedClient) -> None:
    """Putting a document back makes it one that was never deleted."""
    await client.delete()
    client.acs.put(DOC, content=b"new", metadata=None)

    assert client.acs.deleted == set()
    assert (await client.content()).body == b"new"
    assert (await client.metadata()).status == 404


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"),
        ("GET", f"/v1/objects/{DOC}"),
        ("DELETE", f"/v1/objects/{DOC}/content/video"),
        ("POST", f"/v1/objects/{DOC}/content/video"),
        ("GET", "/v1/objects/0-eus-d12-nobody/content/video"),
    ],
)
async def test_unknown_path_is_404(
    client: SignedClient, method: str, path: str
) -> None:
    """What the service doesn't know is not found, and deletes nothing."""
    got = await client.ask(method, f"http://{client.acs.regional_host}{path}")

    assert got.status == 404
    assert client.acs.deleted == set()


async def test_request_is_on_record(client: SignedClient) -> None:
    """The record says what was asked of whom, and how much went out, in order."""
    await client.ask("GET", client.acs.locations(DOC).content)
    await client.content("bytes=0-9")

    first, second = client.acs.requests
    assert (first.status, first.bytes_sent, first.range) == (302, 0, None)
    assert first.host == client.acs.global_host
    assert (second.status, second.bytes_sent) == (206, 10)
    assert second.host == client.acs.regional_host
    assert (second.method, second.range) == ("GET", "bytes=0-9")
    assert second.path == f"/v1/objects/{DOC}/content/video"
    assert second.signed_at is not None


async def test_document_is_kept_as_long_as_said() -> None:
    """After its retention it is gone, though nobody deleted it."""
    passed = timedelta()
    acs = StandIn(
        now=lambda: datetime.now(UTC) + passed, retention=timedelta(minutes=2)
    )
    async with signed_client(acs) as client:
        acs.put(DOC, content=BODY, metadata=METADATA)
        kept = await client.content()
        passed = timedelta(minutes=2)
        gone = await client.content()

    assert (kept.status, gone.status) == (200, 404)
    assert acs.deleted == set()
