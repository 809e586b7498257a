"""The stand-in for Event Grid asks, sends and judges as the documentation has it.

The endpoints are real servers on loopback, each as wrong as its test wants it.
"""

import asyncio
import json
import socket
import ssl

import aiohttp
import pytest
import trustme
from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult

from samples.event_grid import Fate, SchemaMismatchError
from tests.grid import PATH, Endpoint, a_cloud_event, an_event, answer, serving


class UnknownNames(AbstractResolver):
    """A resolver that knows no name, so that none is asked beyond loopback."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        raise OSError(None, f"{host}:{port} is unknown ({family})")

    async def close(self) -> None:
        pass


async def repeat_code(_request: web.BaseRequest, body: bytes) -> web.Response:
    """What a good endpoint answers to the validation."""
    return web.json_response({"validationResponse": code_of(body)})


def code_of(body: bytes) -> str:
    (event,) = json.loads(body)
    return str(event["data"]["validationCode"])


async def test_validation_is_one_event_that_asks_for_its_code() -> None:
    """An array of exactly one event, typed, with code and URL; the name in capitals."""
    async with serving(repeat_code) as endpoint, endpoint.grid() as grid:
        handshake = await grid.handshake()

    ((request, body),) = endpoint.seen
    (event,) = json.loads(body)
    assert handshake.is_passed
    assert handshake.notes == ()
    assert event["eventType"] == "Microsoft.EventGrid.SubscriptionValidationEvent"
    assert event["data"].keys() == {"validationCode", "validationUrl"}
    assert ":553/" in event["data"]["validationUrl"]
    assert request.headers["aeg-event-type"] == "SubscriptionValidation"
    assert request.headers["aeg-subscription-name"] == "RECORDINGS"
    assert request.headers["aeg-delivery-count"] == "0"


async def test_every_validation_asks_for_a_code_of_its_own() -> None:
    """A code that was overheard is worth nothing the next time."""
    async with serving(repeat_code) as endpoint, endpoint.grid() as grid:
        await grid.validate()
        await grid.validate()

    (_, first), (_, second) = endpoint.seen
    assert code_of(first) != code_of(second)


@pytest.mark.parametrize(
    ("status", "why"),
    [
        (202, "takes 200 only"),
        (204, "takes 200 only"),
        (302, "no redirect"),
        (401, "answered 401"),
        (503, "answered 503"),
    ],
)
async def test_validation_takes_status_200_only(status: int, why: str) -> None:
    """202 passes for a delivery, and is not accepted for the handshake."""

    async def repeat(_request: web.BaseRequest, body: bytes) -> web.Response:
        said = {"validationResponse": code_of(body)}
        headers = {"Location": "/elsewhere"}

        return web.json_response(
            said, status=status, headers=headers, content_type="text/html"
        )

    async with serving(repeat) as endpoint, endpoint.grid() as grid:
        handshake = await grid.validate()

    assert not handshake.is_passed
    assert why in handshake.problems[0]
    assert handshake.notes == ()
    assert len(endpoint.seen) == 1


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ('{"ValidationResponse": "1"}', "in exactly this case"),
        ('{"validationResponse": "1"}', "not the code"),
        ("{}", "AwaitingManualAction"),
        ("[]", "AwaitingManualAction"),
        ("", "AwaitingManualAction"),
        ("<html>", "AwaitingManualAction"),
        ("[" * 60_000, "AwaitingManualAction"),
    ],
)
async def test_validation_takes_the_code_only(said: str, why: str) -> None:
    """Without its code in a key of exactly this case, Event Grid waits for a person."""
    text = answer(text=said, content_type="application/json")
    async with serving(text) as endpoint, endpoint.grid() as grid:
        handshake = await grid.validate()

    assert not handshake.is_passed
    assert why in handshake.problems[0]


async def test_chunked_answer_is_noted() -> None:
    """A chunked answer broke the handshake once; so did none of this type."""

    async def chunked(request: web.BaseRequest, body: bytes) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/plain"})
        response.enable_chunked_encoding()
        await response.prepare(request)
        said = json.dumps({"validationResponse": code_of(body)})
        await response.write(said.encode())
        return response

    async with serving(chunked) as endpoint, endpoint.grid() as grid:
        handshake = await grid.validate()

    assert handshake.is_passed
    assert "chunked" in handshake.notes[0]
    assert "Content-Type" in handshake.notes[1]


async def test_answer_without_end_is_not_read_to_its_end() -> None:
    """A handshake reads what a handshake needs."""

    async def endless(request: web.BaseRequest, _body: bytes) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(bytes(64 * 1024))

    async with serving(endless) as endpoint, endpoint.grid() as grid:
        handshake = await grid.validate()

    assert "no answer" not in handshake.problems[0]
    assert not handshake.is_passed


@pytest.mark.parametrize("is_bare", [True, False])
async def test_handshake_may_go_without_credentials(*, is_bare: bool) -> None:
    """Whether it bears headers and token is not documented; the query it always has."""
    async with (
        serving(repeat_code) as endpoint,
        endpoint.grid(
            token="t", headers={"x-functions-key": "k"}, is_handshake_bare=is_bare
        ) as grid,
    ):
        await grid.validate()
        await grid.consent()

    for request, _ in endpoint.seen:
        assert ("x-functions-key" in request.headers) is not is_bare
        assert ("Authorization" in request.headers) is not is_bare
        assert request.raw_path == PATH


async def test_consent_is_asked_with_options() -> None:
    """CloudEvents: the origin that wants to send, and how often a minute."""
    granted = {"WebHook-Allowed-Origin": "eventgrid.azure.net"}
    granted["WebHook-Allowed-Rate"] = "120"
    async with (
        serving(answer(headers=granted)) as endpoint,
        endpoint.grid(schema="cloudevents") as grid,
    ):
        plain = await grid.handshake()
        rated = await grid.consent(rate=100)

    (first, body), (second, _) = endpoint.seen
    assert plain.is_passed
    assert rated.is_passed
    assert first.method == "OPTIONS"
    assert first.headers["WebHook-Request-Origin"] == "eventgrid.azure.net"
    assert "WebHook-Request-Rate" not in first.headers
    assert second.headers["WebHook-Request-Rate"] == "100"
    assert body == b""


@pytest.mark.parametrize(
    ("status", "headers", "why"),
    [
        (200, {}, "no consent"),
        (200, {"WebHook-Allowed-Origin": "eventgrid.azure.us"}, "neither"),
        (405, {"WebHook-Allowed-Origin": "*"}, "OPTIONS does not reach"),
        (403, {"WebHook-Allowed-Origin": "*"}, "answered 403"),
        (200, {"WebHook-Allowed-Origin": "*"}, "a rate was asked"),
        (
            200,
            {"WebHook-Allowed-Origin": "*", "WebHook-Allowed-Rate": "0"},
            "a rate was asked",
        ),
    ],
)
async def test_the_header_is_the_consent(
    status: int, headers: dict[str, str], why: str
) -> None:
    """A status alone is no consent, and a rate that was asked for must be answered."""
    replying = answer(status=status, headers=headers)
    async with serving(replying) as endpoint, endpoint.grid() as grid:
        handshake = await grid.consent(rate=100)

    assert not handshake.is_passed
    assert why in handshake.problems[0]


async def test_rate_of_any_length_is_a_number() -> None:
    """More digits than Python would read are a number all the same."""
    said = {"WebHook-Allowed-Origin": "*", "WebHook-Allowed-Rate": "1" * 5000}
    async with serving(answer(headers=said)) as endpoint, endpoint.grid() as grid:
        handshake = await grid.consent(rate=100)

    assert handshake.is_passed


async def test_origin_is_compared_without_regard_to_case() -> None:
    """It is a host name."""
    granted = {"WebHook-Allowed-Origin": "EventGrid.Azure.NET"}
    async with serving(answer(headers=granted)) as endpoint, endpoint.grid() as grid:
        handshake = await grid.consent()

    assert handshake.is_passed


async def test_delivery_is_one_request_with_the_query_as_it_is() -> None:
    """One POST, whatever its answer; the endpoint's query is not touched."""
    async with serving(answer(status=503)) as endpoint, endpoint.grid() as grid:
        outcome = await grid.deliver([an_event()], delivery_count=4)

    ((request, body),) = endpoint.seen
    assert outcome.status == 503
    assert outcome.verdict.fate is Fate.RETRIED
    assert json.loads(body) == [an_event()]
    assert request.method == "POST"
    assert request.raw_path == PATH
    assert request.headers["aeg-delivery-count"] == "4"
    assert request.headers["aeg-event-type"] == "Notification"


