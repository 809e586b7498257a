"""What the doctor says of an endpoint: of ours, and of the ways in which others fail."""

import asyncio
import json
import socket
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import quote

import pytest
import trustme
from aiohttp import web

from samples.event_grid import Schema
from tests import canaries
from tests.fakes.clock import ManualClock
from tests.grid import Answering, serving
from worker.endpoint import Endpoint, endpoint_of
from worker.endpoint_checks import hints, reaching, visit
from worker.endpoint_checks.asking import EVENT_TYPE
from worker.endpoint_checks.checks import examine
from worker.endpoint_checks.visit import Resolve, resolved, visiting
from worker.ops.doctor import Examination, Finding, Grade

KEY = canaries.OTHER_KEY
BOTH: tuple[Schema, ...] = ("eventgrid", "cloudevents")
GRID, CLOUD = "handshake, Event Grid's schema", "handshake, CloudEvents"
Change = Callable[[web.BaseRequest, web.Response], web.Response]


@dataclass(frozen=True, slots=True, kw_only=True)
class Receiver:
    """One that does everything right, but for what it is told to do otherwise."""

    validation: Callable[[str], web.Response] = lambda code: web.json_response(
        {"validationResponse": code}
    )
    consent: Callable[[], web.Response] = lambda: web.Response(
        headers={"WebHook-Allowed-Origin": "eventgrid.azure.net"}
    )
    delivery: Callable[[], web.Response] = web.Response
    wrong_key: int = 503
    stranger: int = 401
    ready: Callable[[], web.Response] = lambda: web.Response(text="ready\n")

    async def __call__(self, request: web.BaseRequest, body: bytes) -> web.Response:
        if request.path == "/readyz":
            return self.ready()
        if request.method == "OPTIONS":
            return self.consent()
        if request.headers.get("x-functions-key") != KEY:
            is_grid = "aeg-event-type" in request.headers
            return web.Response(status=self.wrong_key if is_grid else self.stranger)
        if request.headers["aeg-event-type"] == "SubscriptionValidation":
            (event,) = json.loads(body)
            return self.validation(event["data"]["validationCode"])
        return self.delivery()


def status(code: int, **more: Any) -> Callable[..., web.Response]:
    return lambda *_: web.Response(status=code, **more)


async def examined(
    answering: Answering,
    *,
    schemas: Sequence[Schema] = BOTH,
    tls: ssl.SSLContext | None = None,
    trusted: ssl.SSLContext | None = None,
    answer_seconds: float = 5,
) -> Examination:
    """What is found; nothing in it may be a secret."""
    async with serving(answering, tls=tls) as server:
        return await look(
            an_endpoint(server.url, name="localhost" if tls else "127.0.0.1"),
            schemas=schemas,
            trusted=trusted,
            answer_seconds=answer_seconds,
        )


def an_endpoint(url: str, *, name: str = "127.0.0.1") -> Endpoint:
    """By its key in a header: no query."""
    bare = url.partition("?")[0].replace("127.0.0.1", name)
    return endpoint_of(bare, keys=[KEY])


async def look(
    endpoint: Endpoint,
    *,
    schemas: Sequence[Schema] = BOTH,
    trusted: ssl.SSLContext | None = None,
    answer_seconds: float = 5,
    clock: ManualClock | None = None,
    addresses: Sequence[str] | None = (),
) -> Examination:
    async with visiting(
        endpoint,
        schemas=schemas,
        clock=clock or ManualClock(),
        answer_seconds=answer_seconds,
        tls=trusted,
        resolve=resolving_as(addresses),
    ) as visit:
        told: list[Finding] = []
        found = await examine(visit, tell=told.append)
    assert canaries.seen(repr(found)) == []
    assert tuple(told) == found.findings
    return found


def resolving_as(addresses: Sequence[str] | None) -> Resolve:
    """Every name has these; None: nobody knows it."""

    async def resolve(_host: str, _port: int) -> list[str]:
        if addresses is None:
            raise socket.gaierror(socket.EAI_NONAME, "name not known")
        return list(addresses)

    return resolve


