"""The endpoint on a real server: every situation has its status, and no other."""

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from handlers.limits import Limits
from handlers.quarantine import QuarantineFullError
from handlers.receiver import Received, ReceivedKind
from tests.fakes.clock import START
from tests.unit.handlers.bodies import (
    DELETED_TYPE,
    SmallQuarantine,
    a_body,
    a_cloud_event,
    a_grid_event,
    a_validation,
)
from tests.webhook import (
    EVENTS,
    GRID,
    KEY,
    KEYS,
    WAIT_SECONDS,
    BrokenReceiver,
    Endpoint,
    Parts,
    StuckReceiver,
    UnableAuth,
    serving,
)
from worker import names
from worker.errors import QueueUnavailableError


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (a_body(a_grid_event()), "application/json; charset=utf-8"),
        (json.dumps(a_cloud_event()).encode(), "application/cloudevents+json"),
        (a_body(a_cloud_event()), "application/cloudevents-batch+json"),
        (a_body(a_grid_event()), "text/plain"),
    ],
)
@pytest.mark.receiver_row(3)
@pytest.mark.receiver_row(7)
async def test_delivery_is_answered_200_once_it_is_durable(
    endpoint: Endpoint, body: bytes, kind: str
) -> None:
    """Every content type that holds JSON is accepted, in both schemas."""
    async with endpoint.client.post(
        EVENTS, data=body, params={"code": KEY}, headers={"Content-Type": kind}
    ) as answer:
        assert answer.status == 200

    [delivery] = endpoint.queue.deliveries
    assert delivery.body == body
    assert delivery.origin == "webhook"


async def test_delivery_logs_how_often_it_was_tried(endpoint: Endpoint) -> None:
    """The one line of a delivery has Event Grid's count; no line has the key."""
    with capture_logs() as logs:
        await endpoint.post(a_body(a_grid_event()))

    [line] = logs
    assert (line["event"], line["delivery_count"]) == ("delivery.accepted", 2)
    assert KEY not in str(logs)


@pytest.mark.parametrize("count", ["x", "-1", "1" * 7, ""])
async def test_delivery_with_a_wild_count_is_accepted(
    endpoint: Endpoint, count: str
) -> None:
    """A header that is no small number is not known."""
    with capture_logs() as logs:
        async with endpoint.client.post(
            EVENTS,
            data=a_body(a_grid_event()),
            headers={"x-functions-key": KEY, "aeg-delivery-count": count},
        ) as answer:
            assert answer.status == 200

    assert logs[0]["delivery_count"] is None


async def test_delivery_in_pieces_is_put_together(endpoint: Endpoint) -> None:
    """A body without a length is read to its end."""
    body = a_body(a_grid_event(novelty="x" * 300_000))

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(body), 10_000):
            yield body[start : start + 10_000]

    async with endpoint.client.post(
        EVENTS, data=pieces(), params={"code": KEY}
    ) as answer:
        assert answer.status == 200

    assert endpoint.queue.deliveries[0].body == body


@pytest.mark.receiver_row(2)
async def test_delivery_as_large_as_event_grid_sends_is_accepted(
    endpoint: Endpoint,
) -> None:
    """A full megabyte, over aiohttp's own bound, is received."""
    status, _ = await endpoint.post(a_body(a_grid_event(novelty="x" * 1_100_000)))

    assert status == 200


@pytest.mark.receiver_row(2)
@pytest.mark.receiver_row(9)
async def test_delivery_beyond_every_limit_must_come_again(endpoint: Endpoint) -> None:
    """Nine megabytes are turned away, yet not with the final 413."""
    status, _ = await endpoint.post(b"x" * (9 * 1024 * 1024))

    assert status == 503
    assert endpoint.turned_away() == {"too-large": 1}


