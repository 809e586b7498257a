"""Paths, methods and manners: what is Event Grid's is kept, wherever it arrives."""

import aiohttp
import pytest
from structlog.testing import capture_logs

from tests.unit.handlers.bodies import a_body, a_grid_event
from tests.webhook import EVENTS, GRID, KEY, Endpoint

BODY = a_body(a_grid_event())
LINE = b"POST /api/events?code=old-key HTTP/1.1\r\nHost: worker\r\n"
LENGTH = b"Content-Length: %d\r\n" % len(BODY)


async def asked(
    endpoint: Endpoint,
    method: str,
    path: str,
    headers: dict[str, str],
) -> aiohttp.ClientResponse:
    """Send a delivery so, with the key; redirects are not followed."""
    async with endpoint.client.request(
        method,
        f"http://127.0.0.1:{endpoint.port}{path}",
        data=BODY,
        params={"code": KEY},
        headers=headers,
        allow_redirects=False,
    ) as answer:
        await answer.read()
        return answer


@pytest.mark.parametrize(
    "path", ["/api/events/", "//api/events", "/api//events", "///api///events///"]
)
async def test_slashes_make_no_other_path(endpoint: Endpoint, path: str) -> None:
    """A subscription with a slash too many works, without a redirect."""
    assert (await asked(endpoint, "POST", path, {})).status == 200
    assert len(endpoint.queue.deliveries) == 1


@pytest.mark.receiver_row(1)
async def test_handshake_works_with_slashes_too(endpoint: Endpoint) -> None:
    """Where deliveries are taken, consent is given."""
    origin = {"WebHook-Request-Origin": "eventgrid.azure.net"}

    answer = await asked(endpoint, "OPTIONS", "/api/events/", origin)

    assert (answer.status, answer.headers["Allow"]) == (200, "POST")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        *(("POST", "/"), ("POST", "/api/event"), ("POST", "/api/events/x")),
        *(("POST", "/API/EVENTS"), ("POST", "/events"), ("POST", "/readyz")),
        *(("PUT", EVENTS), ("PATCH", EVENTS), ("DELETE", EVENTS)),
    ],
)
@pytest.mark.receiver_row(9)
async def test_event_grid_at_a_wrong_place_must_come_again(
    endpoint: Endpoint, method: str, path: str
) -> None:
    """A front end that changes paths loses no recordings: 503, counted, and an error."""
    with capture_logs() as logs:
        answer = await asked(endpoint, method, path, GRID)

    assert answer.status == 503
    assert endpoint.turned_away() == {"wrong-place": 1}
    assert [(line["event"], line["log_level"]) for line in logs] == [
        ("delivery.refused", "error")
    ]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        *(("POST", "/", 404), ("GET", "/favicon.ico", 404), ("HEAD", "/x", 404)),
        *(("OPTIONS", "/x", 404), ("POST", "/livez", 404), ("POST", "/api", 404)),
        *(("GET", EVENTS, 405), ("HEAD", EVENTS, 405), ("PUT", EVENTS, 405)),
        *(("DELETE", "/api/events/", 405), ("TRACE", EVENTS, 405)),
    ],
)
async def test_others_at_a_wrong_place_are_told_so(
    endpoint: Endpoint, method: str, path: str, status: int
) -> None:
    """Strangers, and handshakes, on which no delivery hangs, may as well know."""
    with capture_logs() as logs:
        answer = await asked(endpoint, method, path, {})

    assert answer.status == status
    assert answer.headers.get("Allow") == ("OPTIONS, POST" if status == 405 else None)
    assert logs == []


async def test_handshake_at_a_wrong_path_fails(endpoint: Endpoint) -> None:
    """A subscription with a wrong path is not made at all."""
    origin = {"WebHook-Request-Origin": "eventgrid.azure.net"}

    answer = await asked(endpoint, "OPTIONS", "/api/event", origin)

    assert answer.status == 404
    assert "WebHook-Allowed-Origin" not in answer.headers


async def test_known_sender_is_invited_to_send_its_body(endpoint: Endpoint) -> None:
    """`Expect: 100-continue` is answered before the body comes, once who sends is known."""
    sender = await endpoint.connect()
    await sender.send(LINE, LENGTH, b"Expect: 100-Continue\r\n\r\n")

    invitation = await sender.interim()
    await sender.send(BODY)

    assert invitation == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert (await sender.answer()).status == 200


@pytest.mark.parametrize(
    ("line", "status"),
    [
        (b"POST /api/events?code=wrong HTTP/1.1\r\n", 401),
        (
            b"POST /api/events?code=wrong HTTP/1.1\r\naeg-event-type: Notification\r\n",
            503,
        ),
        (b"POST /elsewhere HTTP/1.1\r\n", 404),
        (b"PUT /api/events HTTP/1.1\r\n", 405),
        (b"GET /livez HTTP/1.1\r\n", 200),
    ],
)
async def test_stranger_is_not_invited_to_send_its_body(
    endpoint: Endpoint, line: bytes, status: int
) -> None:
    """The answer comes at once, in place of the invitation."""
    sender = await endpoint.connect()
    await sender.send(
        line, b"Host: worker\r\n", LENGTH, b"Expect: 100-continue\r\n\r\n"
    )

    assert (await sender.answer()).status == status


async def test_connection_is_kept_for_the_next_delivery(endpoint: Endpoint) -> None:
    """One after the other, and one that asks for the end gets it."""
    sender = await endpoint.connect()
    statuses = []
    for more in (b"", b"", b"Connection: close\r\n"):
        await sender.send(LINE, LENGTH, more, b"\r\n", BODY)
        statuses.append((await sender.answer()).status)

    assert statuses == [200, 200, 200]
    assert await sender.is_closed()


async def test_connection_of_http_1_0_is_closed(endpoint: Endpoint) -> None:
    """That is its manner, unless it says otherwise."""
    sender = await endpoint.connect()
    await sender.send(LINE.replace(b"1.1", b"1.0"), LENGTH, b"\r\n", BODY)

    assert (await sender.answer()).status == 200
    assert await sender.is_closed()


async def test_deliveries_sent_at_once_are_answered_in_order(
    endpoint: Endpoint,
) -> None:
    """As many as one likes, one after the other: pipelining costs no more than patience."""
    sender = await endpoint.connect()
    good = LINE + LENGTH + b"\r\n" + BODY
    bad = good.replace(b"old-key", b"bad-key")
    await sender.send(*[good, bad] * 100)

    statuses = [(await sender.answer()).status for _ in range(200)]

    assert statuses == [200, 401] * 100


async def test_connection_goes_on_after_a_body_that_nobody_read(
    endpoint: Endpoint,
) -> None:
    """A stranger's answer comes early; what it sends after it is thrown away."""
    sender = await endpoint.connect()
    await sender.send(b"POST /api/events HTTP/1.1\r\nHost: worker\r\n")
    await sender.send(b"Content-Length: 1000000\r\n\r\n")
    refused = await sender.answer()
    await sender.send(b"x" * 1_000_000, LINE, LENGTH, b"\r\n", BODY)

    assert refused.status == 401
    assert (await sender.answer()).status == 200


async def test_draining_endpoint_sends_its_connections_elsewhere(
    endpoint: Endpoint,
) -> None:
    """503, and the connection ends: the next request may find another worker."""
    sender = await endpoint.connect()
    endpoint.health.drain()
    await sender.send(LINE, LENGTH, b"\r\n", BODY)

    assert (await sender.answer()).status == 503
    assert await sender.is_closed()
    assert endpoint.turned_away() == {"draining": 1}
