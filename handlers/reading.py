"""Reads the body of a delivery, within all bounds. The sender is known by now."""

import aiohttp
from aiohttp import web

from handlers import inflating
from handlers.budget import BodyBudget, CrowdedOutError, Hold
from handlers.inflating import Decoder, EncodingError
from handlers.limits import MIB
from handlers.listening import Connection
from handlers.refusals import RefusedError
from handlers.statuses import Refusal

MAX_BODY_BYTES = 8 * MIB
"""Far over the 1 MB that Event Grid sends at most; on the wire, and inflated."""
_BROKEN = (EncodingError, web.RequestPayloadError, aiohttp.ClientError, OSError)


async def read(
    request: web.Request, connection: Connection, budget: BodyBudget
) -> Hold:
    """Return the whole body, inflated, for the caller to release. Raises RefusedError.

    The connection sees to it that it comes in time, or fails what is read here.
    """
    if (request.content_length or 0) > MAX_BODY_BYTES:
        raise RefusedError(Refusal.TOO_LARGE)
    hold = budget.open(connection.give_way)
    try:
        await _read_into(hold, request)
    except BaseException:
        hold.release()
        raise
    hold.complete()
    return hold


async def _read_into(hold: Hold, request: web.Request) -> None:
    try:
        decoder = inflating.decoder(request.headers.get("Content-Encoding", ""))
        await _invite(request)
        await _fill(hold, decoder, request.content)
    except CrowdedOutError as error:
        raise RefusedError(Refusal.TOO_MANY_BYTES) from error
    except TimeoutError as error:
        raise RefusedError(Refusal.SLOW) from error
    except _BROKEN as error:
        raise RefusedError(Refusal.UNREADABLE) from error


async def _invite(request: web.Request) -> None:
    """Ask for the body if the sender waits for that: nobody who is unknown gets so far."""
    if request.headers.get("Expect", "").lower() != "100-continue":
        return
    if request.version >= aiohttp.HttpVersion11:
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        # aiohttp takes what was written for the beginning of the answer.
        request.writer.output_size = 0


async def _fill(hold: Hold, decoder: Decoder, content: aiohttp.StreamReader) -> None:
    received_bytes = 0
    async for part in content.iter_any():
        received_bytes += len(part)
        _check(received_bytes)
        for piece in decoder.feed(part):
            _check(len(hold.body) + len(piece))
            hold.append(piece)
    decoder.finish()
    if not hold.body:
        raise RefusedError(Refusal.UNREADABLE)


def _check(size_bytes: int) -> None:
    if size_bytes > MAX_BODY_BYTES:
        raise RefusedError(Refusal.TOO_LARGE)