class Beside:
    """Takes what is long, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, int]] = []
        self.bodies: list[bytes] = []

    def __call__(
        self, body: bytearray, *, event_header: str, at_work: int
    ) -> "Beside | None":
        self.asked.append((event_header, at_work))
        return self if len(body) > 9999 else None

    async def receive(self, body: bytes, **_told: object) -> Received:
        self.bodies.append(body)
        return Received(kind=ReceivedKind.DEFERRED)


async def test_delivery_that_goes_aside_is_answered_200() -> None:
    """Whoever takes it answers for it; the others go where all go."""
    beside = Beside()
    body = a_body(a_grid_event())
    async with serving(Parts(aside=beside)) as endpoint:
        assert await endpoint.post(body.ljust(10_000)) == (200, "")
        assert await endpoint.post(body) == (200, "")

    assert beside.bodies == [body.ljust(10_000)]
    assert beside.asked == [("Notification", 1)] * 2
    assert [delivery.body for delivery in endpoint.queue.deliveries] == [body]


@pytest.mark.parametrize("name", ["ce-type", "CE-Type"])
async def test_event_whose_type_is_a_header_never_goes_aside(name: str) -> None:
    """It may be a handshake, and its body does not say so."""
    beside = Beside()
    async with (
        serving(Parts(aside=beside)) as endpoint,
        endpoint.client.post(
            EVENTS,
            data=b" " * 10_000 + b"{}",
            params={"code": KEY},
            headers={name: "Microsoft.EventGrid.SubscriptionDeletedEvent"},
        ) as answer,
    ):
        assert answer.status == 200

    assert beside.asked == []


async def test_delivery_cut_off_is_not_received(endpoint: Endpoint) -> None:
    """A sender that goes away in the middle of its body leaves nothing behind."""
    head = "POST /api/events?code=old-key HTTP/1.1\r\nHost: test\r\nContent-Length: 999\r\n\r\n"
    with capture_logs() as logs:
        _, writer = await asyncio.open_connection("127.0.0.1", endpoint.port)
        writer.write(head.encode() + b"[{")
        await writer.drain()
        writer.close()
        async with asyncio.timeout(WAIT_SECONDS):
            while not logs:  # noqa: ASYNC110 - nothing tells when the server has noticed
                await asyncio.sleep(0.01)

    assert [line["event"] for line in logs] == ["delivery.rejected"]
    assert endpoint.turned_away() == {"unreadable": 1}
    assert endpoint.queue.deliveries == []


@pytest.mark.parametrize("key", [None, "", "wrong"])
@pytest.mark.receiver_row(9)
async def test_event_grid_with_a_bad_key_must_come_again(
    endpoint: Endpoint, key: str | None
) -> None:
    """A rotated key must not lose recordings: 503, counted, and an error in the log."""
    with capture_logs() as logs:
        status, _ = await endpoint.post(a_body(a_grid_event()), key=key)

    assert status == 503
    assert endpoint.turned_away() == {"bad-credential": 1}
    assert [(line["event"], line["log_level"]) for line in logs] == [
        ("delivery.refused", "error")
    ]
    assert endpoint.queue.deliveries == []


@pytest.mark.parametrize(
    "header",
    [
        *("aeg-event-type", "AEG-Subscription-Name", "aeg-delivery-count"),
        *("WebHook-Request-Origin", "webhook-request-origin"),
    ],
)
async def test_event_grid_is_known_by_any_header_of_its_own(
    endpoint: Endpoint, header: str
) -> None:
    """Either schema's deliveries come again after a bad key, whichever headers they have."""
    async with endpoint.client.post(
        EVENTS,
        data=a_body(a_cloud_event()),
        params={"code": "wrong"},
        headers={header: "eventgrid.azure.net"},
    ) as answer:
        assert answer.status == 503

    assert endpoint.turned_away() == {"bad-credential": 1}
    assert endpoint.queue.deliveries == []


@pytest.mark.parametrize("headers", [{}, {"x-aeg-event-type": "Notification"}])
async def test_stranger_is_unauthorized(
    endpoint: Endpoint, headers: dict[str, str]
) -> None:
    """Whoever is not shaped like Event Grid and has no key gets 401."""
    body = a_body(a_grid_event())
    async with endpoint.client.post(EVENTS, data=body, headers=headers) as answer:
        assert answer.status == 401

    assert endpoint.queue.deliveries == []
    assert endpoint.archive.objects == {}


@pytest.mark.parametrize("headers", [{}, GRID])
async def test_delivery_of_an_unknown_sender_must_come_again_while_we_cannot_tell(
    headers: dict[str, str],
) -> None:
    """Our own inability costs nobody a delivery, whatever its shape, and is loud."""
    body = a_body(a_grid_event())
    async with serving(Parts(auth=UnableAuth())) as endpoint:
        with capture_logs() as logs:
            async with endpoint.client.post(EVENTS, data=body, headers=headers) as said:
                assert (said.status, said.headers["Retry-After"]) == (503, "30")

        assert endpoint.turned_away() == {"cannot-authenticate": 1}

    [line] = logs
    assert (line["event"], line["log_level"]) == ("delivery.refused", "error")
    assert endpoint.queue.deliveries == []


async def test_stranger_is_answered_before_the_body_is_read(endpoint: Endpoint) -> None:
    """Nobody has to send a body to learn that it isn't wanted."""
    head = "POST /api/events HTTP/1.1\r\nHost: test\r\nContent-Length: 999\r\n\r\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", endpoint.port)
    writer.write(head.encode())

    async with asyncio.timeout(WAIT_SECONDS):
        line = await reader.readline()
    writer.close()

    assert line.startswith(b"HTTP/1.1 401 ")


