"""How the stand-in's answers go out over aiohttp: paced, cut, stalled, counted."""

import asyncio
from dataclasses import dataclass, replace

from aiohttp import web

from samples.answers import NO_HEAD, Answer
from samples.pace import Pace

PIECE_BYTES = 512 * 1024
"""How much is handed to the socket at once: few calls per GiB, little held."""
_HEADERS = {
    "Server": "Kestrel",
    "MS-CV": "c3RhbmQtaW4gZm9yIEFDUw.0",
    "X-Data-Center-Alias": "eus",
}


@dataclass(slots=True, kw_only=True)
class SeenRequest:
    """One request as it arrived; status and count fill in as the answer goes out."""

    method: str
    host: str
    """The Host header: which listener, under which name."""
    path: str
    range: str | None
    signed_at: str | None
    """The x-ms-date of the signature."""
    status: int = 0
    """0 until the answer begins."""
    bytes_sent: int = 0
    """Of the body, and handed to the connection; the peer may have left before."""


async def send(
    request: web.BaseRequest, answer: Answer, *, seen: SeenRequest, pace: Pace | None
) -> web.StreamResponse:
    """Send the answer, faults of framing and timing included."""
    await asyncio.sleep(answer.delay_s)
    response = _head(answer)
    if NO_HEAD not in (answer.cut_after, answer.hangs_after):
        seen.status = answer.status
        await response.prepare(request)
        await _send_body(response, _sent_part(answer), seen=seen, pace=pace)
    if answer.cut_after is not None and request.transport is not None:
        # What was written goes out first, as from a proxy that gives up.
        request.transport.close()
    if answer.hangs_after is not None:
        await _wait_for_leave()
    return response


def _head(answer: Answer) -> web.StreamResponse:
    response = web.StreamResponse(
        status=answer.status, headers=_HEADERS | answer.headers
    )
    if answer.is_chunked:
        response.enable_chunked_encoding()
    else:
        response.content_length = answer.length
    if not answer.length:
        # aiohttp would name a type for a body that isn't there.
        response.headers.popall("Content-Type", None)
    return response


def _sent_part(answer: Answer) -> Answer:
    """Leave out what a cut or a stall keeps from the peer."""
    limits = [answer.length, answer.cut_after, answer.hangs_after]
    return replace(answer, length=min(n for n in limits if n is not None))


async def _send_body(
    response: web.StreamResponse,
    part: Answer,
    *,
    seen: SeenRequest,
    pace: Pace | None,
) -> None:
    piece_bytes = pace.piece_bytes if pace else PIECE_BYTES
    end = part.offset + part.length
    for offset in range(part.offset, end, piece_bytes):
        piece = part.content.read(offset, min(piece_bytes, end - offset))
        if pace:
            await pace.take(len(piece))
        seen.bytes_sent += len(piece)
        await response.write(piece)


async def _wait_for_leave() -> None:
    """Wait for the peer to leave, which cancels the handler."""
    await asyncio.get_running_loop().create_future()
