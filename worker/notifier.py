"""Tells what worker/notices.py wrote down: each notice at least once, in its own time.

Nothing waits for it: a topic that is down, slow or not ours delays notices and nothing else.
What was told has a marker beside it. After a kill between the two it is told again, under
the same id.
"""

import asyncio
import json
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Coroutine,
    Iterable,
    Sequence,
)
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from random import Random
from typing import Any

import structlog

from worker import names, retry, siblings
from worker.errors import (
    BugError,
    NewerFormatError,
    NoticeRefusedError,
    RetryableError,
    TopicUnavailableError,
)
from worker.notices import MOST_NOTICE_BYTES, Outbox
from worker.ports import Archive, Clock, Topic
from worker.stored import Notice, StoredFormatError, decode
from worker.tracebacks import words_of

LOOK_SECONDS = 600.0
"""How often it looks for what other processes wrote and, being dead, can't tell."""
LOOK_BACK_DAYS, LOOK_BACK_SHORT_DAYS = 7, 3
"""How far at the start and after trouble, and else."""
LAST_WORDS_SECONDS = 5.0
"""How long a worker that stops waits for its notices; what is left is told by the next."""
MOST_AT_ONCE = 50
MOST_REMEMBERED = 1000
"""How many notices that were told, and can't be marked, are told no second time."""
log: structlog.typing.FilteringBoundLogger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Owed:
    """A notice that nobody told yet, as far as is known."""

    name: str
    notice: Notice
    size_bytes: int


