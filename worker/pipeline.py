"""One chunk, start to end: download, archive, verify, receipt, and what its recording needs.

The order is law: bytes, proof, receipt (durable), manifest when complete, delete at the
source, settle. Every step may run twice; an existing receipt skips the transfer only.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial

from worker import (
    __version__,
    byos,
    deadline,
    evidence,
    holding,
    names,
    siblings,
    tombstones,
)
from worker.attempt import AttemptLog, Observer
from worker.byos import NO_EXPORTS, Exports, Pinned
from worker.closing import Closer
from worker.errors import (
    ArchiveConflictError,
    ArchiveLostError,
    ExportNotFoundError,
    PermanentError,
    RetryableError,
    SourceNotFoundError,
    WorkerError,
)
from worker.evidence import MetadataFacts, RangeReader
from worker.model import Chunk, ChunkState, Lease
from worker.ports import Archive, Clock, Source
from worker.proving import Prover
from worker.settlement import Complete, Settlement
from worker.stored import ProvenObject, Receipt, covers, decode, encode


class MetadataOwedError(RetryableError):
    """The content is safe; its metadata is still tried for.

    A reason of its own, so that a metadata's 404 can neither be taken for that of the
    chunk nor count as trouble with the key.
    """

    reason = "metadata-owed"


class SealOwedError(RetryableError):
    """All is done but the object's last tier: a matter of money, for which nothing pauses."""

    reason = "seal-owed"


