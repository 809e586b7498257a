"""Looking at a recording: who was announced, who has a receipt, who was given up."""

from collections.abc import Collection, Sequence
from datetime import datetime

from worker import deadline, names, recording
from worker.model import Chunk, ChunkKey, ChunkState, QueuedChunk, Sibling
from worker.ports import Archive, ChunkQueue
from worker.recording import RecordingView
from worker.stored import (
    Manifest,
    MissingChunk,
    Receipt,
    StoredFormatError,
    decode,
)

MOST_DESCRIBED = 5
_ALIVE = {ChunkState.PENDING, ChunkState.LEASED}


async def view(
    queue: ChunkQueue,
    archive: Archive,
    chunk: Chunk,
    *,
    receipt: Receipt | None = None,
    dead: str | None = None,
    whole: bool = False,
) -> RecordingView:
    """What is known of the chunk's recording now.

    `dead` is the reason for which the chunk itself is about to be given up. Unless `whole`,
    the look ends at the first sibling without a receipt that is still at work: enough to
    know that it is awaited.
    """
    queued = await queue.announced(chunk.recording)
    folder = names.recording_folder(chunk.announcement, chunk.recording)
    _, manifest = await current_manifest(archive, folder)
    announced = recording.union(
        [chunk.announced]
        + [entry.chunk.announced for entry in queued]
        + [_announced_by(manifest)]
    )
    receipts = {chunk.key: receipt} if receipt else {}
    alive = {q.chunk.key for q in queued if q.state in _ALIVE} - {chunk.key}
    announced = await _look_up(
        archive, announced, receipts, awaited=set() if whole else alive
    )
    given_up = _given_up(queued) | ({chunk.key: dead} if dead else {})
    not_lost = alive | receipts.keys()
    return RecordingView(
        recording=chunk.recording,
        announcement=chunk.announcement,
        folder=folder,
        announced=announced,
        receipts=receipts,
        dead={k: why for k, why in given_up.items() if k not in not_lost},
        alive=frozenset(alive - receipts.keys()),
        deadline=_deadline([chunk, *(entry.chunk for entry in queued)]),
    )


def _deadline(chunks: Sequence[Chunk]) -> datetime:
    return deadline.recording_deadline((c.expires_at, c.received_at) for c in chunks)


def _announced_by(manifest: Manifest | None) -> list[Sibling]:
    if manifest is None:
        return []
    return [
        Sibling(key=chunk.key, index=chunk.index, end_reason=chunk.end_reason)
        for chunk in manifest.chunks
    ]


def _given_up(queued: Sequence[QueuedChunk]) -> dict[ChunkKey, str]:
    return {
        entry.chunk.key: entry.reason or "dead"
        for entry in queued
        if entry.state is ChunkState.DEAD
    }


async def _look_up(
    archive: Archive,
    announced: dict[ChunkKey, Sibling],
    receipts: dict[ChunkKey, Receipt],
    *,
    awaited: Collection[ChunkKey],
) -> dict[ChunkKey, Sibling]:
    """Add the siblings' receipts to `receipts`; returns the union with what those announce.

    Ends at the first of the `awaited` without one. Highest index first: chunks finish about
    in order, so the first look mostly decides. A lack that nobody works on doesn't end it:
    a leased sibling may be archived and only look around, as this one does, and if each took
    the other for being at work, none would ever close the recording.
    """
    looked_up = set(receipts)
    while unseen := [key for key in announced if key not in looked_up]:
        key = max(unseen, key=lambda key: announced[key].index)
        looked_up.add(key)
        receipt = await read_receipt(archive, key)
        if receipt is None:
            if key in awaited:
                return announced
            continue
        receipts[key] = receipt
        announced = recording.union([announced.values(), receipt.announced])
    return announced


async def read_receipt(archive: Archive, key: ChunkKey) -> Receipt | None:
    """The chunk's receipt, if it has one. Its name depends on the key alone."""
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
