"""Event Grid's way in without a public endpoint: a Storage Queue that it delivers to.

The rule: a message is deleted only once all that it announces is durable. One that can't be
understood goes to the queue's poison queue; one that can't be stored now comes back.
"""

import asyncio
import base64
import binascii
import json
from collections.abc import Callable, Collection, Sequence
from datetime import datetime
from enum import Enum, auto
from random import Random
from typing import Protocol, assert_never

import structlog

from handlers.receiver import Received, ReceivedKind
from handlers.stopping import unless
from worker import retry
from worker.errors import QueueUnavailableError
from worker.model import ReceivedMessage
from worker.ports import Clock
from worker.retry import SYSTEM_RANDOM
from worker.telemetry import meters
from worker.telemetry.instruments import DELIVERIES

ORIGIN = "inbox"
PAGE_MESSAGES = 32
"""The most that the service gives at once; all of them are received side by side."""
BUDGET_SECONDS = 25.0
"""As for a delivery to the webhook."""
HIDE_SECONDS = 120
"""How long a received message stays hidden: longer than its budget and the slowest call
of the queue (60 s, tried again), so that nobody need renew it, and short enough after a crash."""
FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 10.0
MOST_CRASHES = 10
"""Received so often, a message that meets a bug of ours is poison."""
MAX_MESSAGE_CHARS = 64 * 1024
_MAX_REASON_CHARS = 2000
_JSON_BEGINS = ("{", "[", '"', "\N{ZERO WIDTH NO-BREAK SPACE}")
"""No base64 begins so."""

log: structlog.typing.FilteringBoundLogger = structlog.get_logger(__name__)


class DeliveryReceiver(Protocol):
    """What an inbox needs of handlers.receiver."""

    async def receive(
        self, body: bytes, *, origin: str, delivery_count: int | None = None
    ) -> Received: ...


class InboxQueue(Protocol):
    """What an inbox needs of the queue. Trouble of the queue is QueueUnavailableError.

    A message that somebody else has received by now is theirs: hiding and deleting it does
    nothing.
    """

    async def receive(
        self, count: int, *, hide_seconds: int
    ) -> Sequence[ReceivedMessage]:
        """Up to `count` messages, hidden from everybody else for so long."""
        ...

    async def hide(self, message: ReceivedMessage, *, seconds: int) -> None:
        """Let the message come back after so long."""
        ...

    async def delete(self, message: ReceivedMessage) -> None: ...

    async def poison(self, text: str) -> None:
        """Put a message into the poison queue."""
        ...


class _Turn(Enum):
    """What one look into the inbox came to."""

    WORKED = auto()
    PARTLY = auto()
    """Some of what was received is done, and some comes back."""
    IDLE = auto()
    TROUBLE = auto()


class _Settled(Enum):
    """What became of one message."""

    DONE = auto()
    COMES_BACK = auto()
    LEFT = auto()
    """The inbox could not be told; the message comes back when it is no longer hidden."""


