"""Time and room for deliveries: legal ones always get some, and all of it comes back."""

import asyncio
import json

import pytest
from structlog.testing import capture_logs

from handlers.budget import MAX_BODIES_BYTES, SMALL_BODY_BYTES
from handlers.limits import MIB, Limits
from handlers.reading import MAX_BODY_BYTES
from handlers.receiver import Received, ReceivedKind
from handlers.webhook import BODIES, CONNECTIONS
from tests.unit.handlers.bodies import a_body, a_grid_event
from tests.webhook import (
    WAIT_SECONDS,
    Endpoint,
    Parts,
    Sender,
    StuckReceiver,
    serving,
)

BODY = a_body(a_grid_event())
LINE = b"POST /api/events?code=old-key HTTP/1.1\r\nHost: worker\r\n"
HURRY = Limits(budget_seconds=0.05, sweep_seconds=0.01)
HURRY_BODY = Limits(body_seconds=0.05, sweep_seconds=0.01)


def announced(size: int, *, invited: bool = False) -> bytes:
    """The head of a delivery of this size."""
    expect = b"Expect: 100-continue\r\n" if invited else b""
    return LINE + b"Content-Length: %d\r\n%b\r\n" % (size, expect)


async def sent(endpoint: Endpoint, body: bytes) -> Sender:
    """Send a whole delivery over a connection of its own."""
    sender = await endpoint.connect()
    await sender.send(announced(len(body)), body)
    return sender


async def begun(endpoint: Endpoint, size: int, part: bytes) -> Sender:
    """Send a part of a delivery, and be sure that it is held."""
    bodies = endpoint.app[BODIES]
    sender = await endpoint.connect()
    await sender.send(announced(size, invited=True))
    await sender.interim()
    held = bodies.in_use + len(part)
    await sender.send(part)
    async with asyncio.timeout(WAIT_SECONDS):
        while bodies.in_use < held:  # noqa: ASYNC110 - nothing tells the sender
            await asyncio.sleep(0)
    return sender


@pytest.mark.receiver_row(2)
async def test_batch_as_full_as_event_grid_makes_them_is_taken(
    endpoint: Endpoint,
) -> None:
    """5000 events in more than five megabytes, far over what aiohttp takes by itself."""
    events = [a_grid_event(id=str(number)) for number in range(5000)]
    body = a_body(*events)

    sender = await sent(endpoint, body)

    assert (await sender.answer()).status == 200
    assert len(body) > 5 * MIB
    assert endpoint.queue.deliveries[0].body == body
    assert len(endpoint.queue.deliveries[0].chunks) == 5000


@pytest.mark.receiver_row(2)
async def test_batch_beyond_the_bound_is_taken_but_for_what_is_beyond(
    endpoint: Endpoint,
) -> None:
    """Event 5001 is set aside with a 200: no legal delivery has one, and nothing is lost."""
    body = a_body(*[a_grid_event()] * 5000, a_grid_event(id="beyond"))

    sender = await sent(endpoint, body)

    assert (await sender.answer()).status == 200
    assert len(endpoint.queue.deliveries[0].chunks) == 5000
    [kept] = [d for name, d in endpoint.archive.objects.items() if ".json" in name]
    assert [event["id"] for event in json.loads(kept)] == ["beyond"]


@pytest.mark.receiver_row(2)
@pytest.mark.receiver_row(7)
async def test_event_nested_too_deep_costs_no_other(endpoint: Endpoint) -> None:
    """The others are queued and it is set aside, with a 200 for all."""
    deep = b'{"eventType":"x","data":' + b"[" * 3000 + b"]" * 3000 + b"}"
    body = b"[" + deep + b"," + a_body(a_grid_event())[1:]

    sender = await sent(endpoint, body)

    assert (await sender.answer()).status == 200
    assert len(endpoint.queue.deliveries[0].chunks) == 1
    assert deep in endpoint.archive.objects.values()


@pytest.mark.parametrize("size", [MAX_BODY_BYTES + 1, 2**40])
@pytest.mark.receiver_row(2)
@pytest.mark.receiver_row(9)
async def test_body_beyond_the_limit_is_not_even_begun(
    endpoint: Endpoint, size: int
) -> None:
    """Not 413, which is final; and nobody is invited to send it."""
    sender = await endpoint.connect()
    await sender.send(announced(size, invited=True))

    assert (await sender.answer()).status == 503
    assert endpoint.turned_away() == {"too-large": 1}


