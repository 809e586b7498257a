"""A verification from its first receipt to its summary; whoever is killed goes on.

Reports are new documents: a part for every stretch, and a summary at the end. Receipts come
first, in the order of their names, then recordings, day by day.
"""

import hashlib
import heapq
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from worker import __version__, names, reports
from worker.errors import AlreadyExistsError, WorkerError
from worker.model import ChunkKey
from worker.ops import finding
from worker.ops.ahead import ahead
from worker.ops.finding import Folder
from worker.ops.verifying import Looked, Verifier, added, together
from worker.ports import Archive, Clock
from worker.reports import Tally, VerifyPart, VerifySummary

AT_ONCE = 3
"""Chunks that are hashed side by side: there are rarely more processors to spare."""
PART_CHUNKS = 2000
PART_SECONDS = 60.0
"""What a part holds at the most: about so much is looked at again after a kill."""
OPEN_FOR = timedelta(days=7)
"""An older run that did not end is not gone on with: much may have changed since."""
LATE = timedelta(days=2)
"""So long after a recording's start its chunks may still be archived."""
RECEIPTS, FOLDERS = "receipts", "recordings"
_TOMBSTONE = ".erased.json"
_NO_RECEIPTS = (".source-deleted.json", ".content.json")


class VerifyTakenError(WorkerError):
    """Another process writes the same reports."""

    reason = "verify-taken"
    hint = "recording-worker recordings verify --all --anew"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What is to be verified: everything, a sample, or some recordings.

    `sample` is a number of chunks, `percent` a share of them.
    """

    sample: int | None = None
    percent: float | None = None
    since: datetime | None = None
    folders: tuple[Folder, ...] | None = None

    @property
    def scope(self) -> str:
        """In words; names no call."""
        if self.folders is not None:
            return "recordings " + " ".join(each.recording for each in self.folders)
        since = f" since {self.since:%Y-%m-%dT%H:%MZ}" if self.since else ""
        if self.sample is not None:
            return f"sample {self.sample}{since}"
        if self.percent is not None:
            return f"sample {self.percent:g}%{since}"
        return since.strip() or "all"


@dataclass(frozen=True, slots=True, kw_only=True)
class Author:
    """Who verifies, for the reports."""

    by: str
    instance: str


@dataclass(slots=True, kw_only=True)
class Reports:
    """The reports of one run: those that were written before, and the next."""

    archive: Archive
    author: Author
    run: str
    before: Sequence[VerifyPart] = ()

    @property
    def started_at(self) -> datetime:
        return datetime.strptime(self.run.split("-")[0], "%Y%m%dT%H%M%S%z")

    async def add(self, number: int, part: VerifyPart) -> None:
        reached = FOLDERS if part.phase == FOLDERS else part.until.split("/")[1]
        name = names.verify_part_name(self.run, number, reached)
        await self._create(name, reports.encode(part))

    async def end(self, summary: VerifySummary) -> None:
        name = names.verify_summary_name(self.run)
        await self._create(name, reports.encode(summary))

    async def _create(self, name: str, data: bytes) -> None:
        try:
            await self.archive.create(name, data)
        except AlreadyExistsError as error:
            message = f"another verification writes the reports of {self.run}"
            raise VerifyTakenError(message) from error


async def open_reports(
    archive: Archive, wanted: Wanted, *, author: Author, now: datetime, anew: bool
) -> Reports:
    """The reports of the last run of the same kind that did not end, or of a new one."""
    new = names.verification_name(now, wanted.scope)
    parts: dict[str, list[str]] = {}
    ended = set()
    async for name in archive.list(names.VERIFICATIONS):
        run = name.split("/")[2]
        if run.split("-")[-1] != new.split("-")[-1]:
            continue
        parts.setdefault(run, []).append(name)
        if name == names.verify_summary_name(run):
            ended.add(run)
    while new in parts:  # of this very second
        now += timedelta(seconds=1)
        new = names.verification_name(now, wanted.scope)
    begun = Reports(archive=archive, author=author, run=new)
    left = max(parts.keys() - ended, default="")
    oldest = names.verification_name(now - OPEN_FOR, wanted.scope)
    if anew or left < oldest:
        return begun
    before = [await _part(archive, name) for name in parts[left]]
    return replace(begun, run=left, before=before)


async def _part(archive: Archive, name: str) -> VerifyPart:
    return reports.decode(VerifyPart, await archive.read(name) or b"")


@dataclass(slots=True, kw_only=True)
class VerifyRun:
    """One run; `looks` is gone through once, and `tally` is whole after it, or after `leave`.

    Without `reports` nothing is kept, and a run that is killed starts anew.
    """

    archive: Archive
    verifier: Verifier
    wanted: Wanted
    clock: Clock
    reports: Reports | None
    tally: Tally = field(default_factory=Tally)
    _number: int = 0
    _until: dict[str, str] = field(default_factory=dict)
    _open: list[Looked] = field(default_factory=list)
    _opened_s: float = 0.0
    _reached: str = ""

    async def looks(self) -> AsyncGenerator[Looked, None]:
        """Every look at a chunk or a recording, those of earlier parts first."""
        for part in self.reports.before if self.reports else ():
            self._number += 1
            self._until[part.phase] = part.until
            self.tally = added([self.tally, part.tally])
            yield Looked(tally=part.tally, problems=part.problems)
        self._opened_s = self.clock.monotonic()
        async for look in self._at_receipts():
            yield look
        async for look in self._at_recordings():
            yield look
        await self._end()

    async def _at_receipts(self) -> AsyncIterator[Looked]:
        if FOLDERS in self._until:
            return
        async for name, look in ahead(self._names(), self._look_at, most=AT_ONCE):
            self._reached = name
            self._add(look)
            yield look
            if self._is_long:
                await self._close(RECEIPTS, name)
        if self._open:
            await self._close(RECEIPTS, self._reached)
        self._reached = ""

    async def leave(self) -> None:
        """End here, with all that was found in the tally.

        What was found at receipts is kept, and the next run goes on behind it; among
        recordings it goes on with the day that was not over.
        """
        if self._open and self._reached:
            await self._close(RECEIPTS, self._reached)
        self.tally = added([self.tally, *(look.counted for look in self._open)])
        self._open.clear()

    async def _names(self) -> AsyncIterator[str]:
        """Names of receipts and tombstones that are wanted, behind what was looked at."""
        after = self._until.get(RECEIPTS, "")
        if self.wanted.folders is not None:
            listed = sorted(_receipts_of(self.wanted.folders))
        elif self.wanted.sample is not None:
            listed = await self._sampled(self.wanted.sample)
        else:
            async for name in self._every():
                if name > after and self._is_in_share(name):
                    yield name
            return
        for name in listed:
            if name > after:
                yield name

    async def _every(self) -> AsyncIterator[str]:
        async for name in self.archive.list(names.RECEIPTS):
            if name.endswith(".json") and not name.endswith(_NO_RECEIPTS):
                yield name

    async def _sampled(self, count: int) -> list[str]:
        """So many by chance, the same ones when the run goes on."""
        chosen: list[tuple[float, str]] = []
        async for name in self._every():
            rank = (-self._chance(name), name)
            if len(chosen) < count:
                heapq.heappush(chosen, rank)
            else:
                heapq.heappushpop(chosen, rank)
        return sorted(name for _, name in chosen)

    def _is_in_share(self, name: str) -> bool:
        percent = self.wanted.percent
        return percent is None or self._chance(name) * 100 < percent

    def _chance(self, name: str) -> float:
        run = self.reports.run if self.reports else str(self.verifier.now)
        hashed = hashlib.sha256(f"{run} {name}".encode()).digest()
        return int.from_bytes(hashed[:8]) / 2**64

    async def _look_at(self, name: str) -> Looked:
        if name.endswith(_TOMBSTONE):
            return await self.verifier.tombstone(name)
        look = await self.verifier.chunk(name)
        if self.wanted.sample is None and self.wanted.percent is None:
            return look
        # Of a sample, the recordings of these chunks alone.
        around = [
            await self.verifier.recording(folder)
            async for folder in self._around(look.key)
        ]
        return replace(together([look, *around]), key=look.key)

    async def _around(self, key: ChunkKey | None) -> AsyncIterator[Folder]:
        if key is not None:
            async for folder in finding.find(self.archive, key):
                yield folder

    async def _at_recordings(self) -> AsyncIterator[Looked]:
        if self.wanted.sample is not None or self.wanted.percent is not None:
            return
        day = ""
        async for folder, look in ahead(self._folders(), self.verifier.recording):
            if folder.day != day and self._is_long:
                await self._close(FOLDERS, day)
            day = folder.day
            self._add(look)
            yield look
        if self._open:
            await self._close(FOLDERS, day)

    async def _folders(self) -> AsyncIterator[Folder]:
        after = self._until.get(FOLDERS, "")
        since = self.wanted.since
        first = f"{since - LATE:%Y/%m/%d}" if since else ""
        if self.wanted.folders is not None:
            for folder in self.wanted.folders if not after else ():
                yield folder
            return
        async for folder in finding.folders(self.archive, names.RECORDINGS):
            if folder.day > after and (folder.day >= first or folder.day < "0001"):
                yield folder

    def _add(self, look: Looked) -> None:
        self._open.append(look)

    @property
    def _is_long(self) -> bool:
        lasted_s = self.clock.monotonic() - self._opened_s
        return len(self._open) >= PART_CHUNKS or lasted_s >= PART_SECONDS

    async def _close(self, phase: str, until: str) -> None:
        tally = added(look.counted for look in self._open)
        self.tally = added([self.tally, tally])
        self._number += 1
        if self.reports is not None:
            author = self.reports.author
            part = VerifyPart(
                worker_version=__version__,
                worker_instance=author.instance,
                by=author.by,
                ended_at=self.clock.now(),
                phase=phase,
                until=until,
                checked=tuple(look.key for look in self._open if look.key),
                tally=tally,
                problems=tuple(
                    replace(problem, name=None)
                    for look in self._open
                    for problem in look.problems
                ),
            )
            await self.reports.add(self._number, part)
        self._open.clear()
        self._opened_s = self.clock.monotonic()

    async def _end(self) -> None:
        if self.reports is None:
            return
        summary = VerifySummary(
            worker_version=__version__,
            scope=self.wanted.scope,
            started_at=self.reports.started_at,
            ended_at=self.clock.now(),
            parts=self._number,
            tally=self.tally,
        )
        await self.reports.end(summary)


def _receipts_of(folders: Sequence[Folder]) -> set[str]:
    return {names.receipt_name(key) for folder in folders for key in folder.keys}
