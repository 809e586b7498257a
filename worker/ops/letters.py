"""Dead letters of Event Grid fed in again, each version of a blob once.

What was taken is remembered in the archive, so that a second run passes it by; the blob
itself stays. Killed in between, a blob is fed in twice, which changes nothing.
"""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from worker import __version__, names
from worker.errors import AlreadyExistsError
from worker.model import Letter
from worker.ports import Archive
from worker.stored import ReplayedBlob, encode

MAX_BLOB_BYTES = 64 * 1024 * 1024


class Letters(Protocol):
    """A container of dead letters."""

    @property
    def container(self) -> str: ...

    def written(
        self, *, since: datetime | None, until: datetime | None
    ) -> AsyncIterator[Letter]: ...

    async def read(self, letter: Letter) -> bytes | None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """What became of one body. `status`: the worst that was answered."""

    is_taken: bool
    status: int | None
    events: int
    chunks: int | None = None
    error: str | None = None


class Taker(Protocol):
    """Where events go: the queue, or an endpoint."""

    @property
    def to(self) -> str: ...

    async def take(self, name: str, body: bytes) -> Taken: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class LetterRow:
    """One blob and what became of it; JSON fields of `replay URL --json`: additions only."""

    blob: str
    written_at: datetime
    size_bytes: int
    outcome: str
    """`replayed`, `would-replay`, `known`; `refused`, `too-large` or `gone`."""
    events: int | None = None
    chunks: int | None = None
    status: int | None = None
    error: str | None = None

    @property
    def is_left(self) -> bool:
        """It needs somebody's attention."""
        return self.outcome in {"refused", "too-large", "gone"}


async def is_known(archive: Archive | None, container: str, letter: Letter) -> bool:
    """Whether this version of the blob was taken before; nobody knows without an archive."""
    if archive is None:
        return False
    return await archive.stat(record_name(container, letter)) is not None


def record_name(container: str, letter: Letter) -> str:
    return names.replayed_name(container, letter.name, letter.etag.strip('"'))


@dataclass(frozen=True, slots=True, kw_only=True)
class LetterReplay:
    """A replay of one container. Without an archive nothing is remembered."""

    letters: Letters
    archive: Archive | None
    taker: Taker
    again: bool
    """Also what was taken before."""
    by: str
    now: datetime

    async def run(
        self, *, since: datetime | None, until: datetime | None, dry_run: bool
    ) -> AsyncGenerator[LetterRow, None]:
        """One blob after the other, each told once it is done."""
        async for letter in self.letters.written(since=since, until=until):
            if not self.again and await self._is_known(letter):
                yield _row(letter, "known")
            elif letter.size_bytes > MAX_BLOB_BYTES:
                yield _row(letter, "too-large")
            elif dry_run:
                yield _row(letter, "would-replay")
            else:
                yield await self._replay(letter)

    async def _is_known(self, letter: Letter) -> bool:
        return await is_known(self.archive, self.letters.container, letter)

    async def _replay(self, letter: Letter) -> LetterRow:
        body = await self.letters.read(letter)
        if body is None:
            return _row(letter, "gone")
        taken = await self.taker.take(letter.name, body)
        if taken.is_taken:
            await self._remember(letter, taken)
        return _row(letter, "replayed" if taken.is_taken else "refused", taken)

    async def _remember(self, letter: Letter, taken: Taken) -> None:
        if self.archive is None:
            return
        record = ReplayedBlob(
            worker_version=__version__,
            container=self.letters.container,
            blob=letter.name,
            etag=letter.etag,
            events=taken.events,
            to=self.taker.to,
            at=self.now,
            by=self.by,
        )
        with suppress(AlreadyExistsError):
            name = record_name(self.letters.container, letter)
            await self.archive.create(name, encode(record))


def _row(letter: Letter, outcome: str, taken: Taken | None = None) -> LetterRow:
    return LetterRow(
        blob=letter.name,
        written_at=letter.written_at,
        size_bytes=letter.size_bytes,
        outcome=outcome,
        events=taken.events if taken else None,
        chunks=taken.chunks if taken else None,
        status=taken.status if taken else None,
        error=taken.error if taken else None,
    )
