"""What is in a delivery, by what is to be done with it. No I/O."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from handlers import envelope, recordings, registry, usual
from handlers.envelope import Event, Item, MalformedEvent
from handlers.recordings import Announced
from handlers.registry import EventKind
from worker.errors import MalformedEventError
from worker.model import Chunk

MAX_CODE_CHARS = 1024
MAX_WEIGHT_BYTES = 64 * 1024 * 1024
"""What one delivery may put into the queue, about; legal ones are far below."""
_EVENTS_PER_TURN = 25
"""Sorted in a millisecond or two."""
_SHORT_BYTES = 64 * 1024
IsLeftAlone = Callable[[Chunk], bool]
"""Whether a chunk lies in the user's own storage and is to stay there, unlooked at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reject:
    """One event, or the whole body, on its way to quarantine."""

    raw: bytes = field(repr=False)
    why: str
    event_id: str = ""
    malformed: bool = True


@dataclass(slots=True, kw_only=True)
class Sorted:
    """The events of one delivery by what is to be done with them, while they are sorted."""

    events: int = 0
    chunks: list[Chunk] = field(default_factory=list)
    weight_bytes: int = 0
    rejects: list[Reject] = field(default_factory=list)
    ignored: int = 0
    exported: int = 0
    """Chunks that are left alone; an event with no others is ignored."""
    topic: str = ""
    """Of what is said about a subscription."""
    deleted: bool = False
    oldest_at: datetime | None = None
    """When the oldest event of a recording happened: a chunk waits for a day at most."""
    validation_code: str | None = field(default=None, repr=False)
    unanswered: str | None = None
    """Why a validation gets no code."""


class Sorter:
    """Sorts the events of a delivery; topics are compared without case, None: any."""

    def __init__(
        self,
        *,
        retention: timedelta,
        topics: frozenset[str] | None,
        is_left_alone: IsLeftAlone | None = None,
    ) -> None:
        self._retention = retention
        self._topics = topics and frozenset(topic.casefold() for topic in topics)
        self._is_left_alone = is_left_alone or (lambda _: False)
        self._long_one = asyncio.Lock()

    async def sort(self, body: bytes, received_at: datetime) -> Sorted:
        """Read `body`; never raises, for what can't be read is sorted too."""
        if len(body) <= _SHORT_BYTES:
            return await self._sorted(body, received_at)
        # One long delivery at a time: all at once they take as long, each as long as all of
        # them, and what is short waits for a turn of each.
        async with self._long_one:
            return await self._sorted(body, received_at)

    async def _sorted(self, body: bytes, received_at: datetime) -> Sorted:
        found = Sorted()
        try:
            batch = envelope.read(body)
        except MalformedEventError as error:
            found.rejects.append(Reject(raw=body, why=str(error)))
            return found
        found.events = len(batch.items)
        for number, item in enumerate(batch.items, start=1):
            if not self._is_usual(item, found, received_at):
                self._sort_item(batch.event(item), found, received_at)
            if number % _EVENTS_PER_TURN == 0:
                await asyncio.sleep(0)  # a long one must not hold up other deliveries
        return found

    def _is_usual(self, item: Item, found: Sorted, received_at: datetime) -> bool:
        """Sort an event that can be read in one go; not so the others."""
        if not isinstance(item, str):
            return False
        event = usual.read(item, received_at=received_at, retention=self._retention)
        if event is None or not self._is_ours(event.topic):
            return False
        _note(event.time, found)
        self._take(event.announced, found)
        return True

    def _sort_item(
        self, item: Event | MalformedEvent, found: Sorted, received_at: datetime
    ) -> None:
        if isinstance(item, MalformedEvent):
            found.rejects.append(Reject(raw=item.raw, why=item.why))
            return
        kind = registry.kind_of(item.type)
        if kind is EventKind.DELETED:
            found.deleted, found.topic = True, item.topic
        elif kind is EventKind.RECORDING and not self._is_ours(item.topic):
            foreign = "a topic that WORKER_EVENT_TOPICS does not name"
            found.rejects.append(_reject(item, foreign, malformed=False))
        elif kind is EventKind.RECORDING:
            self._sort_recording(item, found, received_at)
        elif kind is EventKind.VALIDATION and found.events == 1:
            self._sort_validation(item, found)
        else:
            found.ignored += 1

    def _sort_validation(self, event: Event, found: Sorted) -> None:
        """Event Grid sends it alone; without our answer the subscription waits or fails."""
        found.topic = event.topic
        code = _validation_code(event)
        if code is not None and self._is_ours(event.topic):
            found.validation_code = code
            return
        found.ignored += 1
        found.unanswered = (
            "no usable code" if code is None else "a topic that is not ours"
        )

    def _is_ours(self, topic: str) -> bool:
        return self._topics is None or topic.casefold() in self._topics

    def _sort_recording(
        self, event: Event, found: Sorted, received_at: datetime
    ) -> None:
        _note(event.time, found)
        try:
            announced = recordings.parse(
                event, received_at=received_at, retention=self._retention
            )
        except MalformedEventError as error:
            found.rejects.append(_reject(event, str(error)))
            return
        if found.weight_bytes + announced.weight_bytes > MAX_WEIGHT_BYTES:
            found.rejects.append(_reject(event, "too many chunks in one delivery"))
            return
        self._take(announced, found)
        if announced.problems:
            found.rejects.append(_reject(event, "; ".join(announced.problems)))

    def _take(self, announced: Announced, found: Sorted) -> None:
        wanted = self._wanted(announced.chunks)
        found.chunks += wanted
        found.exported += len(announced.chunks) - len(wanted)
        found.ignored += not wanted
        found.weight_bytes += announced.weight_bytes

    def _wanted(self, chunks: Sequence[Chunk]) -> Sequence[Chunk]:
        """Those that need a worker, and who know which of their siblings are left alone."""
        left = {chunk.key for chunk in chunks if self._is_left_alone(chunk)}
        if not left:
            return chunks
        told = tuple(
            replace(sibling, is_left_alone=sibling.key in left)
            for sibling in chunks[0].announced
        )
        others = [chunk for chunk in chunks if chunk.key not in left]
        return [replace(chunk, announced=told) for chunk in others]


def _note(at: datetime | None, found: Sorted) -> None:
    if at is not None:
        found.oldest_at = min(at, found.oldest_at or at)


def _reject(event: Event, why: str, *, malformed: bool = True) -> Reject:
    raw = envelope.compact(event.raw).encode()
    return Reject(raw=raw, why=why, event_id=event.id, malformed=malformed)


def _validation_code(event: Event) -> str | None:
    code = event.data.get("validationCode")
    if isinstance(code, str) and 0 < len(code) <= MAX_CODE_CHARS:
        return code
    return None
