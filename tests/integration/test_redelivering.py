"""Saved events reach a deployed endpoint as Event Grid would deliver them."""

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import pytest
from aiohttp import web

from samples.event_grid import Fate
from samples.grid.messages import JsonObject, in_schema
from tests.grid import PATH, Answering, a_cloud_event, an_event, answer, serving
from worker import redelivering
from worker.endpoint import EndpointError, endpoint_of
from worker.redelivering import (
    Plan,
    Redelivered,
    UnreachableError,
    original_of,
    plan_of,
)

DEAD = {
    "deadLetterReason": "MaxDeliveryAttemptsExceeded",
    "deliveryAttempts": 30,
    "lastDeliveryOutcome": "Busy",
    "lastHttpStatusCode": 503,
    "publishTime": "2026-03-01T12:00:00Z",
    "lastDeliveryAttemptTime": "2026-03-01T16:00:00Z",
}
DEAD_CLOUD = {name.lower(): value for name, value in DEAD.items()}
WRAPPED = {"deadletterreason": "x", "deliveryattempts": 1, "deliveryresult": "y"}


def plan(*bodies: object) -> Plan:
    """Of files named 0, 1, ...; bytes are taken as they are."""
    return plan_of(
        [
            (str(n), body if isinstance(body, bytes) else json.dumps(body).encode())
            for n, body in enumerate(bodies)
        ]
    )


async def redelivered(
    endpoint: Answering, *bodies: object, headers: Sequence[str] = ()
) -> tuple[list[Redelivered], list[tuple[web.BaseRequest, Any]]]:
    """What was said of the bodies, and the requests with their bodies read."""
    async with serving(endpoint) as server:
        to = endpoint_of(server.url, headers=headers)
        said = [
            each
            async for each in redelivering.redeliver(
                to, plan(*bodies), answer_seconds=5
            )
        ]
    return said, [(request, json.loads(body)) for request, body in server.seen]


async def test_events_go_out_with_all_that_event_grid_adds() -> None:
    """The query of the URL, the headers of a delivery, those that were asked for."""
    said, [(request, body)] = await redelivered(
        answer(status=200), [an_event(1), an_event(2)], headers=["X-Functions-Key: k"]
    )

    assert body == [an_event(1), an_event(2)]
    assert f"/api/events?{request.rel_url.raw_query_string}" == PATH
    sent = request.headers
    assert sent["aeg-event-type"] == "Notification"
    assert sent["aeg-subscription-name"] == "REPLAY"
    assert sent["Content-Type"] == "application/json; charset=utf-8"
    assert sent["x-functions-key"] == "k"
    assert [(each.outcome.status, each.is_taken) for each in said] == [(200, True)]
    assert said[0].batch.what == "2 events in Event Grid's schema"


@pytest.mark.parametrize(
    ("saved", "original"),
    [
        ([an_event() | DEAD], an_event()),
        ([a_cloud_event() | DEAD_CLOUD], a_cloud_event()),
        (
            [{"deadLetterProperties": WRAPPED, "event": a_cloud_event()}],
            a_cloud_event(),
        ),
        (an_event(), an_event()),
        ([an_event() | {"publishTime": "own"}], an_event() | {"publishTime": "own"}),
    ],
    ids=["event-grid", "cloud-events", "namespace", "object", "alive"],
)
async def test_dead_letter_goes_out_as_the_event_that_it_was(
    saved: object, original: JsonObject
) -> None:
    """Without its wrapping and without what its death added; in the schema it has."""
    _, [(request, body)] = await redelivered(answer(status=200), saved)

    assert body == [original]
    is_cloud = "specversion" in original
    assert ("WebHook-Request-Origin" in request.headers) is is_cloud
    assert ("cloudevents" in request.headers["Content-Type"]) is is_cloud