@pytest.mark.parametrize("key", KEYS)
async def test_every_active_key_passes(endpoint: Endpoint, key: str) -> None:
    """Old and new key work at once, in the header too."""
    async with endpoint.client.post(
        EVENTS, data=a_body(a_grid_event()), headers={**GRID, "X-Functions-Key": key}
    ) as answer:
        assert answer.status == 200
    status, _ = await endpoint.post(a_body(a_grid_event()), key=key)

    assert status == 200


@pytest.mark.receiver_row(7)
async def test_malformed_body_is_400_once_it_is_kept(endpoint: Endpoint) -> None:
    """What can't be read is final only after it lies in quarantine."""
    status, _ = await endpoint.post(b"{")

    assert status == 400
    assert endpoint.archive.objects[names.quarantine_name(b"{", START)] == b"{"


@pytest.mark.receiver_row(9)
async def test_malformed_body_must_come_again_while_quarantine_is_full() -> None:
    """Without room to keep it, nothing is thrown away."""
    quarantine = SmallQuarantine()
    quarantine.fails_with = QuarantineFullError("full")
    async with serving(Parts(quarantine=quarantine)) as endpoint:
        status, _ = await endpoint.post(b"{")

    assert status == 503


@pytest.mark.receiver_row(7)
async def test_malformed_event_in_a_good_batch_is_200(endpoint: Endpoint) -> None:
    """One bad event doesn't fail its batch."""
    status, _ = await endpoint.post(a_body(a_grid_event(), {"bad": 1}))

    assert status == 200
    assert len(endpoint.queue.deliveries) == 1
    assert len(endpoint.archive.objects) == 2


@pytest.mark.parametrize(
    "body",
    [
        a_body(a_grid_event(eventType="Microsoft.Storage.BlobCreated")),
        a_body(a_grid_event({}, eventType=DELETED_TYPE)),
    ],
)
@pytest.mark.receiver_row(7)
async def test_event_not_for_us_is_200(endpoint: Endpoint, body: bytes) -> None:
    """Another type, or the end of the subscription, is taken and not queued."""
    status, _ = await endpoint.post(body)

    assert status == 200
    assert endpoint.queue.deliveries == []


@pytest.mark.parametrize("trouble", ["queue", "bug", "drain", "slow"])
@pytest.mark.receiver_row(7)
@pytest.mark.receiver_row(9)
async def test_trouble_of_our_own_must_come_again(trouble: str) -> None:
    """Queue down, a bug, draining, or too slow: 503 with Retry-After, and one line."""
    parts = Parts(limits=Limits(budget_seconds=0.05, sweep_seconds=0.01))
    parts.queue.fails_with = (
        QueueUnavailableError("down") if trouble == "queue" else None
    )
    parts.receiver = {"bug": BrokenReceiver(), "slow": StuckReceiver()}.get(trouble)
    async with serving(parts) as endpoint:
        if trouble == "drain":
            endpoint.health.drain()
        with capture_logs() as logs:
            async with endpoint.client.post(
                EVENTS, data=a_body(a_grid_event()), params={"code": KEY}
            ) as answer:
                assert answer.status == 503
                assert answer.headers["Retry-After"] == "30"

    assert [line["event"] for line in logs] == ["delivery.rejected"]
    assert ("exc_info" in logs[0]) == (trouble == "bug")


@pytest.mark.receiver_row(4)
async def test_validation_is_answered_exactly(endpoint: Endpoint) -> None:
    """The handshake: 200, the code under its exact name, and a Content-Length."""
    async with endpoint.client.post(
        EVENTS,
        data=a_body(a_validation("c0de")),
        params={"code": KEY},
        headers={"aeg-event-type": "SubscriptionValidation"},
    ) as answer:
        text = await answer.text()

    assert answer.status == 200
    assert text == '{"validationResponse": "c0de"}'
    assert answer.headers["Content-Length"] == str(len(text))
    assert answer.content_type == "application/json"


@pytest.mark.receiver_row(4)
@pytest.mark.parametrize(("headers", "status"), [(GRID, 503), ({}, 401)])
async def test_validation_without_a_key_gets_no_code(
    endpoint: Endpoint, headers: dict[str, str], status: int
) -> None:
    """Whoever can't deliver can't make a subscription either."""
    async with endpoint.client.post(
        EVENTS, data=a_body(a_validation("c0de")), headers=headers
    ) as answer:
        assert answer.status == status
        assert "c0de" not in await answer.text()


