"""aiohttp's server with connections of our own: bounded, and known by what they are doing.

aiohttp bounds neither the time nor the size of a head nor the number of connections, and
answers what it can't parse with 400, which is final. It offers subclasses to build on: of
its server, of its connection, and of the runner, which has a hook that makes the server.
"""

import asyncio
from collections.abc import Mapping
from typing import Any, cast

from aiohttp import StreamReader, web

from handlers import statuses
from handlers.budget import CrowdedOutError
from handlers.connections import Closed, ConnectionTable, Stage
from handlers.limits import Limits
from handlers.refusals import Refusals
from handlers.statuses import Refusal

MAX_FIELD_BYTES = 32 * 1024
"""Wide: a long token must not be the reason to turn a delivery away."""
LINGER_SECONDS = 2.0
"""How long a sender that was answered early may go on, so that it reads the answer."""
READ_BYTES = 64 * 1024
_NO_HEADERS: Mapping[str, str] = {}


class Connection(web.RequestHandler):
    """One connection.

    `is_given_up`: it has had its answer, or its end, whatever comes of the request.
    """

    __slots__ = (
        "_began",
        "_begun",
        "_content",
        "_head_bytes",
        "_head_since",
        "_headers",
        "_is_ours",
        "_limits",
        "_refusals",
        "_sending_since",
        "_table",
        "_unread_since",
        "_wire",
        "is_given_up",
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
        self.is_given_up = False
        self._table = server.table
        self._limits = server.limits
        self._refusals = server.refusals
        self._headers = _NO_HEADERS
        self._began = self._sending_since = 0.0
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
        # A Listener makes no others.
        return cast("Connection", request.protocol)

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

    def begin(self, request: web.BaseRequest) -> None:
        """A request is complete but for its body."""
        self._begun += 1
        self._content, self._headers = request.content, request.headers
        self._is_ours = False
        since = self._head_since
        self._began = self._loop.time() if since is None else since
        self._head_since = None
        self._table.move(self, Stage.UNKNOWN)

    def sending(self) -> None:
        """Its sender is one of ours."""
        self._is_ours = True
        self._sending_since = self._loop.time()
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
        self._headers = _NO_HEADERS
        self._table.move(self, stage)

    def give_way(self) -> None:
        """Fail what reads the body: others need the room."""
        self._fail_reading(CrowdedOutError())

    def check(self, now: float) -> None:
        """Give up what takes too long. Work goes on: only its answer is given up."""
        latest = now - self._limits.head_seconds
        if self._head_since is not None and self._head_since < latest:
            self._table.turn_out(self, Closed.SLOW_HEAD)
        elif self._unread_since is not None and self._unread_since < latest:
            self._table.turn_out(self, Closed.UNREAD)
        elif self.stage >= Stage.UNKNOWN:
            self._check_request(now)

    def turn_out(self) -> None:
        is_awaited = self.stage >= Stage.UNKNOWN
        if self.transport is not None and (is_awaited or self._head_bytes):
            self.transport.write(statuses.LAST_WORDS)
        self.is_given_up = True
        self.force_close()
        if self._wire is not None and self._wire.get_write_buffer_size():
            # It would stay open until all is read, which may be never.
            self._wire.abort()

    def handle_error(
        self,
        request: web.BaseRequest,  # noqa: ARG002 - its method, not ours
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002 - it quotes the request
    ) -> web.StreamResponse:
        """Answer what could not be parsed (400 to aiohttp) or has failed: from our table.

        Neither its log nor its answer quotes the request, as aiohttp's would: key and all.
        """
        is_bug = status != web.HTTPBadRequest.status_code
        answer = self._refusals.turn_away(
            Refusal.BUG if is_bug else Refusal.UNPARSABLE,
            _NO_HEADERS,
            bug=exc if is_bug else None,
        )
        answer.force_close()
        return answer

    def log_exception(self, *_args: Any, **_kwargs: Any) -> None:
        """Say nothing: what is worth a line has one of ours, and these quote the request."""

    def _is_between_requests(self) -> bool:
        is_queued = self._request_count != self._begun
        return not is_queued and (self._content is None or self._content.is_eof())

    def _check_request(self, now: float) -> None:
        if now - self._began > self._limits.budget_seconds:
            self._refusals.turn_away(Refusal.TIMEOUT, self._headers)
            self._table.discard(self)
            self.turn_out()
        elif self._is_sending_for(now) > self._limits.body_seconds:
            self._fail_reading(TimeoutError("a slow body"))

    def _is_sending_for(self, now: float) -> float:
        return now - self._sending_since if self.stage is Stage.SENDING else 0.0

    def _fail_reading(self, error: Exception) -> None:
        if self._content is not None:
            self._content.set_exception(error)

    def _parsed_one_more(self) -> None:
        if self._content is not None and not self._content.is_eof():
            # No request can follow a body that is not complete: the parser gave it up, and
            # aiohttp would leave whoever reads it waiting.
            self._fail_reading(web.RequestPayloadError("broken off"))
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
        limits: Limits,
        refusals: Refusals,
    ) -> None:
        super().__init__(self._serve, request_factory=inner.request_factory)
        self.table = table
        self.limits = limits
        self.refusals = refusals
        self._inner = inner.request_handler

    def __call__(self) -> Connection:
        return Connection(self, asyncio.get_running_loop())

    async def _serve(self, request: web.BaseRequest) -> web.StreamResponse:
        connection = Connection.of(request)
        connection.begin(request)
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
        limits: Limits,
        table: ConnectionTable,
        refusals: Refusals,
        grace_seconds: float,
    ) -> None:
        super().__init__(app, shutdown_timeout=grace_seconds)
        self._limits = limits
        self._table = table
        self._refusals = refusals

    async def _make_server(self) -> web.Server:
        inner = await super()._make_server()
        return Listener(inner, self._table, self._limits, self._refusals)
