"""All that is kept of one recording, wherever it lies.

A document may be named by announcements of several recordings; it belongs to the one that
its receipt is of.
"""

import re
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from worker import names, notices
from worker.model import ChunkKey, RecordingKey
from worker.ops import finding
from worker.ops.finding import Folder
from worker.ops.holding import SeveralRecordingsError, one_recording
from worker.ports import Archive, ChunkQueue
from worker.stored import (
    Erased,
    Erasing,
    Manifest,
    ProvenObject,
    Receipt,
    StoredFormatError,
    decode,
)

T = TypeVar("T")
_CHUNK_FILE = re.compile(r"(?P<index>\d{4,})-(?P<key>.+)")
_METADATA = ".metadata.json"
_MARK = re.compile(r"erasing\.\d+\.json")


@dataclass(slots=True, kw_only=True)
class Belongings:
    """Names of objects, by what they are."""

    recording: RecordingKey
    folders: tuple[str, ...]
    keys: dict[ChunkKey, int] = field(default_factory=dict)
    """Every chunk that anything names, archived or not, with its index."""
    receipts: dict[ChunkKey, Receipt] = field(default_factory=dict)
    begun: dict[ChunkKey, Erased] = field(default_factory=dict)
    """Tombstones that an erasure before was about to make."""
    contents: list[str] = field(default_factory=list)
    metadata: list[str] = field(default_factory=list)
    records: list[str] = field(default_factory=list)
    """Receipts, proofs, and what the source answered to deletes."""
    manifests: list[str] = field(default_factory=list)
    """These, their hashes, holds, and whatever else lies in the folders."""
    marks: list[str] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    elsewhere: list[str] = field(default_factory=list)
    """URLs in the user's own storage."""

    @property
    def objects(self) -> list[str]:
        return [
            *self.contents,
            *self.metadata,
            *self.records,
            *self.notices,
            *self.manifests,
            *self.marks,
        ]

    def knows(self, key: ChunkKey, index: int) -> None:
        self.keys.setdefault(key, index)


async def of(archive: Archive, queue: ChunkQueue, text: str) -> Belongings | None:
    """What belongs to the recording that an id means; None if nothing ever did.

    Raises SeveralRecordingsError.
    """
    folders = await one_recording(archive, text)
    if not folders:
        return await _of_erased(archive, queue, text)
    recording = RecordingKey(folders[0].recording)
    its = Belongings(
        recording=recording, folders=tuple(folder.path for folder in folders)
    )
    for folder in folders:
        _sort(its, folder)
        await _read_folder(archive, its, folder)
    await _complete(archive, queue, its)
    return its


async def _of_erased(
    archive: Archive, queue: ChunkQueue, text: str
) -> Belongings | None:
    """What came after an erasure: a delivery that was sent again, say."""
    stones = [stone async for stone in finding.erased(archive, text)]
    recordings = sorted({stone.recording for stone in stones})
    if not recordings:
        return None
    if len(recordings) > 1:
        raise SeveralRecordingsError(
            f"{text!r} meant {len(recordings)} recordings: {', '.join(recordings[:5])}",
            hint=f"recording-worker recordings show {text}",
        )
    its = Belongings(recording=recordings[0], folders=())
    for stone in stones:
        its.begun[stone.key] = stone
        its.knows(stone.key, stone.index)
    await _complete(archive, queue, its)
    return its


def _sort(its: Belongings, folder: Folder) -> None:
    for file in folder.files:
        name = folder.path + file
        found = _CHUNK_FILE.fullmatch(file)
        if _MARK.fullmatch(file):
            its.marks.append(name)
        elif found is None:
            its.manifests.append(name)
        elif file.endswith(_METADATA):
            its.metadata.append(name)
        else:
            its.contents.append(name)
        if found is None:
            continue
        for key in folder.keys:
            if found["key"].startswith(f"{key}."):
                its.knows(key, int(found["index"]))


async def _read_folder(archive: Archive, its: Belongings, folder: Folder) -> None:
    """What the documents in it know of others."""
    for key in folder.receipts:
        its.knows(key, 0)
    for name in its.marks:
        for stone in (await _stored(archive, name, Erasing)).chunks:
            its.begun[stone.key] = stone
            its.knows(stone.key, stone.index)
    await _read_manifest(archive, its, folder)


async def _read_manifest(archive: Archive, its: Belongings, folder: Folder) -> None:
    if folder.manifest_number is None:
        return
    name = names.manifest_name(folder.path, folder.manifest_number)
    try:
        manifest = await _stored(archive, name, Manifest)
    except StoredFormatError:
        # Damage keeps nobody from erasing it; files, receipts and the queue know the same.
        return
    for chunk in manifest.chunks:
        its.knows(chunk.key, chunk.index)
    for gap in manifest.missing:
        if gap.key is not None:
            its.knows(gap.key, gap.index)


async def _complete(archive: Archive, queue: ChunkQueue, its: Belongings) -> None:
    for entry in await queue.announced(its.recording):
        its.knows(entry.chunk.key, entry.chunk.index)
        for sibling in entry.chunk.announced:
            its.knows(sibling.key, sibling.index)
    await _read_receipts(archive, its)
    async for name in notices.of_recording(archive, its.recording, its.folders):
        its.notices.append(name)


async def _read_receipts(archive: Archive, its: Belongings) -> None:
    """The receipt of each chunk, and of those that it knows of; then what lies beside."""
    others: set[ChunkKey] = set()
    seen: set[ChunkKey] = set()
    while unseen := [key for key in its.keys if key not in seen]:
        for key in unseen:
            seen.add(key)
            receipt = await finding.stored(archive, names.receipt_name(key), Receipt)
            if receipt is not None and receipt.recording == its.recording:
                _take(its, receipt)
            elif receipt is not None:
                others.add(key)
    for key in others:
        del its.keys[key]
    for key in its.keys:
        async for name in _beside(archive, its, key):
            its.records.append(name)


def _take(its: Belongings, receipt: Receipt) -> None:
    its.receipts[receipt.key] = receipt
    its.keys[receipt.key] = receipt.index
    for sibling in receipt.announced:
        its.knows(sibling.key, sibling.index)
    proven: Sequence[tuple[ProvenObject | None, list[str]]] = (
        (receipt.content, its.contents),
        (receipt.metadata, its.metadata),
    )
    for each, those in proven:
        if each is None or each.name in those:
            continue
        (its.elsewhere if names.is_external(each.name) else those).append(each.name)


async def _beside(
    archive: Archive, its: Belongings, key: ChunkKey
) -> AsyncIterator[str]:
    """Receipt, delete record and proofs of one chunk, as far as they are of this recording."""
    stem = names.receipt_name(key).removesuffix("json")
    begun = its.begun.get(key)
    own = set()
    if key in its.receipts:
        own = {names.receipt_name(key), names.source_deleted_name(key)}
    elif begun is not None and begun.content_bytes is not None:
        own = {names.source_deleted_name(key)}
    proof = re.compile(re.escape(stem) + r"[0-9a-f]{8}\.content\.json")
    async for name in archive.list(stem):
        if name in own:
            yield name
        elif proof.fullmatch(name):
            proven = await _stored(archive, name, ProvenObject)
            if key in its.receipts or proven.name.startswith(its.folders):
                yield name


async def _stored(archive: Archive, name: str, kind: type[T]) -> T:
    """A document that was listed. What can't be read can't be judged: that is an error."""
    return decode(kind, await archive.read(name) or b"")
