"""Requests that aiohttp's parser has an opinion on: it never has the last word."""

import pytest
from structlog.testing import capture_logs

from tests.unit.handlers.bodies import a_body, a_grid_event
from tests.webhook import KEY, Endpoint, Sender

BODY = a_body(a_grid_event())
LENGTH = f"Content-Length: {len(BODY)}\r\n".encode()
HOST = b"Host: worker\r\n"
MINE = b"x-functions-key: new&key\r\n"
LINE = b"POST /api/events HTTP/1.1\r\n"
HEAD = LINE + HOST + MINE + LENGTH
END = b"\r\n"


@pytest.fixture
async def sender(endpoint: Endpoint) -> Sender:
    """A connection of its own."""
    return await endpoint.connect()


def chunked(body: bytes) -> bytes:
    """In two pieces, with an extension and a trailer, as is allowed."""
    first, rest = body[:10], body[10:]
    return b"a;x=y\r\n%b\r\n%x\r\n%b\r\n0\r\nX-Trailer: 1\r\n\r\n" % (
        first,
        len(rest),
        rest,
    )


UNPARSABLE = {
    "tls": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(40),
    "http2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "http1.2": b"POST /api/events HTTP/1.2\r\n" + HOST + MINE + LENGTH + END + BODY,
    "proxy-protocol": b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n" + HEAD + END + BODY,
    "unknown-method": b"POKE /api/events HTTP/1.1\r\n" + HOST + END,
    "lower-case-method": HEAD.replace(b"POST", b"post") + END + BODY,
    "no-host": LINE + MINE + LENGTH + END + BODY,
    "two-hosts": HEAD + HOST + END + BODY,
    "relative-path": b"POST api/events HTTP/1.1\r\n" + HOST + END,
    "blank-in-path": b"POST /api/ events HTTP/1.1\r\n" + HOST + END,
    "path-beyond-ascii": "POST /api/é HTTP/1.1\r\n".encode() + HOST + END,
    "bare-line-feeds": HEAD.replace(b"\r\n", b"\n") + b"\n" + BODY,
    "length-no-number": LINE + HOST + MINE + b"Content-Length: x\r\n" + END + BODY,
    "length-below-zero": LINE + HOST + MINE + b"Content-Length: -2\r\n" + END + BODY,
    "length-beyond-all": LINE + HOST + b"Content-Length: %d\r\n" % 10**30 + END + BODY,
    "two-lengths": HEAD + LENGTH + END + BODY,
    "length-and-chunks": HEAD + b"Transfer-Encoding: chunked\r\n" + END + BODY,
    "transfer-identity": LINE + HOST + b"Transfer-Encoding: identity\r\n" + END + BODY,
    "chunk-size-no-number": LINE
    + HOST
    + MINE
    + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
    "http1.0-without-length": b"POST /api/events HTTP/1.0\r\n" + MINE + END + BODY,
    "two-content-types": HEAD + b"Content-Type: a/b\r\n" * 2 + END + BODY,
    "header-without-name": HEAD + b": x\r\n" + END + BODY,
    "blank-before-colon": HEAD + b"X-Odd : x\r\n" + END + BODY,
    "folded-header": HEAD + b"X-Odd: x\r\n y\r\n" + END + BODY,
    "nul-in-header": HEAD + b"X-Odd: x\x00y\r\n" + END + BODY,
    "control-in-header": HEAD + b"X-Odd: x\x01y\r\n" + END + BODY,
    "header-too-long": HEAD + b"X-Odd: " + b"x" * 33_000 + b"\r\n" + END + BODY,
    "path-too-long": b"POST /api/events?x=" + b"x" * 33_000 + b" HTTP/1.1\r\n" + END,
    "headers-too-many": HEAD + b"X-Odd: x\r\n" * 128 + END + BODY,
    "old-websocket": HEAD + b"Sec-WebSocket-Key1: x\r\n" + END + BODY,
}


@pytest.mark.parametrize("sent", UNPARSABLE.values(), ids=UNPARSABLE.keys())
@pytest.mark.receiver_row(9)
async def test_what_cannot_be_parsed_must_come_again(
    endpoint: Endpoint, sender: Sender, sent: bytes
) -> None:
    """Nobody knows whose it was, so it isn't thrown away: 503, and the end.

    Event Grid sends none of this, and a sane front end answers it itself. But a header that
    one adds, or a limit that is lower here than there, would otherwise be a final 400.
    """
    with capture_logs() as logs:
        await sender.send(sent)
        answer = await sender.answer()

    assert (answer.status, answer.body) == (503, b"")
    assert answer.headers["retry-after"] == "30"
    assert await sender.is_closed()
    assert endpoint.turned_away() == {"unparsable": 1}
    assert logs == []


