"""Looking at a recording: who was announced, who has a receipt, who was given up."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from worker import announced, deadline, names, tombstones
from worker.errors import AlreadyExistsError
from worker.model import (
    Announcement,
    Chunk,
    ChunkKey,
    ChunkState,
    QueuedChunk,
    RecordingKey,
    Sibling,
)
from worker.ports import Archive, ChunkQueue
from worker.recording import RecordingView
from worker.stored import (
    Manifest,
    ManifestChunk,
    MissingChunk,
    Receipt,
    StoredFormatError,
    covers,
    decode,
)

MOST_DESCRIBED = 5
LEFT_ALONE = "left in your own storage"
AT_WORK = {ChunkState.PENDING, ChunkState.LEASED}


async def identified(archive: Archive, chunk: Chunk) -> tuple[Chunk, Receipt | None]:
    """The chunk under the key that its receipt has, or will have; and the receipt.

    A documentId whose receipt is for other locations (an announcement that lacked the
    metadata, or was false) doesn't stand for this chunk: it gets a key of its own.
    """
    receipt = await read_receipt(archive, chunk.key)
    if receipt is None or covers(receipt, chunk):
        return chunk, receipt
    other = replace(chunk, key=names.other_key(chunk))
    return other, await read_receipt(archive, other.key)


async def view(  # noqa: PLR0913 - what is looked at, and how far
    queue: ChunkQueue,
    archive: Archive,
    chunk: Chunk,
    *,
    row: str,
    receipt: Receipt | None = None,
    dead: str | None = None,
    whole: bool = False,
) -> RecordingView:
    """What is known of the chunk's recording now; `row` is the chunk's own queue entry.

    `dead` is the reason for which the chunk itself is about to be given up. Unless `whole`,
    the look ends at the first chunk without a receipt that is still at work: it is awaited.
    """
    queued = await queue.announced(chunk.recording)
    folder = names.recording_folder(chunk.announcement, chunk.recording)
    _, manifest = await current_manifest(archive, folder)
    look = _Look(archive=archive, recording=chunk.recording, folder=folder, whole=whole)
    look.remember(manifest)
    look.announce([*chunk.announced, _sibling(chunk)])
    look.announce_all(queued)
    if receipt is not None:
        look.found(receipt)
    if dead is not None:
        look.dead[chunk.key] = dead
    await look.at_queue([entry for entry in queued if entry.row != row])
    await look.at_announced()
    chunks = [chunk, *(entry.chunk for entry in queued)]
    return RecordingView(
        recording=chunk.recording,
        announcement=_announcement(chunks),
        folder=folder,
        announced=look.announced,
        receipts=look.receipts,
        dead=look.dead_for_good(),
        alive=frozenset(look.awaited),
        is_closed_by_another=look.is_awaited_here,
        deadline=_deadline(chunks),
    )


def _announcement(chunks: Sequence[Chunk]) -> Announcement:
    """The first one's own; the duration of the whole from whichever says it."""
    own = chunks[0].announcement
    durations = (chunk.announcement.recording_duration_ms for chunk in chunks)
    known = next((each for each in durations if each is not None), None)
    return replace(own, recording_duration_ms=known)


def _deadline(chunks: Sequence[Chunk]) -> datetime:
    return deadline.recording_deadline((c.expires_at, c.received_at) for c in chunks)