async def addressed(url: str, *addresses: str) -> Finding:
    """What is said of the address alone: nobody is to be asked there."""
    async with visiting(
        endpoint_of(url),
        schemas=BOTH,
        clock=ManualClock(),
        answer_seconds=1,
        resolve=resolving_as(addresses),
    ) as visit:
        (found,) = await reaching.address(visit)
    return found


def finding(found: Examination, check: str) -> Finding:
    return next(each for each in found.findings if each.check == check)


async def test_receiver_that_does_it_right_is_fine() -> None:
    """Every check has its line, and none needs anybody."""
    found = await examined(Receiver())

    assert (found.is_reachable, found.needs_attention) == (True, False)
    assert [(each.check, each.grade) for each in found.findings] == [
        ("address", Grade.NOTE),
        ("connection", Grade.OK),
        ("/readyz", Grade.OK),
        (GRID, Grade.OK),
        (CLOUD, Grade.OK),
        ("delivery, Event Grid's schema", Grade.OK),
        ("delivery, CloudEvents", Grade.OK),
        ("delivery with a wrong key", Grade.OK),
        ("post of a stranger", Grade.OK),
    ]
    assert finding(found, GRID).means == "Event Grid would create the subscription"


async def test_test_delivery_carries_nothing_that_anybody_acts_on() -> None:
    """One event of a type of our own, under a domain that is nobody's, without data."""
    delivered: list[tuple[str, Any]] = []

    async def watch(request: web.BaseRequest, body: bytes) -> web.Response:
        if request.headers.get("aeg-event-type") == "Notification":
            delivered.append((request.headers["Content-Type"], json.loads(body)))
        return await Receiver()(request, body)

    await examined(watch)

    events = [event for _, events in delivered for event in events]
    assert {event.get("eventType") or event.get("type") for event in events} == {
        EVENT_TYPE
    }
    assert [event["data"] for event in events] == [{}] * 3
    assert EVENT_TYPE.startswith("invalid.")