@pytest.mark.receiver_row(4)
@pytest.mark.parametrize("code", [7, None, "", "c" * 1025, ["c0de"]], ids=repr)
async def test_validation_without_a_usable_code_is_200_without_an_answer(
    endpoint: Endpoint, code: object
) -> None:
    """Only a short string is given back; Event Grid then waits for its manual handshake."""
    assert await endpoint.post(a_body(a_validation(code))) == (200, "")


@pytest.mark.receiver_row(5)
@pytest.mark.parametrize("header", ["Notification", "SubscriptionDeletion"])
@pytest.mark.parametrize("kind", [DELETED_TYPE, DELETED_TYPE.upper()])
async def test_end_of_the_subscription_is_200_and_a_warning(
    endpoint: Endpoint, kind: str, header: str
) -> None:
    """One line that can be counted, whichever of type and header says it."""
    body = a_body(a_grid_event({"eventSubscriptionId": "/a"}, eventType=kind))
    with capture_logs() as logs:
        async with endpoint.client.post(
            EVENTS, data=body, params={"code": KEY}, headers={"aeg-event-type": header}
        ) as answer:
            assert answer.status == 200

    said = [(line["event"], line["log_level"]) for line in logs]
    assert said.count(("subscription.deleted", "warning")) == 1


@pytest.mark.receiver_row(5)
@pytest.mark.parametrize("header", ["SubscriptionDeletion", "Unsubscribe"])
async def test_end_of_the_subscription_may_be_said_by_a_header_alone(
    endpoint: Endpoint, header: str
) -> None:
    """Documented as the first; Microsoft's own receiver looks for the second."""
    with capture_logs() as logs:
        async with endpoint.client.post(
            EVENTS,
            data=a_body(a_grid_event(eventType="Microsoft.Storage.BlobCreated")),
            params={"code": KEY},
            headers={"aeg-event-type": header},
        ) as answer:
            assert answer.status == 200

    assert "subscription.deleted" in [line["event"] for line in logs]


@pytest.mark.parametrize("origin", ["eventgrid.azure.net", "EventGrid.Azure.US"])
@pytest.mark.receiver_row(1)
async def test_handshake_consents_to_a_known_origin(
    endpoint: Endpoint, origin: str
) -> None:
    """OPTIONS echoes an allow-listed origin, in whatever case, and says what may come."""
    headers = {"WebHook-Request-Origin": origin, "WebHook-Request-Rate": "120"}
    async with endpoint.client.options(EVENTS, headers=headers) as answer:
        assert answer.status == 200

    assert answer.headers["WebHook-Allowed-Origin"] == origin
    assert answer.headers["WebHook-Allowed-Rate"] == "*"
    assert answer.headers["Allow"] == "POST"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 400),
        ({"WebHook-Request-Origin": "  "}, 400),
        ({"WebHook-Request-Origin": "example.invalid"}, 403),
        ({"WebHook-Request-Origin": "*"}, 403),
    ],
    ids=repr,
)
@pytest.mark.receiver_row(1)
async def test_handshake_refuses_other_origins(
    endpoint: Endpoint, headers: dict[str, str], status: int
) -> None:
    """Without a known origin there is no consent."""
    async with endpoint.client.options(EVENTS, headers=headers) as answer:
        assert answer.status == status

    assert "WebHook-Allowed-Origin" not in answer.headers


@pytest.mark.receiver_row(8)
async def test_probes_tell_alive_from_ready(endpoint: Endpoint) -> None:
    """Alive as long as it answers; ready only while it takes deliveries."""

    async def statuses() -> list[int]:
        found = []
        for path in ("/livez", "/readyz"):
            async with endpoint.client.get(path) as answer:
                found.append(answer.status)
        return found

    before = await statuses()
    endpoint.health.drain()

    assert before == [200, 200]
    assert await statuses() == [200, 503]


async def test_long_headers_are_read(endpoint: Endpoint) -> None:
    """A long token is not answered with the final 400 of the HTTP parser."""
    headers = {"x-functions-key": KEY, "Authorization": "Bearer " + "t" * 16_000}
    async with endpoint.client.post(
        EVENTS, data=a_body(a_grid_event()), headers=headers
    ) as answer:
        assert answer.status == 200


@settings(
    max_examples=100,
    suppress_health_check=[
        HealthCheck.too_slow,
        HealthCheck.function_scoped_fixture,
    ],
)
@given(body=st.binary(min_size=1, max_size=200), key=st.sampled_from([KEY, "wrong"]))
async def test_any_body_has_a_status_of_the_table(
    endpoint: Endpoint, body: bytes, key: str
) -> None:
    """Bytes without sense are 400 with the key, 503 without, and nothing else."""
    status, _ = await endpoint.post(body, key=key)

    assert status == (400 if key == KEY else 503)