async def test_body_that_does_not_come_is_given_up() -> None:
    """Long before the time budget is over: the rest is for the storage."""
    async with serving(Parts(limits=HURRY_BODY)) as endpoint:
        sender = await begun(endpoint, 1000, b"x" * 10)

        assert (await sender.answer()).status == 503
        assert endpoint.turned_away() == {"slow-body": 1}
        assert endpoint.app[BODIES].in_use == 0


async def test_body_has_its_time() -> None:
    """Not from the beginning of the head, and not from the last byte that came."""
    async with serving() as endpoint:
        sender = await begun(endpoint, 1000, b"x" * 10)
        table, now = endpoint.app[CONNECTIONS], asyncio.get_running_loop().time()
        table.sweep(now + Limits().body_seconds - 1)
        assert endpoint.app[BODIES].in_use == 10
        await sender.send(b"x")
        table.sweep(now + Limits().body_seconds + 0.001)

        assert (await sender.answer()).status == 503
        assert endpoint.turned_away() == {"slow-body": 1}


@pytest.mark.receiver_row(7)
async def test_delivery_is_answered_within_the_budget_and_finished_later() -> None:
    """A slow storage costs a 503 in time; what was begun is done all the same."""
    stuck = StuckReceiver()
    async with serving(Parts(receiver=stuck, limits=HURRY)) as endpoint:
        sender = await sent(endpoint, BODY)
        answer = await sender.answer()
        held = endpoint.app[BODIES].in_use
        stuck.let_go.set()
        async with asyncio.timeout(WAIT_SECONDS):
            await stuck.ended.wait()

    assert answer.status == 503
    assert endpoint.turned_away() == {"timeout": 1}
    assert held == len(BODY)
    assert stuck.finished == 1
    assert endpoint.app[BODIES].in_use == 0


async def test_budget_counts_from_the_first_byte() -> None:
    """A head that takes its time takes it from what the storage may take."""
    loop = asyncio.get_running_loop()
    stuck = StuckReceiver()
    async with serving(Parts(receiver=stuck)) as endpoint:
        table = endpoint.app[CONNECTIONS]
        sender = await endpoint.connect()
        await sender.send(LINE)
        async with asyncio.timeout(WAIT_SECONDS):
            while not table.taken_in:  # noqa: ASYNC110 - nothing tells the sender
                await asyncio.sleep(0)
        let_in = loop.time()
        while loop.time() <= let_in + 0.01:  # noqa: ASYNC110 - it is time that has to pass
            await asyncio.sleep(0)
        await sender.send(b"Content-Length: %d\r\n\r\n" % len(BODY), BODY)
        async with asyncio.timeout(WAIT_SECONDS):
            await stuck.began.wait()

        table.sweep(let_in + 0.005 + Limits().budget_seconds)

        assert (await sender.answer()).status == 503
        assert endpoint.turned_away() == {"timeout": 1}
        stuck.let_go.set()


async def test_sender_that_goes_away_does_not_cut_what_is_at_work() -> None:
    """The put goes on to its end: sent again, the delivery is known."""
    stuck = StuckReceiver()
    async with serving(Parts(receiver=stuck)) as endpoint:
        sender = await sent(endpoint, BODY)
        async with asyncio.timeout(WAIT_SECONDS):
            await stuck.began.wait()
        sender.close()
        assert await sender.is_closed()
        stuck.let_go.set()
        async with asyncio.timeout(WAIT_SECONDS):
            await stuck.ended.wait()

    assert stuck.finished == 1
    assert endpoint.app[BODIES].in_use == 0


async def test_end_of_the_endpoint_cuts_what_nobody_waits_for() -> None:
    """What was answered 503 may be cut: it comes again."""
    stuck = StuckReceiver()
    async with serving(Parts(receiver=stuck, limits=HURRY)) as endpoint:
        sender = await sent(endpoint, BODY)
        assert (await sender.answer()).status == 503
        assert not stuck.ended.is_set()

    assert stuck.ended.is_set()
    assert stuck.finished == 0
    assert endpoint.app[BODIES].in_use == 0


async def test_slow_large_bodies_leave_room_for_others() -> None:
    """All room held by a few giants: whoever takes less takes it from the largest."""
    giant = b"x" * (MAX_BODY_BYTES - 1)
    async with serving() as endpoint:
        giants = [await begun(endpoint, MAX_BODY_BYTES, giant) for _ in range(7)]
        legal = a_body(a_grid_event(novelty="x" * MIB))

        answers = [await (await sent(endpoint, legal)).answer() for _ in range(3)]
        small = await (await sent(endpoint, BODY)).answer()

        assert [answer.status for answer in answers] == [200] * 3
        assert small.status == 200
        assert (await giants[0].answer()).status == 503
        assert endpoint.turned_away() == {"too-many-bytes": 1}