async def test_redirect_of_a_delivery_is_a_failure() -> None:
    """No redirect is followed: a 3xx is not 200 to 204."""
    elsewhere = answer(status=307, headers={"Location": "/api/other"})
    async with serving(elsewhere) as endpoint, endpoint.grid() as grid:
        outcome = await grid.deliver([an_event()])

    assert outcome.verdict.fate is Fate.RETRIED
    assert len(endpoint.seen) == 1


async def test_event_grid_events_reach_a_subscription_for_cloud_events() -> None:
    """They arrive converted, each in a delivery of its own."""
    async with (
        serving(answer(status=200)) as endpoint,
        endpoint.grid(schema="cloudevents") as grid,
    ):
        for batch in grid.batches([an_event(), an_event(1)]):
            await grid.deliver(batch)

    assert [json.loads(body)["id"] for _, body in endpoint.seen] == [
        "event-0",
        "event-1",
    ]


async def test_cloud_event_is_not_delivered_in_the_other_schema() -> None:
    """It is refused before anything is sent."""
    async with serving(answer(status=200)) as endpoint, endpoint.grid() as grid:
        with pytest.raises(SchemaMismatchError):
            await grid.deliver([a_cloud_event()])

    assert endpoint.seen == []


async def test_no_answer_in_time_is_sent_again() -> None:
    """Event Grid waits 30 s; the test waits less."""
    let_go = asyncio.Event()

    async def hang(_request: web.BaseRequest, _body: bytes) -> web.Response:
        await let_go.wait()
        return web.Response()

    async with serving(hang) as endpoint, endpoint.grid(answer_seconds=0.05) as grid:
        delivered = await grid.deliver([an_event()])
        validated = await grid.validate()
        consented = await grid.consent()
        let_go.set()

    assert delivered.verdict.outcome == "TimedOut"
    assert delivered.seen == "no answer within 0.05 s"
    assert validated.problems == consented.problems == (delivered.seen,)


