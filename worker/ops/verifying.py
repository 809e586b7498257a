"""Does the archive hold what was proven? Looks at objects against receipts and manifests.

Nothing is changed. What is otherwise is told apart: `missing`, `altered`, `orphaned`
(a file that no receipt names), `expired` (gone by a rule or after its protection), `erased`
(an erasure that has not come to its end), `unreadable` (of a newer version).
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from worker import names, recording
from worker.abilities import Digesting
from worker.byos import Exports
from worker.errors import (
    AlreadyExistsError,
    ExportForbiddenError,
    HostNotAllowedError,
    IntegrityError,
    NewerFormatError,
    SourceChangedError,
)
from worker.model import ChunkKey, ReadBack, RecordingKey
from worker.ops.finding import Folder, stored
from worker.ports import Archive
from worker.reports import Problem, Tally
from worker.stored import (
    Erased,
    Manifest,
    ManifestChunk,
    ProvenObject,
    Receipt,
    StoredFormatError,
    blocks_sha256,
)

GRACE = timedelta(days=1)
"""A file without a receipt that is younger may be on its way: no source keeps one longer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Looked:
    """What one look found; `key` is the chunk's that was looked at, if it was one."""

    key: ChunkKey | None = None
    tally: Tally = field(default_factory=Tally)
    problems: tuple[Problem, ...] = ()

    @property
    def counted(self) -> Tally:
        """The numbers, those of problems too."""
        kinds = Counter(problem.kind for problem in self.problems)
        return replace(self.tally, problems=dict(kinds))