class Notifier:
    """Publishes notices to the topic. `instance` names this worker in the markers."""

    def __init__(
        self,
        *,
        archive: Archive,
        outbox: Outbox,
        topic: Topic,
        clock: Clock,
        random: Random,
        instance: str,
    ) -> None:
        self._archive = archive
        self._outbox = outbox
        self._topic = topic
        self._clock = clock
        self._random = random
        self._instance = instance
        self._look_at = clock.monotonic()
        self._looks_far = True
        self._failures = 0
        self._failing_since = 0.0
        self._has_taken = False
        self._unmarked: dict[str, None] = {}

    @asynccontextmanager
    async def running(self, cut: asyncio.Event) -> AsyncIterator[None]:
        """Tell while the body runs, and what is left then for a little longer.

        `cut` cuts that short.
        """
        telling = asyncio.create_task(self._run(), name="notifier")
        try:
            yield
            await self._say_last_words(cut)
        finally:
            telling.cancel()
            await asyncio.wait({telling})

    async def _run(self) -> None:
        while True:
            self._outbox.nudge.clear()
            pause = await self.turn()
            if pause is not None:
                # Whatever is new meanwhile would meet the same trouble.
                await self._clock.sleep(pause)
                continue
            if not self._outbox.waiting:
                self._outbox.told_all.set()
            await self._rest()

    async def turn(self) -> float | None:
        """Tell what is owed; after a failure, for how many seconds to let it be."""
        try:
            await self._tell_owed()
        except RetryableError as error:
            return self._failed(error)
        except Exception as error:
            # A firewall: notices must not end the worker.
            log.exception("notify.crashed")
            return self._failed(BugError(words_of(error)))
        self._worked()
        return None

    def _failed(self, error: RetryableError) -> float:
        if not self._failures:
            self._failing_since = self._clock.monotonic()
            log.error("notify.unavailable", reason=error.reason, error=str(error))
        self._failures += 1
        self._look_at, self._looks_far = self._clock.monotonic(), True
        backoff = retry.backoff(self._failures, random=self._random)
        asked = min(error.retry_after or 0, retry.MAX_BACKOFF_SECONDS)
        return max(backoff, asked)

    def _worked(self) -> None:
        if self._failures:
            after = self._clock.monotonic() - self._failing_since
            log.info("notify.resumed", after_s=round(after, 1))
        self._failures = 0

    async def _tell_owed(self) -> None:
        waiting = tuple(self._outbox.waiting)
        await self._tell(_each(waiting))
        self._outbox.told(waiting)
        if self._clock.monotonic() >= self._look_at or self._outbox.has_overflowed:
            await self._tell_found()
        # Last, for what can't be marked must not hold up what is new.
        await self._mark_told()

    async def _tell_found(self) -> None:
        self._outbox.has_overflowed = False
        async with aclosing(self._look()) as found:
            await self._tell(found)
        jittered = self._random.uniform(LOOK_SECONDS / 2, LOOK_SECONDS)
        self._look_at = self._clock.monotonic() + jittered
        self._looks_far = False

    async def _look(self) -> AsyncGenerator[str, None]:
        """Names of notices without a marker, oldest day first.

        Tomorrow's too: the clock of the storage may be ahead of ours.
        """
        today = self._clock.now().date()
        back = LOOK_BACK_DAYS if self._looks_far else LOOK_BACK_SHORT_DAYS
        for ahead in range(-back, 2):
            folder = names.notices_folder(today + timedelta(days=ahead))
            async for name in _unmarked(self._archive.list(folder)):
                yield name

    async def _tell(self, owed: AsyncIterator[str]) -> None:
        """Publish in batches that the topic can take."""
        batch: list[_Owed] = []
        async for name in owed:
            read = await self._read(name)
            if read is None:
                continue
            size = read.size_bytes + sum(each.size_bytes for each in batch)
            if batch and (len(batch) >= MOST_AT_ONCE or size > MOST_NOTICE_BYTES):
                await self._publish(batch)
                batch = []
            batch.append(read)
        if batch:
            await self._publish(batch)

    async def _read(self, name: str) -> _Owed | None:
        """The notice, unless it is told already, or nobody here can read it."""
        if name in self._unmarked:
            return None
        if await self._archive.stat(names.notice_sent_name(name)) is not None:
            return None
        data = await self._archive.read(name)
        if data is None:
            return None
        try:
            notice = decode(Notice, data)
        except NewerFormatError:
            return None
        except StoredFormatError as error:
            await self._refuse(name, str(error))
            return None
        return _Owed(name=name, notice=notice, size_bytes=len(data))

    async def _publish(self, batch: Sequence[_Owed]) -> None:
        """Publish, and mark what was told, or will never be.

        A topic that has taken nothing yet may refuse all of its own accord, for instance
        because it expects another schema: then nothing is marked.
        """
        refused = await self._refused_of(batch)
        for owed, error in refused:
            if not (error.for_good or self._has_taken):
                raise TopicUnavailableError(str(error)) from error
            await self._refuse(owed.name, str(error))

    async def _refused_of(
        self, batch: Sequence[_Owed]
    ) -> list[tuple[_Owed, NoticeRefusedError]]:
        """Publish, in halves where the whole is refused; returns what is refused alone."""
        try:
            await self._topic.publish([owed.notice for owed in batch])
        except NoticeRefusedError as error:
            if len(batch) == 1:
                return [(batch[0], error)]
            half = len(batch) // 2
            first = await self._refused_of(batch[:half])
            return first + await self._refused_of(batch[half:])
        self._has_taken = True
        log.info("notify.sent", notices=len(batch))
        self._unmarked.update(dict.fromkeys(owed.name for owed in batch))
        await self._mark_told()
        return []

    async def _mark_told(self) -> None:
        """Mark what was told, lest it be told again; what can't be marked is remembered."""
        try:
            for name in tuple(self._unmarked):
                await self._mark(names.notice_sent_name(name))
                del self._unmarked[name]
        finally:
            for name in tuple(self._unmarked)[:-MOST_REMEMBERED]:
                del self._unmarked[name]

    async def _refuse(self, name: str, why: str) -> None:
        log.error("notice.refused", name=name, error=why)
        await self._mark(names.notice_refused_name(name), why=why)

    async def _mark(self, name: str, **more: str) -> None:
        said = {"v": 1, "at": self._clock.now().isoformat(), "by": self._instance}
        document = json.dumps(said | more, indent=2, sort_keys=True) + "\n"
        await siblings.create_once(self._archive, name, document.encode())

    async def _rest(self) -> None:
        """Until something new is to be told, or it is time to look."""
        until_look = max(self._look_at - self._clock.monotonic(), 0)
        await _first_of(self._outbox.nudge.wait(), self._clock.sleep(until_look))

    async def _say_last_words(self, cut: asyncio.Event) -> None:
        if self._failures:
            return
        await _first_of(
            self._outbox.told_all.wait(),
            cut.wait(),
            self._clock.sleep(LAST_WORDS_SECONDS),
        )


async def _each(known: Iterable[str]) -> AsyncIterator[str]:
    for name in known:
        yield name


async def _unmarked(listed: AsyncIterator[str]) -> AsyncIterator[str]:
    """Notices without a marker; names come in order, so a marker comes right behind its own."""
    last = None
    async for name in listed:
        if name.endswith(".json"):
            if last is not None:
                yield last
            last = name
        elif last is not None and name.startswith(last):
            last = None
    if last is not None:
        yield last


async def _first_of(*waits: Coroutine[Any, Any, Any]) -> None:
    """Wait for the first of these, and let the others be."""
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
