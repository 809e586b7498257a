"""The ledger in the archive: who was announced, who is due when, what became of them.

Nothing in it is changed, so that it may lie under a write-once policy: what happens later is
one more name.
"""

from collections.abc import AsyncIterator, Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from worker import names as archive_names
from worker.errors import (
    AlreadyExistsError,
    NewerFormatError,
    PermanentError,
    QueueUnavailableError,
    RetryableError,
)
from worker.keeping import ErasableArchive
from worker.model import Chunk, ChunkState, RecordingKey
from worker.ports import Archive, Clock
from worker.queues.storage import names
from worker.queues.storage.names import (
    RANK,
    Death,
    DueName,
    Mark,
    NoNameError,
    PartName,
)
from worker.queues.storage.parts import Parts
from worker.stored import Receipt, StoredFormatError, covers, decode

T = TypeVar("T")
EARLIEST = datetime.min.replace(tzinfo=UTC)
TICK = timedelta(microseconds=1)
_STATES = {
    Mark.DEAD: ChunkState.DEAD,
    Mark.PENDING: ChunkState.PENDING,
    Mark.WAITING: ChunkState.ARCHIVED,
    Mark.ARCHIVED: ChunkState.ARCHIVED,
    Mark.DELETED: ChunkState.DELETED,
}
_BEFORE_DELETED = {Mark.WAITING, Mark.ARCHIVED}
_ALIVE = {None, Mark.PENDING, Mark.WAITING}
_WEIGHTS = {None: 3, Mark.PENDING: 3, Mark.WAITING: 2, Mark.DEAD: 0}
"""Of several announcements of one chunk, one that is at work counts most, a death least."""


@dataclass(slots=True)
class Standing:
    """How one announcement of a chunk stands: its latest mark."""

    latest: Mark | None = None
    at: datetime | None = None
    is_urgent: bool = False
    is_deleted: bool = False

    @property
    def mark(self) -> Mark | None:
        """Whoever lets go of a chunk may say so after another has deleted it."""
        is_overdue = self.is_deleted and self.latest in _BEFORE_DELETED
        return Mark.DELETED if is_overdue else self.latest

    def overruled_at(self, mark: Mark) -> datetime:
        """From when on the mark would count."""
        if self.at is None or self.latest is None:
            return EARLIEST
        return self.at if RANK[mark] > RANK[self.latest] else self.at + TICK

    def note(self, at: datetime, mark: Mark) -> None:
        self.is_deleted |= mark is Mark.DELETED
        if mark is Mark.URGENT:
            self.is_urgent = True
        elif self.at is None or (at, RANK[mark]) > (self.at, RANK[self.latest or mark]):
            self.latest, self.at = mark, at


@dataclass(slots=True, kw_only=True)
class DueEntry:
    """One chunk that expires at one moment, whatever announced it."""

    at: datetime
    row: str
    refs: dict[str, Standing] = field(default_factory=dict)

    @property
    def ref(self) -> str:
        """The announcement that counts: one that is at work, else the latest settled."""
        return max(self.refs, key=self._weight)

    def _weight(self, ref: str) -> tuple[int, str]:
        standing = self.refs[ref]
        settled = f"{standing.at:%Y%m%d%H%M%S%f}" if standing.at else ""
        return _WEIGHTS.get(standing.mark, 1), settled

    @property
    def standing(self) -> Standing:
        return self.refs[self.ref]

    @property
    def due(self) -> DueName:
        return DueName(at=self.at, row=self.row, ref=self.ref)

    def dues_in(self, marks: Collection[Mark | None]) -> list[DueName]:
        """The announcements that stand so."""
        return [
            DueName(at=self.at, row=self.row, ref=ref)
            for ref, standing in self.refs.items()
            if standing.mark in marks
        ]

    def expires_at(self, chunk: Chunk) -> datetime:
        """When the chunk that this entry is of expires: names know whole seconds only."""
        is_same = names.whole_second(chunk.expires_at) == self.at
        return chunk.expires_at if is_same else self.at

    @property
    def is_moved(self) -> bool:
        """It is listed under an earlier time; this entry says nothing more."""
        return self.standing.mark is Mark.MOVED

    @property
    def state(self) -> ChunkState:
        mark = self.standing.mark
        return ChunkState.PENDING if mark is None else _STATES[mark]

    @property
    def settled_at(self) -> datetime | None:
        return None if self.is_outstanding else self.standing.at

    @property
    def is_outstanding(self) -> bool:
        """Some message should lead to it."""
        return self.standing.mark in _ALIVE