async def test_file_of_both_schemas_is_split_and_kept_in_order() -> None:
    """A delivery is of one schema; the batches of a file are numbered."""
    said, seen = await redelivered(
        answer(status=204), [an_event(1), a_cloud_event(), an_event(2), an_event(3)]
    )

    assert [len(body) for _, body in seen] == [1, 1, 2]
    assert [each.batch.what for each in said] == [
        "1 event in Event Grid's schema (1 of 3)",
        "1 event in CloudEvents (2 of 3)",
        "2 events in Event Grid's schema (3 of 3)",
    ]


async def test_many_events_go_in_batches_as_the_shipped_subscription_has_them() -> None:
    """At most 100 to a request."""
    _, seen = await redelivered(answer(status=200), [an_event(n) for n in range(250)])

    assert [len(body) for _, body in seen] == [100, 100, 50]


async def test_refused_batch_does_not_hold_up_the_others() -> None:
    """Each is judged alone."""
    said, _ = await redelivered(
        _answering(503, 401, 200), [an_event(1)], [an_event(2)], [an_event(3)]
    )

    fates = [each.outcome.verdict.fate for each in said]
    assert fates == [Fate.RETRIED, Fate.FINAL, Fate.DELIVERED]


async def test_what_is_no_event_goes_byte_for_byte() -> None:
    """A body from quarantine, for an endpoint that has learnt to read it."""
    async with serving(answer(status=200)) as server:
        to = endpoint_of(server.url, headers=["X-Functions-Key: k"])
        bodies = plan(b'{"x": ', b"[]", b'[{"type": ""}]', b"[" * 100_000)
        said = [
            each async for each in redelivering.redeliver(to, bodies, answer_seconds=5)
        ]

    assert [body for _, body in server.seen] == [each.body for each in bodies.batches]
    assert {each.batch.what for each in said} == {"no event, as it is"}
    assert {request.headers["x-functions-key"] for request, _ in server.seen} == {"k"}


def test_what_event_grid_says_of_a_subscription_is_left_out() -> None:
    """A handshake is not for another time; an end is not for another subscription."""
    own = [
        an_event() | {"eventType": "Microsoft.EventGrid.SubscriptionValidationEvent"},
        in_schema(
            an_event() | {"eventType": "microsoft.eventgrid.SubscriptionDeletedEvent"},
            "cloudevents",
        ),
    ]

    planned = plan(own, [an_event(), *own])

    assert planned.left_out == 4
    assert [batch.events for batch in planned.batches] == [(an_event(),)]


def test_original_of_a_live_event_is_the_event() -> None:
    """Nothing is taken from what never died."""
    event = an_event() | {"lastDeliveryOutcome": "mine"}

    assert original_of(event) is event


async def test_nobody_there_ends_it_at_once() -> None:
    """What was not sent is still in its file."""
    to = endpoint_of("http://127.0.0.1:1/api/events?code=secret")

    with pytest.raises(UnreachableError, match="connection refused") as caught:
        await anext(redelivering.redeliver(to, plan([an_event()]), answer_seconds=5))

    assert "secret" not in str(caught.value)


async def test_endpoint_that_does_not_answer_is_a_refusal_of_that_batch() -> None:
    """It is there, and may answer to the next one."""

    async def hang(_request: web.BaseRequest, _body: bytes) -> web.Response:
        await asyncio.get_running_loop().create_future()
        raise AssertionError

    async with serving(hang) as server:
        to = endpoint_of(server.url)
        said = [
            each
            async for each in redelivering.redeliver(
                to, plan([an_event()]), answer_seconds=0.05
            )
        ]

    assert [each.outcome.status for each in said] == [None]
    assert not said[0].is_taken


async def test_headers_that_event_grid_would_not_take_are_refused() -> None:
    """Ten delivery properties, and none longer than 4 KB."""
    to = endpoint_of("https://a.example/", headers=[f"X-{n}: 1" for n in range(11)])

    with pytest.raises(EndpointError, match="more than 10"):
        await anext(redelivering.redeliver(to, plan([an_event()]), answer_seconds=5))


def _answering(*statuses: int) -> Answering:
    left = list(statuses)

    async def reply(_request: web.BaseRequest, _body: bytes) -> web.Response:
        return web.Response(status=left.pop(0))

    return reply