@dataclass(frozen=True, slots=True, kw_only=True)
class Verifier:
    """Looks at chunks and recordings.

    `kept_for`: for so long a rule keeps objects, and then they may be gone. `since`: chunks
    that were archived before are passed over.
    """

    archive: Archive
    exports: Exports
    now: datetime
    kept_for: timedelta | None = None
    since: datetime | None = None

    async def chunk(self, name: str) -> Looked:
        """Look at the chunk whose receipt has this name, and at all that it proves."""
        try:
            receipt = await stored(self.archive, name, Receipt)
        except (NewerFormatError, StoredFormatError) as error:
            return Looked(problems=(_unreadable(name, "receipt", error),))
        if receipt is None:
            return Looked()  # erased since it was listed: its tombstone tells
        if names.receipt_name(receipt.key) != name:
            detail = f"it is the receipt of {receipt.key}"
            return Looked(problems=(_problem("altered", "receipt", name, detail),))
        if self.since is not None and receipt.archived_at < self.since:
            return Looked()
        looks = [await self._object(receipt, "content", receipt.content)]
        if receipt.metadata is not None:
            looks.append(await self._object(receipt, "metadata", receipt.metadata))
        return replace(
            together(looks, tally=Tally(chunks=1)),
            key=receipt.key,
        )

    async def tombstone(self, name: str) -> Looked:
        """Look whether what was erased is gone."""
        try:
            tombstone = await stored(self.archive, name, Erased)
        except (NewerFormatError, StoredFormatError) as error:
            return Looked(problems=(_unreadable(name, "tombstone", error),))
        if tombstone is None:
            return Looked()
        receipt = names.receipt_name(tombstone.key)
        left = await self.archive.read(receipt)
        if left is None:
            return Looked(tally=Tally(erased=1))
        detail = "its receipt is still there: erase it again"
        return Looked(problems=(_problem("erased", "tombstone", name, detail),))

    async def _object(
        self, receipt: Receipt, what: str, proven: ProvenObject
    ) -> Looked:
        about = _About(receipt=receipt, what=what, proven=proven)
        try:
            found = await self._read_back(proven)
        except (HostNotAllowedError, ExportForbiddenError, AlreadyExistsError):
            # Outside the archive, or in a tier that can't be read from.
            return Looked(tally=Tally(not_looked_at=1))
        except (IntegrityError, SourceChangedError) as error:
            if await self._is_there(proven):
                return about.problem("altered", str(error))
            return self._gone(about)
        if found is None:
            return self._gone(about)
        if difference := _difference(proven, found):
            return about.problem("altered", difference)
        return Looked(tally=Tally(objects=1, size_bytes=found.size_bytes))

    async def _read_back(self, proven: ProvenObject) -> ReadBack | None:
        if names.is_external(proven.name):
            self.exports.name_of(proven.name)
            there = await self.exports.stat(proven.name)
            if there is None:
                return None
            return await self.exports.read_back(there, block_bytes=proven.block_bytes)
        if isinstance(self.archive, Digesting):
            # One hash is enough where there is one of the whole.
            block_bytes = None if proven.sha256 else proven.block_bytes
            return await self.archive.digest(proven.name, block_bytes=block_bytes)
        return await self.archive.read_back(proven.name, block_bytes=proven.block_bytes)

    async def _is_there(self, proven: ProvenObject) -> bool:
        if names.is_external(proven.name):
            return await self.exports.stat(proven.name) is not None
        return await self.archive.stat(proven.name) is not None

    def _gone(self, about: "_About") -> Looked:
        """Missing, unless its time was over: then by a rule, or at least unprotected."""
        archived_at = about.receipt.archived_at
        if self.kept_for is not None:
            if archived_at + self.kept_for <= self.now:
                return Looked(tally=Tally(expired=1))
            return about.problem("missing", "it is not there")
        until = _protected_until(about.proven)
        if until is None or until > self.now:
            return about.problem("missing", "it is not there")
        return about.problem("expired", f"gone; protected until {until:%Y-%m-%d}")

    async def recording(self, folder: Folder) -> Looked:
        """Look at a recording's manifests and files against its receipts."""
        receipts, unread = await self._receipts(folder)
        problems: list[Problem] = []
        for number in folder.manifest_numbers:
            problems += await self._manifest(folder, number, receipts)
        named = {
            proven.name
            for receipt in receipts.values()
            for proven in (receipt.content, receipt.metadata)
            if proven is not None
        }
        for key, name in folder.chunk_files:
            if name not in named and key not in unread and await self._is_old(name):
                detail = "no receipt names it"
                problems.append(
                    _problem("orphaned", "file", name, detail, folder=folder)
                )
        return Looked(tally=Tally(recordings=1), problems=tuple(problems))

    async def _receipts(
        self, folder: Folder
    ) -> tuple[dict[ChunkKey, Receipt], set[ChunkKey]]:
        """Those that can be read, and the keys of the others: the look at these tells."""
        found: dict[ChunkKey, Receipt] = {}
        unread: set[ChunkKey] = set()
        for key in folder.keys:
            name = names.receipt_name(key)
            try:
                receipt = await stored(self.archive, name, Receipt)
            except (NewerFormatError, StoredFormatError):
                unread.add(key)
                continue
            if receipt is not None:
                found[key] = receipt
        return found, unread

    async def _manifest(
        self, folder: Folder, number: int, receipts: dict[ChunkKey, Receipt]
    ) -> list[Problem]:
        name = names.manifest_name(folder.path, number)
        try:
            manifest = await stored(self.archive, name, Manifest)
        except (NewerFormatError, StoredFormatError) as error:
            return [_unreadable(name, "manifest", error, folder=folder)]
        if manifest is None:
            return []
        problems = await self._entries(folder, name, manifest, receipts)
        sums = names.checksums_name(folder.path, number)
        kept = await self.archive.read(sums)
        if kept is not None and kept != recording.checksums_of(manifest):
            detail = "it is not that of the manifest"
            problems.append(
                _problem("altered", "checksums", sums, detail, folder=folder)
            )
        return problems

    async def _entries(
        self,
        folder: Folder,
        name: str,
        manifest: Manifest,
        receipts: dict[ChunkKey, Receipt],
    ) -> list[Problem]:
        problems = []
        for entry in manifest.chunks:
            receipt = receipts.get(entry.key) or await self._receipt_of(entry)
            if receipt is None:
                if not await self._is_explained(entry.key):
                    lost = names.receipt_name(entry.key)
                    detail = f"the receipt of chunk {entry.index}"
                    problems.append(
                        _problem("missing", "receipt", lost, detail, folder=folder)
                    )
            elif _contradicts(entry, receipt):
                detail = f"it contradicts the receipt of chunk {entry.index}"
                problems.append(
                    _problem("altered", "manifest", name, detail, folder=folder)
                )
        return problems

    async def _receipt_of(self, entry: ManifestChunk) -> Receipt | None:
        try:
            return await stored(self.archive, names.receipt_name(entry.key), Receipt)
        except (NewerFormatError, StoredFormatError):
            return None

    async def _is_explained(self, key: ChunkKey) -> bool:
        """Whether a receipt is there after all, and unreadable, or was erased."""
        for name in (names.receipt_name(key), names.erased_name(key)):
            if await self.archive.read(name) is not None:
                return True
        return False

    async def _is_old(self, name: str) -> bool:
        """Whether a file is there for too long to be on its way."""
        there = await self.archive.stat(name)
        return there is not None and there.last_modified + GRACE <= self.now


