"""Connections on real sockets: no stranger keeps a delivery out, and none waits for ever."""

import asyncio
import socket
from contextlib import suppress

import pytest

from handlers.connections import Stage
from handlers.limits import Limits
from handlers.webhook import CONNECTIONS
from tests.unit.handlers.bodies import a_body, a_grid_event
from tests.webhook import WAIT_SECONDS, Endpoint, Parts, Sender, StuckReceiver, serving

BODY = a_body(a_grid_event())
LINE = b"POST /api/events?code=old-key HTTP/1.1\r\nHost: worker\r\n"
LENGTH = b"Content-Length: %d\r\n" % len(BODY)
INVITED = LINE + LENGTH + b"Expect: 100-continue\r\n\r\n"
FEW = Limits(connections=4)
SMALL_BUFFER_BYTES = 4096
MANY = 1500
"""Requests, whose answers are more than all buffers take."""
SWEPT = Limits(head_seconds=0.05, sweep_seconds=0.01)


async def sending(endpoint: Endpoint) -> Sender:
    """A sender with a good key that has been invited to send its body."""
    sender = await endpoint.connect()
    await sender.send(INVITED)
    await sender.interim()
    return sender


async def waiting(endpoint: Endpoint, *, head: bytes = b"") -> Sender:
    """A sender that has been let in and has not sent its whole head."""
    table = endpoint.app[CONNECTIONS]
    before = table.taken_in
    sender = await endpoint.connect()
    async with asyncio.timeout(WAIT_SECONDS):
        while table.taken_in == before:  # noqa: ASYNC110 - nothing tells the sender
            await asyncio.sleep(0)
    if head:
        await sender.send(head)
    return sender


async def deaf(endpoint: Endpoint) -> Sender:
    """A stranger that asks and asks, and reads so little that answers pile up here."""
    loop = asyncio.get_running_loop()
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_BUFFER_BYTES)
    sock.settimeout(0)
    await loop.sock_connect(sock, ("127.0.0.1", endpoint.port))
    sender = Sender(*await asyncio.open_connection(sock=sock, limit=1024))
    endpoint.senders.append(sender)
    await sender.send(b"GET /livez HTTP/1.1\r\nHost: worker\r\n\r\n" * MANY)
    async with asyncio.timeout(WAIT_SECONDS):
        while not any(  # noqa: ASYNC110 - nothing tells the sender
            each.writing_paused for each in endpoint.open_connections()
        ):
            await asyncio.sleep(0)
    return sender


async def open_ones(endpoint: Endpoint, *, at_most: int) -> int:
    """Wait until no more connections than these hold a descriptor; how many do."""
    async with asyncio.timeout(WAIT_SECONDS):
        while len(endpoint.open_connections()) > at_most:  # noqa: ASYNC110 - the same
            await asyncio.sleep(0)
    return len(endpoint.open_connections())


async def delivered(endpoint: Endpoint) -> int:
    """Deliver over a new connection; return the status."""
    sender = await endpoint.connect()
    await sender.send(LINE, LENGTH, b"\r\n", BODY)
    return (await sender.answer()).status


@pytest.mark.parametrize("head", [b"", LINE, LINE + b"X-Odd: x"])
async def test_strangers_cannot_keep_a_delivery_out(head: bytes) -> None:
    """However many hang on, silent or in the middle of a head: the oldest gives way."""
    async with serving(Parts(limits=FEW)) as endpoint:
        strangers = [await waiting(endpoint, head=head) for _ in range(20)]

        assert await delivered(endpoint) == 200
        assert [await delivered(endpoint) for _ in range(20)] == [200] * 20
        assert endpoint.app[CONNECTIONS].closed["crowded-out"] >= 20 - FEW.connections
        assert len(endpoint.app[CONNECTIONS]) <= FEW.connections
    assert strangers


async def test_stranger_that_gives_way_is_told_if_it_has_begun() -> None:
    """A head that was under way gets its 503; silence gets the end of the connection."""
    async with serving(Parts(limits=FEW)) as endpoint:
        silent = await waiting(endpoint)
        begun = await waiting(endpoint, head=LINE)
        for _ in range(FEW.connections):
            await waiting(endpoint)

        assert await silent.is_closed()
        assert (await begun.answer()).status == 503
        assert await begun.is_closed()