async def test_bodies_at_work_leave_room_for_small_ones() -> None:
    """What can't give way fills no more than its share; the next large one is refused."""
    stuck = StuckReceiver(only_over=SMALL_BODY_BYTES)
    giant = b"[" + b" " * (MAX_BODY_BYTES - 2) + b"]"
    async with serving(Parts(receiver=stuck)) as endpoint:
        giants = [await sent(endpoint, giant) for _ in range(7)]
        async with asyncio.timeout(WAIT_SECONDS):
            while endpoint.app[BODIES].in_use < 7 * len(giant):  # noqa: ASYNC110
                await asyncio.sleep(0)
        refused = await (await sent(endpoint, giant)).answer()
        small = await (await sent(endpoint, BODY)).answer()
        stuck.let_go.set()
        answers = [await giant.answer() for giant in giants]

    assert (refused.status, small.status) == (503, 200)
    assert endpoint.turned_away() == {"too-many-bytes": 1}
    assert [answer.status for answer in answers] == [200] * 7
    assert endpoint.app[BODIES].in_use == 0


async def test_work_in_flight_is_bounded() -> None:
    """Beyond so many that wait for the storage, the next one gets its 503 at once."""
    stuck = StuckReceiver()
    async with serving(Parts(receiver=stuck, limits=Limits(at_work=2))) as endpoint:
        first = [await sent(endpoint, BODY) for _ in range(2)]
        async with asyncio.timeout(WAIT_SECONDS):
            while endpoint.app[BODIES].in_use < 2 * len(BODY):  # noqa: ASYNC110
                await asyncio.sleep(0)
        beyond = await (await sent(endpoint, BODY)).answer()
        stuck.let_go.set()
        answers = [await sender.answer() for sender in first]
        after = await (await sent(endpoint, BODY)).answer()

    assert beyond.status == 503
    assert endpoint.turned_away() == {"too-many-deliveries": 1}
    assert [answer.status for answer in [*answers, after]] == [200] * 3


class Fitful:
    """A receiver that does one thing after the other."""

    def __init__(self) -> None:
        self.calls = 0

    async def receive(self, _body: bytes, **_told: object) -> Received:
        self.calls += 1
        match self.calls % 3:
            case 0:
                raise LookupError("a bug")
            case 1:
                await asyncio.Event().wait()
            case _:
                pass
        return Received(kind=ReceivedKind.ACCEPTED)


async def test_room_comes_back_on_every_path() -> None:
    """Accepted, a bug, late, cut off, slow, broken, too large: nothing stays counted."""
    limits = Limits(
        budget_seconds=0.3, body_seconds=0.05, late_seconds=0, sweep_seconds=0.01
    )
    async with serving(Parts(receiver=Fitful(), limits=limits)) as endpoint:
        for _ in range(2):
            for _ in range(3):
                await (await sent(endpoint, BODY)).answer()
            gone = await begun(endpoint, 1000, b"x" * 10)
            gone.close()
            await (await begun(endpoint, 1000, b"x" * 10)).answer()
            broken = await endpoint.connect()
            await broken.send(LINE, b"Content-Encoding: gzip\r\n")
            await broken.send(b"Content-Length: 4\r\n\r\nxxxx")
            assert (await broken.answer()).status == 503
        async with asyncio.timeout(WAIT_SECONDS):
            while endpoint.app[BODIES].in_use:  # noqa: ASYNC110 - the last one is late
                await asyncio.sleep(0)

    assert endpoint.turned_away() == {
        "timeout": 2,
        "bug": 2,
        "slow-body": 2,
        "unreadable": 4,
    }


async def test_flood_of_strangers_costs_no_delivery_its_line() -> None:
    """The log stays readable, and tells of the delivery."""
    async with serving() as endpoint:
        with capture_logs() as logs:
            for _ in range(100):
                await endpoint.post(BODY, key="wrong")
            await endpoint.post(BODY)

    refused = [line for line in logs if line["event"] == "delivery.refused"]
    assert len(refused) == 10
    assert logs[-1]["event"] == "delivery.accepted"
    assert endpoint.turned_away() == {"bad-credential": 100}


def test_limits_add_up() -> None:
    """Any legal delivery fits into what is never given to others."""
    assert 8 * MAX_BODY_BYTES <= MAX_BODIES_BYTES
    assert Limits().body_seconds < Limits().budget_seconds < 30
    assert Limits().turns < Limits().connections
    assert Limits(connections=4).turns == 2