@dataclass(slots=True, kw_only=True)
class _Look:
    """One look around, as it fills in."""

    archive: Archive
    recording: RecordingKey
    folder: str
    whole: bool
    is_awaited_here: bool = False
    announced: dict[ChunkKey, Sibling] = field(default_factory=dict)
    receipts: dict[ChunkKey, Receipt] = field(default_factory=dict)
    dead: dict[ChunkKey, str] = field(default_factory=dict)
    awaited: set[ChunkKey] = field(default_factory=set)

    @property
    def is_enough(self) -> bool:
        return bool(self.awaited) and not self.whole

    def announce(self, siblings: Sequence[Sibling]) -> None:
        self.announced = announced.union([self.announced.values(), siblings])

    def announce_all(self, entries: Sequence[QueuedChunk]) -> None:
        """What all entries say, the chunk's own too: it may have learnt since it was leased."""
        # Chunks of one event share one tuple: a look must not cost its square.
        told = {id(entry.chunk.announced): entry.chunk.announced for entry in entries}
        for siblings in told.values():
            self.announce(siblings)
        self.announce([_sibling(entry.chunk) for entry in entries])

    def remember(self, manifest: Manifest | None) -> None:
        """What the current manifest knew, which the queue may have forgotten."""
        if manifest is None:
            return
        self.announce([_sibling(chunk) for chunk in manifest.chunks])
        for gap in manifest.missing:
            if gap.key is not None:
                self.announce([Sibling(key=gap.key, index=gap.index, end_reason=None)])
                self.dead[gap.key] = gap.reason

    def found(self, receipt: Receipt) -> None:
        self.receipts[receipt.key] = receipt
        self.announce(receipt.announced)

    async def at_queue(self, entries: Sequence[QueuedChunk]) -> None:
        """Entry by entry, for two of one document may be of different locations.

        Highest index first: chunks finish about in order, so the first look mostly decides.
        """
        for entry in sorted(entries, key=lambda e: e.chunk.index, reverse=True):
            if self.is_enough:
                return
            chunk, receipt = await identified(self.archive, entry.chunk)
            if receipt is not None:
                self.announce([_sibling(chunk)])
                self.found(receipt)
            else:
                self._lacks(chunk, entry)

    def _lacks(self, chunk: Chunk, entry: QueuedChunk) -> None:
        if entry.state in AT_WORK:
            self.announce([_sibling(chunk)])
            self.awaited.add(chunk.key)
            its = names.recording_folder(chunk.announcement, chunk.recording)
            self.is_awaited_here |= its == self.folder
        elif entry.state is ChunkState.DEAD:
            self.dead[chunk.key] = entry.reason or "dead"

    async def at_announced(self) -> None:
        """Then at those whom no queue entry stands for: only receipts can tell."""
        # What a manifest called missing may have come home since.
        looked_up = self.receipts.keys() | self.awaited
        while not self.is_enough:
            unseen = [key for key in self.announced if key not in looked_up]
            if not unseen:
                return
            key = max(unseen, key=lambda key: self.announced[key].index)
            looked_up = looked_up | {key}
            receipt = await read_receipt(self.archive, key)
            if receipt is not None:
                self.found(receipt)
            elif await tombstones.of_key(self.archive, key, self.recording):
                # Nobody waits for what an operator erased: it counts as given up.
                self.dead[key] = tombstones.ERASED

    def dead_for_good(self) -> dict[ChunkKey, str]:
        """Those given up that nobody else brought home, or still tries to.

        And those that nobody will: they are not waited for.
        """
        left = {
            key: LEFT_ALONE
            for key, told in self.announced.items()
            if told.is_left_alone
        }
        return {
            key: reason
            for key, reason in (left | self.dead).items()
            if key not in self.receipts and key not in self.awaited
        }


def _sibling(chunk: Chunk | ManifestChunk) -> Sibling:
    return Sibling(key=chunk.key, index=chunk.index, end_reason=chunk.end_reason)


async def read_receipt(archive: Archive, key: ChunkKey) -> Receipt | None:
    """The receipt under a key, if there is one."""
    data = await archive.read(names.receipt_name(key))
    if data is None:
        return None
    receipt = decode(Receipt, data)
    if receipt.key != key:
        # A file system that ignores case shows one id's receipt for another's.
        raise StoredFormatError(f"the receipt of {key!r} is that of {receipt.key!r}")
    return receipt


async def current_manifest(
    archive: Archive, folder: str
) -> tuple[int, Manifest | None]:
    """The manifest with the highest number, and that number; (0, None) without any."""
    number = 0
    current: bytes | None = None
    while data := await archive.read(names.manifest_name(folder, number + 1)):
        number, current = number + 1, data
    return number, None if current is None else decode(Manifest, current)


def described(missing: Sequence[MissingChunk]) -> str:
    """`chunk 2: never announced; chunk 4: …` for a log line or a table."""
    parts = [f"chunk {chunk.index}: {chunk.reason}" for chunk in missing]
    more = len(parts) - MOST_DESCRIBED
    shown = parts[:MOST_DESCRIBED] + ([f"{more} more"] if more > 0 else [])
    return "; ".join(shown)


async def create_once(archive: Archive, name: str, data: bytes) -> bool:
    """Store an object unless the name is taken; whether it was free."""
    try:
        await archive.create(name, data)
    except AlreadyExistsError:
        return False
    return True
