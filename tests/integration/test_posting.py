"""Saved events go out as Event Grid would send them, or byte for byte."""

import json
from collections.abc import Sequence

import pytest
from aiohttp import web

from samples import events_dir
from tests.grid import Answering, a_cloud_event, an_event, serving
from worker import posting
from worker.posting import HandshakeError, Posted

KEY = "a key"
VALIDATION = (events_dir() / "demo/01-subscription-validation.json").read_bytes()


def an_endpoint(*statuses: int) -> Answering:
    """Both handshakes, then these statuses, the last one for ever."""
    left = list(statuses)

    async def answer(request: web.BaseRequest, body: bytes) -> web.Response:
        assert request.headers["x-functions-key"] == KEY
        if request.method == "OPTIONS":
            return web.Response(headers={"WebHook-Allowed-Origin": "*"})
        if request.headers.get("aeg-event-type") == "SubscriptionValidation":
            (event,) = json.loads(body)
            code = event["data"]["validationCode"]
            return web.json_response({"validationResponse": code})
        return web.Response(status=left.pop(0) if len(left) > 1 else left[0])

    return answer


async def posted_to(
    endpoint: Answering, *bodies: bytes | Sequence[object]
) -> tuple[list[Posted], list[tuple[web.BaseRequest, bytes]]]:
    """What was said of the bodies, named 0, 1, …; and all requests."""
    named = [
        (str(n), body if isinstance(body, bytes) else json.dumps(body).encode())
        for n, body in enumerate(bodies)
    ]
    async with serving(endpoint) as server:
        said = [each async for each in posting.as_event_grid(server.url, named, KEY)]
    return said, server.seen


async def test_handshake_comes_before_the_first_delivery() -> None:
    """Once for each schema that is met, as the schema has it."""
    said, seen = await posted_to(
        an_endpoint(200), [an_event()], [a_cloud_event()], [an_event(1), an_event(2)]
    )

    assert said == [
        Posted(file="Event Grid's schema", status=200, what="handshake"),
        Posted(file="0", status=200, what="1 event"),
        Posted(file="CloudEvents", status=200, what="handshake"),
        Posted(file="1", status=200, what="1 event"),
        Posted(file="2", status=200, what="2 events"),
    ]
    assert [request.method for request, _ in seen] == [
        *("POST", "POST", "OPTIONS", "POST", "POST")
    ]


async def test_saved_validation_is_a_handshake_of_its_own() -> None:
    """With a code that is new: the saved one is never sent again."""
    said, seen = await posted_to(an_endpoint(200), VALIDATION, [an_event()], VALIDATION)

    assert said[0] == Posted(file="0", status=200, what="handshake")
    assert said[2] == Posted(file="2", status=200, what="handshake")
    assert [each.file for each in said] == ["0", "1", "2"]
    (saved,) = json.loads(VALIDATION)
    assert saved["data"]["validationCode"].encode() not in seen[0][1]


@pytest.mark.parametrize(
    "body", [b"{", b"[]", b"[1]", b'{"no": "type"}', b"[" * 100_000]
)
async def test_what_event_grid_could_not_send_goes_as_it_is(body: bytes) -> None:
    """Byte for byte, without its headers: what becomes of it is for the webhook to say."""
    said, ((request, sent),) = await posted_to(an_endpoint(400), body)

    assert said == [Posted(file="0", status=400)]
    assert said[0].is_quarantined
    assert sent == body
    assert "aeg-event-type" not in request.headers


async def test_file_is_as_bad_as_its_worst_delivery() -> None:
    """A file of several deliveries is taken if all are."""
    events = [an_event(n) for n in range(posting.MAX_EVENTS_PER_BATCH + 1)]

    said, seen = await posted_to(an_endpoint(503, 200), events)

    assert said[1] == Posted(file="0", status=503, what="101 events")
    assert not said[1].is_taken
    assert len(seen) == 3


async def test_endpoint_that_fails_the_handshake_gets_nothing() -> None:
    """The error says what Event Grid would find wrong."""

    async def accept(_request: web.BaseRequest, _body: bytes) -> web.Response:
        return web.Response(status=202)

    with pytest.raises(HandshakeError, match="takes 200 only"):
        await posted_to(accept, [an_event()])
