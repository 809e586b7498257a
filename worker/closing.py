"""The end of a recording: siblings, manifest, deletes at the source. All of it may run twice.

Whoever finishes a chunk looks at the siblings' receipts by name. No coordinator: the last
to look sees them all, and racing workers make one manifest because its bytes are a function
of the receipts and its name can be taken once.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

import structlog

from worker import __version__, byos, names, recording, retry, siblings
from worker.attempt import AttemptLog
from worker.byos import NO_EXPORTS, Exports
from worker.errors import AlreadyExistsError, PermanentError, RetryableError
from worker.model import Chunk, ChunkState, DeleteAnswer
from worker.notices import Notices
from worker.ports import Archive, ChunkQueue, Clock, Source
from worker.recording import RecordingView
from worker.settlement import Complete, Reschedule, Settlement
from worker.stored import (
    Manifest,
    ProvenObject,
    Receipt,
    SourceDeleted,
    decode,
    encode,
)
from worker.telemetry import spans
from worker.telemetry.spans import Span

DeletePolicy = Literal["after-recording", "after-chunk", "never"]
WAITING = "waiting-for-siblings"
COMPLETE = "recording complete"
_PROTECTIONS = frozenset({"immutability", "encryption-scope"})
LOOK_AGAIN = timedelta(minutes=10)
"""How soon a chunk looks again for siblings that are still at work after the deadline."""
log: structlog.typing.FilteringBoundLogger = structlog.get_logger(__name__)


class DeleteOwedError(RetryableError):
    """The archive is proven; the delete at the source is still owed."""

    reason = "delete-owed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Closer:
    """Closes recordings. `instance` names this worker in what it records."""

    source: Source
    archive: Archive
    queue: ChunkQueue
    clock: Clock
    policy: DeletePolicy
    instance: str
    exports: Exports = NO_EXPORTS
    notices: Notices | None = None
    """None: nobody is told."""

    async def close(
        self, chunk: Chunk, receipt: Receipt, attempt: AttemptLog, *, row: str
    ) -> Settlement:
        """Do what is due for the recording now that the chunk has its receipt.

        `row` is the chunk's queue entry, which doesn't wait for itself.
        """
        if await self._is_closed(chunk, receipt):
            return await self._closed(chunk, receipt, alone=False)
        view = await siblings.view(
            self.queue, self.archive, chunk, row=row, receipt=receipt
        )
        if self.policy == "after-chunk":
            await self._delete_all([receipt], chunk, view, attempt)
        if view.alive or recording.missing_of(view):
            return await self._close_incomplete(chunk, receipt, view, attempt)
        with attempt.step("manifest"):
            await self._write_manifest(view)
        if self.policy == "after-recording":
            await self._delete_all(view.receipts.values(), chunk, view, attempt)
        return await self._closed(chunk, receipt, alone=len(view.announced) == 1)

    async def _closed(
        self, chunk: Chunk, receipt: Receipt, *, alone: bool
    ) -> Settlement:
        """The end of a chunk whose recording is complete; the siblings may end too.

        The wake comes last, for it reaches this chunk as well: if anything failed after it,
        the chunk would come back at once, again and again. It is never left out: whoever
        closed the recording may have been killed before it.
        """
        settlement = await self._settled(receipt, note=COMPLETE)
        if not alone:
            await self.queue.wake(chunk.recording)
        return settlement

    async def _is_closed(self, chunk: Chunk, receipt: Receipt) -> bool:
        """Whether all of it is done, so that nothing need be looked at again.

        A sibling that waits in the queue will look after its own delete.
        """
        # Not the receipt's: another announcement, maybe a false one, may have had it elsewhere.
        folder = names.recording_folder(chunk.announcement, chunk.recording)
        number, manifest = await siblings.current_manifest(self.archive, folder)
        if manifest is None or not manifest.complete:
            return False
        keys = {chunk.key for chunk in manifest.chunks}
        if receipt.key not in keys:
            return False
        if self.queue.keeps_waiting:
            keys = {receipt.key}
        needed = (
            names.checksums_name(folder, number),
            *map(names.source_deleted_name, sorted(keys)),
        )
        if not all([await self.archive.stat(name) is not None for name in needed]):
            return False
        return self.notices is None or await self.notices.is_written(folder, number)

    async def _close_incomplete(
        self,
        chunk: Chunk,
        receipt: Receipt,
        view: RecordingView,
        attempt: AttemptLog,
    ) -> Settlement:
        """Wait for the siblings until the recording's deadline, then say what is missing."""
        now = self.clock.now()
        over = now >= view.deadline or bool(view.dead)
        if view.alive or not over:
            return Reschedule(
                not_before=max(view.deadline, now + LOOK_AGAIN),
                reason=WAITING,
                error=siblings.described(recording.missing_of(view)),
                archived=True,
                others_close=view.is_closed_by_another and _says_where(chunk, receipt),
            )
        # Nobody was awaited, so the look was not cut short: the view is whole.
        with attempt.step("manifest"):
            await self._write_manifest(view)
        return await self._settled(receipt, note="recording incomplete, source kept")

    async def lose(self, chunk: Chunk, reason: str, *, row: str) -> bool:
        """Say what is lost with a chunk that is given up, unless others are awaited.

        Returns whether the manifest says it; if not, somebody else will.
        """
        view = await siblings.view(
            self.queue, self.archive, chunk, row=row, dead=reason, whole=True
        )
        if not view.alive:
            await self._write_manifest(view)
        return not view.alive

    async def _write_manifest(self, view: RecordingView) -> None:
        """Make the recording's manifest, unless the current one says as much already."""
        manifest = recording.manifest_of(view)
        number, current = await siblings.current_manifest(self.archive, view.folder)
        while current is None or recording.supersedes(manifest, current):
            name = names.manifest_name(view.folder, number + 1)
            try:
                await self.archive.create(name, encode(manifest))
            except AlreadyExistsError:
                number, current = await siblings.current_manifest(
                    self.archive, view.folder
                )
                continue
            number, current = number + 1, manifest
        await self._write_checksums(view.folder, number, current)
        if self.notices is not None:
            await self.notices.recording_archived(view.folder, number, current)

    async def _write_checksums(
        self, folder: str, number: int, manifest: Manifest
    ) -> None:
        """The auditor's file; made after the manifest, so made again if that was cut short."""
        name = names.checksums_name(folder, number)
        if await self.archive.stat(name) is None:
            await siblings.create_once(
                self.archive, name, recording.checksums_of(manifest)
            )

    async def _delete_all(
        self,
        receipts: Iterable[Receipt],
        chunk: Chunk,
        view: RecordingView,
        attempt: AttemptLog,
    ) -> None:
        """Delete at the source what these receipts prove. DeleteOwedError: come back."""
        owed: list[tuple[datetime, DeleteOwedError]] = []
        with attempt.timed("delete"):
            for receipt in receipts:
                # What is of another recording is for that recording to delete.
                if receipt.recording != view.recording:
                    continue
                try:
                    await self._delete(chunk, receipt, attempt)
                except DeleteOwedError as error:
                    owed.append((receipt.expires_at, error))
        # After its deadline the source has dropped a chunk by itself.
        now = self.clock.now()
        for expires_at, trouble in owed:
            if now < expires_at:
                raise trouble

    async def _delete(
        self, chunk: Chunk, receipt: Receipt, attempt: AttemptLog
    ) -> None:
        record = names.source_deleted_name(receipt.key)
        location = _delete_location(chunk, receipt)
        if location is None or await self.archive.stat(record) is not None:
            return
        with attempt.span.deleting(spans.key_of(receipt)) as span:
            await self._delete_traced(location, receipt, span)

    async def _delete_traced(self, location: str, receipt: Receipt, span: Span) -> None:
        if not await self._is_covered(receipt.document_id):
            _withheld(span, "document-not-covered")
            return
        lacking = await self._lacking(receipt)
        if lacking is not None:
            _withheld(span, lacking, blob=receipt.content.name)
            return
        try:
            answer = await self._delete_at_source(location, receipt)
        except RetryableError as error:
            raise DeleteOwedError(str(error), retry_after=error.retry_after) from error
        except PermanentError as error:
            _withheld(span, error.reason, error=str(error))
            return
        span.tell(status=answer.status)
        document = SourceDeleted(
            key=receipt.key,
            worker_version=__version__,
            worker_instance=self.instance,
            answer=answer,
        )
        record = names.source_deleted_name(receipt.key)
        await siblings.create_once(self.archive, record, encode(document))

    async def _delete_at_source(self, location: str, receipt: Receipt) -> DeleteAnswer:
        async def delete() -> DeleteAnswer:
            return await self.source.delete(location, proof=receipt)

        retrying = retry.DELETE_SOURCE.retrying(clock=self.clock)
        answer: DeleteAnswer = await retrying(delete)
        return answer

    async def _is_covered(self, document_id: str) -> bool:
        """Whether every queue entry that names the document has a receipt of its own.

        The delete takes all of the document. DeleteOwedError while such an entry is at work.
        """
        for entry in await self.queue.naming(document_id):
            _, receipt = await siblings.identified(self.archive, entry.chunk)
            if receipt is not None:
                continue
            if entry.state in siblings.AT_WORK:
                raise DeleteOwedError("another announcement of the document is at work")
            return False
        return True

    async def _lacking(self, receipt: Receipt) -> str | None:
        """What the archive lacks now of that for which a delete may follow.

        A protection may have been asked for after the proof. A tier is a matter of money,
        and a rule of the container may have changed it.
        """
        proven = (receipt.content, receipt.metadata)
        for each in filter(None, proven):
            stored = await self.archive.stat(each.name)
            if stored is None or stored.size_bytes != each.size_bytes:
                return "archive-lost"
            if _PROTECTIONS.intersection(self.archive.unmet(stored.protection)):
                return "archive-unprotected"
        return None

    async def still_holds(self, receipt: Receipt) -> bool:
        """Whether the archive still has what the receipt proves, sized as it says."""
        proven = (receipt.content, receipt.metadata)
        return all([await self._has(each) for each in proven if each is not None])

    async def _has(self, proven: ProvenObject) -> bool:
        if names.is_external(proven.name):
            return await byos.still_holds(self.exports, proven)
        stored = await self.archive.stat(proven.name)
        return stored is not None and stored.size_bytes == proven.size_bytes

    async def _settled(self, receipt: Receipt, *, note: str) -> Settlement:
        """DELETED if the source's answer is on record, else ARCHIVED and why."""
        data = await self.archive.read(names.source_deleted_name(receipt.key))
        if data is not None:
            answer = decode(SourceDeleted, data).answer
            return Complete(
                state=ChunkState.DELETED, note=f"{note}; source said {answer.status}"
            )
        if names.is_external(receipt.content.name):
            note = f"{note}; proven in your own storage, where it stays"
        elif receipt.flags:
            note = f"{note}; source kept: {', '.join(receipt.flags)}"
        elif self.policy == "never":
            note = f"{note}; source kept: by policy"
        elif receipt.delete_location is None:
            note = f"{note}; source kept: no delete location"
        elif self.clock.now() >= receipt.expires_at:
            note = f"{note}; source expired"
        else:
            note = f"{note}; source kept: delete withheld"
        return Complete(state=ChunkState.ARCHIVED, note=note)


def _withheld(span: Span, reason: str, **more: str) -> None:
    """Say that a delete is not to be, and why."""
    log.error("delete.withheld", reason=reason, **more)
    span.failed(reason)


def _says_where(chunk: Chunk, receipt: Receipt) -> bool:
    """Whether others know from the receipt where to delete: else only this chunk does."""
    return receipt.delete_location is not None or chunk.delete_location is None


def _delete_location(chunk: Chunk, receipt: Receipt) -> str | None:
    """Where to delete what the receipt proves; None if that is not to be done.

    An early announcement may have lacked the location that a later one gives. What lies in
    the user's own storage is the user's.
    """
    proven = (receipt.content, receipt.metadata)
    if any(each is None or names.is_external(each.name) for each in proven):
        return None
    location = receipt.delete_location
    if location is None and chunk.key == receipt.key:
        location = chunk.delete_location
    if location is None or receipt.flags:
        return None
    return location if names.belongs(location, receipt.document_id) else None
