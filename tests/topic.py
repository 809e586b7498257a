"""A stand-in for an Event Grid topic: takes what the official client posts, or doesn't."""

import asyncio
import json
import ssl
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from aiohttp import web

Event = dict[str, Any]
KEY = "the-key-of-the-topic"
BATCH = "application/cloudevents-batch+json; charset=utf-8"
PATIENCE_SECONDS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the topic answers instead of 200."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Mapping[str, Any] = field(default_factory=dict)


class HANG:
    """The topic takes the request and never answers."""


class StandInTopic:
    """`posts` is what came in, `events` what was taken. Answers are planned one by one.

    `tokens` may grow; under TLS it is `localhost`.
    `refuses`: events whose id contains one of these make their whole batch a 400.
    """

    def __init__(
        self,
        *,
        key: str = KEY,
        tokens: Collection[str] = (),
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        self._key = key
        self._tokens = tokens
        self._ssl_context = ssl_context
        self._runner: web.AppRunner | None = None
        self._changed = asyncio.Condition()
        self._released = asyncio.Event()
        self.always: Answer | type[HANG] | None = None
        self.plan: list[Answer | type[HANG]] = []
        self.refuses: tuple[str, ...] = ()
        self.posts: list[list[Event]] = []
        self.post_bytes: list[int] = []
        self.events: list[Event] = []
        self.endpoint = ""

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=4 * 1024 * 1024)
        app.router.add_post("/api/events", self._take)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=self._ssl_context)
        await site.start()
        port = self._runner.addresses[0][1]
        origin = f"https://localhost:{port}" if self._ssl_context else None
        self.endpoint = f"{origin or f'http://127.0.0.1:{port}'}/api/events"
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._released.set()
        if self._runner is not None:
            await self._runner.cleanup()

    @property
    def ids(self) -> list[str]:
        return [str(event["id"]) for event in self.events]

    async def wait_for(self, *, events: int = 0, posts: int = 0) -> None:
        """Wait until so much was taken, and so much came in."""
        await self.wait_until(
            lambda: len(self.events) >= events and len(self.posts) >= posts
        )

    async def wait_until(self, is_so: Callable[[], bool]) -> None:
        """Wait until it is so; looks whenever something came in or was taken."""
        async with asyncio.timeout(PATIENCE_SECONDS), self._changed:
            await self._changed.wait_for(is_so)

    async def _take(self, request: web.Request) -> web.Response:
        body = await request.read()
        events = json.loads(body)
        async with self._changed:
            self.posts.append(events)
            self.post_bytes.append(len(body))
            self._changed.notify_all()
        answer = self._answer(request, events)
        if answer is HANG:
            await self._released.wait()
        if isinstance(answer, Answer):
            return web.json_response(
                answer.body, status=answer.status, headers=answer.headers
            )
        async with self._changed:
            self.events += events
            self._changed.notify_all()
        return web.Response()

    def _answer(
        self, request: web.Request, events: list[Event]
    ) -> Answer | type[HANG] | None:
        if not self._is_known(request):
            return Answer(status=401)
        if request.headers["Content-Type"] != BATCH:
            return Answer(status=415)
        if self.always is not None:
            return self.always
        if self.plan:
            return self.plan.pop(0)
        is_refused = any(
            part in event["id"] for event in events for part in self.refuses
        )
        return Answer(status=400) if is_refused else None

    def _is_known(self, request: web.Request) -> bool:
        bearer = request.headers.get("Authorization", "").removeprefix("Bearer ")
        return request.headers.get("aeg-sas-key") == self._key or bearer in self._tokens
