"""The right to erasure: all that is kept of one recording goes, and tombstones stay (ADR 14).

The order is law: what is to be erased is written down, then the tombstones, then all else,
and last what leads to the rest. Killed at any line and run again, it ends the same.
"""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Protocol

from worker import __version__, holding, names, siblings, tombstones
from worker.errors import WorkerError
from worker.keeping import ErasableArchive, ForgettingQueue
from worker.model import ChunkKey, ErasureReason, Forgotten, Kept
from worker.ops import belongings
from worker.ops.belongings import Belongings
from worker.ports import Archive, ChunkQueue
from worker.stored import Erased, Erasing, encode


class CantEraseError(WorkerError):
    """An archive or a queue that has no such ability."""

    reason = "cant-erase"


class UnderHoldError(WorkerError):
    """Somebody said that it must be kept."""

    reason = "under-hold"


class LockedError(WorkerError):
    """An immutability policy keeps it, and nobody can do anything about that before."""

    reason = "locked"


class AtWorkError(WorkerError):
    """A worker may be writing what would be erased."""

    reason = "at-work"


@dataclass(frozen=True, slots=True, kw_only=True)
class EraseReport:
    """What went, or would; JSON fields of `recordings erase --json`: additions only."""

    recording: str
    dry_run: bool
    chunks: int
    """Tombstones that stand for it now."""
    objects: tuple[str, ...]
    size_bytes: int
    queue_entries: int
    deliveries: int
    shared_deliveries: int
    """Deliveries that speak of other recordings too, and stay until a lifecycle rule takes
    them."""
    came_meanwhile: int
    """Chunks that were announced, and objects that were made, while it was erased: run it
    again.
    """
    elsewhere: tuple[str, ...]
    """What lies in your own storage, and is yours to erase."""
    soft_deleted: int
    soft_deleted_days: int | None
    """How many objects soft delete still keeps, and how long the last of them."""
    source_keeps_until: datetime | None
    """The source's copy, where it was not deleted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """Who wants what erased, and why."""

    reason: ErasureReason
    by: str
    at: datetime
    dry_run: bool = False


class ErasableStore(Archive, ErasableArchive, Protocol):
    """An archive that can be erased from."""


class ForgetfulQueue(ChunkQueue, ForgettingQueue, Protocol):
    """A queue that can forget."""


async def recordings_erase(
    archive: Archive, queue: ChunkQueue, text: str, order: Order
) -> EraseReport | None:
    """Erase the recording that an id means; None: there is none, nor was there.

    Raises SeveralRecordingsError, UnderHoldError, LockedError, AtWorkError: then nothing was
    changed. Raises CantEraseError for adapters without the ability.
    """
    if not isinstance(archive, ErasableArchive):
        raise CantEraseError("this archive can't erase")
    if not isinstance(queue, ForgettingQueue):
        raise CantEraseError("this queue can't forget")
    return await _Eraser(archive=archive, queue=queue, order=order).erase(text)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Eraser:
    archive: ErasableStore
    queue: ForgetfulQueue
    order: Order

    async def erase(self, text: str) -> EraseReport | None:
        its = await belongings.of(self.archive, self.queue, text)
        if its is None:
            return None
        await self._refuse_held(its)
        size_bytes = await self._refuse_kept(its)
        await self._refuse_at_work(its)
        report = self._report(its, size_bytes=size_bytes)
        if self.order.dry_run:
            forgotten = await self._forget(its, dry_run=True)
            return _with_queue(report, forgotten)
        mark = await self._write_down(its)
        await self._remove([*its.contents, *its.metadata, *its.records])
        forgotten = await self._forget(its, dry_run=False)
        # What marks a notice as told is known by the notice, so it goes before.
        await self._remove(its.notices[::-1])
        # What is in the folders leads to the rest, whoever comes after a kill.
        await self._remove([*its.manifests, *its.marks, *mark])
        return await self._read_back(its, _with_queue(report, forgotten))

    async def _refuse_held(self, its: Belongings) -> None:
        for folder in its.folders:
            _, hold = await holding.current(self.archive, folder)
            if hold is not None and hold.held:
                raise UnderHoldError(
                    f"under legal hold since {hold.at:%Y-%m-%d} by {hold.by}: "
                    f"{hold.reason!r}",
                    hint=f"recording-worker recordings show {its.recording}",
                )

    async def _refuse_kept(self, its: Belongings) -> int:
        """How many bytes it is, unless the storage keeps it."""
        now = self.order.at
        size_bytes, until = 0, now
        async for kept in self._kept(its):
            if kept.is_held:
                raise UnderHoldError(
                    f"the storage holds {kept.name!r}",
                    hint=f"recording-worker recordings show {its.recording}",
                )
            until = max(until, kept.locked_until or now)
            size_bytes += kept.size_bytes if kept.goes_in_days is None else 0
        if until > now:
            raise LockedError(
                f"an immutability policy keeps it until {until:%Y-%m-%d %H:%M:%SZ}",
                hint=f"recording-worker recordings show {its.recording}",
            )
        return size_bytes

    async def _refuse_at_work(self, its: Belongings) -> None:
        """Not once it was begun: whoever gets such a chunk then finds its tombstone."""
        counted = await self._forget(its, dry_run=True)
        if not counted.at_work or its.begun:
            return
        entries = await self.queue.announced(its.recording)
        document = next((entry.chunk.document_id for entry in entries), its.recording)
        raise AtWorkError(
            f"{counted.at_work} of its chunks are still at work: erase it when they are not",
            hint=f"recording-worker queue show {document}",
        )

    async def _kept(self, its: Belongings) -> AsyncIterator[Kept]:
        """All that the storage keeps of it, old versions too."""
        for folder in its.folders:
            async for kept in self.archive.kept(folder):
                yield kept
        for name in its.objects:
            if name.startswith(its.folders):
                continue
            async for kept in self.archive.kept(name):
                if kept.name == name:
                    yield kept

    async def _write_down(self, its: Belongings) -> Sequence[str]:
        """What is to be erased, then the tombstones; the name of what was written first."""
        stones = [its.begun.get(key) or self._tombstone(its, key) for key in its.keys]
        mark = []
        if its.folders and not its.begun.keys() >= its.keys.keys():
            erasing = Erasing(recording=its.recording, chunks=tuple(stones))
            name = names.erasing_name(its.folders[0], len(its.marks) + 1)
            while not await siblings.create_once(self.archive, name, encode(erasing)):
                mark.append(name)
                number = len(its.marks) + len(mark) + 1
                name = names.erasing_name(its.folders[0], number)
            mark.append(name)
        for stone in stones:
            await tombstones.make(self.archive, stone)
        return mark

    def _tombstone(self, its: Belongings, key: ChunkKey) -> Erased:
        receipt = its.receipts.get(key)
        metadata = receipt.metadata if receipt else None
        return Erased(
            worker_version=__version__,
            key=key,
            recording=its.recording,
            index=its.keys[key],
            content_bytes=receipt.content.size_bytes if receipt else None,
            metadata_bytes=metadata.size_bytes if metadata else None,
            reason=self.order.reason.value,
            erased_at=self.order.at,
            erased_by=self.order.by,
        )

    async def _remove(self, objects: Sequence[str]) -> None:
        for name in objects:
            await self.archive.erase(name)

    async def _forget(self, its: Belongings, *, dry_run: bool) -> Forgotten:
        documents = {receipt.document_id for receipt in its.receipts.values()}
        documents |= {key for key in its.keys if not key.startswith("~")}
        return await self.queue.forget(its.recording, documents - {""}, dry_run=dry_run)

    def _report(self, its: Belongings, *, size_bytes: int) -> EraseReport:
        return EraseReport(
            recording=its.recording,
            dry_run=self.order.dry_run,
            chunks=len(its.keys),
            objects=tuple(its.objects),
            size_bytes=size_bytes,
            queue_entries=0,
            deliveries=0,
            shared_deliveries=0,
            came_meanwhile=0,
            elsewhere=tuple(its.elsewhere),
            soft_deleted=0,
            soft_deleted_days=None,
            source_keeps_until=self._source_until(its),
        )

    def _source_until(self, its: Belongings) -> datetime | None:
        """Until when the source has a copy that nobody had deleted."""
        deadlines = [
            receipt.expires_at
            for key, receipt in its.receipts.items()
            if names.source_deleted_name(key) not in its.records
            and not names.is_external(receipt.content.name)
        ]
        latest = max(deadlines, default=self.order.at)
        return latest if latest > self.order.at else None

    async def _read_back(self, its: Belongings, report: EraseReport) -> EraseReport:
        days: list[int] = []
        left = 0
        async for kept in self._kept(its):
            if kept.goes_in_days is None:
                left += 1
            else:
                days.append(kept.goes_in_days)
        return replace(
            report,
            came_meanwhile=report.came_meanwhile + left,
            soft_deleted=len(days),
            soft_deleted_days=max(days, default=None),
        )


def _with_queue(report: EraseReport, forgotten: Forgotten) -> EraseReport:
    return replace(
        report,
        queue_entries=forgotten.entries,
        deliveries=forgotten.deliveries,
        shared_deliveries=forgotten.shared,
        came_meanwhile=0 if report.dry_run else forgotten.at_work,
    )