@dataclass(frozen=True, slots=True, kw_only=True)
class _About:
    """One proven object of a chunk."""

    receipt: Receipt
    what: str
    proven: ProvenObject

    def problem(self, kind: str, detail: str) -> Looked:
        found = Problem(
            kind=kind,
            what=self.what,
            key=self.receipt.key,
            recording=self.receipt.recording,
            detail=detail,
            name=self.proven.name,
        )
        return Looked(tally=Tally(objects=1), problems=(found,))


def _difference(proven: ProvenObject, found: ReadBack) -> str | None:
    """How what is there differs from what was proven; None: it doesn't."""
    if found.size_bytes != proven.size_bytes:
        return f"{found.size_bytes} bytes where {proven.size_bytes} were proven"
    if proven.sha256 is not None:
        return None if found.sha256 == proven.sha256 else "other bytes: sha256 differs"
    if blocks_sha256(found.blocks) != proven.blocks_sha256:
        return "other bytes: sha256 of the blocks differs"
    return None


def _protected_until(proven: ProvenObject) -> datetime | None:
    try:
        return datetime.fromisoformat(proven.protection["immutable_until"])
    except (KeyError, ValueError):
        return None


def _contradicts(entry: ManifestChunk, receipt: Receipt) -> bool:
    content, metadata = receipt.content, receipt.metadata
    said = (entry.size_bytes, entry.sha256, entry.metadata_sha256, entry.index)
    proven = (
        content.size_bytes,
        content.sha256,
        metadata.sha256 if metadata else None,
        receipt.index,
    )
    return said != proven


def _problem(
    kind: str, what: str, name: str, detail: str, *, folder: Folder | None = None
) -> Problem:
    return Problem(
        kind=kind,
        what=what,
        key=None,
        recording=RecordingKey(folder.recording) if folder else None,
        detail=detail,
        name=name,
    )


def _unreadable(
    name: str, what: str, error: Exception, *, folder: Folder | None = None
) -> Problem:
    kind = "unreadable" if isinstance(error, NewerFormatError) else "altered"
    return _problem(kind, what, name, str(error), folder=folder)


def together(looks: Sequence[Looked], *, tally: Tally | None = None) -> Looked:
    """One look out of several."""
    problems = [problem for look in looks for problem in look.problems]
    return Looked(
        tally=added([*([tally] if tally else []), *(look.tally for look in looks)]),
        problems=tuple(problems),
    )


def added(tallies: Iterable[Tally]) -> Tally:
    """The sum."""
    total = Tally()
    for one in tallies:
        problems = Counter(total.problems) + Counter(one.problems)
        total = Tally(
            chunks=total.chunks + one.chunks,
            objects=total.objects + one.objects,
            size_bytes=total.size_bytes + one.size_bytes,
            recordings=total.recordings + one.recordings,
            erased=total.erased + one.erased,
            expired=total.expired + one.expired,
            not_looked_at=total.not_looked_at + one.not_looked_at,
            problems=dict(sorted(problems.items())),
        )
    return total