class Inbox:
    """Receives messages as the webhook receives deliveries; `cut` cuts a stop short."""

    def __init__(
        self,
        receiver: DeliveryReceiver,
        queue: InboxQueue,
        clock: Clock,
        *,
        cut: asyncio.Event,
        random: Random = SYSTEM_RANDOM,
    ) -> None:
        self._receiver = receiver
        self._queue = queue
        self._clock = clock
        self._cut = cut
        self._random = random
        self._unavailable_since: float | None = None
        self._is_settling_unproven = False

    async def run(self, stopping: asyncio.Event) -> None:
        """Receive until `stopping` is set; what was received by then is finished."""
        pause = 0.0
        while not stopping.is_set():
            if await self._turn(stopping) is _Turn.WORKED:
                pause = 0.0
                continue
            pause = min(max(2 * pause, FIRST_PAUSE_SECONDS), LONGEST_PAUSE_SECONDS)
            await self._sleep(stopping, self._random.uniform(pause / 2, pause))

    async def empty(
        self, stopping: asyncio.Event, *, turned: Callable[[], None] | None = None
    ) -> bool:
        """Receive until nothing is left that can be received; whether that was all.

        `turned` is called at each turn: a long inbox may take hours, and is no standstill.
        """
        turns = [_Turn.WORKED]
        while turns[-1] in {_Turn.WORKED, _Turn.PARTLY} and not stopping.is_set():
            if turned is not None:
                turned()
            turns.append(await self._turn(stopping))
        return turns[-1] is _Turn.IDLE and _Turn.PARTLY not in turns

    async def _sleep(self, stopping: asyncio.Event, seconds: float) -> None:
        waits = (
            asyncio.ensure_future(stopping.wait()),
            asyncio.ensure_future(self._clock.sleep(seconds)),
        )
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    async def _turn(self, stopping: asyncio.Event) -> _Turn:
        try:
            page = await self._page(stopping)
        except QueueUnavailableError as error:
            self._failed(error)
            return _Turn.TROUBLE
        settled = await self._take(page)
        if _Settled.LEFT in settled:
            self._is_settling_unproven = True
        elif page or not self._is_settling_unproven:
            # An answer alone doesn't prove that messages can be settled again.
            self._went_well()
        if not page:
            return _Turn.IDLE
        if _Settled.DONE not in settled:
            return _Turn.TROUBLE
        return _Turn.WORKED if settled == {_Settled.DONE} else _Turn.PARTLY

    async def _page(self, stopping: asyncio.Event) -> Sequence[ReceivedMessage]:
        """Ask for messages; a stop doesn't wait for the answer."""
        asking = self._queue.receive(PAGE_MESSAGES, hide_seconds=HIDE_SECONDS)
        return await unless(stopping, asking) or ()

    async def _take(self, page: Sequence[ReceivedMessage]) -> set[_Settled]:
        """Receive them side by side, so that a slow one holds up no other."""
        async with asyncio.TaskGroup() as group:
            tasks = {group.create_task(self._take_one(message)) for message in page}
            await self._until_cut(tasks)
        return {_Settled.LEFT if task.cancelled() else task.result() for task in tasks}

    async def _until_cut(self, tasks: Collection[asyncio.Task[_Settled]]) -> None:
        cut = asyncio.ensure_future(self._cut.wait())
        try:
            while any(not task.done() for task in tasks) and not cut.done():
                await asyncio.wait(
                    {cut, *(task for task in tasks if not task.done())},
                    return_when=asyncio.FIRST_COMPLETED,
                )
        finally:
            for task in (*tasks, cut):
                task.cancel()

    async def _take_one(self, message: ReceivedMessage) -> _Settled:
        received = await self._received(message)
        try:
            return await self._settle(message, received)
        except QueueUnavailableError as error:
            self._failed(error)
            return _Settled.LEFT

    async def _received(self, message: ReceivedMessage) -> Received:
        try:
            async with asyncio.timeout(BUDGET_SECONDS):
                return await self._receiver.receive(
                    body_of(message.text),
                    origin=ORIGIN,
                    delivery_count=message.times - 1,
                )
        except TimeoutError:
            _count_rejected("timeout")
            log.warning("delivery.rejected", origin=ORIGIN, reason="timeout")
            return Received(kind=ReceivedKind.UNAVAILABLE)
        except Exception:
            # The firewall: a message that meets a bug must not stop the others.
            _count_rejected("bug")
            log.exception("inbox.crashed", deliveries=message.times)
            is_poison = message.times >= MOST_CRASHES
            kind = ReceivedKind.MALFORMED if is_poison else ReceivedKind.UNAVAILABLE
            return Received(kind=kind, reason="a bug of the worker")

    async def _settle(self, message: ReceivedMessage, received: Received) -> _Settled:
        match received.kind:
            case ReceivedKind.UNAVAILABLE:
                seconds = retry.backoff(message.times, random=self._random)
                await self._queue.hide(message, seconds=max(round(seconds), 1))
                return _Settled.COMES_BACK
            case ReceivedKind.MALFORMED:
                why = received.reason or ""
                await self._queue.poison(_poisoned(message, why, at=self._clock.now()))
                log.error("inbox.poisoned", reason=why, deliveries=message.times)
            case (
                ReceivedKind.ACCEPTED
                | ReceivedKind.IGNORED
                | ReceivedKind.VALIDATION
                | ReceivedKind.DEFERRED
            ):
                pass
            case _:
                assert_never(received.kind)
        await self._queue.delete(message)
        return _Settled.DONE

    def _failed(self, error: QueueUnavailableError) -> None:
        if self._unavailable_since is None:
            self._unavailable_since = self._clock.monotonic()
            log.error("inbox.unavailable", error=str(error), hint=error.hint)

    def _went_well(self) -> None:
        if self._unavailable_since is not None:
            after_s = self._clock.monotonic() - self._unavailable_since
            self._unavailable_since = None
            self._is_settling_unproven = False
            log.info("inbox.resumed", after_s=round(after_s, 1))


def _count_rejected(reason: str) -> None:
    """What the receiver could not count itself."""
    meters.add(DELIVERIES, origin=ORIGIN, outcome="rejected", reason=reason)


def body_of(text: str) -> bytes:
    """The delivery in a message: base64 of JSON, or JSON as it is (both are seen).

    What is neither is returned as it is, for the receiver to refuse.
    """
    stripped = text.strip()
    if not stripped.startswith(_JSON_BEGINS):
        try:
            return base64.b64decode("".join(stripped.splitlines()), validate=True)
        except (binascii.Error, ValueError):
            pass
    return text.encode(errors="surrogatepass")


def _poisoned(message: ReceivedMessage, why: str, *, at: datetime) -> str:
    """The message and why it is poison; the message alone if both don't fit into one."""
    told = json.dumps(
        {
            "v": 1,
            "kind": ORIGIN,
            "reason": why[:_MAX_REASON_CHARS],
            "at": at.isoformat(),
            "deliveries": message.times,
            "message": message.text,
        }
    )
    return told if len(told) <= MAX_MESSAGE_CHARS else message.text