class Ledger:
    """Raises QueueUnavailableError whatever troubles the archive."""

    def __init__(self, archive: Archive, clock: Clock) -> None:
        self.archive = archive
        self._clock = clock
        self.parts = Parts(self)

    async def ready(self) -> None:
        with _told_as_ours():
            await self.archive.ready()

    async def read(self, name: str) -> bytes | None:
        with _told_as_ours():
            return await self.archive.read(name)

    async def create(self, name: str, data: bytes = b"") -> bool:
        """Whether the name was free."""
        try:
            with _told_as_ours():
                await self.archive.create(name, data)
        except AlreadyExistsError:
            return False
        return True

    async def erase(self, name: str) -> None:
        """Only where the archive can: see keeping.ErasableArchive."""
        if not isinstance(self.archive, ErasableArchive):
            raise QueueUnavailableError("the archive can't erase")
        with _told_as_ours():
            await self.archive.erase(name)

    async def mark(self, due: DueName, mark: Mark) -> None:
        await self.create(due.marked(mark, self._clock.now()))

    async def overrule(self, due: DueName, mark: Mark) -> None:
        """Mark so that it counts, though another's clock was ahead of ours."""
        at = self._clock.now()
        async for entry in self.due_in(str(due)):
            standing = entry.refs[due.ref]
            if standing.latest is mark:
                return
            at = max(at, standing.overruled_at(mark))
        await self.create(due.marked(mark, at))

    async def names(self, prefix: str) -> AsyncIterator[str]:
        with _told_as_ours():
            async for name in self.archive.list(prefix):
                yield name

    async def proof(self, chunk: Chunk) -> Receipt | None:
        """The receipt for its locations that has the chunk's name, or its other name."""
        for key in (chunk.key, archive_names.other_key(chunk)):
            data = await self.read(archive_names.receipt_name(key))
            if data is None:
                return None
            with suppress(StoredFormatError, NewerFormatError):
                receipt = decode(Receipt, data)
                if covers(receipt, chunk):
                    return receipt
        return None

    async def is_proven(self, chunk: Chunk) -> bool:
        return await self.proof(chunk) is not None

    async def is_deleted(self, chunk: Chunk) -> bool:
        """Whether the source's answer to the delete is on record."""
        with _told_as_ours():
            name = archive_names.source_deleted_name(chunk.key)
            return await self.archive.stat(name) is not None

    async def due(self, start: datetime, end: datetime) -> AsyncIterator[DueEntry]:
        """What expires between, in that order."""
        for folder in names.day_folders(names.DUE, start, end):
            async for entry in self.due_in(folder):
                if start <= entry.at <= end:
                    yield entry

    async def due_in(self, prefix: str) -> AsyncIterator[DueEntry]:
        """What is listed under a prefix, in order."""
        async for group in self._grouped(prefix, names.parse_due, _when_and_who):
            first, _ = group[0]
            entry = DueEntry(at=first.at, row=first.row)
            for due, mark in group:
                standing = entry.refs.setdefault(due.ref, Standing())
                if mark is not None:
                    standing.note(*mark)
            yield entry

    async def entries(self, folder: str) -> AsyncIterator[tuple[str, str]]:
        """Rows and refs in the folder of a recording or a document."""
        async for name in self.names(folder):
            try:
                yield names.parse_entry(name)
            except NoNameError:
                continue

    async def deaths(
        self, recording: RecordingKey | None = None
    ) -> AsyncIterator[Death]:
        """Who is given up and was not announced again: of one recording, or at all."""
        folder = names.DEAD if recording is None else f"{names.DEAD}{recording}/"
        async for group in self._grouped(folder, names.parse_death, _who):
            death, is_revived = _last(group)
            if not is_revived:
                yield death

    async def last_death(
        self, recording: RecordingKey, row: str
    ) -> tuple[Death, bool] | None:
        """The latest time that a row was given up, and whether it was announced again."""
        prefix = f"{names.DEAD}{recording}/{row}."
        async for group in self._grouped(prefix, names.parse_death, _who):
            return _last(group)
        return None

    async def unfanned(
        self, start: datetime, end: datetime
    ) -> AsyncIterator[tuple[PartName, bool]]:
        """Deliveries that came between whose chunks have no messages yet; are they urgent?"""
        for folder in names.day_folders(names.DELIVERIES, start, end):
            async for found in self.unfanned_in(folder):
                yield found

    async def unfanned_in(self, prefix: str) -> AsyncIterator[tuple[PartName, bool]]:
        async for part, endings in self.deliveries_in(prefix):
            if part.chunks and "json" in endings and "fanned" not in endings:
                yield part, "urgent" in endings

    async def deliveries_in(
        self, prefix: str
    ) -> AsyncIterator[tuple[PartName, set[str]]]:
        """Parts of deliveries, the first to come first, with all endings of their names."""
        async for group in self._grouped(prefix, names.parse_part, _which_part):
            part, _ = group[0]
            yield part, {ending for _, ending in group}

    async def _grouped(
        self, prefix: str, parse: Callable[[str], T], key: Callable[[T], object]
    ) -> AsyncIterator[list[T]]:
        """What the names say, neighbours of one key together; foreign names are passed by."""
        group: list[T] = []
        async for name in self.names(prefix):
            try:
                parsed = parse(name)
            except NoNameError:
                continue
            if group and key(group[-1]) != key(parsed):
                yield group
                group = []
            group.append(parsed)
        if group:
            yield group


def _when_and_who(found: tuple[DueName, object]) -> tuple[datetime, str]:
    due, _ = found
    return due.at, due.row


def _who(found: tuple[Death, bool]) -> tuple[str, str]:
    death, _ = found
    return death.recording, death.row


def _which_part(found: tuple[PartName, str]) -> PartName:
    part, _ = found
    return part


def _last(group: list[tuple[Death, bool]]) -> tuple[Death, bool]:
    """The last death of one row, and whether it was announced again."""
    number = max(death.number for death, _ in group)
    last = [(death, revived) for death, revived in group if death.number == number]
    death = max((death for death, _ in last), key=lambda death: death.reason)
    return death, any(revived for _, revived in last)


@contextmanager
def _told_as_ours() -> Iterator[None]:
    """To whoever asks the queue, the ledger's trouble is the queue's."""
    try:
        yield
    except (RetryableError, PermanentError) as error:
        raise QueueUnavailableError(
            f"the ledger in the archive: {error}", hint=error.hint
        ) from error