ODD = {
    "plain": HEAD + END + BODY,
    "http1.0": b"POST /api/events HTTP/1.0\r\n" + MINE + LENGTH + END + BODY,
    "absolute-form": HEAD.replace(b"/api", b"http://worker/api") + END + BODY,
    "key-in-query": HEAD.replace(MINE, b"").replace(
        b"events", b"events?code=new%26key&x=%zz"
    )
    + END
    + BODY,
    "blank-lines-first": b"\r\n\r\n" + HEAD + END + BODY,
    "names-in-capitals": HEAD.upper()
    .replace(b"NEW&KEY", b"new&key")
    .replace(b"/API/EVENTS", b"/api/events")
    + END
    + BODY,
    "chunks": LINE
    + HOST
    + MINE
    + b"Transfer-Encoding: Chunked\r\n"
    + END
    + chunked(BODY),
    "many-headers": HEAD
    + b"".join(b"X-%d: %b\r\n" % (number, b"x" * 400) for number in range(100))
    + END
    + BODY,
    "ten-long-headers": HEAD
    + b"".join(b"X-%d: %b\r\n" % (number, b"x" * 4096) for number in range(10))
    + b"Authorization: Bearer "
    + b"x" * 8000
    + b"\r\n"
    + END
    + BODY,
    "header-in-utf-8": HEAD + "X-Odd: é\r\n".encode() + END + BODY,
    "header-in-latin-1": HEAD + b"X-Odd: \xe9\r\n" + END + BODY,
    "upgrade-to-http2": HEAD
    + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAA\r\n"
    + END
    + BODY,
    "unknown-expectation": HEAD + b"Expect: tea\r\n" + END + BODY,
    "expectation-of-http1.0": b"POST /api/events HTTP/1.0\r\nExpect: 100-continue\r\n"
    + MINE
    + LENGTH
    + END
    + BODY,
    "no-content-type": HEAD + END + BODY,
    "odd-content-type": HEAD + b"Content-Type: x;;=\r\n" + END + BODY,
    "form": HEAD + b"Content-Type: application/x-www-form-urlencoded\r\n" + END + BODY,
    "charset": HEAD
    + b"Content-Type: application/json; charset=klingon\r\n"
    + END
    + BODY,
    "byte-order-mark": HEAD.replace(LENGTH, b"Content-Length: %d\r\n" % (len(BODY) + 3))
    + END
    + b"\xef\xbb\xbf"
    + BODY,
}


@pytest.mark.parametrize("sent", ODD.values(), ids=ODD.keys())
@pytest.mark.receiver_row(3)
async def test_what_is_odd_but_legal_is_taken(
    endpoint: Endpoint, sender: Sender, sent: bytes
) -> None:
    """Whatever the content type says: JSON is told by itself, and 415 would help nobody."""
    await sender.send(sent)
    answer = await sender.answer()

    assert answer.status == 200
    assert "transfer-encoding" not in answer.headers
    assert len(endpoint.queue.deliveries) == 1


async def test_chunks_that_break_off_fail_at_once(
    endpoint: Endpoint, sender: Sender
) -> None:
    """Nobody waits for a body that the parser has given up."""
    await sender.send(LINE, HOST, MINE, b"Transfer-Encoding: chunked\r\n")
    await sender.send(b"Expect: 100-continue\r\n\r\n")
    await sender.interim()
    await sender.send(b"2\r\n[{\r\nzz\r\n")

    assert (await sender.answer()).status == 503
    assert endpoint.turned_away()["unreadable"] == 1
    assert endpoint.queue.deliveries == []


async def test_key_of_a_request_that_cannot_be_parsed_is_told_to_nobody(
    sender: Sender, caplog: pytest.LogCaptureFixture
) -> None:
    """aiohttp would quote the line in its answer and in its log."""
    await sender.send(b"POST /api/events?code=old-key\xff HTTP/1.1\r\n" + HOST + END)
    answer = await sender.answer()

    assert b"old-key" not in answer.body
    assert "old-key" not in caplog.text
    assert KEY not in caplog.text