async def test_strangers_do_not_crowd_out_a_delivery_that_is_coming() -> None:
    """Who has shown a key keeps the place, whatever comes without one."""
    async with serving(Parts(limits=FEW)) as endpoint:
        sender = await sending(endpoint)
        for _ in range(20):
            await waiting(endpoint, head=LINE)

        await sender.send(BODY)

        assert (await sender.answer()).status == 200


async def test_slow_deliveries_cannot_keep_another_out() -> None:
    """All places taken by bodies that don't come: the oldest gets its 503."""
    async with serving(Parts(limits=FEW)) as endpoint:
        slow = [await sending(endpoint) for _ in range(FEW.connections)]

        assert await delivered(endpoint) == 200
        assert (await slow[0].answer()).status == 503
        assert await slow[0].is_closed()
        assert endpoint.app[CONNECTIONS].closed == {"crowded-out": 1}
        assert endpoint.turned_away() == {}
        await slow[1].send(BODY)
        assert (await slow[1].answer()).status == 200


async def test_delivery_at_work_is_never_crowded_out() -> None:
    """Its answer comes, however many want its place; there are more places than turns."""
    stuck = StuckReceiver()
    async with serving(Parts(limits=FEW, receiver=stuck)) as endpoint:
        at_work = await endpoint.connect()
        await at_work.send(LINE, LENGTH, b"\r\n", BODY)
        async with asyncio.timeout(WAIT_SECONDS):
            await stuck.began.wait()
        for _ in range(20):
            await waiting(endpoint)
        assert endpoint.app[CONNECTIONS].count(Stage.AT_WORK) == 1

        stuck.let_go.set()

        assert (await at_work.answer()).status == 200


@pytest.mark.parametrize("head", [b"", b"P", LINE])
async def test_head_that_does_not_come_ends_the_connection(head: bytes) -> None:
    """Slowloris, or a port that is only held open: the sweep closes both."""
    async with serving(Parts(limits=SWEPT)) as endpoint:
        sender = await endpoint.connect()
        await sender.send(head)
        if head:
            assert (await sender.answer()).status == 503
        assert await sender.is_closed()
        assert endpoint.app[CONNECTIONS].closed == {"slow-head": 1}


async def test_head_that_trickles_gains_no_time() -> None:
    """A byte now and then does not start the clock anew."""
    async with serving(Parts(limits=SWEPT)) as endpoint:
        sender = await endpoint.connect()
        await sender.send(b"POST /api/events HTTP/1.1\r\nX-Odd: ")
        async with asyncio.timeout(WAIT_SECONDS):
            with suppress(ConnectionError):
                while True:
                    await sender.send(b"x")
                    await asyncio.sleep(0)

        assert endpoint.app[CONNECTIONS].closed == {"slow-head": 1}


async def test_idle_connection_is_not_swept() -> None:
    """Between two deliveries a front end may take its time; a second head may not."""
    async with serving(Parts(limits=SWEPT)) as endpoint:
        sender = await endpoint.connect()
        await sender.send(LINE, LENGTH, b"\r\n", BODY)
        assert (await sender.answer()).status == 200
        table = endpoint.app[CONNECTIONS]
        table.sweep(asyncio.get_running_loop().time() + 3600)
        assert table.count(Stage.IDLE) == 1
        await sender.send(LINE)

        assert (await sender.answer()).status == 503
        assert table.closed == {"slow-head": 1}


async def test_idle_connection_is_closed_in_the_end() -> None:
    """Nobody keeps one for nothing."""
    async with serving(Parts(limits=Limits(idle_seconds=0.05))) as endpoint:
        sender = await endpoint.connect()
        await sender.send(LINE, LENGTH, b"\r\n", BODY)
        assert (await sender.answer()).status == 200

        assert await sender.is_closed()


