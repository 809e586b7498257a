"""aiohttp's server with connections of our own: bounded, and known by what they are doing.

aiohttp bounds neither the time nor the size of a head nor the number of connections, and
answers what it can't parse with 400, which is final. It offers subclasses to build on: of
its server, of its connection, and of the runner, which has a hook that makes the server.
"""

import asyncio
from collections.abc import Callable
from typing import Any, cast

from aiohttp import StreamReader, web

from handlers.budget import CrowdedOutError
from handlers.connections import Closed, ConnectionLimits, ConnectionTable, Stage
from handlers.statuses import Refusal

MAX_FIELD_BYTES = 32 * 1024
"""Wide: a long token must not be the reason to turn a delivery away."""
LINGER_SECONDS = 2.0
"""How long a sender that was answered early may go on, so that it reads the answer."""
READ_BYTES = 64 * 1024
_LAST_WORDS = (
    b"HTTP/1.1 503 Service Unavailable\r\n"
    b"Retry-After: 30\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
)
"""To who is closed before there is a request that aiohttp could answer."""
TurnAway = Callable[[Refusal, BaseException | None], web.Response]
"""Builds the answer to what could not even become a request."""


class Connection(web.RequestHandler):
    """One connection. `began` is when its request did, by the clock of the loop."""

    __slots__ = (
        "_begun",
        "_content",
        "_head_bytes",
        "_head_since",
        "_is_ours",
        "_limits",
        "_table",
        "_turn_away",
        "_unread_since",
        "_wire",
        "began",
        "stage",
    )

    def __init__(self, server: "Listener", loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(
            server,
            loop=loop,
            # The query holds the key.
            access_log=None,  # type: ignore[arg-type]  # as aiohttp's runner passes it on
            keepalive_timeout=server.limits.idle_seconds,
            lingering_time=LINGER_SECONDS,
            max_field_size=MAX_FIELD_BYTES,
            max_line_size=MAX_FIELD_BYTES,
            read_bufsize=READ_BYTES,
            auto_decompress=False,
        )
        self.stage = Stage.WAITING
        self.began = 0.0
        self._table = server.table
        self._limits = server.limits
        self._turn_away = server.turn_away
        self._content: StreamReader | None = None
        self._is_ours = False
        self._begun = 0
        self._head_bytes = 0
        self._head_since: float | None = None
        self._unread_since: float | None = None
        self._wire: asyncio.Transport | None = None

    @staticmethod
    def of(request: web.BaseRequest) -> "Connection":
        """The connection that this request came by."""
        if not isinstance(request.protocol, Connection):
            raise TypeError("it came by a connection of another server")
        return request.protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        # aiohttp lets go of its own once it has asked it to close.
        self._wire = cast("asyncio.Transport", transport)
        self._head_since = self._loop.time()
        self._table.add(self)

    def connection_lost(self, exc: BaseException | None) -> None:
        self._table.discard(self)
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Answers pile up, as nobody reads them."""
        super().pause_writing()
        self._unread_since = self._loop.time()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._unread_since = None

    def data_received(self, data: bytes) -> None:
        """Watch over the head of the next request, and over a body that breaks off."""
        if data and self._is_between_requests():
            if self._head_since is None:
                self._head_since = self._loop.time()
            self._head_bytes += len(data)
        parsed = self._request_count
        super().data_received(data)
        if self._request_count != parsed:
            self._head_bytes = 0
            self._parsed_one_more()
        elif self._head_bytes > self._limits.head_bytes:
            self._table.turn_out(self, Closed.LONG_HEAD)

    def begin(self, content: StreamReader) -> None:
        """A request is complete but for its body."""
        now = self._loop.time()
        self._begun += 1
        self._content = content
        self._is_ours = False
        self.began = now if self._head_since is None else self._head_since
        self._head_since = None
        self._table.move(self, Stage.UNKNOWN)

    def sending(self) -> None:
        """Its sender is one of ours."""
        self._is_ours = True
        self._table.move(self, Stage.SENDING)

    def at_work(self) -> None:
        """Its body is complete; from now on it gives way to nobody."""
        self._table.move(self, Stage.AT_WORK)

    def end(self) -> None:
        """It has its answer."""
        if self._content is not None and not self._content.is_eof():
            stage = Stage.ANSWERED
        else:
            stage = Stage.IDLE if self._is_ours else Stage.WAITING
        self._table.move(self, stage)

    def give_way(self) -> None:
        """Fail what reads the body: others need the room."""
        if self._content is not None:
            self._content.set_exception(CrowdedOutError())

    def overdue(self, now: float) -> Closed | None:
        latest = now - self._limits.head_seconds
        if self._head_since is not None and self._head_since < latest:
            return Closed.SLOW_HEAD
        if self._unread_since is not None and self._unread_since < latest:
            return Closed.UNREAD
        return None

    def turn_out(self) -> None:
        if self.stage is Stage.SENDING:
            self.give_way()
        is_awaited = self.stage in {Stage.UNKNOWN, Stage.SENDING}
        if self.transport is not None and (is_awaited or self._head_bytes):
            self.transport.write(_LAST_WORDS)
        self.force_close()
        if self._wire is not None and self._wire.get_write_buffer_size():
            # It would stay open until all is read, which may be never.
            self._wire.abort()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002 - it quotes the request
    ) -> web.StreamResponse:
        """Answer what could not be parsed (400 to aiohttp) or has failed: from our table.

        Neither its log nor its answer quotes the request, as aiohttp's would: key and all.
        """
        if request.writer.output_size > 0:
            raise ConnectionError("the answer has begun already")
        is_bug = status != web.HTTPBadRequest.status_code
        answer = self._turn_away(
            Refusal.BUG if is_bug else Refusal.UNPARSABLE, exc if is_bug else None
        )
        answer.force_close()
        return answer

    def log_exception(self, *_args: Any, **_kwargs: Any) -> None:
        """Say nothing: what is worth a line has one of ours, and these quote the request."""

    def _is_between_requests(self) -> bool:
        is_queued = self._request_count != self._begun
        return not is_queued and (self._content is None or self._content.is_eof())

    def _parsed_one_more(self) -> None:
        if self._content is not None and not self._content.is_eof():
            # No request can follow a body that is not complete: the parser gave it up, and
            # aiohttp would leave whoever reads it waiting.
            self._content.set_exception(web.RequestPayloadError("broken off"))
        elif self._request_count - self._begun > 1 or self.stage >= Stage.UNKNOWN:
            # Sent before the answer to the one before: it can wait there. aiohttp reads on
            # as soon as it takes the next one.
            self._pause_reading_for_buffer()


class Listener(web.Server):
    """Makes a Connection for each that comes, and tells it when its requests begin and end."""

    def __init__(
        self,
        inner: web.Server,
        table: ConnectionTable,
        limits: ConnectionLimits,
        turn_away: TurnAway,
    ) -> None:
        super().__init__(self._serve, request_factory=inner.request_factory)
        self.table = table
        self.limits = limits
        self.turn_away = turn_away
        self._inner = inner.request_handler

    def __call__(self) -> Connection:
        return Connection(self, asyncio.get_running_loop())

    async def _serve(self, request: web.BaseRequest) -> web.StreamResponse:
        connection = Connection.of(request)
        connection.begin(request.content)
        try:
            return await self._inner(request)
        finally:
            connection.end()


class ListeningRunner(web.AppRunner):
    """Runs an app behind a Listener."""

    def __init__(
        self,
        app: web.Application,
        *,
        limits: ConnectionLimits,
        table: ConnectionTable,
        turn_away: TurnAway,
        grace_seconds: float,
    ) -> None:
        super().__init__(app, shutdown_timeout=grace_seconds)
        self._limits = limits
        self._table = table
        self._turn_away = turn_away

    async def _make_server(self) -> web.Server:
        inner = await super()._make_server()
        return Listener(inner, self._table, self._limits, self._turn_away)