@dataclass(frozen=True, slots=True)
class _Found:
    """What an attempt brought home, and what it thinks of it."""

    content: ProvenObject
    metadata: ProvenObject | None
    facts: MetadataFacts | None
    structure: str
    flags: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pipeline:
    """Talks to ports only. `retention` is how long the source keeps a chunk."""

    source: Source
    archive: Archive
    clock: Clock
    prover: Prover
    closer: Closer
    observer: Observer
    retention: timedelta
    instance: str
    exports: Exports = NO_EXPORTS

    async def process(self, lease: Lease, attempt: AttemptLog) -> Settlement:
        """Bring the chunk home unless that is done, then close what can be closed.

        Raises WorkerError; the runner decides what becomes of the chunk.
        """
        chunk, receipt = await siblings.identified(self.archive, lease.chunk)
        lease = replace(lease, chunk=chunk)
        if await tombstones.of_chunk(self.archive, chunk) is not None:
            return await self._settle_erased(chunk)
        if receipt is None:
            receipt = await self._bring_home_or_find(lease, attempt)
            attempt.archived_bytes = _size_of(receipt)
            self.observer.stage(chunk, "archived")
        else:
            if not await self.closer.still_holds(receipt):
                raise ArchiveLostError(f"{receipt.content.name!r} is not as it was")
            self.observer.stage(chunk, "already archived")
        attempt.archived = True
        attempt.blob = receipt.content.name
        attempt.flags = receipt.flags
        settlement = await self.closer.close(chunk, receipt, attempt, row=lease.row)
        await self._seal(receipt)
        await holding.inherit(self.archive, receipt)
        return settlement

    async def _settle_erased(self, chunk: Chunk) -> Settlement:
        """Nothing is fetched, and nothing deleted at the source: there is no proof for it.

        The source drops its copy by itself, as it does with all.
        """
        self.observer.stage(chunk, tombstones.ERASED)
        await self.closer.queue.wake(chunk.recording)
        until = f"the source keeps its copy until {chunk.expires_at:%Y-%m-%d %H:%MZ}"
        is_over = self.clock.now() >= chunk.expires_at
        note = tombstones.ERASED if is_over else f"{tombstones.ERASED}; {until}"
        return Complete(state=ChunkState.DELETED, note=note)

    async def _seal(self, receipt: Receipt) -> None:
        """Proven, and nothing of ours reads it again."""
        if names.is_external(receipt.content.name):
            return
        try:
            await self.archive.seal(receipt.content.name)
        except RetryableError as error:
            raise SealOwedError(str(error), retry_after=error.retry_after) from error

    async def lose(self, lease: Lease, reason: str) -> bool:
        """Say in the recording's manifest what is lost with this chunk, if it is time."""
        chunk, _ = await siblings.identified(self.archive, lease.chunk)
        return await self.closer.lose(chunk, reason, row=lease.row)

    async def _bring_home_or_find(self, lease: Lease, attempt: AttemptLog) -> Receipt:
        """Bring the chunk home, unless another worker has just done so and deleted it."""
        try:
            receipt = await self._bring_home(lease, attempt)
        except SourceNotFoundError:
            found = await siblings.read_receipt(self.archive, lease.chunk.key)
            if found is None or not covers(found, lease.chunk):
                raise
            return found
        # That a blob of the user's could be read says nothing of the source.
        attempt.source_answered = not names.is_external(receipt.content.name)
        return receipt

    async def _bring_home(self, lease: Lease, attempt: AttemptLog) -> Receipt:
        chunk = lease.chunk
        self._check(chunk)
        metadata, facts, trouble = await self._bring_metadata(chunk, attempt)
        content, flags = await self._bring_content(chunk, attempt)
        if trouble is not None and self._may_still_come(trouble, attempt):
            if not flags:
                # The content is safe; only the metadata is to be tried for again.
                note = names.content_proof_name(chunk)
                await siblings.create_once(self.archive, note, encode(content))
            raise _owed(trouble) from trouble
        self.observer.stage(chunk, "verifying")
        with attempt.timed("verify"), attempt.step("verify"):
            structure, more = await evidence.structure_flags(
                self._reader_of(content), content, chunk=chunk, metadata=facts
            )
        flags += self._identity_flags(chunk, content, facts) + more
        flags += self._protection_flags(content, metadata)
        flags += _place_flags(content, metadata)
        found = _Found(content, metadata, facts, structure, tuple(sorted(set(flags))))
        attempt.part = None
        with attempt.step("receipt"):
            return await self._keep(chunk, self._receipt(lease, attempt, found))

    def _may_still_come(self, trouble: WorkerError, attempt: AttemptLog) -> bool:
        """Whether the metadata is worth another try: after the deadline a 404 is final."""
        is_gone = isinstance(trouble, SourceNotFoundError | ExportNotFoundError)
        grace = timedelta() if is_gone else deadline.LATE_GRACE
        return self.clock.now() < attempt.expires_at + grace

    def _protection_flags(
        self, content: ProvenObject, metadata: ProvenObject | None
    ) -> list[str]:
        """What the archive was asked to protect them by, and does not."""
        proven = [each for each in (content, metadata) if each is not None]
        unmet = [
            kind
            for each in proven
            for kind in self.archive.unmet(each.protection)
            if not names.is_external(each.name)
        ]
        return [f"{kind}-missing" for kind in unmet]

    def _receipt(self, lease: Lease, attempt: AttemptLog, found: _Found) -> Receipt:
        chunk = lease.chunk
        announcement = chunk.announcement
        return Receipt(
            worker_version=__version__,
            worker_instance=self.instance,
            key=chunk.key,
            recording=chunk.recording,
            recording_folder=names.recording_folder(announcement, chunk.recording),
            document_id=chunk.document_id,
            index=chunk.index,
            end_reason=chunk.end_reason,
            resource=announcement.resource,
            content_path=names.location_path(chunk.content_location),
            metadata_path=names.location_path(chunk.metadata_location)
            if chunk.metadata_location is not None
            else None,
            delete_location=None
            if names.is_external(found.content.name)
            else chunk.delete_location,
            event=json.loads(announcement.raw),
            announced=chunk.announced,
            recording_duration_ms=announcement.recording_duration_ms,
            chunk_duration_ms=found.facts.duration_ms if found.facts else None,
            content=found.content,
            metadata=found.metadata,
            structure=found.structure,
            flags=found.flags,
            received_at=chunk.received_at,
            archived_at=self.clock.now(),
            expires_at=attempt.expires_at,
            attempts=lease.attempts,
        )

    async def _keep(self, chunk: Chunk, receipt: Receipt) -> Receipt:
        """Write the receipt, last; if another worker was first, theirs counts.

        Unless theirs is for other locations: then this chunk comes again, under another key.
        """
        name = names.receipt_name(receipt.key)
        if await siblings.create_once(self.archive, name, encode(receipt)):
            return receipt
        kept = await siblings.read_receipt(self.archive, receipt.key) or receipt
        if not covers(kept, chunk):
            raise ArchiveConflictError("the receipt is for other locations")
        return kept

    async def _bring_metadata(
        self, chunk: Chunk, attempt: AttemptLog
    ) -> tuple[ProvenObject | None, MetadataFacts | None, WorkerError | None]:
        """Archive the metadata. Its trouble is returned: the content must not wait for it."""
        if chunk.metadata_location is None:
            return None, None, None
        attempt.part = "metadata"
        try:
            proven, _ = await self._prove(
                chunk,
                chunk.metadata_location,
                lambda candidate: names.metadata_name(chunk, candidate=candidate),
                attempt,
            )
        except (RetryableError, PermanentError) as error:
            return None, None, error
        facts = await self._read_metadata(proven)
        attempt.expires_at = deadline.tightened(
            attempt.expires_at,
            chunk_end=facts.chunk_end,
            retention=self.retention,
            received_at=chunk.received_at,
        )
        return proven, facts, None

    async def _read_metadata(self, proven: ProvenObject) -> MetadataFacts:
        if proven.size_bytes > evidence.METADATA_LONGEST:
            return MetadataFacts(readable=False)
        reader = self._reader_of(proven)
        data = await reader.read_range(proven.name, 0, proven.size_bytes)
        return evidence.metadata_facts(data)

    async def _bring_content(
        self, chunk: Chunk, attempt: AttemptLog
    ) -> tuple[ProvenObject, list[str]]:
        """Archive the content, unless an earlier attempt proved it and lacked the metadata."""
        noted = await self._noted(chunk)
        if noted is not None:
            return noted, []
        self.observer.stage(chunk, "downloading")
        attempt.part = "content"
        attempt.stats.on_bytes = partial(self._moved, chunk, attempt)
        content, size_announced = await self._prove(
            chunk,
            chunk.content_location,
            lambda candidate: names.content_name(chunk, candidate=candidate),
            attempt,
        )
        attempt.stats.on_bytes = None
        return content, [] if size_announced else ["size-not-announced"]

    async def _noted(self, chunk: Chunk) -> ProvenObject | None:
        """What an earlier attempt proved, unless it is the user's and has changed since."""
        data = await self.archive.read(names.content_proof_name(chunk))
        noted = None if data is None else decode(ProvenObject, data)
        if noted is None or not names.is_external(noted.name):
            return noted
        return noted if await byos.still_holds(self.exports, noted) else None

    def _check(self, chunk: Chunk) -> None:
        """Raise HostNotAllowedError unless the chunk may be asked for.

        Metadata in the user's own storage are asked for later: what lies at the source must
        not be lost for them.
        """
        content, metadata = chunk.content_location, chunk.metadata_location
        if self._is_exported(chunk, content):
            self.exports.name_of(content)
        else:
            self.source.check(content)
        if metadata is not None and not self._is_exported(chunk, metadata):
            self.source.check(metadata)

    def _is_exported(self, chunk: Chunk, location: str) -> bool:
        return byos.is_exported(chunk, location, self.source.check)

    async def _prove(
        self,
        chunk: Chunk,
        location: str,
        name_of: Callable[[int], str],
        attempt: AttemptLog,
    ) -> tuple[ProvenObject, bool]:
        """Archive what lies at the location, or hash it where it is the user's own.

        Returns the proof and whether the size was announced.
        """
        if not self._is_exported(chunk, location):
            return await self.prover.prove(
                location, name_of, resource=chunk.announcement.resource, log=attempt
            )
        block_bytes = self.prover.limits.range_bytes
        proven = await byos.prove(
            self.exports, location, block_bytes=block_bytes, log=attempt
        )
        return proven, True

    def _reader_of(self, proven: ProvenObject) -> RangeReader:
        if names.is_external(proven.name):
            return Pinned(exports=self.exports, etag=proven.etag)
        return self.archive

    def _identity_flags(
        self, chunk: Chunk, content: ProvenObject, facts: MetadataFacts | None
    ) -> list[str]:
        if names.is_external(content.name):
            return byos.flags(chunk, facts)
        flags = evidence.identity_flags(chunk, facts)
        return flags + evidence.delete_flags(chunk, self.source)

    def _moved(self, chunk: Chunk, attempt: AttemptLog, _count: int) -> None:
        stats = attempt.stats
        self.observer.moved(chunk, stats.object_bytes, stats.object_size)


def _size_of(receipt: Receipt) -> int:
    metadata = receipt.metadata.size_bytes if receipt.metadata else 0
    return receipt.content.size_bytes + metadata


def _place_flags(content: ProvenObject, metadata: ProvenObject | None) -> list[str]:
    """What is half the user's own is not ours to prove as a whole."""
    if metadata is None:
        return []
    is_split = names.is_external(content.name) != names.is_external(metadata.name)
    return ["metadata-elsewhere"] if is_split else []


def _owed(trouble: WorkerError) -> WorkerError:
    """What a metadata's trouble is to the chunk, whose content is safe.

    What no retry helps stays what it is: dead, where an operator can mend and replay it.
    """
    if not isinstance(trouble, RetryableError):
        return trouble
    return MetadataOwedError(str(trouble), retry_after=trouble.retry_after)