@pytest.mark.parametrize(
    ("receiver", "check", "seen", "hint"),
    [
        (
            Receiver(validation=status(202)),
            GRID,
            "200 only",
            hints.of_handshake("eventgrid", 202),
        ),
        (
            Receiver(
                validation=lambda code: web.json_response({"ValidationResponse": code})
            ),
            GRID,
            "in exactly this case",
            "validationResponse",
        ),
        (Receiver(validation=status(200)), GRID, "AwaitingManualAction", "--topic"),
        (
            Receiver(
                validation=lambda _: web.json_response({"validationResponse": "x"})
            ),
            GRID,
            "not the code",
            "validationResponse",
        ),
        (
            Receiver(validation=status(307, headers={"Location": "/x"})),
            GRID,
            "follows no redirect",
            "redirects to",
        ),
        (Receiver(validation=status(404)), GRID, "answered 404", "/api/events"),
        (Receiver(validation=status(403)), GRID, "answered 403", "942430"),
        (Receiver(validation=status(503)), GRID, "answered 503", "delivery.refused"),
        (Receiver(validation=status(500)), GRID, "answered 500", "log of the endpoint"),
        (Receiver(consent=status(405)), CLOUD, "OPTIONS does not reach", "CORS"),
        (Receiver(consent=status(200)), CLOUD, "no consent", "WebHook-Allowed-Origin"),
        (Receiver(consent=status(404)), CLOUD, "answered 404", "/api/events"),
        (
            Receiver(delivery=status(302, headers={"Location": "/x"})),
            "delivery, CloudEvents",
            "answered 302",
            "redirects to",
        ),
        (
            Receiver(delivery=status(413)),
            "delivery, CloudEvents",
            "answered 413",
            "limit on bodies",
        ),
        (
            Receiver(delivery=status(415)),
            "delivery, CloudEvents",
            "answered 415",
            "cloudevents+json",
        ),
        (
            Receiver(delivery=status(400)),
            "delivery, CloudEvents",
            "answered 400",
            "does not understand",
        ),
        (
            Receiver(wrong_key=401),
            "delivery with a wrong key",
            "answered 401",
            "401 is final",
        ),
        (
            Receiver(wrong_key=200),
            "delivery with a wrong key",
            "answered 200",
            "WORKER_WEBHOOK_KEYS",
        ),
        (
            Receiver(stranger=202),
            "post of a stranger",
            "answered 202",
            "WORKER_WEBHOOK_KEYS",
        ),
        (
            Receiver(ready=status(503, text="quarantine-full\n")),
            "/readyz",
            "not ready: quarantine-full",
            "status",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_failure_is_named_with_what_mends_it(
    receiver: Receiver, check: str, seen: str, hint: str
) -> None:
    """What was seen, what Event Grid would do, and a hint; alone it needs attention."""
    found = await examined(receiver)

    (wrong,) = {each.check for each in found.findings if each.grade is Grade.NOT_OK} & {
        check
    }
    named = finding(found, wrong)
    assert found.needs_attention
    assert seen in named.seen
    assert hint in named.hint
    assert named.means or check == "post of a stranger"


@pytest.mark.parametrize("told", ["error\nwith more", "<html>", f"Key-{KEY}", ""])
async def test_probe_that_says_anything_else_is_not_quoted(told: str) -> None:
    """Only a word of ours is repeated."""
    found = await examined(Receiver(ready=status(503, text=told)))

    assert finding(found, "/readyz").seen == "not ready"


async def test_endpoint_without_our_probe_is_no_trouble() -> None:
    """Others have none, and a gateway may not pass it."""
    found = await examined(Receiver(ready=status(404)))

    assert finding(found, "/readyz").grade is Grade.NOTE
    assert not found.needs_attention


async def test_chunked_answer_is_noted() -> None:
    """It broke the handshake once."""

    async def chunked(request: web.BaseRequest, body: bytes) -> web.Response:
        response = await Receiver()(request, body)
        if request.path != "/readyz":
            response.enable_chunked_encoding()
        return response

    found = await examined(chunked)

    notes = [each.seen for each in found.findings if each.grade is Grade.NOTE]
    assert any("Content-Length" in note for note in notes)
    assert not found.needs_attention


async def test_one_schema_can_be_asked_for() -> None:
    """A subscription has one; what the other would need is no trouble then."""
    found = await examined(Receiver(consent=status(405)), schemas=("eventgrid",))

    assert not found.needs_attention
    assert "CloudEvents" not in repr(found)


async def test_endpoint_that_asks_for_no_key_is_noted() -> None:
    """Without a key there is none to be wrong; that anybody may post is said."""

    async def trusting(request: web.BaseRequest, body: bytes) -> web.Response:
        open_to_all = Receiver(stranger=200, wrong_key=200)
        if request.headers.get("aeg-event-type") == "SubscriptionValidation":
            (event,) = json.loads(body)
            return open_to_all.validation(event["data"]["validationCode"])
        return await open_to_all(request, body)

    async with serving(trusting) as server:
        bare = server.url.partition("?")[0]
        found = await look(endpoint_of(bare))

    assert finding(found, "delivery with a wrong key").grade is Grade.SKIPPED
    stranger = finding(found, "post of a stranger")
    assert (stranger.grade, stranger.hint) == (Grade.NOTE, hints.OPEN_TO_ALL)
    assert not found.needs_attention


async def test_answer_that_never_comes_is_a_finding() -> None:
    """Not the end of the examination: the next request may be answered."""

    async def hang_on_deliveries(request: web.BaseRequest, body: bytes) -> web.Response:
        if request.headers.get("aeg-event-type") == "Notification":
            await asyncio.get_running_loop().create_future()
        return await Receiver()(request, body)

    found = await examined(hang_on_deliveries, answer_seconds=0.2)

    named = finding(found, "delivery, CloudEvents")
    assert named.seen == "no answer within 0.2 s"
    assert "30 s" in named.hint
    assert finding(found, "post of a stranger").grade is Grade.OK


async def test_slow_answer_is_noted() -> None:
    """By the clock: a third of what Event Grid grants."""
    clock = ManualClock()

    async def late(request: web.BaseRequest, body: bytes) -> web.Response:
        if request.method == "OPTIONS":
            clock.advance(12)
        return await Receiver()(request, body)

    async with serving(late) as server:
        found = await look(an_endpoint(server.url), clock=clock)

    told = [each for each in found.findings if each.check == CLOUD]
    assert [each.grade for each in told] == [Grade.OK, Grade.NOTE]
    assert told[0].seen == "answered 200 in 12.00 s"
    assert told[1].seen == "took 12 s of the 30 s that Event Grid waits"


async def test_endpoint_that_answers_nothing_is_told_line_by_line() -> None:
    """Somebody listens, so all checks are made; none of them waits for ever."""

    async def hang(_request: web.BaseRequest, _body: bytes) -> web.Response:
        await asyncio.get_running_loop().create_future()
        raise AssertionError

    found = await examined(hang, answer_seconds=0.1)

    assert found.is_reachable
    silent = [each for each in found.findings if each.seen == "no answer within 0.1 s"]
    assert [(each.check, each.grade) for each in silent] == [
        ("/readyz", Grade.NOTE),
        (GRID, Grade.NOT_OK),
        (CLOUD, Grade.NOT_OK),
        ("delivery, Event Grid's schema", Grade.NOT_OK),
        ("delivery, CloudEvents", Grade.NOT_OK),
        ("delivery with a wrong key", Grade.NOT_OK),
        ("post of a stranger", Grade.NOTE),
    ]


async def test_endpoint_that_was_silent_once_is_not_waited_for_as_long_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Six times all that Event Grid grants is too long for who was paged."""
    monkeypatch.setattr(visit, "AFTER_SILENCE_SECONDS", 0.05)

    async def hang(_request: web.BaseRequest, _body: bytes) -> web.Response:
        await asyncio.get_running_loop().create_future()
        raise AssertionError

    found = await examined(hang, answer_seconds=0.2)

    seen = [each.seen for each in found.findings if each.seen.startswith("no answer")]
    assert seen == ["no answer within 0.2 s", *["no answer within 0.05 s"] * 6]


@pytest.mark.parametrize(
    ("is_cut", "seen"), [(True, "no connection"), (False, "no connection in time")]
)
async def test_connection_that_never_becomes_one_is_told(
    is_cut: bool,  # noqa: FBT001 - a parameter of the test
    seen: str,
) -> None:
    """Cut while TLS begins, or left waiting there."""
    writers: list[asyncio.StreamWriter] = []

    def accept(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        if is_cut:
            writer.transport.abort()

    async with await asyncio.start_server(accept, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        found = await look(
            endpoint_of(f"https://127.0.0.1:{port}/"), answer_seconds=0.2
        )
        for writer in writers:
            writer.transport.abort()

    assert not found.is_reachable
    assert found.findings[-1].seen == seen


async def test_nobody_there_ends_the_examination() -> None:
    """One line: no other check makes sense."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        found = await look(endpoint_of(f"http://127.0.0.1:{port}/", keys=[KEY]))

    assert not found.is_reachable
    assert finding(found, "connection").seen == "connection refused"
    assert found.findings[-1].check == "connection"


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def server_side(authority: trustme.CA, name: str = "localhost") -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    return context


def client_side(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


async def test_certificate_that_is_trusted_is_told_with_its_end(
    authority: trustme.CA,
) -> None:
    """And with the version of TLS."""
    found = await examined(
        Receiver(), tls=server_side(authority), trusted=client_side(authority)
    )

    named = finding(found, "connection")
    assert named.grade is Grade.OK
    assert named.seen.startswith("trusted until ")
    assert named.seen.endswith(("TLSv1.3", "TLSv1.2"))
    assert not found.needs_attention


async def test_certificate_that_ends_soon_is_noted(authority: trustme.CA) -> None:
    """Two weeks are enough to renew it, if one knows."""
    async with serving(Receiver(), tls=server_side(authority)) as server:
        trusted = client_side(authority)
        endpoint = an_endpoint(server.url, name="localhost")
        first = await look(endpoint, trusted=trusted)
        until = finding(first, "connection").seen.split()[2].rstrip(",")
        late = ManualClock(datetime.fromisoformat(f"{until}T00:00:00+00:00"))
        found = await look(endpoint, trusted=trusted, clock=late)

    assert finding(found, "connection").grade is Grade.NOTE
    assert finding(found, "connection").hint == hints.RENEW


@pytest.mark.parametrize("name", ["localhost", "another.example"])
async def test_certificate_that_is_not_trusted_ends_the_examination(
    authority: trustme.CA, name: str
) -> None:
    """Nobody signed it, or for another name: Event Grid would not connect."""
    trusted = None if name == "localhost" else client_side(authority)

    found = await examined(
        Receiver(), tls=server_side(authority, name), trusted=trusted
    )

    assert (found.is_reachable, found.needs_attention) == (True, True)
    named = found.findings[-1]
    assert named.seen.startswith("TLS failed: ")
    assert named.hint == hints.CERTIFICATE


async def test_https_to_a_port_of_plain_http_is_told(authority: trustme.CA) -> None:
    """The scheme is wrong, or what ends TLS is not there."""
    async with serving(Receiver()) as server:
        url = server.url.replace("http://127.0.0.1", "https://localhost")
        found = await look(endpoint_of(url), trusted=client_side(authority))

    assert found.findings[-1].seen == "TLS failed: no TLS that both sides know"


async def test_plain_http_beyond_this_machine_is_not_ok() -> None:
    """Event Grid takes none, whatever was said aloud; the rest is looked at all the same."""
    endpoint = endpoint_of("http://0.0.0.0:1/", is_plain_allowed=True)

    found = await look(endpoint, answer_seconds=0.5)

    assert finding(found, "address").hint == hints.HTTPS
    assert found.findings[-1].check == "connection"


async def test_name_that_is_not_public_is_noted() -> None:
    """Here it may lead elsewhere than in the public DNS."""
    found = await addressed("https://calls.example/", "20.1.2.3", "10.0.0.5")

    assert found.seen == "calls.example is 10.0.0.5 here, which is not public"
    assert (found.grade, found.hint) == (Grade.NOTE, hints.PUBLIC_NAME)


async def test_public_address_is_fine() -> None:
    """As Event Grid needs it."""
    found = await addressed("https://calls.example/", "20.1.2.3")

    assert (found.grade, found.seen) == (Grade.OK, "https, at a public address")


async def test_names_are_resolved_by_the_system() -> None:
    """Unless told otherwise."""
    assert set(await resolved("localhost", 1)) <= {"127.0.0.1", "::1"}


async def test_name_that_nobody_knows_ends_the_examination() -> None:
    """Exit 1: nobody is there."""
    found = await look(endpoint_of("https://calls.example/"), addresses=None)

    assert not found.is_reachable
    assert [each.seen for each in found.findings] == ["calls.example can't be resolved"]


async def test_what_goes_through_a_proxy_is_not_looked_at(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The name is resolved there, and the certificate is seen there."""
    password = quote(canaries.PROXY_PASSWORD, safe="")
    monkeypatch.setenv("HTTPS_PROXY", f"http://me:{password}@127.0.0.1:1")

    found = await look(endpoint_of("https://calls.example/"))

    assert finding(found, "address").seen == "https, through a proxy"
    assert finding(found, "connection").grade is Grade.SKIPPED
    assert finding(found, GRID).seen == "no connection to the proxy"
    assert found.needs_attention