async def test_head_without_end_ends_the_connection() -> None:
    """Many headers of a legal size each are too much together."""
    async with serving() as endpoint:
        sender = await endpoint.connect()
        await sender.send(LINE, b"X-Odd: %b\r\n" % (b"x" * 10_000) * 7)

        assert (await sender.answer()).status == 503
        assert await sender.is_closed()
        assert endpoint.app[CONNECTIONS].closed == {"long-head": 1}


async def test_large_body_is_not_taken_for_a_long_head() -> None:
    """Bytes count for the head only while there is one to come."""
    body = a_body(a_grid_event(novelty="x" * 2_000_000))
    async with serving() as endpoint:
        sender = await endpoint.connect()
        for _ in range(3):
            await sender.send(LINE, b"Content-Length: %d\r\n\r\n" % len(body), body)
            assert (await sender.answer()).status == 200
        assert endpoint.app[CONNECTIONS].closed == {}


async def test_who_reads_no_answer_takes_up_nothing_once_it_gave_way() -> None:
    """It can't keep the descriptor by leaving unread what was written before the end."""
    few = Parts(limits=FEW, send_buffer_bytes=SMALL_BUFFER_BYTES)
    async with serving(few) as endpoint:
        await deaf(endpoint)
        for _ in range(FEW.connections):
            await waiting(endpoint)

        assert await open_ones(endpoint, at_most=FEW.connections) == FEW.connections
        assert endpoint.app[CONNECTIONS].closed == {"crowded-out": 1}


async def test_who_reads_no_answer_is_closed_in_the_end() -> None:
    """Nor does it hold up the end of the process, which waits for answers on their way."""
    all_ = Parts(send_buffer_bytes=SMALL_BUFFER_BYTES)
    async with serving(all_) as endpoint:
        await deaf(endpoint)
        table = endpoint.app[CONNECTIONS]
        now = asyncio.get_running_loop().time()
        table.sweep(now)
        assert table.closed == {}
        table.sweep(now + Limits().head_seconds + 1)

        assert await open_ones(endpoint, at_most=0) == 0
        assert table.closed == {"unread": 1}


async def test_who_reads_answers_late_keeps_the_connection() -> None:
    """Once they are read, they are not counted against their reader any more."""
    late_reader = Parts(send_buffer_bytes=SMALL_BUFFER_BYTES)
    async with serving(late_reader) as endpoint:
        sender = await deaf(endpoint)
        answers = [(await sender.answer()).status for _ in range(MANY)]
        table = endpoint.app[CONNECTIONS]
        table.sweep(asyncio.get_running_loop().time() + Limits().head_seconds + 1)

        assert answers == [200] * MANY
        assert table.closed == {}
        assert len(endpoint.open_connections()) == 1


async def test_deliveries_sent_before_their_turn_wait_outside() -> None:
    """Behind one that takes its time nothing more is read: not even heads pile up."""
    stuck = StuckReceiver()
    delivery = LINE + LENGTH + b"\r\n" + BODY
    async with serving(Parts(receiver=stuck)) as endpoint:
        sender = await endpoint.connect()
        await sender.send(delivery)
        async with asyncio.timeout(WAIT_SECONDS):
            await stuck.began.wait()
        [connection] = endpoint.open_connections()
        await sender.send(delivery, delivery)
        async with asyncio.timeout(WAIT_SECONDS):
            while connection.transport and connection.transport.is_reading():  # noqa: ASYNC110
                await asyncio.sleep(0)
        stuck.let_go.set()

        assert [(await sender.answer()).status for _ in range(3)] == [200] * 3


async def test_places_come_back() -> None:
    """However a connection ends, nothing of it stays behind."""
    async with serving(Parts(limits=FEW)) as endpoint:
        table = endpoint.app[CONNECTIONS]
        for _ in range(10):
            sender = await sending(endpoint)
            sender.close()
            (await waiting(endpoint)).close()
        async with asyncio.timeout(WAIT_SECONDS):
            while len(table):  # noqa: ASYNC110 - the same
                await asyncio.sleep(0)

        assert await delivered(endpoint) == 200
        assert table.closed == {}