async def test_refused_connection_is_a_socket_error() -> None:
    """Nobody listens."""
    async with serving(answer()) as endpoint:
        pass

    async with endpoint.grid() as grid:
        outcome = await grid.deliver([an_event()])

    assert outcome.verdict.outcome == "SocketError"
    assert outcome.seen == "connection refused"


async def test_cut_connection_is_a_socket_error() -> None:
    """The connection goes before the answer comes."""

    async def cut(request: web.BaseRequest, _body: bytes) -> web.Response:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    async with serving(cut) as endpoint, endpoint.grid() as grid:
        outcome = await grid.deliver([an_event()])

    assert outcome.verdict.outcome == "SocketError"
    assert "cut before the answer" in outcome.seen


async def test_answer_that_is_not_http_is_sent_again() -> None:
    """Whatever speaks there, it is not a web server."""

    async def chatter(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"220 mail.example ESMTP\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(chatter, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    endpoint = Endpoint(url=f"http://127.0.0.1:{port}/")
    async with server, endpoint.grid() as grid:
        outcome = await grid.deliver([an_event()])

    assert outcome.verdict.fate is Fate.RETRIED
    assert outcome.seen == "the answer is not HTTP"


@pytest.mark.parametrize("url", ["nowhere", "ftp://127.0.0.1/", "https:///path"])
async def test_what_is_no_url_of_the_web_is_called_so(url: str) -> None:
    """Nobody was asked, so nobody's answer is blamed."""
    async with Endpoint(url=url).grid() as grid:
        outcome = await grid.deliver([an_event()])

    assert outcome.seen == "the URL is none of https or http"


@pytest.mark.parametrize("host", ["a..example", f"{'a' * 64}.example"])
async def test_name_that_no_resolver_could_be_asked_for(host: str) -> None:
    """An empty label or a long one fails before anybody is asked."""
    async with Endpoint(url=f"http://{host}/").grid() as grid:
        outcome = await grid.deliver([an_event()])

    assert outcome.verdict.outcome == "ResolutionError"


async def test_proxy_is_not_taken_for_the_endpoint() -> None:
    """One that refuses the way, and one that is not there."""
    endpoint = Endpoint(url="https://nowhere.example/")
    async with (
        serving(answer(status=407)) as proxy,
        aiohttp.ClientSession(proxy=proxy.url) as session,
    ):
        refused = await endpoint.grid(session=session).deliver([an_event()])
    async with aiohttp.ClientSession(proxy="http://127.0.0.1:1/") as session:
        away = await endpoint.grid(session=session).deliver([an_event()])

    assert refused.seen == "the proxy answered 407"
    assert away.seen == "no connection to the proxy"


async def test_unknown_name_is_a_resolution_error() -> None:
    """A name that no resolver knows: 5 minutes of probation."""
    endpoint = Endpoint(url="http://nowhere.example/")
    connector = aiohttp.TCPConnector(resolver=UnknownNames())
    async with aiohttp.ClientSession(connector=connector) as session:
        grid = endpoint.grid(session=session)
        outcome = await grid.deliver([an_event()])

    assert outcome.verdict.outcome == "ResolutionError"
    assert outcome.seen == "the name can't be resolved"


async def test_certificate_that_nobody_signed_is_refused() -> None:
    """Self-signed certificates are not supported."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    async with serving(answer(), tls=context) as endpoint, endpoint.grid() as grid:
        outcome = await grid.deliver([an_event()])

    assert outcome.verdict.fate is Fate.RETRIED
    assert outcome.seen == "the certificate is not trusted"


async def test_plain_http_where_tls_is_asked_for() -> None:
    """A TLS handshake that fails is told apart from a connection that does."""
    async with serving(answer()) as endpoint:
        endpoint.url = endpoint.url.replace("http:", "https:")
        async with endpoint.grid() as grid:
            outcome = await grid.deliver([an_event()])

    assert outcome.verdict.outcome == "SocketError"
    assert outcome.seen == "TLS failed"


async def test_session_of_the_caller_stays_open() -> None:
    """Proxy and trust may be the caller's; so is the closing."""
    async with serving(answer()) as endpoint, aiohttp.ClientSession() as session:
        async with endpoint.grid(session=session) as grid:
            await grid.deliver([an_event()])

        assert not session.closed


async def test_stand_in_is_entered_before_it_is_used() -> None:
    """Nothing is opened by a constructor."""
    grid = Endpoint(url="http://127.0.0.1:1/").grid()

    with pytest.raises(RuntimeError, match="entered"):
        await grid.deliver([an_event()])


async def test_no_word_holds_url_or_code() -> None:
    """What is said about an endpoint can be logged."""
    async with serving(answer(status=401)) as endpoint, endpoint.grid() as grid:
        said = [
            repr(await grid.validate()),
            repr(await grid.consent()),
            repr(await grid.deliver([an_event()])),
        ]

    (_, body), *_ = endpoint.seen
    assert all("a%2Bb%7E" not in each for each in said)
    assert all(code_of(body) not in each for each in said)
